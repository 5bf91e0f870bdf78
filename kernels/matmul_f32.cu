// matmul_f32.cu: products of f32 operands with any strides, in f32 throughout.
//
// Launch     x: a block for each tile of a product, 16 * kPer rows and columns; y: a block for each part of k; z: for
//            each product. 256 threads, and kSharedBytes of dynamic shared memory.
// Requires   nothing: strides may be 0.
// Aliasing   dst apart from a, b and bias.
// Numerics   f32 multiply-adds in the order of k within a part; no TF32.
// Bound by   FFMA for large m, n and k; 2 * m * n * k operations.
#include "matmul.cuh"
#include "mma.cuh"

constexpr u32 kDepth = 16;  // of a tile, along k

// How tiles of an operand come to shared memory, where they lie as [k][outer]: outer is m for a and n for b. Copies are
// asynchronous and of single elements, which takes any stride, and transposes on the way; there is one for every 64
// multiply-adds of a thread.
template <u32 kExtent> struct Side {
    static constexpr u32 kStride = kExtent + 4;  // keeps rows on 16 bytes, and spreads columns over banks
    static constexpr u32 kBytes = kDepth * kStride * 4;
    static constexpr u32 kCopies = kExtent * kDepth / 256;

    const f32* next;            // this thread's first element of the next tile
    u64 tile_step, copy_step;   // in elements
    u32 place, place_step;      // in shared memory, in bytes
    u32 k, k_step;              // along k, of the first copy and from copy to copy
    u32 inside;                 // bit i: copy i is within the operand along outer

    // The operand is `extent` long along outer; the tile starts at outer0 and k0.
    __device__ __forceinline__
    Side(const f32* operand, u64 stride_outer, u64 stride_k, u64 extent, u64 outer0, u64 k0) {
        // Neighbouring threads take neighbours in memory.
        const bool along_k = stride_k < stride_outer;
        const u32 outer = along_k ? threadIdx.x / kDepth : threadIdx.x % kExtent;
        k = along_k ? threadIdx.x % kDepth : threadIdx.x / kExtent;
        const u32 outer_step = along_k ? 256 / kDepth : 0;
        k_step = along_k ? 0 : 256 / kExtent;
        const u32 outer_left = left_of(extent, outer0, kExtent);
        inside = 0;
        #pragma unroll
        for (u32 i = 0; i < kCopies; ++i) inside |= u32(outer + i * outer_step < outer_left) << i;
        next = operand + (outer0 + outer) * stride_outer + (k0 + k) * stride_k;
        copy_step = outer_step * stride_outer + k_step * stride_k;
        tile_step = kDepth * stride_k;
        place = (k * kStride + outer) * 4;
        place_step = (k_step * kStride + outer_step) * 4;
    }

    // Starts the copies of the next tile, of which `k_left` elements along k are within the operand.
    __device__ __forceinline__ void fetch(u32 tile, u32 k_left) {
        #pragma unroll
        for (u32 i = 0; i < kCopies; ++i) {
            const bool copies = (inside >> i & 1) && k + i * k_step < k_left;
            copy_async_4(tile + place + i * place_step, next + i * copy_step, copies ? 4 : 0);
        }
        next += tile_step;
    }
};

__device__ __forceinline__ float4 load_shared_4(const f32* at) { return *reinterpret_cast<const float4*>(at); }

// From 10.0 on the compiler needs more than half of the registers.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr u32 kBlocks = 1;
#else
constexpr u32 kBlocks = 2;
#endif

