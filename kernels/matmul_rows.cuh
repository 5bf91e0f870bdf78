// matmul_rows.cuh: the way of a warpgroup's sums to where the copy engine brings none: rows of dst that begin on no pack, f32
// that becomes a gradient there, and sums over a part of k.
#pragma once
#include "matmul_out.cuh"

// 16 rows of 64 sums of a warp on their way: in f32, so that what dst holds joins them before they are rounded, and in memory
// of the warp alone, which no box uses in the same launch. In a row of 256 bytes the even columns come before the odd ones:
// lanes that take every second column meet all banks, as do those that bring 4 of each of 8 rows.
constexpr u32 kStagedBytes = 16 * 64 * sizeof(f32);

// The place of a column from `at`, a multiple of 256; and that so many rows down, any from the first row, else an even number.
__device__ __forceinline__ u32 staged_col(u32 at, u32 col) { return at ^ col / 2 * 4 ^ col % 2 * 192; }
__device__ __forceinline__ u32 staged_row(u32 at, u32 rows) { return (at ^ rows % 8 * 16) + rows * 256; }

__device__ __forceinline__ void stage(u32 at, const f32 (&sums)[kChunk]) {
    const u32 first = staged_row(staged_col(at, threadIdx.x % 4 * 2), threadIdx.x % 32 / 4);
    #pragma unroll
    for (u32 i = 0; i < kChunk; ++i) {
        const u32 to = staged_row(staged_col(first, i / 4 * 8 + i % 2), i / 2 % 2 * 8);
        store_shared(to, __float_as_uint(sums[i]));
    }
}

__device__ __forceinline__ f32 load_staged(u32 at) { return __uint_as_float(load_shared_word(at)); }

// Elements of Out in a word of dst, and how many before the first word begin a row.
template <typename Out> constexpr u32 kWordLen = 4 / sizeof(Out);
template <typename Out> __device__ __forceinline__ u32 before_words(const Out* row) {
    return u32(reinterpret_cast<u64>(row) / sizeof(Out)) % kWordLen<Out>;
}

// Word `index` of every second row: all of these begin alike, at a word or within one. The first is staged at `at`; `rows` of
// them and `cols` columns exist in dst, from `to` on.
template <typename Out>
__device__ __forceinline__ void store_words(const Product& p, Out* to, u32 rows, u32 cols, u32 index, u32 at) {
    constexpr u32 kRows = 8, kLen = kWordLen<Out>;
    const u32 col = kLen * index + before_words(to);
    if (col + kLen > cols) return;
    to += col;
    f32 x[kRows * kLen];
    #pragma unroll
    for (u32 i = 0; i < kRows * kLen; ++i) x[i] = load_staged(staged_row(staged_col(at, col + i % kLen), i / kLen * 2));
    if (p.onto) {
        f32 old[kRows * kLen];
        const Out* from = to;
        #pragma unroll
        for (u32 r = 0; r < kRows; ++r, from += 2 * p.n) {
            const u32 word = r < rows ? *reinterpret_cast<const u32*>(from) : 0;
            #pragma unroll
            for (u32 i = 0; i < kLen; ++i) {
                if constexpr (kLen == 1) old[r] = __uint_as_float(word);
                else old[r * kLen + i] = half_of<Out>(word, i);
            }
        }
        join(p, x, old);
    }
    #pragma unroll
    for (u32 r = 0; r < kRows; ++r, to += 2 * p.n) {
        u32 word;
        if constexpr (kLen == 1) word = __float_as_uint(x[r]);
        else word = pack_pair<Out>(x[2 * r], x[2 * r + 1]);
        if (r < rows) *reinterpret_cast<u32*>(to) = word;
    }
}

// What lies before the first word and behind the last one of each row: an element for each lane.
template <typename Out>
__device__ __forceinline__ void store_ends(const Product& p, Out* to, u32 rows, u32 cols, u32 at) {
    const u32 row = threadIdx.x % 32 / 2;
    const bool is_last = threadIdx.x % 2 == 1;
    to += row * p.n;
    const u32 before = before_words(to), col = is_last ? cols - 1 : 0;
    if (row >= rows || cols == 0 || (is_last ? (cols - before) % 2 : before) == 0) return;
    f32 x[1] = {load_staged(staged_row(staged_col(at, col), row))};
    const f32 old[1] = {p.onto ? to_f32(to[col]) : 0.0f};
    if (p.onto) join(p, x, old);
    to[col] = from_f32<Out>(x[0]);
}

// Stores the sums, chunk after chunk; `at` is the warp's.
template <typename Out, u32 kGroups, u32 kSums>
__device__ __forceinline__
void store_rows(const Product& p, f32 (&sums)[kGroups][kSums], const Work& work, u64 row0, u32 at) {
    constexpr u32 kAcross = kChunksOf<kSums>, kLen = kWordLen<Out>;
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    each_chunk(sums, [&](u32 i, f32 (&x)[kChunk]) {
        __syncwarp();  // the chunk before has been read
        stage(at, x);
        __syncwarp();
        const u64 row = row0 + i / kAcross * 64 + warp * 16, col = work.n0 + i % kAcross * 64;
        const u32 rows = left_of(p.m, row, 16), cols = left_of(min(p.n, u64(work.n0) + 2 * kSums), col, 64);
        Out* to = static_cast<Out*>(p.dst) + (work.product * p.m + row) * p.n + col;
        #pragma unroll 1
        for (u32 j = 0; j < 4 / kLen; ++j) {
            const u32 odd = j % 2;
            store_words(p, to + odd * p.n, (rows + 1 - odd) / 2, cols, j / 2 * 32 + lane, staged_row(at, odd));
        }
        if constexpr (kLen == 2) store_ends(p, to, rows, cols, at);
    });
}

// Sums over a part of k, for matmul_reduce. Their rows are padded: both of a pair may be stored, and lie on the bytes of one.
template <u32 kGroups, u32 kSums>
__device__ __forceinline__
void store_partial(const Product& p, f32 (&sums)[kGroups][kSums], const Work& work, u64 row0) {
    constexpr u32 kAcross = kChunksOf<kSums>;
    const u64 stride = partial_stride(p);
    const u32 lane = threadIdx.x % 32;
    each_chunk(sums, [&](u32 i, f32 (&x)[kChunk]) {
        const u64 row = row0 + i / kAcross * 64 + threadIdx.x / 32 % 4 * 16 + lane / 4;
        const u64 col = work.n0 + i % kAcross * 64 + lane % 4 * 2;
        const u32 cols = left_of(min(p.n, u64(work.n0) + 2 * kSums), col, 64), rows = (row < p.m) + (row + 8 < p.m);
        f32* to = p.partial + work.part * p.part_step + (work.product * p.m + row) * stride + col;
        #pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            #pragma unroll
            for (u32 b = 0; b < kBlocks; ++b) {
                if (h < rows && 8 * b < cols) {
                    store(to + 8 * h * stride + 8 * b, Pack<f32, 2>{x[4 * b + 2 * h], x[4 * b + 2 * h + 1]});
                }
            }
        }
    });
}
