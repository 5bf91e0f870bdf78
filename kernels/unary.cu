// unary.cu: elementwise ops of one operand, out[i] = Op(in[i]).
//
// Launch     1-D, kThreads threads. packed: one block for each full kThreads * kPacks packs, and one more.
//            walk: one block for each kThreads * (kLen > 1 ? kPackSteps : kElementSteps) units begun. No shared memory.
// Requires   packed: n elements each, dense in the same order, 16-byte aligned. walk: at most 2^31 - 1 units; with
//            kLen > 1 in and out are contiguous or broadcast along the inner axis, and all packs 16-byte aligned.
// Aliasing   in == out with the same layout is the in-place op; a partial overlap is undefined.
// Numerics   16-bit floats compute in f32 and round once on store; NaN in, NaN out; integers wrap.
// Bound by   memory: n * 2 * sizeof(T) bytes.
#include "common.cuh"

// Not fmaxf(x, 0): that turns NaN into 0.
template <typename C> struct Relu {
    __device__ C operator()(C x, C) const { return x < C(0) ? C(0) : x; }
};

template <typename C> struct LeakyRelu {
    __device__ C operator()(C x, C slope) const { return x < C(0) ? slope * x : x; }
};

template <typename C> struct Neg {
    __device__ C operator()(C x, C) const {
        if constexpr (kIsFloat<C>) return -x;
        else return C(0 - u64(x));
    }
};

template <typename C> struct AddScalar {
    __device__ C operator()(C x, C value) const {
        if constexpr (kIsFloat<C>) return x + value;
        else return C(u64(x) + u64(value));
    }
};

template <typename C> struct MulScalar {
    __device__ C operator()(C x, C value) const {
        if constexpr (kIsFloat<C>) return x * value;
        else return C(u64(x) * u64(value));
    }
};

template <template <typename> typename Op, typename T, u32 kLen>
__device__ __forceinline__ Pack<T, kLen> apply(Pack<T, kLen> x, Compute<T> param) {
    #pragma unroll
    for (T& lane : x.lane) lane = narrow<T>(Op<Compute<T>>{}(widen(lane), param));
    return x;
}

template <template <typename> typename Op, typename T>
__global__ void __launch_bounds__(kThreads) unary_packed(const T* in, T* out, u64 n, f64 param) {
    const auto p = convert<Compute<T>>(param);
    map_packed<kPackLen<T>>(
        n,
        [=](auto len, u64 i) { return load<len.kValue, Cache::Use>(in + i); },
        [=](auto, u64 i, auto x) { store(out + i, apply<Op>(x, p)); });
}

template <template <typename> typename Op, typename T, u32 kLen>
__global__ void __launch_bounds__(kThreads)
unary_walk(const T* in, T* out, const __grid_constant__ Walk<2> walk, f64 param) {
    const auto p = convert<Compute<T>>(param);
    map_walk<kLen>(
        walk,
        [&](Place<2> at) { return load_along<kLen>(in + at.of[0], walk.repeats(0)); },
        [&](Place<2> at, Pack<T, kLen> x) { store(out + at.of[1], apply<Op>(x, p)); });
}
