// attention_rows.cuh: what a warp does with its rows of queries: scores and weights in registers, sums of values.
#pragma once
#include "attention.cuh"

constexpr f32 kInf = __builtin_bit_cast(f32, 0x7f800000u);

// Other cards than 9.0 need some more registers for the same.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
constexpr bool kTight = false;
#else
constexpr bool kTight = true;
#endif

// Blocks of kWarps warps, each of kWarpRows rows; kKeys keys at a time. The numbers come from Kernel in src/kernel.rs.
template <u32 kDim_, u32 kWarps_, u32 kWarpRows_, u32 kKeys_, u32 kBlocks_> struct Shape {
    static constexpr u32 kDim = kDim_, kKeys = kKeys_;
    static constexpr u32 kThreads = kWarps_ * 32;
    // That share a multiprocessor.
    static constexpr u32 kBlocks = kTight && kBlocks_ > 2 ? kBlocks_ * 3 / 4 : kBlocks_;
    // Where there is no room for the sums of all rows of a warp, it takes one half after the other.
    static constexpr u32 kPasses = kTight && kWarpRows_ * kDim > 16 * 128 ? kWarpRows_ / 16 : 1;
    static constexpr u32 kWarpRows = kWarpRows_ / kPasses, kRows = kWarps_ * kWarpRows;
    static constexpr u32 kHigh = kWarpRows / 16;  // blocks of 16 rows
    static constexpr u32 kSteps = kDim / 16;      // along dim
    static constexpr u32 kBlockKeys = kKeys / 16;
    static constexpr u32 kTileBytes = kKeys * kDim * 2;
    // Queries stay in registers where there is room.
    static constexpr bool kHolds = kHigh * kSteps * 4 <= 32;
};

// How rows of kDim elements lie in shared memory: in chunks of 16 bytes, whose place is XORed with bits of the row, so
// that 8 chunks of one column, which one phase of ldmatrix reads, lie in 8 different groups of 4 banks. Places in
// bytes.
template <u32 kDim> struct Tile {
    static constexpr u32 kRowBytes = kDim * 2, kChunks = kDim / 8;

    static __device__ __forceinline__ u32 place(u32 row, u32 chunk) {
        // Two rows of 64 bytes fill the banks; longer rows fill them alone.
        const u32 mask = kDim == 32 ? row / 2 % 4 : row % 8;
        return row * kRowBytes + (chunk ^ mask) * 16;
    }
};

// Rows of an operand on their way to shared memory, zeros past dim and past the last row. `at` says where a row begins.
template <typename T, typename S, u32 kRows, typename At>
__device__ __forceinline__ void bring(const Attention& p, u64 stride_col, u32 tile, u32 rows, At at) {
    using Places = Tile<S::kDim>;
    constexpr u32 kStep = S::kThreads / Places::kChunks, kCopies = kRows / kStep;
    const u32 row = threadIdx.x / Places::kChunks, chunk = threadIdx.x % Places::kChunks;
    if (p.packs) {
        const bool within = chunk * 8 < p.dim;
        #pragma unroll 4  // not all, or their offsets take registers
        for (u32 i = 0; i < kCopies; ++i) {
            const u32 r = row + i * kStep;
            copy_async_16(tile + Places::place(r, chunk), at(r) + chunk * 8, within && r < rows ? 16 : 0);
        }
        return;
    }
    #pragma unroll 1
    for (u32 i = 0; i < kCopies; ++i) {
        const u32 r = row + i * kStep;
        Pack<T, 8> pack = {};
        const T* from = at(r);
        #pragma unroll
        for (u32 j = 0; j < 8; ++j) {
            const u32 col = chunk * 8 + j;
            if (r < rows && col < p.dim) pack.lane[j] = from[col * stride_col];
        }
        store_shared(tile + Places::place(r, chunk), bits_as<u32x4>(pack));
    }
}

// Two elements, without those that are no finite numbers.
template <typename T> __device__ __forceinline__ u32 finite_part(u32 pair) {
    constexpr u32 kLow = kSame<T, f16> ? 0x7c00 : 0x7f80, kHigh = kLow << 16;  // exponents
    return ((pair & kLow) == kLow ? 0 : pair & 0xffff) | ((pair & kHigh) == kHigh ? 0 : pair & 0xffff0000);
}

// What a warp sees of a tile: all of it, or a part; or a part where some values are not finite, and must not reach rows
// that do not see them.
enum class Seen { Whole, Part, Spoilt };

// Whether what this thread has brought is finite.
template <typename T, typename S> __device__ __forceinline__ bool is_finite(u32 tile) {
    using Places = Tile<S::kDim>;
    constexpr u32 kStep = S::kThreads / Places::kChunks;
    const u32 row = threadIdx.x / Places::kChunks, chunk = threadIdx.x % Places::kChunks;
    bool finite = true;
    #pragma unroll 2
    for (u32 i = 0; i < S::kKeys / kStep; ++i) {
        const u32x4 x = load_shared(tile + Places::place(row + i * kStep, chunk));
        finite &= finite_part<T>(x.a) == x.a && finite_part<T>(x.b) == x.b;
        finite &= finite_part<T>(x.c) == x.c && finite_part<T>(x.d) == x.d;
    }
    return finite;
}

