// binary.cu: elementwise ops of two operands, out[i] = Op(a[i], b[i]); comparisons give bools.
//
// Launch     as unary.cu.
// Requires   as unary.cu, with packs of 16 bytes of the operands. walk: a and b may be broadcast (stride 0), out may not.
// Aliasing   a == out or b == out with the same layout and type is the in-place op; a partial overlap is undefined.
// Numerics   16-bit floats compute in f32 and round once on store; NaN in, NaN out; NaN is unequal to all and not in
//            order with any; integers wrap. powf errs as CUDA documents; of 16-bit floats by an eighth of what rounding
//            may take, as math_16.cuh says.
// Bound by   memory: n * (2 * sizeof(T) + sizeof(Out)) bytes, less what is broadcast; pow by arithmetic.
#include "common.cuh"
#include "math_16.cuh"

template <typename C> struct Add {
    __device__ C operator()(C a, C b) const {
        if constexpr (kIsFloat<C>) return a + b;
        else return C(u64(a) + u64(b));
    }
};

template <typename C> struct Sub {
    __device__ C operator()(C a, C b) const {
        if constexpr (kIsFloat<C>) return a - b;
        else return C(u64(a) - u64(b));
    }
};

template <typename C> struct Mul {
    __device__ C operator()(C a, C b) const {
        if constexpr (kIsFloat<C>) return a * b;
        else return C(u64(a) * u64(b));
    }
};

template <typename C> struct Div {
    __device__ C operator()(C a, C b) const { return __fdiv_rn(a, b); }
};

// Not fminf and fmaxf: they drop NaN. Of equals, 0 and -0 too, the first.
template <typename C> struct Minimum {
    __device__ C operator()(C a, C b) const { return a <= b || a != a ? a : b; }
};

template <typename C> struct Maximum {
    __device__ C operator()(C a, C b) const { return a >= b || a != a ? a : b; }
};

template <typename C> struct Pow {
    __device__ C operator()(C a, C b) const { return powf(a, b); }
    template <u32 kLen> __device__ static void all_16(C (&a)[kLen], const C (&b)[kLen]) { powers_16(a, b); }
};

template <typename C> struct Eq {
    __device__ bool operator()(C a, C b) const { return a == b; }
};

template <typename C> struct Ne {
    __device__ bool operator()(C a, C b) const { return a != b; }
};

template <typename C> struct Lt {
    __device__ bool operator()(C a, C b) const { return a < b; }
};

template <typename C> struct Le {
    __device__ bool operator()(C a, C b) const { return a <= b; }
};

template <typename C> struct Gt {
    __device__ bool operator()(C a, C b) const { return a > b; }
};

template <typename C> struct Ge {
    __device__ bool operator()(C a, C b) const { return a >= b; }
};

template <typename C> struct And {
    __device__ bool operator()(C a, C b) const { return a && b; }
};

template <typename C> struct Or {
    __device__ bool operator()(C a, C b) const { return a || b; }
};

template <typename C> struct Xor {
    __device__ bool operator()(C a, C b) const { return a != b; }
};

// What Op makes of two T.
template <template <typename> typename Op, typename T>
using Out = Choose<kSame<decltype(Op<Compute<T>>{}({}, {})), bool>, bool, T>;

template <typename T, u32 kLen> struct Pair { Pack<T, kLen> a, b; };

template <template <typename> typename Op, typename T, u32 kLen>
__device__ __forceinline__ auto apply(Pair<T, kLen> x) {
    using To = Out<Op, T>;
    Pack<To, kLen> y;
    if constexpr (kIsHalf<T> && requires(Compute<T> (&a)[kLen]) { Op<f32>::all_16(a, a); }) {
        Compute<T> a[kLen], b[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            a[l] = widen(x.a.lane[l]);
            b[l] = widen(x.b.lane[l]);
        }
        Op<f32>::all_16(a, b);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) y.lane[l] = narrow<To>(a[l]);
    } else {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) y.lane[l] = narrow<To>(Op<Compute<T>>{}(widen(x.a.lane[l]), widen(x.b.lane[l])));
    }
    return y;
}

template <template <typename> typename Op, typename T>
__global__ void __launch_bounds__(kThreads) binary_packed(const T* a, const T* b, Out<Op, T>* out, u64 n) {
    follow();
    map_packed<kPackLen<T>>(
        n,
        [=](auto len, u64 i) {
            constexpr u32 kLen = decltype(len)::kValue;
            return Pair<T, kLen>{load<kLen, Cache::Use>(a + i), load<kLen, Cache::Use>(b + i)};
        },
        [=](auto, u64 i, auto x) { store(out + i, apply<Op>(x)); });
}

template <template <typename> typename Op, typename T, u32 kLen>
__global__ void __launch_bounds__(kThreads)
binary_walk(const T* a, const T* b, Out<Op, T>* out, const __grid_constant__ Walk<3> walk) {
    follow();
    map_walk<kLen>(
        walk,
        [&](Place<3> at) {
            return Pair<T, kLen>{load_along<kLen>(a + at.of[0], walk.repeats(0)),
                                 load_along<kLen>(b + at.of[1], walk.repeats(1))};
        },
        [&](Place<3> at, Pair<T, kLen> x) { store(out + at.of[2], apply<Op>(x)); });
}
