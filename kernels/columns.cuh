// columns.cuh: ops along an axis whose elements do not lie side by side, while those of another axis do: every thread takes a
// pack of neighbouring columns, so that what is read at once lies side by side. Columns are read twice.
//
// What a family does is said by a Line, for kLen columns of one thread:
//
//     using Op;                                   // Op::Stat, Op::empty, Op::join
//     static constexpr u32 kLen, kDeep;           // kDeep: rows that a thread has on its way
//     using Raw;                                  // what is loaded of a row of the columns
//     Raw load(u64 row)
//     void find(const Raw (&)[kCount], Op::Stat (&)[kLen])     // joins what there is in some rows
//     auto prescribe(Op::Stat)                    // what finish needs of each column
//     void finish(u64 row, Raw, const By (&)[kLen])
#pragma once
#include "cluster.cuh"
#include "rows.cuh"

// Threads of a block that share a pack of columns, and blocks of a multiprocessor.
constexpr u32 kSharing = kThreads / kColumnSide;
#if __CUDA_ARCH__ >= 1000
constexpr u32 kColumnBlocks = 2;  // the same code takes some registers more
#else
constexpr u32 kColumnBlocks = 3;
#endif

// Rows `begin` to `end` of the columns of a block, of which kSide threads side by side have a pack each.
template <u32 kSide, typename Line, typename Stat> __device__ __forceinline__
void find_columns(const Line& line, u64 begin, u64 end, Stat (&own)[Line::kLen]) {
    constexpr u32 kDeep = Line::kDeep, kApart = kThreads / kSide;
    #pragma unroll
    for (Stat& stat : own) stat = Line::Op::empty();
    u64 row = begin + threadIdx.x / kSide;
    #pragma unroll 1
    for (; row + (kDeep - 1) * kApart < end; row += kDeep * kApart) {
        typename Line::Raw raw[kDeep];
        #pragma unroll
        for (u32 j = 0; j < kDeep; ++j) raw[j] = line.load(row + j * kApart);
        line.find(raw, own);
    }
    #pragma unroll 1
    for (; row < end; row += kApart) {
        const typename Line::Raw raw[1] = {line.load(row)};
        line.find(raw, own);
    }
}

// Once in a kernel: what all threads of the cluster have found in the columns of this one.
template <typename Op, u32 kLen> __device__ __forceinline__
void join_columns(typename Op::Stat (&own)[kLen], u32 side) {
    using Stat = typename Op::Stat;
    constexpr u32 kWarps = kThreads / kWarp, kColumns = kColumnSide * kLen;
    static_assert(kColumns <= kThreads);
    __shared__ Stat of_warp[kWarps][kColumns];
    __shared__ Stat of_block[kColumns];
    #pragma unroll
    for (u32 by = kWarp / 2; by >= kColumnSide; by /= 2) {
        #pragma unroll
        for (Stat& stat : own) stat = Op::join(stat, shuffle_down(stat, by));
    }
    if (threadIdx.x % kWarp < kColumnSide) {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) of_warp[threadIdx.x / kWarp][threadIdx.x % kColumnSide * kLen + l] = own[l];
    }
    __syncthreads();
    if (threadIdx.x < kColumns) {
        Stat stat = of_warp[0][threadIdx.x];
        #pragma unroll 4
        for (u32 i = 1; i < kWarps; ++i) stat = Op::join(stat, of_warp[i][threadIdx.x]);
        of_block[threadIdx.x] = stat;
    }
#if __CUDA_ARCH__ >= 900
    if (side > 0) {
        cluster_meet();
        Stat stat = Op::empty();
        if (threadIdx.x < kColumns) {
            const u32 here = shared_address(&of_block[threadIdx.x]);
            for (u32 rank = 0; rank < 1u << side; ++rank) {
                const u32 there = shared_address_in(here, rank);
                Words<Stat> words;
                #pragma unroll
                for (u32 i = 0; i < sizeof(words) / 4; ++i) words.word[i] = load_shared_there(there + 4 * i);
                stat = Op::join(stat, bits_as<Stat>(words));
            }
        }
        cluster_wait();  // nobody writes over what is still read
        if (threadIdx.x < kColumns) of_block[threadIdx.x] = stat;
    }
#endif
    __syncthreads();
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) own[l] = of_block[threadIdx.x % kColumnSide * kLen + l];
}

// The columns of a thread of 2^side blocks, `n` rows of them.
template <typename Line> __device__ __forceinline__ void run_columns(const Line& line, u64 n, bool is_there, u32 side) {
    constexpr u32 kDeep = Line::kDeep;
    typename Line::Op::Stat own[Line::kLen];
    const u64 share = (n + (1 << side) - 1) >> side, begin = (blockIdx.x & ((1 << side) - 1)) * share;
    u64 end = begin + share < n ? begin + share : n;
    if (!is_there || begin > n) end = 0;
    find_columns<kColumnSide>(line, begin, end, own);
    join_columns<typename Line::Op>(own, side);
    decltype(line.prescribe(own[0])) by[Line::kLen];
    #pragma unroll
    for (u32 l = 0; l < Line::kLen; ++l) by[l] = line.prescribe(own[l]);
    // From the end, which is the likelier to be in L2.
    const u64 first = begin + threadIdx.x / kColumnSide;
    if (first >= end) return;
    u64 left = (end - first + kSharing - 1) / kSharing;
    #pragma unroll 1
    for (; left >= kDeep; left -= kDeep) {
        typename Line::Raw raw[kDeep];
        #pragma unroll
        for (u32 j = 0; j < kDeep; ++j) raw[j] = line.load(first + (left - 1 - j) * kSharing);
        #pragma unroll
        for (u32 j = 0; j < kDeep; ++j) line.finish(first + (left - 1 - j) * kSharing, raw[j], by);
    }
    #pragma unroll 1
    for (; left > 0; --left) line.finish(first + (left - 1) * kSharing, line.load(first + (left - 1) * kSharing), by);
}
