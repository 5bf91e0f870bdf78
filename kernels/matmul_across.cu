// matmul_across.cu: products of few rows by a matrix that lies along n, across the axis that is summed over.
//
// Such a product is as fast as the matrix comes, so enough bytes of it must be on their way at any time, to all multiprocessors
// alike: two to four blocks share each, and have all of its shared memory. A block has a strip of columns, 128 bytes wide, and
// a part of k. Its warps take steps of 32 along k in turn, and each has a ring of stages of its own, to which it copies what
// comes kStages steps ahead, without a word to the others. What it needs of a comes the same way: a load of its own, even one
// for the step after, would hold every step up.
//
// Shared memory: the rings of all warps. A stage is 32 rows of the strip and what goes with them of a (Few). A row is 8 chunks
// of 16 bytes, and chunk c of row r stands at c ^ chunk_of(r), so that what is read at once lies in different banks. At the end
// the sums of each warp stand over its ring. They are added there warp by warp, and then block by block where those of a
// cluster have parts of k of one strip.
//
// Launch     x: for each strip as many blocks as a cluster has; z: for each product. Across::kThreads threads; dynamic shared
//            memory for kStages stages of each warp.
// Requires   9.0a; b_n == 1; rows of b start on 16 bytes in every product; p.m <= kM; one part of k.
// Aliasing   dst apart from a, b and bias.
// Numerics   exact products of 16 bits, multiply-adds of f32; f32 sums in an order that depends on shapes only.
// Bound by   memory: k * n * sizeof(T) bytes.
#include "hopper.cuh"
#include "matmul.cuh"

// Rows of a strip in a stage, their length and that of all of them.
constexpr u32 kStep = 32, kRowBytes = 128, kStripBytes = kStep * kRowBytes;

// Elements in a row of a strip.
template <typename T> constexpr u32 kColumns = kRowBytes / sizeof(T);

// A row of the sums of a warp or of a block: 16 bytes longer than what is in it, to spread what lanes write over banks.
template <typename T> constexpr u32 kSumRow = kColumns<T> + 4;

// Strips of up to kM rows of a. The numbers come from Across in src/variant.rs.
template <u32 kM_, u32 kWarps_, u32 kStages_, u32 kBlocks_> struct Across {
    static constexpr u32 kM = kM_, kWarps = kWarps_, kStages = kStages_;
    static constexpr u32 kThreads = kWarps * 32;
    static constexpr u32 kBlocks = kBlocks_;  // that share a multiprocessor
};

__device__ __forceinline__ u32 lane_index() { return threadIdx.x % 32; }

__device__ __forceinline__ u32 chunk_of(u32 row) { return row / 8 * 2 + row % 2; }

// The strip: every lane copies a chunk of every 4th row.
template <typename T> struct Strip {
    static constexpr u32 kLen = 16 / sizeof(T);
    const T* from;  // the lane's chunk of its first row
    u64 stride, depth;
    u32 bytes;      // of the chunk that there are

    __device__ __forceinline__ Strip(const Product& p, const T* b, u64 col0, u64 depth) : stride(p.b_k), depth(depth) {
        const u64 col = col0 + lane_index() % 8 * kLen;
        from = b + lane_index() / 8 * stride + col;
        bytes = left_of(p.n, col, kLen) * sizeof(T);
    }

    // Rows and columns past the end are 0.
    __device__ __forceinline__ void bring(u32 step, u32 stage) const {
        const u32 left = left_of(depth, u64(step) * kStep, kStep);
        const T* at = from + u64(step) * kStep * stride;
        #pragma unroll
        for (u32 i = 0; i < kStep / 4; ++i) {
            const u32 row = lane_index() / 8 + 4 * i;
            const u32 to = stage + row * kRowBytes + (lane_index() % 8 ^ chunk_of(row)) * 16;
            copy_async_16(to, at + 4 * i * stride, row < left ? bytes : 0);
        }
    }
};

