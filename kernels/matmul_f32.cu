// matmul_f32.cu: products of f32 operands, in f32 throughout.
//
// Tiles of both operands lie in shared memory as [k][outer], however they lie in global memory: outer is m for a and n for
// b. A thread takes 4 neighbours along outer at a time from there. While one warp waits for those, others multiply: blocks are
// small, so that several share a multiprocessor and none waits for all. The next tile comes meanwhile, in parts: copies that
// all start together would hold up those loads.
//
// Registers lie in two banks, of odd and of even numbers, and a multiply-add reads one of each in a cycle. So each has a
// factor in common with the one before, which needs no reading, and its sum lies in the other bank than the other factor.
// The order of the sums sees to the first; their way out, by which the compiler places them, to the second.
//
// Launch     x: a block for each tile of a product, 8 * kPerM rows and 16 * kPerN columns; y: a block for each part of k;
//            z: for each product. 128 threads, and the dynamic shared memory of Kernel::shared_bytes.
// Requires   what Copies says of each operand.
// Aliasing   dst apart from a, b and bias.
// Numerics   f32 multiply-adds in the order of k within a part; no TF32.
// Bound by   FFMA for large m, n and k; 2 * m * n * k operations.
#include "matmul.cuh"
#include "mma.cuh"

constexpr u32 kThreadCount = 128;
constexpr u32 kDepth = 32;  // of a tile, along k
constexpr u32 kParts = kDepth / 8;  // in which the next tile comes

// Where tiles of an operand lie. Rows along outer are 4 banks apart: what a warp copies at once, 8 neighbours along k of 4
// along outer, meets each bank once.
template <u32 kExtent_> struct Places {
    static constexpr u32 kExtent = kExtent_;
    static constexpr u32 kRowBytes = (kExtent + 4) * 4, kBytes = kDepth * kRowBytes;
};

// How tiles of an operand come to shared memory: 4 neighbours along outer at a time, from 16 bytes on in every product, with
// a multiple of 4 elements from k to k; or single elements, contiguous along k; or single elements with any strides. Axes
// of extent 1 have any stride. The twin of Copies in src/variant.rs.
enum class Copies { Packs, Rows, Any };

