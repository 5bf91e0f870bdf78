// shifted.cuh: packs that begin anywhere.
#pragma once
#include "common.cuh"

// The pack that begins `skew` elements behind the start of low, and ends in high.
template <u32 kLen, typename T>
__device__ __forceinline__ Pack<T, kLen> shifted(const Pack<T, kLen>& low, const Pack<T, kLen>& high, u32 skew) {
    constexpr u32 kWords = sizeof(low) / 4;
    const auto first = bits_as<Pack<u32, kWords>>(low), second = bits_as<Pack<u32, kWords>>(high);
    u32 x[2 * kWords];
    #pragma unroll
    for (u32 i = 0; i < kWords; ++i) x[i] = first.lane[i], x[kWords + i] = second.lane[i];
    const u32 bytes = skew * sizeof(T);
    #pragma unroll
    for (u32 step = kWords / 2; step > 0; step /= 2) {
        #pragma unroll
        for (u32 i = 0; i < kWords + step; ++i) x[i] = bytes & 4 * step ? x[i + step] : x[i];
    }
    Pack<u32, kWords> y;
    #pragma unroll
    for (u32 i = 0; i < kWords; ++i) y.lane[i] = sizeof(T) < 4 ? __funnelshift_r(x[i], x[i + 1], bytes % 4 * 8) : x[i];
    return bits_as<Pack<T, kLen>>(y);
}

// How many elements behind the pack in front of it an address lies.
template <u32 kLen, typename T> __device__ __forceinline__ u32 skew_of(const T* at) {
    return u32(reinterpret_cast<u64>(at) / sizeof(T)) % kLen;
}

// A pack at an address that is aligned to an element only, of which the first count lanes exist, at least one: words that
// hold a part of those, shifted into place. The other lanes are whatever.
template <u32 kLen, typename T> __device__ __forceinline__ Pack<T, kLen> load_shifted(const T* at, u32 count) {
    Pack<T, kLen> x = {};
    if constexpr (sizeof(T) >= 4) {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            if (l < count) x.lane[l] = at[l];
        }
    } else {
        constexpr u32 kWords = sizeof(x) / 4;
        const u64 address = reinterpret_cast<u64>(at);
        const u32* word = reinterpret_cast<const u32*>(address & ~u64(3));
        const u32 skew = u32(address & 3), end = skew + count * sizeof(T);
        u32 y[kWords + 1];
        #pragma unroll
        for (u32 i = 0; i <= kWords; ++i) y[i] = 4 * i < end ? word[i] : 0;
        if constexpr (kWords == 2) {
            x = bits_as<Pack<T, kLen>>(
                u32x2{__funnelshift_r(y[0], y[1], skew * 8), __funnelshift_r(y[1], y[2], skew * 8)});
        } else {
            static_assert(kWords == 4);
            x = bits_as<Pack<T, kLen>>(
                u32x4{__funnelshift_r(y[0], y[1], skew * 8), __funnelshift_r(y[1], y[2], skew * 8),
                      __funnelshift_r(y[2], y[3], skew * 8), __funnelshift_r(y[3], y[4], skew * 8)});
        }
    }
    return x;
}
