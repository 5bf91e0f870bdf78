// probe.cu: the least that a kernel does which reads and writes: a yardstick for ops of few elements.
//
// Launch     one block, a thread for each 16 bytes.
// Requires   16-byte aligned in and out.
// Aliasing   in == out, or they overlap nowhere.
// Numerics   bits as they are.
// Bound by   how soon it begins, one load and one store.
#include "ptx.cuh"

__global__ void __launch_bounds__(1024) probe(const u32x4* in, u32x4* out) {
    follow();
    st_global(out + threadIdx.x, ld_global(in + threadIdx.x));
}
