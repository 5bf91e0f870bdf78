// scatter.cu: sums of elements that go to the same place along an axis, added to what is there.
//
// The places that elements go to, in order, are a list, and each is a run of it (see places.cu). A lane is one position on
// the other axes; lanes may share a list. The list is cut into chunks. Runs that lie within a chunk are added to their
// place; what a chunk has of a run that began before it is its head, of one that began in it and goes on its tail, and the
// next launch adds each tail and the heads behind it.
//
// Launch     scatter_add: 1-D, kThreads threads, a thread for each unit of kLen lanes of each chunk, units innermost.
//            scatter_join: likewise, of each chunk but the last. scatter_rest: a warp for kRest neighbouring places. No shared memory.
// Requires   keys, order: [lists, n], keys not falling. ends: heads, then tails, [2, chunks, lanes]. from, out: of one
//            layout, where no element stands for two. With kLen > 1 packs of src, from and out are aligned, and lanes of a
//            unit are neighbours that share a list. scatter_rest: one list.
// Aliasing   from == out is the op in place, without scatter_rest; out and ends overlap nothing else.
// Numerics   floats add in f32, in the order of the list by chunks, then chunk by chunk, then to from, and round once;
//            integers wrap. The same bits in every run. What goes to extent goes nowhere.
// Bound by   memory: n * lanes * sizeof(T) bytes, gathered.
#include "common.cuh"
#include "shuffle.cuh"

// Entries that a thread loads before it adds.
constexpr u32 kAhead = 4;

// Lets the compiler take 128 registers before it spills.
constexpr u32 kMinBlocks = 2;

// The twin of Scatter in src/args.rs.
struct Scatter {
    const void* src;
    u64 src_step;
    const u32 *keys, *order;
    void* ends;
    const void* from;
    void* out;
    u64 out_step;   // of from too
    u64 extent;
    u64 n;          // entries of a list
    u64 chunk;      // entries of a chunk
    u64 chunks;
};

template <typename T> using Total = Choose<kIsFloat<T>, f32, Choose<sizeof(T) == 8, u64, u32>>;
template <typename T, u32 kLen> using Totals = Pack<Total<T>, kLen>;

template <typename T, u32 kLen> __device__ __forceinline__ Totals<T, kLen> totals_of(const Pack<T, kLen>& x) {
    if constexpr (kIsFloat<T>) {
        return to_f32(x);
    } else {
        Totals<T, kLen> sums;
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) sums.lane[l] = x.lane[l];
        return sums;
    }
}

template <typename T, u32 kLen>
__device__ __forceinline__ void add(Pack<T, kLen>& sums, const Pack<T, kLen>& x) {
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) sums.lane[l] += x.lane[l];
}

// A unit of lanes: where its elements are. The operands of lanes are src, from and out, and the list's number.
template <typename T, u32 kLen> struct Unit {
    const Scatter& scatter;
    u64 unit, units;
    const u32 *keys, *order;
    const T *src, *from;
    T* out;

    __device__ __forceinline__ Unit(const Scatter& scatter, const Walk<3>& lanes, u64 unit)
        : scatter(scatter), unit(unit), units(lanes.numel) {
        u64 i[1] = {unit};
        Place<3> start[1];
        lanes.at(i, start);
        keys = scatter.keys + start[0].of[2] * scatter.n;
        order = scatter.order + start[0].of[2] * scatter.n;
        src = static_cast<const T*>(scatter.src) + start[0].of[0];
        from = static_cast<const T*>(scatter.from) + start[0].of[1];
        out = static_cast<T*>(scatter.out) + start[0].of[1];
    }

    __device__ __forceinline__ Pack<T, kLen> there(u32 place) const {
        return load<kLen, Cache::Use>(from + place * scatter.out_step);
    }

    __device__ __forceinline__ void put(u32 place, Totals<T, kLen> sums, const Pack<T, kLen>& there) const {
        const auto before = totals_of(there);
        Pack<T, kLen> x;
        if constexpr (kIsFloat<T>) {
            f32 y[kLen];
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) y[l] = before.lane[l] + sums.lane[l];
            x = rounded<T>(y);
        } else {
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) x.lane[l] = T(before.lane[l] + sums.lane[l]);
        }
        store(out + place * scatter.out_step, x);
    }

    // The head of a chunk (0) or its tail (1).
    __device__ __forceinline__ Totals<T, kLen>& end(u32 which, u64 chunk) const {
        return static_cast<Totals<T, kLen>*>(scatter.ends)[(which * scatter.chunks + chunk) * units + unit];
    }
};

