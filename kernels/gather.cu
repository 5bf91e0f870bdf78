// gather.cu: elements, or packs of them, at positions along an axis that a tensor of indices names.
//
// Launch     1-D, kThreads threads, one block for each kThreads * (kBytes == 16 ? kPackSteps : kElementSteps) units
//            begun. No shared memory.
// Requires   at most 2^31 - 1 units of kBytes bytes, aligned to that many. The operands of the walk are in, where its
//            stride along the axis is 0, index and out, in elements of size bytes. extent is not 0.
// Aliasing   out overlaps nothing.
// Numerics   exact: bits are moved. An index that is not below extent is reported, and the first element taken.
// Bound by   memory: n * (2 * kBytes + 8) bytes, the index once for a row where it is broadcast.
#include "common.cuh"
#include "fault.cuh"

// What was found at an index.
template <u32 kBytes> struct Found {
    i64 index;
    Pack<u8, kBytes> unit;
};

template <u32 kBytes>
__global__ void __launch_bounds__(kThreads)
gather(const u8* in, const i64* index, u8* out, const __grid_constant__ Walk<3> walk, u64 step, u64 extent, u64 size,
       const Fault fault) {
    follow();
    map_walk<kBytes == 16 ? 2 : 1>(
        walk,
        [&](Place<3> at) {
            const i64 i = index[at.of[1]];
            const u64 safe = u64(i) < extent ? u64(i) : 0;
            return Found<kBytes>{i, load<kBytes, Cache::Use>(in + (at.of[0] + safe * step) * size)};
        },
        [&](Place<3> at, Found<kBytes> found) {
            if (u64(found.index) >= extent) fault.raise(found.index);
            store(out + at.of[2] * size, found.unit);
        });
}