// Asynchronous copies of an operand's tiles, zeros past the edges.
template <Copies kCopies, typename P> struct Side {
    static constexpr bool kPacks = kCopies == Copies::Packs;
    // Threads side by side along outer, and along k.
    static constexpr u32 kAcross = kPacks ? P::kExtent / 4 : kThreadCount / 8, kDown = kThreadCount / kAcross;
    // Of each thread in a tile; each of a pack, or of elements kDown apart along k.
    static constexpr u32 kCount = kPacks ? kDepth / kDown : P::kExtent / kAcross, kElements = kDepth / kDown;
    static constexpr u32 kStep = kPacks ? kDown * P::kRowBytes : kAcross * 4;  // from copy to copy, in shared memory
    static_assert(kCount % kParts == 0 || kPacks);

    const f32* next;        // this thread's part of the next copy
    u64 step, k_step;       // from copy to copy, and from element to element; in elements of the operand
    u32 place, to;          // of the first copy in its tile, and of the next
    u32 k, left;            // of the first element along k; from its place on, what is within the operand along outer
    bool whole;             // all of a tile is, along outer

    // The operand is `extent` long along outer; its first tile starts at outer0 and k0.
    __device__ __forceinline__
    Side(const f32* operand, u64 stride_outer, u64 stride_k, u64 extent, u64 outer0, u64 k0) {
        // Neighbouring threads take neighbours in memory.
        const bool along_k = kCopies == Copies::Rows || (kCopies == Copies::Any && stride_k < stride_outer);
        const u32 outer = along_k ? threadIdx.x / kDown : threadIdx.x % kAcross * (kPacks ? 4 : 1);
        k = along_k ? threadIdx.x % kDown : threadIdx.x / kAcross;
        next = operand + (outer0 + outer) * (kPacks ? 1 : stride_outer) + (k0 + k) * (kCopies == Copies::Rows ? 1 : stride_k);
        step = kPacks ? kDown * stride_k : kAcross * stride_outer;
        k_step = kCopies == Copies::Rows ? kDown : kDown * stride_k;
        place = k * P::kRowBytes + outer * 4;
        left = left_of(extent, outer0 + outer, P::kExtent);
        whole = left_of(extent, outer0, P::kExtent) == P::kExtent;
    }

    // Turns to the tile that lies at `tile`, of which `k_left` elements along k are within the operand. Returns whether all
    // of it is, and comes in parts; else its copies start now.
    __device__ __forceinline__ bool turn(u32 tile, u32 k_left) {
        to = tile + place;
        if (whole && k_left == kDepth) return true;
        #pragma unroll 1
        for (u32 i = 0; i < kCount; ++i) {
            if constexpr (kPacks) {
                copy<false>(k + i * kDown < k_left ? min(left, 4) * 4 : 0);
            } else {
                copy<false>(i * kAcross < left ? k_left : 0);
            }
        }
        end();
        return false;
    }

    __device__ __forceinline__ void part(u32 number) {
        constexpr u32 kAtOnce = (kCount + kParts - 1) / kParts;
        if (number * kAtOnce >= kCount) return;
        #pragma unroll
        for (u32 i = 0; i < kAtOnce; ++i) copy<true>(16);
    }

    // After the last copy of a tile.
    __device__ __forceinline__ void end() {
        if constexpr (!kPacks) next += kElements * k_step - kCount * step;
    }

    // Starts the next copy: all of it, or so many bytes of a pack, or elements that many along k.
    template <bool kAll> __device__ __forceinline__ void copy(u32 most) {
        if constexpr (kPacks) {
            copy_async_16(to, next, most);
        } else {
            #pragma unroll
            for (u32 j = 0; j < kElements; ++j) {
                copy_async_4(to + j * kDown * P::kRowBytes, next + j * k_step, kAll || k + j * kDown < most ? 4 : 0);
            }
        }
        next += step;
        to += kStep;
    }
};

__device__ __forceinline__ void load_4(f32* to, u32 from) {
    const Pack<f32, 4> four = bits_as<Pack<f32, 4>>(load_shared(from));
    #pragma unroll
    for (u32 i = 0; i < 4; ++i) to[i] = four.lane[i];
}

__device__ __forceinline__ void store_4(u32 to, const f32 (&four)[4]) {
    store_shared(to, bits_as<u32x4>(Pack<f32, 4>{four[0], four[1], four[2], four[3]}));
}

// Blocks that share a multiprocessor at least, so many that their threads have the registers of their sums. From 10.0 on the
// compiler needs more.
template <u32 kSums> constexpr u32 blocks() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
    return kSums > 64 ? 2 : 3;
#else
    return kSums > 64 ? 3 : 4;
#endif
}

