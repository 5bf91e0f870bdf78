// shifted.cuh: packs that begin anywhere.
#pragma once
#include "common.cuh"

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
