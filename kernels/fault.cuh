// fault.cuh: what only a kernel sees, said to the host. The host looks when it waits for the device.
#pragma once
#include "types.cuh"

// The twin of Fault in src/args.rs.
struct Fault {
    u64* word;  // of pinned host memory
    u64 code;   // of the op

    // An index that is out of range. One store of 8 bytes, so that the word is never a mixture of two.
    __device__ __forceinline__ void raise(i64 index) const {
        *reinterpret_cast<volatile u64*>(word) = code << 56 | (u64(index) & ((1ull << 56) - 1));
    }
};
