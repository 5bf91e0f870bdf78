// matmul_out.cuh: the way of a warpgroup's sums from its registers to dst: bias, activation, and what dst holds, in boxes of
// the copy engine where it can take them; else as matmul_rows.cuh does it.
#pragma once
#include "matmul_bias.cuh"
#include "matmul_ring.cuh"

// How all of a launch is stored: without the copy engine, or by it in elements of T or of f32. The twin of goes_in_boxes in
// crates/taut-cuda/src/launch/matmul/boxes.rs.
enum class Out { Directly, Boxes, WideBoxes };

__device__ __forceinline__ Out out_of(const Product& p) {
    if (p.partial || (p.turned ? p.m : p.n) % (p.wide ? 4 : 8) != 0 || !is_aligned<16>(p.dst)) return Out::Directly;
    if (p.wide) return p.onto > 1 ? Out::Directly : Out::WideBoxes;
    return Out::Boxes;
}

// Sums of a thread that are stored at a time: 64 rows and 64 columns of a warpgroup.
constexpr u32 kChunk = 32;
constexpr u32 kBlocks = kChunk / 4;  // of 8 columns
template <u32 kSums> constexpr u32 kChunksOf = (kSums + kChunk - 1) / kChunk;  // the last may have fewer

// Calls f(number, chunk) for each chunk of 64 rows and 64 columns. Registers have no index: each chunk is copied to where
// one piece of code is for all, and back.
template <u32 kGroups, u32 kSums, typename F>
__device__ __forceinline__ void each_chunk(f32 (&sums)[kGroups][kSums], F f) {
    constexpr u32 kAcross = kChunksOf<kSums>, kCount = kGroups * kAcross;
    #pragma unroll 1
    for (u32 i = 0; i < kCount; ++i) {
        f32 x[kChunk];
        #pragma unroll
        for (u32 c = 0; c < kCount; ++c) {
            if (c == i) {
                #pragma unroll
                for (u32 j = c % kAcross * kChunk, of = 0; of < kChunk && j < kSums; ++j, ++of) x[of] = sums[c / kAcross][j];
            }
        }
        f(i, x);
        #pragma unroll
        for (u32 c = 0; c < kCount; ++c) {
            if (c == i) {
                #pragma unroll
                for (u32 j = c % kAcross * kChunk, of = 0; of < kChunk && j < kSums; ++j, ++of) sums[c / kAcross][j] = x[of];
            }
        }
    }
}

// What else becomes of sums while they are rounded into boxes.
enum class Finish { Nothing, Relu, Leaky, Gelu };

__device__ __forceinline__ Finish finish_of(const Product& p) {
    if (p.onto) return Finish::Nothing;
    if (p.activation == 1) return Finish::Relu;
    if (p.activation == 2 && p.slope > 0.0f && p.slope <= 1.0f) return Finish::Leaky;
    return p.activation == 3 ? Finish::Gelu : Finish::Nothing;
}

// Whether the activation is part of the rounding, `all` of them or relu alone.
__device__ __forceinline__ bool is_rounding(const Product& p, bool all) {
    const Finish finish = finish_of(p);
    return finish == Finish::Relu || (all && (finish == Finish::Leaky || finish == Finish::Gelu));
}

// Activations that are no part of the rounding.
template <typename T, u32 kGroups, u32 kSums>
__device__ __forceinline__ void activate_all(const Product& p, f32 (&sums)[kGroups][kSums]) {
    // What takes few instructions needs no copies.
    if (p.activation == 1) {
        #pragma unroll
        for (u32 i = 0; i < kGroups * kSums; ++i) sums[i / kSums][i % kSums] = relu(sums[i / kSums][i % kSums]);
        return;
    }
    each_chunk(sums, [&](u32, f32 (&x)[kChunk]) {
        if (!kIsHalf<T> || p.wide) activate<f32>(x, p.activation, p.slope);
        else activate<T>(x, p.activation, p.slope);
    });
}

// Two blocks of 8 columns of a thread's rows, as words of 16-bit pairs; relu is part of the rounding.
template <typename T> __device__ __forceinline__ void round_blocks(const Product& p, const f32* sums, u32 (&words)[4]) {
    #pragma unroll
    for (u32 w = 0; w < 4; ++w) {
        const f32 low = sums[2 * w], high = sums[2 * w + 1];
        words[w] = p.activation == 1 ? pack_relu_pair<T>(low, high) : pack_pair<T>(low, high);
    }
}

