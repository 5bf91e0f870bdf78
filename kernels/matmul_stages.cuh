// matmul_stages.cuh: the ring between the thread of a block that brings operands and the warpgroups that multiply them, for
// blocks that stay on their multiprocessors and take one tile after the other.
#pragma once
#include "matmul_ring.cuh"

// Tiles of kM x kN. The numbers come from Tile in src/variant.rs.
template <u32 kM_, u32 kN_, u32 kTeam_, u32 kStages_> struct Shape {
    static constexpr u32 kM = kM_, kN = kN_, kTeam = kTeam_, kStages = kStages_;
    static constexpr u32 kRows = kM / kTeam;  // of a warpgroup
    // Warpgroups that multiply, and threads, with those of the warpgroup that brings operands.
    static constexpr u32 kGroups = kTeam == 3 ? 3 : 2, kThreads = 128 * (kGroups + 1);
    // Three have room for one box each, and registers for no more than what is part of the rounding, or what dst holds.
    static constexpr bool kTight = kTeam == 3;
    // Of 128 x 192 sums a warpgroup alone has no registers for more than bias, relu and gelu, and goes out box by box.
    static constexpr bool kPlain = kTeam == 1 && kN == 192;
    static constexpr bool kPairs = kTeam > 1;
    static constexpr u32 kABytes = kM * 128, kBytes = (kM + kN) * 128;
    // Boxes of a warpgroup that go out together, and how many such batches there is room for: two, in turn, or all in one.
    static constexpr bool kAllInOne = kN == 64 || (kN == 192 && kTeam == 2);
    static constexpr u32 kBatch = kAllInOne ? kN / 64 : kPlain ? 1 : kRows / 64, kRoom = kAllInOne || kTight ? 1 : 2;
    static constexpr u32 kBoxes = kRoom * kBatch;
    // Whether there is room for half of them. What dst holds of the others comes to where stages have been read: of each the
    // warpgroup's own rows of a, a box.
    static constexpr bool kBorrows = kN == 256 && kRows == 64;
    // Of no multiple of 64 columns all go out as they lie in dst, at once or, where there is no room, one half after the other.
    static constexpr bool kInBoxes = kN % 64 == 0;
    static constexpr u32 kOutCols = kN > 208 ? kN / 2 : kN;
    static constexpr u32 kLeast = kInBoxes ? kBoxes * kBoxBytes : 64 * kOutCols * 2;
    static constexpr u32 kOutBytes = kLeast > 2 * kBoxBytes || kTight ? kLeast : 2 * kBoxBytes;
    static constexpr u32 kBarriers = 2 * kStages + 2 * kGroups;  // of stages, and of halves of a tile
    static_assert(kRows % 64 == 0 && kTeam >= 1 && kTeam <= 3);
};

// Of elements T; A is the Side of the first operand, B that of the second.
template <typename T, typename S, typename A, typename B> struct Stages {
    u32 at;           // a multiple of 1024
    u32 full, empty;  // a barrier for each stage: what it waits for has come; it is free, in both blocks of a pair
    bool paired;
    Ring<S::kStages> ring;

    // Once, by one thread, before the others use any barrier.
    __device__ __forceinline__ void init() const {
        #pragma unroll 1
        for (u32 i = 0; i < S::kStages; ++i) {
            barrier_init(full + 8 * i, 1);
            barrier_init(empty + 8 * i, (paired ? 8 : 4) * S::kTeam);
        }
        #pragma unroll
        for (u32 i = 0; i < 2 * S::kGroups; ++i) barrier_init(empty + 8 * (S::kStages + i), 1);
        barrier_init_fence();
    }

    // Brings the operands of a tile, step after step; of the second only a half, if both blocks of a pair bring theirs to
    // both. Calls also(step) after each.
    template <typename F> __device__ __forceinline__
    void bring(const TensorMap& a_map, const TensorMap& b_map, const Work& work, u32 a_product, u32 b_product, bool halves,
               F also) {
        #pragma unroll 1
        for (u32 step = 0; step < work.steps; ++step, ring.next()) {
            const u32 barrier = full + 8 * ring.stage, to = at + ring.stage * S::kBytes;
            const u32 k = work.k0 + step * kStep<T>;
            barrier_wait(empty + 8 * ring.stage, ring.parity ^ 1);
            barrier_expect(barrier, S::kBytes);
            A::fetch(to, a_map, work.m0, k, a_product, barrier);
            const u32 b_to = to + S::kABytes;
            if constexpr (S::kPairs) {
                if (halves) B::fetch_half(cluster_rank(), step, b_to, b_map, work.n0, k, b_product, barrier);
                else B::fetch(b_to, b_map, work.n0, k, b_product, barrier);
            } else {
                B::fetch(b_to, b_map, work.n0, k, b_product, barrier);
            }
            also(step);
        }
    }

    // Of the stage that was used so many steps ago, 1 for the last, the barrier, and where a warpgroup's rows of a lie.
    __device__ __forceinline__ u32 before(u32 steps) const { return (ring.stage + S::kStages - steps) % S::kStages; }
    __device__ __forceinline__ u32 empty_before(u32 steps) const { return empty + 8 * before(steps); }
    __device__ __forceinline__ u32 rows_before(u32 steps, u32 rows_at) const {
        return at + before(steps) * S::kBytes + rows_at * 128;
    }

    // A warp has read a stage, which is free where it is, and where the other half of b comes from.
    __device__ __forceinline__ void leave(u32 barrier) const {
        if (threadIdx.x % 32 != 0) return;
        barrier_arrive(barrier);
        if (paired) barrier_arrive_there(shared_address_in(barrier, 1 - cluster_rank()));
    }

    // The products of a tile, of a warpgroup's rows from rows_at on. The last of them are still at work, on the stage whose
    // barrier this returns. Calls meanwhile(), for what else is to be done, when the first ones are. The stages of steps from
    // `kept` on are not left, but for the last, and keep() is called when all of them are read.
    template <u32 kGroups, u32 kSums, typename F, typename G> __device__ __forceinline__
    u32 multiply(f32 (&sums)[kGroups][kSums], u32 steps, u32 rows_at, F meanwhile, u32 kept, G keep) {
        u32 used = empty;
        #pragma unroll 1
        for (u32 step = 0; step < steps; ++step, ring.next()) {
            const u32 here = at + ring.stage * S::kBytes;
            const u64 a = factor_at<A::kOuter>(here + rows_at * 128, kBoxBytes);
            const u64 b = factor_at<B::kOuter>(here + S::kABytes, kBoxBytes);
            barrier_wait(full + 8 * ring.stage, ring.parity);
            product_fence();
            #pragma unroll
            for (u32 i = 0; i < kProducts; ++i) {
                #pragma unroll
                for (u32 r = 0; r < kGroups; ++r) {
                    multiply_group<T, A::kOuter, B::kOuter>(sums[r], a + i * A::kNext + r * (kBoxBytes >> 4),
                                                            b + i * B::kNext, step + i > 0);
                }
            }
            product_commit();
            // The step before is done: its stage is free.
            product_wait<1>();
            if (step == 0) meanwhile();
            else if (step <= kept) leave(used);
            else if (step + 1 == steps) keep();
            used = empty + 8 * ring.stage;
        }
        return used;
    }

    // The same without products.
    __device__ __forceinline__ void pass(u32 steps) {
        #pragma unroll 1
        for (u32 step = 0; step < steps; ++step, ring.next()) {
            barrier_wait(full + 8 * ring.stage, ring.parity);
            leave(empty + 8 * ring.stage);
        }
    }
};
