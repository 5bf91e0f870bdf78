// digits.cuh: entries by digits of their keys, stably: what the counting sorts of places.cu and scatter_lists.cu are made of.
#pragma once
#include "common.cuh"
#include "shuffle.cuh"

constexpr u32 kDigitBits = 8;
static_assert(kDigits == 1 << kDigitBits);

__device__ __forceinline__ u32 digit_of(u32 key, u32 shift) { return key >> shift & (kDigits - 1); }

// What the threads of a block of kWarps before this one have, together. Every thread of the block takes part.
template <u32 kWarps> __device__ __forceinline__ u32 sum_before(u32 x) {
    __shared__ u32 of_warp[kWarps];
    const u32 lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    u32 sum = x;
    #pragma unroll
    for (u32 by = 1; by < kWarp; by *= 2) {
        const u32 lower = shuffle_up(sum, by);
        if (lane >= by) sum += lower;
    }
    if (lane == kWarp - 1) of_warp[warp] = sum;
    __syncthreads();
    #pragma unroll
    for (u32 w = 0; w < kWarps; ++w) sum += w < warp ? of_warp[w] : 0;
    return sum - x;
}

// How many entries of a warp have the digit of this lane's, and stand in front of it: in lower lanes, or counted before.
// `counts` is the warp's own and counts on; `among` says which lanes have an entry. Of the hardware's search for lanes that
// are alike an H200 takes 1.14 times as long.
template <typename Count>
__device__ __forceinline__ u32 rank_digit(Count (&counts)[kDigits], u32 digit, u32 among) {
    u32 same = among;
    #pragma unroll
    for (u32 bit = 0; bit < kDigitBits; ++bit) {
        const bool is_set = digit >> bit & 1;
        const u32 those = __ballot_sync(0xffffffffu, is_set);
        same &= is_set ? those : ~those;
    }
    const u32 lane = threadIdx.x % kWarp, earlier = __popc(same & ((1u << lane) - 1));
    const u32 rank = counts[digit] + earlier;
    __syncwarp();
    if (earlier == 0 && among >> lane & 1) counts[digit] = rank + __popc(same);
    __syncwarp();
    return rank;
}
