// unary_backward.cu: backward of elementwise ops of one operand, out[i] = grad[i] * Op'(kept[i]).
//
// Launch     as unary.cu.
// Requires   as unary.cu. kept is what Unary::kept says: the output of the op or its input. walk: grad and kept may be
//            broadcast (stride 0), out may not.
// Aliasing   grad == out or kept == out with the same layout is the op in place; a partial overlap is undefined.
// Numerics   16-bit floats compute in f32 and round once on store. Operations of IEEE 754 are rounded one by one as they
//            stand here; functions err as in unary.cu. What NaN in kept gives, each op says; in grad it gives NaN, but
//            where the derivative is a choice that leaves it out.
// Bound by   memory: n * 3 * sizeof(T) bytes; powers that are not whole or beyond 4 by arithmetic.
#include "activation.cuh"
#include "common.cuh"
#include "math_16.cuh"

// A functor has the name of the op. It takes the gradient, what is kept, and as many parameters as the op has. Of 16-bit floats
// all_16, where it is, makes the factors of the gradients of what is kept, of a whole run at once.

// NaN lets the gradient through, as in PyTorch.
template <typename C> struct Relu {
    __device__ C operator()(C grad, C y) const { return y <= 0.0f ? 0.0f : grad; }
};

// Input and output have one sign where the output is kept. NaN counts as negative, as in PyTorch.
template <typename C> struct LeakyRelu {
    __device__ C operator()(C grad, C kept, C slope) const { return kept > 0.0f ? grad : grad * slope; }
};

template <typename C> struct Exp {
    __device__ C operator()(C grad, C y) const { return grad * y; }
};

template <typename C> struct Log {
    __device__ C operator()(C grad, C x) const { return __fdiv_rn(grad, x); }
};

template <typename C> struct Sqrt {
    __device__ C operator()(C grad, C y) const { return __fdiv_rn(grad, y + y); }
};

// Of three factors one after the other: what is in between is in range where both ends are.
template <typename C> struct Rsqrt {
    __device__ C operator()(C grad, C y) const { return grad * (-0.5f * y) * y * y; }
};

// 0 at 0.
template <typename C> struct Abs {
    __device__ C operator()(C grad, C x) const { return x > 0.0f ? grad : x < 0.0f ? -grad : x * grad; }
};

template <typename C> struct Sin {
    __device__ C operator()(C grad, C x) const { return grad * sine(x, 1); }
    template <typename Half, u32 kLen> __device__ static void all_16(C (&x)[kLen]) { sines_16<1, Half>(x); }
};

template <typename C> struct Cos {
    __device__ C operator()(C grad, C x) const { return grad * -sine(x, 0); }
    template <typename Half, u32 kLen> __device__ static void all_16(C (&x)[kLen]) {
        sines_16<0, Half>(x);
        #pragma unroll
        for (C& lane : x) lane = -lane;
    }
};

// Not 1 - y * y, of which little is right near 1.
template <typename C> struct Tanh {
    __device__ C operator()(C grad, C y) const { return grad * ((1.0f - y) * (1.0f + y)); }
};

template <typename C> struct Sigmoid {
    __device__ C operator()(C grad, C y) const { return grad * ((1.0f - y) * y); }
};

// Within what counts, so that infinity times 0 is not asked for. NaN stays.
__device__ __forceinline__ f32 within(f32 x, f32 most) { return x < -most ? -most : x > most ? most : x; }

// sigmoid(u), and its derivative times `factor`, which may be large where that is small: from one exponential.
__device__ __forceinline__ f32 sigmoid_and_slope(f32 u, f32 factor) {
    const f32 e = expf(-fabsf(u));
    const f32 r = inverse(__fadd_rn(1.0f, e));
    const f32 small = __fmul_rn(e, r);
    return __fmaf_rn(factor, __fmul_rn(small, r), u < 0.0f ? small : r);
}

// s + x s (1 - s), where s is sigmoid(x).
template <typename C> struct Silu {
    __device__ C operator()(C grad, C x) const {
        const f32 u = within(x, 1024.0f);
        return grad * sigmoid_and_slope(u, u);
    }
};

// s + x s (1 - s) u', where s is sigmoid(u): see gelu_tanh.
template <typename C> struct GeluTanh {
    __device__ C operator()(C grad, C x) const {
        const f32 v = within(x, 32.0f), square = __fmul_rn(v, v);
        const f32 u = __fmul_rn(v, __fmaf_rn(square, 7.13548163e-2f, 1.59576912f));
        return grad * sigmoid_and_slope(u, __fmul_rn(v, __fmaf_rn(square, 2.14064449e-1f, 1.59576912f)));
    }
};

// Phi(x) + x phi(x) is h = Q(t) - t phi(t) for x = -t, where Q is 1 - Phi, and 1 - h for x = t.
template <typename C> struct Gelu {
    template <typename Out> __device__ C to(C grad, C x) const {
        const f32 a = fabsf(x), t = a > 40.0f ? 40.0f : a;  // NaN stays
        const Beyond b = kIsHalf<Out> ? beyond_16(t) : beyond(t);
        const f32 h = __fmul_rn(b.gauss, __fmaf_rn(b.polynomial, b.inverse, __fmul_rn(-0.398942280f, t)));
        return grad * (x < 0.0f ? h : 1.0f - h);
    }
};

