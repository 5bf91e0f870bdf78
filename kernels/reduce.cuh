// reduce.cuh: one value from many, over any axes of any strided operand. The ops stand in reduce_sums.cu and
// reduce_order.cu.
//
// The axes that stay and the axes that go are two walks: `kept` counts outputs (its operands: in, out), `reduced` counts
// what goes into one output.
//
// Launch     rows: x: kThreads / group outputs a block; columns: x: width units of outputs a block; both: y: slices.
//            join: x: kThreads / group outputs a block. kThreads threads, static shared memory.
// Requires   group: a power of two up to 32, or kThreads; width: a power of two up to kThreads. With kLen > 1 packs are
//            16-byte aligned (columns: kLen elements) and contiguous along the inner axis of reduced (rows) or kept.
//            partials: null, or one Acc for each output and slice, [outputs, slices].
// Aliasing   out and partials do not overlap in or each other.
// Numerics   kLen chains a thread, or in rows a Run, then a tree in a fixed order: the same bits in every run. What is
//            accumulated, the ops say; one rounding on store.
// Bound by   memory: n * sizeof(T) bytes.
#pragma once
#include "common.cuh"
#include "shuffle.cuh"

constexpr u32 kUnroll = 4;
// Blocks of a multiprocessor: three leave a thread 80 registers, which on other cards, or for an op that says so, are too few.
#if __CUDA_ARCH__ == 900
template <typename Op> constexpr u32 kMinBlocks = requires { Op::kTakesMore; } ? 2 : 3;
#else
template <typename Op> constexpr u32 kMinBlocks = 2;
#endif

// An op on T: what a thread keeps. start: before the first element, whose index is given, or kNone if there is none;
// of: of one element alone; add: with a later element; join: with what another thread keeps; finish: what comes out, with
// Reduce::divisor. An op with add_all takes kLen chains of several elements each at a time, and has no add.
constexpr u64 kNone = 0x7fffffffffffffffull;

// Joins the accumulators of each group of threads into that of its first. Every thread of the block takes part.
template <typename Op> __device__ __forceinline__ typename Op::Acc join_group(typename Op::Acc acc, u32 group) {
    using Acc = typename Op::Acc;
    #pragma unroll
    for (u32 by = kWarp / 2; by > 0; by /= 2) {
        const Acc other = shuffle_down(acc, by);
        if (by < group) acc = Op::join(acc, other);
    }
    if (group <= kWarp) return acc;

    __shared__ Acc of_warp[kThreads / kWarp];
    if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = acc;
    __syncthreads();
    if (threadIdx.x == 0) {
        #pragma unroll
        for (u32 warp = 1; warp < kThreads / kWarp; ++warp) acc = Op::join(acc, of_warp[warp]);
    }
    return acc;
}

// Where results go: to out, or one of the slices of an output to partials.
template <typename Op> struct Sink {
    typename Op::Out* out;
    typename Op::Acc* partials;
    f32 divisor;

    __device__ __forceinline__ void put(typename Op::Acc acc, u64 output, u64 place) const {
        if (partials) partials[output * gridDim.y + blockIdx.y] = acc;
        else out[place] = Op::finish(acc, divisor);
    }
};

template <u32 kOperands> __device__ __forceinline__ Place<kOperands> place_of(const Walk<kOperands>& walk, u64 unit) {
    u64 i[1] = {unit};
    Place<kOperands> place[1];
    walk.at(i, place);
    return place[0];
}

