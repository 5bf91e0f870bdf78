// matmul_wgmma.cu: products of 16-bit operands on the tensor cores of compute 9.0a (wgmma), each contiguous along one of
// its axes.
//
// A block stays on its multiprocessor and takes one tile after the other. One thread of its first warpgroup starts bulk
// copies of both operands into a ring of stages; two warpgroups multiply. With kTeam = 2 they share a tile; with kTeam = 1
// each has its own, and while one stores, the other multiplies: they hand on the tensor cores in turn. What goes into the
// epilogue, the bias and what dst holds, is on its way while the products are computed.
//
// Blocks in pairs take tiles below one another, which want the same of b: each brings half of it, to both. That is a third
// less to read from L2. Blocks of the smaller tiles would wait for each other longer than they save.
//
// Launch     1-D, at most a block for each tile of each part of k of each product; in clusters of 1, or of 2 if kTeam is 2
//            and there is an even number of tiles down; 384 threads; the dynamic shared memory of Kernel::shared_bytes in
//            src/expression.rs.
// Requires   a_map and b_map: 3-D, the contiguous axis, the other, products; boxes as in Side; k at least 1. dst_map
//            likewise in boxes of 64 rows of 128 bytes, if out_of says so (else any). k_part a multiple of kStep, unless
//            there is one part.
// Aliasing   dst apart from a, b and bias.
// Numerics   as matmul_mma.cu. Where the copy engine adds to f32, what is below 2^-126 counts as zero.
// Bound by   tensor cores for large m, n and k; 2 * m * n * k operations.
#include "hopper.cuh"
#include "matmul.cuh"

// Elements along k in a stage: rows of 128 bytes.
constexpr u32 kStep = 64;
// Of 64 x 64 elements.
constexpr u32 kBoxBytes = 64 * 64 * 2;

// How dst is stored: without the copy engine, or by it in elements of T or of f32. The twin of goes_in_boxes in
// crates/taut-cuda/src/launch/matmul/boxes.rs.
enum class Out { Directly, Boxes, WideBoxes };

__device__ __forceinline__ Out out_of(const Product& p) {
    if (p.partial || p.n % (p.wide ? 4 : 8) != 0 || !is_aligned<16>(p.dst)) return Out::Directly;
    if (p.wide) return p.onto > 1 ? Out::Directly : Out::WideBoxes;
    return Out::Boxes;
}

// Tiles of kM x kN. The numbers come from Tile in src/variant.rs.
template <u32 kM_, u32 kN_, u32 kTeam_, u32 kStages_> struct Shape {
    static constexpr u32 kM = kM_, kN = kN_, kTeam = kTeam_, kStages = kStages_;
    static constexpr u32 kRows = kM / kTeam;  // of a warpgroup
    static constexpr bool kPairs = kTeam == 2;
    static constexpr u32 kABytes = kM * kStep * 2, kBytes = (kM + kN) * kStep * 2;
    static constexpr u32 kBatch = kRows / 64;  // boxes that go out together
    static constexpr u32 kOutBytes = 2 * kBatch * kBoxBytes;  // of a warpgroup: two batches, in turn
    static_assert(kRows % 64 == 0 && (kTeam == 1 || kTeam == 2));
};

