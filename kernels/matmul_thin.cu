// matmul_thin.cu: products of few rows or few columns, 16-bit operands that lie along k, on tensor cores (mma.sync).
//
// Such a product is bound by how soon and how fast its operands come, so they go from global memory to registers, with no
// ring between. In every step of 32 along k, lane l takes the 8 elements from 8 * (l % 4) on of rows l / 4, l / 4 + 8, ...
// of its tile of a, and of columns of b likewise. They are not the elements that mma names, but those of a and of b are
// the same, and the order of terms is free: the first 4 serve one mma, the others the next. The warps of a block take steps
// in turn; what each of them has summed is added in shared memory.
//
// Launch     x: a block for each tile of a product; y: a block for each part of k; z: for each product. Thin::kThreads
//            threads, no dynamic shared memory.
// Requires   a and b start on 16 bytes in every product; k and their strides across it are multiples of 8 elements (or
//            the stride is of an axis of extent 1), and along k they are 1.
// Aliasing   dst apart from a, b and bias.
// Numerics   exact products, f32 sums in an order that depends on shapes only; the epilogue as in matmul_mma.cu.
// Bound by   memory: (m + n) * k * 2 bytes; a small product by the time of one load.
#include "matmul.cuh"
#include "mma.cuh"

// Elements along k in a step.
constexpr u32 kStep = 32;

// Blocks of kM x kN, whose kWarps share k. The numbers come from Thin in src/variant.rs.
template <u32 kM_, u32 kN_, u32 kWarps_, u32 kAhead_, u32 kBlocks_> struct Thin {
    static constexpr u32 kM = kM_, kN = kN_, kWarps = kWarps_;
    static constexpr u32 kAhead = kAhead_;  // steps of a warp that are loaded before the first of them is used
    static constexpr u32 kThreads = kWarps * 32;
    static constexpr u32 kBlocks = kBlocks_;  // that share a multiprocessor
    static constexpr u32 kCells = kM / 16 * (kN / 8);  // that mma sums at once
    static_assert(kCells * 32 <= kThreads, "a thread joins the sums of one lane");
};

// The part of an operand that comes to one lane: kCount rows of a, or columns of b, 8 apart.
template <typename T, u32 kCount, Cache kCache> struct Side {
    const T* row[kCount];

    // From `outer` and k on, within an operand that is `extent` long along outer. Past its end rows are those of the last
    // one; what they sum up to is dropped.
    __device__ __forceinline__ Side(const T* operand, u64 stride, u64 extent, u64 outer, u64 k) {
        #pragma unroll
        for (u32 i = 0; i < kCount; ++i) row[i] = operand + min(outer + 8 * i, extent - 1) * stride + k;
    }

    __device__ __forceinline__ void load(u32x4 (&words)[kCount], i32 k) const {
        #pragma unroll
        for (u32 i = 0; i < kCount; ++i) words[i] = bits_as<u32x4>(::load<8, kCache>(row[i] + k));
    }

    __device__ __forceinline__ void advance(u32 by) {
        #pragma unroll
        for (auto& at : row) at += by;
    }
};

// sums += the products of a step.
template <typename T, u32 kRows, u32 kCols>
__device__ __forceinline__
void multiply_step(f32 (&sums)[kRows / 2][kCols][4], const u32x4 (&a)[kRows], const u32x4 (&b)[kCols]) {
    #pragma unroll
    for (u32 i = 0; i < kRows / 2; ++i) {
        const u32x4 upper = a[2 * i], lower = a[2 * i + 1];
        const u32 first[4] = {upper.a, lower.a, upper.b, lower.b}, second[4] = {upper.c, lower.c, upper.d, lower.d};
        #pragma unroll
        for (u32 j = 0; j < kCols; ++j) mma<T>(sums[i][j], first, b[j].a, b[j].b);
        #pragma unroll
        for (u32 j = 0; j < kCols; ++j) mma<T>(sums[i][j], second, b[j].c, b[j].d);
    }
}

