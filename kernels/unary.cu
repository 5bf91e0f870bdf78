// unary.cu: elementwise ops of one operand, out[i] = Op(in[i]).
//
// Launch     1-D, kThreads threads. packed: as map_packed says, one pack a thread. walk: one block for each kThreads * (kLen >
//            1 ? kPackSteps : kElementSteps) units begun. No shared memory.
// Requires   packed: n elements each, dense in the same order, 16-byte aligned. walk: at most 2^31 - 1 units; with
//            kLen > 1 in and out are contiguous or broadcast along the inner axis, and all packs 16-byte aligned.
// Aliasing   in == out with the same layout is the in-place op; a partial overlap is undefined.
// Numerics   16-bit floats compute in f32 and round once on store; NaN in, NaN out; integers wrap. Functions that are no
//            one operation of IEEE 754 err by a few ulps of f32: as CUDA documents, and as math.cuh says. Of 16-bit
//            floats log, elu, softplus, sin, cos and gelu_tanh as math_16.cuh says, by a 32nd of what rounding may take or
//            less; gelu and powers by an eighth. Square roots are the nearest there are.
// Bound by   memory: n * 2 * sizeof(T) bytes; powers that are not whole or beyond 4 by arithmetic.
#include "activation.cuh"
#include "common.cuh"
#include "math_16.cuh"

// A functor takes the element, and as many parameters as it has. What it makes is rounded to the type of the elements,
// which some want to know. Of 16-bit floats all_16, where it is, does a whole run at once.

// Not fmaxf(x, 0): that turns NaN into 0.
template <typename C> struct Relu {
    __device__ C operator()(C x) const { return x < C(0) ? C(0) : x; }
};

template <typename C> struct LeakyRelu {
    __device__ C operator()(C x, C slope) const { return x < C(0) ? slope * x : x; }
};