// The few rows of 16-bit elements, and the lane's sums by tensor cores. The strip is the first factor there: its columns are the
// rows of mma, and the rows of a its columns. Lane l has the 8 elements from 8 * (l % 4) on of row l / 4, as in matmul_thin.cu,
// and rows of the strip are read in that order. In a stage: the 16 bytes of each lane; or, where a lies across k, those of all
// rows for each k, which are turned when they are read.
template <typename T, typename S> struct Few {
    static_assert(S::kM == 8, "the columns of mma");
    static constexpr u32 kBytes = 32 * 16, kBands = kColumns<T> / 16;
    enum class Lie { Along, Across, Any };
    const T* a;
    u64 a_m, a_k, depth;
    u32 m;
    Lie lie = Lie::Any;
    f32 sums[kBands][4] = {};

    __device__ __forceinline__ Few(const Product& p, const T* a, u64 depth)
        : a(a), a_m(p.a_m), a_k(p.a_k), depth(depth), m(u32(p.m)) {
        if (!is_aligned<16>(a)) return;
        if (a_k == 1 && (m == 1 || a_m % 8 == 0)) lie = Lie::Along;
        else if (a_m == 1 && a_k % 8 == 0) lie = Lie::Across;
    }

    __device__ __forceinline__ void bring(u32 step, u32 stage) const {
        const u32 lane = lane_index();
        const u64 k0 = u64(step) * kStep;
        if (lie == Lie::Across) {
            // Each k stands where load_blocks_transposed takes it from.
            const u32 slot = lane % 8 / 2 * 8 + lane / 8 * 2 + lane % 2;
            copy_async_16(stage + slot * 16, a + (k0 + lane) * a_k, k0 + lane < depth ? m * sizeof(T) : 0);
            return;
        }
        const u64 k = k0 + lane % 4 * 8;
        const T* at = a + lane / 4 * a_m + k * a_k;
        const u32 count = lane / 4 < m ? left_of(depth, k, 8) : 0;
        if (lie == Lie::Along) {
            copy_async_16(stage + lane * 16, at, count * sizeof(T));
            return;
        }
        Pack<T, 8> pack = {};
        #pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            if (i < count) pack.lane[i] = at[i * a_k];
        }
        store_shared(stage + lane * 16, bits_as<u32x4>(pack));
    }

    // sums += the products of a step.
    __device__ __forceinline__ void multiply(u32 strip, u32 stage) {
        const u32 lane = lane_index();
        u32 own[4];
        if (lie == Lie::Across) {
            load_blocks_transposed(own, stage + lane * 16);
        } else {
            const u32x4 words = load_shared(stage + lane * 16);
            own[0] = words.a, own[1] = words.b, own[2] = words.c, own[3] = words.d;
        }
        // Of the first two rows of every 8: blocks of 8 x 8 side by side, and below them those of the next two.
        const u32 row = lane % 8 / 2 * 8 + lane % 2 + lane / 16 * 2;
        const u32 at = strip + row * kRowBytes + (lane / 8 % 2 ^ lane % 8) * 16;
        #pragma unroll
        for (u32 half = 0; half < 2; ++half) {
            #pragma unroll
            for (u32 band = 0; band < kBands; ++band) {
                u32 blocks[4];
                load_blocks_transposed(blocks, (at ^ band * 32) + half * 4 * kRowBytes);
                mma<T>(sums[band], blocks, own[2 * half], own[2 * half + 1]);
            }
        }
    }

    __device__ __forceinline__ void store(f32* to) const {
        const u32 row = lane_index() % 4 * 2, col = lane_index() / 4;
        #pragma unroll
        for (u32 band = 0; band < kBands; ++band) {
            #pragma unroll
            for (u32 i = 0; i < 4; ++i) to[(row + i % 2) * kSumRow<T> + 16 * band + i / 2 * 8 + col] = sums[band][i];
        }
    }
};

// The same of f32 by multiply-adds: a lane takes the chunks of the strip that it has copied. In a stage: 32 elements of each row.
template <typename S> struct Few<f32, S> {
    static constexpr u32 kBytes = S::kM * kStep * 4;
    const f32* a;
    u64 a_m, a_k, depth;
    u32 m;
    f32 sums[S::kM][4] = {};

    __device__ __forceinline__ Few(const Product& p, const f32* a, u64 depth)
        : a(a), a_m(p.a_m), a_k(p.a_k), depth(depth), m(u32(p.m)) {}

    __device__ __forceinline__ void bring(u32 step, u32 stage) const {
        const u64 k = u64(step) * kStep + lane_index();
        #pragma unroll
        for (u32 r = 0; r < S::kM; ++r) {
            const u32 to = stage + (r * kStep + lane_index()) * 4;
            copy_async_4(to, a + r * a_m + k * a_k, r < m && k < depth ? 4 : 0);
        }
    }

    // sums += the products of a step.
    __device__ __forceinline__ void multiply(u32 strip, u32 stage) {
        #pragma unroll
        for (u32 i = 0; i < kStep / 4; ++i) {
            const u32 row = lane_index() / 8 + 4 * i;
            const u32 at = strip + row * kRowBytes + (lane_index() % 8 ^ chunk_of(row)) * 16;
            const auto b = bits_as<Pack<f32, 4>>(load_shared(at));
            #pragma unroll
            for (u32 r = 0; r < S::kM; ++r) {
                const f32 x = bits_as<f32>(load_shared_word(stage + (r * kStep + row) * 4));
                #pragma unroll
                for (u32 j = 0; j < 4; ++j) sums[r][j] = fmaf(x, b.lane[j], sums[r][j]);
            }
        }
    }

    __device__ __forceinline__ void store(f32* to) const {
        #pragma unroll
        for (u32 r = 0; r < S::kM; ++r) {
            float4 run = {sums[r][0], sums[r][1], sums[r][2], sums[r][3]};
            #pragma unroll
            for (u32 apart = 8; apart < 32; apart *= 2) {
                run.x += __shfl_xor_sync(~0u, run.x, apart);
                run.y += __shfl_xor_sync(~0u, run.y, apart);
                run.z += __shfl_xor_sync(~0u, run.z, apart);
                run.w += __shfl_xor_sync(~0u, run.w, apart);
            }
            if (lane_index() < 8) *reinterpret_cast<float4*>(to + r * kSumRow<f32> + lane_index() * 4) = run;
        }
    }
};