template <typename T, typename S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) matmul_thin(const __grid_constant__ Product p) {
    constexpr u32 kRows = S::kM / 8, kCols = S::kN / 8;
    // The side with many rows is read once, the other by every block.
    constexpr Cache kOfA = S::kM > S::kN && S::kM > 16 ? Cache::Skip : Cache::Use;
    constexpr Cache kOfB = kOfA == Cache::Use ? Cache::Skip : Cache::Use;
    __shared__ float4 joined[S::kWarps][S::kCells][32];

    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    // Tiles go down first, so that blocks that run together share columns. Mostly there is one row of them.
    const u32 n_down = u32((p.m + S::kM - 1) / S::kM);
    const u32 right = n_down > 1 ? blockIdx.x / n_down : blockIdx.x;
    const u64 m0 = u64(blockIdx.x - right * n_down) * S::kM, n0 = u64(right) * S::kN, k0 = blockIdx.y * p.k_part;
    const u64 depth = min(p.k - k0, p.k_part);
    const Factors<T> from = factors_of<T>(p, blockIdx.z);
    Side<T, kRows, kOfA> a(from.a, p.a_m, p.m, m0 + lane / 4, k0 + warp * kStep + lane % 4 * 8);
    Side<T, kCols, kOfB> b(from.b, p.b_n, p.n, n0 + lane / 4, k0 + warp * kStep + lane % 4 * 8);
    const u32 n_steps = u32(depth / kStep), rest = u32(depth % kStep);

    follow();
    f32 sums[kRows / 2][kCols][4] = {};
    u32 step = warp;
    #pragma unroll 1
    for (; step < n_steps; step += S::kAhead * S::kWarps) {
        u32x4 a_words[S::kAhead][kRows], b_words[S::kAhead][kCols];
        #pragma unroll
        for (u32 s = 0; s < S::kAhead; ++s) {
            if (step + s * S::kWarps < n_steps) {
                b.load(b_words[s], s * S::kWarps * kStep);
                a.load(a_words[s], s * S::kWarps * kStep);
            }
        }
        #pragma unroll
        for (u32 s = 0; s < S::kAhead; ++s) {
            if (step + s * S::kWarps < n_steps) multiply_step<T, kRows, kCols>(sums, a_words[s], b_words[s]);
        }
        a.advance(S::kAhead * S::kWarps * kStep);
        b.advance(S::kAhead * S::kWarps * kStep);
    }

    // What is left of a step, by the warp whose turn it is: some lanes have nothing.
    if (rest > 0 && warp == n_steps % S::kWarps) {
        u32x4 a_words[kRows] = {}, b_words[kCols] = {};
        if (lane % 4 * 8 < rest) {
            b.load(b_words, i32(n_steps - step) * i32(kStep));
            a.load(a_words, i32(n_steps - step) * i32(kStep));
        }
        __syncwarp();
        multiply_step<T, kRows, kCols>(sums, a_words, b_words);
    }

    #pragma unroll
    for (u32 i = 0; i < S::kM / 16; ++i) {
        #pragma unroll
        for (u32 j = 0; j < kCols; ++j) {
            const f32 (&sum)[4] = sums[i][j];
            joined[warp][i * kCols + j][lane] = {sum[0], sum[1], sum[2], sum[3]};
        }
    }
    __syncthreads();
    if (warp >= S::kCells) return;
    f32 total[4] = {};
    #pragma unroll
    for (u32 w = 0; w < S::kWarps; ++w) {
        const float4 part = joined[w][warp][lane];
        total[0] += part.x;
        total[1] += part.y;
        total[2] += part.z;
        total[3] += part.w;
    }
    // Two lanes have two neighbours in a row each, and two in the row 8 below. They change, to have four in one row.
    const bool odd = lane % 2 == 1;
    const f32 low = __shfl_xor_sync(~0u, odd ? total[0] : total[2], 1);
    const f32 high = __shfl_xor_sync(~0u, odd ? total[1] : total[3], 1);
    f32 run[4] = {odd ? low : total[0], odd ? high : total[1], odd ? total[2] : low, odd ? total[3] : high};
    const u64 row = m0 + warp / kCols * 16 + lane / 4 + (odd ? 8 : 0);
    store_sums<T>(p, run, blockIdx.z, blockIdx.y, row, n0 + warp % kCols * 8 + lane % 4 / 2 * 4);
}
