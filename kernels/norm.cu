// norm.cu: layer norm, RMS norm and the L2 norm over the rows of any strided operand, and of a sum of two.
//
// Launch     as softmax.cu.
// Requires   as softmax.cu, of in, residual, sum and out. weight and bias: null, or an element for each of a row, side by
//            side, f32 if wide, else T; with kLen > 1 16-byte aligned. residual and sum only with kAdds.
// Aliasing   in == out, or with kAdds in == sum, with the same layout is the op in place; otherwise nothing overlaps out
//            and sum.
// Numerics   f32; deviations from the mean, and the mean from the first element, are what is squared and added; one
//            rounding on store. With kAdds in + residual is rounded to T before all else. NaN or inf in, NaN out, but for
//            what is finite beside an inf in RMS and L2 norms: 0. Squares beyond f32 count as inf.
// Bound by   memory: n * 2 * sizeof(T) bytes, twice that with kAdds; where none are held, rows are read again, from L2 where
//            they fit.
#include "rows.cuh"

// The mean and the sum of squared deviations from it of so many elements, counted from the line's origin.
struct Moment { f32 count, mean, squares; };

// y = (x - origin - mean) * factor.
struct Layer {
    static constexpr bool kCentered = true;
    using Stat = Moment;
    struct Prescription { f32 mean, factor; };

    static __device__ Moment empty() { return {0.0f, 0.0f, 0.0f}; }

    // Chan, Golub and LeVeque, 1979.
    static __device__ Moment join(Moment a, Moment b) {
        const f32 count = a.count + b.count;
        const f32 share = __fdividef(b.count, fmaxf(count, 1.0f));
        const f32 apart = b.mean - a.mean;
        return {count, a.mean + apart * share, a.squares + b.squares + apart * (a.count * share) * apart};
    }

    template <typename Chunk> static __device__ __forceinline__ Moment find(const Chunk& chunk, f32 origin) {
        f32 count = 0.0f, sum = 0.0f, squares = 0.0f;
        #pragma unroll
        for (u32 j = 0; j < Chunk::kUnits; ++j) {
            if (!chunk.has(j)) continue;
            count += Chunk::kLen;
            #pragma unroll
            for (f32 x : chunk.x[j]) sum += x - origin;
        }
        const f32 mean = __fdividef(sum, fmaxf(count, 1.0f));
        #pragma unroll
        for (u32 j = 0; j < Chunk::kUnits; ++j) {
            if (!chunk.has(j)) continue;
            #pragma unroll
            for (f32 x : chunk.x[j]) {
                const f32 apart = x - origin - mean;
                squares += apart * apart;
            }
        }
        return {count, mean, squares};
    }

    static __device__ Prescription prescribe(Moment total, f32, f32 eps) {
        return {total.mean, rsqrtf(total.squares / total.count + eps)};
    }

    static __device__ f32 value(f32 x, f32 origin, Prescription by) { return (x - origin - by.mean) * by.factor; }
};

// y = x * factor, by the sum of squares.
struct Squares {
    static constexpr bool kCentered = false;
    struct Stat { f32 sum; };

    static __device__ Stat empty() { return {0.0f}; }
    static __device__ Stat join(Stat a, Stat b) { return {a.sum + b.sum}; }

    template <typename Chunk> static __device__ __forceinline__ Stat find(const Chunk& chunk, f32) {
        f32 sum = 0.0f;
        #pragma unroll
        for (u32 j = 0; j < Chunk::kUnits; ++j) {
            #pragma unroll
            for (f32 x : chunk.x[j]) sum += x * x;
        }
        return {sum};
    }

    static __device__ f32 value(f32 x, f32, f32 factor) { return x * factor; }
};

struct Rms : Squares {
    static __device__ f32 prescribe(Stat total, f32 n, f32 eps) { return rsqrtf(total.sum / n + eps); }
};

struct L2 : Squares {
    static __device__ f32 prescribe(Stat total, f32, f32 eps) {
        const f32 norm = sqrtf(total.sum);
        return 1.0f / (norm < eps ? eps : norm);  // not fmaxf: that turns NaN into eps
    }
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
        const auto lanes = bits_as<Pack<T, kPackLen<T>>>(raw.word[0]);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x[l] = kSame<T, f32> || wide ? wide_lanes.lane[l] : to_f32(lanes.lane[l]);
    }

  private:
    template <typename T, u32 kLen> __device__ __forceinline__ void read(u64 index, f32 (&x)[kLen]) const {
        constexpr u32 kPart = kLen < kPackLen<T> ? kLen : kPackLen<T>;
        using P = Pack<T, kPart>;
        const auto* words = reinterpret_cast<const Word<sizeof(P)>*>(static_cast<const T*>(at) + index);
        #pragma unroll
        for (u32 i = 0; i < kLen / kPart; ++i) {
            const P part = bits_as<P>(ld_global_constant(words + i));
            #pragma unroll
            for (u32 l = 0; l < kPart; ++l) x[i * kPart + l] = to_f32(part.lane[l]);
        }
    }
};

