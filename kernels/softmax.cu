// softmax.cu: softmax and its logarithm over the rows of any strided operand.
//
// Launch     Group: x: kThreads / side rows a block of kThreads threads. Block: x: a row a block of up to kMostThreads.
//            Columns: x: side neighbouring rows a block. Static shared memory of a Stat for each warp or thread. columns:
//            x: kColumnSide packs of columns for each 2^side blocks, a cluster, of kThreads threads. find, join and
//            finish: as slabs.cuh.
// Requires   side: as in block.cuh. If the Cut holds, a row is at most kUnits units a thread. With kLen > 1 in and out are
//            contiguous along rows and 16-byte aligned at every row; mask is too, by kLen bytes, or is broadcast there.
//            Hold::Shared: scale above 0. columns: all columns in packs, 16-byte aligned in every row.
// Aliasing   in == out with the same layout is the op in place; otherwise nothing overlaps out.
// Numerics   f32; shifted by the largest, so that nothing overflows; one rounding on store. exp has 2 ulp + 2 |x - max|
//            of them, and gives 0 below 2^-126. A row with NaN or +inf is NaN; one of nothing but -inf is `nothing`.
// Bound by   memory: n * 2 * sizeof(T) bytes; where none are held, rows are read again, from L2 where they fit.
#include "slabs.cuh"
#include "softmax.cuh"
#include "stay.cuh"

// exp(x - max) / sum.
struct Plain {
    static constexpr bool kMasked = false;
    // Leaves exp(x - max) in the chunk, max being that of the chunk.
    template <typename Chunk> static __device__ __forceinline__ Peak find(Chunk& chunk) {
        const f32 max = max_of(chunk), shift = max == -kInf ? 0.0f : max;
        f32 sum = 0.0f;
        #pragma unroll
        for (u32 j = 0; j < Chunk::kUnits; ++j) {
            if (!chunk.counts(j)) continue;
            #pragma unroll
            for (f32& x : chunk.numbers(j)) sum += x = exp_of(x - shift);
        }
        return {max, sum};
    }
    // `nothing` is the result where nothing is larger than -inf.
    static __device__ f32 prescribe(Peak total, Peak own, f32 nothing) {
        return total.sum == 0.0f ? nothing : Peaks::below(own.max, total.max) / total.sum;
    }
    static __device__ f32 prescribe(Peak total, f32 nothing) { return total.sum == 0.0f ? nothing : 1.0f / total.sum; }
    static __device__ f32 again(f32 x, Peak total) { return exp_of(x - (total.max == -kInf ? 0.0f : total.max)); }
    static __device__ f32 value(f32 x, f32 factor) { return x * factor; }
};

// The same, with -inf where the mask is 0.
struct Masked : Plain {
    static constexpr bool kMasked = true;
};

// x - max - ln(sum).
struct Log {
    static constexpr bool kMasked = false;
    struct Shift { f32 max, log; };
    template <typename Chunk> static __device__ __forceinline__ Peak find(Chunk& chunk) {
        const f32 max = max_of(chunk), shift = max == -kInf ? 0.0f : max;
        f32 sum = 0.0f;
        #pragma unroll
        for (u32 j = 0; j < Chunk::kUnits; ++j) {
            if (!chunk.counts(j)) continue;
            #pragma unroll
            for (f32 x : chunk.numbers(j)) sum += exp_of(x - shift);
        }
        return {max, sum};
    }
    static __device__ Shift prescribe(Peak total, f32) { return {total.max, logf(total.sum)}; }
    static __device__ Shift prescribe(Peak total, Peak, f32 nothing) { return prescribe(total, nothing); }
    static __device__ f32 again(f32 x, Peak) { return x; }
    static __device__ f32 value(f32 x, Shift shift) { return x - shift.max - shift.log; }
};