// How stages of an operand come: in boxes of 64 along k and kRows rows, or of 64 along both axes.
template <Major kMajor, u32 kExtent, u32 kRows> struct Side {
    static constexpr bool kOuter = kMajor == Major::Outer;
    static constexpr u32 kNext = (kOuter ? 16 * 128 : 32) >> 4;  // 16 elements further along k, as factor_at counts
    static constexpr u32 kBox = kOuter ? 64 : kRows, kBoxes = kExtent / kBox;
    static_assert(kExtent % kBox == 0);

    static __device__ __forceinline__ void fetch(u32 to, const TensorMap& map, u32 outer, u32 k, u32 product, u32 barrier) {
        each_box<kBoxes>(outer, k, [&](u32 i, u32 x, u32 y) {
            copy_box(to + i * kBox * 128, map, x, y, product, barrier);
        });
    }

    // One half or the other, to both blocks of a pair.
    static __device__ __forceinline__
    void fetch_half(u32 half, u32 to, const TensorMap& map, u32 outer, u32 k, u32 product, u32 barrier) {
        static_assert(kBoxes % 2 == 0);
        const u32 first = half * (kBoxes / 2);
        each_box<kBoxes / 2>(outer + first * kBox, k, [&](u32 i, u32 x, u32 y) {
            copy_box_to_all(to + (first + i) * kBox * 128, map, x, y, product, barrier, 3);
        });
    }

    template <u32 kCount, typename F> static __device__ __forceinline__ void each_box(u32 outer, u32 k, F f) {
        #pragma unroll 1  // one thread has time, and the others need the registers
        for (u32 i = 0; i < kCount; ++i) {
            if constexpr (kOuter) f(i, outer + kBox * i, k);
            else f(i, k, outer + kBox * i);
        }
    }
};

// One tile of one part of one product.
struct Work {
    Tile tile;
    u32 product, part, steps;
};

template <typename S> __device__ __forceinline__ Work work_at(const Product& p, u32 tiles, u32 index) {
    Work work;
    work.part = index / tiles % p.splits;
    work.product = index / tiles / p.splits;
    work.tile = tile_at(p, S::kM, S::kN, index % tiles, work.part);
    work.steps = u32((work.tile.depth + kStep - 1) / kStep);
    return work;
}

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

// Sums of a thread that are stored at a time: 64 rows and 64 columns of a warpgroup.
constexpr u32 kChunk = 32;
constexpr u32 kBlocks = kChunk / 4;  // of 8 columns

// Where a lane's part of a chunk lies in dst or in partial sums: two rows, 8 below one another, and in each of them two
// neighbours of each block of columns.
template <typename Out> struct Window {
    Out* to;      // the first of all
    u64 stride;   // of rows
    u32 rows;     // 0, 1 or 2 that exist
    u32 cols;     // columns from the first on that exist

    // f(a pair of the chunk, its place, whether both of it exist), for what exists.
    template <typename F> __device__ __forceinline__ void each(f32 (&x)[kChunk], F f) const {
        #pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            #pragma unroll
            for (u32 b = 0; b < kBlocks; ++b) {
                if (h < rows && 8 * b < cols) f(&x[4 * b + 2 * h], to + 8 * h * stride + 8 * b, 8 * b + 1 < cols);
            }
        }
    }

    // Both of a pair may be stored, and lie on the bytes of a pair.
    __device__ __forceinline__ void store_pairs(f32 (&x)[kChunk]) const {
        each(x, [&](f32* pair, Out* at, bool) {
            store(at, Pack<Out, 2>{from_f32<Out>(pair[0]), from_f32<Out>(pair[1])});
        });
    }

    __device__ __forceinline__ void store_elements(f32 (&x)[kChunk], const Product& p) const {
        each(x, [&](f32* pair, Out* at, bool both) {
            if (p.onto) {
                pair[0] = join(p, pair[0], to_f32(at[0]));
                if (both) pair[1] = join(p, pair[1], to_f32(at[1]));
            }
            at[0] = from_f32<Out>(pair[0]);
            if (both) at[1] = from_f32<Out>(pair[1]);
        });
    }
};

// Calls f(number, chunk) for each chunk of 64 rows and 64 columns. Registers have no index: each chunk is copied to where
// one piece of code is for all, and back.
template <u32 kGroups, u32 kSums, typename F>
__device__ __forceinline__ void each_chunk(f32 (&sums)[kGroups][kSums], F f) {
    constexpr u32 kCount = kGroups * kSums / kChunk, kAcross = kSums / kChunk;
    #pragma unroll 1
    for (u32 i = 0; i < kCount; ++i) {
        f32 x[kChunk];
        #pragma unroll
        for (u32 c = 0; c < kCount; ++c) {
            if (c == i) {
                #pragma unroll
                for (u32 j = 0; j < kChunk; ++j) x[j] = sums[c / kAcross][c % kAcross * kChunk + j];
            }
        }
        f(i, x);
        #pragma unroll
        for (u32 c = 0; c < kCount; ++c) {
            if (c == i) {
                #pragma unroll
                for (u32 j = 0; j < kChunk; ++j) sums[c / kAcross][c % kAcross * kChunk + j] = x[j];
            }
        }
    }
}

