// matmul_reduce.cu: the second pass of a product that was split along k: adds the parts, then the epilogue.
//
// Launch     1-D grid, 256 threads a block, one thread for 4 neighbours in a row of dst; no shared memory.
// Requires   p.partial written by the first pass, aligned to 16 bytes; p.m the rows of all products.
// Aliasing   none.
// Numerics   f32, parts added in order, so the same bits from run to run; rounded once.
// Bound by   memory: m * n * (4 * splits + sizeof(dst)) bytes, most of them in L2.
#include "matmul.cuh"

template <typename T> __global__ void __launch_bounds__(256) matmul_reduce(const __grid_constant__ Product p) {
    follow();
    constexpr u32 kLen = 4;
    const u64 per_row = (p.n + kLen - 1) / kLen;
    const u64 run_index = u64(blockIdx.x) * 256 + threadIdx.x;
    const u64 row = run_index / per_row;
    const u64 col = run_index % per_row * kLen;
    if (row >= p.m) return;

    const u64 stride = partial_stride(p);
    const f32* part = p.partial + row * stride + col;
    f32 run[kLen] = {};
    #pragma unroll 8
    for (u32 split = 0; split < p.splits; ++split) {
        const Pack<f32, kLen> pack = load<kLen, Cache::Use>(part + split * p.m * stride);
        #pragma unroll
        for (u32 i = 0; i < kLen; ++i) run[i] += pack.lane[i];
    }
    finish<T>(p, run, row, col);
}
