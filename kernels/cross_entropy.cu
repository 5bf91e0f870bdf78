// cross_entropy.cu: the cross entropy of rows of logits with labels, and in the same kernel its gradient over the logits.
//
// Launch     as softmax.cu; Hold::Shared with dynamic shared memory for a row, in whole chunks.
// Requires   as softmax.cu, of in and out. targets: a label a row; losses: one f32 a row, side by side.
// Aliasing   in == out with the same layout is the op in place; otherwise nothing overlaps out and losses.
// Numerics   f32; exponentials as in softmax.cu; gradients are rounded once on store. A row with NaN or +inf is NaN, one
//            that is ignored 0 whatever is in it. A label that is not below the length of a row is reported, and taken
//            for 0.
// Bound by   memory: n * sizeof(T) bytes, twice that with gradients; where none are held, rows are read again for those.
#include "fault.cuh"
#include "softmax.cuh"

// The twin of Labels in src/args.rs.
struct Labels {
    const i64* targets;
    u64 target_step;  // from row to row
    f32* losses;
    const f32* scale;  // of gradients
    i64 ignored;
    u32 ignores;  // whether anything is
    f32 smoothing;
};

// What softmax finds, and the sum of all elements.
struct Found { Peak peak; f32 sum; };

struct Sums {
    using Stat = Found;
    static __device__ Found empty() { return {Peaks::empty(), 0.0f}; }
    static __device__ Found join(Found a, Found b) { return {Peaks::join(a.peak, b.peak), a.sum + b.sum}; }
};

// The same, of rows that are not finished: what joins takes registers more.
struct SumsAtOnce : Sums {
    // The exponentials are brought to the largest of all once.
    template <typename Team> static __device__ __forceinline__ Found join_all(const Team& team, Found own) {
        const f32 max = team.max(own.peak.max);
        return {{max, team.sum(own.peak.sum * Peaks::below(own.peak.max, max))}, team.sum(own.sum)};
    }
};

template <typename T, u32 kLength> struct Line {
    using Op = Sums;
    static constexpr u32 kLen = kLength, kValues = kLen;
    static constexpr f32 kPad = -kInf;
    static constexpr u32 kSources = 1;
    struct Raw { Pack<T, kLen> x; };
    struct Beside {};

    const T* in;
    T* out;
    u64 in_step, out_step, label;
    f32 n, smoothing, scale;
    f32 own;  // the element of the label
    bool counts;

    template <bool> __device__ __forceinline__ Raw load(u64 unit) const {
        return {::load<kLen, Cache::Use>(in + along<kLen>(unit, in_step))};
    }

    template <bool> __device__ __forceinline__ void widen(const Raw& raw, f32 (&x)[kValues]) const {
        const auto wide = to_f32(raw.x);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x[l] = wide.lane[l];
    }

    __device__ __forceinline__ const T* source(u32) const { return in; }
    __device__ __forceinline__ T pad() const { return from_f32<T>(kPad); }
    __device__ __forceinline__ void leave(u64, const f32 (&)[kValues]) const {}

    // Leaves exp(x - max) in the chunk, max being that of the chunk.
    template <typename Chunk> __device__ __forceinline__ Found find(Chunk& chunk) const {
        const f32 max = max_of(chunk), shift = max == -kInf ? 0.0f : max;
        f32 exps = 0.0f, sum = 0.0f;
        if (smoothing != 0.0f) {
            #pragma unroll
            for (u32 j = 0; j < Chunk::kUnits; ++j) {
                if (!chunk.has(j)) break;
                #pragma unroll
                for (f32 x : chunk.x[j]) sum += x;
            }
        }
        #pragma unroll
        for (u32 j = 0; j < Chunk::kUnits; ++j) {
            #pragma unroll
            for (f32& x : chunk.x[j]) exps += x = exp_of(x - shift);
        }
        return {{max, exps}, sum};
    }

    __device__ __forceinline__ f32 loss(Found total) const {
        if (!counts) return 0.0f;
        const f32 log = logf(total.peak.sum), loss = (total.peak.max - own) + log;
        if (smoothing == 0.0f) return loss;  // 0 times the infinity of what is masked is not asked for
        return (1.0f - smoothing) * loss + smoothing * ((total.peak.max - total.sum / n) + log);
    }

    __device__ __forceinline__ f32 prescribe(Found total, Found own) const {
        return Peaks::below(own.peak.max, total.peak.max) / total.peak.sum;
    }

    __device__ __forceinline__ f32 prescribe(Found total) const { return 1.0f / total.peak.sum; }

    template <typename Chunk> __device__ __forceinline__ void again(Chunk& chunk, Found total) const {
        const f32 shift = total.peak.max == -kInf ? 0.0f : total.peak.max;
        #pragma unroll
        for (u32 j = 0; j < Chunk::kUnits; ++j) {
            #pragma unroll
            for (f32& x : chunk.x[j]) x = exp_of(x - shift);
        }
    }

    __device__ __forceinline__ Beside beside(u64) const { return {}; }

    __device__ __forceinline__
    void finish(u64 unit, const f32 (&x)[kValues], f32 share, const Beside*) const {
        T* to = out + along<kLen>(unit, out_step);
        if (!counts) return store(to, Pack<T, kLen>{});
        const f32 factor = share * scale, rest = smoothing / n * scale;
        f32 y[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) y[l] = fmaf(x[l], factor, -rest);
        // Most units are without the label.
        const u64 here = label - unit * kLen;
        if (here < kLen) {
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) y[l] -= l == u32(here) ? (1.0f - smoothing) * scale : 0.0f;
        }
        Pack<T, kLen> pack;
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) pack.lane[l] = from_f32<T>(y[l]);
        store(to, pack);
    }
};

