// copy.cu: out[i] = in[i] in another dtype, or in another order.
//
// Launch     as unary.cu.
// Requires   as unary.cu, with packs of 16 bytes of the wider type.
// Aliasing   in == out only where the types and layouts are the same; a partial overlap is undefined.
// Numerics   as convert.cuh says; a copy within one dtype keeps all bits.
// Bound by   memory: n * (sizeof(From) + sizeof(To)) bytes.
#include "common.cuh"

template <typename To, typename From, u32 kLen>
__device__ __forceinline__ Pack<To, kLen> cast(Pack<From, kLen> x) {
    Pack<To, kLen> y;
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) y.lane[l] = convert<To>(x.lane[l]);
    return y;
}

template <typename From, typename To>
__global__ void __launch_bounds__(kThreads) copy_packed(const From* in, To* out, u64 n) {
    follow();
    map_packed<kPackLen<From, To>>(
        n,
        [=](auto len, u64 i) { return load<len.kValue, Cache::Use>(in + i); },
        [=](auto, u64 i, auto x) { store(out + i, cast<To>(x)); });
}

template <typename From, typename To, u32 kLen>
__global__ void __launch_bounds__(kThreads)
copy_walk(const From* in, To* out, const __grid_constant__ Walk<2> walk) {
    follow();
    map_walk<kLen>(
        walk,
        [&](Place<2> at) { return load_along<kLen>(in + at.of[0], walk.repeats(0)); },
        [&](Place<2> at, Pack<From, kLen> x) { store(out + at.of[1], cast<To>(x)); });
}
