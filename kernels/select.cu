// select.cu: out[i] = mask[i] ? a[i] : b[i].
//
// Launch     as unary.cu.
// Requires   as unary.cu, with packs of 16 bytes of T. walk: mask, a and b may be broadcast (stride 0), out may not.
// Aliasing   a == out or b == out with the same layout is the in-place op; a partial overlap is undefined.
// Numerics   none: T is the word of an element, and its bits are moved as they are.
// Bound by   memory: n * (1 + 3 * sizeof(T)) bytes, less what is broadcast.
#include "common.cuh"

template <typename T, u32 kLen> struct Either {
    Pack<bool, kLen> mask;
    Pack<T, kLen> a, b;
};

template <typename T, u32 kLen> __device__ __forceinline__ Pack<T, kLen> choose(Either<T, kLen> x) {
    Pack<T, kLen> y;
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) y.lane[l] = x.mask.lane[l] ? x.a.lane[l] : x.b.lane[l];
    return y;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) select_packed(const bool* mask, const T* a, const T* b, T* out, u64 n) {
    follow();
    map_packed<kPackLen<T>>(
        n,
        [=](auto len, u64 i) {
            constexpr u32 kLen = decltype(len)::kValue;
            return Either<T, kLen>{load<kLen, Cache::Use>(mask + i), load<kLen, Cache::Use>(a + i),
                                   load<kLen, Cache::Use>(b + i)};
        },
        [=](auto, u64 i, auto x) { store(out + i, choose(x)); });
}

template <typename T, u32 kLen>
__global__ void __launch_bounds__(kThreads)
select_walk(const bool* mask, const T* a, const T* b, T* out, const __grid_constant__ Walk<4> walk) {
    follow();
    map_walk<kLen>(
        walk,
        [&](Place<4> at) {
            return Either<T, kLen>{load_along<kLen>(mask + at.of[0], walk.repeats(0)),
                                   load_along<kLen>(a + at.of[1], walk.repeats(1)),
                                   load_along<kLen>(b + at.of[2], walk.repeats(2))};
        },
        [&](Place<4> at, Either<T, kLen> x) { store(out + at.of[3], choose(x)); });
}
