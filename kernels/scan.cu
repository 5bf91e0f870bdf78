// scan.cu: running sums along one axis of any strided operand.
//
// The other axes are a walk of lines (its operands: in, out). A long axis is cut into slices, in three launches: the
// first, without out, writes the total of each slice to totals; the second scans these along each line, in place; the
// third starts each slice with what came before it. Or in one: each slice is in shared memory while its block waits for the
// one in front of it.
//
// Launch     rows: x: kThreads / group lines a block; columns: x: kThreads units of lines a block; both: y: slices.
//            kThreads threads, static shared memory. chain: x: slices of kThreads / kColumnSide * kChainRows elements by
//            stripes of kColumnSide units, in dynamic shared memory.
// Requires   group: a power of two up to 32, or kThreads; slice: a multiple of kLen in rows. With kLen > 1 packs of both
//            are aligned, and contiguous along the axis (rows: both steps 1) or along the inner axis of lines.
//            totals: null, or one Acc for each line and slice, [lines, slices]. chain: floats in packs; links: a word for
//            each slice, stripe and line of it, all 0.
// Aliasing   in == out with one layout is the op in place; totals overlaps neither.
// Numerics   floats accumulate in f32, integers in i64, which wraps; a fixed order, the same bits in every run; each
//            result is rounded once. From a NaN on, all is NaN.
// Bound by   memory: n * (sizeof(T) + sizeof(Out)) bytes, and n * sizeof(T) more with slices in three launches.
#include "common.cuh"
#include "mma.cuh"
#include "shuffle.cuh"

constexpr u32 kAhead = 8;  // packs that a thread of columns has in flight

// An op on T: start: before the first element; of: one element; join: all so far with what follows; finish: a result.
template <typename T> struct RunningSum {
    using In = T;
    using Acc = Choose<kIsFloat<T>, f32, i64>;
    using Out = Choose<kIsFloat<T>, T, i64>;
    static __device__ Acc start() { return 0; }
    static __device__ Acc of(T x) { return Acc(widen(x)); }
    static __device__ Acc join(Acc a, Acc b) {
        if constexpr (kIsFloat<T>) return a + b;
        else return i64(u64(a) + u64(b));
    }
    static __device__ Out finish(Acc acc) { return narrow<Out>(acc); }
};

__device__ __forceinline__ Place<2> place_of(const Walk<2>& walk, u64 unit) {
    u64 i[1] = {unit};
    Place<2> place[1];
    walk.at(i, place);
    return place[0];
}

// What the threads before this one in its group have, and what all have. Every thread of the block takes part; of_warp is
// not the one of the call before.
template <typename Acc> struct Scanned { Acc before, total; };

template <typename Op>
__device__ __forceinline__ Scanned<typename Op::Acc> scan_group(typename Op::Acc mine, u32 group,
                                                                typename Op::Acc (&of_warp)[kThreads / kWarp]) {
    using Acc = typename Op::Acc;
    const u32 width = group < kWarp ? group : kWarp;
    const u32 lane = threadIdx.x % kWarp, at = lane % width;
    Acc sum = mine;
    #pragma unroll
    for (u32 by = 1; by < kWarp; by *= 2) {
        const Acc lower = shuffle_up(sum, by);
        if (at >= by) sum = Op::join(lower, sum);
    }
    const Acc lower = shuffle_up(sum, 1);
    const Acc last = shuffle_from(sum, lane - at + width - 1);
    Scanned<Acc> out = {at == 0 ? Op::start() : lower, last};
    if (group <= kWarp) return out;

    const u32 warp = threadIdx.x / kWarp;
    if (lane == 0) of_warp[warp] = last;
    __syncthreads();
    Acc warps_before = Op::start(), all = Op::start();
    #pragma unroll
    for (u32 w = 0; w < kThreads / kWarp; ++w) {
        if (w == warp) warps_before = all;
        all = Op::join(all, of_warp[w]);
    }
    return {Op::join(warps_before, out.before), all};
}

// Elements first, first + 1, ... of a line, of which there are count.
template <u32 kLen, typename T> __device__ __forceinline__ Pack<T, kLen> read(const T* line, u64 first, u64 step, u64 count) {
    Pack<T, kLen> x = {};
    if constexpr (kLen == 1) {
        if (count > 0) x.lane[0] = line[first * step];
    } else if (count >= kLen) {
        x = load<kLen, Cache::Use>(line + first);
    } else {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) if (l < count) x.lane[l] = line[first + l];
    }
    return x;
}

