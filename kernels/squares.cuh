// squares.cuh: the Euclidean norm of numbers of any size.
#pragma once
#include "common.cuh"

// Squares of numbers too large to be squared, of those too small, and of the others: each sum is far from both ends of
// f32, for any number of elements. Blue, A portable Fortran program to find the Euclidean norm of a vector, 1978.
struct Squares { f32 large, usual, small; };

template <typename T> struct Norm {
    using In = T;
    using Acc = Squares;
    using Out = T;
    static constexpr bool kTakesMore = true;  // registers
    static constexpr f32 kLarge = 0x1p40f, kSmall = 0x1p-50f, kUp = 0x1p90f, kDown = 0x1p-90f;

    static __device__ Acc start(u64) { return {0, 0, 0}; }
    static __device__ Acc of(T x, u64) { return add({0, 0, 0}, x, 0); }
    static __device__ Acc add(Acc acc, T element, u64) {
        const f32 x = widen(element);
        // No square of an f16 comes near an end of f32.
        const bool is_large = !kSame<T, f16> && fabsf(x) > kLarge;
        const bool is_small = !kSame<T, f16> && fabsf(x) < kSmall;
        const f32 large = is_large ? x * kDown : 0.0f;
        const f32 small = is_small ? x * kUp : 0.0f;
        const f32 usual = is_large || is_small ? 0.0f : x;  // so is NaN
        return {fmaf(large, large, acc.large), fmaf(usual, usual, acc.usual), fmaf(small, small, acc.small)};
    }
    // Where the largest of each lane, which may be a column of its own, is usual, so are all that count beside it, and NaN.
    template <u32 kLen, u32 kCount>
    static __device__ __forceinline__ void add_all(Acc (&acc)[kLen], const Pack<T, kLen> (&x)[kCount]) {
        bool is_usual = true;
        if constexpr (!kSame<T, f16>) {
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) {
                f32 most = 0.0f;
                #pragma unroll
                for (u32 j = 0; j < kCount; ++j) most = fmaxf(most, fabsf(widen(x[j].lane[l])));
                is_usual &= most >= kSmall && most <= kLarge;
            }
        }
        if (is_usual) {
            #pragma unroll
            for (u32 i = 0; i < kCount * kLen; ++i) {
                const f32 element = widen(x[i / kLen].lane[i % kLen]);
                acc[i % kLen].usual = fmaf(element, element, acc[i % kLen].usual);
            }
        } else {
            #pragma unroll
            for (u32 j = 0; j < kCount; ++j) {
                #pragma unroll
                for (u32 l = 0; l < kLen; ++l) acc[l] = add(acc[l], x[j].lane[l], 0);
            }
        }
    }
    static __device__ Acc join(Acc a, Acc b) { return {a.large + b.large, a.usual + b.usual, a.small + b.small}; }
    static __device__ T finish(Acc acc, f32) {
        if (acc.large > 0) return narrow<T>(__fsqrt_rn(fmaf(acc.usual * kDown, kDown, acc.large)) * kUp);
        if (acc.usual == 0) return narrow<T>(__fsqrt_rn(acc.small) * kDown);
        return narrow<T>(__fsqrt_rn(fmaf(acc.small * kDown, kDown, acc.usual)));
    }
};
