// rows.cuh: ops over rows: a few numbers are found over all elements of a row, and then every element becomes another.
//
// A row is shared by a team of threads (block.cuh), of which each takes units size apart: unit lane, lane + size, ... A
// unit is kLen elements that lie side by side. What a family does is said by a Line, a row as it lies in memory:
//
//     using Op;                                      // Op::Stat, Op::empty, Op::join
//     static constexpr u32 kLen, kValues;            // of a unit: its elements, and the numbers that are held of it
//     static constexpr f32 kPad;                     // stands for elements that there are not
//     using Raw;                                     // what is loaded of a unit
//     Raw load<kAgain>(u64 unit)                     // all that is read of a unit, the first time and again
//     void widen<kAgain>(Raw, f32 (&x)[kValues])     // numbers to compute with, first those of one operand, then the next
//     void leave(u64 unit, x)                        // stores what is asked for beside the result
//     static constexpr bool kSkips;                  // whether find asks chunk.has itself; need not be there
//     T pad()                                        // what widens to kPad; of lines that may be in shared memory, with
//     static constexpr u32 kSources;                 // the operands that Raw has a pack of, one or two, and
//     const T* source(u32 which)                     // where they begin
//     Op::Stat find(chunk)                           // of the units of a chunk, of which chunk.numbers(j) has those of unit
//                                                    // j, one after the other and where chunk.counts(j); may replace them
//     auto prescribe(Op::Stat total, Op::Stat own)   // what finish needs, where find has found own
//     void again(chunk, Op::Stat total)              // instead of find, where the total is known, and
//     auto prescribe(Op::Stat total)                 // what finish needs then; both need not be there
//     using Beside;                                  // what else finish needs of a unit
//     Beside beside(u64 unit)                        // loads it
//     void finish(u64 unit, x, prescription, const Beside*)  // stores the result; loads what is beside if that is null
//     using Near;                                    // what is beside a unit in few registers, where has_near(); of lines
//     Near near(u32 unit)                            // that may be held as they lie in memory, with
//     void finish(u32 unit, x, prescription, Near)
#pragma once
#include "cluster.cuh"
#include "narrow.cuh"

// How the rows of operands of one shape lie. The twin of Rows in src/args.rs.
template <u32 kOperands> struct Rows {
    Walk<kOperands> walk;  // from row to row; of 64 bits
    u64 units;             // in a row
    u64 step[kOperands];   // from unit to unit, in elements

    // The first elements of a row; those of the first row for one that there is not. Short: rows that lie evenly need no walk,
    // for a few registers more.
    template <bool kShort = true> __device__ __forceinline__ Place<kOperands> at(u64 row) const {
        u64 i[1] = {row < walk.numel ? row : 0};
        Place<kOperands> place[1];
        if (kShort && walk.rank == 1) {
            #pragma unroll
            for (u32 k = 0; k < kOperands; ++k) place[0].of[k] = i[0] * walk.stride[k][0];
        } else {
            walk.at(i, place);
        }
        return place[0];
    }

    // Those of a row that there is, of rows that lie evenly.
    __device__ __forceinline__ Place<kOperands> even(u64 row) const {
        Place<kOperands> place;
        #pragma unroll
        for (u32 k = 0; k < kOperands; ++k) place.of[k] = row * walk.stride[k][0];
        return place;
    }

    // The units that a team has to do in a row.
    __device__ __forceinline__ u64 units_of(u64 row) const { return row < walk.numel ? units : 0; }
};

// Where a unit begins. Packs lie side by side.
template <u32 kLen> __device__ __forceinline__ u64 along(u64 unit, u64 step) { return unit * (kLen > 1 ? kLen : step); }

// Up to kCount units of a row for each thread of a team, in registers.
template <typename Line, typename Team, u32 kCount> struct Chunk {
    static constexpr u32 kUnits = kCount, kLen = Line::kLen;
    f32 x[kUnits][Line::kValues];
    u64 begin;
    u32 left, lane, size;

    // Units from `begin` on, below `units`.
    __device__ __forceinline__ Chunk(const Team& team, u64 begin, u64 units)
        : begin(begin), lane(team.lane()), size(team.size) {
        const u64 rest = units - begin;
        left = rest < kUnits * size ? u32(rest) : kUnits * size;
    }

    // Whether there is a unit j; those that there are come first.
    __device__ __forceinline__ bool has(u32 j) const { return j * size + lane < left; }
    __device__ __forceinline__ u64 unit(u32 j) const { return begin + (j * size + lane); }
    // Whether find looks at unit j, and its numbers: kPad where there is none.
    __device__ __forceinline__ bool counts(u32) const { return true; }
    __device__ __forceinline__ f32 (&numbers(u32 j))[Line::kValues] { return x[j]; }

    template <bool kAgain, typename From> __device__ __forceinline__ void load(const From& line) {
        constexpr bool kPadded = requires { From::kPadded; };
        constexpr bool kSkips = requires { requires Line::kSkips; };
        typename Line::Raw raw[kUnits];
        #pragma unroll
        for (u32 j = 0; j < kUnits; ++j) {
            if (kPadded || has(j)) raw[j] = line.template load<kAgain>(unit(j));
        }
        // All, so that none is done under a condition; only the last chunk of a row has units that there are not.
        #pragma unroll
        for (u32 j = 0; j < kUnits; ++j) line.template widen<kAgain>(raw[j], x[j]);
        if (kPadded || kSkips || left == kUnits * size) return;
        #pragma unroll
        for (u32 j = 0; j < kUnits; ++j) {
            if (has(j)) continue;
            #pragma unroll
            for (f32& lane : x[j]) lane = Line::kPad;
        }
    }

    __device__ __forceinline__ void leave(const Line& line) const {
        #pragma unroll
        for (u32 j = 0; j < kUnits; ++j) {
            if (has(j)) line.leave(unit(j), x[j]);
        }
    }

    template <typename Prescription>
    __device__ __forceinline__ void finish(const Line& line, const Prescription& prescription) const {
        #pragma unroll
        for (u32 j = 0; j < kUnits; ++j) {
            if (has(j)) line.finish(unit(j), x[j], prescription, nullptr);
        }
    }
};

