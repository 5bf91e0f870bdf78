// multi.cuh: the same for every tensor of a list, in one launch: multiples, sums, zeros, casts, and the norm of all.
//
// Launch     1-D, kThreads threads, a block for each chunk of the table: kThreads * kMultiPacks packs, for the norm kNormPacks.
//            multi_join: one block of kMostThreads. Static shared memory.
// Requires   operands of a tensor: as many elements, contiguous, aligned to an element; packs where all are aligned to one.
//            partials: a Squares for each chunk.
// Aliasing   tensors of a list do not overlap. None of what is read is written, but what is changed in place.
// Numerics   f32, each operation rounded, and rounded once more on store. Norms by Blue's three sums, each in a fixed
//            order: the same bits in every run.
// Bound by   memory: n * (sizeof what is read + sizeof what is written) bytes.
#pragma once
#include "block.cuh"
#include "squares.cuh"
#include "table.cuh"

// Over the elements of a chunk: read(Len, i) loads those from element i on, and write(Len, i, x) stores what becomes of them.
template <u32 kLen, typename Read, typename Write>
__device__ __forceinline__ void map_chunk(u32 count, bool is_aligned, Read read, Write write) {
    constexpr Len<kLen> kWhole;
    constexpr Len<1> kSingle;
    if (is_aligned && count == kThreads * kMultiPacks * kLen) {
        decltype(read(kWhole, 0)) x[kMultiPacks];
        #pragma unroll
        for (u32 j = 0; j < kMultiPacks; ++j) x[j] = read(kWhole, (j * kThreads + threadIdx.x) * kLen);
        #pragma unroll
        for (u32 j = 0; j < kMultiPacks; ++j) write(kWhole, (j * kThreads + threadIdx.x) * kLen, x[j]);
        return;
    }
    const u32 packs = is_aligned ? count / kLen : 0;
    #pragma unroll 1
    for (u32 p = threadIdx.x; p < packs; p += kThreads) write(kWhole, p * kLen, read(kWhole, p * kLen));
    #pragma unroll 1
    for (u32 i = packs * kLen + threadIdx.x; i < count; i += kThreads) write(kSingle, i, read(kSingle, i));
}

template <typename T, u32 kWords>
__global__ void __launch_bounds__(kThreads)
multi_scale(const __grid_constant__ Table<kWords> table, u32 tensors, Number factor) {
    follow();
    constexpr u32 kLen = kPackLen<T>;
    const Chunk chunk = find_chunk<1, kThreads * kMultiPacks * kLen>(table, tensors);
    T* x = chunk.operand<T>(0);
    const f32 by = factor.get();
    map_chunk<kLen>(
        chunk.count, chunk.is_aligned<16>(0, sizeof(T)),
        [=](auto len, u32 i) { return load<len.kValue, Cache::Use>(x + i); },
        [=](auto, u32 i, auto pack) {
            #pragma unroll
            for (T& lane : pack.lane) lane = from_f32<T>(__fmul_rn(to_f32(lane), by));
            store(x + i, pack);
        });
}

template <typename Y, typename X, u32 kLen> struct Pair { Pack<Y, kLen> y; Pack<X, kLen> x; };

template <typename Y, typename X, u32 kWords>
__global__ void __launch_bounds__(kThreads)
multi_axpy(const __grid_constant__ Table<kWords> table, u32 tensors, Number factor) {
    follow();
    constexpr u32 kLen = kPackLen<Y, X>;
    const Chunk chunk = find_chunk<2, kThreads * kMultiPacks * kLen>(table, tensors);
    Y* y = chunk.operand<Y>(0);
    const X* x = chunk.operand<const X>(1);
    const f32 by = factor.get();
    const bool is_aligned =
        chunk.is_aligned<kLen * sizeof(Y)>(0, sizeof(Y)) && chunk.is_aligned<kLen * sizeof(X)>(1, sizeof(X));
    map_chunk<kLen>(
        chunk.count, is_aligned,
        [=](auto len, u32 i) {
            constexpr u32 kUnit = decltype(len)::kValue;
            return Pair<Y, X, kUnit>{load<kUnit, Cache::Use>(y + i), load<kUnit, Cache::Use>(x + i)};
        },
        [=](auto len, u32 i, auto pair) {
            #pragma unroll
            for (u32 l = 0; l < decltype(len)::kValue; ++l) {
                const f32 product = __fmul_rn(to_f32(pair.x.lane[l]), by);
                pair.y.lane[l] = from_f32<Y>(__fadd_rn(to_f32(pair.y.lane[l]), product));
            }
            store(y + i, pair.y);
        });
}

