// places.cu: the entries of lists in the order of the places that they name, stably: a counting sort by one digit after
// the other, the lowest first.
//
// A list is cut into parts, a block each. One launch counts the digits of every part, the next one moves entries behind
// those of lower digits and those of the same in earlier parts. The keys of the first digit are the index itself; an entry
// outside of it is reported and goes to the end.
//
// Launch     1-D, kThreads threads, parts blocks for each list. Static shared memory.
// Requires   lists shorter than 2^32 - 1, extent below that; share: a multiple of kPlaceTile. In between and in the end
//            [lists, n]: keys and positions.
// Aliasing   what is written overlaps nothing.
// Numerics   exact, the same in every run.
// Bound by   latency for a short list; memory for many: 20 bytes an entry and digit.
#include "digits.cuh"
#include "fault.cuh"

static_assert(kDigits == kThreads, "a thread for each digit");
constexpr u32 kWarps = kThreads / kWarp;
constexpr u32 kEach = kPlaceTile / kThreads;  // entries of a thread at a time

// What a launch reads and writes. The twin of Places in src/args.rs.
struct Places {
    const i64* index;      // of the first digit
    u64 index_step;
    const u32* in_keys;    // of the others, [lists, n]
    const u32* in_order;
    u32* out_keys;
    u32* out_order;
    u32* counts;           // [lists, parts, kDigits]
    u64 extent;            // places are below
    Fault fault;
    u32 n, share, parts;   // entries of a list and of a part, parts of a list
    u32 shift;             // of the digit
};

// The entries of a list.
template <bool kFirst> struct Entries {
    const Places& places;
    const i64* index;
    u64 start;

    __device__ __forceinline__ Entries(const Places& places, const Walk<1>& lists, u64 list)
        : places(places), start(list * places.n) {
        u64 i[1] = {list};
        Place<1> place[1] = {};
        if constexpr (kFirst) lists.at(i, place);
        index = places.index + place[0].of[0];
    }

    __device__ __forceinline__ u32 key(u32 i) const {
        if constexpr (!kFirst) return places.in_keys[start + i];
        const u64 at = index[i * places.index_step];
        return at < places.extent ? at : places.extent;
    }

    __device__ __forceinline__ u32 position(u32 i) const {
        if constexpr (kFirst) return i;
        else return places.in_order[start + i];
    }
};

template <bool kFirst>
__global__ void __launch_bounds__(kThreads)
places_count(const __grid_constant__ Places places, const __grid_constant__ Walk<1> lists) {
    follow();
    __shared__ u32 counts[kDigits];
    const u32 part = blockIdx.x % places.parts;
    const Entries<kFirst> entries(places, lists, blockIdx.x / places.parts);
    const u32 begin = part * places.share, end = min(begin + places.share, places.n);
    counts[threadIdx.x] = 0;
    __syncthreads();
    // Whole numbers: in any order the same sums.
    #pragma unroll kEach
    for (u32 i = begin + threadIdx.x; i < end; i += kThreads) atomicAdd(&counts[digit_of(entries.key(i), places.shift)], 1u);
    __syncthreads();
    places.counts[u64(blockIdx.x) * kDigits + threadIdx.x] = counts[threadIdx.x];
}

template <bool kFirst>
__global__ void __launch_bounds__(kThreads)
places_move(const __grid_constant__ Places places, const __grid_constant__ Walk<1> lists) {
    follow();
    __shared__ u32 of_warp[kWarps][kDigits];
    const u32 lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const u32 part = blockIdx.x % places.parts;
    const u64 list = blockIdx.x / places.parts;
    const Entries<kFirst> entries(places, lists, list);
    const u32 begin = part * places.share, end = min(begin + places.share, places.n);

    // A warp has neighbours, so that earlier ones are of lower warps, rounds and lanes.
    const u32 own = warp * (kWarp * kEach) + lane;
    u32 key[kEach], position[kEach];
    const auto fetch = [&](u32 tile) {
        #pragma unroll
        for (u32 j = 0; j < kEach; ++j) {
            const u32 i = tile + own + j * kWarp;
            key[j] = i < end ? entries.key(i) : 0;
            position[j] = i < end ? entries.position(i) : 0;
        }
    };
    fetch(begin);  // on their way meanwhile

    // Of this thread's digit, in all parts and in those before this one.
    u32 all = 0, before = 0;
    const u32* counts = places.counts + list * places.parts * kDigits + threadIdx.x;
    #pragma unroll 16
    for (u32 p = 0; p < places.parts; ++p) {
        const u32 count = counts[p * kDigits];
        all += count;
        before += p < part ? count : 0;
    }
    // Where the next entry of this thread's digit goes.
    u32 next = sum_before<kWarps>(all) + before;

    #pragma unroll 1
    for (u32 tile = begin; tile < end; tile += kPlaceTile) {
        #pragma unroll
        for (u32 w = 0; w < kWarps; ++w) of_warp[w][threadIdx.x] = 0;
        __syncthreads();
        u32 rank[kEach];
        #pragma unroll
        for (u32 j = 0; j < kEach; ++j) {
            const u32 among = __ballot_sync(0xffffffffu, tile + own + j * kWarp < end);
            rank[j] = rank_digit(of_warp[warp], digit_of(key[j], places.shift), among);
        }
        __syncthreads();
        #pragma unroll
        for (u32 w = 0; w < kWarps; ++w) {
            const u32 count = of_warp[w][threadIdx.x];
            of_warp[w][threadIdx.x] = next;
            next += count;
        }
        __syncthreads();
        #pragma unroll
        for (u32 j = 0; j < kEach; ++j) {
            const u32 i = tile + own + j * kWarp;
            if (i >= end) break;
            if (kFirst && key[j] == places.extent) places.fault.raise(entries.index[i * places.index_step]);
            const u64 at = entries.start + of_warp[warp][digit_of(key[j], places.shift)] + rank[j];
            places.out_keys[at] = key[j];
            places.out_order[at] = position[j];
        }
        __syncthreads();
        fetch(tile + kPlaceTile);
    }
}
