// attention_f32.cu: attention of f32 operands, in f32 throughout.
//
// Launch     x: a block for each tile of rows of a sequence and a head of keys. 256 threads, and the dynamic shared
//            memory of Shape: the rows, a tile of keys or values, and their weights.
// Requires   q, k, v and out start on 16 bytes in every row if packs; dim <= kDim.
// Aliasing   as attention.cu.
// Numerics   f32 multiply-adds; no TF32. Otherwise as attention.cu, with weights that are not rounded.
// Bound by   FFMA; 4 * len * kv_len * dim operations.
#include "attention.cuh"

constexpr f32 kInf = __builtin_bit_cast(f32, 0x7f800000u);

// Before 9.0 the compiler needs more than half of the registers for rows of 128.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr bool kTight = true;
#else
constexpr bool kTight = false;
#endif

// 16 x 16 threads; each takes kPer rows, and of keys and columns every 16th. The numbers come from Kernel in
// src/kernel.rs.
template <u32 kDim_, u32 kPer_, u32 kKeys_> struct Shape {
    static constexpr u32 kDim = kDim_, kPer = kPer_, kKeys = kKeys_;
    static constexpr u32 kRows = 16 * kPer;
    static constexpr u32 kStride = kDim + 4;           // keeps rows on 16 bytes, and spreads them over banks
    static constexpr u32 kWeightStride = kKeys + 4;
    static constexpr u32 kVec = kDim / 16 < 4 ? kDim / 16 : 4;  // neighbouring columns of a thread
    static constexpr u32 kVecs = kDim / 16 / kVec;
    static constexpr u32 kBlocks = kTight && kDim == 128 ? 1 : 2;  // that share a multiprocessor
};

// Starts the copies of rows to shared memory, zeros past dim and past the last row.
template <typename S, u32 kRows, typename At>
__device__ __forceinline__ void bring(const Attention& p, u64 stride_col, f32* tile, u32 rows, At at) {
    const u32 to = shared_address(tile), len = p.packs ? 4 : 1;
    #pragma unroll 1
    for (u32 i = threadIdx.x * len; i < kRows * S::kDim; i += 256 * len) {
        const u32 row = i / S::kDim, col = i % S::kDim, place = to + (row * S::kStride + col) * 4;
        const bool within = row < rows && col < p.dim;
        if (len == 4) copy_async_16(place, at(row) + col, within ? 16 : 0);
        else copy_async_4(place, at(row) + col * stride_col, within ? 4 : 0);
    }
    copy_async_commit();
}

// All threads meet, and what was brought is there.
__device__ __forceinline__ void arrive() {
    copy_async_wait<0>();
    __syncthreads();
}

template <u32 kLen> __device__ __forceinline__ Pack<f32, kLen> load_run(const f32* at) {
    return *reinterpret_cast<const Pack<f32, kLen>*>(at);
}

// Whether all values of a tile are; columns past dim are 0. All threads meet.
template <typename S> __device__ __forceinline__ bool is_finite(const f32* tile) {
    bool finite = true;
    #pragma unroll 1
    for (u32 i = threadIdx.x; i < S::kKeys * S::kDim; i += 256) {
        finite &= fabsf(tile[i / S::kDim * S::kStride + i % S::kDim]) < kInf;
    }
    return __syncthreads_and(finite);
}

