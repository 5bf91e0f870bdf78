// sort.cu: stable sorts of rows, whole or of their first elements, by merging.
//
// A pass sorts tiles of kSortTile elements, or merges pairs of sorted runs; each keeps of a run what may come out in the
// end. Between passes a row is pairs of key and position; the last pass writes values and positions. Keys are unsigned
// integers that order as the elements do. Equal keys come in the order of their positions, and every step keeps that.
//
// Launch     1-D, kThreads threads, static shared memory. tiles: a block for each kSortTile slots, where a row has width
//            slots if it fits a tile, and whole tiles otherwise. merge: chunks blocks for each of pairs merged runs of
//            each row.
// Requires   rows shorter than 2^32 - 1. width: a power of two from kItems to kSortTile, not below n unless it is
//            kSortTile. Between passes runs lie one after the other without gaps, [rows, n].
// Aliasing   what is written overlaps nothing.
// Numerics   exact. NaN is the largest and equal to every NaN, 0 and -0 are equal; bits are moved as they are.
// Bound by   tiles: shared memory, log2(width / kItems) merges. merge: memory, 2 * (sizeof(K) + 4) bytes an element.
#include "keys.cuh"
#include "sort.cuh"

// Sorts the width slots of each row, or one tile of a row.
template <typename Source>
__global__ void __launch_bounds__(kThreads)
sort_tiles(const __grid_constant__ Sort sort, const __grid_constant__ Walk<3> rows, u32 width) {
    follow();
    using K = typename Source::Key;
    __shared__ Tile<K> tile;
    // If a row has several tiles, its width is a tile, and this block has tile number `which`.
    const u32 tiles = sort.n / kSortTile + (sort.n % kSortTile != 0), shift = __popc(width - 1);
    const u32 which = tiles > 1 ? blockIdx.x % tiles : 0;
    const u64 first = tiles > 1 ? blockIdx.x / tiles : u64(blockIdx.x) * (kSortTile >> shift);
    const u32 length = sort.n - which * kSortTile < width ? sort.n - which * kSortTile : width;

    u64 row = ~0ull;
    Place<3> start;
    #pragma unroll 4
    for (u32 j = 0; j < kItems; ++j) {
        const u32 s = j * kThreads + threadIdx.x;
        const u64 now = first + (s >> shift);
        const u32 i = s & (width - 1);
        // What is no element comes after all that are.
        K key = ~K(0);
        u32 position = 0;
        if (now < sort.rows && i < length) {
            if (now != row) start = start_of(rows, sort.first + now);
            row = now;
            Source::load(sort, start.of[0], row, which * kSortTile + i, key, position);
        }
        tile.key(s) = key;
        tile.position(s) = position;
    }
    __syncthreads();

    Items<K> items;
    items.load(tile);
    items.sort();
    #pragma unroll 1
    for (u32 run = kItems; run < width; run *= 2) {
        // Every thread has read the tile.
        __syncthreads();
        items.store(tile);
        __syncthreads();
        const u32 begin = threadIdx.x * kItems & ~(2 * run - 1);
        items.merge(tile, begin, begin + run, begin + 2 * run, threadIdx.x * kItems - begin);
    }
    __syncthreads();
    items.store(tile);
    __syncthreads();

    row = ~0ull;
    #pragma unroll 4
    for (u32 j = 0; j < kItems; ++j) {
        const u32 s = j * kThreads + threadIdx.x;
        const u64 now = first + (s >> shift);
        const u32 i = s & (width - 1);
        if (now >= sort.rows || i >= length || i >= sort.keep) continue;
        if (now != row && !sort.out_keys) start = start_of(rows, sort.first + now);
        row = now;
        put(sort, start, row, which * sort.keep + i, tile.key(s), tile.position(s));
    }
}

// How many of the first `diagonal` elements of what two runs merge to come from the left. A whole warp asks, each lane
// at one place of 32.
template <typename K>
__device__ __forceinline__ u32 cut_of(const K* left, u32 of_left, const K* right, u32 of_right, u32 diagonal) {
    const u32 lane = threadIdx.x % kWarp;
    u32 low = diagonal > of_right ? diagonal - of_right : 0, high = diagonal < of_left ? diagonal : of_left;
    while (low < high) {
        const u32 step = (high - low - 1) / kWarp + 1;
        const u64 at = low + u64(lane) * step;
        const bool before = at < high && left[at] <= right[diagonal - 1 - at];
        const u32 count = __popc(__ballot_sync(0xffffffffu, before));
        const u64 beyond = low + u64(count) * step;
        if (count > 0) low += (count - 1) * step + 1;
        if (beyond < high) high = u32(beyond);
    }
    return low;
}

// Merges the runs of a row by pairs. A block makes kSortTile elements of one merged run.
template <typename K>
__global__ void __launch_bounds__(kThreads)
sort_merge(const __grid_constant__ Sort sort, const __grid_constant__ Walk<3> rows, u32 pairs, u32 chunks) {
    follow();
    __shared__ Tile<K> tile;
    __shared__ u32 cuts[2];
    const u32 chunk = blockIdx.x % chunks, pair = blockIdx.x / chunks % pairs;
    const u64 row = blockIdx.x / chunks / pairs;
    const u64 skip = u64(pair) * 2 * sort.run;
    const u32 both = u32(sort.n - skip);
    const u32 of_left = both < sort.run ? both : sort.run;
    const u32 of_right = both - of_left < sort.run ? both - of_left : sort.run;
    const u32 total = of_left + of_right < sort.keep ? of_left + of_right : sort.keep;
    const u32 begin = chunk * kSortTile;
    if (begin >= total) return;
    const u32 n = total - begin < kSortTile ? total - begin : kSortTile;

    const K* left = static_cast<const K*>(sort.in_keys) + row * sort.n + skip;
    const u32* order = sort.in_order + row * sort.n + skip;
    if (threadIdx.x < 2 * kWarp) {
        const u32 which = threadIdx.x / kWarp;
        const u32 cut = cut_of(left, of_left, left + of_left, of_right, begin + which * n);
        if (threadIdx.x % kWarp == 0) cuts[which] = cut;
    }
    __syncthreads();
    const u32 from_left = cuts[0], middle = cuts[1] - cuts[0];
    const u32 from_right = of_left + (begin - from_left);

    #pragma unroll 1
    for (u32 s = threadIdx.x; s < n; s += kThreads) {
        const u32 at = s < middle ? from_left + s : from_right + (s - middle);
        tile.key(s) = left[at];
        tile.position(s) = order[at];
    }
    __syncthreads();
    Items<K> items;
    const u32 diagonal = threadIdx.x * kItems < n ? threadIdx.x * kItems : n;
    items.merge(tile, 0, middle, n, diagonal);
    __syncthreads();
    items.store(tile);
    __syncthreads();

    const Place<3> start = start_of(rows, sort.first + row);
    #pragma unroll 1
    for (u32 s = threadIdx.x; s < n; s += kThreads) {
        put(sort, start, row, pair * sort.keep + begin + s, tile.key(s), tile.position(s));
    }
}
