// matmul_f32_packed.cu: products of f32 operands, each contiguous along one of its axes, in f32 throughout.
//
// Both come to shared memory as they lie, in copies of 16 bytes, and a thread takes 4 values at a time from there, whichever
// axis they lie along: of 20 instructions 19 multiply and add, which is what such a kernel is bound by.
//
// Launch     x: a block for each tile of a product, 16 * kPerM rows and 16 * kPerN columns; y: a block for each part of k;
//            z: for each product. 256 threads, and the dynamic shared memory of Kernel::shared_bytes.
// Requires   a and b start on 16 bytes in every product; one stride of each is 1 (or of an axis of extent 1), the other
//            a multiple of 4 elements (or of an axis of extent 1).
// Aliasing   dst apart from a, b and bias.
// Numerics   f32 multiply-adds in the order of k within a part; no TF32.
// Bound by   FFMA for large m, n and k; 2 * m * n * k operations.
#include "matmul_side.cuh"

// Where tiles of an operand lie: in rows of 32 along k, whose chunks are spread so that what 8 neighbouring lanes take of
// rows 4 apart lies in different banks; or in rows along outer.
template <Major kMajor_, u32 kExtent_> struct Words {
    static constexpr Major kMajor = kMajor_;
    static constexpr u32 kExtent = kExtent_, kAlong = 32;
    static constexpr u32 kRowBytes = (kMajor == Major::K ? kAlong : kExtent) * 4;
    static constexpr u32 kBytes = kExtent * kAlong * 4;
    static constexpr u32 kPeriod = kMajor == Major::K ? 32 : 1;

    static __device__ __forceinline__ u32 place(u32 row, u32 chunk) {
        return row * kRowBytes + (kMajor == Major::K ? chunk ^ row / 4 % 8 : chunk) * 16;
    }
};

__device__ __forceinline__ float4 load_4(const unsigned char* at) { return *reinterpret_cast<const float4*>(at); }

// What a lane takes of a tile: 4 neighbours along outer of every 4 * kLanes, from `first` on.
template <typename Places, u32 kLanes> struct Lane {
    u32 at;

    __device__ __forceinline__ explicit Lane(u32 first)
        : at(Places::kMajor == Major::K ? Places::place(first, 0) : Places::place(0, first / 4)) {}

    // Its group of 4 number `group`, at 4 values of k from 4 * step on: x[k][outer].
    __device__ __forceinline__ void load(f32 (&x)[4][4], const unsigned char* tile, u32 group, u32 step) const {
        #pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            if constexpr (Places::kMajor == Major::K) {
                // Bits of the chunk are those of the first row's group, and no other adds to them.
                const u32 chunk = (step ^ group * kLanes % 8) * 16;
                const unsigned char* from = tile + (at ^ chunk);
                const float4 four = load_4(from + (group * kLanes * 4 + i) * Places::kRowBytes);
                x[0][i] = four.x, x[1][i] = four.y, x[2][i] = four.z, x[3][i] = four.w;
            } else {
                const unsigned char* from = tile + at;
                const float4 four = load_4(from + group * kLanes * 16 + (4 * step + i) * Places::kRowBytes);
                x[i][0] = four.x, x[i][1] = four.y, x[i][2] = four.z, x[i][3] = four.w;
            }
        }
    }
};

// Steps of 4 along k that are one piece of code: what was fastest on an H200, and elsewhere what leaves registers. Where both
// operands lie along outer, their registers meet in fewer banks, and short code wins.
template <Major kA, Major kB> constexpr u32 unrolled() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
    return 1;
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
    return kA == Major::Outer && kB == Major::Outer ? 2 : 8;
#else
    return 2;
#endif
}

// Threads take kPerM x kPerN sums, in squares of 4 x 4; a warp is 4 threads high and 8 wide, a block 4 warps high and 2
// wide. Of 16 lanes, what half a warp loads at a time, neighbours want the same of a, and those 2 apart the same of b: so
// the loads of both take 2 cycles and not 4.
template <Major kA, Major kB, u32 kPerM, u32 kPerN>
__global__ void __launch_bounds__(256, 1) matmul_f32_packed(const __grid_constant__ Product p) {
    follow();
    constexpr u32 kTileM = 16 * kPerM, kTileN = 16 * kPerN, kAlong = 32;
    using A = Aligned<f32, Words<kA, kTileM>, 256>;
    using B = Aligned<f32, Words<kB, kTileN>, 256>;
    constexpr u32 kStageBytes = A::Places::kBytes + B::Places::kBytes;
    extern __shared__ __align__(1024) unsigned char shared[];

    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const u32 row = warp % 4 * (4 * kPerM) + (lane / 2 % 2 + lane / 16 * 2) * 4;
    const u32 col = warp / 4 * (8 * kPerN) + (lane % 2 + lane / 4 % 4 * 2) * 4;
    const Lane<typename A::Places, 4> a_lane(row);
    const Lane<typename B::Places, 8> b_lane(col);
    const Tile tile = tile_at(p, kTileM, kTileN, blockIdx.x, blockIdx.y);
    const u32 n_tiles = u32((tile.depth + kAlong - 1) / kAlong);
    const u32 last_left = u32(tile.depth - u64(n_tiles - 1) * kAlong);

    const Factors<f32> from = factors_of<f32>(p, blockIdx.z);
    A a(from.a, p.a_m, p.a_k, p.m, tile.m0, tile.k0);
    B b(from.b, p.b_n, p.b_k, p.n, tile.n0, tile.k0);
    // A tile takes thousands of cycles: two stages are enough to bring the next meanwhile.
    const auto fetch = [&](u32 t) {
        if (t >= n_tiles) return;
        const u32 k_left = t + 1 < n_tiles ? kAlong : last_left, to = shared_address(shared) + t % 2 * kStageBytes;
        a.fetch(to, k_left);
        b.fetch(to + A::Places::kBytes, k_left);
        copy_async_commit();
    };

    f32 sums[kPerM][kPerN] = {};
    fetch(0);
    #pragma unroll 1
    for (u32 t = 0; t < n_tiles; ++t) {
        // All threads meet: this tile is there, and nobody reads any more the one whose place the next takes.
        copy_async_wait<0>();
        __syncthreads();
        fetch(t + 1);
        const unsigned char* a_tile = shared + t % 2 * kStageBytes;
        const unsigned char* b_tile = a_tile + A::Places::kBytes;
        #pragma unroll(unrolled<kA, kB>())
        for (u32 step = 0; step < kAlong / 4; ++step) {
            f32 a_k[kPerM / 4][4][4];
            #pragma unroll
            for (u32 i = 0; i < kPerM / 4; ++i) a_lane.load(a_k[i], a_tile, i, step);
            #pragma unroll
            for (u32 j = 0; j < kPerN / 4; ++j) {
                f32 b_k[4][4];
                b_lane.load(b_k, b_tile, j, step);
                #pragma unroll
                for (u32 e = 0; e < 64 * kPerM / 4; ++e) {
                    const u32 k = e / (4 * kPerM), y = e / 4 % kPerM, x = e % 4;
                    sums[y][4 * j + x] = fmaf(a_k[y / 4][k][y % 4], b_k[k][x], sums[y][4 * j + x]);
                }
            }
        }
    }

    #pragma unroll
    for (u32 i = 0; i < kPerM; ++i) {
        #pragma unroll
        for (u32 j = 0; j < kPerN; j += 4) {
            f32 run[4] = {sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]};
            store_sums<f32>(p, run, blockIdx.z, blockIdx.y, tile.m0 + row + i / 4 * 16 + i % 4, tile.n0 + col + j * 8);
        }
    }
}
