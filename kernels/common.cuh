// common.cuh: packs of elements, walks over strided operands, and the two loops of all elementwise kernels.
#pragma once
#include "convert.cuh"
#include "facts.cuh"  // made from src/args.rs: kThreads, kPackSteps, kElementSteps, kMaxRank

// Elements that are loaded and stored at once.
template <typename T, u32 kLen> struct alignas(sizeof(T) * kLen) Pack { T lane[kLen]; };

// The number of elements of the widest type that fill 16 bytes.
template <typename A, typename B = A> constexpr u32 kPackLen = 16 / (sizeof(A) > sizeof(B) ? sizeof(A) : sizeof(B));

// A compile-time length as an argument, for lambdas.
template <u32 kLen> struct Len { static constexpr u32 kValue = kLen; };

// The elements of a pack as f32.
template <u32 kLen, typename T> __device__ __forceinline__ Pack<f32, kLen> to_f32(const Pack<T, kLen>& pack) {
    Pack<f32, kLen> x;
    if constexpr (kIsHalf<T> && kLen % 2 == 0) {
        const auto pairs = bits_as<Pack<u32, kLen / 2>>(pack);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x.lane[l] = half_of<T>(pairs.lane[l / 2], l % 2);
    } else {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x.lane[l] = to_f32(pack.lane[l]);
    }
    return x;
}

// Rounded to a pack, 16-bit elements in pairs.
template <typename T, u32 kLen> __device__ __forceinline__ Pack<T, kLen> rounded(const f32 (&x)[kLen]) {
    if constexpr (kIsHalf<T> && kLen % 2 == 0) {
        Pack<u32, kLen / 2> pairs;
        #pragma unroll
        for (u32 l = 0; l < kLen; l += 2) pairs.lane[l / 2] = pack_pair<T>(x[l], x[l + 1]);
        return bits_as<Pack<T, kLen>>(pairs);
    } else {
        Pack<T, kLen> pack;
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) pack.lane[l] = from_f32<T>(x[l]);
        return pack;
    }
}

// The largest of each lane, 16-bit elements in pairs; of a number and NaN the number.
template <u32 kLen, u32 kCount, typename T>
__device__ __forceinline__ Pack<f32, kLen> largest_of(const Pack<T, kLen> (&x)[kCount]) {
    if constexpr (kIsHalf<T> && kLen % 2 == 0) {
        using Pairs = Pack<u32, kLen / 2>;
        auto most = bits_as<Pairs>(x[0]);
        #pragma unroll
        for (u32 j = 1; j < kCount; ++j) {
            #pragma unroll
            for (u32 w = 0; w < kLen / 2; ++w) most.lane[w] = max_pair<T>(most.lane[w], bits_as<Pairs>(x[j]).lane[w]);
        }
        return to_f32(bits_as<Pack<T, kLen>>(most));
    } else {
        auto most = to_f32(x[0]);
        #pragma unroll
        for (u32 j = 1; j < kCount; ++j) {
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) most.lane[l] = fmaxf(most.lane[l], to_f32(x[j].lane[l]));
        }
        return most;
    }
}

// Whether a load leaves no trace in L1 and asks for whole lines of 256 bytes. That pays where a kernel only reads; beside
// stores it costs (see map_packed).
enum class Cache { Skip, Use };

template <u32 kLen, Cache kCache, typename T> __device__ __forceinline__ Pack<T, kLen> load(const T* at) {
    using W = Word<sizeof(Pack<T, kLen>)>;
    const W* word = reinterpret_cast<const W*>(at);
    if constexpr (sizeof(W) < 8) return bits_as<Pack<T, kLen>>(*word);
    else if constexpr (kCache == Cache::Skip) return bits_as<Pack<T, kLen>>(ld_global_once(word));
    else return bits_as<Pack<T, kLen>>(ld_global(word));
}

template <u32 kLen, typename T> __device__ __forceinline__ void store(T* at, Pack<T, kLen> x) {
    using W = Word<sizeof(x)>;
    W* word = reinterpret_cast<W*>(at);
    if constexpr (sizeof(W) < 8) *word = bits_as<W>(x);
    else st_global(word, bits_as<W>(x));
}

// The parameters of an elementwise op. The twin of Params in src/args.rs.
struct Params { f64 value[2]; };

// Positions of one element in kOperands storages, counted from their first elements.
template <u32 kOperands> struct Place { u64 of[kOperands]; };

