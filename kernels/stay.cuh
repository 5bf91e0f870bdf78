// stay.cuh: rows that one multiprocessor after the other would take too long for, by blocks that stay: each has a share of
// every row that its cluster does, and what is beside the elements of that share in shared memory for good.
//
// A block has teams of threads, which do a row each: while one waits for its row or for what others have found in theirs,
// the other teams compute. A team takes its row to registers as it lies in memory, and the next one comes to shared memory
// meanwhile. The same team of every block of a cluster does the same row. Only cards of 9.0 are given such blocks; the kernels
// of others are empty.
#pragma once
#include "cluster.cuh"
#include "rows.cuh"

// How a kernel does such rows: by so many teams of a block.
template <u32 kTeamsOf> struct Stay {
    static constexpr u32 kTeams = kTeamsOf;
    static constexpr u32 kSize = kStayThreads / kTeams / (2 * kWarp) * (2 * kWarp), kWarps = kSize / kWarp;
    // One for what is beside the elements, and of each team one for its row and two for what others have found in it.
    static constexpr u32 kBarriers = 1 + kTeams * 3;
    // Of a team, twice: what warps have found in one row, while others still look at the one before.
    static constexpr u32 kInbox = 2 * kStayBlocks * kWarps * kStayStat;
    // From the start of shared memory to what is beside the elements.
    static constexpr u32 kBefore = (kBarriers * 8 + kTeams * kInbox + 127) / 128 * 128;
};

// The same team of all blocks of a cluster.
template <typename Cut> struct Crew {
    static constexpr u32 size = Cut::kSize;
    u32 blocks, rank, barriers, inbox, round = 0;

    __device__ u32 lane() const { return threadIdx.x % size; }

    // The same bits for each of them. What warps have found goes to all blocks; they do not wait for their memory.
    template <typename Op> __device__ __forceinline__ typename Op::Stat join(typename Op::Stat own) {
        using Stat = typename Op::Stat;
        static_assert(sizeof(Stat) <= kStayStat);
        const Group warp(kWarp);
        own = warp.join<Op>(own);
#if __CUDA_ARCH__ == 900
        const u32 n = blocks * Cut::kWarps, lane_of_warp = threadIdx.x % kWarp;
        const u32 barrier = barriers + round % 2 * 8, box = inbox + round % 2 * (Cut::kInbox / 2);
        const u32 mine = box + (rank * Cut::kWarps + lane() / kWarp) * sizeof(Stat);
        const auto words = bits_as<Words<Stat>>(own);
        if (blocks == 1) {  // nothing can be sent where there is no cluster
            #pragma unroll
            for (u32 i = 0; i < sizeof(words) / 4; ++i) {
                if (lane_of_warp == 0) store_shared(mine + 4 * i, words.word[i]);
            }
            team_wait<size>(1 + threadIdx.x / size);
        } else {
            if (lane_of_warp < blocks) {
                const u32 there = shared_address_in(mine, lane_of_warp), arrived = shared_address_in(barrier, lane_of_warp);
                #pragma unroll
                for (u32 i = 0; i < sizeof(words) / 4; ++i) send_shared(there + 4 * i, words.word[i], arrived);
            }
            if (lane() == 0) barrier_expect(barrier, n * sizeof(Stat));
            barrier_wait(barrier, round / 2 % 2);
        }
        own = Op::empty();
        #pragma unroll 1
        for (u32 i = lane_of_warp; i < n; i += kWarp) {
            Words<Stat> words;
            #pragma unroll
            for (u32 k = 0; k < sizeof(words) / 4; ++k) words.word[k] = load_shared_word(box + i * sizeof(Stat) + 4 * k);
            own = Op::join(own, bits_as<Stat>(words));
        }
        own = warp.join<Op>(own);
#endif
        ++round;
        return own;
    }
};

// The units of a share that a thread does, in registers as they lie in memory: numbers are made of them one unit at a time,
// and those of the one before are gone then. A chunk for Line::find.
template <typename Line, typename Cut> struct Held {
    using Raw = typename Line::Raw;
    using Unit = decltype(Raw::x);
    static constexpr u32 kSources = Line::kSources, kUnits = kStayHeld / kSources, kLen = Line::kLen;
    const Line& line;
    u32 lane, share;
    uint4 word[kUnits][kSources];
    f32 x[Line::kValues];

    __device__ __forceinline__ bool has(u32 j) const { return unit(j) < share; }
    __device__ __forceinline__ bool counts(u32 j) const { return has(j); }
    __device__ __forceinline__ u32 unit(u32 j) const { return j * Cut::kSize + lane; }

    // From shared memory, one operand behind the other.
    __device__ __forceinline__ void load(u32 at) {
        asm volatile("" : "+r"(lane));  // else all that is reckoned from it takes registers from row to row
        #pragma unroll
        for (u32 j = 0; j < kUnits; ++j) {
            #pragma unroll
            for (u32 i = 0; i < kSources; ++i) {
                word[j][i] = {};
                if (has(j)) word[j][i] = load_shared_16(at + (i * share + unit(j)) * 16);
            }
        }
    }

    __device__ __forceinline__ f32 (&numbers(u32 j))[Line::kValues] {
        if constexpr (kSources == 1) line.template widen<false>(Raw{bits_as<Unit>(word[j][0])}, x);
        else line.template widen<false>(Raw{bits_as<Unit>(word[j][0]), bits_as<Unit>(word[j][1])}, x);
        return x;
    }

    // The largest element of one operand, as fmaxf has it; -inf where there is none.
    __device__ __forceinline__ f32 max() const {
        constexpr f32 kLeast = __builtin_bit_cast(f32, 0xff800000u);
        using T = typename Line::Element;
        if constexpr (kIsHalf<T>) {
            u32 most = pack_pair<T>(kLeast, kLeast);
            #pragma unroll
            for (u32 j = 0; j < kUnits; ++j) {
                if (!has(j)) continue;
                const auto pairs = bits_as<Pack<u32, 4>>(word[j][0]);
                #pragma unroll
                for (u32 pair : pairs.lane) most = max_pair<T>(most, pair);
            }
            return fmaxf(half_of<T>(most, 0), half_of<T>(most, 1));
        } else {
            f32 most = kLeast;
            #pragma unroll
            for (u32 j = 0; j < kUnits; ++j) {
                if (!has(j)) continue;
                #pragma unroll
                for (f32 x : bits_as<Pack<f32, 4>>(word[j][0]).lane) most = fmaxf(most, x);
            }
            return most;
        }
    }

    // From here on numbers are made anew: those that were made before would take more registers than there are.
    __device__ __forceinline__ void forget() {
        #pragma unroll
        for (auto& of_unit : word) {
            #pragma unroll
            for (uint4& x : of_unit) asm volatile("" : "+r"(x.x), "+r"(x.y), "+r"(x.z), "+r"(x.w));
        }
        asm volatile("" : "+r"(lane));
    }
};

