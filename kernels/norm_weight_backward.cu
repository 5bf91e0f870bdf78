// norm_weight_backward.cu: the gradients of the weight and the bias of a norm: over all rows the sums of grad * normal and
// of grad, where normal is what the norm makes of x before its weight.
//
// Three kernels: what a norm needs of each row; sums of slices of the rows, a tile of columns a block; the slices' sums.
//
// Launch     rows: as softmax.cu. columns: x: kWarp units of columns a block, y: slices of rows; join: x: kWarp sums a
//            block; kThreads threads, static shared memory.
// Requires   rows as softmax.cu, of grad and in. centers: one for each row. partials: f32 [slices, kinds, n], of Layer two
//            kinds, of others one. weight and bias: [n]; bias only of two kinds.
// Aliasing   nothing overlaps what is written.
// Numerics   f32, statistics as in norm.cu; sums in a fixed order: the same bits in every run; one rounding on store.
// Bound by   memory: rows * n * 3 * sizeof(T) bytes.
#include "norm.cuh"

// What the elements of a row are normed by: (x - origin - mean) * factor.
struct alignas(16) Center { f32 origin, mean, factor, unused; };

// Rows that are on their way at once.
constexpr u32 kAhead = 4;
constexpr u32 kLines = kThreads / kWarp;

// Rows are only looked at.
template <typename Kind, typename T, u32 kLength> struct Line {
    using Op = Kind;
    static constexpr u32 kLen = kLength, kValues = kLen;
    static constexpr f32 kPad = 0.0f;
    struct Raw { Pack<T, kLen> x; };

    const T* in;
    u64 in_step;
    f32 origin;

    template <bool> __device__ __forceinline__ Raw load(u64 unit) const {
        return {::load<kLen, Cache::Use>(in + along<kLen>(unit, in_step))};
    }

    template <bool> __device__ __forceinline__ void widen(const Raw& raw, f32 (&x)[kValues]) const {
        const auto wide = to_f32(raw.x);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x[l] = wide.lane[l];
    }

    template <typename Chunk> __device__ __forceinline__ typename Kind::Stat find(const Chunk& chunk) const {
        return Kind::find(chunk, origin);
    }
};

template <typename Kind, typename T, typename Cut>
__global__ void __launch_bounds__(Cut::kMost, Cut::kBlocks)
norm_weight_backward_rows(const T* in, Center* centers, const __grid_constant__ Rows<2> rows, f32 eps, u32 side) {
    follow();
    const typename Cut::Team team(side);
    const u64 row = team.index(), units = rows.units_of(row);
    Line<Kind, T, Cut::kLen> line{in + rows.at(row).of[1], rows.step[1], 0.0f};
    if constexpr (Kind::kCentered) {
        if (units > 0) line.origin = to_f32(line.in[0]);
    }
    const auto total = look_row<Cut::kUnits>(line, team, units);
    if (units == 0 || team.lane() != 0) return;
    const auto by = Kind::prescribe(total, f32(units) * Cut::kLen, eps);
    if constexpr (Kind::kCentered) centers[row] = {line.origin, by.mean, by.factor, 0.0f};
    else centers[row] = {0.0f, 0.0f, by, 0.0f};
}

template <typename Kind, typename T, u32 kLen>
__global__ void __launch_bounds__(kThreads)
norm_weight_backward_columns(const T* grad, const T* in, const Center* centers, f32* partials,
                             const __grid_constant__ Rows<2> rows, u64 slice) {
    follow();
    constexpr u32 kKinds = Kind::kCentered ? 2 : 1;
    const u32 lane = threadIdx.x % kWarp, own = threadIdx.x / kWarp;
    const u64 unit = u64(blockIdx.x) * kWarp + lane, n = rows.units * kLen;
    const u64 begin = blockIdx.y * slice;
    const u64 end = begin + slice < rows.walk.numel ? begin + slice : rows.walk.numel;

    f32 sum[kKinds][kLen] = {};
    #pragma unroll 1
    for (u64 row = begin + own; row < end && unit < rows.units; row += kAhead * kLines) {
        Pack<T, kLen> g[kAhead], x[kAhead];
        Center center[kAhead];
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) {
            if (row + j * kLines >= end) continue;
            const auto place = rows.at(row + j * kLines);
            g[j] = load<kLen, Cache::Use>(grad + place.of[0] + along<kLen>(unit, rows.step[0]));
            x[j] = load<kLen, Cache::Use>(in + place.of[1] + along<kLen>(unit, rows.step[1]));
            center[j] = bits_as<Center>(ld_global(reinterpret_cast<const u32x4*>(centers + row + j * kLines)));
        }
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) {
            if (row + j * kLines >= end) continue;
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) {
                const f32 by = to_f32(g[j].lane[l]);
                const f32 normal = (to_f32(x[j].lane[l]) - center[j].origin - center[j].mean) * center[j].factor;
                sum[0][l] += by * normal;
                if constexpr (kKinds > 1) sum[kKinds - 1][l] += by;
            }
        }
    }

    __shared__ f32 of_line[kLines][kKinds][kLen * kWarp];
    #pragma unroll
    for (u32 kind = 0; kind < kKinds; ++kind) {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) of_line[own][kind][l * kWarp + lane] = sum[kind][l];
    }
    __syncthreads();
    #pragma unroll 1
    for (u32 i = threadIdx.x; i < kKinds * kLen * kWarp; i += kThreads) {
        const u32 kind = i / (kLen * kWarp), place = i % (kLen * kWarp);
        f32 total = 0.0f;
        #pragma unroll
        for (u32 line = 0; line < kLines; ++line) total += of_line[line][kind][place];
        const u64 column = (u64(blockIdx.x) * kWarp + place % kWarp) * kLen + place / kWarp;
        if (column < n) partials[(u64(blockIdx.y) * kKinds + kind) * n + column] = total;
    }
}

// Sums lie side by side: those of the weight, and then those of the bias.
template <typename To>
__global__ void __launch_bounds__(kThreads)
norm_weight_backward_join(const f32* partials, To* weight, To* bias, u64 n, u64 sums, u32 slices) {
    follow();
    const u32 lane = threadIdx.x % kWarp, own = threadIdx.x / kWarp;
    const u64 at = u64(blockIdx.x) * kWarp + lane;
    f32 sum = 0.0f;
    if (at < sums) {
        #pragma unroll 4
        for (u32 slice = own; slice < slices; slice += kLines) sum += partials[slice * sums + at];
    }
    __shared__ f32 of_line[kLines][kWarp];
    of_line[own][lane] = sum;
    __syncthreads();
    if (own > 0 || at >= sums) return;
    f32 total = 0.0f;
    #pragma unroll
    for (u32 line = 0; line < kLines; ++line) total += of_line[line][lane];
    if (at < n) weight[at] = from_f32<To>(total);
    else bias[at - n] = from_f32<To>(total);
}
