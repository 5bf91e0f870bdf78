// codes.cuh: states in 8 bits: blocks of kCodeBlock elements, each a code and the block's largest magnitude beside them.
//
// What codes stand for is defined in taut-core (codes.rs), where the constants come from.
#pragma once
#include "common.cuh"
#include "shuffle.cuh"

constexpr u32 kDecades = 8;

// The twin of Codes in src/args/optimizer.rs, of codes without a sign. Within a decade a level is top less so many steps,
// and a code is what its level makes of scale and shift, rounded.
struct Codes { f32 top[kDecades], step[kDecades], scale[kDecades], shift[kDecades]; };

// The levels of all codes, and what codes are made with, for a block of threads.
struct Levels {
    f32 plain[256];
    f32 with_sign[128];
    f32 scale[kDecades], shift[kDecades];

    // Every thread of the block takes part.
    __device__ __forceinline__ void fill(const Codes& codes) {
        const auto level = [&](u32 code) {
            if (code == 0) return 0.0f;
            const u32 decade = 31 - __clz(code);
            const u32 below = (2u << decade) - 1 - code;
            return fmaf(-f32(below), codes.step[decade], codes.top[decade]);
        };
        static_assert(kThreads == 256);
        plain[threadIdx.x] = level(threadIdx.x);
        if (threadIdx.x < 128) with_sign[threadIdx.x] = threadIdx.x == 0 ? 0.0f : level(2 * threadIdx.x + 1);
        if (threadIdx.x < kDecades) {
            scale[threadIdx.x] = codes.scale[threadIdx.x];
            shift[threadIdx.x] = codes.shift[threadIdx.x];
        }
        __syncthreads();
    }

    template <bool kSigned> __device__ __forceinline__ f32 of(u8 code) const {
        if constexpr (!kSigned) return plain[code];
        else return __uint_as_float(__float_as_uint(with_sign[code & 127]) | u32(code >> 7) << 31);
    }

    // The code of x, where the largest of its block is 1 / factor. Decades meet in a level, so that beside one either will do.
    template <bool kSigned> __device__ __forceinline__ u8 code(f32 x, f32 factor) const {
        constexpr f32 kToInteger = 12582912.0f;  // 1.5 * 2^23: the sum has the rounded number in its low bits
        const f32 y = fabsf(x) * factor;
        const f32 log = fmaf(__log2f(y), 0.30103f, 7.49999f);
        const f32 decade = fminf(fmaxf(log, kSigned ? 1.0f : 0.0f), 7.0f);
        const u32 d = __float_as_uint(decade + kToInteger) & 7;
        const f32 exact = fmaf(y, scale[d], shift[d]);
        if constexpr (kSigned) {
            const u32 code = __float_as_uint(fmaf(exact, 0.5f, -0.5f) + kToInteger) & 127;
            return u8(code | (__float_as_uint(x) >> 31 << 7));
        } else {
            const u32 code = __float_as_uint(exact + kToInteger) & 255;
            // What is positive stays so, for what is divided by its root.
            return u8(code == 0 && x > 0 ? 1 : code);
        }
    }
};

// The largest of all lanes, NaN if there is one, to each of them.
__device__ __forceinline__ f32 largest_of_warp(f32 x) {
    #pragma unroll
    for (u32 by = kWarp / 2; by > 0; by /= 2) x = max_nan(x, __shfl_xor_sync(0xffffffffu, x, by));
    return x;
}

// What stands beside the codes of a block: 0 where no code could be made, NaN where that is not finite.
__device__ __forceinline__ f32 kept_largest(f32 largest) {
    if (!(largest < __uint_as_float(0x7f800000u))) return __uint_as_float(0x7fc00000u);
    return largest < 0x1p-126f ? 0.0f : largest;
}
