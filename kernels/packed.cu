// packed.cu: sums and means of the rows of sequences that lie one after the other. Long ones are cut into slices, whose
// sums a second pass joins.
//
// A slot is a sequence or, where they are cut, a slice: those of sequence s begin with slot bounds[s] / cut + s, so that
// every slice has one of its own and few are left over.
//
// Launch     1-D, kThreads threads, tiles blocks for each kThreads / (side * sharing) slots begun; packed_join the same
//            over cells. Static shared memory.
// Requires   side, sharing: powers of two, side * sharing at most kThreads. bounds: count + 1, not falling. With kLen > 1
//            packs of in and out are 16-byte aligned and contiguous along the inner axis of columns (in, out); row_step
//            and out_step are whole packs. packed_join: partials of this stream's last packed_rows, columns in elements.
// Aliasing   in, out and partials overlap nothing.
// Numerics   accumulates in f32: rows of a thread in order, then threads as a tree, then slices likewise; one rounding on
//            store. The order is a fact of shapes and lengths: the same bits in every run. NaN in, NaN out.
// Bound by   memory: n * sizeof(T) bytes.
#include "common.cuh"

// Rows that a thread loads before it adds.
constexpr u32 kAhead = 4;
constexpr u32 kMinBlocks = 3;

// The twin of Packed in src/args.rs.
struct Packed {
    const void* in;
    void* out;          // [count, out_step]
    f32* partials;      // [2 * cells, out_step], or null: sums of slices
    const u32* bounds;  // where each sequence begins, and the end of the last
    u64 row_step;
    u64 out_step;
    u64 slots;
    u64 cells;          // runs of cut rows
    u32 count;          // sequences
    u32 cut;            // rows of a slice
    u32 tiles, side, sharing;
    u32 mean;
};

// The part of a thread.
struct Part {
    u64 unit;   // of a row
    u64 index;  // of what is summed
    u32 lane;   // among the threads that share it

    __device__ __forceinline__ explicit Part(const Packed& p) {
        const u32 team = p.side * p.sharing;
        unit = u64(blockIdx.x % p.tiles) * p.side + threadIdx.x % p.side;
        index = u64(blockIdx.x / p.tiles) * (kThreads / team) + threadIdx.x / team;
        lane = threadIdx.x % team / p.side;
    }
};

// The last sequence whose key is not above key; keys do not fall, and the first is 0.
template <typename Key> __device__ __forceinline__ u32 last_up_to(u64 key, u32 count, Key key_of) {
    u32 low = 0, high = count;
    #pragma unroll 1
    while (high - low > 1) {
        const u32 middle = low + (high - low) / 2;
        if (key_of(middle) <= key) low = middle;
        else high = middle;
    }
    return low;
}

// Where the sum of a slice stands. In a cell at most one slice begins that is its sequence's first of several, and at
// most one that is not.
__device__ __forceinline__ u64 partial_row(const Packed& p, u32 begin, u32 slice) {
    return 2 * (u64(begin / p.cut) + slice) + (slice == 0);
}

// Adds rows begin, begin + step, ... below end.
template <u32 kLen, typename Row> __device__ __forceinline__ void add_rows(f32 (&acc)[kLen], u32 begin, u32 end, u32 step, Row row) {
    #pragma unroll 1
    for (u32 i = begin; i < end;) {
        const u32 left = end - i;
        decltype(row(i)) x[kAhead] = {};
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) {
            if (j * step < left) x[j] = row(i + j * step);
        }
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) {
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) acc[l] += widen(x[j].lane[l]);
        }
        i = kAhead * step < left ? i + kAhead * step : end;
    }
}

// Adds up what the threads have that share something, in the first of them. Every thread of the block takes part.
template <u32 kLen> __device__ __forceinline__ void join(f32 (&acc)[kLen], const Packed& p, u32 lane) {
    __shared__ f32 of_thread[kLen][kThreads];
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) of_thread[l][threadIdx.x] = acc[l];
    __syncthreads();
    #pragma unroll 1
    for (u32 half = p.sharing / 2; half > 0; half /= 2) {
        if (lane < half) {
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) {
                acc[l] += of_thread[l][threadIdx.x + half * p.side];
                of_thread[l][threadIdx.x] = acc[l];
            }
        }
        __syncthreads();
    }
}

