// shuffle.cuh: values of any whole number of words, from thread to thread of a warp. All 32 take part.
#pragma once
#include "types.cuh"

constexpr u32 kWarp = 32;

// A value word by word, through f.
template <typename A, typename F> __device__ __forceinline__ A each_word(A x, F f) {
    struct Parts { u32 word[sizeof(A) / 4]; } parts = bits_as<Parts>(x);
    #pragma unroll
    for (u32& word : parts.word) word = f(word);
    return bits_as<A>(parts);
}

// Of the thread that is by higher; near the end of the warp, its own.
template <typename A> __device__ __forceinline__ A shuffle_down(A x, u32 by) {
    return each_word(x, [=](u32 word) { return __shfl_down_sync(0xffffffffu, word, by); });
}

// Of the thread that is by lower; near the start of the warp, its own.
template <typename A> __device__ __forceinline__ A shuffle_up(A x, u32 by) {
    return each_word(x, [=](u32 word) { return __shfl_up_sync(0xffffffffu, word, by); });
}

// Of one thread.
template <typename A> __device__ __forceinline__ A shuffle_from(A x, u32 lane) {
    return each_word(x, [=](u32 word) { return __shfl_sync(0xffffffffu, word, lane); });
}