// From the output, alpha (e^x - 1), where alpha keeps the sign; from the input otherwise. NaN lets the gradient through, as
// in PyTorch.
template <typename C> struct Elu {
    __device__ C operator()(C grad, C kept, C alpha) const {
        if (!(kept <= 0.0f)) return grad;
        return grad * (alpha >= 0.0f ? __fadd_rn(kept, alpha) : alpha * expf(kept));
    }
};

// 1 - e^-y.
template <typename C> struct Softplus {
    template <typename Out> __device__ C to(C grad, C y) const {
        if constexpr (kIsHalf<Out>) return grad * -expm1_16(-y);
        else return grad * -expm1f(-y);
    }
};

template <typename C> struct Reciprocal {
    __device__ C operator()(C grad, C y) const { return -grad * y * y; }
};

// The bounds let the gradient through. NaN does not, as in PyTorch.
template <typename C> struct Clamp {
    __device__ C operator()(C grad, C x, C low, C high) const { return low <= x && x <= high ? grad : 0.0f; }
};

template <typename C> struct PowScalar {
    __device__ C operator()(C grad, C x, C exponent) const {
        return exponent == 0.0f ? 0.0f : grad * (exponent * power(x, exponent - 1.0f));
    }
};

template <typename C> struct Square {
    __device__ C operator()(C grad, C x) const { return grad * (x + x); }
};

template <template <typename> typename Op, typename Out, typename C>
__device__ __forceinline__ C call(C grad, C kept, C first, C second) {
    constexpr Op<C> kOp{};
    if constexpr (requires { kOp.template to<Out>(grad, kept); }) return kOp.template to<Out>(grad, kept);
    else if constexpr (requires { kOp(grad, kept); }) return kOp(grad, kept);
    else if constexpr (requires { kOp(grad, kept, first); }) return kOp(grad, kept, first);
    else return kOp(grad, kept, first, second);
}

template <typename T, u32 kLen> struct Pair { Pack<T, kLen> grad, kept; };

// Of the activation that made what is kept: Onto::code in Rust, and its slope.
struct Before {
    u32 onto;
    f32 slope;

    template <typename C> __device__ __forceinline__ C operator()(C grad, C kept) const {
        if (onto == 0) return grad;
        if (onto == 2) return Relu<C>{}(grad, kept);
        return LeakyRelu<C>{}(grad, kept, slope);
    }
};

template <template <typename> typename Op, typename T, u32 kLen>
__device__ __forceinline__ Pack<T, kLen> apply(Pair<T, kLen> x, Params params, Before before) {
    const auto first = convert<Compute<T>>(params.value[0]), second = convert<Compute<T>>(params.value[1]);
    Pack<T, kLen> y;
    if constexpr (kIsHalf<T> && requires(f32 (&factor)[kLen]) { Op<f32>::template all_16<T>(factor); }) {
        f32 factor[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) factor[l] = widen(x.kept.lane[l]);
        Op<f32>::template all_16<T>(factor);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            y.lane[l] = narrow<T>(before(widen(x.grad.lane[l]) * factor[l], widen(x.kept.lane[l])));
        }
    } else {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            const auto kept = widen(x.kept.lane[l]);
            y.lane[l] = narrow<T>(before(call<Op, T>(widen(x.grad.lane[l]), kept, first, second), kept));
        }
    }
    return y;
}

template <template <typename> typename Op, typename T>
__global__ void __launch_bounds__(kThreads)
unary_backward_packed(const T* grad, const T* kept, T* out, u64 n, Params params, u32 onto, f32 slope) {
    follow();
    map_packed<kPackLen<T>>(
        n,
        [=](auto len, u64 i) {
            constexpr u32 kLen = decltype(len)::kValue;
            return Pair<T, kLen>{load<kLen, Cache::Use>(grad + i), load<kLen, Cache::Use>(kept + i)};
        },
        [=](auto, u64 i, auto x) { store(out + i, apply<Op>(x, params, {onto, slope})); });
}

template <template <typename> typename Op, typename T, u32 kLen>
__global__ void __launch_bounds__(kThreads)
unary_backward_walk(const T* grad, const T* kept, T* out, const __grid_constant__ Walk<3> walk, Params params, u32 onto,
                    f32 slope) {
    follow();
    map_walk<kLen>(
        walk,
        [&](Place<3> at) {
            return Pair<T, kLen>{load_along<kLen>(grad + at.of[0], walk.repeats(0)),
                                 load_along<kLen>(kept + at.of[1], walk.repeats(1))};
        },
        [&](Place<3> at, Pair<T, kLen> x) { store(out + at.of[2], apply<Op>(x, params, {onto, slope})); });
}