// The bias of a lane's columns, which is on its way while the products are computed.
template <typename T, u32 kCount> struct Bias {
    u32 pairs[kCount];  // of every block of 8 columns

    __device__ __forceinline__ void bring(const Product& p, u64 tile_col) {
        const u64 col = tile_col + threadIdx.x % 4 * 2;
        const u32 cols = left_of(p.n, col, 8 * kCount);
        const T* bias = static_cast<const T*>(p.bias) + col * p.bias_n;
        #pragma unroll
        for (u32& pair : pairs) pair = 0;
        if (p.bias_n == 1 && p.n % 2 == 0 && is_aligned<4>(p.bias)) {
            #pragma unroll
            for (u32 b = 0; b < kCount; ++b) {
                if (8 * b < cols) pairs[b] = *reinterpret_cast<const u32*>(bias + 8 * b);
            }
        } else {
            #pragma unroll
            for (u32 b = 0; b < kCount; ++b) {
                if (8 * b < cols) pairs[b] = bias[8 * b * p.bias_n].bits;
                if (8 * b + 1 < cols) pairs[b] |= u32(bias[(8 * b + 1) * p.bias_n].bits) << 16;
            }
        }
    }

    // To the blocks of columns from number `first` on.
    template <u32 kGroups, u32 kSums>
    __device__ __forceinline__ void add_to(f32 (&sums)[kGroups][kSums], u32 first) const {
        #pragma unroll
        for (u32 b = 0; b < kCount; ++b) {
            #pragma unroll
            for (u32 i = 0; i < 4 * kGroups; ++i) sums[i / 4][4 * (first + b) + i % 4] += half_of<T>(pairs[b], i % 2);
        }
    }
};