template <typename T, typename S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) matmul_across(const __grid_constant__ Product p) {
    constexpr u32 kStageBytes = kStripBytes + Few<T, S>::kBytes, kRingBytes = S::kStages * kStageBytes;
    constexpr u32 kRuns = kColumns<T> / 4;
    static_assert(kStageBytes % 128 == 0 && S::kM * kSumRow<T> * 4 <= kRingBytes, "sums stand over a ring");
    extern __shared__ __align__(128) u8 shared[];
    const u32 warp = threadIdx.x / 32, cluster = cluster_size(), rank = cluster_rank();
    const u64 col0 = u64(cluster_index()) * kColumns<T>;
    // Whole steps, as many for each block; the last ones may have fewer, or none.
    const u64 share = (p.k + cluster * kStep - 1) / (cluster * kStep) * kStep, k0 = rank * share;
    const u64 depth = k0 < p.k ? min(p.k - k0, share) : 0;
    const u32 n_steps = u32((depth + kStep - 1) / kStep);
    const Factors<T> from = factors_of<T>(p, blockIdx.z);
    const Strip<T> strip(p, from.b + k0 * p.b_k, col0, depth);
    Few<T, S> few(p, from.a + k0 * p.a_k, depth);
    const u32 ring = shared_address(shared) + warp * kRingBytes;
    const auto bring = [&](u32 step, u32 slot) {
        if (step < n_steps) {
            strip.bring(step, ring + slot * kStageBytes);
            few.bring(step, ring + slot * kStageBytes + kStripBytes);
        }
        copy_async_commit();
    };

    follow();
    #pragma unroll
    for (u32 s = 0; s < S::kStages; ++s) bring(warp + s * S::kWarps, s);
    u32 slot = 0;
    #pragma unroll 1
    for (u32 step = warp; step < n_steps; step += S::kWarps) {
        copy_async_wait<S::kStages - 1>();
        __syncwarp();
        few.multiply(ring + slot * kStageBytes, ring + slot * kStageBytes + kStripBytes);
        __syncwarp();
        bring(step + S::kStages * S::kWarps, slot);
        slot = slot + 1 == S::kStages ? 0 : slot + 1;
    }
    copy_async_wait<0>();
    __syncwarp();

    f32* all = reinterpret_cast<f32*>(shared);
    few.store(all + warp * (kRingBytes / 4));
    __syncthreads();
    const u32 n_runs = u32(p.m) * kRuns;
    for (u32 i = threadIdx.x; i < n_runs; i += S::kThreads) {
        const u32 row = i / kRuns, col = i % kRuns * 4;
        f32* at = all + row * kSumRow<T> + col;
        f32 run[4] = {};
        #pragma unroll
        for (u32 w = 0; w < S::kWarps; ++w) {
            const auto part = *reinterpret_cast<const Pack<f32, 4>*>(at + w * (kRingBytes / 4));
            #pragma unroll
            for (u32 j = 0; j < 4; ++j) run[j] += part.lane[j];
        }
        if (cluster == 1) store_sums<T>(p, run, blockIdx.z, 0, row, col0 + col);
        else *reinterpret_cast<float4*>(at) = {run[0], run[1], run[2], run[3]};
    }
    if (cluster == 1) return;
    cluster_meet();
    for (u32 i = threadIdx.x * cluster + rank; i < n_runs; i += S::kThreads * cluster) {
        const u32 row = i / kRuns, col = i % kRuns * 4;
        const u32 here = shared_address(all + row * kSumRow<T> + col);
        f32 run[4] = {};
        #pragma unroll 4
        for (u32 r = 0; r < cluster; ++r) {
            const auto part = bits_as<Pack<f32, 4>>(load_shared_there_16(shared_address_in(here, r)));
            #pragma unroll
            for (u32 j = 0; j < 4; ++j) run[j] += part.lane[j];
        }
        store_sums<T>(p, run, blockIdx.z, 0, row, col0 + col);
    }
    cluster_wait();  // nobody ends whose sums are still read
}
