// norm.cu: layer norm, RMS norm and the L2 norm over the rows of any strided operand, and of a sum of two.
//
// Launch     as softmax.cu. stay: x: any number of clusters of 2^side blocks, of kTeams * kSize threads; kBefore bytes of
//            dynamic shared memory, a share of what is beside a row, and one of a row for each team.
// Requires   as softmax.cu, of in, residual, sum and out. weight and bias: null, or an element for each of a row, side by
//            side, f32 if wide, else T; with kLen > 1 16-byte aligned. residual and sum only with kAdds. stay: packs, which
//            2^side divides.
// Aliasing   in == out, or with kAdds in == sum, with the same layout is the op in place; otherwise nothing overlaps out
//            and sum.
// Numerics   f32; what is squared and added are deviations from one of the elements that a thread has at a time, and what
//            threads have is joined by how far their means are apart, counted from the first element; one rounding on
//            store. With kAdds in + residual is rounded to T before all else. NaN or inf in, NaN out, but for what is
//            finite beside an inf in RMS and L2 norms: 0. Squares beyond f32 count as inf.
// Bound by   memory: n * 2 * sizeof(T) bytes, twice that with kAdds; where none are held, rows are read again, from L2 where
//            they fit.
#include "norm.cuh"
#include "stay.cuh"

template <typename Kind, bool kAdds, typename T, u32 kLength, typename Beyond = Affine> struct Line {
    using Op = Kind;
    static constexpr u32 kLen = kLength, kValues = kLen;
    static constexpr f32 kPad = 0.0f;
    static constexpr bool kSkips = Op::kCentered;
    static constexpr u32 kSources = 1;
    struct Raw { Pack<T, kLen> x, residual; };
    struct Beside { typename Beyond::template Raw<kLen> weight, bias; };

    const T *in, *residual;
    T *sum, *out;
    u64 in_step, residual_step, sum_step, out_step;
    Beyond weight, bias;
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
        const auto wide = to_f32(raw.x), other = to_f32(raw.residual);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            x[l] = wide.lane[l];
            if constexpr (kAdds && !kAgain) x[l] += other.lane[l];
        }
        if constexpr (kAdds && !kAgain) {
            const auto sum = to_f32(rounded<T>(x));
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) x[l] = sum.lane[l];
        }
    }

    __device__ __forceinline__ const T* source(u32) const { return in; }
    __device__ __forceinline__ T pad() const { return from_f32<T>(kPad); }

    // What is beside a unit, where there are both and they have the size of its elements.
    struct Near { u32x4 weight, bias; };
    __device__ __forceinline__ bool has_near() const { return weight.at && bias.at && !weight.wide; }
    __device__ __forceinline__ Near near(u32 unit) const {
        return {ld_global(static_cast<const u32x4*>(weight.at) + unit), ld_global(static_cast<const u32x4*>(bias.at) + unit)};
    }

    __device__ __forceinline__ void leave(u64 unit, const f32 (&x)[kLen]) const {
        if constexpr (kAdds) store(sum + along<kLen>(unit, sum_step), rounded<T>(x));
    }

    template <typename Chunk> __device__ __forceinline__ typename Op::Stat find(Chunk& chunk) const {
        return Op::find(chunk, origin());
    }

    __device__ __forceinline__ auto prescribe(typename Op::Stat total, typename Op::Stat) const {
        return Op::prescribe(total, n, eps);
    }

    __device__ __forceinline__ Beside beside(u64 unit) const {
        Beside loaded;
        weight.template start<T>(unit * kLen, loaded.weight);
        bias.template start<T>(unit * kLen, loaded.bias);
        return loaded;
    }

    template <typename Prescription>
    __device__ __forceinline__
    void finish(u64 unit, const f32 (&x)[kLen], Prescription by, const Beside* loaded) const {
        f32 y[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) y[l] = Op::value(x[l], origin(), by);
        f32 w[kLen], b[kLen];
        if (weight.at) {
            if (loaded) weight.template widen<T>(loaded->weight, w);
            else weight.template load<T>(unit * kLen, w);
        }
        if (bias.at) {
            if (loaded) bias.template widen<T>(loaded->bias, b);
            else bias.template load<T>(unit * kLen, b);
        }
        if (weight.at && bias.at) {
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) y[l] = fmaf(y[l], w[l], b[l]);
        } else if (weight.at) {
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) y[l] *= w[l];
        } else if (bias.at) {
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) y[l] += b[l];
        }
        store(out + along<kLen>(unit, out_step), rounded<T>(y));
    }

    template <typename Prescription>
    __device__ __forceinline__ void finish(u32 unit, const f32 (&x)[kLen], Prescription by, const Near& loaded) const {
        const auto w = to_f32(bits_as<Pack<T, kLen>>(loaded.weight)), b = to_f32(bits_as<Pack<T, kLen>>(loaded.bias));
        f32 y[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) y[l] = fmaf(Op::value(x[l], origin(), by), w.lane[l], b.lane[l]);
        store(out + unit * kLen, rounded<T>(y));
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

template <typename Kind, typename T, typename Cut>
__global__ void __launch_bounds__(Cut::kTeams * Cut::kSize, 1)
norm_stay(const T* in, T* out, const void* weight, const void* bias, const __grid_constant__ Rows<2> rows, f32 eps, u32 wide,
          u32 side) {
    follow();
    constexpr u32 kLen = kPackLen<T>;
    using L = Line<Kind, false, T, kLen, NearAffine>;
    const u32 share = u32(rows.units) >> side;
    const u64 before = u64(blockIdx.x & ((1 << side) - 1)) * share * kLen;
    const u32 size = wide ? sizeof(f32) : sizeof(T);
    const void* const beside[] = {weight ? static_cast<const u8*>(weight) + before * size : nullptr,
                                  bias ? static_cast<const u8*>(bias) + before * size : nullptr};
    const u32 bytes[] = {share * kLen * size, share * kLen * size};
    u32 near[2] = {};
    const auto line_of = [&](u32 row) {
        const auto place = rows.even(row);
        L line;
        line.in = in + place.of[0] + before;
        line.out = out + place.of[1] + before;
        line.in_step = line.out_step = 1;
        line.weight = {near[0], wide};
        line.bias = {near[1], wide};
        line.eps = eps;
        line.n = f32(rows.units) * kLen;
        return line;
    };
    const auto head_of = [&](u32 row) {
        if constexpr (Kind::kCentered) return in[rows.even(row).of[0]];
        else return T{};
    };
    stay<Cut, L>(u32(rows.walk.numel), share, side, beside, bytes, near, line_of, head_of);
}