// What a thread keeps: a chain for each lane of its packs. Lane l of x[j] has the index first + j * apart + l * kStep.
template <typename Op, u32 kLen, u32 kStep> struct Chains {
    using Acc = typename Op::Acc;
    Acc acc[kLen];

    __device__ __forceinline__ explicit Chains(u64 first) {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) acc[l] = Op::start(first == kNone ? kNone : first + l * kStep);
    }

    template <u32 kCount>
    __device__ __forceinline__ void add(const Pack<typename Op::In, kLen> (&x)[kCount], u64 first, u64 apart) {
        if constexpr (requires { Op::add_all(acc, x); }) {
            Op::add_all(acc, x);
        } else {
            #pragma unroll
            for (u32 j = 0; j < kCount; ++j) {
                #pragma unroll
                for (u32 l = 0; l < kLen; ++l) acc[l] = Op::add(acc[l], x[j].lane[l], first + j * apart + l * kStep);
            }
        }
    }

    __device__ __forceinline__ Acc joined() {
        #pragma unroll
        for (u32 half = kLen / 2; half > 0; half /= 2) {
            #pragma unroll
            for (u32 l = 0; l < half; ++l) acc[l] = Op::join(acc[l], acc[l + half]);
        }
        return acc[0];
    }
};

// The same in rows, whose lanes belong to one output: an op may have a Run, which has all of them in one.
template <typename Op, u32 kLen> struct RowOf { using Kept = Chains<Op, kLen, 1>; };
template <typename Op, u32 kLen> requires (kLen > 1) && requires { typename Op::template Run<kLen>; }
struct RowOf<Op, kLen> { using Kept = typename Op::template Run<kLen>; };

// What one thread makes of units begin, begin + stride, ... below end of the reduced axes. The index of the first lane of
// unit i is i * kScale.
template <typename Op, u32 kLen, u32 kScale, typename Kept>
__device__ __forceinline__ Kept accumulate(const typename Op::In* in, const Walk<1>& reduced, u64 begin, u64 end, u32 stride) {
    Kept kept(begin < end ? begin * kScale : kNone);
    u64 unit = begin;
    if (reduced.rank == 1) {
        // Most axes collapse to one, along which an addition finds the next unit. Of short packs, as many bytes on their way.
        constexpr u32 kSteps = kLen > 1 && sizeof(Pack<typename Op::In, kLen>) < 16 ? 2 * kUnroll : kUnroll;
        const u64 apart = stride * reduced.stride[0][0];
        const auto* at = in + begin * reduced.stride[0][0];
        #pragma unroll 1
        for (; unit + (kSteps - 1) * stride < end; unit += kSteps * stride, at += kSteps * apart) {
            Pack<typename Op::In, kLen> x[kSteps];
            #pragma unroll
            for (u32 j = 0; j < kSteps; ++j) x[j] = load<kLen, Cache::Skip>(at + j * apart);
            kept.add(x, unit * kScale, u64(stride) * kScale);
        }
    }
    #pragma unroll 1
    for (; unit + (kUnroll - 1) * stride < end; unit += kUnroll * stride) {
        u64 i[kUnroll];
        Place<1> place[kUnroll];
        Pack<typename Op::In, kLen> x[kUnroll];
        #pragma unroll
        for (u32 j = 0; j < kUnroll; ++j) i[j] = unit + j * stride;
        reduced.at(i, place);
        #pragma unroll
        for (u32 j = 0; j < kUnroll; ++j) x[j] = load<kLen, Cache::Skip>(in + place[j].of[0]);
        kept.add(x, unit * kScale, u64(stride) * kScale);
    }
    #pragma unroll 1
    for (; unit < end; unit += stride) {
        const Pack<typename Op::In, kLen> x[1] = {load<kLen, Cache::Skip>(in + place_of(reduced, unit).of[0])};
        kept.add(x, unit * kScale, 0);
    }
    return kept;
}

