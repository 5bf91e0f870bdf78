// matmul_side.cuh: how tiles of an operand come to shared memory, how they lie there, and how warps take them on.
//
// Both operands are treated alike: `outer` is m for a and n for b. A tile is kExtent long along outer and kDepth along
// k, in chunks of 8 elements = 16 bytes along the axis that is contiguous in shared memory. The place of a chunk in its
// row is XORed with bits of the row, so that 8 chunks of one column, which one phase of ldmatrix reads, lie in 8
// different groups of 4 banks.
#pragma once
#include "matmul.cuh"
#include "mma.cuh"

// Elements along k in a tile.
constexpr u32 kDepth = 32;

// Where tiles of an operand's dtype lie in shared memory, by the axis that is contiguous there. Places in bytes.
template <Major kMajor_, u32 kExtent_> struct Swizzle {
    static constexpr Major kMajor = kMajor_;
    static constexpr u32 kExtent = kExtent_, kAlong = kDepth;
    static constexpr u32 kPeriod = 8;  // rows after which the places of chunks repeat
    static constexpr u32 kBytes = kExtent * kDepth * 2;
    static constexpr u32 kRowBytes = (kMajor == Major::K ? kDepth : kExtent) * 2;

    // The place of a chunk, both counted from the start of the tile.
    static __device__ __forceinline__ u32 place(u32 row, u32 chunk) {
        // Two rows of 64 bytes fill the banks; longer rows fill them alone.
        const u32 mask = kMajor == Major::K ? row / 2 % 4 : row % 8;
        return row * kRowBytes + (chunk ^ mask) * 16;
    }

    // The place of the row that this lane brings to ldmatrix, in the 16 x 16 block at `outer` and k = 0: in its upper
    // half along outer or not, and in its deeper half along k or not.
    static __device__ __forceinline__ u32 lane_place(u32 outer, u32 upper, u32 deeper) {
        const u32 row = threadIdx.x % 8;
        return kMajor == Major::K ? place(outer + 8 * upper + row, deeper) : place(8 * deeper + row, outer / 8 + upper);
    }

    // The block `index` blocks further along outer and `step` blocks further along k, as registers of mma. Going
    // further along the chunks of a row only sets bits that are 0 in the chunk of a warp's first block, so it is an XOR.
    static __device__ __forceinline__ void load_block(u32 (&block)[4], u32 tile, u32 lane_place, u32 index, u32 step) {
        if constexpr (kMajor == Major::K) {
            load_blocks(block, tile + (lane_place ^ (step * 32)) + index * 16 * kRowBytes);
        } else {
            load_blocks_transposed(block, tile + (lane_place ^ (index * 32)) + step * 16 * kRowBytes);
        }
    }
};