// A row of at most kUnits units for each thread: it is read once, and stays in registers.
template <u32 kUnits, typename Line, typename Team>
__device__ __forceinline__ auto hold_row(const Line& line, const Team& team, u64 units) {
    Chunk<Line, Team, kUnits> chunk(team, 0, units);
    chunk.template load<false>(line);
    const auto own = line.find(chunk);
    const auto total = team.template join<typename Line::Op>(own);
    chunk.leave(line);
    chunk.finish(line, line.prescribe(total, own));
    return total;
}

// A row of at most a unit for each thread, where rows are few and nothing is there to do while one waits: all that is
// needed is loaded at once. Where rows are many, the registers that this takes are better used by more threads.
template <typename Line, typename Team>
__device__ __forceinline__ auto rush_row(const Line& line, const Team& team, u64 units) {
    Chunk<Line, Team, 1> chunk(team, 0, units);
    typename Line::Beside beside;
    if (chunk.has(0)) beside = line.beside(chunk.unit(0));
    chunk.template load<false>(line);
    const auto own = line.find(chunk);
    const auto total = team.template join<typename Line::Op>(own);
    chunk.leave(line);
    const auto prescription = line.prescribe(total, own);
    if (chunk.has(0)) line.finish(chunk.unit(0), chunk.x[0], prescription, &beside);
    return total;
}

// The rest of a row whose total is known, from where it is read again.
template <u32 kUnits, typename Line, typename From, typename Team>
__device__ __forceinline__
void finish_row(const Line& line, const From& from, const Team& team, u64 units, typename Line::Op::Stat total) {
    constexpr bool kAgain = requires { line.prescribe(total); };
    const auto prescription = [&] {
        if constexpr (kAgain) return line.prescribe(total);
        else return 0;
    }();
    #pragma unroll 1
    for (u64 begin = 0; begin < units; begin += kUnits * team.size) {
        Chunk<Line, Team, kUnits> chunk(team, begin, units);
        chunk.template load<true>(from);
        if constexpr (kAgain) {
            line.again(chunk, total);
            chunk.finish(line, prescription);
        } else {
            const auto own = line.find(chunk);
            chunk.finish(line, line.prescribe(total, own));
        }
    }
}

// A row of any length: it is read twice, kUnits units for each thread at a time.
template <u32 kUnits, typename Line, typename Team>
__device__ __forceinline__ auto stream_row(const Line& line, const Team& team, u64 units) {
    using Op = typename Line::Op;
    auto own = Op::empty();
    #pragma unroll 1
    for (u64 begin = 0; begin < units; begin += kUnits * team.size) {
        Chunk<Line, Team, kUnits> chunk(team, begin, units);
        chunk.template load<false>(line);
        chunk.leave(line);
        own = Op::join(own, line.find(chunk));
    }
    const auto total = team.template join<Op>(own);
    finish_row<kUnits>(line, line, team, units, total);
    return total;
}