// One of them whose numbers have been made, as a chunk.
template <typename Line, typename Cut> struct OneHeld {
    static constexpr u32 kUnits = 1, kLen = Line::kLen;
    Held<Line, Cut>& all;
    u32 index;

    __device__ __forceinline__ bool has(u32) const { return true; }
    __device__ __forceinline__ bool counts(u32) const { return true; }
    __device__ __forceinline__ u32 unit(u32) const { return all.unit(index); }
    __device__ __forceinline__ f32 (&numbers(u32))[Line::kValues] { return all.x; }
};

// Rows of which each of 2^side blocks does `share` units. line_of(row) is the line of a share, head_of(row) the first element
// of the row; what is beside the share stands at beside[i], bytes[i] of it, or is null, and in shared memory at near[i], or 0.
template <typename Cut, typename Line, u32 kBesides, typename LineOf, typename HeadOf>
__device__ __forceinline__ void stay(u32 n_rows, u32 share, u32 side, const void* const (&beside)[kBesides],
                                     const u32 (&bytes)[kBesides], u32 (&near)[kBesides], LineOf line_of, HeadOf head_of) {
#if __CUDA_ARCH__ == 900
    using Op = typename Line::Op;
    using Stat = typename Op::Stat;
    extern __shared__ uint4 memory[];
    const u32 start = shared_address(memory), blocks = 1 << side, rank = blockIdx.x & (blocks - 1);
    const u32 team = threadIdx.x / Cut::kSize;
    const u32 came = start + 8 + team * 24;  // the barrier for the row of the team
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < Cut::kBarriers; ++i) barrier_init(start + 8 * i, 1);
        barrier_init_fence();
    }
    if (side > 0) cluster_meet();
    else __syncthreads();

    u32 at = start + Cut::kBefore, beside_bytes = 0;
    #pragma unroll
    for (u32 i = 0; i < kBesides; ++i) {
        near[i] = beside[i] ? at : 0;
        if (!beside[i]) continue;
        at += bytes[i];
        beside_bytes += bytes[i];
    }
    Crew<Cut> crew{blocks, rank, came + 8, start + Cut::kBarriers * 8 + team * Cut::kInbox};
    const u32 row_bytes = share * 16 * Line::kSources;
    const u32 home = at + team * row_bytes;
    const u32 first = (blockIdx.x >> side) * Cut::kTeams + team, step = (gridDim.x >> side) * Cut::kTeams;
    const auto fetch = [&](u32 row) {
        if (crew.lane() != 0 || row >= n_rows) return;
        const auto line = line_of(row);
        barrier_expect(came, row_bytes);
        #pragma unroll
        for (u32 i = 0; i < Line::kSources; ++i) copy_bulk(home + i * share * 16, line.source(i), share * 16, came);
    };
    fetch(first);
    if (beside_bytes > 0) {
        if (threadIdx.x == 0) {
            barrier_expect(start, beside_bytes);
            #pragma unroll
            for (u32 i = 0; i < kBesides; ++i) {
                if (beside[i]) copy_bulk(near[i], beside[i], bytes[i], start);
            }
        }
        barrier_wait(start, 0);
    }
    u32 parity = 0;
    auto head = head_of(first < n_rows ? first : 0);
    #pragma unroll 1
    for (u32 row = first; row < n_rows; row += step) {
        Line line = line_of(row);
        if constexpr (requires { line.first; }) line.first = head;
        head = head_of(row + step < n_rows ? row + step : row);
        Held<Line, Cut> held{line, crew.lane(), share};
        barrier_wait(came, parity);
        parity ^= 1;
        held.load(home);
        team_wait<Cut::kSize>(1 + team);
        fetch(row + step);
        const auto total = crew.template join<Op>(line.find(held));
        held.forget();
        constexpr bool kAgain = requires { line.prescribe(total); };
        const auto prescription = [&] {
            if constexpr (kAgain) return line.prescribe(total);
            else return line.prescribe(total, total);
        }();
        #pragma unroll
        for (u32 j = 0; j < held.kUnits; ++j) {
            if (!held.has(j)) continue;
            const auto& x = held.numbers(j);
            OneHeld<Line, Cut> one{held, j};
            if constexpr (kAgain) line.again(one, total);
            else line.find(one);
            line.finish(held.unit(j), x, prescription, nullptr);
        }
    }
#endif
}