template <typename S>
__global__ void __launch_bounds__(256, S::kBlocks) attention_f32(const __grid_constant__ Attention p) {
    follow();
    extern __shared__ __align__(1024) unsigned char shared[];
    f32* const q_tile = reinterpret_cast<f32*>(shared);
    f32* const kv_tile = q_tile + S::kRows * S::kStride;
    f32* const weights = kv_tile + S::kKeys * S::kStride;
    const u32 x = threadIdx.x % 16, y = threadIdx.x / 16 * S::kPer;
    const Part<f32> part(p, S::kRows);
    if (part.first >= part.rows) return;
    const u32 n_keys = part.seen(min(part.first + S::kRows, part.rows) - 1);

    f32 sums[S::kPer][S::kVecs][S::kVec] = {}, max[S::kPer], total[S::kPer] = {};
    u32 seen[S::kPer];
    #pragma unroll
    for (u32 i = 0; i < S::kPer; ++i) {
        max[i] = -kInf;
        seen[i] = min(part.seen(part.first + y + i), n_keys);
    }
    if (n_keys > 0) {
        bring<S, S::kRows>(p, p.q_at.col, q_tile, part.rows - part.first, [&](u32 row) {
            return part.q + part.at(p.q_at, part.first + row);
        });
    }
    #pragma unroll 1
    for (u32 key = 0; key < n_keys; key += S::kKeys) {
        const auto fetch = [&](const f32* from, const Strides& at) {
            const f32* first = from + key * at.row;
            bring<S, S::kKeys>(p, at.col, kv_tile, part.kv_len - key, [&](u32 row) { return first + row * at.row; });
        };
        fetch(part.k, p.k_at);
        arrive();
        f32 scores[S::kPer][S::kKeys / 16] = {};
        #pragma unroll 4
        for (u32 d = 0; d < S::kDim; d += 4) {
            Pack<f32, 4> q[S::kPer];
            #pragma unroll
            for (u32 i = 0; i < S::kPer; ++i) q[i] = load_run<4>(q_tile + (y + i) * S::kStride + d);
            #pragma unroll
            for (u32 j = 0; j < S::kKeys / 16; ++j) {
                const auto k = load_run<4>(kv_tile + (x + 16 * j) * S::kStride + d);
                #pragma unroll
                for (u32 i = 0; i < S::kPer; ++i) {
                    #pragma unroll
                    for (u32 e = 0; e < 4; ++e) scores[i][j] = fmaf(q[i].lane[e], k.lane[e], scores[i][j]);
                }
            }
        }
        __syncthreads();
        fetch(part.v, p.v_at);

        #pragma unroll
        for (u32 i = 0; i < S::kPer; ++i) {
            f32 most = max[i];  // NaN plays no part: it shows in the total
            #pragma unroll
            for (u32 j = 0; j < S::kKeys / 16; ++j) {
                if (key + x + 16 * j >= seen[i]) scores[i][j] = -kInf;
                most = fmaxf(most, scores[i][j]);
            }
            #pragma unroll
            for (u32 by = 8; by > 0; by /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, by));
            const f32 shift = most == -kInf ? 0.0f : most * p.scale;
            const f32 factor = ex2_approx_ftz(fmaf(max[i], p.scale, -shift));
            max[i] = most;
            total[i] *= factor;
            #pragma unroll
            for (auto& run : sums[i]) {
                #pragma unroll
                for (f32& sum : run) sum *= factor;
            }
            #pragma unroll
            for (u32 j = 0; j < S::kKeys / 16; ++j) {
                const f32 weight = ex2_approx_ftz(fmaf(scores[i][j], p.scale, -shift));
                total[i] += weight;
                weights[(y + i) * S::kWeightStride + x + 16 * j] = weight;
            }
        }

        arrive();
        // A row must not feel values that it does not see: 0 times infinity is NaN.
        if (part.causal && key + S::kKeys > part.seen(part.first) && !is_finite<S>(kv_tile)) {
            #pragma unroll 1
            for (u32 j = 0; j < S::kKeys; ++j) {
                #pragma unroll
                for (u32 n = 0; n < S::kVecs; ++n) {
                    const auto v = load_run<S::kVec>(kv_tile + j * S::kStride + (16 * n + x) * S::kVec);
                    #pragma unroll
                    for (u32 i = 0; i < S::kPer; ++i) {
                        if (key + j >= seen[i]) continue;
                        const f32 weight = weights[(y + i) * S::kWeightStride + j];
                        #pragma unroll
                        for (u32 l = 0; l < S::kVec; ++l) sums[i][n][l] = fmaf(weight, v.lane[l], sums[i][n][l]);
                    }
                }
            }
            __syncthreads();
            continue;
        }
        #pragma unroll 2
        for (u32 j = 0; j < S::kKeys; j += 4) {
            Pack<f32, 4> weight[S::kPer];
            #pragma unroll
            for (u32 i = 0; i < S::kPer; ++i) weight[i] = load_run<4>(weights + (y + i) * S::kWeightStride + j);
            #pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                #pragma unroll
                for (u32 n = 0; n < S::kVecs; ++n) {
                    const auto v = load_run<S::kVec>(kv_tile + (j + e) * S::kStride + (16 * n + x) * S::kVec);
                    #pragma unroll
                    for (u32 i = 0; i < S::kPer; ++i) {
                        #pragma unroll
                        for (u32 l = 0; l < S::kVec; ++l) {
                            sums[i][n][l] = fmaf(weight[i].lane[e], v.lane[l], sums[i][n][l]);
                        }
                    }
                }
            }
        }
        __syncthreads();
    }

    #pragma unroll
    for (u32 i = 0; i < S::kPer; ++i) {
        #pragma unroll
        for (u32 by = 8; by > 0; by /= 2) total[i] += __shfl_xor_sync(0xffffffffu, total[i], by);
        const u32 row = part.first + y + i;
        if (row >= part.rows) continue;
        const f32 share = 1.0f / total[i];
        f32* to = part.out + part.at(p.out_at, row);
        #pragma unroll
        for (u32 n = 0; n < S::kVecs; ++n) {
            const u32 col = (16 * n + x) * S::kVec;
            Pack<f32, S::kVec> run;
            #pragma unroll
            for (u32 l = 0; l < S::kVec; ++l) run.lane[l] = total[i] == 0.0f ? 0.0f : sums[i][n][l] * share;
            if (p.packs && S::kVec == 4) {
                if (col < p.dim) store(to + col, run);
            } else {
                #pragma unroll
                for (u32 l = 0; l < S::kVec; ++l) {
                    if (col + l < p.dim) to[(col + l) * p.out_at.col] = run.lane[l];
                }
            }
        }
    }
}
