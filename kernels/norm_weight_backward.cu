// norm_weight_backward.cu: the gradients of the weight and the bias of a norm: over all rows the sums of grad * normal and
// of grad, where normal is what the norm makes of x before its weight.
//
// Sums of slices of the rows by one kernel, or by two where rows are few, short, long or no packs: what a norm needs of each
// row, and then a tile of columns a block. Another one adds up the slices' sums.
//
// Launch     rows: as softmax.cu. columns: x: kWarp units of columns a block, y: slices of rows; join: x: kWarp sums a
//            block; kThreads threads, static shared memory. slices: x: slices of rows; kMost threads, kSliceStages stages
//            of dynamic shared memory.
// Requires   rows as softmax.cu, of grad and in. centers: one for each row. partials: f32 [slices, kinds, n], of Layer two
//            kinds, of others one. weight and bias: [n]; bias only of two kinds. slices: packs; share: a power of two up to
//            the warps of a block, which have room for a row at kWarp * kSliceTake packs each.
// Aliasing   nothing overlaps what is written.
// Numerics   f32, statistics as in norm.cu; sums in a fixed order: the same bits in every run; one rounding on store.
// Bound by   memory: rows * n * 2 * sizeof(T) bytes, or 3 by two kernels.
#include "mma.cuh"
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
    static constexpr bool kSkips = Op::kCentered;
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

    template <typename Chunk> __device__ __forceinline__ typename Kind::Stat find(Chunk& chunk) const {
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

// What a thread has of a row, as Kind::find takes it.
template <u32 kLength, u32 kCount> struct Own {
    static constexpr u32 kLen = kLength, kUnits = kCount;
    f32 x[kUnits][kLen];
    u32 first, end;

    __device__ __forceinline__ bool has(u32 j) const { return first + j * kWarp < end; }
    __device__ __forceinline__ bool counts(u32) const { return true; }
    __device__ __forceinline__ const f32 (&numbers(u32 j) const)[kLen] { return x[j]; }
};

// What a warp finds in its share of a row: deviations are from one of its elements.
template <typename Stat> struct alignas(16) Share { Stat stat; f32 origin; };

// Slices of rows that are read once. A stage of shared memory has rows of both operands, `share` warps a row and kSliceTake
// packs for each lane, which only the thread that copies them reads; the stages behind it are on their way. The warps of a row
// have those of every row that they take, and wait for each other only, once a row: for what there is in it.
template <typename Kind, typename T, u32 kLen, u32 kMost>
__global__ void __launch_bounds__(kMost, 2 * kThreads / kMost)
norm_weight_backward_slices(const T* grad, const T* in, f32* partials, const __grid_constant__ Rows<2> rows, u64 slice,
                            f32 eps, u32 share) {
    follow();
    using Stat = typename Kind::Stat;
    constexpr u32 kKinds = Kind::kCentered ? 2 : 1, kWarps = kMost / kWarp;
    constexpr u32 kOperand = kMost * kSliceTake * 16, kStage = 2 * kOperand;  // bytes
    extern __shared__ uint4 memory[];
    __shared__ Share<Stat> of_warp[2][kWarps];
    const u32 lane = threadIdx.x % kWarp, own = threadIdx.x / kWarp, at = shared_address(memory);
    const u32 units = u32(rows.units), n = units * kLen;
    const u32 side = 31 - __clz(share), team = own >> side, teams = kWarps >> side;
    const u64 begin = u64(blockIdx.x) * slice + team;
    const u64 end = min(u64(blockIdx.x + 1) * slice, rows.walk.numel);
    const u32 start_of_warp = (own & (share - 1)) * (kWarp * kSliceTake), first = start_of_warp + lane;
    const u32 place = at + (own * kWarp * kSliceTake + lane) * 16;
    // Elements of a row that a warp has, and all of them.
    const f32 of_share = f32(min(units - min(start_of_warp, units), kWarp * kSliceTake) * kLen), of_row = f32(n);

    // The packs of this thread in the next row that is to come.
    const T *x = in, *g = grad;
    const auto go_to = [&](u64 row) {
        const auto of_row = rows.at(row);
        x = in + of_row.of[1] + first * kLen;
        g = grad + of_row.of[0] + first * kLen;
    };
    go_to(begin);
    const auto start = [&](u64 row, u32 stage) {
        if (row < end) {
            const u32 to = place + stage * kStage;
            #pragma unroll
            for (u32 j = 0; j < kSliceTake; ++j) {
                if (first + j * kWarp >= units) continue;
                copy_async_16(to + j * kWarp * 16, x + j * kWarp * kLen, 16);
                copy_async_16(to + j * kWarp * 16 + kOperand, g + j * kWarp * kLen, 16);
            }
            if (rows.walk.rank > 1) {
                go_to(row + teams);
            } else {
                x += teams * rows.walk.stride[1][0];
                g += teams * rows.walk.stride[0][0];
            }
        }
        copy_async_commit();
    };
    const auto pack = [](u32 from) { return to_f32(bits_as<Pack<T, kLen>>(load_shared_16(from))); };
    const auto look = [&](u32 stage) -> Share<Stat> {
        Own<kLen, kSliceTake> chunk{{}, first, units};
        #pragma unroll
        for (u32 j = 0; j < kSliceTake; ++j) {
            const auto x = pack(place + stage * kStage + j * kWarp * 16);
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) chunk.x[j][l] = Kind::kCentered || chunk.has(j) ? x.lane[l] : 0.0f;
        }
        const f32 origin = Kind::kCentered ? shuffle_from(chunk.has(0) ? chunk.x[0][0] : 0.0f, 0) : 0.0f;
        return {Group(kWarp).join<Kind>(Kind::find(chunk, origin), of_share), origin};
    };
    const auto meet = [&] {
        if (share == 1) __syncwarp();
        else some_wait(1 + team, share * kWarp);
    };

    f32 sum[kSliceTake][kKinds][kLen] = {};
    #pragma unroll 1
    for (u32 i = 0; i + 1 < kSliceStages; ++i) start(begin + i * teams, i);
    u32 stage = 0, turn = 0;
    #pragma unroll 1
    for (u64 row = begin; row < end; row += teams) {
        copy_async_wait<kSliceStages - 2>();
        start(row + (kSliceStages - 1) * teams, stage == 0 ? kSliceStages - 1 : stage - 1);
        const Share<Stat> own_share = look(stage);
        if (lane == 0) of_warp[turn][own] = own_share;
        meet();
        // In every warp, lane by lane, what there is in the share of each warp.
        Share<Stat> found = of_warp[turn][(team << side) + (lane & (share - 1))];
        const f32 origin = shuffle_from(found.origin, 0);
        if constexpr (Kind::kCentered) found.stat.mean += found.origin - origin;
        const auto by = Kind::prescribe(Group(share).join<Kind>(found.stat, of_row), of_row, eps);
        turn ^= 1;
        #pragma unroll
        for (u32 j = 0; j < kSliceTake; ++j) {
            if (first + j * kWarp >= units) continue;
            const u32 from = place + stage * kStage + j * kWarp * 16;
            const auto x = pack(from), g = pack(from + kOperand);
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) {
                if constexpr (Kind::kCentered) {
                    sum[j][0][l] += g.lane[l] * fmaf(x.lane[l] - origin, by.factor, by.shift);
                    sum[j][kKinds - 1][l] += g.lane[l];
                } else {
                    sum[j][0][l] += g.lane[l] * (x.lane[l] * by);
                }
            }
        }
        stage = stage + 1 < kSliceStages ? stage + 1 : 0;
    }

    copy_async_wait<0>();
    f32* of_thread = reinterpret_cast<f32*>(memory);
    #pragma unroll
    for (u32 j = 0; j < kSliceTake; ++j) {
        #pragma unroll
        for (u32 kind = 0; kind < kKinds; ++kind) {
            __syncthreads();
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) of_thread[l * kMost + threadIdx.x] = sum[j][kind][l];
            __syncthreads();
            #pragma unroll 1
            for (u32 i = threadIdx.x; i < kLen * share * kWarp; i += kMost) {
                const u32 thread = i / kLen, l = i % kLen;
                f32 total = 0.0f;
                #pragma unroll 1
                for (u32 k = 0; k < teams; ++k) total += of_thread[l * kMost + k * share * kWarp + thread];
                const u32 unit = (thread / kWarp * kSliceTake + j) * kWarp + thread % kWarp;
                if (unit < units) partials[(u64(blockIdx.x) * kKinds + kind) * n + unit * kLen + l] = total;
            }
        }
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
