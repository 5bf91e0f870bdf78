// norm.cuh: what norms find in a row, and what there is for each of its elements. Op::find looks at the first kLen numbers
// of a unit: those of x.
#pragma once
#include "rows.cuh"

// The mean and the sum of squared deviations from it of so many elements, counted from the line's origin.
struct Moment { f32 count, mean, squares; };

// y = (x - origin - mean) * factor, and shift = -mean * factor.
struct Layer {
    static constexpr bool kCentered = true, kWeighted = true;
    using Stat = Moment;
    struct Prescription { f32 mean, factor, shift; };

    static __device__ Moment empty() { return {0.0f, 0.0f, 0.0f}; }

    // Chan, Golub and LeVeque, 1979.
    static __device__ Moment join(Moment a, Moment b) {
        const f32 count = a.count + b.count;
        const f32 share = __fdividef(b.count, fmaxf(count, 1.0f));
        const f32 apart = b.mean - a.mean;
        return {count, a.mean + apart * share, a.squares + b.squares + apart * (a.count * share) * apart};
    }

    // Of a whole group at once, by deviations from what its first thread has found: with sums, where pairs would divide in
    // each step.
    static __device__ __forceinline__ Moment join_all(const Group& group, Moment own) {
        return join_all(group, own, group.sum_alike(own.count));
    }

    // The same where it is known how many elements all of them have.
    static __device__ __forceinline__ Moment join_all(const Group& group, Moment own, f32 count) {
        const f32 centre = group.first(own.mean), apart = own.mean - centre;
        f32 sum = own.count * apart, squares = fmaf(sum, apart, own.squares);
        group.sum_both(sum, squares);
        return moment(count, sum, squares, centre);
    }

    // Of the sums of so many deviations, and of their squares, from what is `apart` from the origin.
    static __device__ __forceinline__ Moment moment(f32 count, f32 sum, f32 squares, f32 apart) {
        const f32 mean = __fdividef(sum, fmaxf(count, 1.0f));
        return {count, apart + mean, fmaf(-sum, mean, squares)};
    }

    // Deviations are from one of the elements: where it is far from their mean, so is their spread.
    template <typename Chunk> static __device__ __forceinline__ Moment find(Chunk& chunk, f32 origin) {
        const f32 centre = chunk.has(0) ? chunk.numbers(0)[0] : origin;
        f32 count = 0.0f, sum = 0.0f, squares = 0.0f;
        #pragma unroll
        for (u32 j = 0; j < Chunk::kUnits; ++j) {
            if (!chunk.has(j)) continue;
            count += Chunk::kLen;
            const auto& x = chunk.numbers(j);
            #pragma unroll
            for (u32 l = 0; l < Chunk::kLen; ++l) {
                const f32 apart = x[l] - centre;
                sum += apart;
                squares += apart * apart;
            }
        }
        return moment(count, sum, squares, centre - origin);
    }

    static __device__ Prescription prescribe(Moment total, f32, f32 eps) {
        const f32 factor = rsqrtf(total.squares / total.count + eps);
        return {total.mean, factor, -total.mean * factor};
    }

    static __device__ f32 value(f32 x, f32 origin, Prescription by) { return fmaf(x - origin, by.factor, by.shift); }

    // The share that an element has in the length of its row, by which all of them are divided: for the backward.
    static __device__ f32 share(Moment, f32 n, f32) { return 1.0f / n; }
};

// y = x * factor, by the sum of squares.
struct Squares {
    static constexpr bool kCentered = false;
    struct Stat { f32 sum; };

    static __device__ Stat empty() { return {0.0f}; }
    static __device__ Stat join(Stat a, Stat b) { return {a.sum + b.sum}; }

    template <typename Chunk> static __device__ __forceinline__ Stat find(Chunk& chunk, f32) {
        f32 sum = 0.0f;
        #pragma unroll
        for (u32 j = 0; j < Chunk::kUnits; ++j) {
            if (!chunk.counts(j)) continue;
            const auto& x = chunk.numbers(j);
            #pragma unroll
            for (u32 l = 0; l < Chunk::kLen; ++l) sum += x[l] * x[l];
        }
        return {sum};
    }

    static __device__ f32 value(f32 x, f32, f32 factor) { return x * factor; }
};

