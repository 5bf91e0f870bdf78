// table.cuh: lists of tensors that travel with a launch, by value, and the parts that blocks take of them.
//
// Every tensor is cut into chunks of one length, the last of which may be shorter: a block takes one chunk, so that a huge
// tensor and many tiny ones spread evenly. The grid has as many blocks as there are chunks.
#pragma once
#include "common.cuh"

// For each tensor of the list an address for each operand, and a word: the number of its first chunk, and above that the
// elements of its last. The twin of Table in src/args/table.rs.
template <u32 kWords> struct Table { u64 word[kWords]; };

// The chunk of a block: elements `first` to `first + count` of a tensor.
struct Chunk {
    const u64* entry;
    u64 first;
    u32 count;

    template <typename T> __device__ __forceinline__ T* operand(u32 i) const {
        return reinterpret_cast<T*>(entry[i]) + first;
    }

    // Whether packs of kBytes can be read from there on.
    template <u32 kBytes> __device__ __forceinline__ bool is_aligned(u32 i, u32 size) const {
        return (entry[i] + first * size) % kBytes == 0;
    }
};

// The tensor is found by bisection. With kLen elements in a chunk.
template <u32 kOperands, u32 kLen, u32 kWords>
__device__ __forceinline__ Chunk find_chunk(const Table<kWords>& table, u32 tensors) {
    constexpr u32 kEntry = kOperands + 1;
    const auto begin = [&](u32 tensor) { return u32(table.word[tensor * kEntry + kOperands]); };
    u32 low = 0, beyond = tensors;
    #pragma unroll 1
    while (beyond - low > 1) {
        const u32 middle = (low + beyond) / 2;
        if (begin(middle) <= blockIdx.x) low = middle;
        else beyond = middle;
    }
    const u32 end = beyond < tensors ? begin(beyond) : gridDim.x;
    const bool is_last = blockIdx.x + 1 == end;
    const u32 last = u32(table.word[low * kEntry + kOperands] >> 32);
    return {table.word + low * kEntry, u64(blockIdx.x - begin(low)) * kLen, is_last ? last : kLen};
}

// A number that the host gives, or that stands on the device. The twin of Number in src/args/table.rs.
struct Number {
    const f32* at;  // null for value
    f32 value;

    __device__ __forceinline__ f32 get() const { return at ? *at : value; }
};