template <typename Kind, typename T, u32 kLength> struct Line {
    using Op = Peaks;
    static constexpr u32 kLen = kLength, kValues = kLen, kIn = 0, kMask = 1, kOut = Kind::kMasked ? 2 : 1;
    static constexpr f32 kPad = -kInf;
    static constexpr u32 kSources = 1;
    struct Raw { Pack<T, kLen> x; Pack<u8, kLen> mask; };
    struct Beside {};

    const T* in;
    const u8* mask;
    T* out;
    u64 in_step, mask_step, out_step;  // mask_step: 0 where it is broadcast
    f32 scale, nothing;

    template <bool> __device__ __forceinline__ Raw load(u64 unit) const {
        Raw raw;
        raw.x = ::load<kLen, Cache::Use>(in + along<kLen>(unit, in_step));
        if constexpr (Kind::kMasked) raw.mask = load_along<kLen>(mask + unit * mask_step, mask_step == 0);
        return raw;
    }

    template <bool> __device__ __forceinline__ void widen(const Raw& raw, f32 (&x)[kLen]) const {
        const auto wide = to_f32(raw.x);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            x[l] = __fmul_rn(wide.lane[l], scale);  // rounded as max is
            if constexpr (Kind::kMasked) x[l] = raw.mask.lane[l] ? x[l] : -kInf;
        }
    }

    __device__ __forceinline__ const T* source(u32) const { return in; }
    __device__ __forceinline__ T pad() const { return from_f32<T>(kPad); }
    __device__ __forceinline__ void leave(u64, const f32 (&)[kLen]) const {}

    template <typename Chunk> __device__ __forceinline__ Peak find(Chunk& chunk) const { return Kind::find(chunk); }

    __device__ __forceinline__ auto prescribe(Peak total, Peak own) const {
        return Kind::prescribe(total, own, nothing);
    }

    __device__ __forceinline__ auto prescribe(Peak total) const { return Kind::prescribe(total, nothing); }

    template <typename Chunk> __device__ __forceinline__ void again(Chunk& chunk, Peak total) const {
        #pragma unroll
        for (u32 j = 0; j < Chunk::kUnits; ++j) {
            #pragma unroll
            for (f32& x : chunk.numbers(j)) x = Kind::again(x, total);
        }
    }

    __device__ __forceinline__ Beside beside(u64) const { return {}; }

    template <typename Prescription>
    __device__ __forceinline__ void finish(u64 unit, const f32 (&x)[kLen], Prescription by, const Beside*) const {
        f32 y[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) y[l] = Kind::value(x[l], by);
        store(out + along<kLen>(unit, out_step), rounded<T>(y));
    }
};

template <typename Kind, typename T, typename Cut>
__global__ void __launch_bounds__(Cut::kMost, Cut::kBlocks)
softmax_rows(const T* in, const u8* mask, T* out, const __grid_constant__ Rows<Kind::kMasked ? 3 : 2> rows, f32 scale,
             f32 nothing, u32 side) {
    follow();
    using L = Line<Kind, T, Cut::kLen>;
    const typename Cut::Team team(side);
    const u64 row = team.index();
    const auto place = rows.at(row);
    L line{in + place.of[L::kIn], mask, out + place.of[L::kOut], rows.step[L::kIn], 0, rows.step[L::kOut], scale, nothing};
    if constexpr (Kind::kMasked) {
        line.mask += place.of[L::kMask];
        line.mask_step = rows.step[L::kMask];
    }
    Cut::run(line, team, rows.units_of(row));
}

// Packs of columns.
template <typename Kind, typename T> struct ColumnsLine {
    using Op = Peaks;
    static constexpr u32 kLen = kPackLen<T>, kDeep = 4;
    using Raw = Pack<T, kLen>;

    const T* in;
    T* out;
    u64 in_step, out_step;
    f32 scale, nothing;

    __device__ __forceinline__ Raw load(u64 row) const { return ::load<kLen, Cache::Use>(in + row * in_step); }

    template <u32 kCount>
    __device__ __forceinline__ void find(const Raw (&raw)[kCount], Peak (&own)[kLen]) const {
        f32 x[kCount][kLen];
        #pragma unroll
        for (u32 j = 0; j < kCount; ++j) widen(raw[j], x[j]);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            f32 max = own[l].max;
            #pragma unroll
            for (u32 j = 0; j < kCount; ++j) max = fmaxf(max, x[j][l]);
            const f32 shift = max == -kInf ? 0.0f : max;
            f32 sum = exp_of(x[0][l] - shift);
            #pragma unroll
            for (u32 j = 1; j < kCount; ++j) sum += exp_of(x[j][l] - shift);
            own[l] = {max, fmaf(own[l].sum, Peaks::below(own[l].max, max), sum)};
        }
    }

    struct By { Peak total; decltype(Kind::prescribe(Peak{}, 0.0f)) rest; };
    __device__ __forceinline__ By prescribe(Peak total) const { return {total, Kind::prescribe(total, nothing)}; }

    __device__ __forceinline__ void finish(u64 row, Raw raw, const By (&by)[kLen]) const {
        f32 x[kLen];
        widen(raw, x);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x[l] = Kind::value(Kind::again(x[l], by[l].total), by[l].rest);
        store(out + row * out_step, rounded<T>(x));
    }

  private:
    __device__ __forceinline__ void widen(Raw raw, f32 (&x)[kLen]) const {
        const auto wide = to_f32(raw);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x[l] = __fmul_rn(wide.lane[l], scale);
    }
};