// A group of threads for each output, along the units of the reduced axes.
template <typename Op, u32 kLen>
__global__ void __launch_bounds__(kThreads, kMinBlocks<Op>)
reduce_rows(const typename Op::In* in, typename Op::Out* out, typename Op::Acc* partials,
            const __grid_constant__ Walk<2> kept, const __grid_constant__ Walk<1> reduced, u64 n, u64 slice, f32 divisor,
            u32 group) {
    follow();
    const u64 output = u64(blockIdx.x) * (kThreads / group) + threadIdx.x / group;
    const u32 lane = threadIdx.x % group;
    const bool exists = output < kept.numel;
    const u64 begin = blockIdx.y * slice;
    const u64 end = !exists ? 0 : begin + slice < reduced.numel ? begin + slice : reduced.numel;
    const Place<2> place = place_of(kept, exists ? output : 0);
    const auto* row = in + place.of[0];

    using Kept = typename RowOf<Op, kLen>::Kept;
    auto acc = accumulate<Op, kLen, kLen, Kept>(row, reduced, begin + lane, end, group).joined();
    // Packs leave a tail only where the reduced axes are one contiguous run.
    if (kLen > 1 && exists && blockIdx.y + 1 == gridDim.y) {
        #pragma unroll 1
        for (u64 i = reduced.numel * kLen + lane; i < n; i += group) acc = Op::join(acc, Op::of(row[i], i));
    }
    const auto total = join_group<Op>(acc, group);
    if (exists && lane == 0) Sink<Op>{out, partials, divisor}.put(total, output, place.of[1]);
}

// A thread for each unit of outputs, width of them side by side; the other threads of the block share the reduced axes.
template <typename Op, u32 kLen>
__global__ void __launch_bounds__(kThreads, kMinBlocks<Op>)
reduce_columns(const typename Op::In* in, typename Op::Out* out, typename Op::Acc* partials,
               const __grid_constant__ Walk<2> kept, const __grid_constant__ Walk<1> reduced, u64 n, u64 slice,
               f32 divisor, u32 width) {
    follow();
    const u64 unit = u64(blockIdx.x) * width + threadIdx.x % width;
    const bool exists = unit < kept.numel;
    const u64 begin = blockIdx.y * slice;
    const u64 end = !exists ? 0 : begin + slice < n ? begin + slice : n;
    const Place<2> place = place_of(kept, exists ? unit : 0);

    using Kept = Chains<Op, kLen, 0>;
    const auto own = accumulate<Op, kLen, 1, Kept>(in + place.of[0], reduced, begin + threadIdx.x / width, end,
                                                   kThreads / width);

    __shared__ typename Op::Acc shared[kThreads];
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) {
        shared[threadIdx.x] = own.acc[l];
        __syncthreads();
        #pragma unroll 1
        for (u32 half = kThreads / 2; half >= width; half /= 2) {
            if (threadIdx.x < half) {
                shared[threadIdx.x] = Op::join(shared[threadIdx.x], shared[threadIdx.x + half]);
            }
            __syncthreads();
        }
        if (exists && threadIdx.x < width) {
            // From lane to lane the output moves by the inner stride of kept, which is kLen lanes long.
            const u64 lane = l * (kept.stride[1][0] / kLen);
            Sink<Op>{out, partials, divisor}.put(shared[threadIdx.x], unit * kLen + l, place.of[1] + lane);
        }
        __syncthreads();
    }
}

// The second pass: a group of threads for each output, along its slices.
template <typename Op>
__global__ void __launch_bounds__(kThreads, kMinBlocks<Op>)
reduce_join(const typename Op::Acc* partials, typename Op::Out* out, const __grid_constant__ Walk<2> kept,
            f32 divisor, u32 slices, u32 group) {
    follow();
    using Acc = typename Op::Acc;
    const u64 output = u64(blockIdx.x) * (kThreads / group) + threadIdx.x / group;
    const bool exists = output < kept.numel;
    Acc acc = Op::start(kNone);
    if (exists) {
        #pragma unroll 4
        for (u32 i = threadIdx.x % group; i < slices; i += group) {
            acc = Op::join(acc, partials[output * slices + i]);
        }
    }
    acc = join_group<Op>(acc, group);
    if (exists && threadIdx.x % group == 0) out[place_of(kept, output).of[1]] = Op::finish(acc, divisor);
}
