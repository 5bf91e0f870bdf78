// triangle.cu: triangles of matrices, out[i] = in[i] on one side of a diagonal, 0 on the other.
//
// Launch     1-D, kThreads threads, one block for each kThreads * (kLen > 1 ? kPackSteps : kElementSteps) units begun.
//            No shared memory.
// Requires   at most 2^31 - 1 units. Operand 1 of the walk is no memory: its place, a signed number, is how far an element
//            is on the side that stays, counted from that of the first; it grows by step along the inner axis. With
//            kLen > 1 in and out are contiguous or in broadcast along the inner axis, and all packs 16-byte aligned.
// Aliasing   in == out with the same layout is the op in place; a partial overlap is undefined.
// Numerics   bits as they are, NaN too; zeros are written over anything.
// Bound by   memory: n * 1.5 * sizeof(T) bytes for a square, since what becomes 0 is not read; in place n / 2 * sizeof(T),
//            since what stays is not touched.
#include "common.cuh"

// Where a pack lies; kEdge: both sides have a part of it.
enum class Side { kZero, kEdge, kStays };

template <typename T, u32 kLen>
__global__ void __launch_bounds__(kThreads)
triangle_walk(const T* in, T* out, const __grid_constant__ Walk<3> walk, i64 step, i64 limit) {
    follow();
    const bool in_place = in == out;
    const auto side = [=](Place<3> at) {
        const i64 first = i64(at.of[1]), last = first + i64(kLen - 1) * step;
        if (first < limit && last < limit) return Side::kZero;
        return first < limit || last < limit ? Side::kEdge : Side::kStays;
    };
    map_walk<kLen>(
        walk,
        [&](Place<3> at) {
            Pack<T, kLen> x = {};
            const Side here = side(at);
            if (here == Side::kZero || (here == Side::kStays && in_place)) return x;
            x = load_along<kLen>(in + at.of[0], walk.repeats(0));
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) {
                if (i64(at.of[1]) + i64(l) * step < limit) x.lane[l] = 0;
            }
            return x;
        },
        [&](Place<3> at, Pack<T, kLen> x) {
            if (!(in_place && side(at) == Side::kStays)) store(out + at.of[2], x);
        });
}