// Rounds 64 rows of a warpgroup to where they lie as in dst: kCols columns, or the first `cols` of them, a multiple of 8.
template <typename T, u32 kCols>
__device__ __forceinline__ void round_rows(const Product& p, const f32* sums, u32 to, u32 cols = kCols) {
    static_assert(kCols % 16 == 0);
    const u32 lane = threadIdx.x % 32, y = threadIdx.x / 32 % 4 * 16 + lane % 16;
    to += y * cols * u32(sizeof(T)) + lane / 16 * 16;
    #pragma unroll
    for (u32 b = 0; b < kCols / 8; b += 2) {
        if (8 * b >= cols) break;
        u32 words[4];
        round_blocks<T>(p, sums + 4 * b, words);
        if (8 * (b + 1) < cols) store_blocks(to + b * 16, words);
        else store_blocks(to + b * 16, {words[0], words[1]});
    }
}

// Where the packs of a box lie that a lane brings: of its warp's 16 rows, two blocks of 8 columns at a time; or, if turned, of
// 16 rows that of its warp's two packs.
template <bool kTurned> struct Packs {
    u32 row, pack;

    __device__ __forceinline__ explicit Packs(u32 box) {
        const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
        row = box + (kTurned ? lane / 16 * 8 + lane % 8 : warp * 16 + lane % 16) * 128;
        pack = kTurned ? warp * 2 + lane / 8 % 2 : lane / 16;
        asm volatile("" : "+r"(row), "+r"(pack));  // else the places of all boxes are kept in registers
    }

    __device__ __forceinline__ u32 at(u32 block) const {
        const u32 lane = threadIdx.x % 8;
        return kTurned ? row + block * 8 * 128 + (pack ^ lane) * 16 : row + ((block + pack) ^ lane) * 16;
    }

    __device__ __forceinline__ void load(u32 (&words)[4], u32 block) const {
        if constexpr (kTurned) load_blocks_transposed(words, at(block));
        else load_blocks(words, at(block));
    }

    __device__ __forceinline__ void store(const u32 (&words)[4], u32 block) const {
        if constexpr (kTurned) store_blocks_transposed(at(block), words);
        else store_blocks(at(block), words);
    }
};

