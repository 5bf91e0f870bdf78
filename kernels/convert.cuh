// convert.cuh: from one element type to another, as Rust's `as` does it.
//
// float to int truncates and saturates, NaN gives 0; int to int wraps; anything to bool is x != 0; to float rounds to
// the nearest, to 16-bit floats through f32.
#pragma once
#include "ptx.cuh"

__device__ __forceinline__ f32 to_f32(f32 x) { return x; }
__device__ __forceinline__ f32 to_f32(f16 x) { return cvt_f32_f16(x.bits); }
__device__ __forceinline__ f32 to_f32(bf16 x) { return __uint_as_float(u32(x.bits) << 16); }

template <typename T> __device__ __forceinline__ T from_f32(f32 x) {
    if constexpr (kSame<T, f16>) return {cvt_rn_f16_f32(x)};
    else if constexpr (kSame<T, bf16>) return {cvt_rn_bf16_f32(x)};
    else return x;
}

// Two 16-bit floats in a word, the first in its low half.
template <typename T> __device__ __forceinline__ u32 pack_pair(f32 low, f32 high) {
    if constexpr (kSame<T, f16>) return cvt_rn_f16x2_f32(low, high);
    else return cvt_rn_bf16x2_f32(low, high);
}

// The same of both through relu.
template <typename T> __device__ __forceinline__ u32 pack_relu_pair(f32 low, f32 high) {
    if constexpr (kSame<T, f16>) return cvt_rn_relu_f16x2_f32(low, high);
    else return cvt_rn_relu_bf16x2_f32(low, high);
}

// The larger ones of two such pairs, as fmaxf has them.
template <typename T> __device__ __forceinline__ u32 max_pair(u32 a, u32 b) {
    if constexpr (kSame<T, f16>) return max_f16x2(a, b);
    else return max_bf16x2(a, b);
}

// The first or the second of such a pair.
template <typename T> __device__ __forceinline__ f32 half_of(u32 pair, u32 which) {
    if constexpr (kSame<T, bf16>) return __uint_as_float(which == 0 ? pair << 16 : pair & 0xffff0000u);
    else return to_f32(T{static_cast<u16>(pair >> 16 * which)});
}

// T as what ops compute in, and back.
template <typename T> __device__ __forceinline__ Compute<T> widen(T x) {
    if constexpr (kIsHalf<T>) return to_f32(x);
    else return x;
}

template <typename T> __device__ __forceinline__ T narrow(Compute<T> x) {
    if constexpr (kIsHalf<T>) return from_f32<T>(x);
    else return x;
}

// From is f32 or f64, To an integer.
template <typename To, typename From> __device__ __forceinline__ To truncate(From x) {
    if (x != x) return 0;
    if constexpr (kSame<To, i64>) {
        if constexpr (kSame<From, f64>) return cvt_rzi_s64_f64(x);
        else return cvt_rzi_s64_f32(x);
    } else {
        u32 y;
        if constexpr (kSame<From, f64>) y = cvt_rzi_u32_f64(x);
        else y = cvt_rzi_u32_f32(x);
        if constexpr (kSame<To, u8>) return y < 255 ? y : 255;
        else return y;
    }
}

template <typename To, typename From> __device__ __forceinline__ To convert(From x) {
    if constexpr (kSame<To, From>) return x;  // bits stay, those of NaN too
    else if constexpr (kIsHalf<From>) return convert<To>(to_f32(x));
    else if constexpr (kIsHalf<To>) return from_f32<To>(convert<f32>(x));
    else if constexpr (kSame<To, bool>) return x != 0;
    else if constexpr (kIsFloat<From> && !kIsFloat<To>) return truncate<To>(x);
    else return static_cast<To>(x);
}