template <u32 kLen, typename T>
__device__ __forceinline__ void write(T* line, u64 first, u64 step, u64 count, const Pack<T, kLen>& x) {
    if constexpr (kLen == 1) {
        if (count > 0) line[first * step] = x.lane[0];
    } else if (count >= kLen) {
        store(line + first, x);
    } else {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) if (l < count) line[first + l] = x.lane[l];
    }
}

// A group of threads for each line, a pack of neighbours each, tile by tile.
template <typename Op, u32 kLen>
__global__ void __launch_bounds__(kThreads)
scan_rows(const typename Op::In* in, typename Op::Out* out, typename Op::Acc* totals,
          const __grid_constant__ Walk<2> lines, u64 n, u64 slice, u64 in_step, u64 out_step, u32 group) {
    follow();
    using Acc = typename Op::Acc;
    __shared__ Acc of_warp[2][kThreads / kWarp];
    const u64 line = u64(blockIdx.x) * (kThreads / group) + threadIdx.x / group;
    const bool exists = line < lines.numel;
    const Place<2> place = place_of(lines, exists ? line : 0);
    const auto* src = in + place.of[0];
    auto* dst = out + place.of[1];
    const u64 begin = blockIdx.y * slice;
    const u64 end = begin + slice < n ? begin + slice : n;
    const u64 tile = u64(group) * kLen;
    const auto left = [=](u64 first) { return exists && first < end ? end - first : 0; };

    const bool continues = exists && out && totals && blockIdx.y > 0;
    Acc carry = continues ? totals[line * gridDim.y + blockIdx.y - 1] : Op::start();
    u64 first = begin + threadIdx.x % group * kLen;
    auto next = read<kLen>(src, first, in_step, left(first));
    u32 turn = 0;
    #pragma unroll 1
    for (u64 at = begin; at < end; at += tile, first += tile, turn ^= 1) {
        const u64 count = left(first);
        Acc x[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            const Acc one = l < count ? Op::of(next.lane[l]) : Op::start();
            x[l] = l == 0 ? one : Op::join(x[l - 1], one);
        }
        next = read<kLen>(src, first + tile, in_step, left(first + tile));

        const auto scanned = scan_group<Op>(x[kLen - 1], group, of_warp[turn]);
        if (out) {
            const Acc before = Op::join(carry, scanned.before);
            Pack<typename Op::Out, kLen> y;
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) y.lane[l] = Op::finish(Op::join(before, x[l]));
            write(dst, first, out_step, count, y);
        }
        carry = Op::join(carry, scanned.total);
    }
    if (!out && exists && threadIdx.x % group == 0) totals[line * gridDim.y + blockIdx.y] = carry;
}

// A thread for each unit of lines.
template <typename Op, u32 kLen>
__global__ void __launch_bounds__(kThreads)
scan_columns(const typename Op::In* in, typename Op::Out* out, typename Op::Acc* totals,
             const __grid_constant__ Walk<2> lines, u64 n, u64 slice, u64 in_step, u64 out_step) {
    follow();
    using Acc = typename Op::Acc;
    const u64 unit = u64(blockIdx.x) * kThreads + threadIdx.x;
    if (unit >= lines.numel) return;
    const Place<2> place = place_of(lines, unit);
    const auto* src = in + place.of[0];
    auto* dst = out + place.of[1];
    const u64 begin = blockIdx.y * slice;
    const u64 end = begin + slice < n ? begin + slice : n;

    Acc acc[kLen];
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) {
        const bool continues = out && totals && blockIdx.y > 0;
        acc[l] = continues ? totals[(unit * kLen + l) * gridDim.y + blockIdx.y - 1] : Op::start();
    }
    const auto take = [&](u64 i, const Pack<typename Op::In, kLen>& x) {
        Pack<typename Op::Out, kLen> y;
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            acc[l] = Op::join(acc[l], Op::of(x.lane[l]));
            y.lane[l] = Op::finish(acc[l]);
        }
        if (out) store(dst + i * out_step, y);
    };

    u64 i = begin;
    #pragma unroll 1
    for (; i + kAhead <= end; i += kAhead) {
        Pack<typename Op::In, kLen> x[kAhead];
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) x[j] = load<kLen, Cache::Use>(src + (i + j) * in_step);
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) take(i + j, x[j]);
    }
    #pragma unroll 1
    for (; i < end; ++i) take(i, load<kLen, Cache::Use>(src + i * in_step));
    if (!out) {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) totals[(unit * kLen + l) * gridDim.y + blockIdx.y] = acc[l];
    }
}

