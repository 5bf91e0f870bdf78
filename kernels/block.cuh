// block.cuh: threads that work on one thing together, and what they make of what each of them has.
//
// A Stat is what one thread has found: a struct of whole 32-bit words. Op::join(a, b) is what two of them know together,
// a from earlier threads than b, and Op::empty() what nobody has found. Orders are fixed: the same bits in every run.
#pragma once
#include "common.cuh"

constexpr u32 kWarp = 32;

template <typename A> struct Words { u32 word[sizeof(A) / 4]; };

// From the lane that is `by` further on in the warp; every lane takes part.
template <typename A> __device__ __forceinline__ A shuffle_down(A x, u32 by) {
    auto words = bits_as<Words<A>>(x);
    #pragma unroll
    for (u32& word : words.word) word = __shfl_down_sync(0xffffffffu, word, by);
    return bits_as<A>(words);
}

// From one lane of the warp; every lane takes part.
template <typename A> __device__ __forceinline__ A shuffle_from(A x, u32 lane) {
    auto words = bits_as<Words<A>>(x);
    #pragma unroll
    for (u32& word : words.word) word = __shfl_sync(0xffffffffu, word, lane);
    return bits_as<A>(words);
}

// Groups of `size` neighbouring threads, a power of two up to a warp.
struct Group {
    static constexpr u32 kMost = kThreads;  // threads of a block at most
    u32 size;

    __device__ Group(u32 side) : size(side) {}
    // A power of two is no divisor for the hardware: that would be a division.
    __device__ u32 lane() const { return threadIdx.x & (size - 1); }
    __device__ u64 index() const { return (u64(blockIdx.x) * blockDim.x + threadIdx.x) >> (31 - __clz(size)); }

    // The first thread's x.
    __device__ __forceinline__ f32 first(f32 x) const { return shuffle_from(x, threadIdx.x % kWarp & ~(size - 1)); }

    // The same bits for each of them. Every thread of the block takes part.
    __device__ __forceinline__ f32 sum(f32 x) const {
        #pragma unroll
        for (u32 by = kWarp / 2; by > 0; by /= 2) {
            if (by < size) x += __shfl_xor_sync(0xffffffffu, x, by);
        }
        return x;
    }

    // The largest; of a number and NaN the number.
    __device__ __forceinline__ f32 max(f32 x) const {
        #pragma unroll
        for (u32 by = kWarp / 2; by > 0; by /= 2) {
            if (by < size) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, by));
        }
        return x;
    }

    // Of what most often is the same for all of them, and can be multiplied exactly.
    __device__ __forceinline__ f32 sum_alike(f32 x) const {
        const bool is_alike = __all_sync(0xffffffffu, x == first(x));
        return is_alike ? f32(size) * x : sum(x);
    }

    // Two at once: after the first step each half of a warp has one of them.
    __device__ __forceinline__ void sum_both(f32& a, f32& b) const {
        if (size < kWarp) {
            a = sum(a);
            b = sum(b);
            return;
        }
        const bool is_upper = threadIdx.x & kWarp / 2;
        f32 mine = is_upper ? b : a;
        mine += __shfl_xor_sync(0xffffffffu, is_upper ? a : b, kWarp / 2);
        #pragma unroll
        for (u32 by = kWarp / 4; by > 0; by /= 2) mine += __shfl_xor_sync(0xffffffffu, mine, by);
        a = __shfl_sync(0xffffffffu, mine, 0);
        b = __shfl_sync(0xffffffffu, mine, kWarp / 2);
    }

    // What all threads of the group know together, to each of them. Every thread of the block takes part.
    template <typename Op> __device__ __forceinline__ typename Op::Stat join(typename Op::Stat own) const {
        if constexpr (requires { Op::join_all(*this, own); }) {
            return Op::join_all(*this, own);
        } else {
            #pragma unroll
            for (u32 by = kWarp / 2; by > 0; by /= 2) {
                if (by < size) own = Op::join(own, shuffle_down(own, by));
            }
            return shuffle_from(own, threadIdx.x % kWarp & ~(size - 1));
        }
    }

    // The same where all of them have `count` elements together.
    template <typename Op> __device__ __forceinline__ typename Op::Stat join(typename Op::Stat own, f32 count) const {
        if constexpr (requires { Op::join_all(*this, own, count); }) return Op::join_all(*this, own, count);
        else return join<Op>(own);
    }
};

// A whole block, of whole warps.
struct Block {
    static constexpr u32 kMost = kMostThreads;
    u32 size;

    __device__ Block(u32) : size(blockDim.x) {}
    __device__ u32 lane() const { return threadIdx.x; }
    __device__ u64 index() const { return blockIdx.x; }
    __device__ u32 slot(u32 unit) const { return unit; }

    // Once in a kernel: the shared memory is not for a second time.
    template <typename Op> __device__ __forceinline__ typename Op::Stat join(typename Op::Stat own) const {
        const Group warp(kWarp);
        __shared__ typename Op::Stat of_warp[kMost / kWarp];
        own = warp.join<Op>(own);
        if (warp.lane() == 0) of_warp[threadIdx.x / kWarp] = own;
        __syncthreads();
        // In every warp groups of as many threads as there are warps, all with the same to join.
        const u32 n_warps = size / kWarp;
        const Group warps(n_warps > 1 ? 1u << (32 - __clz(n_warps - 1)) : 1);
        return warps.join<Op>(warps.lane() < n_warps ? of_warp[warps.lane()] : Op::empty());
    }
};

// Columns of a block: neighbouring threads, `width` of them, belong to as many columns; the number of threads of a
// column is a power of two.
struct Columns {
    static constexpr u32 kMost = kMostThreads;
    u32 size, width;

    __device__ Columns(u32 side) : size(blockDim.x / side), width(side) {}
    __device__ u32 lane() const { return threadIdx.x / width; }
    __device__ u64 index() const { return u64(blockIdx.x) * width + threadIdx.x % width; }

    // Once in a kernel, as above.
    template <typename Op> __device__ __forceinline__ typename Op::Stat join(typename Op::Stat own) const {
        __shared__ typename Op::Stat of_thread[kMost];
        of_thread[threadIdx.x] = own;
        __syncthreads();
        #pragma unroll 1
        for (u32 half = size / 2; half > 0; half /= 2) {
            if (lane() < half) {
                of_thread[threadIdx.x] = Op::join(of_thread[threadIdx.x], of_thread[threadIdx.x + half * width]);
            }
            __syncthreads();
        }
        return of_thread[threadIdx.x % width];
    }
};