struct Rms : Squares {
    static constexpr bool kWeighted = true;
    static __device__ f32 prescribe(Stat total, f32 n, f32 eps) { return rsqrtf(total.sum / n + eps); }
    static __device__ f32 share(Stat, f32 n, f32) { return 1.0f / n; }
};

struct L2 : Squares {
    static constexpr bool kWeighted = false;
    static __device__ f32 prescribe(Stat total, f32, f32 eps) {
        const f32 norm = sqrtf(total.sum);
        return 1.0f / (norm < eps ? eps : norm);  // not fmaxf: that turns NaN into eps
    }
    static __device__ f32 share(Stat total, f32, f32 eps) { return sqrtf(total.sum) < eps ? 0.0f : 1.0f; }
};

// Elements that are the same for every row, as f32.
struct Affine {
    const void* at;
    u32 wide;

    // A unit as it lies in memory, of either dtype.
    template <u32 kLen> struct Raw { u32x4 word[kLen < 4 ? 1 : kLen / 4]; };

    template <typename T, u32 kLen> __device__ __forceinline__ void load(u64 index, f32 (&x)[kLen]) const {
        if (kSame<T, f32> || wide) read<f32>(index, x);
        else read<T>(index, x);
    }

    // Loads a pack and leaves it as it is: to make f32 of it would be to wait for it.
    template <typename T, u32 kLen> __device__ __forceinline__ void start(u64 index, Raw<kLen>& raw) const {
        if (!at) return;
        const u64 bytes = index * (wide ? sizeof(f32) : sizeof(T));
        const auto* words = reinterpret_cast<const u32x4*>(static_cast<const u8*>(at) + bytes);
        raw.word[0] = ld_global(words);
        if constexpr (!kSame<T, f32>) {
            if (wide) raw.word[1] = ld_global(words + 1);
        }
    }

    template <typename T, u32 kLen> __device__ __forceinline__ void widen(const Raw<kLen>& raw, f32 (&x)[kLen]) const {
        const auto wide_lanes = bits_as<Pack<f32, sizeof(raw) / sizeof(f32)>>(raw);
        const auto lanes = to_f32(bits_as<Pack<T, kPackLen<T>>>(raw.word[0]));
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x[l] = kSame<T, f32> || wide ? wide_lanes.lane[l] : lanes.lane[l];
    }

  private:
    template <typename T, u32 kLen> __device__ __forceinline__ void read(u64 index, f32 (&x)[kLen]) const {
        constexpr u32 kPart = kLen < kPackLen<T> ? kLen : kPackLen<T>;
        using P = Pack<T, kPart>;
        const auto* words = reinterpret_cast<const Word<sizeof(P)>*>(static_cast<const T*>(at) + index);
        #pragma unroll
        for (u32 i = 0; i < kLen / kPart; ++i) {
            const P part = bits_as<P>(ld_global_constant(words + i));
            const auto of_part = to_f32(part);
            #pragma unroll
            for (u32 l = 0; l < kPart; ++l) x[i * kPart + l] = of_part.lane[l];
        }
    }
};

// The same in shared memory.
struct NearAffine {
    u32 at, wide;

    template <u32 kLen> struct Raw {};

    template <typename T, u32 kLen> __device__ __forceinline__ void load(u64 index, f32 (&x)[kLen]) const {
        if (kSame<T, f32> || wide) read<f32>(u32(index), x);
        else read<T>(u32(index), x);
    }

    template <typename T, u32 kLen> __device__ __forceinline__ void start(u64, Raw<kLen>&) const {}
    template <typename T, u32 kLen> __device__ __forceinline__ void widen(const Raw<kLen>&, f32 (&)[kLen]) const {}

  private:
    template <typename T, u32 kLen> __device__ __forceinline__ void read(u32 index, f32 (&x)[kLen]) const {
        constexpr u32 kPart = kPackLen<T>;
        #pragma unroll
        for (u32 i = 0; i < kLen / kPart; ++i) {
            const auto part = to_f32(bits_as<Pack<T, kPart>>(load_shared_16(at + index * sizeof(T) + i * 16)));
            #pragma unroll
            for (u32 l = 0; l < kPart; ++l) x[i * kPart + l] = part.lane[l];
        }
    }
};
