// matmul_reduce.cu: the second pass of a product that was split along k: adds the parts, then the epilogue.
//
// A run is 4 neighbours in a row of dst. p.lanes threads share one: each adds every p.lanes-th part, with all of its loads on
// their way at once. One after the other, what 44 parts wait for takes longer than all that they bring.
//
// Launch     1-D grid, 256 threads a block, p.lanes of them for each run; no shared memory, so that blocks find room beside
//            those of the first pass.
// Requires   p.partial written by the first pass, aligned to 16 bytes; p.m the rows of all products; p.lanes a power of two
//            up to 32.
// Aliasing   none.
// Numerics   f32, added in an order that depends on shapes only, so the same bits from run to run; rounded once.
// Bound by   memory: m * n * (4 * splits + sizeof(dst)) bytes, most of them in L2.
#include "matmul.cuh"

template <typename T> __global__ void __launch_bounds__(256) matmul_reduce(const __grid_constant__ Product p) {
    constexpr u32 kLen = 4;
    constexpr u32 kAhead = 8;  // parts of a thread that are on their way
    const u32 lane = threadIdx.x % p.lanes;
    const u64 run_index = (u64(blockIdx.x) * 256 + threadIdx.x) / p.lanes;
    const u64 per_row = (p.n + kLen - 1) / kLen, stride = partial_stride(p);
    const u64 row = run_index / per_row, col = run_index % per_row * kLen;
    const f32* part = p.partial + row * stride + col;
    // Threads past the end have nothing to add, but take part in the shuffles.
    const u32 splits = row < p.m ? p.splits : 0;
    follow();

    f32 run[kLen] = {};
    #pragma unroll 1
    for (u32 first = lane; first < splits; first += kAhead * p.lanes) {
        Pack<f32, kLen> pack[kAhead];
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) {
            const u32 split = first + j * p.lanes;
            if (split < splits) pack[j] = load<kLen, Cache::Use>(part + split * p.m * stride);
        }
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) {
            if (first + j * p.lanes >= splits) break;
            #pragma unroll
            for (u32 i = 0; i < kLen; ++i) run[i] += pack[j].lane[i];
        }
    }
    for (u32 apart = p.lanes / 2; apart > 0; apart /= 2) {
        #pragma unroll
        for (u32 i = 0; i < kLen; ++i) run[i] += __shfl_xor_sync(~0u, run[i], apart);
    }
    if (lane == 0 && splits > 0) finish<T>(p, run, row, col);
}