template <typename T> __device__ __forceinline__ T finish(f32 sum, u32 length, bool mean) {
    return narrow<T>(mean ? __fdiv_rn(sum, f32(length)) : sum);
}

__device__ __forceinline__ Place<2> place_of(const Walk<2>& columns, u64 unit) {
    u64 i[1] = {unit};
    Place<2> place[1];
    columns.at(i, place);
    return place[0];
}

template <typename T, u32 kLen>
__global__ void __launch_bounds__(kThreads, kMinBlocks)
packed_rows(const __grid_constant__ Packed p, const __grid_constant__ Walk<2> columns) {
    follow();
    const Part part(p);
    const bool exists = part.unit < columns.numel && part.index < p.slots;
    const Place<2> place = place_of(columns, exists ? part.unit : 0);
    u32 sequence = 0, slice = 0, begin = 0, length = 0;
    if (exists) {
        sequence = u32(part.index);
        if (p.partials) {
            const auto first_slot = [&](u32 s) { return u64(p.bounds[s] / p.cut) + s; };
            sequence = last_up_to(part.index, p.count, first_slot);
            slice = u32(part.index - first_slot(sequence));
        }
        begin = p.bounds[sequence];
        length = p.bounds[sequence + 1] - begin;
    }
    // A slot that is left over begins behind its sequence; that of an empty sequence is no such slot.
    const u64 offset = u64(slice) * p.cut;
    const u32 first = offset < length ? u32(offset) : length;
    const u32 end = length - first > p.cut ? first + p.cut : length;

    f32 acc[kLen] = {};
    const T* rows = static_cast<const T*>(p.in) + place.of[0] + begin * p.row_step;
    add_rows(acc, first + part.lane, end, p.sharing,
             [&](u32 i) { return load<kLen, Cache::Skip>(rows + i * p.row_step); });
    join(acc, p, part.lane);

    if (!exists || part.lane != 0 || (slice > 0 && first == length)) return;
    if (length > p.cut) {
        f32* sums = p.partials + partial_row(p, begin, slice) * p.out_step + part.unit * kLen;
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) sums[l] = acc[l];
        return;
    }
    Pack<T, kLen> out;
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) out.lane[l] = finish<T>(acc[l], length, p.mean);
    store(static_cast<T*>(p.out) + sequence * p.out_step + place.of[1], out);
}

// The second pass, over the cells in which a sequence of several slices begins: at most one in each, and no other begins
// there after it.
template <typename T>
__global__ void __launch_bounds__(kThreads, kMinBlocks)
packed_join(const __grid_constant__ Packed p, const __grid_constant__ Walk<2> columns) {
    follow();
    const Part part(p);
    u32 sequence = 0, begin = 0, length = 0;
    bool exists = part.unit < columns.numel && part.index < p.cells;
    if (exists) {
        const u64 start = part.index * p.cut;
        sequence = last_up_to(start + p.cut - 1, p.count, [&](u32 s) { return u64(p.bounds[s]); });
        begin = p.bounds[sequence];
        length = p.bounds[sequence + 1] - begin;
        exists = begin >= start && length > p.cut;
    }
    const u32 slices = exists ? (length - 1) / p.cut + 1 : 0;

    f32 acc[1] = {};
    add_rows(acc, part.lane, slices, p.sharing, [&](u32 i) {
        return Pack<f32, 1>{p.partials[partial_row(p, begin, i) * p.out_step + part.unit]};
    });
    join(acc, p, part.lane);
    if (!exists || part.lane != 0) return;
    const u64 out = sequence * p.out_step + place_of(columns, part.unit).of[1];
    static_cast<T*>(p.out)[out] = finish<T>(acc[0], length, p.mean);
}