template <typename C> struct Neg {
    __device__ C operator()(C x) const {
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

template <typename C> struct Exp {
    __device__ C operator()(C x) const { return expf(x); }
};

template <typename C> struct Log {
    template <typename Out> __device__ C to(C x) const {
        if constexpr (kIsHalf<Out>) return log_16(x);
        else return logf(x);
    }
};

template <typename C> struct Sqrt {
    template <typename Out> __device__ C to(C x) const {
        if constexpr (kIsHalf<Out>) return sqrt_approx(x);
        else return __fsqrt_rn(x);
    }
};

template <typename C> struct Rsqrt {
    __device__ C operator()(C x) const { return rsqrtf(x); }
};

template <typename C> struct Abs {
    __device__ C operator()(C x) const {
        if constexpr (kIsFloat<C>) return fabsf(x);
        else return x < C(0) ? C(0 - u64(x)) : x;
    }
};

template <typename C> struct Sin {
    __device__ C operator()(C x) const { return sine(x, 0); }
    template <typename Half, u32 kLen> __device__ static void all_16(C (&x)[kLen], C) { sines_16<0, Half>(x); }
};

template <typename C> struct Cos {
    __device__ C operator()(C x) const { return sine(x, 1); }
    template <typename Half, u32 kLen> __device__ static void all_16(C (&x)[kLen], C) { sines_16<1, Half>(x); }
};

template <typename C> struct Tanh {
    __device__ C operator()(C x) const { return tanhf(x); }
};

template <typename C> struct Sigmoid {
    __device__ C operator()(C x) const { return sigmoid(x); }
};

template <typename C> struct Silu {
    __device__ C operator()(C x) const { return silu(x); }
};

template <typename C> struct Gelu {
    template <typename Out> __device__ C to(C x) const { return gelu_to<Out>(x); }
};

template <typename C> struct GeluTanh {
    template <typename Out> __device__ C to(C x) const {
        if constexpr (kIsHalf<Out>) return gelu_tanh_16(x);
        else return gelu_tanh(x);
    }
};

template <typename C> struct Elu {
    template <typename Out> __device__ C to(C x, C alpha) const {
        if constexpr (kIsHalf<Out>) return x > C(0) ? x : alpha * expm1_16(x);
        else return x > C(0) ? x : alpha * expm1f(x);
    }
};

template <typename C> struct Softplus {
    template <typename Out> __device__ C to(C x) const {
        if constexpr (kIsHalf<Out>) return softplus_16(x);
        else return __fadd_rn(Relu<C>{}(x), log1pf(expf(-fabsf(x))));
    }
};

template <typename C> struct Reciprocal {
    __device__ C operator()(C x) const { return __frcp_rn(x); }
};

// NaN is not below or above anything, and nothing is within bounds that are NaN.
template <typename C> struct Clamp {
    __device__ C operator()(C x, C low, C high) const {
        const C y = x >= low || x != x ? x : low;
        return y <= high || y != y ? y : high;
    }
};

template <typename C> struct PowScalar {
    __device__ C operator()(C x, C exponent) const { return power(x, exponent); }
    template <typename, u32 kLen> __device__ static void all_16(C (&x)[kLen], C exponent) { powers_16(x, exponent); }
};

template <typename C> struct Square {
    __device__ C operator()(C x) const { return MulScalar<C>{}(x, x); }
};

template <typename C> struct Sign {
    __device__ C operator()(C x) const { return x > C(0) ? C(1) : x < C(0) ? C(-1) : x; }
};

template <typename C> struct Floor {
    __device__ C operator()(C x) const { return floorf(x); }
};

template <typename C> struct Ceil {
    __device__ C operator()(C x) const { return ceilf(x); }
};

template <typename C> struct Round {
    __device__ C operator()(C x) const { return rintf(x); }
};

template <typename C> struct Not {
    __device__ C operator()(C x) const { return !x; }
};

template <template <typename> typename Op, typename Out, typename C>
__device__ __forceinline__ C call(C x, C first, C second) {
    constexpr Op<C> kOp{};
    if constexpr (requires { kOp.template to<Out>(x); }) return kOp.template to<Out>(x);
    else if constexpr (requires { kOp.template to<Out>(x, first); }) return kOp.template to<Out>(x, first);
    else if constexpr (requires { kOp(x); }) return kOp(x);
    else if constexpr (requires { kOp(x, first); }) return kOp(x, first);
    else return kOp(x, first, second);
}

template <template <typename> typename Op, typename T, u32 kLen>
__device__ __forceinline__ Pack<T, kLen> apply(Pack<T, kLen> x, Params params) {
    const auto first = convert<Compute<T>>(params.value[0]), second = convert<Compute<T>>(params.value[1]);
    if constexpr (kIsHalf<T> && requires(Compute<T> (&y)[kLen]) { Op<f32>::template all_16<T>(y, first); }) {
        Compute<T> y[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) y[l] = widen(x.lane[l]);
        Op<f32>::template all_16<T>(y, first);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x.lane[l] = narrow<T>(y[l]);
    } else {
        #pragma unroll
        for (T& lane : x.lane) lane = narrow<T>(call<Op, T>(widen(lane), first, second));
    }
    return x;
}

template <template <typename> typename Op, typename T>
__global__ void __launch_bounds__(kThreads) unary_packed(const T* in, T* out, u64 n, Params params) {
    follow();
    map_packed<kPackLen<T>>(
        n,
        [=](auto len, u64 i) { return load<len.kValue, Cache::Use>(in + i); },
        [=](auto, u64 i, auto x) { store(out + i, apply<Op>(x, params)); });
}

template <template <typename> typename Op, typename T, u32 kLen>
__global__ void __launch_bounds__(kThreads)
unary_walk(const T* in, T* out, const __grid_constant__ Walk<2> walk, Params params) {
    follow();
    map_walk<kLen>(
        walk,
        [&](Place<2> at) { return load_along<kLen>(in + at.of[0], walk.repeats(0)); },
        [&](Place<2> at, Pack<T, kLen> x) { store(out + at.of[1], apply<Op>(x, params)); });
}
