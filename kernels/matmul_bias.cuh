// matmul_bias.cuh: the bias of a tile, for a warpgroup that has its sums in registers as wgmma leaves them.
#pragma once
#include "hopper.cuh"
#include "matmul.cuh"

// The bias, which is on its way while the products are computed. Of columns: a pair for each lane and each 64 columns; every
// warp has all of it. Of rows, where dst is turned: the two of a lane.
template <typename T, u32 kN> struct Bias {
    static constexpr u32 kPairs = (kN + 63) / 64;
    u32 pairs[kPairs];

    __device__ __forceinline__ void bring(const Product& p, u64 tile_col) {
        const T* bias = static_cast<const T*>(p.bias);
        const bool on_pairs = p.bias_n == 1 && p.n % 2 == 0 && is_aligned<4>(p.bias);
        #pragma unroll
        for (u32 i = 0; i < kPairs; ++i) {
            const u64 col = tile_col + i * 64 + threadIdx.x % 32 * 2;
            const T* at = bias + col * p.bias_n;
            pairs[i] = 0;
            if (col >= p.n) continue;
            if (on_pairs) {
                pairs[i] = *reinterpret_cast<const u32*>(at);
            } else {
                pairs[i] = at[0].bits;
                if (col + 1 < p.n) pairs[i] |= u32(at[p.bias_n].bits) << 16;
            }
        }
    }

    __device__ __forceinline__ void bring_of_rows(const Product& p, u64 row0) {
        const u64 row = row0 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
        const T* at = static_cast<const T*>(p.bias) + row * p.bias_n;
        pairs[0] = row < p.m ? at[0].bits : 0;
        if (row + 8 < p.m) pairs[0] |= u32(at[8 * p.bias_n].bits) << 16;
    }

    template <u32 kSums> __device__ __forceinline__ void add_to_rows(f32 (&sums)[1][kSums]) const {
        const f32 of[2] = {half_of<T>(pairs[0], 0), half_of<T>(pairs[0], 1)};
        #pragma unroll
        for (u32 i = 0; i < kSums; ++i) sums[0][i] += of[i / 2 % 2];
    }

    template <u32 kGroups, u32 kSums> __device__ __forceinline__ void add_to(f32 (&sums)[kGroups][kSums]) const {
        #pragma unroll
        for (u32 b = 0; b < kSums / 4; ++b) {
            const u32 pair = __shfl_sync(~0u, pairs[b / 8], b % 8 * 4 + threadIdx.x % 4);
            #pragma unroll
            for (u32 i = 0; i < 4 * kGroups; ++i) sums[i / 4][4 * b + i % 4] += half_of<T>(pair, i % 2);
        }
    }
};

// The same of f32: two neighbours for each lane and each 64 columns.
template <u32 kN> struct Bias<f32, kN> {
    f32 pairs[kN / 64][2];

    __device__ __forceinline__ void bring_of_rows(const Product&, u64) {}  // dst is never turned

    __device__ __forceinline__ void bring(const Product& p, u64 tile_col) {
        const f32* bias = static_cast<const f32*>(p.bias);
        #pragma unroll
        for (u32 i = 0; i < kN / 32; ++i) {
            const u64 col = tile_col + i / 2 * 64 + threadIdx.x % 32 * 2 + i % 2;
            pairs[i / 2][i % 2] = col < p.n ? bias[col * p.bias_n] : 0.0f;
        }
    }

    template <u32 kGroups, u32 kSums> __device__ __forceinline__ void add_to(f32 (&sums)[kGroups][kSums]) const {
        #pragma unroll
        for (u32 b = 0; b < kSums / 4; ++b) {
            const u32 lane = b % 8 * 4 + threadIdx.x % 4;
            const f32 pair[2] = {__shfl_sync(~0u, pairs[b / 8][0], lane), __shfl_sync(~0u, pairs[b / 8][1], lane)};
            #pragma unroll
            for (u32 i = 0; i < 4 * kGroups; ++i) sums[i / 4][4 * b + i % 4] += pair[i % 2];
        }
    }
};