template <typename T, u32 kLen>
__global__ void __launch_bounds__(kThreads)
scatter_add(const __grid_constant__ Scatter scatter, const __grid_constant__ Walk<3> lanes) {
    follow();
    const u64 thread = u64(blockIdx.x) * kThreads + threadIdx.x;
    if (thread >= lanes.numel * scatter.chunks) return;
    const u64 chunk = thread / lanes.numel;
    const Unit<T, kLen> unit(scatter, lanes, thread % lanes.numel);
    const u64 begin = chunk * scatter.chunk, end = min(begin + scatter.chunk, scatter.n);
    const u32 first = unit.keys[begin];
    // Whether the run began in an earlier chunk.
    const bool opened = begin > 0 && unit.keys[begin - 1] == first;

    Totals<T, kLen> sums = {};
    u32 place = first;
    bool goes_on = false;
    #pragma unroll 1
    for (u64 i = begin; i < end; i += kAhead) {
        u32 places[kAhead + 1];
        Pack<T, kLen> x[kAhead], there[kAhead];
        bool ends[kAhead], is_own[kAhead];
        #pragma unroll
        for (u32 j = 0; j <= kAhead; ++j) places[j] = i + j < scatter.n ? unit.keys[i + j] : ~0u;
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) {
            if (i + j < end) x[j] = load<kLen, Cache::Use>(unit.src + unit.order[i + j] * scatter.src_step);
            ends[j] = places[j + 1] != places[j];
            is_own[j] = i + j < end && ends[j] && places[j] < scatter.extent && !(opened && places[j] == first);
            if (is_own[j]) there[j] = unit.there(places[j]);
        }
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) {
            if (i + j >= end) break;
            add(sums, totals_of(x[j]));
            place = places[j];
            goes_on = !ends[j];
            if (goes_on) continue;
            if (is_own[j]) unit.put(place, sums, there[j]);
            else if (opened && place == first) unit.end(0, chunk) = sums;
            sums = {};
        }
    }
    if (goes_on) unit.end(opened && place == first ? 0 : 1, chunk) = sums;
}

template <typename T, u32 kLen>
__global__ void __launch_bounds__(kThreads, kMinBlocks)
scatter_join(const __grid_constant__ Scatter scatter, const __grid_constant__ Walk<3> lanes) {
    follow();
    const u64 thread = u64(blockIdx.x) * kThreads + threadIdx.x;
    if (thread >= lanes.numel * (scatter.chunks - 1)) return;
    const u64 chunk = thread / lanes.numel;
    const Unit<T, kLen> unit(scatter, lanes, thread % lanes.numel);
    const u64 begin = chunk * scatter.chunk, end = begin + scatter.chunk;
    const u32 place = unit.keys[end - 1];
    const bool opened = begin > 0 && unit.keys[begin - 1] == place;
    if (place >= scatter.extent || unit.keys[end] != place || opened) return;

    const auto there = unit.there(place);
    Totals<T, kLen> sums = unit.end(1, chunk);
    bool goes_on = true;
    #pragma unroll 1
    for (u64 next = chunk + 1; goes_on; next += kAhead) {
        Totals<T, kLen> heads[kAhead];
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) {
            goes_on = next + j < scatter.chunks && unit.keys[(next + j) * scatter.chunk] == place;
            heads[j] = {};
            if (goes_on) heads[j] = unit.end(0, next + j);
        }
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) add(sums, heads[j]);
    }
    unit.put(place, sums, there);
}

// Copies what no entry of the list goes to.
template <typename T, u32 kLen>
__global__ void __launch_bounds__(kThreads)
scatter_rest(const __grid_constant__ Scatter scatter, const __grid_constant__ Walk<3> lanes) {
    follow();
    const u32 lane = threadIdx.x % kWarp;
    const u64 first = (u64(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp) * kRest;
    // A lane looks for a place: the first entry that is not below it.
    bool rests = false;
    if (lane < kRest && first + lane < scatter.extent) {
        u64 low = 0, high = scatter.n;
        while (low < high) {
            const u64 middle = (low + high) / 2;
            if (scatter.keys[middle] < first + lane) low = middle + 1;
            else high = middle;
        }
        rests = low == scatter.n || scatter.keys[low] != first + lane;
    }
    u32 places = __ballot_sync(0xffffffffu, rests);
    #pragma unroll 1
    for (; places != 0; places &= places - 1) {
        const u64 place = (first + __ffs(places) - 1) * scatter.out_step;
        #pragma unroll 4
        for (u64 i = lane; i < lanes.numel; i += kWarp) {
            const Unit<T, kLen> unit(scatter, lanes, i);
            store(unit.out + place, load<kLen, Cache::Use>(unit.from + place));
        }
    }
}
