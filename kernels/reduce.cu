// reduce.cu: sums, means and positions of the largest, over any axes of any strided operand.
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
// Numerics   floats accumulate in f32, integers in i64; kLen * kUnroll independent chains a thread, then a tree in a
//            fixed order: the same bits in every run. One rounding on store. NaN in, NaN out; NaN is the largest.
// Bound by   memory: n * sizeof(T) bytes.
#include "common.cuh"

constexpr u32 kUnroll = 4;
constexpr u32 kWarp = 32;
// Lets the compiler take 128 registers before it spills.
constexpr u32 kMinBlocks = 2;

// An op on T: what a thread keeps. start: before the first element, whose index is given, or kNone if there is none;
// add: with a later element; join: with what another thread keeps; finish: what comes out of n elements.
constexpr u64 kNone = 0x7fffffffffffffffull;

template <typename T> struct Sum {
    using In = T;
    using Acc = Choose<kIsFloat<T>, f32, i64>;
    using Out = Choose<kIsFloat<T>, T, i64>;
    static __device__ Acc start(u64) { return 0; }
    static __device__ Acc of(T x, u64) { return Acc(widen(x)); }
    static __device__ Acc add(Acc acc, T x, u64) { return join(acc, Acc(widen(x))); }
    static __device__ Acc join(Acc a, Acc b) {
        if constexpr (kIsFloat<T>) return a + b;
        else return i64(u64(a) + u64(b));
    }
    static __device__ Out finish(Acc acc, u64) { return narrow<Out>(acc); }
};

template <typename T> struct Mean : Sum<T> {
    static __device__ T finish(f32 acc, u64 n) { return narrow<T>(__fdiv_rn(acc, f32(n))); }
};

template <typename V> struct Best { V value; i64 index; };

template <typename T> struct ArgMax {
    using In = T;
    using Value = Choose<kIsFloat<T>, f32, Choose<kSame<T, i64>, i64, u32>>;
    using Acc = Best<Value>;
    using Out = i64;
    static __device__ Acc start(u64 first) {
        if constexpr (kIsFloat<T>) return {-__int_as_float(0x7f800000), i64(first)};
        else if constexpr (kSame<T, i64>) return {i64(1ull << 63), i64(first)};
        else return {0, i64(first)};
    }
    static __device__ Acc of(T x, u64 index) { return {Value(widen(x)), i64(index)}; }
    static __device__ Acc add(Acc acc, T x, u64 index) {
        // Elements come in order, so equals lose. NaN is not <= anything.
        const Value value = Value(widen(x));
        return !(value <= acc.value) && acc.value == acc.value ? Acc{value, i64(index)} : acc;
    }
    static __device__ Acc join(Acc a, Acc b) {
        const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
        const bool equal = a.value == b.value || (a_nan && b_nan);
        const bool b_larger = b.value > a.value || (b_nan && !a_nan);
        return b_larger || (equal && b.index < a.index) ? b : a;
    }
    static __device__ Out finish(Acc acc, u64) { return acc.index; }
};

template <typename A> __device__ __forceinline__ A shuffle_down(A x, u32 by) {
    struct Parts { u32 word[sizeof(A) / 4]; } parts = bits_as<Parts>(x);
    #pragma unroll
    for (u32& word : parts.word) word = __shfl_down_sync(0xffffffffu, word, by);
    return bits_as<A>(parts);
}

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
    u64 n;  // elements that go into one output

    __device__ __forceinline__ void put(typename Op::Acc acc, u64 output, u64 place) const {
        if (partials) partials[output * gridDim.y + blockIdx.y] = acc;
        else out[place] = Op::finish(acc, n);
    }
};

template <u32 kOperands> __device__ __forceinline__ Place<kOperands> place_of(const Walk<kOperands>& walk, u64 unit) {
    u64 i[1] = {unit};
    Place<kOperands> place[1];
    walk.at(i, place);
    return place[0];
}