template <typename From, typename To, u32 kWords>
__global__ void __launch_bounds__(kThreads)
multi_cast(const __grid_constant__ Table<kWords> table, u32 tensors, Number factor) {
    follow();
    constexpr u32 kLen = kPackLen<From, To>;
    const Chunk chunk = find_chunk<2, kThreads * kMultiPacks * kLen>(table, tensors);
    To* out = chunk.operand<To>(0);
    const From* in = chunk.operand<const From>(1);
    const f32 by = factor.get();
    const bool as_it_is = by == 1.0f;  // bits stay, those of NaN too
    const bool is_aligned = chunk.is_aligned<kLen * sizeof(To)>(0, sizeof(To)) &&
                            chunk.is_aligned<kLen * sizeof(From)>(1, sizeof(From));
    map_chunk<kLen>(
        chunk.count, is_aligned,
        [=](auto len, u32 i) { return load<len.kValue, Cache::Use>(in + i); },
        [=](auto len, u32 i, auto pack) {
            Pack<To, decltype(len)::kValue> x;
            #pragma unroll
            for (u32 l = 0; l < decltype(len)::kValue; ++l) {
                const From value = pack.lane[l];
                x.lane[l] = as_it_is ? convert<To>(value) : from_f32<To>(__fmul_rn(to_f32(value), by));
            }
            store(out + i, x);
        });
}

// Bytes, of tensors of any dtype: those up to 16 bytes of alignment and the last ones go one at a time.
template <u32 kWords>
__global__ void __launch_bounds__(kThreads) multi_zero(const __grid_constant__ Table<kWords> table, u32 tensors) {
    follow();
    const Chunk chunk = find_chunk<1, kThreads * kMultiPacks * 16>(table, tensors);
    u8* out = chunk.operand<u8>(0);
    const u32 beyond = u32(-reinterpret_cast<u64>(out) & 15);
    const u32 head = beyond < chunk.count ? beyond : chunk.count;
    const u32 packs = (chunk.count - head) / 16, tail = head + packs * 16;
    if (threadIdx.x < head) out[threadIdx.x] = 0;
    u32x4* words = reinterpret_cast<u32x4*>(out + head);
    #pragma unroll 1
    for (u32 p = threadIdx.x; p < packs; p += kThreads) st_global(words + p, u32x4{0, 0, 0, 0});
    if (threadIdx.x < chunk.count - tail) out[tail + threadIdx.x] = 0;
}

// What a block knows of squares.
struct JoinSquares {
    using Stat = Squares;
    static __device__ Squares empty() { return {0, 0, 0}; }
    static __device__ Squares join(Squares a, Squares b) { return Norm<f32>::join(a, b); }
};

template <typename T, u32 kWords>
__global__ void __launch_bounds__(kThreads)
multi_norm(const __grid_constant__ Table<kWords> table, u32 tensors, Squares* partials) {
    follow();
    constexpr u32 kLen = kPackLen<T>, kUnroll = 4;
    const Chunk chunk = find_chunk<1, kThreads * kNormPacks * kLen>(table, tensors);
    const T* in = chunk.operand<const T>(0);
    typename Norm<T>::template Run<kLen> run(0);

    const u32 packs = chunk.is_aligned<16>(0, sizeof(T)) ? chunk.count / kLen : 0;
    u32 p = threadIdx.x;
    #pragma unroll 1
    for (; p + (kUnroll - 1) * kThreads < packs; p += kUnroll * kThreads) {
        Pack<T, kLen> x[kUnroll];
        #pragma unroll
        for (u32 j = 0; j < kUnroll; ++j) x[j] = load<kLen, Cache::Skip>(in + (p + j * kThreads) * kLen);
        run.add(x, 0, 0);
    }
    #pragma unroll 1
    for (; p < packs; p += kThreads) {
        const Pack<T, kLen> x[1] = {load<kLen, Cache::Skip>(in + p * kLen)};
        run.add(x, 0, 0);
    }
    #pragma unroll 1
    for (u32 i = packs * kLen + threadIdx.x; i < chunk.count; i += kThreads) run.acc = Norm<T>::add(run.acc, in[i], 0);
    const Squares all = Block(0).join<JoinSquares>(run.joined());
    if (threadIdx.x == 0) partials[blockIdx.x] = all;
}
