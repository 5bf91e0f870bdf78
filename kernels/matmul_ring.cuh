// matmul_ring.cuh: how both operands of a product come by bulk copies, in a ring of stages that wgmma reads.
#pragma once
#include "hopper.cuh"
#include "matmul.cuh"

// Elements along k in a stage: rows of 128 bytes, which make so many products.
template <typename T> constexpr u32 kStep = 128 / sizeof(T);
constexpr u32 kProducts = 4;

// One tile of one part of one product, in 32 bits as boxes are counted.
struct Work {
    u32 m0, n0, k0, steps, part, product;
};

template <typename T> __device__ __forceinline__ Work work_of(const Tile& tile, u32 part = 0, u32 product = 0) {
    const u32 steps = u32((tile.depth + kStep<T> - 1) / kStep<T>);
    return {u32(tile.m0), u32(tile.n0), u32(tile.k0), steps, part, product};
}

// Of 64 rows.
constexpr u32 kBoxBytes = 64 * 128;

// How stages of an operand come: in boxes of a step along k and all rows, or half of them where a pair of blocks brings halves;
// or (16 bits) of 64 along both axes, 32 along the other where 64 do not divide it.
template <Major kMajor, u32 kExtent, bool kHalves = false> struct Side {
    static constexpr bool kOuter = kMajor == Major::Outer;
    static constexpr u32 kBox = kOuter ? kExtent % 64 == 0 ? 64 : 32 : kHalves ? kExtent / 2 : kExtent;
    static constexpr u32 kBoxes = kExtent / kBox, kRowBytes = kOuter ? kBox * 2 : 128;
    static constexpr u32 kNext = (kOuter ? 16 * kRowBytes : 32) >> 4;  // a product further along k, as factor_at counts
    static_assert(kExtent % kBox == 0);

    static __device__ __forceinline__ void fetch(u32 to, const TensorMap& map, u32 outer, u32 k, u32 product, u32 barrier) {
        each_box(0, kBoxes, outer, k, [&](u32 at, u32 x, u32 y) { copy_box(to + at, map, x, y, product, barrier); });
    }

    // All to each of so many blocks of a cluster, which bring it in turn.
    template <u32 kBlocks> static __device__ __forceinline__
    void fetch_in_turn(u32 turn, u32 to, const TensorMap& map, u32 outer, u32 k, u32 product, u32 barrier) {
        if constexpr (kBlocks == 1) {
            fetch(to, map, outer, k, product, barrier);
        } else if (turn % kBlocks == cluster_rank()) {
            each_box(0, kBoxes, outer, k, [&](u32 at, u32 x, u32 y) {
                copy_box_to_all(to + at, map, x, y, product, barrier, (1 << kBlocks) - 1);
            });
        }
    }

    // One half or the other, to both blocks of a pair. Of an odd number they bring the larger part in turn.
    static __device__ __forceinline__
    void fetch_half(u32 half, u32 turn, u32 to, const TensorMap& map, u32 outer, u32 k, u32 product, u32 barrier) {
        const u32 middle = (kBoxes + turn % 2) / 2;
        each_box(half == 0 ? 0 : middle, half == 0 ? middle : kBoxes, outer, k, [&](u32 at, u32 x, u32 y) {
            copy_box_to_all(to + at, map, x, y, product, barrier, 3);
        });
    }

    // Where each of these boxes lies in the stage, and in the operand.
    template <typename F> static __device__ __forceinline__ void each_box(u32 first, u32 end, u32 outer, u32 k, F f) {
        #pragma unroll 1  // one thread has time, and the others need the registers
        for (u32 i = first; i < end; ++i) {
            if constexpr (kOuter) f(i * kBox * 128, outer + i * kBox, k);
            else f(i * kBox * 128, k, outer + i * kBox);
        }
    }
};

// The place in the ring, and the parity of the phase in which it is there.
template <u32 kStages> struct Ring {
    u32 stage = 0, parity = 0;

    __device__ __forceinline__ void advance(u32 steps) {
        stage += steps;
        parity ^= stage / kStages & 1;
        stage %= kStages;
    }

    __device__ __forceinline__ void next() {
        if (++stage == kStages) {
            stage = 0;
            parity ^= 1;
        }
    }
};