// Packs of a row that a thread reads at a time.
#if __CUDA_ARCH__ >= 1000
template <typename T> constexpr u32 kDeep = kIsHalf<T> ? 2 : 4;  // the same code takes some registers more
#else
template <typename T> constexpr u32 kDeep = 4;
#endif

// What there is in a row, which is read once, and its label. That one's element is asked for when the first units are here
// and the next ones on their way: before them, a row would wait for both, one after the other.
template <u32 kTaken, typename T, u32 kLen, typename Team, typename See>
__device__ __forceinline__ Found look(Line<T, kLen>& line, const Team& team, u64 units, See see) {
    using W = Word<sizeof(Pack<T, kLen>)>;
    Pack<T, kLen> pads;
    #pragma unroll
    for (T& lane : pads.lane) lane = line.pad();
    const W none = bits_as<W>(pads);
    Found found = Sums::empty();
    #pragma unroll 1
    for (u64 begin = team.lane(); begin < units; begin += kTaken * team.size) {
        const u64 left = units - begin;
        Pack<T, kLen> x[kTaken];
        #pragma unroll
        for (u32 j = 0; j < kTaken; ++j) {
            // Chosen between as words: of elements each would be put into place anew.
            W word = none;
            if (j * team.size < left) word = bits_as<W>(line.template load<false>(begin + j * team.size).x);
            x[j] = bits_as<Pack<T, kLen>>(word);
        }
        if (begin == team.lane()) see();
        f32 max = found.peak.max;
        const auto most = largest_of(x);
        #pragma unroll
        for (f32 lane : most.lane) max = fmaxf(max, lane);
        const f32 shift = max == -kInf ? 0.0f : max;
        f32 exps[kLen] = {};
        #pragma unroll
        for (u32 i = 0; i < kTaken * kLen; ++i) exps[i % kLen] += exp_of(to_f32(x[i / kLen]).lane[i % kLen] - shift);
        #pragma unroll
        for (u32 l = 1; l < kLen; ++l) exps[0] += exps[l];
        found.peak = {max, fmaf(found.peak.sum, Peaks::below(found.peak.max, max), exps[0])};
        if (line.smoothing != 0.0f) {
            #pragma unroll
            for (u32 j = 0; j < kTaken; ++j) {
                if (j * team.size >= left) break;
                #pragma unroll
                for (f32 lane : to_f32(x[j]).lane) found.sum += lane;
            }
        }
    }
    return team.template join<SumsAtOnce>(found);
}

// With kGrad it writes out, which without is null.
template <bool kGrad, typename T, typename Cut>
__global__ void __launch_bounds__(Cut::kMost, Cut::kBlocks)
cross_entropy_rows(const T* in, T* out, const Labels labels, const __grid_constant__ Rows<kGrad ? 2 : 1> rows,
                   const Fault fault, u32 side) {
    follow();
    const typename Cut::Team team(side);
    const u64 row = team.index(), units = rows.units_of(row), n = units * Cut::kLen;
    const auto place = rows.template at<false>(row);
    Line<T, Cut::kLen> line;
    line.in = in + place.of[0];
    line.in_step = rows.step[0];
    line.n = f32(n);
    line.smoothing = labels.smoothing;
    line.label = 0;
    line.own = 0.0f;
    line.counts = false;
    const i64 target = units > 0 ? labels.targets[row * labels.target_step] : 0;
    const auto see = [&] {
        line.counts = !(labels.ignores && target == labels.ignored);
        if (line.counts) {
            if (u64(target) < n) line.label = u64(target);
            else if (team.lane() == 0) fault.raise(target);
            line.own = to_f32(line.in[line.label * (Cut::kLen > 1 ? 1 : line.in_step)]);
        }
    };
    Found total;
    if constexpr (kGrad) {
        // Before anything is written.
        if (units > 0) see();
        line.out = out + place.of[1];
        line.out_step = rows.step[1];
        line.scale = *labels.scale;
        total = Cut::run(line, team, units);
    } else {
        // Rows that share a block have not the registers for more.
        constexpr u32 kAll = Cut::kLen > 1 && !Cut::kHold ? kDeep<T> : Cut::kUnits;
        constexpr u32 kTaken = Cut::kMost < kThreads ? (Cut::kUnits + 1) / 2 : kAll;
        total = look<kTaken>(line, team, units, see);
    }
    if (units > 0 && team.lane() == 0) labels.losses[row] = line.loss(total);
}