// What a slice and all before it sum up to, for the block of the next one.
__device__ __forceinline__ void tell(u64* link, f32 sum) { st_relaxed(link, 1ull << 32 | __float_as_uint(sum)); }

__device__ __forceinline__ f32 hear(const u64* link) {
    u64 word;
    do word = ld_relaxed(link);
    while (word == 0);
    return __uint_as_float(u32(word));
}

// A stripe of lines and a slice of the axis, kChainRows elements one after the other a thread. Blocks begin in the order of
// their numbers, so that the one that is waited for is there.
template <typename Op, u32 kLen>
__global__ void __launch_bounds__(kThreads, 3)
scan_chain(const typename Op::In* in, typename Op::Out* out, u64* links, const __grid_constant__ Walk<2> lines, u64 n,
           u64 in_step, u64 out_step, u32 stripes) {
    follow();
    constexpr u32 kColumns = kColumnSide * kLen, kWarps = kThreads / kWarp, kSharing = kThreads / kColumnSide;
    using P = Pack<typename Op::In, kLen>;
    extern __shared__ uint4 memory[];
    __shared__ f32 of_warp[kWarps][kColumns];
    __shared__ f32 of_before[kColumns];
    const u32 stripe = blockIdx.x % stripes, slice = blockIdx.x / stripes;
    const u32 lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, side = threadIdx.x % kColumnSide;
    const u64 unit = u64(stripe) * kColumnSide + side;
    const bool exists = unit < lines.numel;
    const Place<2> place = place_of(lines, exists ? unit : 0);
    const u64 first = u64(slice) * (kSharing * kChainRows) + threadIdx.x / kColumnSide * kChainRows;
    const u64 left = exists && first < n ? n - first : 0;
    const u32 count = left < kChainRows ? u32(left) : kChainRows;

    const u32 near = shared_address(memory) + threadIdx.x * 16;
    const auto* src = in + place.of[0] + first * in_step;
    #pragma unroll 4
    for (u32 j = 0; j < count; ++j, src += in_step) copy_async_16(near + j * (kThreads * 16), src, 16);
    copy_async_commit();
    copy_async_wait<0>();
    const auto take = [&](u32 j) { return to_f32(bits_as<P>(load_shared_16(near + j * (kThreads * 16)))); };

    // What is before each thread in its warp, before the warp in its block, and before the block.
    f32 sum[kLen] = {};
    #pragma unroll 4
    for (u32 j = 0; j < count; ++j) {
        const auto x = take(j);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) sum[l] += x.lane[l];
    }
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) {
        #pragma unroll
        for (u32 by = kColumnSide; by < kWarp; by *= 2) {
            const f32 lower = shuffle_up(sum[l], by);
            if (lane >= by) sum[l] += lower;
        }
        if (lane >= kWarp - kColumnSide) of_warp[warp][side * kLen + l] = sum[l];
        const f32 lower = shuffle_up(sum[l], kColumnSide);
        sum[l] = lane >= kColumnSide ? lower : 0.0f;
    }
    __syncthreads();
    if (threadIdx.x < kColumns) {
        f32 all = 0;
        #pragma unroll
        for (u32 w = 0; w < kWarps; ++w) {
            const f32 own = of_warp[w][threadIdx.x];
            of_warp[w][threadIdx.x] = all;
            all += own;
        }
        u64* const link = links + u64(blockIdx.x) * kColumns + threadIdx.x;
        const f32 before = slice > 0 ? hear(link - u64(stripes) * kColumns) : 0.0f;
        tell(link, before + all);
        of_before[threadIdx.x] = before;
    }
    __syncthreads();
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) sum[l] += of_before[side * kLen + l] + of_warp[warp][side * kLen + l];

    auto* dst = out + place.of[1] + first * out_step;
    #pragma unroll 4
    for (u32 j = 0; j < count; ++j, dst += out_step) {
        const auto x = take(j);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) sum[l] += x.lane[l];
        store(dst, rounded<typename Op::Out>(sum));
    }
}
