// matmul_body.cuh: the product of 16-bit operands on tensor cores, for any way in which operands come to shared memory.
#pragma once
#include "matmul_side.cuh"

// Blocks of kM x kN, made of warps of kWarpM x kWarpN. Shared memory is a ring of tiles of both operands. The numbers
// come from Tile in src/kernel.rs.
template <u32 kM_, u32 kN_, u32 kWarpM_, u32 kWarpN_, u32 kSharedBytes, u32 kBlocks_> struct Shape {
    static constexpr u32 kM = kM_, kN = kN_, kWarpM = kWarpM_, kWarpN = kWarpN_;
    static constexpr u32 kThreads = kM / kWarpM * (kN / kWarpN) * 32;
    static constexpr u32 kBlocks = kBlocks_;  // that share a multiprocessor
    static constexpr u32 kStageBytes = (kM + kN) * kDepth * 2;
    static constexpr u32 kStages = kSharedBytes / kStageBytes;
    static_assert(kStages >= 2 && kSharedBytes % kStageBytes == 0);
    // The epilogue takes the ring for 16 rows of each warp.
    static_assert(kThreads / 32 * 16 * (kWarpN + 8) * sizeof(f32) <= kSharedBytes);
};

// The sums of a warp: blocks of 16 rows and 8 columns, as mma holds them.
template <typename S> using Sums = f32[S::kWarpM / 16][S::kWarpN / 8][4];

// Stores a warp's sums, 16 rows at a time by way of shared memory, so that 8 neighbours in a row come to one lane.
template <typename T, typename S>
__device__ __forceinline__ void store_warp(const Product& p, Sums<S>& sums, f32* stage, u64 row0, u64 col0, u32 lane) {
    constexpr u32 kStride = S::kWarpN + 8;  // rows lie 8 banks apart: a phase of 8-byte stores meets each bank once
    constexpr u32 kRuns = S::kWarpN / 8;
    #pragma unroll
    for (u32 i = 0; i < S::kWarpM / 16; ++i) {
        #pragma unroll
        for (u32 j = 0; j < S::kWarpN / 8; ++j) {
            f32* at = stage + lane / 4 * kStride + j * 8 + lane % 4 * 2;
            *reinterpret_cast<float2*>(at) = {sums[i][j][0], sums[i][j][1]};
            *reinterpret_cast<float2*>(at + 8 * kStride) = {sums[i][j][2], sums[i][j][3]};
        }
        __syncwarp();
        #pragma unroll 1
        for (u32 pass = 0; pass < 16 * kRuns / 32; ++pass) {
            const u32 row = pass * (32 / kRuns) + lane / kRuns;
            const u32 col = lane % kRuns * 8;
            const float4* from = reinterpret_cast<const float4*>(stage + row * kStride + col);
            const float4 low = from[0], high = from[1];
            f32 run[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
            store_sums<T>(p, run, blockIdx.z, blockIdx.y, row0 + i * 16 + row, col0 + col);
        }
        __syncwarp();
    }
}

// A block's part of a product. A and B bring the tiles: Aligned or Strided.
//
// Tiles go through a ring of kStages. Steps of 16 along k are loaded to registers one ahead of their use, across the
// border of tiles too: before the last step of a tile is used, all threads meet, which says both that the next tile is
// there and that nobody reads this one any more.
template <typename T, typename S, typename A, typename B>
__device__ __forceinline__ void multiply(const Product& p) {
    constexpr u32 kSteps = kDepth / 16;
    constexpr u32 kStageBytes = S::kStageBytes;
    extern __shared__ __align__(1024) unsigned char shared[];
    const u32 ring = shared_address(shared);

    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const u32 warp_m = warp % (S::kM / S::kWarpM) * S::kWarpM;
    const u32 warp_n = warp / (S::kM / S::kWarpM) * S::kWarpN;
    const Tile tile = tile_at(p, S::kM, S::kN, blockIdx.x, blockIdx.y);
    const u32 n_tiles = u32((tile.depth + kDepth - 1) / kDepth);
    const u32 last_left = u32(tile.depth - u64(n_tiles - 1) * kDepth);

    const Factors<T> from = factors_of<T>(p, blockIdx.z);
    A a(from.a, p.a_m, p.a_k, p.m, tile.m0, tile.k0);
    B b(from.b, p.b_n, p.b_k, p.n, tile.n0, tile.k0);
    u32 fetched = 0, put = ring;
    const auto fetch = [&] {
        if (fetched < n_tiles) {
            const u32 k_left = fetched + 1 < n_tiles ? kDepth : last_left;
            a.fetch(put, k_left);
            b.fetch(put + A::Places::kBytes, k_left);
        }
        copy_async_commit();  // an empty group keeps the count
        ++fetched;
        put = put == ring + (S::kStages - 1) * kStageBytes ? ring : put + kStageBytes;
    };

    Sums<S> sums = {};
    u32 a_blocks[2][S::kWarpM / 16][4], b_blocks[2][S::kWarpN / 16][4];
    // mma takes the halves of a along m first, and those of b along k first, so that b's two registers are neighbours.
    const u32 a_place = A::Places::lane_place(warp_m, lane / 8 % 2, lane / 16);
    const u32 b_place = B::Places::lane_place(warp_n, lane / 16, lane / 8 % 2);
    u32 get = ring;
    const auto load_step = [&](u32 step) {
        #pragma unroll
        for (u32 i = 0; i < S::kWarpM / 16; ++i) A::Places::load_block(a_blocks[step % 2][i], get, a_place, i, step);
        #pragma unroll
        for (u32 j = 0; j < S::kWarpN / 16; ++j) {
            B::Places::load_block(b_blocks[step % 2][j], get + A::Places::kBytes, b_place, j, step);
        }
    };

    #pragma unroll
    for (u32 stage = 0; stage + 1 < S::kStages; ++stage) fetch();
    copy_async_wait<S::kStages - 2>();
    __syncthreads();
    if (n_tiles > 0) load_step(0);

    #pragma unroll 1
    for (u32 t = 0; t < n_tiles; ++t) {
        #pragma unroll
        for (u32 step = 0; step < kSteps; ++step) {
            if (step == kSteps - 1) {
                copy_async_wait<S::kStages - 2>();
                __syncthreads();
                get = get == ring + (S::kStages - 1) * kStageBytes ? ring : get + kStageBytes;
            }
            // After the last tile this loads what nobody uses, from within the ring.
            load_step((step + 1) % kSteps);
            if (step == 0) fetch();
            #pragma unroll
            for (u32 i = 0; i < S::kWarpM / 16; ++i) {
                #pragma unroll
                for (u32 j = 0; j < S::kWarpN / 8; ++j) {
                    const u32* pair = b_blocks[step % 2][j / 2] + j % 2 * 2;
                    mma<T>(sums[i][j], a_blocks[step % 2][i], pair[0], pair[1]);
                }
            }
        }
    }

    // The ring becomes the stage of the epilogue.
    copy_async_wait<0>();
    __syncthreads();
    f32* stage = reinterpret_cast<f32*>(shared) + warp * (16 * (S::kWarpN + 8));
    store_warp<T, S>(p, sums, stage, tile.m0 + warp_m, tile.n0 + warp_n, lane);
}
