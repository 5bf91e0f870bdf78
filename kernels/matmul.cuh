// matmul.cuh: what all products share: the argument, which product and tile a block computes, and how sums are stored.
#pragma once
#include "activation.cuh"
#include "common.cuh"

// dst = activation(a * b + bias), or that onto what dst holds, for each product of a batch. The twin of Product in
// src/args.rs.
// Strides are in elements.
struct Product {
    const void* a;     // the first product's [m, k], strides a_m and a_k
    const void* b;     // the first product's [k, n], strides b_k and b_n
    const void* bias;  // [n], stride bias_n, dtype of a and b; or null; of all products
    void* dst;         // [products, m, n] row-major, aligned to its elements only
    f32* partial;      // [splits, products, m, n padded to kPartialPack]: sums over parts of k; null for one part
    u64 m, n, k;
    u64 a_m, a_k, b_k, b_n, bias_n;
    u64 k_part;      // blocks of one blockIdx.y sum over this much of k
    u64 part_step;   // from part to part of partial
    Walk<2> batch;   // from product to product: a and b
    u32 splits;      // the number of parts
    u32 activation;  // Activation::code in Rust
    f32 slope;       // of leaky relu
    u32 onto;        // Onto::code in Rust
    u32 wide;        // dst is f32, whatever the dtype of a and b
    u32 packed;      // matvec_rows: the matrix takes 16-byte loads (1), and so does the vector (2)
    u32 lanes;       // matvec_rows: that share a row; matmul_reduce: that share the parts of a run; a power of two
    u32 width;       // matmul_parts: columns of a tile, a multiple of 8
    u32 turned;      // matmul_wgmma of tiles in pairs: dst is [products, n, m], bias [m], and out_of says boxes
};

__device__ __forceinline__ u64 partial_stride(const Product& p) {
    return (p.n + kPartialPack - 1) / kPartialPack * kPartialPack;
}

// The axis along which an operand is contiguous.
enum class Major { K, Outer };

// Where the operands of one product lie.
template <typename T> struct Factors {
    const T* a;
    const T* b;
};

template <typename T> __device__ __forceinline__ Factors<T> factors_of(const Product& p, u32 product) {
    u32 index[1] = {product};
    Place<2> place[1];
    p.batch.at(index, place);
    return {static_cast<const T*>(p.a) + place[0].of[0], static_cast<const T*>(p.b) + place[0].of[1]};
}

// A tile of a product, and a part of k.
struct Tile {
    u64 m0, n0, k0, depth;
};

// Tiles down a product, those of a cluster of one or two below one another: the last may have no rows.
__device__ __forceinline__ u32 tiles_down(const Product& p, u32 tile_m, u32 cluster) {
    return (u32((p.m + tile_m - 1) / tile_m) + cluster - 1) & ~(cluster - 1);
}

// The tiles of a product.
__device__ __forceinline__ u32 tiles_of(const Product& p, u32 tile_m, u32 tile_n, u32 cluster = 1) {
    return tiles_down(p, tile_m, cluster) * u32((p.n + tile_n - 1) / tile_n);
}

// n / by, and in n what is left: most often by a shift, or 0. No copy starts before a tile's place is known, and a division
// takes 100 cycles and more.
__device__ __forceinline__ u32 divide(u32& n, u32 by) {
    if (n < by) return 0;
    const u32 quotient = (by & (by - 1)) == 0 ? n >> (31 - __clz(by)) : n / by;
    n -= quotient * by;
    return quotient;
}

// Tiles go down in groups of rows of tiles and then right, so that those of neighbouring indices share operands in L2: what
// fills a card at a time is about as high as wide.
__device__ __forceinline__
Tile tile_at(const Product& p, u32 tile_m, u32 tile_n, u32 index, u32 part, u32 cluster = 1) {
    const u32 in_group = tile_n > tile_m ? 16 : 8;
    const u32 n_down = tiles_down(p, tile_m, cluster);
    const u32 n_right = u32((p.n + tile_n - 1) / tile_n);
    const u32 group = divide(index, in_group * n_right);
    const u32 right = divide(index, min(n_down - in_group * group, in_group));
    const u64 k0 = part * p.k_part;
    return {u64(in_group * group + index) * tile_m, u64(right) * tile_n, k0, min(p.k - k0, p.k_part)};
}

// min(have - at, most), and 0 past the end.
__device__ __forceinline__ u32 left_of(u64 have, u64 at, u32 most) {
    return at < have ? u32(min(have - at, u64(most))) : 0;
}

template <u32 kBytes> __device__ __forceinline__ bool is_aligned(const void* at) {
    return (reinterpret_cast<u64>(at) & (kBytes - 1)) == 0;
}

