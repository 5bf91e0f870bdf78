// fill.cu: one value everywhere, and arithmetic sequences.
//
// Launch     1-D, kThreads threads, as map_packed says of any number of elements up to n. No shared memory. fill_walk: as the
//            walk of unary.cu.
// Requires   out: n elements, contiguous, aligned to an element. fill_walk: as out of the walk of unary.cu.
// Aliasing   none: nothing is read.
// Numerics   fill: bits as they are. arange: start + i * step in f64, each operation rounded, then converted as
//            convert.cuh says; i is exact below 2^53.
// Bound by   memory: n * sizeof(T) bytes.
#include "common.cuh"

// Writes value(i) to out[i]. The first elements up to 16 bytes of alignment, and the last, go one at a time.
template <typename T, typename Value>
__device__ __forceinline__ void generate(T* out, u64 n, Value value) {
    constexpr u32 kLen = kPackLen<T>;
    const u64 beyond = (reinterpret_cast<u64>(out) & 15) / sizeof(T);
    const u64 whole = (kLen - beyond) % kLen;
    const u64 head = whole < n ? whole : n;
    if (blockIdx.x == 0 && threadIdx.x < head) out[threadIdx.x] = value(threadIdx.x);
    map_packed<kLen>(
        n - head,
        [=](auto, u64 i) { return head + i; },
        [=](auto len, u64, u64 i) {
            Pack<T, decltype(len)::kValue> x;
            #pragma unroll
            for (u32 l = 0; l < decltype(len)::kValue; ++l) x.lane[l] = value(i + l);
            store(out + i, x);
        });
}

template <typename T>
__global__ void __launch_bounds__(kThreads) fill(T* out, u64 n, u64 bits) {
    follow();
    const T x = T(bits);
    generate(out, n, [=](u64) { return x; });
}

template <typename T, u32 kLen>
__global__ void __launch_bounds__(kThreads) fill_walk(T* out, const __grid_constant__ Walk<1> walk, u64 bits) {
    follow();
    Pack<T, kLen> x;
    #pragma unroll
    for (T& lane : x.lane) lane = T(bits);
    map_walk<kLen>(
        walk,
        [](Place<1>) { return u8(0); },
        [&](Place<1> at, u8) { store(out + at.of[0], x); });
}

template <typename T>
__global__ void __launch_bounds__(kThreads) arange(T* out, u64 n, f64 start, f64 step) {
    follow();
    generate(out, n, [=](u64 i) { return convert<T>(__dadd_rn(start, __dmul_rn(f64(i), step))); });
}