// The way out of a warpgroup through shared memory: two batches of boxes, in turn.
template <typename T, typename S> struct Outlet {
    const TensorMap& map;
    u32 at, old;      // the boxes; a barrier of each batch, which waits for what is in dst
    u32 turn = 0;     // of each pair of batches
    const u32 id = 2 + threadIdx.x / 128;
    const bool leads = threadIdx.x % 128 == 0;

    // Box i of a warpgroup's part of a tile.
    __device__ __forceinline__ u32 box(u32 i) const { return at + i % (2 * S::kBatch) * kBoxBytes; }
    static __device__ __forceinline__ u32 row(u32 row0, u32 i) {
        return row0 + i / (S::kN / 64) * 64;
    }
    static __device__ __forceinline__ u32 col(const Work& work, u32 i) {
        return u32(work.tile.n0) + i % (S::kN / 64) * 64;
    }

    // Starts to bring what dst holds of a batch, after everything else has gone out. Only the thread that leads.
    __device__ __forceinline__ void bring(const Work& work, u32 row0, u32 batch) const {
        const u32 barrier = old + 8 * (batch % 2);
        barrier_expect(barrier, S::kBatch * kBoxBytes);
        #pragma unroll
        for (u32 j = 0; j < S::kBatch; ++j) {
            const u32 i = batch * S::kBatch + j;
            copy_box(box(i), map, col(work, i), row(row0, i), work.product, barrier);
        }
    }

    // What is in dst is on its way while the products are computed.
    __device__ __forceinline__ void prepare(const Work& work, u32 row0) const {
        if (!leads) return;
        copy_out_wait<0>();
        bring(work, row0, 0);
        bring(work, row0, 1);
    }

    // Rounds the sums and sends them out. All of the warpgroup take part.
    template <bool kOnto, u32 kGroups, u32 kSums>
    __device__ __forceinline__ void send(const Product& p, f32 (&sums)[kGroups][kSums], const Work& work, u32 row0) {
        constexpr u32 kAcross = kSums / kChunk, kBatches = kGroups * kAcross / S::kBatch;
        static_assert(kBatches % 2 == 0);
        const u32 lane = threadIdx.x % 32, y = threadIdx.x / 32 % 4 * 16 + lane % 16;  // the row that this lane brings
        #pragma unroll
        for (u32 batch = 0; batch < kBatches; ++batch) {
            if constexpr (kOnto) {
                barrier_wait(old + 8 * (batch % 2), turn & 1);
            } else {
                // Of two batches in turn this one was read.
                if (leads) copy_out_wait<1>();
                group_wait(id);
            }
            #pragma unroll
            for (u32 j = 0; j < S::kBatch; ++j) {
                const u32 i = batch * S::kBatch + j;
                #pragma unroll
                for (u32 b = 0; b < kBlocks; b += 2) {
                    f32* x = &sums[i / kAcross][i % kAcross * kChunk + 4 * b];
                    const u32 to = box(i) + y * 128 + ((b + lane / 16) ^ y % 8) * 16;
                    if constexpr (kOnto) {
                        u32 words[4];
                        load_blocks(words, to);
                        #pragma unroll
                        for (u32 w = 0; w < 8; ++w) x[w] = join(p, x[w], half_of<T>(words[w / 2], w % 2));
                    }
                    const u32 words[4] = {pack_pair<T>(x[0], x[1]), pack_pair<T>(x[2], x[3]),
                                          pack_pair<T>(x[4], x[5]), pack_pair<T>(x[6], x[7])};
                    store_blocks(to, words);
                }
            }
            copy_out_fence();
            group_wait(id);
            if (leads) {
                #pragma unroll
                for (u32 j = 0; j < S::kBatch; ++j) {
                    const u32 i = batch * S::kBatch + j;
                    copy_box_out(map, box(i), col(work, i), row(row0, i), work.product);
                }
                copy_out_commit();
                if (kOnto && batch + 2 < kBatches) {
                    copy_out_wait<0>();
                    bring(work, row0, batch + 2);
                }
            }
            turn += batch % 2;
        }
    }

    // The same in f32, box after box of 64 rows and 32 columns; the copy engine adds them to what dst holds, or stores them.
    // Lanes of odd rows swap blocks that are two apart, so that half a warp meets all banks.
    template <u32 kGroups, u32 kSums>
    __device__ __forceinline__ void send_wide(const Product& p, f32 (&sums)[kGroups][kSums], const Work& work, u32 row0) {
        constexpr u32 kAcross = kSums / 16;
        const u32 lane = threadIdx.x % 32, r = lane / 4, odd = r % 2;
        const u32 y = threadIdx.x / 32 % 4 * 16 + r;
        const u32 place = y * 128 + (lane / 2 % 2 ^ r ^ odd * 4) * 16 + lane % 2 * 8;
        #pragma unroll
        for (u32 i = 0; i < kGroups * kAcross; ++i) {
            f32* x = &sums[i / kAcross][i % kAcross * 16];
            if (leads) copy_out_wait<2 * S::kBatch - 1>();
            group_wait(id);
            #pragma unroll
            for (u32 b = 0; b < 2; ++b) {
                #pragma unroll
                for (u32 h = 0; h < 2; ++h) {  // 8 rows further down
                    const f32* one = x + 4 * b + 2 * h;
                    const f32* other = one + 8;
                    const u32 to = (box(i) + place ^ b * 32) + h * 1024;
                    store_shared_pair(to, odd ? other[0] : one[0], odd ? other[1] : one[1]);
                    store_shared_pair(to ^ 64, odd ? one[0] : other[0], odd ? one[1] : other[1]);
                }
            }
            copy_out_fence();
            group_wait(id);
            if (leads) {
                const u32 at_col = u32(work.tile.n0) + i % kAcross * 32, at_row = row0 + i / kAcross * 64;
                if (p.onto) add_box_out(map, box(i), at_col, at_row, work.product);
                else copy_box_out(map, box(i), at_col, at_row, work.product);
                copy_out_commit();
            }
        }
    }
};

