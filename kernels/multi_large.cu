// multi_large.cu: lists of tensors with large tables, for drivers of CUDA 12.1 and newer: older ones may not load this file.
// See multi.cuh.
//
// Launch     as multi.cuh says.
// Requires   as multi.cuh says.
// Aliasing   as multi.cuh says.
// Numerics   as multi.cuh says.
// Bound by   memory, as multi.cuh says.
#include "multi.cuh"
