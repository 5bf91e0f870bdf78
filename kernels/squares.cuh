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
    // A sum of squares far from both ends of f32 has none in it that is not usual and counts.
    static __device__ bool is_usual(f32 sum) { return kSame<T, f16> || (sum >= kSmall * kSmall && sum <= kLarge * kLarge); }

    template <u32 kLen, u32 kCount>
    static __device__ __forceinline__ void add_squares(f32 (&sum)[kLen], const Pack<T, kLen> (&x)[kCount]) {
        #pragma unroll
        for (u32 i = 0; i < kCount * kLen; ++i) {
            const f32 element = widen(x[i / kLen].lane[i % kLen]);
            sum[i % kLen] = fmaf(element, element, sum[i % kLen]);
        }
    }

    // Each lane may be a column of its own.
    template <u32 kLen, u32 kCount>
    static __device__ __forceinline__ void add_all(Acc (&acc)[kLen], const Pack<T, kLen> (&x)[kCount]) {
        f32 sum[kLen] = {};
        add_squares(sum, x);
        bool are_usual = true;
        #pragma unroll
        for (f32 lane : sum) are_usual &= is_usual(lane);
        if (are_usual) {
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) acc[l].usual += sum[l];
        } else {
            #pragma unroll
            for (u32 i = 0; i < kCount * kLen; ++i) acc[i % kLen] = add(acc[i % kLen], x[i / kLen].lane[i % kLen], 0);
        }
    }

    template <u32 kLen> struct Run {
        Acc acc;
        __device__ __forceinline__ explicit Run(u64) : acc{0, 0, 0} {}
        template <u32 kCount> __device__ __forceinline__ void add(const Pack<T, kLen> (&x)[kCount], u64, u64) {
            f32 sum[kLen] = {};
            add_squares(sum, x);
            #pragma unroll
            for (u32 l = 1; l < kLen; ++l) sum[0] += sum[l];
            if (is_usual(sum[0])) {
                acc.usual += sum[0];
            } else {
                #pragma unroll
                for (u32 i = 0; i < kCount * kLen; ++i) acc = Norm::add(acc, x[i / kLen].lane[i % kLen], 0);
            }
        }
        __device__ __forceinline__ Acc joined() const { return acc; }
    };

    static __device__ Acc join(Acc a, Acc b) { return {a.large + b.large, a.usual + b.usual, a.small + b.small}; }
    static __device__ T finish(Acc acc, f32) {
        if (acc.large > 0) return narrow<T>(__fsqrt_rn(fmaf(acc.usual * kDown, kDown, acc.large)) * kUp);
        if (acc.usual == 0) return narrow<T>(__fsqrt_rn(acc.small) * kDown);
        return narrow<T>(__fsqrt_rn(fmaf(acc.small * kDown, kDown, acc.usual)));
    }
};
