// philox.cuh: Philox 4x32-10, the generator of all random numbers (Salmon, Moraes, Dror and Shaw: Parallel random numbers,
// as easy as 1, 2, 3; SC 2011).
#pragma once
#include "common.cuh"

struct Words { u32 x[4]; };

// The block with counter (lo(block), hi(block), 0, 0), where a round has the keys key(2 * round) and key(2 * round + 1).
template <typename Key> __device__ __forceinline__ Words philox_by(Key key, u64 block) {
    Words c = {{u32(block), u32(block >> 32), 0, 0}};
    #pragma unroll
    for (u32 round = 0; round < kRounds; ++round) {
        const u64 a = mul_wide(0xD2511F53u, c.x[0]);
        const u64 b = mul_wide(0xCD9E8D57u, c.x[2]);
        c = {{u32(b >> 32) ^ c.x[1] ^ key(2 * round), u32(b), u32(a >> 32) ^ c.x[3] ^ key(2 * round + 1), u32(a)}};
    }
    return c;
}

// The same under the key (lo(seed), hi(seed)).
__device__ __forceinline__ Words philox(u64 seed, u64 block) {
    const auto key = [=](u32 i) { return i % 2 ? u32(seed >> 32) + i / 2 * 0xBB67AE85u : u32(seed) + i / 2 * 0x9E3779B9u; };
    return philox_by(key, block);
}