// An operand that is contiguous along an axis, with its start and its other stride on 16 bytes: asynchronous copies of
// whole chunks, zeros past the edges. Tiles lie as Places_ says, kAlong long along k.
template <typename T, typename Places_, u32 kThreads_> struct Aligned {
    using Places = Places_;
    static constexpr Major kMajor = Places::kMajor;
    static constexpr u32 kExtent = Places::kExtent, kAlong = Places::kAlong;
    static constexpr u32 kLen = 16 / sizeof(T);                      // elements of a chunk
    static constexpr u32 kChunks = Places::kRowBytes / 16;           // in a row
    static constexpr u32 kRows = kThreads_ / kChunks;                // that are copied at once
    static constexpr u32 kCopies = Places::kBytes / 16 / kThreads_;  // of each thread
    static_assert(kRows % Places::kPeriod == 0, "further rows of a thread have the same swizzle");

    const T* next;     // this thread's first chunk of the next tile
    u64 row_step;      // kRows rows, in elements
    u64 tile_step;
    u32 row, chunk;    // of the first chunk, within the tile
    u32 outer_left;    // rows, or elements of the chunk, within the operand

    // The operand is `extent` long along outer; its first tile starts at outer0 and k0.
    __device__ __forceinline__
    Aligned(const T* operand, u64 stride_outer, u64 stride_k, u64 extent, u64 outer0, u64 k0) {
        row = threadIdx.x / kChunks;
        chunk = threadIdx.x % kChunks;
        const u64 first = outer0 + (kMajor == Major::K ? row : kLen * chunk);
        const u64 k = k0 + (kMajor == Major::K ? kLen * chunk : row);
        outer_left = left_of(extent, first, kExtent);
        // The contiguous axis may have any stride if its extent is 1.
        const u64 stride = kMajor == Major::K ? stride_outer : stride_k;
        next = operand + (kMajor == Major::K ? first * stride + k : k * stride + first);
        row_step = kRows * stride;
        tile_step = kMajor == Major::K ? kAlong : kAlong * stride;
    }

    // Starts the copies of the next tile, of which `k_left` elements along k are within the operand.
    __device__ __forceinline__ void fetch(u32 tile, u32 k_left) {
        // Most tiles have no edge, and need no count of bytes.
        const bool whole = outer_left > (kMajor == Major::K ? (kCopies - 1) * kRows : kLen - 1);
        if (whole && k_left >= kAlong) {
            #pragma unroll
            for (u32 i = 0; i < kCopies; ++i) copy_async_16(to(tile, i), next + i * row_step, 16);
        } else {
            #pragma unroll
            for (u32 i = 0; i < kCopies; ++i) {
                const u32 along = kMajor == Major::K ? (k_left > kLen * chunk ? k_left - kLen * chunk : 0) : outer_left;
                const bool inside = kMajor == Major::K ? outer_left > i * kRows : k_left > row + i * kRows;
                const u32 bytes = inside ? min(along, kLen) * u32(sizeof(T)) : 0;
                copy_async_16(to(tile, i), next + i * row_step, bytes);
            }
        }
        next += tile_step;
    }

    // Where copy i of this thread goes.
    __device__ __forceinline__ u32 to(u32 tile, u32 i) const {
        return tile + Places::place(row, chunk) + i * kRows * Places::kRowBytes;
    }
};

// An operand with any strides and alignment: guarded loads of single elements, stored along k.
template <typename T, u32 kExtent, u32 kThreads_> struct Strided {
    static constexpr Major kMajor = Major::K;
    using Places = Swizzle<Major::K, kExtent>;
    static constexpr u32 kCopies = Places::kBytes / 16 / kThreads_;

    const T* next;  // the first element of the next tile
    u64 stride_outer, stride_k;
    u32 outer_left;
    bool along_k;   // neighbouring threads take neighbours along k, not along outer: whichever lie closer

    __device__ __forceinline__ Strided(const T* operand, u64 outer, u64 k, u64 extent, u64 outer0, u64 k0)
        : stride_outer(outer), stride_k(k), outer_left(left_of(extent, outer0, kExtent)), along_k(k <= outer) {
        next = operand + outer0 * stride_outer + k0 * stride_k;
    }

    __device__ __forceinline__ void fetch(u32 tile, u32 k_left) {
        #pragma unroll 1
        for (u32 i = 0; i < kCopies; ++i) {
            const u32 index = threadIdx.x + i * kThreads_;
            const u32 row = along_k ? index / 4 : index % kExtent;
            const u32 chunk = along_k ? index % 4 : index / kExtent;
            const T* from = next + row * stride_outer + chunk * 8 * stride_k;
            Pack<T, 8> pack;
            #pragma unroll
            for (u32 j = 0; j < 8; ++j) {
                const bool inside = row < outer_left && chunk * 8 + j < k_left;
                pack.lane[j] = inside ? from[j * stride_k] : T{0};
            }
            store_shared(tile + Places::place(row, chunk), bits_as<u32x4>(pack));
        }
        next += kDepth * stride_k;
    }
};
