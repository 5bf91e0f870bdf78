// scatter_lists.cu: scatter.cu where every lane has a list of its own and a block holds one: it is brought in order of places
// in shared memory, and runs of equal places are added to them.
//
// Launch     1-D, kListThreads threads, a block for each lane. Static shared memory.
// Requires   lists of at most kListThreads * kEach entries, extent below 2^32 - 1. No element of out stands for two.
// Aliasing   out overlaps nothing.
// Numerics   floats add in f32, in the order of the list, then to out, and round once; integers wrap. The same bits in every
//            run. What is out of range goes nowhere, and is reported.
// Bound by   instructions: some fifty an entry and digit.
#include "digits.cuh"
#include "fault.cuh"

static_assert(kListThreads == 2 * kDigits, "half of the threads have a digit each");

// The twin of ScatterLists in src/args.rs.
struct ScatterLists {
    const i64* index;
    u64 index_step;
    const void* src;
    u64 src_step;
    void* out;
    u64 out_step;
    u64 extent;
    Fault fault;
    u32 n;       // entries of a list
    u32 digits;  // of the largest key
};

// Entries of a run that are loaded before they are added.
constexpr u32 kAhead = 4;

template <typename T> using Total = Choose<kIsFloat<T>, f32, Choose<sizeof(T) == 8, u64, u32>>;

// With room for kEach entries of each thread.
template <typename T, u32 kEach>
__global__ void __launch_bounds__(kListThreads, 2)
scatter_lists(const __grid_constant__ ScatterLists lists, const __grid_constant__ Walk<3> lanes) {
    follow();
    constexpr u32 kWarps = kListThreads / kWarp, kRoom = kListThreads * kEach;
    __shared__ u32 keys[kRoom];
    __shared__ u16 order[kRoom];
    __shared__ u16 of_warp[kWarps][kDigits];
    const u32 lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, n = lists.n;
    const u32 own = threadIdx.x % kDigits, half = threadIdx.x / kDigits;
    u64 number[1] = {blockIdx.x};
    Place<3> place[1];
    lanes.at(number, place);
    const T* src = static_cast<const T*>(lists.src) + place[0].of[0];
    T* out = static_cast<T*>(lists.out) + place[0].of[1];
    const i64* index = lists.index + place[0].of[2];

    // A warp has neighbours, so that earlier ones are of lower warps, rounds and lanes.
    const u32 first = warp * (kWarp * kEach) + lane;
    #pragma unroll 4
    for (u32 i = threadIdx.x; i < kRoom; i += kListThreads) {
        u64 at = ~0u;  // where there is no entry: behind all others
        if (i < n) {
            at = index[i * lists.index_step];
            if (at >= lists.extent) lists.fault.raise(at), at = lists.extent;
        }
        keys[i] = at;
        order[i] = i;
    }
    #pragma unroll 1
    for (u32 shift = 0; shift < lists.digits * kDigitBits; shift += kDigitBits) {
        #pragma unroll
        for (u32 i = 0; i < kWarps / 2; ++i) of_warp[2 * i + half][own] = 0;
        __syncthreads();
        u32 key[kEach], rank[kEach];  // behind the rank the position
        #pragma unroll
        for (u32 j = 0; j < kEach; ++j) {
            key[j] = keys[first + j * kWarp];
            rank[j] = order[first + j * kWarp] << 16 | rank_digit(of_warp[warp], digit_of(key[j], shift), 0xffffffffu);
        }
        __syncthreads();
        // Of this thread's digit, where the entries of each warp go.
        u32 all = 0;
        #pragma unroll
        for (u32 w = 0; w < kWarps && half == 0; ++w) all += of_warp[w][own];
        u32 next = sum_before<kWarps>(all);
        #pragma unroll
        for (u32 w = 0; w < kWarps && half == 0; ++w) {
            const u32 count = of_warp[w][own];
            of_warp[w][own] = next;
            next += count;
        }
        __syncthreads();
        #pragma unroll
        for (u32 j = 0; j < kEach; ++j) {
            const u32 to = of_warp[warp][digit_of(key[j], shift)] + (rank[j] & 0xffff);
            keys[to] = key[j];
            order[to] = rank[j] >> 16;
        }
        __syncthreads();
    }

    // The first of a run adds up all of it.
    #pragma unroll 1
    for (u32 i = threadIdx.x; i < n; i += kListThreads) {
        const u32 to = keys[i];
        if (to >= lists.extent || (i > 0 && keys[i - 1] == to)) continue;
        T* const at = out + to * lists.out_step;
        const T there = *at;
        Total<T> sum = 0;
        bool goes_on = true;
        #pragma unroll 1
        for (u32 k = i; goes_on; k += kAhead) {
            T x[kAhead] = {};
            #pragma unroll
            for (u32 j = 0; j < kAhead; ++j) {
                goes_on = k + j < n && keys[k + j] == to;
                if (goes_on) x[j] = src[order[k + j] * lists.src_step];
            }
            #pragma unroll
            for (u32 j = 0; j < kAhead; ++j) {
                if constexpr (kIsFloat<T>) sum += to_f32(x[j]);
                else sum += x[j];
            }
        }
        if constexpr (kIsFloat<T>) *at = from_f32<T>(to_f32(there) + sum);
        else *at = T(there + sum);
    }
}
