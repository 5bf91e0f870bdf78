// matmul_any.cu: products of 16-bit operands on tensor cores (mma.sync), with any strides and alignment.
//
// Launch     x: a block for each tile of a product; y: a block for each part of k; z: for each product. Shape::kThreads
//            threads, and the dynamic shared memory of Tile in src/kernel.rs.
// Requires   nothing: strides may be 0.
// Aliasing   dst apart from a, b and bias.
// Numerics   as matmul_mma.cu.
// Bound by   loads of single elements.
#include "matmul_body.cuh"

template <typename T, typename S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) matmul_any(const __grid_constant__ Product p) {
    follow();
    multiply<T, S, Strided<T, S::kM, S::kThreads>, Strided<T, S::kN, S::kThreads>>(p);
}
