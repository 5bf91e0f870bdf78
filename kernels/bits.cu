// bits.cu: the answers to a question about each element, one bit for each; and gradients of which such bits choose.
//
// Launch     1-D grid, 256 threads a block, no shared memory. packed: a thread for each pack of 16 bytes, and one for the
//            rest. bits_walk: a thread for each byte of bits. bits_choose_walk: a thread for each element.
// Requires   n elements each, in row-major order. packed: all contiguous, 16-byte aligned. bits_walk: a and b with any strides.
//            bits_choose_walk: grad with any strides; out contiguous. Bits: ceil(n / 8) bytes, element i at bit i % 8 of byte i / 8.
// Aliasing   bits_choose_packed: grad == out is in place. Nothing else may overlap.
// Numerics   16-bit floats are compared, and multiplied, in f32, and round once on store. A comparison with NaN is false.
// Bound by   memory: n * (operands * sizeof(T) + 1 / 8) bytes, or n * (2 * sizeof(T) + 1 / 8).
#include "common.cuh"
#include "shuffle.cuh"

constexpr u32 kByte = 8;  // elements whose bits are in one

// A question of one operand takes both parameters.

template <typename C> struct Positive {
    __device__ bool operator()(C x, C, C) const { return x > 0.0f; }
};

template <typename C> struct Within {
    __device__ bool operator()(C x, C low, C high) const { return low <= x && x <= high; }
};

template <typename C> struct Le {
    __device__ bool operator()(C a, C b) const { return a <= b; }
};

template <typename C> struct Ge {
    __device__ bool operator()(C a, C b) const { return a >= b; }
};

template <template <typename> typename Ask, typename T>
constexpr bool kIsPair = requires(Compute<T> x) { Ask<Compute<T>>{}(x, x); };

// Those of the elements that are there; the others are 0.
template <template <typename> typename Ask, typename T, u32 kLen>
__device__ __forceinline__ u32 ask(const Pack<T, kLen>& a, const Pack<T, kLen>& b, u32 count, Params params) {
    using C = Compute<T>;
    const C low = convert<C>(params.value[0]), high = convert<C>(params.value[1]);
    u32 bits = 0;
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) {
        bool yes;
        if constexpr (kIsPair<Ask, T>) yes = Ask<C>{}(widen(a.lane[l]), widen(b.lane[l]));
        else yes = Ask<C>{}(widen(a.lane[l]), low, high);
        bits |= u32(yes && l < count) << l;
    }
    return bits;
}

// A whole pack, or as many elements as there are, the last of them repeated.
template <typename T, u32 kLen> __device__ __forceinline__ Pack<T, kLen> load_some(const T* at, u32 count) {
    if (count == kLen) return load<kLen, Cache::Use>(at);
    Pack<T, kLen> x;
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) x.lane[l] = at[l < count ? l : count - 1];
    return x;
}

__device__ __forceinline__ u32 at_most(u64 n, u32 most) { return n < most ? u32(n) : most; }

__device__ __forceinline__ u64 thread_number() { return u64(blockIdx.x) * kThreads + threadIdx.x; }

template <template <typename> typename Ask, typename T>
__global__ void __launch_bounds__(kThreads) bits_packed(const T* a, const T* b, u8* out, u64 n, Params params) {
    follow();
    constexpr u32 kLen = kPackLen<T>;
    const u64 first = thread_number() * kLen;
    const u32 count = first < n ? at_most(n - first, kLen) : 0;
    u32 bits = 0;
    if (count > 0) {
        const auto x = load_some<T, kLen>(a + first, count);
        if constexpr (kIsPair<Ask, T>) bits = ask<Ask>(x, load_some<T, kLen>(b + first, count), count, params);
        else bits = ask<Ask>(x, x, count, params);
    }
    // A byte of what neighbours have: threads behind the end too.
    #pragma unroll
    for (u32 len = kLen; len < kByte; len *= 2) bits |= shuffle_down(bits, len / kLen) << len;
    if (count > 0 && first % kByte == 0) out[first / kByte] = u8(bits);
}

template <template <typename> typename Ask, typename T>
__global__ void __launch_bounds__(kThreads)
bits_walk(const T* a, const T* b, u8* out, const __grid_constant__ Walk<2> walk, Params params) {
    follow();
    const u64 byte = thread_number(), first = byte * kByte;
    if (first >= walk.numel) return;
    const u32 count = at_most(walk.numel - first, kByte);
    u64 i[kByte];
    Place<2> place[kByte];
    #pragma unroll
    for (u32 l = 0; l < kByte; ++l) i[l] = first + (l < count ? l : count - 1);
    walk.at(i, place);
    Pack<T, kByte> x, y;
    #pragma unroll
    for (u32 l = 0; l < kByte; ++l) {
        x.lane[l] = a[place[l].of[0]];
        if constexpr (kIsPair<Ask, T>) y.lane[l] = b[place[l].of[1]];
    }
    if constexpr (!kIsPair<Ask, T>) y = x;
    out[byte] = u8(ask<Ask>(x, y, count, params));
}

// The gradient where the bit is 1; elsewhere its multiple, or nothing of it, not even NaN, where the factor is 0.
template <typename T> __device__ __forceinline__ T choose(T grad, u32 bit, f32 factor) {
    if (bit & 1) return grad;
    return factor == 0.0f ? from_f32<T>(0.0f) : from_f32<T>(to_f32(grad) * factor);
}

// flip is 0, or 255 where a bit of 0 counts as 1.
template <typename T>
__global__ void __launch_bounds__(kThreads)
bits_choose_packed(const T* grad, const u8* bits, T* out, u64 n, u32 flip, f32 factor) {
    follow();
    constexpr u32 kLen = kPackLen<T>;
    const u64 first = thread_number() * kLen;
    if (first >= n) return;
    const u32 count = at_most(n - first, kLen);
    const u32 own = (bits[first / kByte] ^ flip) >> first % kByte;
    if (count == kLen) {
        auto x = load<kLen, Cache::Use>(grad + first);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x.lane[l] = choose(x.lane[l], own >> l, factor);
        store(out + first, x);
        return;
    }
    #pragma unroll 1
    for (u32 l = 0; l < count; ++l) out[first + l] = choose(grad[first + l], own >> l, factor);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
bits_choose_walk(const T* grad, const u8* bits, T* out, const __grid_constant__ Walk<1> walk, u32 flip, f32 factor) {
    follow();
    u64 i[1] = {thread_number()};
    if (i[0] >= walk.numel) return;
    const u64 at = i[0];
    Place<1> place[1];
    walk.at(i, place);
    out[at] = choose(grad[place[0].of[0]], (bits[at / kByte] ^ flip) >> at % kByte, factor);
}
