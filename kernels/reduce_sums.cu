// reduce_sums.cu: sums, products, means, norms, variances and logarithms of sums of exponentials; see reduce.cuh.
//
// Launch     as reduce.cuh says.
// Requires   as reduce.cuh says.
// Aliasing   as reduce.cuh says.
// Numerics   floats accumulate in f32, integers in i64, which wraps. NaN in, NaN out.
// Bound by   memory: n * sizeof(T) bytes.
#include "reduce.cuh"
#include "squares.cuh"

constexpr f32 kInfinity = __builtin_bit_cast(f32, 0x7f800000u);

template <typename T> struct Sum {
    using In = T;
    using Acc = Choose<kIsFloat<T>, f32, i64>;
    using Out = Choose<kIsFloat<T>, T, i64>;
    static __device__ Acc start(u64) { return 0; }
    static __device__ Acc of(T x, u64) { return Acc(widen(x)); }
    static __device__ Acc add(Acc acc, T x, u64) { return join(acc, Acc(widen(x))); }
    static __device__ Acc join(Acc a, Acc b) {
        if constexpr (kIsFloat<T>) return a + b;
        else return i64(u64(a) + u64(b));
    }
    static __device__ Out finish(Acc acc, f32) { return narrow<Out>(acc); }
};

template <typename T> struct Mean : Sum<T> {
    static __device__ T finish(f32 acc, f32 divisor) { return narrow<T>(__fdiv_rn(acc, divisor)); }
};

template <typename T> struct MeanSquare : Mean<T> {
    static __device__ f32 of(T x, u64 i) { return add(0.0f, x, i); }
    static __device__ f32 add(f32 acc, T x, u64) { return fmaf(widen(x), widen(x), acc); }
};

template <typename T> struct Prod : Sum<T> {
    using Acc = typename Sum<T>::Acc;
    static __device__ Acc start(u64) { return 1; }
    static __device__ Acc add(Acc acc, T x, u64) { return join(acc, Acc(widen(x))); }
    static __device__ Acc join(Acc a, Acc b) {
        if constexpr (kIsFloat<T>) return a * b;
        else return i64(u64(a) * u64(b));
    }
};

// The mean and the mean square of distances from it, of n numbers less shift, which is the first of them: so that a mean
// far from 0 costs no precision.
struct Moments { f32 shift, mean, square, n; };

// Chan, Golub and LeVeque, Algorithms for computing the sample variance, 1983; of means instead of sums, which
// overflow later.
template <typename T> struct Var {
    using In = T;
    using Acc = Moments;
    using Out = T;
    static __device__ Acc start(u64) { return {0, 0, 0, 0}; }
    static __device__ Acc of(T x, u64) { return {widen(x), 0, 0, 1}; }

    // With later elements, after `before` of them.
    template <u32 kCount> static __device__ __forceinline__ Acc with(Acc acc, f32 before, f32 (&x)[kCount]) {
        const f32 n = before + kCount, weight = __fdividef(kCount, n), rest = 1 - weight;
        const f32 shift = before == 0 ? x[0] : acc.shift;
        f32 mean = 0, square = 0;
        #pragma unroll
        for (f32& part : x) mean += part -= shift;
        mean *= 1.0f / kCount;
        #pragma unroll
        for (f32 part : x) square = fmaf(part - mean, part - mean, square);
        const f32 apart = mean - acc.mean, moved = apart * weight;
        square = fmaf(square, weight * (1.0f / kCount), moved * (apart * rest));
        return {shift, acc.mean + moved, fmaf(acc.square, rest, square), n};
    }

    // Every chain has taken as many elements as the others, so that their weights are computed once.
    template <u32 kLen, u32 kCount>
    static __device__ __forceinline__ void add_all(Acc (&acc)[kLen], const Pack<T, kLen> (&x)[kCount]) {
        const f32 before = acc[0].n;
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            f32 wide[kCount];
            #pragma unroll
            for (u32 j = 0; j < kCount; ++j) wide[j] = widen(x[j].lane[l]);
            acc[l] = with(acc[l], before, wide);
        }
    }

    template <u32 kLen> struct Run {
        Acc acc;
        __device__ __forceinline__ explicit Run(u64) : acc(start(0)) {}
        template <u32 kCount> __device__ __forceinline__ void add(const Pack<T, kLen> (&x)[kCount], u64, u64) {
            f32 wide[kCount * kLen];
            #pragma unroll
            for (u32 i = 0; i < kCount * kLen; ++i) wide[i] = widen(x[i / kLen].lane[i % kLen]);
            acc = with(acc, acc.n, wide);
        }
        __device__ __forceinline__ Acc joined() const { return acc; }
    };

    static __device__ Acc join(Acc a, Acc b) {
        if (a.n == 0 || b.n == 0) return a.n == 0 ? b : a;
        const f32 n = a.n + b.n, weight = __fdividef(b.n, n), rest = 1 - weight;
        const f32 apart = (b.shift - a.shift) + (b.mean - a.mean), moved = apart * weight;
        const f32 square = fmaf(a.square, rest, fmaf(b.square, weight, moved * (apart * rest)));
        return {a.shift, a.mean + moved, square, n};
    }
    static __device__ T finish(Acc acc, f32 divisor) { return narrow<T>(__fdiv_rn(acc.square, divisor)); }
};