// Threads take kPer x kPer sums, in squares of 4 x 4; a warp is 4 threads high and 8 wide, a block 4 warps high and 2
// wide.
template <u32 kPer, u32 kSharedBytes>
__global__ void __launch_bounds__(256, kBlocks) matmul_f32(const __grid_constant__ Product p) {
    follow();
    constexpr u32 kTile = 16 * kPer;
    using Operand = Side<kTile>;
    constexpr u32 kStageBytes = 2 * Operand::kBytes;
    constexpr u32 kStages = kSharedBytes / kStageBytes;
    static_assert(kStages >= 2 && kSharedBytes % kStageBytes == 0);
    extern __shared__ __align__(1024) unsigned char shared[];
    const u32 ring = shared_address(shared);

    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    // Of half a warp neighbours want the same of a, and those 2 apart the same of b: the loads of both take 2 cycles, not 4.
    const u32 row = warp % 4 * (4 * kPer) + (lane / 2 % 2 + lane / 16 * 2) * 4;
    const u32 col = warp / 4 * (8 * kPer) + (lane % 2 + lane / 4 % 4 * 2) * 4;
    const Tile tile = tile_at(p, kTile, kTile, blockIdx.x, blockIdx.y);
    const u32 n_tiles = u32((tile.depth + kDepth - 1) / kDepth);
    const u32 last_left = u32(tile.depth - u64(n_tiles - 1) * kDepth);

    const Factors<f32> from = factors_of<f32>(p, blockIdx.z);
    Operand a(from.a, p.a_m, p.a_k, p.m, tile.m0, tile.k0);
    Operand b(from.b, p.b_n, p.b_k, p.n, tile.n0, tile.k0);
    u32 fetched = 0, put = 0;
    const auto fetch = [&] {
        if (fetched < n_tiles) {
            const u32 k_left = fetched + 1 < n_tiles ? kDepth : last_left;
            a.fetch(ring + put * kStageBytes, k_left);
            b.fetch(ring + put * kStageBytes + Operand::kBytes, k_left);
        }
        copy_async_commit();  // an empty group keeps the count
        ++fetched;
        put = put + 1 == kStages ? 0 : put + 1;
    };

    f32 sums[kPer][kPer] = {};
    #pragma unroll
    for (u32 stage = 0; stage + 1 < kStages; ++stage) fetch();
    u32 get = 0;
    #pragma unroll 1
    for (u32 t = 0; t < n_tiles; ++t) {
        // All threads meet: this tile is there, and nobody reads any more the one whose place the next fetch takes.
        copy_async_wait<kStages - 2>();
        __syncthreads();
        fetch();
        const f32* a_tile = reinterpret_cast<const f32*>(shared + get * kStageBytes) + row;
        const f32* b_tile = reinterpret_cast<const f32*>(shared + get * kStageBytes + Operand::kBytes) + col;
        get = get + 1 == kStages ? 0 : get + 1;
        #pragma unroll
        for (u32 k = 0; k < kDepth; ++k) {
            f32 a_k[kPer], b_k[kPer];
            #pragma unroll
            for (u32 i = 0; i < kPer; i += 4) {
                const float4 a_4 = load_shared_4(a_tile + k * Operand::kStride + i * 4);
                const float4 b_4 = load_shared_4(b_tile + k * Operand::kStride + i * 8);
                a_k[i] = a_4.x, a_k[i + 1] = a_4.y, a_k[i + 2] = a_4.z, a_k[i + 3] = a_4.w;
                b_k[i] = b_4.x, b_k[i + 1] = b_4.y, b_k[i + 2] = b_4.z, b_k[i + 3] = b_4.w;
            }
            #pragma unroll
            for (u32 i = 0; i < kPer; ++i) {
                #pragma unroll
                for (u32 j = 0; j < kPer; ++j) sums[i][j] = fmaf(a_k[i], b_k[j], sums[i][j]);
            }
        }
    }

    #pragma unroll
    for (u32 i = 0; i < kPer; ++i) {
        #pragma unroll
        for (u32 j = 0; j < kPer; j += 4) {
            f32 run[4] = {sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]};
            store_sums<f32>(p, run, blockIdx.z, blockIdx.y, tile.m0 + row + i / 4 * 16 + i % 4, tile.n0 + col + j * 8);
        }
    }
}
