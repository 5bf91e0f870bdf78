// optimizer.cu: steps of optimizers with tables that fit in 4,096 bytes of parameters, and their count; see optimizer.cuh.
//
// Launch     as optimizer.cuh says; advance: one thread.
// Requires   as optimizer.cuh says.
// Aliasing   as optimizer.cuh says.
// Numerics   as optimizer.cuh says.
// Bound by   memory, as optimizer.cuh says.
#include "optimizer.cuh"

__global__ void __launch_bounds__(kWarp) advance(f32* count, Number norm, Number skip) {
    follow();
    const bool skips = skip.get() != 0 || !(fabsf(norm.get()) < __uint_as_float(0x7f800000u));
    if (threadIdx.x == 0 && !skips) *count = *count + 1;
}