// Stores what does not lie on packs, or is not of type T.
template <typename T, u32 kGroups, u32 kSums>
__device__ __forceinline__ void store_directly(const Product& p, f32 (&sums)[kGroups][kSums], const Work& work, u64 row0) {
    constexpr u32 kAcross = kSums / kChunk;
    const u32 lane = threadIdx.x % 32;
    each_chunk(sums, [&](u32 i, f32 (&x)[kChunk]) {
        const u64 row = row0 + i / kAcross * 64 + threadIdx.x / 32 % 4 * 16 + lane / 4;
        const u64 col = work.tile.n0 + i % kAcross * 64 + lane % 4 * 2;
        const u32 cols = left_of(p.n, col, 64), rows = (row < p.m) + (row + 8 < p.m);
        const u64 at = work.product * p.m + row;
        if (p.partial) {
            const u64 stride = partial_stride(p);
            f32* to = p.partial + work.part * p.part_step + at * stride + col;
            Window<f32>{to, stride, rows, cols}.store_pairs(x);
        } else if (p.wide) {
            Window<f32>{static_cast<f32*>(p.dst) + at * p.n + col, p.n, rows, cols}.store_elements(x, p);
        } else {
            Window<T>{static_cast<T*>(p.dst) + at * p.n + col, p.n, rows, cols}.store_elements(x, p);
        }
    });
}

