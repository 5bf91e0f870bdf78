// cluster.cuh: the blocks of a cluster as one team.
#pragma once
#include "block.cuh"
#include "hopper.cuh"

// Blocks of a cluster, 2^side of them and at most 8, each of whole warps. For compute 9.0 and up; others get what makes no
// sense and is never launched.
struct Cluster {
    static constexpr u32 kMost = 8 * kMostThreads;
    u32 size, blocks_log2;

    __device__ Cluster(u32 side) : size(blockDim.x << side), blocks_log2(side) {}
    __device__ u32 lane() const { return (blockIdx.x & ((1 << blocks_log2) - 1)) * blockDim.x + threadIdx.x; }
    __device__ u64 index() const { return blockIdx.x >> blocks_log2; }
    // Of what this thread has of a row, where it is among all that its block has.
    __device__ u32 slot(u32 unit) const { return ((unit - lane()) >> blocks_log2) + threadIdx.x; }

    // Once in a kernel: the shared memory is not for a second time.
    template <typename Op> __device__ __forceinline__ typename Op::Stat join(typename Op::Stat own) const {
        using Stat = typename Op::Stat;
        __shared__ Stat of_block;
        own = Block(0).join<Op>(own);
#if __CUDA_ARCH__ >= 900
        if (threadIdx.x == 0) of_block = own;
        cluster_meet();
        // In every warp groups of as many threads as there are blocks, all with the same to join.
        const Group group(1 << blocks_log2);
        Words<Stat> words;
        const u32 there = shared_address_in(shared_address(&of_block), group.lane());
        #pragma unroll
        for (u32 i = 0; i < sizeof(words) / 4; ++i) words.word[i] = load_shared_there(there + 4 * i);
        own = group.join<Op>(bits_as<Stat>(words));
        cluster_wait();  // nobody ends whose memory is still read
#endif
        return own;
    }
};
