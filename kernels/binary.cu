// binary.cu: elementwise ops of two operands, out[i] = Op(a[i], b[i]).
//
// Launch     as unary.cu.
// Requires   as unary.cu. walk: a and b may be broadcast (stride 0), out may not.
// Aliasing   a == out or b == out with the same layout is the in-place op; a partial overlap is undefined.
// Numerics   16-bit floats compute in f32 and round once on store; NaN in, NaN out; integers wrap.
// Bound by   memory: n * 3 * sizeof(T) bytes, less what is broadcast.
#include "common.cuh"

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

template <typename T, u32 kLen> struct Pair { Pack<T, kLen> a, b; };

template <template <typename> typename Op, typename T, u32 kLen>
__device__ __forceinline__ Pack<T, kLen> apply(Pair<T, kLen> x) {
    Pack<T, kLen> y;
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) y.lane[l] = narrow<T>(Op<Compute<T>>{}(widen(x.a.lane[l]), widen(x.b.lane[l])));
    return y;
}

template <template <typename> typename Op, typename T>
__global__ void __launch_bounds__(kThreads) binary_packed(const T* a, const T* b, T* out, u64 n) {
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
binary_walk(const T* a, const T* b, T* out, const __grid_constant__ Walk<3> walk) {
    map_walk<kLen>(
        walk,
        [&](Place<3> at) {
            return Pair<T, kLen>{load_along<kLen>(a + at.of[0], walk.repeats(0)),
                                 load_along<kLen>(b + at.of[1], walk.repeats(1))};
        },
        [&](Place<3> at, Pair<T, kLen> x) { store(out + at.of[2], apply<Op>(x)); });
}