// The way out of a warpgroup through shared memory: batches of boxes, in turn.
template <typename T, typename S> struct Outlet {
    const TensorMap& map;
    u32 turned;       // whether boxes are
    u32 at, old;      // the boxes; a barrier of each half of a tile, which waits for what is in dst
    u32 turn = 0;     // of tiles that join what dst holds
    u32 more[2];      // where the second half comes to
    const u32 id = 2 + threadIdx.x / 128;
    const bool leads = threadIdx.x % 128 == 0;

    // Box i of a warpgroup's part of a tile.
    __device__ __forceinline__ u32 box(u32 i) const { return at + i % S::kBoxes * kBoxBytes; }
    static __device__ __forceinline__ u32 row(u32 row0, u32 i) {
        return row0 + i / (S::kN / 64) * 64;
    }
    static __device__ __forceinline__ u32 col(const Work& work, u32 i) {
        return work.n0 + i % (S::kN / 64) * 64;
    }

    // Starts to bring what dst holds, the first boxes of a tile or, to those of `more`, the second ones. Only the thread that
    // leads.
    __device__ __forceinline__ void bring(const Work& work, u32 row0, u32 half) const {
        const u32 barrier = old + 8 * half;
        barrier_expect(barrier, S::kBoxes * kBoxBytes);
        #pragma unroll
        for (u32 j = 0; j < S::kBoxes; ++j) {
            const u32 i = half * S::kBoxes + j;
            const u32 x = col(work, i), y = row(row0, i);
            copy_box(half == 0 ? box(j) : more[j % 2], map, turned ? y : x, turned ? x : y, work.product, barrier);
        }
    }

    // What is in dst is on its way while the products are computed.
    __device__ __forceinline__ void prepare(const Work& work, u32 row0) const {
        if (!leads) return;
        copy_out_wait<0>();
        bring(work, row0, 0);
    }

    // The second half comes to these boxes, whose memory all of the warpgroup have read.
    __device__ __forceinline__ void borrow(const Work& work, u32 row0, u32 first, u32 second) {
        more[0] = first;
        more[1] = second;
        group_wait(id);
        if (leads) bring(work, row0, 1);
    }

    // Joins the sums to what has come, or still comes if nothing was `borrowed`. All of the warpgroup take part.
    template <bool kTurned, u32 kGroups, u32 kSums> __device__ __forceinline__
    void join_all(const Product& p, f32 (&sums)[kGroups][kSums], const Work& work, u32 row0, bool borrowed) {
        if (p.onto == 1) join_all_as<1, kTurned>(p, sums, work, row0, borrowed);
        else if (p.onto == 2) join_all_as<2, kTurned>(p, sums, work, row0, borrowed);
        else join_all_as<3, kTurned>(p, sums, work, row0, borrowed);
    }

    template <u32 kOnto, bool kTurned, u32 kGroups, u32 kSums> __device__ __forceinline__
    void join_all_as(const Product& p, f32 (&sums)[kGroups][kSums], const Work& work, u32 row0, bool borrowed) {
        constexpr u32 kAcross = kSums / kChunk, kCount = kGroups * kAcross;
        static_assert(kCount == S::kBoxes || (S::kBorrows && kCount == 2 * S::kBoxes));
        #pragma unroll
        for (u32 i = 0; i < kCount; ++i) {
            if (S::kBorrows && i == S::kBoxes && !borrowed) borrow(work, row0, box(0), box(1));
            if (i % S::kBoxes == 0) barrier_wait(old + 8 * (i / S::kBoxes), turn & 1);
            const Packs<kTurned> packs{i < S::kBoxes ? box(i) : more[i % 2]};
            #pragma unroll
            for (u32 b = 0; b < kBlocks; b += 2) {
                u32 words[4];
                packs.load(words, b);
                f32 (&x)[8] = reinterpret_cast<f32 (&)[8]>(sums[i / kAcross][i % kAcross * kChunk + 4 * b]);
                f32 held[8];
                #pragma unroll
                for (u32 w = 0; w < 8; ++w) held[w] = half_of<T>(words[w / 2], w % 2);
                join_as<kOnto>(p, x, held);
            }
        }
        ++turn;
    }

    // Until no box is read any more: their memory is for other things. All of the warpgroup take part.
    __device__ __forceinline__ void drain() const {
        if (leads) copy_out_wait<0>();
        group_wait(id);
    }

    // Rounds the sums and sends them out, in boxes with the rows of dst. All of the warpgroup take part.
    template <bool kTurned, u32 kGroups, u32 kSums> __device__ __forceinline__
    void send(const Product& p, f32 (&sums)[kGroups][kSums], const Work& work, u32 row0) {
        switch (finish_of(p)) {
            case Finish::Nothing: return send_as<Finish::Nothing, kTurned>(p, sums, work, row0);
            case Finish::Relu: return send_as<Finish::Relu, kTurned>(p, sums, work, row0);
            case Finish::Leaky: return send_as<Finish::Leaky, kTurned>(p, sums, work, row0);
            case Finish::Gelu: return send_as<Finish::Gelu, kTurned>(p, sums, work, row0);
        }
    }

    // The boxes of the last tile have been read long ago. Where there is no room for all, the others wait for the first ones.
    template <Finish kFinish, bool kTurned, u32 kGroups, u32 kSums>
    __device__ __forceinline__ void send_as(const Product& p, f32 (&sums)[kGroups][kSums], const Work& work, u32 row0) {
        constexpr u32 kAcross = kSums / kChunk, kBatches = kGroups * kAcross / S::kBatch;
        static_assert(kBatches % S::kRoom == 0);
        drain();
        #pragma unroll
        for (u32 batch = 0; batch < kBatches; ++batch) {
            if (batch >= S::kRoom) {
                if (leads) copy_out_wait<S::kRoom - 1>();
                group_wait(id);
            }
            #pragma unroll
            for (u32 j = 0; j < S::kBatch; ++j) {
                const u32 i = batch * S::kBatch + j;
                const Packs<kTurned> packs{box(i)};
                #pragma unroll
                for (u32 b = 0; b < kBlocks; b += 2) {
                    u32 words[4];
                    round<kFinish>(p, &sums[i / kAcross][i % kAcross * kChunk + 4 * b], words);
                    packs.store(words, b);
                }
            }
            copy_out_fence();
            group_wait(id);
            if (!leads) continue;
            #pragma unroll
            for (u32 j = 0; j < S::kBatch; ++j) {
                const u32 i = batch * S::kBatch + j;
                const u32 x = col(work, i), y = row(row0, i);
                copy_box_out(map, box(i), kTurned ? y : x, kTurned ? x : y, work.product);
            }
            copy_out_commit();
        }
    }

    // The same, joined to what dst holds, which comes box by box to the only one that there is room for.
    template <u32 kSums> __device__ __forceinline__
    void send_joined(const Product& p, f32 (&sums)[1][kSums], const Work& work, u32 row0) {
        static_assert(S::kBoxes == 1);
        const Packs<false> packs{at};
        #pragma unroll
        for (u32 i = 0; i < kSums / kChunk; ++i, ++turn) {
            const u32 x = col(work, i), y = row(row0, i);
            if (i > 0 && leads) {
                copy_out_wait<0>();
                barrier_expect(old, kBoxBytes);
                copy_box(at, map, x, y, work.product, old);
            }
            barrier_wait(old, turn & 1);
            #pragma unroll
            for (u32 b = 0; b < kBlocks; b += 2) {
                u32 words[4];
                packs.load(words, b);
                f32 (&part)[8] = reinterpret_cast<f32 (&)[8]>(sums[0][i * kChunk + 4 * b]);
                f32 held[8];
                #pragma unroll
                for (u32 w = 0; w < 8; ++w) held[w] = half_of<T>(words[w / 2], w % 2);
                join(p, part, held);
                round<Finish::Nothing>(p, part, words);
                packs.store(words, b);
            }
            copy_out_fence();
            group_wait(id);
            if (!leads) continue;
            copy_box_out(map, at, x, y, work.product);
            copy_out_commit();
        }
    }

    // The same of no multiple of 64 columns, in rows as those of dst.
    template <u32 kSums> __device__ __forceinline__
    void send_rows(const Product& p, const f32 (&sums)[1][kSums], const Work& work, u32 row0) const {
        #pragma unroll
        for (u32 col = 0; col < S::kN; col += S::kOutCols) {
            drain();
            round_rows<T, S::kOutCols>(p, sums[0] + col / 2, at);
            copy_out_fence();
            group_wait(id);
            if (leads) {
                copy_box_out(map, at, work.n0 + col, row0, work.product);
                copy_out_commit();
            }
        }
    }

    // Two blocks of 8 columns, as words of 16-bit pairs.
    template <Finish kFinish> static __device__ __forceinline__ void round(const Product& p, const f32* sums, u32 (&words)[4]) {
        f32 x[8];
        #pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            x[i] = sums[i];
            if constexpr (kFinish == Finish::Leaky) x[i] = fmaxf(x[i], p.slope * x[i]);
            if constexpr (kFinish == Finish::Gelu) x[i] = gelu_to<T>(x[i]);
        }
        #pragma unroll
        for (u32 w = 0; w < 4; ++w) {
            const f32 low = x[2 * w], high = x[2 * w + 1];
            words[w] = kFinish == Finish::Relu ? pack_relu_pair<T>(low, high) : pack_pair<T>(low, high);
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
            if (leads) copy_out_wait<S::kBoxes - 1>();
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
                const u32 at_col = work.n0 + i % kAcross * 32, at_row = row0 + i / kAcross * 64;
                if (p.onto) add_box_out(map, box(i), at_col, at_row, work.product);
                else copy_box_out(map, box(i), at_col, at_row, work.product);
                copy_out_commit();
            }
        }
    }

    // The same where dst is turned: boxes of 32 rows and 32 columns, each of two warps, which have two in turn. Lanes bring
    // sums of 8 columns and 4 rows at a time, and meet all banks.
    template <u32 kSums>
    __device__ __forceinline__ void send_wide_turned(const Product& p, f32 (&sums)[1][kSums], const Work& work, u32 row0) {
        const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, half = warp / 2, of_half = 3 + threadIdx.x / 64;
        const u32 n = lane % 4 * 2, m = warp % 2 * 16 + lane / 4;
        const u32 first = at + half * kBoxBytes + n * 128 + (m / 4 ^ n) * 16 + m % 4 * 4;
        #pragma unroll
        for (u32 i = 0; i < kSums / 16; ++i) {
            const u32 to = first + i % 2 * (kBoxBytes / 2);
            if (threadIdx.x % 64 == 0) copy_out_wait<1>();
            warps_wait(of_half);
            #pragma unroll
            for (u32 j = 0; j < 16; ++j) {
                const u32 row = j / 4 * 8 + j % 2, down = j / 2 % 2;  // of the box; 8 rows down in the sums
                f32 x = sums[0][16 * i + j];
                asm volatile("" : "+f"(x));  // a store from where the product leaves it makes ptxas wait for that once more
                store_shared((to ^ j % 2 * 16 ^ down * 32) + row * 128, __float_as_uint(x));
            }
            copy_out_fence();
            warps_wait(of_half);
            if (threadIdx.x % 64 == 0) {
                const u32 x = row0 + half * 32, y = work.n0 + i * 32;
                const u32 from = at + half * kBoxBytes + i % 2 * (kBoxBytes / 2);
                if (p.onto) add_box_out(map, from, x, y, work.product);
                else copy_box_out(map, from, x, y, work.product);
                copy_out_commit();
            }
        }
    }
};
