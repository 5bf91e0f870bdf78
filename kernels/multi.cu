// multi.cu: lists of tensors with tables that fit in 4,096 bytes of parameters, and the second pass of norms; see multi.cuh.
//
// Launch     as multi.cuh says.
// Requires   as multi.cuh says.
// Aliasing   as multi.cuh says.
// Numerics   as multi.cuh says.
// Bound by   memory, as multi.cuh says.
#include "multi.cuh"

__global__ void __launch_bounds__(kMostThreads) multi_join(const Squares* partials, f32* out, u64 n) {
    follow();
    Squares acc = JoinSquares::empty();
    #pragma unroll 4
    for (u64 i = threadIdx.x; i < n; i += kMostThreads) acc = JoinSquares::join(acc, partials[i]);
    const Squares all = Block(0).join<JoinSquares>(acc);
    if (threadIdx.x == 0) *out = Norm<f32>::finish(all, 1);
}