template <typename Kind, bool kAdds, typename T, u32 kLength> struct Line {
    using Op = Kind;
    static constexpr u32 kLen = kLength;
    static constexpr f32 kPad = 0.0f;
    struct Raw { Pack<T, kLen> x, residual; };
    struct Beside { Affine::Raw<kLen> weight, bias; };

    const T *in, *residual;
    T *sum, *out;
    u64 in_step, residual_step, sum_step, out_step;
    Affine weight, bias;
    f32 eps, n;
    T first, first_residual;  // of the row

    // What deviations are counted from: made where it is needed, so that other loads do not wait for those of its parts.
    __device__ __forceinline__ f32 origin() const {
        if constexpr (!Op::kCentered) return 0.0f;
        else if constexpr (kAdds) return to_f32(from_f32<T>(to_f32(first) + to_f32(first_residual)));
        else return to_f32(first);
    }

    template <bool kAgain> __device__ __forceinline__ Raw load(u64 unit) const {
        Raw raw;
        if constexpr (kAdds && kAgain) {
            raw.x = ::load<kLen, Cache::Use>(sum + along<kLen>(unit, sum_step));
        } else {
            raw.x = ::load<kLen, Cache::Use>(in + along<kLen>(unit, in_step));
            if constexpr (kAdds) raw.residual = ::load<kLen, Cache::Use>(residual + along<kLen>(unit, residual_step));
        }
        return raw;
    }

    template <bool kAgain> __device__ __forceinline__ void widen(const Raw& raw, f32 (&x)[kLen]) const {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            x[l] = to_f32(raw.x.lane[l]);
            if constexpr (kAdds && !kAgain) x[l] = to_f32(from_f32<T>(x[l] + to_f32(raw.residual.lane[l])));
        }
    }

    __device__ __forceinline__ void leave(u64 unit, const f32 (&x)[kLen]) const {
        if constexpr (kAdds) store(sum + along<kLen>(unit, sum_step), rounded(x));
    }

    template <typename Chunk> __device__ __forceinline__ typename Op::Stat find(const Chunk& chunk) const {
        return Op::find(chunk, origin());
    }

    __device__ __forceinline__ auto prescribe(typename Op::Stat total, typename Op::Stat) const {
        return Op::prescribe(total, n, eps);
    }

    __device__ __forceinline__ Beside beside(u64 unit) const {
        Beside loaded;
        weight.start<T>(unit * kLen, loaded.weight);
        bias.start<T>(unit * kLen, loaded.bias);
        return loaded;
    }

    template <typename Prescription>
    __device__ __forceinline__
    void finish(u64 unit, const f32 (&x)[kLen], Prescription by, const Beside* loaded) const {
        f32 y[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) y[l] = Op::value(x[l], origin(), by);
        if (weight.at) {
            f32 w[kLen];
            if (loaded) weight.widen<T>(loaded->weight, w);
            else weight.load<T>(unit * kLen, w);
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) y[l] *= w[l];
        }
        if (bias.at) {
            f32 b[kLen];
            if (loaded) bias.widen<T>(loaded->bias, b);
            else bias.load<T>(unit * kLen, b);
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) y[l] += b[l];
        }
        store(out + along<kLen>(unit, out_step), rounded(y));
    }

  private:
    static __device__ __forceinline__ Pack<T, kLen> rounded(const f32 (&x)[kLen]) {
        Pack<T, kLen> pack;
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) pack.lane[l] = from_f32<T>(x[l]);
        return pack;
    }
};

template <typename Kind, bool kAdds, typename T, typename Cut>
__global__ void __launch_bounds__(Cut::kMost, Cut::kBlocks)
norm_rows(const T* in, const T* residual, T* sum, T* out, const void* weight, const void* bias,
          const __grid_constant__ Rows<kAdds ? 4 : 2> rows, f32 eps, u32 wide, u32 side) {
    const typename Cut::Team team(side);
    const u64 row = team.index(), units = rows.units_of(row);
    const auto place = rows.at(row);
    constexpr u32 kOut = kAdds ? 3 : 1;
    Line<Kind, kAdds, T, Cut::kLen> line;
    line.in = in + place.of[0];
    line.in_step = rows.step[0];
    line.out = out + place.of[kOut];
    line.out_step = rows.step[kOut];
    if constexpr (kAdds) {
        line.residual = residual + place.of[1];
        line.residual_step = rows.step[1];
        line.sum = sum + place.of[2];
        line.sum_step = rows.step[2];
    }
    line.weight = {weight, wide};
    line.bias = {bias, wide};
    line.eps = eps;
    line.n = f32(rows.units) * Cut::kLen;
    follow();

    if constexpr (Kind::kCentered) {
        // Where rows hold it, nothing is written before every thread has read this.
        if (units > 0) line.first = line.in[0];
        if constexpr (kAdds) {
            if (units > 0) line.first_residual = line.residual[0];
            if constexpr (!Cut::kHold) __syncthreads();
        }
    }
    Cut::run(line, team, units);
}