// Threads take kPerM x kPerN sums, in squares of 4 x 4; a warp is 4 threads high and 8 wide, a block 2 warps high and wide. Of
// 16 lanes, what half a warp loads at a time, neighbours want the same of a, and those 2 apart the same of b: so the loads of
// both take 2 cycles and not 4.
template <Copies kA, Copies kB, u32 kPerM, u32 kPerN>
__global__ void __launch_bounds__(kThreadCount, blocks<kPerM * kPerN>())
matmul_f32(const __grid_constant__ Product p) {
    follow();
    using A = Places<8 * kPerM>;
    using B = Places<16 * kPerN>;
    constexpr u32 kStageBytes = A::kBytes + B::kBytes;
    extern __shared__ __align__(1024) unsigned char shared[];
    const u32 ring = shared_address(shared);

    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const u32 row = warp % 2 * (4 * kPerM) + (lane / 2 % 2 + lane / 16 * 2) * 4;
    const u32 col = warp / 2 * (8 * kPerN) + (lane % 2 + lane / 4 % 4 * 2) * 4;
    const Tile tile = tile_at(p, A::kExtent, B::kExtent, blockIdx.x, blockIdx.y);
    const u32 n_tiles = u32((tile.depth + kDepth - 1) / kDepth);
    const u32 last_left = u32(tile.depth - u64(n_tiles - 1) * kDepth);

    const Factors<f32> from = factors_of<f32>(p, blockIdx.z);
    Side<kA, A> a(from.a, p.a_m, p.a_k, p.m, tile.m0, tile.k0);
    Side<kB, B> b(from.b, p.b_n, p.b_k, p.n, tile.n0, tile.k0);
    bool a_comes = false, b_comes = false;  // in parts
    const auto turn = [&](u32 t) {
        a_comes = b_comes = false;
        if (t >= n_tiles) return;
        const u32 k_left = t + 1 < n_tiles ? kDepth : last_left, to = ring + t % 2 * kStageBytes;
        a_comes = a.turn(to, k_left);
        b_comes = b.turn(to + A::kBytes, k_left);
    };
    const auto end = [&] {
        if (a_comes) a.end();
        if (b_comes) b.end();
        copy_async_commit();
    };
    turn(0);
    #pragma unroll 1
    for (u32 i = 0; i < kParts; ++i) {
        if (a_comes) a.part(i);
        if (b_comes) b.part(i);
    }
    end();

    f32 sums[kPerM][kPerN] = {};
    #pragma unroll 1
    for (u32 t = 0; t < n_tiles; ++t) {
        // All threads meet: this tile is there, and nobody reads any more the one whose place the next takes.
        copy_async_wait<0>();
        __syncthreads();
        turn(t + 1);
        u32 a_at = ring + t % 2 * kStageBytes + row * 4;
        u32 b_at = ring + t % 2 * kStageBytes + A::kBytes + col * 4;
        #pragma unroll 1
        for (u32 part = 0; part < kParts; ++part) {
            if (a_comes) a.part(part);
            if (b_comes) b.part(part);
            #pragma unroll
            for (u32 k = 0; k < kDepth / kParts; ++k, a_at += A::kRowBytes, b_at += B::kRowBytes) {
                f32 a_k[kPerM], b_k[kPerN];
                #pragma unroll
                for (u32 i = 0; i < kPerN; i += 4) load_4(b_k + i, b_at + i * 32);
                #pragma unroll
                for (u32 i = 0; i < kPerM; i += 4) load_4(a_k + i, a_at + i * 16);
                #pragma unroll
                for (u32 e = 0; e < kPerM * kPerN; ++e) {
                    const u32 y = e / kPerN, x = y % 2 ? kPerN - 1 - e % kPerN : e % kPerN;
                    sums[y][x] = fmaf(b_k[x], a_k[y], sums[y][x]);
                }
            }
        }
        end();
    }

    // The way out: neighbours in a row change places, and change back. Many at a time, so that one piece of code stores all.
    constexpr u32 kRuns = kPerM * kPerN / 4, kAtOnce = kRuns < 16 ? kRuns : 16;
    static_assert(kAtOnce * kThreadCount * 16 <= 2 * kStageBytes);
    const u32 mine = ring + threadIdx.x * 16;
    __syncthreads();
    #pragma unroll
    for (u32 first = 0; first < kRuns; first += kAtOnce) {
        #pragma unroll
        for (u32 i = 0; i < kAtOnce; ++i) {
            const f32* run = sums[(first + i) / (kPerN / 4)] + (first + i) % (kPerN / 4) * 4;
            const f32 turned[4] = {run[1], run[0], run[3], run[2]};
            store_4(mine + i * kThreadCount * 16, turned);
        }
        #pragma unroll 1
        for (u32 i = 0; i < kAtOnce; ++i) {
            f32 turned[4];
            load_4(turned, mine + i * kThreadCount * 16);
            f32 run[4] = {turned[1], turned[0], turned[3], turned[2]};
            const u32 y = (first + i) / (kPerN / 4), x = (first + i) % (kPerN / 4) * 4;
            store_sums<f32>(p, run, blockIdx.z, blockIdx.y, tile.m0 + row + y / 4 * 16 + y % 4, tile.n0 + col + x * 8);
        }
    }
}
