// narrow.cuh: rows of 16-bit elements that a block holds as they lie in memory, in half the registers of f32: fewer threads
// with more of a row each have less to tell each other, and there is room for some of what is beside it, which comes while
// they do.
#pragma once
#include "block.cuh"

// Up to kCount packs of a row for each thread of a team. A chunk for Line::find.
template <typename Line, typename Team, u32 kCount> struct Narrow {
    static constexpr u32 kUnits = kCount, kLen = Line::kLen;
    using Raw = typename Line::Raw;
    using Unit = decltype(Raw::x);
    const Line& line;
    u32 lane, size, units;
    u32x4 word[kUnits];
    f32 x[kLen];

    __device__ __forceinline__ Narrow(const Line& line, const Team& team, u32 units)
        : line(line), lane(team.lane()), size(team.size), units(units) {
        #pragma unroll
        for (u32 j = 0; j < kUnits; ++j) {
            word[j] = {};
            if (has(j)) word[j] = bits_as<u32x4>(line.template load<false>(unit(j)).x);
        }
    }

    __device__ __forceinline__ bool has(u32 j) const { return unit(j) < units; }
    __device__ __forceinline__ bool counts(u32 j) const { return has(j); }
    __device__ __forceinline__ u32 unit(u32 j) const { return j * size + lane; }
    // Those of one unit: they are gone when the next ones are asked for.
    __device__ __forceinline__ f32 (&numbers(u32 j))[kLen] {
        line.template widen<false>(Raw{bits_as<Unit>(word[j])}, x);
        return x;
    }

    // From here on numbers are made anew: those that were made before would take more registers than there are.
    __device__ __forceinline__ void forget() {
        #pragma unroll
        for (u32x4& w : word) asm volatile("" : "+r"(w.a), "+r"(w.b), "+r"(w.c), "+r"(w.d));
        asm volatile("" : "+r"(lane));
    }
};

// A row of at most kUnits packs for each thread: it is read once.
template <u32 kUnits, typename Line, typename Team>
__device__ __forceinline__ auto hold_narrow(const Line& line, const Team& team, u64 units) {
    constexpr u32 kAhead = 3;
    Narrow<Line, Team, kUnits> chunk(line, team, u32(units));
    const auto own = line.find(chunk);
    // Where it takes more registers it comes when it is needed.
    const bool is_near = line.has_near();
    typename Line::Near beside[kAhead];
    if (is_near) {
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) {
            if (chunk.has(j)) beside[j] = line.near(chunk.unit(j));
        }
    }
    const auto total = team.template join<typename Line::Op>(own);
    chunk.forget();
    const auto prescription = line.prescribe(total, own);
    if (is_near) {
        #pragma unroll
        for (u32 j = 0; j < kUnits; ++j) {
            if (!chunk.has(j)) continue;
            const auto now = beside[j % kAhead];
            if (j + kAhead < kUnits && chunk.has(j + kAhead)) beside[j % kAhead] = line.near(chunk.unit(j + kAhead));
            line.finish(chunk.unit(j), chunk.numbers(j), prescription, now);
        }
    } else {
        #pragma unroll
        for (u32 j = 0; j < kUnits; ++j) {
            if (chunk.has(j)) line.finish(chunk.unit(j), chunk.numbers(j), prescription, nullptr);
        }
    }
    return total;
}
