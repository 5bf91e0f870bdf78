// reduce_order.cu: the largest and smallest elements, their positions, and whether any or all are true; see reduce.cuh.
//
// Launch     as reduce.cuh says.
// Requires   as reduce.cuh says; of Any and All, bytes that are 0 or 1.
// Aliasing   as reduce.cuh says.
// Numerics   exact. NaN is beyond all numbers, in either direction. Max and Min take 0 as larger than -0, ArgMax and
//            ArgMin as its equal; of equals they take the first.
// Bound by   memory: n * sizeof(T) bytes.
#include "reduce.cuh"

// What elements are compared as.
template <typename T> using Value = Choose<kIsFloat<T>, f32, Choose<kSame<T, i64>, i64, u32>>;

// The value that every other one beats or equals.
template <typename T, bool kLargest> __device__ __forceinline__ Value<T> last_place() {
    if constexpr (kIsFloat<T>) return kLargest ? -__int_as_float(0x7f800000) : __int_as_float(0x7f800000);
    else if constexpr (kSame<T, i64>) return kLargest ? i64(1ull << 63) : i64(~0ull >> 1);
    else return kLargest ? 0 : ~0u;
}

template <typename T, bool kLargest> struct Extreme {
    using In = T;
    using Acc = Value<T>;
    using Out = T;
    static __device__ Acc start(u64) { return last_place<T, kLargest>(); }
    static __device__ Acc of(T x, u64) { return Acc(widen(x)); }
    static __device__ Acc add(Acc acc, T x, u64) { return join(acc, Acc(widen(x))); }
    static __device__ Acc join(Acc a, Acc b) {
        if constexpr (kIsFloat<T>) return kLargest ? max_nan(a, b) : min_nan(a, b);
        else return (a > b) == kLargest ? a : b;
    }
    static __device__ T finish(Acc acc, f32) {
        if constexpr (kIsFloat<T>) return narrow<T>(acc);
        else return T(acc);
    }
};

template <typename T> struct Max : Extreme<T, true> {};
template <typename T> struct Min : Extreme<T, false> {};

template <typename V> struct Best { V value; i64 index; };

template <typename T, bool kLargest> struct ArgExtreme {
    using In = T;
    using Acc = Best<Value<T>>;
    using Out = i64;
    static __device__ Acc start(u64 first) { return {last_place<T, kLargest>(), i64(first)}; }
    static __device__ Acc of(T x, u64 index) { return {Value<T>(widen(x)), i64(index)}; }
    static __device__ Acc add(Acc acc, T x, u64 index) {
        // Elements come in order, so equals lose. NaN compares as nothing.
        const Value<T> value = Value<T>(widen(x));
        const bool loses = kLargest ? value <= acc.value : value >= acc.value;
        return !loses && acc.value == acc.value ? Acc{value, i64(index)} : acc;
    }
    static __device__ Acc join(Acc a, Acc b) {
        const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
        const bool equal = a.value == b.value || (a_nan && b_nan);
        const bool beats = (kLargest ? b.value > a.value : b.value < a.value) || b_nan;
        return (beats && !a_nan) || (equal && b.index < a.index) ? b : a;
    }
    static __device__ Out finish(Acc acc, f32) { return acc.index; }

    // The first of the best packs: which of its lanes it is, is looked for once.
    template <u32 kLen> requires kIsHalf<T> struct Run {
        f32 value = last_place<T, kLargest>();
        using Pairs = Pack<u32, kLen / 2>;
        Pairs best = {};
        u64 first;

        __device__ __forceinline__ explicit Run(u64 first) : first(first) {}

        template <u32 kCount>
        __device__ __forceinline__ void add(const Pack<T, kLen> (&x)[kCount], u64 first_of_all, u64 apart) {
            #pragma unroll
            for (u32 j = 0; j < kCount; ++j) {
                const auto pairs = bits_as<Pairs>(x[j]);
                u32 pair = pairs.lane[0];
                #pragma unroll
                for (u32 w = 1; w < kLen / 2; ++w) pair = extreme_pair(pair, pairs.lane[w]);
                const f32 a = half_of<T>(pair, 0), b = half_of<T>(pair, 1), of_pack = kLargest ? max_nan(a, b) : min_nan(a, b);
                const bool loses = kLargest ? of_pack <= value : of_pack >= value;
                if (loses || value != value) continue;
                value = of_pack;
                best = pairs;
                first = first_of_all + j * apart;
            }
        }

        __device__ __forceinline__ Acc joined() const {
            const auto wide = to_f32(bits_as<Pack<T, kLen>>(best));
            u32 lane = 0;
            #pragma unroll
            for (u32 l = kLen; l-- > 0;) lane = wide.lane[l] == value || wide.lane[l] != wide.lane[l] ? l : lane;
            return {value, i64(first + lane)};
        }

      private:
        // NaN if either is.
        static __device__ __forceinline__ u32 extreme_pair(u32 a, u32 b) {
            if constexpr (kSame<T, f16>) return kLargest ? max_nan_f16x2(a, b) : min_nan_f16x2(a, b);
            else return kLargest ? max_nan_bf16x2(a, b) : min_nan_bf16x2(a, b);
        }
    };
};

template <typename T> struct ArgMax : ArgExtreme<T, true> {};
template <typename T> struct ArgMin : ArgExtreme<T, false> {};

template <typename T, bool kAll> struct Truth {
    using In = T;
    using Acc = u32;
    using Out = T;
    static __device__ Acc start(u64) { return kAll; }
    static __device__ Acc of(T x, u64) { return x; }
    static __device__ Acc join(Acc a, Acc b) { return kAll ? a & b : a | b; }
    static __device__ T finish(Acc acc, f32) { return T(acc); }

    // Bytes meet four in a word, before each goes to its chain.
    template <u32 kLen, u32 kCount>
    static __device__ __forceinline__ void add_all(Acc (&acc)[kLen], const Pack<T, kLen> (&x)[kCount]) {
        constexpr u32 kOfWord = kLen % 4 == 0 ? 4 : 1;
        using W = Word<sizeof(T) * kOfWord>;
        using Words = Pack<W, kLen / kOfWord>;
        Words all = bits_as<Words>(x[0]);
        #pragma unroll
        for (u32 j = 1; j < kCount; ++j) {
            const Words words = bits_as<Words>(x[j]);
            #pragma unroll
            for (u32 w = 0; w < kLen / kOfWord; ++w) all.lane[w] = W(join(all.lane[w], words.lane[w]));
        }
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) acc[l] = join(acc[l], u8(all.lane[l / kOfWord] >> l % kOfWord * 8));
    }
};

template <typename T> struct Any : Truth<T, false> {};
template <typename T> struct All : Truth<T, true> {};
