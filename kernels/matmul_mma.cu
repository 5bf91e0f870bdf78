// matmul_mma.cu: products of 16-bit operands on tensor cores (mma.sync), each contiguous along one of its axes.
//
// Launch     x: a block for each tile of a product; y: a block for each part of k; z: for each product. Shape::kThreads
//            threads, and the dynamic shared memory of Tile in src/kernel.rs.
// Requires   a and b start on 16 bytes in every product; one stride of each is 1 (or of an axis of extent 1), the other
//            a multiple of 8 elements (or of an axis of extent 1).
// Aliasing   dst apart from a, b and bias.
// Numerics   exact products, f32 sums in the order of k within a part; rounded once in the epilogue, whose GELU of 16-bit
//            results is within 2^-15 of itself.
// Bound by   tensor cores for large m, n and k; 2 * m * n * k operations.
#include "matmul_body.cuh"

template <typename T, Major kA, Major kB, typename S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) matmul_mma(const __grid_constant__ Product p) {
    follow();
    using A = Aligned<T, Swizzle<kA, S::kM>, S::kThreads>;
    using B = Aligned<T, Swizzle<kB, S::kN>, S::kThreads>;
    multiply<T, S, A, B>(p);
}