// A row in shared memory, one operand behind the other: units that a thread has copied itself, and what becomes kPad up to
// whole chunks.
template <typename Line, typename Team> struct Staged {
    static constexpr bool kPadded = true;
    static constexpr u32 kSources = Line::kSources;
    using Raw = typename Line::Raw;
    using Unit = decltype(Raw::x);
    const Line& line;
    const Team& team;
    u32 at, apart;  // the first operand, and from one to the next

    template <bool> __device__ __forceinline__ Raw load(u64 unit) const {
        const auto of = [&](u32 which) { return bits_as<Unit>(load_shared_16(place(u32(unit), which))); };
        if constexpr (kSources == 1) return {of(0)};
        else return {of(0), of(1)};
    }

    template <bool kAgain> __device__ __forceinline__ void widen(const Raw& raw, f32 (&x)[Line::kValues]) const {
        line.template widen<kAgain>(raw, x);
    }

    __device__ __forceinline__ u32 place(u32 unit, u32 which) const { return at + team.slot(unit) * 16 + which * apart; }

    __device__ __forceinline__ void start(u32 unit) const {
        #pragma unroll
        for (u32 i = 0; i < kSources; ++i) {
            copy_async_16(place(unit, i), line.source(i) + u64(unit) * Line::kLen, 16);
        }
    }

    __device__ __forceinline__ void pad(u32 unit) const {
        Unit pack;
        #pragma unroll
        for (auto& lane : pack.lane) lane = line.pad();
        #pragma unroll
        for (u32 i = 0; i < kSources; ++i) store_shared_16(place(unit, i), bits_as<uint4>(pack));
    }
};

// A row of packs that fits in shared memory: it is read twice from there, and once from memory, kAhead chunks ahead.
template <u32 kUnits, u32 kAhead, typename Line, typename Team>
__device__ __forceinline__ auto stage_row(const Line& line, const Team& team, u64 units) {
    using Op = typename Line::Op;
    extern __shared__ uint4 memory[];
    const u32 chunk_size = kUnits * team.size, end = u32(units);
    const u32 apart = (end + chunk_size - 1) / chunk_size * kUnits * blockDim.x * 16;
    Staged<Line, Team> staged{line, team, shared_address(memory), apart};
    asm volatile("" : "+r"(staged.at));  // else it is computed anew in each step
    u32 ahead = team.lane();
    const auto start = [&] {
        #pragma unroll
        for (u32 j = 0; j < kUnits; ++j, ahead += team.size) {
            if (ahead < end) staged.start(ahead);
        }
        copy_async_commit();
    };
    #pragma unroll 1
    for (u32 i = 0; i < kAhead; ++i) start();
    #pragma unroll 1
    for (u32 unit = end - end % team.size + team.lane(); unit < (end + chunk_size - 1) / chunk_size * chunk_size;
         unit += team.size) {
        if (unit >= end) staged.pad(unit);
    }
    auto own = Op::empty();
    #pragma unroll 1
    for (u64 begin = 0; begin < units; begin += chunk_size) {
        start();
        copy_async_wait<kAhead>();
        Chunk<Line, Team, kUnits> chunk(team, begin, units);
        chunk.template load<false>(staged);
        own = Op::join(own, line.find(chunk));
    }
    const auto total = team.template join<Op>(own);
    finish_row<kUnits>(line, staged, team, units, total);
    return total;
}

// What there is in a row of any length, which is read once and not finished: half of kUnits units for each thread at a
// time, since what goes round in a loop takes registers too.
template <u32 kUnits, typename Line, typename Team>
__device__ __forceinline__ auto look_row(const Line& line, const Team& team, u64 units) {
    using Op = typename Line::Op;
    constexpr u32 kTaken = (kUnits + 1) / 2;
    auto own = Op::empty();
    #pragma unroll 1
    for (u64 begin = 0; begin < units; begin += kTaken * team.size) {
        Chunk<Line, Team, kTaken> chunk(team, begin, units);
        chunk.template load<false>(line);
        own = Op::join(own, line.find(chunk));
    }
    return team.template join<Op>(own);
}

// What threads hold: nothing of a row, the row, the row as it lies in memory, with it all that is beside it, or the row in
// shared memory.
enum class Hold { Nothing, Row, Narrow, All, Shared };

// How a kernel does rows: units of kLen elements, kUnits of them for a thread of a team at a time, in blocks of at most
// kMost threads.
template <u32 kLength, u32 kCount, typename TeamOf, Hold kHolds, u32 kThreadsAtMost> struct Cut {
    static constexpr u32 kLen = kLength, kUnits = kCount, kMost = kThreadsAtMost;
    static constexpr bool kHold = kHolds != Hold::Nothing;
    using Team = TeamOf;
#if __CUDA_ARCH__ >= 1000
    static constexpr u32 kSpare = kMost < kThreads;  // its code for rows that share a block takes some registers more
#else
    static constexpr u32 kSpare = 0;
#endif
    // What leaves a thread 64 registers, or 128 where units are single elements: their places take registers too.
    static constexpr u32 kBlocks = kMostThreads / (kLen > 1 ? 1 : 2) / kMost - kSpare;

    // What all threads of the team have found.
    template <typename Line> static __device__ __forceinline__ auto run(const Line& line, const Team& team, u64 units) {
        if constexpr (kHolds == Hold::All) return rush_row(line, team, units);
        else if constexpr (kHolds == Hold::Row) return hold_row<kUnits>(line, team, units);
        else if constexpr (kHolds == Hold::Narrow) return hold_narrow<kUnits>(line, team, units);
        else if constexpr (kHolds == Hold::Shared) return stage_row<kUnits, 4>(line, team, units);
        else return stream_row<kUnits>(line, team, units);
    }
};
