// sort_few.cu: the first elements of parts of rows, at most a warp's: a pass of sort.cu that reads each element once and keeps
// few of them.
//
// Launch     1-D, kThreads threads: a warp for each part of kFewPart elements of each row.
// Requires   as sort.cu, of a first pass. keep: at most kWarp.
// Aliasing   as sort.cu.
// Numerics   exact, as sort.cu.
// Bound by   memory: sizeof(T) bytes an element, where they come in any order. Where each one is before all that were before
//            it, by instructions, some thirty for each.
#include "keys.cuh"
#include "shuffle.cuh"

// Elements that a lane looks at together. As many as a warp has lanes: those of one lane are looked at by all of them.
constexpr u32 kEach = kWarp;
// Blocks of a multiprocessor, where what the compiler takes by itself is too little.
#if __CUDA_ARCH__ >= 1000
constexpr u32 kFewBlocks = 3;
#else
constexpr u32 kFewBlocks = 0;
#endif

// A pair of key and position; of equal keys the lower position is first.
template <typename K> struct Entry {
    K key;
    u32 position;
    __device__ __forceinline__ bool is_before(Entry other) const {
        return key < other.key || (key == other.key && position < other.position);
    }
};

// A row from first to last element of a part.
template <typename T> struct Part {
    using Source = Elements<T>;
    using K = typename Source::Key;
    static constexpr u32 kLen = 16 / sizeof(T), kPacks = kEach / kLen, kAtOnce = kPacks < 8 ? kPacks : 8;
    const Sort& sort;
    u64 start;
    u32 end;
    bool is_packed;

    // Where element i of a lane's is, of the strip that begins at `at`.
    __device__ __forceinline__ u32 place(u32 at, u32 lane, u32 i) const {
        return is_packed ? at + (i / kLen * kWarp + lane) * kLen + i % kLen : at + i * kWarp + lane;
    }

    // The first key of a lane's elements.
    __device__ __forceinline__ K first(u32 at, u32 lane) const {
        K first = ~K(0);
        if (is_packed && at + kWarp * kEach <= end) {
            const T* from = static_cast<const T*>(sort.keys) + start + at + lane * kLen;
            #pragma unroll 1
            for (u32 j = 0; j < kPacks; j += kAtOnce) {
                Pack<T, kLen> x[kAtOnce];
                #pragma unroll
                for (u32 i = 0; i < kAtOnce; ++i) x[i] = load<kLen, Cache::Use>(from + (j + i) * (kWarp * kLen));
                if constexpr (kIsHalf<T>) return of_pairs(x);
                #pragma unroll
                for (u32 i = 0; i < kAtOnce * kLen; ++i) {
                    K key = order_of(x[i / kLen].lane[i % kLen]);
                    if (sort.descending) key = ~key;
                    first = key < first ? key : first;
                }
            }
            return first;
        }
        #pragma unroll 4
        for (u32 i = 0; i < kEach; ++i) {
            const u32 position = place(at, lane, i);
            if (position >= end) continue;
            const K key = key_of(position);
            first = key < first ? key : first;
        }
        return first;
    }

    __device__ __forceinline__ K key_of(u32 position) const {
        K key;
        Source::load(sort, start, 0, position, key, position);
        return key;
    }

  private:
    // NaN is the largest.
    __device__ __forceinline__ K of_pairs(const Pack<T, kLen> (&x)[kPacks]) const {
        u32 most = bits_as<Pack<u32, kLen / 2>>(x[0]).lane[0], least = most;
        #pragma unroll
        for (u32 i = 1; i < kEach / 2; ++i) {
            const u32 pair = bits_as<Pack<u32, kLen / 2>>(x[i / (kLen / 2)]).lane[i % (kLen / 2)];
            if constexpr (kSame<T, f16>) most = max_nan_f16x2(most, pair), least = min_f16x2(least, pair);
            else most = max_nan_bf16x2(most, pair), least = min_bf16x2(least, pair);
        }
        const u32 pair = sort.descending ? most : least;
        const u32 a = order_of(half_of<T>(pair, 0)), b = order_of(half_of<T>(pair, 1));
        return sort.descending ? ~(a > b ? a : b) : a < b ? a : b;
    }
};

template <typename T>
__global__ void __launch_bounds__(kThreads, kFewBlocks)
sort_few(const __grid_constant__ Sort sort, const __grid_constant__ Walk<3> rows, u32 parts) {
    follow();
    using K = typename Part<T>::K;
    using E = Entry<K>;
    const u64 warp = u64(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
    const u32 lane = threadIdx.x % kWarp, which = u32(warp % parts);
    const u64 row = warp / parts;
    if (row >= sort.rows) return;
    const auto start = start_of(rows, sort.first + row);
    const u32 begin = which * kFewPart, end = sort.n - begin < kFewPart ? sort.n : begin + kFewPart;
    const u64 address = reinterpret_cast<u64>(static_cast<const T*>(sort.keys) + start.of[0] + begin);
    const Part<T> part{sort, start.of[0], end, sort.key_step == 1 && address % 16 == 0};

    // The first that there are so far, in order; what is none is behind all.
    E own = {~K(0), ~0u}, last = own;
    #pragma unroll 1
    for (u32 at = begin; at < end; at += kWarp * kEach) {
        const K first = part.first(at, lane);
        const auto is_asked = [&](K key) { return key < last.key || (key == last.key && last.position == ~0u); };
        u32 asked = __ballot_sync(0xffffffffu, is_asked(first));
        if (u32(__popc(asked)) > sort.keep) {
            // As many lanes have an element that is not behind this one.
            u32 rank = 0;
            #pragma unroll 4
            for (u32 i = 0; i < kWarp; ++i) {
                const K other = shuffle_from(first, i);
                rank += other < first || (other == first && i < lane);
            }
            const K bound = shuffle_from(first, __ffs(__ballot_sync(0xffffffffu, rank == sort.keep - 1)) - 1);
            asked &= __ballot_sync(0xffffffffu, first <= bound);
        }
        #pragma unroll 1
        for (; asked; asked &= asked - 1) {
            const u32 position = part.place(at, __ffs(asked) - 1, lane);
            E x = {~K(0), ~0u};
            if (position < end) x = {part.key_of(position), position};
            u32 better = __ballot_sync(0xffffffffu, x.is_before(last));
            #pragma unroll 1
            while (better) {
                const E now = shuffle_from(x, __ffs(better) - 1), before = shuffle_up(own, 1);
                const u32 rank = __popc(__ballot_sync(0xffffffffu, own.is_before(now)));
                if (lane == rank) own = now;
                if (lane > rank) own = before;
                last = shuffle_from(own, sort.keep - 1);
                better &= better - 1;
                better &= __ballot_sync(0xffffffffu, x.is_before(last));
            }
        }
    }
    const u32 count = end - begin < sort.keep ? end - begin : sort.keep;
    if (lane < count) put(sort, start, row, which * sort.keep + lane, own.key, own.position);
}