// What a warp knows of its rows. A lane holds rows l / 4 and l / 4 + 8 of each block, columns 2 * (l % 4) and the next.
template <typename T, typename S> struct Rows {
    f32 sums[S::kHigh][S::kDim / 8][4];
    f32 max[S::kHigh][2];    // of scores, before the scale
    f32 total[S::kHigh][2];  // of weights, of this lane's columns
    u32 held[S::kHolds ? S::kHigh : 1][S::kHolds ? S::kSteps : 1][4];
    u32 q_place;             // of the row that this lane brings to ldmatrix
    u32 k_place, v_place;    // likewise, within a tile

    __device__ __forceinline__ Rows(u32 q_tile) : sums{}, total{} {
        using Places = Tile<S::kDim>;
        const u32 lane = threadIdx.x % 32, row = lane % 8, low = lane / 8 % 2, high = lane / 16;
        // mma takes the halves of q along rows first, those of k and v along what is summed over first.
        q_place = q_tile + Places::place(threadIdx.x / 32 * S::kWarpRows + 8 * low + row, high);
        k_place = Places::place(8 * high + row, low);
        v_place = Places::place(8 * low + row, high);
        #pragma unroll
        for (auto& pair : max) pair[0] = pair[1] = -kInf;
    }

    __device__ __forceinline__ void load_q(u32 (&block)[4], u32 high, u32 step) const {
        load_blocks(block, (q_place ^ step * 32) + high * 16 * Tile<S::kDim>::kRowBytes);
    }

    __device__ __forceinline__ void hold() {
        if constexpr (S::kHolds) {
            #pragma unroll
            for (u32 i = 0; i < S::kHigh; ++i) {
                #pragma unroll
                for (u32 step = 0; step < S::kSteps; ++step) load_q(held[i][step], i, step);
            }
        }
    }

    // Takes a tile of keys and values in, the first of them number `key`. Unless they are seen whole, rows do not see all
    // of them, and none of the warp sees any from block `n_blocks` of 16 on.
    template <Seen kSeen>
    __device__ __forceinline__ void take(u32 k_tile, u32 v_tile, f32 scale, const Part<T>& part, u32 key, u32 n_blocks) {
        constexpr bool kEdge = kSeen != Seen::Whole;
        constexpr u32 kRowBytes = Tile<S::kDim>::kRowBytes;
        f32 scores[S::kHigh][S::kKeys / 8][4] = {};
        #pragma unroll
        for (u32 step = 0; step < S::kSteps; ++step) {
            u32 q[S::kHigh][4];
            #pragma unroll
            for (u32 i = 0; i < S::kHigh; ++i) {
                if constexpr (S::kHolds) {
                    #pragma unroll
                    for (u32 j = 0; j < 4; ++j) q[i][j] = held[i][step][j];
                } else {
                    load_q(q[i], i, step);
                }
            }
            #pragma unroll
            for (u32 block = 0; block < S::kBlockKeys; ++block) {
                if (kEdge && block >= n_blocks) continue;
                u32 k[4];
                load_blocks(k, k_tile + (k_place ^ step * 32) + block * 16 * kRowBytes);
                #pragma unroll
                for (u32 i = 0; i < S::kHigh; ++i) {
                    mma<T>(scores[i][2 * block], q[i], k[0], k[1]);
                    mma<T>(scores[i][2 * block + 1], q[i], k[2], k[3]);
                }
            }
        }
        if constexpr (kEdge) {
            #pragma unroll
            for (u32 i = 0; i < S::kHigh; ++i) {
                #pragma unroll
                for (u32 half = 0; half < 2; ++half) {
                    const u32 row = threadIdx.x / 32 * S::kWarpRows + i * 16 + half * 8 + threadIdx.x % 32 / 4;
                    const i32 left = i32(part.seen(part.first + row) - key - threadIdx.x % 4 * 2);
                    #pragma unroll
                    for (u32 j = 0; j < S::kKeys / 8; ++j) {
                        if (left <= i32(j * 8)) scores[i][j][2 * half] = -kInf;
                        if (left <= i32(j * 8 + 1)) scores[i][j][2 * half + 1] = -kInf;
                    }
                }
            }
        }
        weigh<kEdge>(scores, scale, n_blocks);
        #pragma unroll
        for (u32 block = 0; block < S::kBlockKeys; ++block) {
            if (kEdge && block >= n_blocks) continue;
            u32 weights[S::kHigh][4];
            #pragma unroll
            for (u32 i = 0; i < S::kHigh; ++i) {
                #pragma unroll
                for (u32 j = 0; j < 4; ++j) {
                    const f32* pair = scores[i][2 * block + j / 2] + j % 2 * 2;
                    weights[i][j] = pack_pair<T>(pair[0], pair[1]);
                }
            }
            #pragma unroll
            for (u32 step = 0; step < S::kSteps; ++step) {
                u32 v[4];
                load_blocks_transposed(v, v_tile + (v_place ^ step * 32) + block * 16 * kRowBytes);
                if constexpr (kSeen == Seen::Spoilt) {
                    #pragma unroll
                    for (u32& pair : v) pair = finite_part<T>(pair);
                }
                #pragma unroll
                for (u32 i = 0; i < S::kHigh; ++i) {
                    mma<T>(sums[i][2 * step], weights[i], v[0], v[1]);
                    mma<T>(sums[i][2 * step + 1], weights[i], v[2], v[3]);
                }
            }
        }
        if constexpr (kSeen == Seen::Spoilt) spoil(v_tile, part, key, n_blocks);
    }

    // Adds values that are not finite to the rows that see them, and to no other: as a term of a product they would be
    // NaN there.
    __device__ __forceinline__ void spoil(u32 v_tile, const Part<T>& part, u32 key, u32 n_blocks) {
        const u32 lane = threadIdx.x % 32, row = part.first + threadIdx.x / 32 * S::kWarpRows + lane / 4;
        #pragma unroll 1
        for (u32 i = 0; i < n_blocks * 16; ++i) {
            #pragma unroll
            for (u32 j = 0; j < S::kDim / 8; ++j) {
                const u32 pair = load_shared_word(v_tile + Tile<S::kDim>::place(i, j) + lane % 4 * 4);
                const u32 rest = finite_part<T>(pair) ^ pair;
                if (rest == 0) continue;
                #pragma unroll
                for (u32 high = 0; high < S::kHigh; ++high) {
                    #pragma unroll
                    for (u32 half = 0; half < 2; ++half) {
                        if (part.seen(row + high * 16 + half * 8) <= key + i) continue;
                        sums[high][j][2 * half] += to_f32(T{u16(rest)});
                        sums[high][j][2 * half + 1] += to_f32(T{u16(rest >> 16)});
                    }
                }
            }
        }
    }

    // Scores become weights, 2^(scale * (score - max)) with the largest so far; what was summed before is scaled to
    // that.
    template <bool kEdge>
    __device__ __forceinline__ void weigh(f32 (&scores)[S::kHigh][S::kKeys / 8][4], f32 scale, u32 n_blocks) {
        #pragma unroll
        for (u32 i = 0; i < S::kHigh; ++i) {
            f32 factor[2], shift[2];
            #pragma unroll
            for (u32 half = 0; half < 2; ++half) {
                f32 most = max[i][half];  // NaN plays no part: it shows in the total
                #pragma unroll
                for (u32 j = 0; j < S::kKeys / 8; ++j) {
                    most = fmaxf(most, fmaxf(scores[i][j][2 * half], scores[i][j][2 * half + 1]));
                }
                most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
                most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
                shift[half] = most == -kInf ? 0.0f : most * scale;
                factor[half] = ex2_approx_ftz(fmaf(max[i][half], scale, -shift[half]));
                max[i][half] = most;
            }
            // The largest seldom changes after the first tiles.
            if (__any_sync(0xffffffffu, factor[0] != 1.0f || factor[1] != 1.0f)) {
                #pragma unroll
                for (u32 half = 0; half < 2; ++half) {
                    total[i][half] *= factor[half];
                    #pragma unroll
                    for (auto& sum : sums[i]) {
                        sum[2 * half] *= factor[half];
                        sum[2 * half + 1] *= factor[half];
                    }
                }
            }
            #pragma unroll
            for (u32 j = 0; j < S::kKeys / 8; ++j) {
                if (kEdge && j / 2 >= n_blocks) continue;
                #pragma unroll
                for (u32 e = 0; e < 4; ++e) {
                    f32& x = scores[i][j][e];
                    x = ex2_approx_ftz(fmaf(x, scale, -shift[e / 2]));
                    total[i][e / 2] += x;
                }
            }
        }
    }

    // Divides by the totals and puts the result where the warp's queries were.
    __device__ __forceinline__ void leave(u32 q_tile) {
        const u32 lane = threadIdx.x % 32;
        __syncwarp();
        #pragma unroll
        for (u32 i = 0; i < S::kHigh; ++i) {
            #pragma unroll
            for (u32 half = 0; half < 2; ++half) {
                f32 all = total[i][half];
                all += __shfl_xor_sync(0xffffffffu, all, 1);
                all += __shfl_xor_sync(0xffffffffu, all, 2);
                const f32 share = 1.0f / all;
                const u32 row = threadIdx.x / 32 * S::kWarpRows + i * 16 + half * 8 + lane / 4;
                #pragma unroll
                for (u32 j = 0; j < S::kDim / 8; ++j) {
                    const f32* pair = sums[i][j] + half * 2;
                    const u32 word = all == 0.0f ? 0 : pack_pair<T>(pair[0] * share, pair[1] * share);
                    store_shared(q_tile + Tile<S::kDim>::place(row, j) + lane % 4 * 4, word);
                }
            }
        }
        __syncwarp();
    }
};
