// matvec.cu: products of a row and a matrix, dst[n] = a[k] * b[k, n]. The launcher turns a product by a column into one
// by a row, transposed.
//
// Launch     256 threads a block, no dynamic shared memory; y: a block for each part of k.
//            matvec_rows: x: a block for every 256 / p.lanes columns of all products together.
//            matvec_columns: x: a block for every 512 bytes of a row of b; z: for each product.
// Requires   p.m == 1. matvec_rows: what p.packed promises; p.k_part a multiple of 8; fewer than 2^31 columns if there
//            is more than one product. matvec_columns: b_n == 1.
// Aliasing   dst apart from a, b and bias.
// Numerics   f32 multiply-adds in an order that depends on shapes only; rounded once.
// Bound by   memory: k * n * sizeof(T) bytes.
#include "matmul.cuh"

constexpr u32 kWarps = 8;

// sum + the product of a pack of b and one of a.
template <u32 kLen, typename T>
__device__ __forceinline__ f32 dot(f32 sum, const Pack<T, kLen>& a, const Pack<T, kLen>& b) {
    const auto x = to_f32(a), y = to_f32(b);
    #pragma unroll
    for (u32 i = 0; i < kLen; ++i) sum = fmaf(x.lane[i], y.lane[i], sum);
    return sum;
}

// The same of elements of a at any stride.
template <u32 kLen, typename T>
__device__ __forceinline__ f32 dot(f32 sum, const T* a, u64 a_k, const Pack<T, kLen>& b) {
    #pragma unroll
    for (u32 i = 0; i < kLen; ++i) sum = fmaf(to_f32(a[i * a_k]), to_f32(b.lane[i]), sum);
    return sum;
}

// For a matrix that is contiguous along k, or along nothing: p.lanes threads walk along a column of b,
// all of a block where there are few columns.
template <typename T> __global__ void __launch_bounds__(256, 3) matvec_rows(const __grid_constant__ Product p) {
    follow();
    constexpr u32 kLen = 16 / sizeof(T);
    constexpr u32 kAhead = 4;  // packs in flight
    // Columns count on from product to product, so that many small products fill blocks too.
    u64 col = u64(blockIdx.x) * (256 / p.lanes) + threadIdx.x / p.lanes;
    u32 product = 0;
    if (p.batch.numel > 1) {
        product = u32(col) / u32(p.n);
        col = u32(col) % u32(p.n);
    }
    const bool inside = col < p.n && product < p.batch.numel;
    const u64 k0 = blockIdx.y * p.k_part;
    // Threads past the end have nothing to add, but take part in the shuffles.
    const u64 depth = inside ? min(p.k - k0, p.k_part) : 0;
    const Factors<T> from = factors_of<T>(p, product);
    const T* a = from.a + k0 * p.a_k;
    const T* b = from.b + k0 * p.b_k + col * p.b_n;
    const u32 first = threadIdx.x % p.lanes;
    f32 sum = 0.0f;

    u64 done = 0;
    if (p.packed & 1) {
        const u64 packs = depth / kLen;
        for (u64 i = first; i < packs; i += kAhead * p.lanes) {
            Pack<T, kLen> of_a[kAhead], of_b[kAhead];
            #pragma unroll
            for (u32 j = 0; j < kAhead; ++j) {
                const u64 at = (i + j * p.lanes) * kLen;
                if (i + j * p.lanes >= packs) break;
                of_b[j] = load<kLen, Cache::Skip>(b + at);
                if (p.packed & 2) of_a[j] = load<kLen, Cache::Use>(a + at);
            }
            #pragma unroll
            for (u32 j = 0; j < kAhead; ++j) {
                const u64 at = (i + j * p.lanes) * kLen;
                if (i + j * p.lanes >= packs) break;
                if (p.packed & 2) sum = dot(sum, of_a[j], of_b[j]);
                else sum = dot(sum, a + at * p.a_k, p.a_k, of_b[j]);
            }
        }
        done = packs * kLen;
    }
    #pragma unroll 4
    for (u64 k = done + first; k < depth; k += p.lanes) sum = fmaf(to_f32(a[k * p.a_k]), to_f32(b[k * p.b_k]), sum);

    for (u32 apart = min(p.lanes, 32) / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(~0u, sum, apart);
    if (p.lanes > 32) {
        __shared__ f32 of_warp[kWarps];
        const u32 warp = threadIdx.x / 32;
        if (threadIdx.x % 32 == 0) of_warp[warp] = sum;
        __syncthreads();
        for (u32 w = 1; w < p.lanes / 32; ++w) sum += first == 0 ? of_warp[warp + w] : 0.0f;
    }
    if (first == 0 && inside) {
        f32 run[1] = {sum};
        store_sums<T>(p, run, product, blockIdx.y, 0, col);
    }
}

// For a matrix that is contiguous along n: a thread keeps the sums of 16 bytes of columns, and warps share k.
template <typename T> __global__ void __launch_bounds__(256) matvec_columns(const __grid_constant__ Product p) {
    follow();
    constexpr u32 kLen = 16 / sizeof(T);
    constexpr u32 kCols = 32 * kLen;
    constexpr u32 kAhead = 4;
    __shared__ __align__(16) f32 parts[kWarps][kCols];
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const u64 col0 = u64(blockIdx.x) * kCols;
    const u64 col = col0 + lane * kLen;
    const u32 count = left_of(p.n, col, kLen);
    const u64 k0 = blockIdx.y * p.k_part;
    const u64 depth = min(p.k - k0, p.k_part);
    const Factors<T> from = factors_of<T>(p, blockIdx.z);
    const T* a = from.a + k0 * p.a_k;
    const T* b = from.b + k0 * p.b_k + col;

    f32 sums[kLen] = {};
    u64 k = warp;
    if (count == kLen && is_aligned<16>(b) && p.b_k % kLen == 0) {
        for (; k + (kAhead - 1) * kWarps < depth; k += kAhead * kWarps) {
            Pack<T, kLen> pack[kAhead];
            #pragma unroll
            for (u32 j = 0; j < kAhead; ++j) pack[j] = load<kLen, Cache::Skip>(b + (k + j * kWarps) * p.b_k);
            #pragma unroll
            for (u32 j = 0; j < kAhead; ++j) {
                const f32 x = to_f32(a[(k + j * kWarps) * p.a_k]);
                #pragma unroll
                for (u32 i = 0; i < kLen; ++i) sums[i] = fmaf(x, to_f32(pack[j].lane[i]), sums[i]);
            }
        }
    }
    for (; k < depth; k += kWarps) {
        f32 row[kLen];
        load_run(row, b + k * p.b_k, count);
        const f32 x = to_f32(a[k * p.a_k]);
        #pragma unroll
        for (u32 i = 0; i < kLen; ++i) sums[i] = fmaf(x, row[i], sums[i]);
    }

    #pragma unroll
    for (u32 i = 0; i < kLen; i += 4) {
        *reinterpret_cast<float4*>(&parts[warp][lane * kLen + i]) = {sums[i], sums[i + 1], sums[i + 2], sums[i + 3]};
    }
    __syncthreads();
    if (threadIdx.x < kCols) {
        f32 run[1] = {};
        #pragma unroll
        for (u32 w = 0; w < kWarps; ++w) run[0] += parts[w][threadIdx.x];
        store_sums<T>(p, run, blockIdx.z, blockIdx.y, 0, col0 + threadIdx.x);
    }
}