// How operands of one shape are walked together, in units of an element or of a pack along the inner axis.
// The twin of Walk in src/args.rs. Axis 0 is the innermost.
template <u32 kOperands> struct Walk {
    u64 numel;
    u32 rank;
    u32 bits;  // of the indices that magic is for: 32 or 64
    u64 dim[kMaxRank];
    u64 magic[kMaxRank];  // i / dim == (mulhi(i, magic) + i) >> shift
    u32 shift[kMaxRank];
    u64 stride[kOperands][kMaxRank];

    // The places of units i[0..kCount], taken together so that the facts of an axis are read once. For bits == 32.
    template <u32 kCount> __device__ __forceinline__ void at(u32 (&i)[kCount], Place<kOperands> (&place)[kCount]) const {
        #pragma unroll
        for (auto& p : place) p = {};
        if (rank == 2) {  // the most common, with a third of the instructions
            #pragma unroll
            for (u32 j = 0; j < kCount; ++j) {
                const u32 quotient = (__umulhi(i[j], u32(magic[0])) + i[j]) >> shift[0];
                step(place[j], 0, i[j] - quotient * u32(dim[0]));
                step(place[j], 1, quotient);
            }
            return;
        }
        u32 axis = 0;
        #pragma unroll 1
        for (; axis + 1 < rank; ++axis) {
            #pragma unroll
            for (u32 j = 0; j < kCount; ++j) {
                const u32 quotient = (__umulhi(i[j], u32(magic[axis])) + i[j]) >> shift[axis];
                step(place[j], axis, i[j] - quotient * u32(dim[axis]));
                i[j] = quotient;
            }
        }
        #pragma unroll
        for (u32 j = 0; j < kCount; ++j) step(place[j], axis, i[j]);  // the outermost takes what is left
    }

    // The same for bits == 64.
    template <u32 kCount> __device__ __forceinline__ void at(u64 (&i)[kCount], Place<kOperands> (&place)[kCount]) const {
        #pragma unroll
        for (auto& p : place) p = {};
        u32 axis = 0;
        #pragma unroll 1
        for (; axis + 1 < rank; ++axis) {
            #pragma unroll
            for (u32 j = 0; j < kCount; ++j) {
                const u64 quotient = (__umul64hi(i[j], magic[axis]) + i[j]) >> shift[axis];
                step(place[j], axis, i[j] - quotient * dim[axis]);
                i[j] = quotient;
            }
        }
        #pragma unroll
        for (u32 j = 0; j < kCount; ++j) step(place[j], axis, i[j]);
    }

    // Whether an operand is broadcast along the inner axis.
    __device__ __forceinline__ bool repeats(u32 operand) const { return stride[operand][0] == 0; }

  private:
    __device__ __forceinline__ void step(Place<kOperands>& place, u32 axis, u64 count) const {
        #pragma unroll
        for (u32 k = 0; k < kOperands; ++k) place.of[k] += count * stride[k][axis];
    }
};

// A pack of an operand along the inner axis of a walk, or its one element there, repeated.
template <u32 kLen, typename T> __device__ __forceinline__ Pack<T, kLen> load_along(const T* at, bool repeats) {
    // What is chosen between are words: of elements the compiler of 12.9 lost one where the choice was under a condition.
    using W = Word<sizeof(Pack<T, kLen>)>;
    W word;
    if (kLen == 1 || !repeats) {
        word = bits_as<W>(load<kLen, Cache::Use>(at));
    } else {
        Pack<T, kLen> x;
        const T one = *at;
        #pragma unroll
        for (T& lane : x.lane) lane = one;
        word = bits_as<W>(x);
    }
    return bits_as<Pack<T, kLen>>(word);
}

// Over n elements that lie in the same order in all operands: read(Len, i) loads those from element i on, and
// write(Len, i, x) stores what becomes of them.
//
// A thread takes kPacks packs, of which all are loaded first; where there are no more, elements that are left. The grid has
// room for all packs and all of those elements. On an H200 ReLU over 2^28 f16 moves 4,243 GB/s with one pack a thread, 4,008
// with two, 3,963 with four, where a device copy moves 4,219; hints to the caches only cost (3,850 with four and
// `L1::no_allocate.L2::256B`).
template <u32 kLen, u32 kPacks = 1, typename Read, typename Write>
__device__ __forceinline__ void map_packed(u64 n, Read read, Write write) {
    constexpr Len<kLen> kWhole;
    constexpr Len<1> kSingle;
    const u64 packs = n / kLen, begin = u64(blockIdx.x) * (kThreads * kPacks), first = begin + threadIdx.x;
    // Of several packs the same for all of a block, which takes registers less.
    if (kPacks == 1 ? first < packs : begin + kThreads * kPacks <= packs) {
        decltype(read(kWhole, 0)) x[kPacks];
        #pragma unroll
        for (u32 j = 0; j < kPacks; ++j) x[j] = read(kWhole, (first + j * kThreads) * kLen);
        #pragma unroll
        for (u32 j = 0; j < kPacks; ++j) write(kWhole, (first + j * kThreads) * kLen, x[j]);
        return;
    }

    #pragma unroll 1
    for (u64 p = first; p < begin + kPacks * kThreads; p += kThreads) {
        if (kPacks > 1 && p < packs) {
            write(kWhole, p * kLen, read(kWhole, p * kLen));
        } else if (p - packs < n % kLen) {
            const u64 left = packs * kLen + (p - packs);
            write(kSingle, left, read(kSingle, left));
        }
    }
}

// Over the units of a walk, at most 2^31 - 1 of kLen elements each: read and write as above, with places instead of i.
// A block takes kThreads * kPackSteps units, or kThreads * kElementSteps if they are single elements.
template <u32 kLen, u32 kOperands, typename Read, typename Write>
__device__ __forceinline__ void map_walk(const Walk<kOperands>& walk, Read read, Write write) {
    constexpr u32 kSteps = kLen > 1 ? kPackSteps : kElementSteps;
    const u32 n = u32(walk.numel);
    const u32 begin = blockIdx.x * (kThreads * kSteps);
    const u32 first = begin + threadIdx.x;

    if (n - begin >= kThreads * kSteps) {
        u32 i[kSteps];
        Place<kOperands> place[kSteps];
        decltype(read(place[0])) x[kSteps];
        #pragma unroll
        for (u32 j = 0; j < kSteps; ++j) i[j] = first + j * kThreads;
        walk.at(i, place);
        #pragma unroll
        for (u32 j = 0; j < kSteps; ++j) x[j] = read(place[j]);
        #pragma unroll
        for (u32 j = 0; j < kSteps; ++j) write(place[j], x[j]);
        return;
    }

    #pragma unroll 1
    for (u32 i = first; i < n; i += kThreads) {
        u32 unit[1] = {i};
        Place<kOperands> place[1];
        walk.at(unit, place);
        write(place[0], read(place[0]));
    }
}
