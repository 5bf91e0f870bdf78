// softmax.cuh: what the exponentials of a row are counted by, for softmax and what is made of it.
#pragma once
#include "rows.cuh"

constexpr f32 kInf = __builtin_bit_cast(f32, 0x7f800000u);

// e^x for x <= 0.
__device__ __forceinline__ f32 exp_of(f32 x) { return ex2_approx_ftz(x * 1.44269504f); }

// The largest element, and the sum of exp(x - max).
struct Peak { f32 max, sum; };

struct Peaks {
    using Stat = Peak;
    static __device__ Peak empty() { return {-kInf, 0.0f}; }
    static __device__ Peak join(Peak a, Peak b) {
        const f32 max = fmaxf(a.max, b.max);
        return {max, a.sum * below(a.max, max) + b.sum * below(b.max, max)};
    }
    // exp(x - max), where -inf counts for nothing even if there is nothing else.
    static __device__ f32 below(f32 x, f32 max) { return x == -kInf ? 0.0f : exp_of(x - max); }
};

// NaN plays no part here: it shows in the sum.
template <typename Chunk> __device__ __forceinline__ f32 max_of(Chunk& chunk) {
    f32 max = -kInf;
    #pragma unroll
    for (u32 j = 0; j < Chunk::kUnits; ++j) {
        if (!chunk.counts(j)) continue;
        #pragma unroll
        for (f32 x : chunk.numbers(j)) max = fmaxf(max, x);
    }
    return max;
}
