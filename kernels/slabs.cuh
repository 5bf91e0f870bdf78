// slabs.cuh: the ops of columns.cuh on columns that L2 does not hold until they are read again, in three launches. The first
// and the last go over the rows in their order, the last one backwards: from stripe to stripe memory would be slower.
//
// Launch     find: x: kWarp packs of columns, y: slices of rows. join: x: kWarp columns. finish: x: as find, y: slabs of
//            kSlabRows rows a thread. kThreads threads, static shared memory of a Stat for each thread and lane.
// Requires   as columns.cuh. partials: [slices, columns]; totals: [columns].
#pragma once
#include "columns.cuh"

constexpr u32 kSlabSharers = kThreads / kWarp;

template <typename Line> __device__ __forceinline__
void find_slice(const Line& line, u64 n, u64 pack, u64 packs, typename Line::Op::Stat* partials) {
    using Stat = typename Line::Op::Stat;
    constexpr u32 kLen = Line::kLen;
    __shared__ Stat found[kSlabSharers][kWarp * kLen];
    const u64 share = (n + gridDim.y - 1) / gridDim.y, begin = blockIdx.y * share;
    const u64 end = pack >= packs ? 0 : begin + share < n ? begin + share : n;
    Stat own[kLen];
    find_columns<kWarp>(line, begin, end, own);
    // Lane by lane, so that no two threads of a warp meet in a bank.
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) found[threadIdx.x / kWarp][l * kWarp + threadIdx.x % kWarp] = own[l];
    __syncthreads();
    const u64 first = u64(blockIdx.x) * (kWarp * kLen), columns = packs * kLen;
    #pragma unroll 1
    for (u32 i = threadIdx.x; i < kWarp * kLen; i += kThreads) {
        const u32 at = i % kLen * kWarp + i / kLen;
        Stat stat = found[0][at];
        #pragma unroll
        for (u32 j = 1; j < kSlabSharers; ++j) stat = Line::Op::join(stat, found[j][at]);
        if (first + i < columns) partials[blockIdx.y * columns + first + i] = stat;
    }
}

template <typename Op>
__global__ void __launch_bounds__(kThreads)
join_slices(const typename Op::Stat* partials, typename Op::Stat* totals, u64 columns, u32 slices) {
    follow();
    __shared__ typename Op::Stat found[kSlabSharers][kWarp];
    const u64 column = u64(blockIdx.x) * kWarp + threadIdx.x % kWarp;
    auto own = Op::empty();
    if (column < columns) {
        #pragma unroll 4
        for (u32 i = threadIdx.x / kWarp; i < slices; i += kSlabSharers) {
            own = Op::join(own, partials[i * columns + column]);
        }
    }
    found[threadIdx.x / kWarp][threadIdx.x % kWarp] = own;
    __syncthreads();
    if (threadIdx.x >= kWarp || column >= columns) return;
    #pragma unroll
    for (u32 j = 1; j < kSlabSharers; ++j) own = Op::join(own, found[j][threadIdx.x]);
    totals[column] = own;
}

template <typename Line> __device__ __forceinline__
void finish_slab(const Line& line, u64 n, u64 pack, u64 packs, const typename Line::Op::Stat* totals) {
    constexpr u32 kLen = Line::kLen, kDeep = Line::kDeep;
    static_assert(kSlabRows % kDeep == 0);
    if (pack >= packs) return;
    decltype(line.prescribe(totals[0])) by[kLen];
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) by[l] = line.prescribe(totals[pack * kLen + l]);
    u64 row = u64(gridDim.y - 1 - blockIdx.y) * (kSlabSharers * kSlabRows) + threadIdx.x / kWarp;
    #pragma unroll 1
    for (u32 i = 0; i < kSlabRows / kDeep; ++i, row += kDeep * kSlabSharers) {
        typename Line::Raw raw[kDeep];
        #pragma unroll
        for (u32 j = 0; j < kDeep; ++j) {
            if (row + j * kSlabSharers < n) raw[j] = line.load(row + j * kSlabSharers);
        }
        #pragma unroll
        for (u32 j = 0; j < kDeep; ++j) {
            if (row + j * kSlabSharers < n) line.finish(row + j * kSlabSharers, raw[j], by);
        }
    }
}