template <typename T, Major kA, Major kB, typename S>
__global__ void __launch_bounds__(384, 1)
matmul_wgmma(const __grid_constant__ Product p, const __grid_constant__ TensorMap a_map,
             const __grid_constant__ TensorMap b_map, const __grid_constant__ TensorMap dst_map) {
    using A = Side<kA, S::kM, S::kM>;
    using B = Side<kB, S::kN, S::kPairs ? S::kN / 2 : S::kN>;
    extern __shared__ unsigned char shared[];
    __shared__ u64 barriers[2 * S::kStages + 4];
    const u32 ring_at = (shared_address(shared) + 1023) & ~1023u;
    u32 full = shared_address(barriers);
    asm volatile("" : "+r"(full));  // else it is computed anew in each step
    const u32 empty = full + 8 * S::kStages;

    const bool paired = S::kPairs && cluster_size() == 2;
    const u32 tiles = tiles_of(p, S::kM, S::kN);
    const u32 works = tiles * p.splits * u32(p.batch.numel);
    if (threadIdx.x == 0) {
        prefetch(a_map);
        prefetch(b_map);
        #pragma unroll 1
        for (u32 i = 0; i < S::kStages; ++i) {
            barrier_init(full + 8 * i, 1);
            barrier_init(empty + 8 * i, (paired ? 8 : 4) * S::kTeam);
        }
        #pragma unroll
        for (u32 i = 0; i < 4; ++i) barrier_init(empty + 8 * (S::kStages + i), 1);
        barrier_init_fence();
    }
    if (paired) cluster_wait();
    else __syncthreads();
    follow();
    Ring<S::kStages> ring;

    if (threadIdx.x < 128) {
        give_registers<40>();
        #pragma unroll 1
        for (u32 index = blockIdx.x; threadIdx.x == 0 && index < works; index += gridDim.x) {
            const Work work = work_at<S>(p, tiles, index);
            // An operand that all products share has one place.
            const u32 a_product = p.batch.stride[0][0] == 0 ? 0 : work.product;
            const u32 b_product = p.batch.stride[1][0] == 0 ? 0 : work.product;
            #pragma unroll 1
            for (u32 step = 0; step < work.steps; ++step, ring.next()) {
                const u32 barrier = full + 8 * ring.stage, to = ring_at + ring.stage * S::kBytes;
                const u32 k = u32(work.tile.k0) + step * kStep;
                barrier_wait(empty + 8 * ring.stage, ring.parity ^ 1);
                barrier_expect(barrier, S::kBytes);
                A::fetch(to, a_map, u32(work.tile.m0), k, a_product, barrier);
                const u32 b_to = to + S::kABytes, n0 = u32(work.tile.n0);
                if constexpr (S::kPairs) {
                    if (paired) B::fetch_half(cluster_rank(), b_to, b_map, n0, k, b_product, barrier);
                    else B::fetch(b_to, b_map, n0, k, b_product, barrier);
                } else {
                    B::fetch(b_to, b_map, n0, k, b_product, barrier);
                }
            }
        }
        __syncwarp();
        if (paired) cluster_wait();  // until nobody writes or arrives here any more
        return;
    }

    take_registers<232>();
    const u32 group = threadIdx.x / 128 - 1;
    const u32 rows_at = S::kTeam == 2 ? group * S::kRows : 0;
    const bool has_bias = p.bias && !p.partial;
    const Out out = out_of(p);
    Outlet<T, S> outlet{dst_map, ring_at + S::kStages * S::kBytes + group * S::kOutBytes,
                        empty + 8 * (S::kStages + 2 * group)};
    // A stage is free where it is, and where the other half of b comes from.
    const auto leave = [&](u32 barrier) {
        if (threadIdx.x % 32 != 0) return;
        barrier_arrive(barrier);
        if (paired) barrier_arrive_there(shared_address_in(barrier, 1 - cluster_rank()));
    };
    u32 turn = 0;
    #pragma unroll 1
    for (u32 index = blockIdx.x; index < works; index += gridDim.x, ++turn) {
        const Work work = work_at<S>(p, tiles, index);
        if (S::kTeam == 1 && turn % 2 != group) {
            ring.advance(work.steps);
            continue;
        }
        if (out == Out::Boxes && p.onto) outlet.prepare(work, u32(work.tile.m0) + rows_at);
        f32 sums[S::kRows / 64][S::kN / 2];
        // Where there are registers to hold it.
        constexpr u32 kCount = S::kTeam == 1 ? S::kN / 8 : kBlocks;
        Bias<T, kCount> bias;
        if (has_bias && S::kTeam == 1) bias.bring(p, work.tile.n0);
        if (S::kTeam == 1 && turn > 0) pair_wait(1 + group);
        u32 used = empty;
        #pragma unroll 1
        for (u32 step = 0; step < work.steps; ++step, ring.next()) {
            const u32 at = ring_at + ring.stage * S::kBytes;
            const u64 a = factor_at<A::kOuter>(at + rows_at * 128, kBoxBytes);
            const u64 b = factor_at<B::kOuter>(at + S::kABytes, kBoxBytes);
            barrier_wait(full + 8 * ring.stage, ring.parity);
            product_fence();
            #pragma unroll
            for (u32 i = 0; i < kStep / 16; ++i) {
                #pragma unroll
                for (u32 r = 0; r < S::kRows / 64; ++r) {
                    multiply_group<T, A::kOuter, B::kOuter>(sums[r], a + i * A::kNext + r * (kBoxBytes >> 4),
                                                            b + i * B::kNext, step + i > 0);
                }
            }
            product_commit();
            // The step before is done: its stage is free.
            product_wait<1>();
            if (step > 0) leave(used);
            used = empty + 8 * ring.stage;
        }
        if (S::kTeam == 1 && index + gridDim.x < works) pair_arrive(2 - group);
        product_wait<0>();
        leave(used);
        if (has_bias) {
            #pragma unroll
            for (u32 b = 0; b < S::kN / 8; b += kCount) {
                if (S::kTeam == 2) bias.bring(p, work.tile.n0 + 8 * b);
                bias.add_to(sums, b);
            }
        }
        if (p.activation && !p.partial) {
            each_chunk(sums, [&](u32, f32 (&x)[kChunk]) {
                if (p.wide) activate<f32>(x, p.activation, p.slope);
                else activate<T>(x, p.activation, p.slope);
            });
        }
        if (out == Out::Directly) store_directly<T>(p, sums, work, work.tile.m0 + rows_at);
        else if (out == Out::WideBoxes) outlet.send_wide(p, sums, work, u32(work.tile.m0) + rows_at);
        else if (p.onto) outlet.template send<true>(p, sums, work, u32(work.tile.m0) + rows_at);
        else outlet.template send<false>(p, sums, work, u32(work.tile.m0) + rows_at);
    }
    if (threadIdx.x % 128 == 0) copy_out_wait<0>();
    __syncwarp();
    if (paired) cluster_wait();
}
