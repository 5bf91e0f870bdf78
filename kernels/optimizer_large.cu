// optimizer_large.cu: steps of optimizers with large tables, for drivers of CUDA 12.1 and newer: older ones may not load this
// file. See optimizer.cuh.
//
// Launch     as optimizer.cuh says.
// Requires   as optimizer.cuh says.
// Aliasing   as optimizer.cuh says.
// Numerics   as optimizer.cuh says.
// Bound by   memory, as optimizer.cuh says.
#include "optimizer.cuh"
