// attention.cu: attention of 16-bit operands on tensor cores (mma.sync), with scores that never leave the registers.
//
// Launch     x: a block for each tile of rows of a sequence and a head of keys. Shape::kThreads threads, and the dynamic
//            shared memory of Shape: the rows, and one or two stages of keys and values.
// Requires   q, k, v and out start on 16 bytes in every row if packs; dim <= kDim.
// Aliasing   out == q with the same layout is the op in place: a block reads its rows before it writes them. Otherwise
//            out is apart from q, k and v.
// Numerics   exact products, f32 sums; weights are rounded to the dtype before they meet the values, their sum is not.
//            Shifted by the largest score so far (Milakov and Gimelshein, 2018; Dao, 2023). NaN and +inf in a score make
//            the row NaN; a row that sees no score above -inf is 0.
// Bound by   tensor cores for long sequences, 4 * len * kv_len * dim operations; for short ones memory, and the unit of
//            exp2 where dim is small.
#include "attention_rows.cuh"

// Stores the rows that a warp left in shared memory.
template <typename T, typename S>
__device__ __forceinline__ void store_rows(const Attention& p, const Part<T>& part, u32 q_tile) {
    using Places = Tile<S::kDim>;
    #pragma unroll 1
    for (u32 i = threadIdx.x % 32; i < S::kWarpRows * Places::kChunks; i += 32) {
        const u32 row = threadIdx.x / 32 * S::kWarpRows + i / Places::kChunks, chunk = i % Places::kChunks;
        if (part.first + row >= part.rows || chunk * 8 >= p.dim) continue;
        const u32x4 word = load_shared(q_tile + Places::place(row, chunk));
        T* to = part.out + part.at(p.out_at, part.first + row);
        if (p.packs) {
            st_global(reinterpret_cast<u32x4*>(to + chunk * 8), word);
        } else {
            const auto pack = bits_as<Pack<T, 8>>(word);
            #pragma unroll
            for (u32 j = 0; j < 8; ++j) {
                if (chunk * 8 + j < p.dim) to[(chunk * 8 + j) * p.out_at.col] = pack.lane[j];
            }
        }
    }
}

// The rows of a block from part.first on.
template <typename T, typename S>
__device__ __forceinline__ void attend(const Attention& p, const Part<T>& part, u32 q_tile) {
    const u32 ring = q_tile + S::kRows * S::kDim * 2;
    const u32 warp_first = part.first + threadIdx.x / 32 * S::kWarpRows;
    const u32 last = min(part.first + S::kRows, part.rows) - 1;
    const u32 n_tiles = (part.seen(last) + S::kKeys - 1) / S::kKeys;

    // Of the keys, the warp's rows all see the first `least`, and none any from `most` on.
    u32 least = 0, most = 0;
    if (warp_first < part.rows) {
        least = part.seen(warp_first);
        most = part.seen(min(warp_first + S::kWarpRows - 1, last));
    }

    const auto fetch = [&](u32 t, u32 stage) {
        const u32 key = t * S::kKeys, left = part.kv_len - key;
        const auto bring_from = [&](u32 tile, const T* from, const Strides& at) {
            from += key * at.row;
            bring<T, S, S::kKeys>(p, at.col, tile, left, [&](u32 row) { return from + row * at.row; });
        };
        bring_from(stage, part.k, p.k_at);
        bring_from(stage + S::kTileBytes, part.v, p.v_at);
        copy_async_commit();
    };
    Rows<T, S> rows(q_tile);
    if (n_tiles > 0) {
        bring<T, S, S::kRows>(p, p.q_at.col, q_tile, part.rows - part.first, [&](u32 row) {
            return part.q + part.at(p.q_at, part.first + row);
        });
        fetch(0, ring);
    }
    #pragma unroll 1
    for (u32 t = 0; t < n_tiles; ++t) {
        // All threads meet: this tile is there, and nobody reads any more the one whose place the next fetch takes.
        const u32 stage = ring + t % 2 * 2 * S::kTileBytes, key = t * S::kKeys;
        copy_async_wait<0>();
        bool spoils = false;
        if (part.causal && key + S::kKeys > part.seen(part.first)) {
            spoils = __syncthreads_or(!is_finite<T, S>(stage + S::kTileBytes));
        } else {
            __syncthreads();
        }
        if (t + 1 < n_tiles) fetch(t + 1, ring + (t + 1) % 2 * 2 * S::kTileBytes);
        if (t == 0) rows.hold();
        if (key >= most) continue;
        const u32 v = stage + S::kTileBytes, n_blocks = (min(most - key, S::kKeys) + 15) / 16;
        if (key + S::kKeys <= least) rows.template take<Seen::Whole>(stage, v, p.scale, part, key, n_blocks);
        else if (!spoils) rows.template take<Seen::Part>(stage, v, p.scale, part, key, n_blocks);
        else rows.template take<Seen::Spoilt>(stage, v, p.scale, part, key, n_blocks);
    }
    rows.leave(q_tile);
    store_rows<T, S>(p, part, q_tile);
}

template <typename T, typename S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) attention(const __grid_constant__ Attention p) {
    follow();
    extern __shared__ __align__(1024) unsigned char shared[];
    Part<T> part(p, S::kPasses * S::kRows);
    #pragma unroll 1
    for (u32 pass = 0; pass < S::kPasses && part.first < part.rows; ++pass) {
        if (pass > 0) __syncthreads();
        attend<T, S>(p, part, shared_address(shared));
        part.first += S::kRows;
    }
}