template <typename T> struct Std : Var<T> {
    static __device__ T finish(Moments acc, f32 divisor) {
        return narrow<T>(__fsqrt_rn(__fdiv_rn(acc.square, divisor)));
    }
};

// The largest of some numbers, and the sum of exp(x - largest). NaN is in the sum.
struct Exponentials { f32 largest, sum; };

// Milakov and Gimelshein, Online normalizer calculation for softmax, 2018.
template <typename T> struct LogSumExp {
    using In = T;
    using Acc = Exponentials;
    using Out = T;
    static __device__ Acc start(u64) { return {-kInfinity, 0}; }
    static __device__ Acc of(T x, u64) { return {widen(x), exp_of(widen(x) - base(widen(x)))}; }

    template <u32 kLen, u32 kCount>
    static __device__ __forceinline__ void add_all(Acc (&acc)[kLen], const Pack<T, kLen> (&x)[kCount]) {
        const auto most = largest_of(x);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            const f32 largest = fmaxf(acc[l].largest, most.lane[l]);
            f32 sum = acc[l].sum * scale(acc[l].largest, largest);
            #pragma unroll
            for (u32 j = 0; j < kCount; ++j) sum += exp_of(widen(x[j].lane[l]) - base(largest));
            acc[l] = {largest, sum};
        }
    }

    template <u32 kLen> struct Run {
        Acc acc;
        __device__ __forceinline__ explicit Run(u64) : acc(start(0)) {}
        template <u32 kCount> __device__ __forceinline__ void add(const Pack<T, kLen> (&x)[kCount], u64, u64) {
            const auto most = largest_of(x);
            f32 all = acc.largest;
            #pragma unroll
            for (f32 lane : most.lane) all = fmaxf(all, lane);
            f32 sum[kLen] = {};
            #pragma unroll
            for (u32 i = 0; i < kCount * kLen; ++i) sum[i % kLen] += exp_of(widen(x[i / kLen].lane[i % kLen]) - base(all));
            #pragma unroll
            for (u32 l = 1; l < kLen; ++l) sum[0] += sum[l];
            acc = {all, fmaf(acc.sum, scale(acc.largest, all), sum[0])};
        }
        __device__ __forceinline__ Acc joined() const { return acc; }
    };

    static __device__ Acc join(Acc a, Acc b) {
        const f32 largest = fmaxf(a.largest, b.largest);
        return {largest, a.sum * scale(a.largest, largest) + b.sum * scale(b.largest, largest)};
    }
    static __device__ T finish(Acc acc, f32) { return narrow<T>(base(acc.largest) + logf(acc.sum)); }

  private:
    // What exponents are counted from: infinity has no distance from itself.
    static __device__ f32 base(f32 largest) { return fabsf(largest) == kInfinity ? 0.0f : largest; }
    static __device__ f32 scale(f32 from, f32 to) { return from == to ? 1.0f : exp_of(from - to); }
    // e^x for x <= 0.
    static __device__ f32 exp_of(f32 x) { return ex2_approx_ftz(x * 1.44269504f); }
};
