// softmax_backward.cu: backward of softmax and of its logarithm, over rows: from the gradient of the output and the output.
//
// Launch     as softmax.cu. stay: as norm.cu. find, join and finish: as slabs.cuh.
// Requires   as softmax.cu, of grad, output and out. stay: as norm.cu.
// Aliasing   grad == out or output == out with the same layout is the op in place; otherwise nothing overlaps out.
// Numerics   f32; one rounding on store. Plain: where the output is 0, so is the result, and the gradient plays no part;
//            NaN elsewhere in a row makes all else of it NaN. Log: e^output as in softmax.cu.
// Bound by   memory: n * 3 * sizeof(T) bytes; where none are held, rows are read again, from L2 where they fit.
#include "slabs.cuh"
#include "softmax.cuh"
#include "stay.cuh"

struct Sum { f32 sum; };

struct Sums {
    using Stat = Sum;
    static __device__ Sum empty() { return {0.0f}; }
    static __device__ Sum join(Sum a, Sum b) { return {a.sum + b.sum}; }
};

// y (grad - sum of grad y) scale.
struct Plain {
    static __device__ f32 term(f32 y, f32 grad) { return y == 0.0f ? 0.0f : grad * y; }
    static __device__ f32 value(f32 y, f32 grad, f32 sum, f32 scale) {
        return y == 0.0f ? 0.0f : y * (grad - sum) * scale;
    }
};

// grad - e^y sum of grad.
struct Log {
    static __device__ f32 term(f32, f32 grad) { return grad; }
    static __device__ f32 value(f32 y, f32 grad, f32 sum, f32) { return grad - exp_of(y) * sum; }
};

template <typename Kind, typename T, u32 kLength> struct Line {
    using Op = Sums;
    static constexpr u32 kLen = kLength, kValues = 2 * kLen;
    static constexpr f32 kPad = 0.0f;
    static constexpr u32 kSources = 2;
    struct Raw { Pack<T, kLen> x, grad; };  // x: the output
    struct Beside {};

    const T *grad, *output;
    T* out;
    u64 grad_step, output_step, out_step;
    f32 scale;

    template <bool> __device__ __forceinline__ Raw load(u64 unit) const {
        return {::load<kLen, Cache::Use>(output + along<kLen>(unit, output_step)),
                ::load<kLen, Cache::Use>(grad + along<kLen>(unit, grad_step))};
    }

    template <bool> __device__ __forceinline__ void widen(const Raw& raw, f32 (&x)[kValues]) const {
        const auto y = to_f32(raw.x), grad = to_f32(raw.grad);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            x[l] = y.lane[l];
            x[kLen + l] = grad.lane[l];
        }
    }

    __device__ __forceinline__ const T* source(u32 which) const { return which == 0 ? output : grad; }
    __device__ __forceinline__ T pad() const { return from_f32<T>(kPad); }
    __device__ __forceinline__ void leave(u64, const f32 (&)[kValues]) const {}

    template <typename Chunk> __device__ __forceinline__ Sum find(Chunk& chunk) const {
        f32 sum = 0.0f;
        #pragma unroll
        for (u32 j = 0; j < Chunk::kUnits; ++j) {
            if (!chunk.counts(j)) continue;
            const auto& x = chunk.numbers(j);
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) sum += Kind::term(x[l], x[kLen + l]);
        }
        return {sum};
    }

    __device__ __forceinline__ Sum prescribe(Sum total, Sum) const { return total; }

    __device__ __forceinline__ Beside beside(u64) const { return {}; }

    __device__ __forceinline__ void finish(u64 unit, const f32 (&x)[kValues], Sum total, const Beside*) const {
        f32 y[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) y[l] = Kind::value(x[l], x[kLen + l], total.sum, scale);
        store(out + along<kLen>(unit, out_step), rounded<T>(y));
    }
};

template <typename Kind, typename T, typename Cut>
__global__ void __launch_bounds__(Cut::kMost, Cut::kBlocks)
softmax_backward_rows(const T* grad, const T* output, T* out, const __grid_constant__ Rows<3> rows, f32 scale, u32 side) {
    follow();
    const typename Cut::Team team(side);
    const u64 row = team.index();
    const auto place = rows.at(row);
    const Line<Kind, T, Cut::kLen> line{grad + place.of[0], output + place.of[1], out + place.of[2],
                                        rows.step[0],       rows.step[1],         rows.step[2],
                                        scale};
    Cut::run(line, team, rows.units_of(row));
}

