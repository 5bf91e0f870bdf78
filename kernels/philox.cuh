// philox.cuh: Philox 4x32-10, the generator of all random numbers (Salmon, Moraes, Dror and Shaw: Parallel random numbers,
// as easy as 1, 2, 3; SC 2011).
#pragma once
#include "common.cuh"

struct Words { u32 x[4]; };

// The block with counter (lo(block), hi(block), 0, 0) under the key (lo(seed), hi(seed)).
__device__ __forceinline__ Words philox(u64 seed, u64 block) {
    u32 k0 = u32(seed), k1 = u32(seed >> 32);
    Words c = {{u32(block), u32(block >> 32), 0, 0}};
    #pragma unroll
    for (u32 round = 0; round < 10; ++round) {
        const u64 a = mul_wide(0xD2511F53u, c.x[0]);
        const u64 b = mul_wide(0xCD9E8D57u, c.x[2]);
        c = {{u32(b >> 32) ^ c.x[1] ^ k0, u32(b), u32(a >> 32) ^ c.x[3] ^ k1, u32(a)}};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}