template <typename Kind, typename T>
__global__ void __launch_bounds__(kThreads, kColumnBlocks)
softmax_columns(const T* in, T* out, const __grid_constant__ Rows<2> rows, f32 scale, f32 nothing, u32 side) {
    follow();
    const u64 pack = u64(blockIdx.x >> side) * kColumnSide + threadIdx.x % kColumnSide;
    const auto place = rows.at(pack);
    const ColumnsLine<Kind, T> line{in + place.of[0], out + place.of[1], rows.step[0], rows.step[1], scale, nothing};
    run_columns(line, rows.units, pack < rows.walk.numel, side);
}

template <typename T>
__global__ void __launch_bounds__(kThreads, kColumnBlocks)
softmax_find(const T* in, Peak* partials, const __grid_constant__ Rows<2> rows, f32 scale) {
    follow();
    const u64 pack = u64(blockIdx.x) * kWarp + threadIdx.x % kWarp;
    const ColumnsLine<Plain, T> line{in + rows.at(pack).of[0], nullptr, rows.step[0], 0, scale, 0.0f};
    find_slice(line, rows.units, pack, rows.walk.numel, partials);
}

template <typename Kind, typename T>
__global__ void __launch_bounds__(kThreads, kColumnBlocks + 1)
softmax_finish(const T* in, T* out, const Peak* totals, const __grid_constant__ Rows<2> rows, f32 scale, f32 nothing) {
    follow();
    const u64 pack = u64(blockIdx.x) * kWarp + threadIdx.x % kWarp;
    const auto place = rows.at(pack);
    const ColumnsLine<Kind, T> line{in + place.of[0], out + place.of[1], rows.step[0], rows.step[1], scale, nothing};
    finish_slab(line, rows.units, pack, rows.walk.numel, totals);
}

// A share of a row of blocks that stay, where scale is above 0: the largest element is found before any is scaled.
template <typename Kind, typename T> struct ShareLine : Line<Kind, T, kPackLen<T>> {
    using Base = Line<Kind, T, kPackLen<T>>;
    using Raw = typename Base::Raw;
    using Element = T;

    template <bool> __device__ __forceinline__ void widen(const Raw& raw, f32 (&x)[Base::kLen]) const {
        const auto wide = to_f32(raw.x);
        #pragma unroll
        for (u32 l = 0; l < Base::kLen; ++l) x[l] = wide.lane[l];
    }

    template <typename Held> __device__ __forceinline__ Peak find(Held& held) const {
        const f32 max = scaled(held.max()), shift = max == -kInf ? 0.0f : max;
        f32 sum = 0.0f;
        #pragma unroll
        for (u32 j = 0; j < Held::kUnits; ++j) {
            if (!held.has(j)) continue;
            #pragma unroll
            for (f32 x : held.numbers(j)) sum += exp_of(scaled(x) - shift);
        }
        return {max, sum};
    }

    template <typename Chunk> __device__ __forceinline__ void again(Chunk& chunk, Peak total) const {
        #pragma unroll
        for (f32& x : chunk.numbers(0)) x = Kind::again(scaled(x), total);
    }

  private:
    __device__ __forceinline__ f32 scaled(f32 x) const { return __fmul_rn(x, this->scale); }
};

template <typename Kind, typename T, typename Cut>
__global__ void __launch_bounds__(Cut::kTeams * Cut::kSize, 1)
softmax_stay(const T* in, T* out, const __grid_constant__ Rows<2> rows, f32 scale, f32 nothing, u32 side) {
    follow();
    constexpr u32 kLen = kPackLen<T>;
    const u32 share = u32(rows.units) >> side;
    const u64 before = u64(blockIdx.x & ((1 << side) - 1)) * share * kLen;
    const auto line_of = [&](u32 row) {
        const auto place = rows.even(row);
        return ShareLine<Kind, T>{{in + place.of[0] + before, nullptr, out + place.of[1] + before, 1, 0, 1, scale, nothing}};
    };
    const void* const beside[] = {nullptr};
    const u32 bytes[] = {0};
    u32 near[1] = {};
    stay<Cut, ShareLine<Kind, T>>(u32(rows.walk.numel), share, side, beside, bytes, near, line_of, [](u32) { return 0; });
}