// What one thread makes of units begin, begin + stride, ... below end of the reduced axes. The index of lane l of unit
// i is i * kScale + l * kStep.
template <typename Op, u32 kLen, u32 kScale, u32 kStep>
__device__ __forceinline__ void accumulate(typename Op::Acc (&acc)[kLen], const typename Op::In* in,
                                           const Walk<1>& reduced, u64 begin, u64 end, u32 stride) {
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) acc[l] = Op::start(begin < end ? begin * kScale + l * kStep : kNone);

    u64 unit = begin;
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
        #pragma unroll
        for (u32 j = 0; j < kUnroll; ++j) {
            const u64 index = (unit + j * stride) * kScale;
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) acc[l] = Op::add(acc[l], x[j].lane[l], index + l * kStep);
        }
    }
    #pragma unroll 1
    for (; unit < end; unit += stride) {
        const auto x = load<kLen, Cache::Skip>(in + place_of(reduced, unit).of[0]);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) acc[l] = Op::add(acc[l], x.lane[l], unit * kScale + l * kStep);
    }
}

// A group of threads for each output, along the units of the reduced axes.
template <typename Op, u32 kLen>
__global__ void __launch_bounds__(kThreads, kMinBlocks)
reduce_rows(const typename Op::In* in, typename Op::Out* out, typename Op::Acc* partials,
            const __grid_constant__ Walk<2> kept, const __grid_constant__ Walk<1> reduced, u64 n, u64 slice, u32 group) {
    const u64 output = u64(blockIdx.x) * (kThreads / group) + threadIdx.x / group;
    const u32 lane = threadIdx.x % group;
    const bool exists = output < kept.numel;
    const u64 begin = blockIdx.y * slice;
    const u64 end = !exists ? 0 : begin + slice < reduced.numel ? begin + slice : reduced.numel;
    const Place<2> place = place_of(kept, exists ? output : 0);
    const auto* row = in + place.of[0];

    typename Op::Acc acc[kLen];
    accumulate<Op, kLen, kLen, 1>(acc, row, reduced, begin + lane, end, group);
    // Packs leave a tail only where the reduced axes are one contiguous run.
    if (kLen > 1 && exists && blockIdx.y + 1 == gridDim.y) {
        #pragma unroll 1
        for (u64 i = reduced.numel * kLen + lane; i < n; i += group) acc[0] = Op::join(acc[0], Op::of(row[i], i));
    }

    #pragma unroll
    for (u32 half = kLen / 2; half > 0; half /= 2) {
        #pragma unroll
        for (u32 l = 0; l < half; ++l) acc[l] = Op::join(acc[l], acc[l + half]);
    }
    const auto total = join_group<Op>(acc[0], group);
    if (exists && lane == 0) Sink<Op>{out, partials, n}.put(total, output, place.of[1]);
}

// A thread for each unit of outputs, width of them side by side; the other threads of the block share the reduced axes.
template <typename Op, u32 kLen>
__global__ void __launch_bounds__(kThreads, kMinBlocks)
reduce_columns(const typename Op::In* in, typename Op::Out* out, typename Op::Acc* partials,
               const __grid_constant__ Walk<2> kept, const __grid_constant__ Walk<1> reduced, u64 n, u64 slice,
               u32 width) {
    const u64 unit = u64(blockIdx.x) * width + threadIdx.x % width;
    const bool exists = unit < kept.numel;
    const u64 begin = blockIdx.y * slice;
    const u64 end = !exists ? 0 : begin + slice < n ? begin + slice : n;
    const Place<2> place = place_of(kept, exists ? unit : 0);

    typename Op::Acc acc[kLen];
    accumulate<Op, kLen, 1, 0>(acc, in + place.of[0], reduced, begin + threadIdx.x / width, end, kThreads / width);

    __shared__ typename Op::Acc shared[kThreads];
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) {
        shared[threadIdx.x] = acc[l];
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
            Sink<Op>{out, partials, n}.put(shared[threadIdx.x], unit * kLen + l, place.of[1] + lane);
        }
        __syncthreads();
    }
}

// The second pass: a group of threads for each output, along its slices.
template <typename Op>
__global__ void __launch_bounds__(kThreads, kMinBlocks)
reduce_join(const typename Op::Acc* partials, typename Op::Out* out, const __grid_constant__ Walk<2> kept, u64 n,
            u32 slices, u32 group) {
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
    if (exists && threadIdx.x % group == 0) out[place_of(kept, output).of[1]] = Op::finish(acc, n);
}