// Neighbours as f32; those from `count` on are 0 and not touched.
template <u32 kLen, typename T> __device__ __forceinline__ void load_run(f32 (&run)[kLen], const T* from, u32 count) {
    constexpr u32 kPack = kLen * sizeof(T) < 16 ? kLen : 16 / sizeof(T);
    if (count == kLen && is_aligned<kPack * sizeof(T)>(from)) {
        #pragma unroll
        for (u32 i = 0; i < kLen; i += kPack) {
            const Pack<T, kPack> pack = load<kPack, Cache::Use>(from + i);
            #pragma unroll
            for (u32 j = 0; j < kPack; ++j) run[i + j] = to_f32(pack.lane[j]);
        }
    } else {
        #pragma unroll
        for (u32 i = 0; i < kLen; ++i) run[i] = i < count ? to_f32(from[i]) : 0.0f;
    }
}

// Rounds and stores the first `count` of a run.
template <u32 kLen, typename T> __device__ __forceinline__ void store_run(T* to, const f32 (&run)[kLen], u32 count) {
    constexpr u32 kPack = kLen * sizeof(T) < 16 ? kLen : 16 / sizeof(T);
    if (count == kLen && is_aligned<kPack * sizeof(T)>(to)) {
        #pragma unroll
        for (u32 i = 0; i < kLen; i += kPack) {
            Pack<T, kPack> pack;
            #pragma unroll
            for (u32 j = 0; j < kPack; ++j) pack.lane[j] = from_f32<T>(run[i + j]);
            store(to + i, pack);
        }
    } else {
        #pragma unroll
        for (u32 i = 0; i < kLen; ++i) {
            if (i < count) to[i] = from_f32<T>(run[i]);
        }
    }
}

// What becomes of a result x where dst holds `old`: the sum of both; or, where old is what relu or leaky relu made, x as the
// gradient before it. The conventions are those of unary_backward.cu.
template <u32 kOnto, u32 kLen>
__device__ __forceinline__ void join_as(const Product& p, f32 (&x)[kLen], const f32 (&old)[kLen]) {
    #pragma unroll
    for (u32 i = 0; i < kLen; ++i) {
        if constexpr (kOnto == 1) x[i] += old[i];
        else if constexpr (kOnto == 2) x[i] = old[i] <= 0.0f ? 0.0f : x[i];
        else x[i] = old[i] > 0.0f ? x[i] : p.slope * x[i];
    }
}

// It is the same for all of a launch, and so is chosen outside of the loops.
template <u32 kLen> __device__ __forceinline__ void join(const Product& p, f32 (&x)[kLen], const f32 (&old)[kLen]) {
    if (p.onto == 1) join_as<1>(p, x, old);
    else if (p.onto == 2) join_as<2>(p, x, old);
    else join_as<3>(p, x, old);
}

template <typename Out, u32 kLen>
__device__ __forceinline__ void store_dst(const Product& p, f32 (&run)[kLen], u64 at, u32 count) {
    Out* to = static_cast<Out*>(p.dst) + at;
    if (p.onto) {
        f32 old[kLen];
        load_run(old, to, count);
        join(p, run, old);
    }
    store_run(to, run, count);
}

// The epilogue of kLen neighbours in a row of dst, whose sums over all of k are in `run`: bias, activation and
// accumulation in f32, rounded once. Rows count on from product to product. Columns past the end are dropped.
template <typename T, u32 kLen>
__device__ __forceinline__ void finish(const Product& p, f32 (&run)[kLen], u64 row, u64 col) {
    const u32 count = left_of(p.n, col, kLen);
    if (count == 0) return;
    if (p.bias) {
        const T* bias = static_cast<const T*>(p.bias);
        f32 term[kLen];
        if (p.bias_n == 1) {
            load_run(term, bias + col, count);
        } else {
            #pragma unroll
            for (u32 i = 0; i < kLen; ++i) term[i] = i < count ? to_f32(bias[(col + i) * p.bias_n]) : 0.0f;
        }
        #pragma unroll
        for (u32 i = 0; i < kLen; ++i) run[i] += term[i];
    }
    const u64 at = row * p.n + col;
    if (kSame<T, f32> || p.wide) {
        activate<f32>(run, p.activation, p.slope);
        store_dst<f32>(p, run, at, count);
    } else {
        activate<T>(run, p.activation, p.slope);
        store_dst<T>(p, run, at, count);
    }
}

// Stores sums over a part of k: through the epilogue if that is all of k, else for matmul_reduce. What lies
// outside of the product is dropped.
template <typename T, u32 kLen>
__device__ __forceinline__ void store_sums(const Product& p, f32 (&run)[kLen], u32 product, u32 part, u64 row, u64 col) {
    if (row >= p.m || col >= p.n) return;
    row += product * p.m;
    if (p.partial == nullptr) finish<T>(p, run, row, col);
    else store_run(p.partial + part * p.part_step + row * partial_stride(p) + col, run, kLen);
}
