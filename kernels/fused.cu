// fused.cu: out = residual + dropout(activation(in + bias)), each part optional; kDrops says whether there is dropout.
//
// Launch     as unary.cu, with units of kLen = 8 elements for every T: a block of Philox. packed: kFusedPacks units a thread
//            where elements of 16 bits are dropped.
// Requires   as unary.cu, with units in words of at most 16 bytes; the first element of each unit of 8 has a number that
//            8 divides. packed: bias goes along as its walk of 32 bits says, in units, or is dense if that is of none.
//            walk: operand 3 is no memory: its place, on top of `first`, is the row-major number of an element,
//            which with kLen > 1 grows by 1 along the inner axis; bias and residual may be broadcast.
// Aliasing   in == out or residual == out with the same layout is the op in place; a partial overlap is undefined.
// Numerics   f32, each step rounded, rounded once more on store. Element e is kept if half-word e % 8 of block e / 8 of
//            Philox under the seed (the low half of each word first) is not below the threshold, and then multiplied by
//            scale; else it is 0, whatever it was, and the residual stays as it is. So the same elements are kept on every
//            device and in every view.
// Bound by   memory: n * sizeof(T) bytes for each of in, residual and out; dropout of f32 by arithmetic nearly as much.
#include "activation.cuh"
#include "philox.cuh"

// The twin of Parts in src/args.rs.
struct Parts {
    const void* bias;       // the dtype of in, or null
    const void* residual;   // the dtype of in, or null
    u32 threshold;          // of 2^16 half-words so many drop their element; 0 without kDrops only
    f32 scale;              // of what is kept
    u32 activation;         // Activation::code in Rust
    f32 slope;              // of leaky relu
    u32 keys[2 * kRounds];  // of the rounds of Philox: made here they would take registers or instructions
};

// Neighbours, in words of at most 16 bytes.
template <u32 kLen, typename T> __device__ __forceinline__ Pack<T, kLen> load_unit(const T* at, bool repeats) {
    constexpr u32 kWord = kLen * sizeof(T) < 16 ? kLen : 16 / sizeof(T);
    Pack<T, kLen> x;
    #pragma unroll
    for (u32 i = 0; i < kLen; i += kWord) {
        const Pack<T, kWord> word = load_along<kWord>(repeats ? at : at + i, repeats);
        #pragma unroll
        for (u32 j = 0; j < kWord; ++j) x.lane[i + j] = word.lane[j];
    }
    return x;
}

template <u32 kLen, typename T> __device__ __forceinline__ void store_unit(T* at, const f32 (&x)[kLen]) {
    constexpr u32 kWord = kLen * sizeof(T) < 16 ? kLen : 16 / sizeof(T);
    #pragma unroll
    for (u32 i = 0; i < kLen; i += kWord) {
        Pack<T, kWord> word;
        #pragma unroll
        for (u32 j = 0; j < kWord; ++j) word.lane[j] = from_f32<T>(x[i + j]);
        store(at + i, word);
    }
}

template <typename T, u32 kLen> struct Unit { Pack<T, kLen> in, bias, residual; };

// Half-word i of a block. No array is indexed by what is known at run time only: that would be a stack frame.
__device__ __forceinline__ u32 half_word(Words w, u32 i) {
    const u32 low = i & 2 ? w.x[1] : w.x[0];
    const u32 high = i & 2 ? w.x[3] : w.x[2];
    const u32 word = i & 4 ? high : low;
    return i & 1 ? word >> 16 : word & 0xffff;
}

template <u32 kLen, typename T> __device__ __forceinline__ void add(f32 (&x)[kLen], const Pack<T, kLen>& pack) {
    const auto other = to_f32(pack);
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) x[l] = __fadd_rn(x[l], other.lane[l]);
}

template <bool kDrops, typename T, u32 kLen>
__device__ __forceinline__ void finish(const Parts& parts, const Unit<T, kLen>& unit, u64 number, T* out) {
    Words words;
    if constexpr (kDrops) {
        words = philox_by([&](u32 i) { return parts.keys[i]; }, number / 8);
        // Here, while what is read is on its way, and not where they are used.
        #pragma unroll
        for (u32& word : words.x) asm volatile("" : "+r"(word));
    }
    const auto in = to_f32(unit.in);
    f32 x[kLen];
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) x[l] = in.lane[l];
    if (parts.bias) add(x, unit.bias);
    activate<T>(x, parts.activation, parts.slope);
    if constexpr (!kDrops) {
        if (parts.residual) add(x, unit.residual);
    } else {
        // A half-word is kept above `last`: a word of it, with whatever below, above `most`.
        const u32 last = parts.threshold - 1, most = last << 16 | 0xffff;
        const auto keeps = [&](u32 l) {
            if constexpr (kLen == 8) return (l % 2 ? words.x[l / 2] : words.x[l / 2] << 16) > most;
            else return half_word(words, u32(number % 8)) > last;
        };
        #pragma unroll
        for (f32& y : x) {
            y = __fmul_rn(y, parts.scale);
            asm volatile("" : "+f"(y));  // else it is done under a condition, and scale loaded each time
        }
        if (parts.residual) {
            const auto residual = to_f32(unit.residual);
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) x[l] = add_if(keeps(l), x[l], residual.lane[l]);
        } else {
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) x[l] = keeps(l) ? x[l] : 0.0f;
        }
    }
    store_unit(out, x);
}

template <typename T, u32 kLen, bool kDrops>
__global__ void __launch_bounds__(kThreads)
fused_packed(const T* in, T* out, u64 n, const __grid_constant__ Walk<1> walk, const __grid_constant__ Parts parts) {
    follow();
    const T* bias = static_cast<const T*>(parts.bias);
    const T* residual = static_cast<const T*>(parts.residual);
    map_packed<kLen, kDrops && kIsHalf<T> ? kFusedPacks : 1>(
        n,
        [&](auto len, u64 i) {
            constexpr u32 kUnit = decltype(len)::kValue;
            Unit<T, kUnit> unit;
            unit.in = load_unit<kUnit>(in + i, false);
            if (residual) unit.residual = load_unit<kUnit>(residual + i, false);
            if (bias && (kUnit < kLen || walk.numel == 0)) {
                unit.bias = load_unit<kUnit>(bias + i, false);
            } else if (bias) {
                u32 index[1] = {u32(i / kLen)};
                Place<1> place[1];
                walk.at(index, place);
                unit.bias = load_unit<kUnit>(bias + place[0].of[0], walk.repeats(0));
            }
            return unit;
        },
        [&](auto, u64 i, auto unit) { finish<kDrops>(parts, unit, i, out + i); });
}

template <typename T, u32 kLen, bool kDrops>
__global__ void __launch_bounds__(kThreads)
fused_walk(const T* in, T* out, const __grid_constant__ Walk<5> walk, u64 first, const __grid_constant__ Parts parts) {
    follow();
    const T* bias = static_cast<const T*>(parts.bias);
    const T* residual = static_cast<const T*>(parts.residual);
    map_walk<kLen>(
        walk,
        [&](Place<5> at) {
            Unit<T, kLen> unit;
            unit.in = load_unit<kLen>(in + at.of[0], walk.repeats(0));
            if (bias) unit.bias = load_unit<kLen>(bias + at.of[1], walk.repeats(1));
            if (residual) unit.residual = load_unit<kLen>(residual + at.of[2], walk.repeats(2));
            return unit;
        },
        [&](Place<5> at, Unit<T, kLen> unit) { finish<kDrops>(parts, unit, first + at.of[3], out + at.of[4]); });
}