template <typename Kind, typename T, typename Cut>
__global__ void __launch_bounds__(Cut::kTeams * Cut::kSize, 1)
softmax_backward_stay(const T* grad, const T* output, T* out, const __grid_constant__ Rows<3> rows, f32 scale, u32 side) {
    follow();
    constexpr u32 kLen = kPackLen<T>;
    const u32 share = u32(rows.units) >> side;
    const u64 before = u64(blockIdx.x & ((1 << side) - 1)) * share * kLen;
    const auto line_of = [&](u32 row) {
        const auto place = rows.even(row);
        return Line<Kind, T, kLen>{grad + place.of[0] + before, output + place.of[1] + before, out + place.of[2] + before,
                                   1, 1, 1, scale};
    };
    const void* const beside[] = {nullptr};
    const u32 bytes[] = {0};
    u32 near[1] = {};
    stay<Cut, Line<Kind, T, kLen>>(u32(rows.walk.numel), share, side, beside, bytes, near, line_of, [](u32) { return 0; });
}

// Packs of columns.
template <typename Kind, typename T> struct ColumnsLine {
    using Op = Sums;
    static constexpr u32 kLen = kPackLen<T>, kDeep = 4;
    struct Raw { Pack<T, kLen> output, grad; };

    const T *grad, *output;
    T* out;
    u64 grad_step, output_step, out_step;
    f32 scale;

    __device__ __forceinline__ Raw load(u32 row) const {
        return {::load<kLen, Cache::Use>(output + row * output_step), ::load<kLen, Cache::Use>(grad + row * grad_step)};
    }

    template <u32 kCount> __device__ __forceinline__ void find(const Raw (&raw)[kCount], Sum (&own)[kLen]) const {
        f32 sum[kLen] = {};
        #pragma unroll
        for (u32 j = 0; j < kCount; ++j) {
            const auto y = to_f32(raw[j].output), g = to_f32(raw[j].grad);
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) sum[l] += Kind::term(y.lane[l], g.lane[l]);
        }
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) own[l].sum += sum[l];
    }

    __device__ __forceinline__ Sum prescribe(Sum total) const { return total; }

    __device__ __forceinline__ void finish(u64 row, const Raw& raw, const Sum (&by)[kLen]) const {
        const auto y = to_f32(raw.output), g = to_f32(raw.grad);
        f32 x[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x[l] = Kind::value(y.lane[l], g.lane[l], by[l].sum, scale);
        store(out + row * out_step, rounded<T>(x));
    }
};

template <typename Kind, typename T>
__global__ void __launch_bounds__(kThreads, kColumnBlocks)
softmax_backward_columns(const T* grad, const T* output, T* out, const __grid_constant__ Rows<3> rows, f32 scale, u32 side) {
    follow();
    const u64 pack = u64(blockIdx.x >> side) * kColumnSide + threadIdx.x % kColumnSide;
    const auto place = rows.at(pack);
    const ColumnsLine<Kind, T> line{grad + place.of[0], output + place.of[1], out + place.of[2],
                                    rows.step[0],       rows.step[1],         rows.step[2],
                                    scale};
    run_columns(line, rows.units, pack < rows.walk.numel, side);
}

template <typename Kind, typename T>
__global__ void __launch_bounds__(kThreads, kColumnBlocks)
softmax_backward_find(const T* grad, const T* output, Sum* partials, const __grid_constant__ Rows<3> rows) {
    follow();
    const u64 pack = u64(blockIdx.x) * kWarp + threadIdx.x % kWarp;
    const auto place = rows.at(pack);
    const ColumnsLine<Kind, T> line{grad + place.of[0], output + place.of[1], nullptr, rows.step[0], rows.step[1], 0, 0.0f};
    find_slice(line, rows.units, pack, rows.walk.numel, partials);
}

template <typename Kind, typename T>
__global__ void __launch_bounds__(kThreads, kColumnBlocks)
softmax_backward_finish(const T* grad, const T* output, T* out, const Sum* totals, const __grid_constant__ Rows<3> rows,
                        f32 scale) {
    follow();
    const u64 pack = u64(blockIdx.x) * kWarp + threadIdx.x % kWarp;
    const auto place = rows.at(pack);
    const ColumnsLine<Kind, T> line{grad + place.of[0], output + place.of[1], out + place.of[2],
                                    rows.step[0],       rows.step[1],         rows.step[2],
                                    scale};
    finish_slab(line, rows.units, pack, rows.walk.numel, totals);
}
