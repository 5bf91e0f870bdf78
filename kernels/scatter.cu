// scatter.cu: sums of elements that go to the same place along an axis, added to what is there.
//
// The places that elements go to, in order, are a list, and each is a run of it (see sort.cu). A lane is one position on
// the other axes; lanes may share a list. The list is cut into chunks of kScatterChunk entries. Runs that lie within a chunk are
// added to their place; what a chunk has of others, at most one at either end, are the entries of a shorter list, which
// the next launch takes, until there is one chunk.
//
// Launch     1-D, kThreads threads, a thread for each lane of each chunk, lanes innermost. No shared memory.
// Requires   keys, order: [lists, n], keys not falling. sums_in, places_in: [n, lanes]; sums_out, places_out:
//            [2 * chunks, lanes]; not taken by the first launch and the last. out: no element stands for two.
// Aliasing   out, sums_out and places_out overlap nothing.
// Numerics   floats add in f32, in the order of the list by chunks, then chunk by chunk, then to out, and round once;
//            integers wrap. The same bits in every run. What goes to extent goes nowhere.
// Bound by   memory: n * lanes * sizeof(T) bytes, gathered.
#include "common.cuh"

// Entries that a thread loads before it adds.
constexpr u32 kAhead = 8;

// The twin of Scatter in src/args.rs.
struct Scatter {
    const void* src;         // first launch
    u64 src_step;
    const u32 *keys, *order;
    const void* sums_in;     // others
    const u32* places_in;
    void* sums_out;          // all but the last
    u32* places_out;
    void* out;
    u64 out_step;
    u64 extent;
    u64 n;                   // entries of a list
    u64 chunks;
};

template <typename T> using Total = Choose<kIsFloat<T>, f32, u64>;

template <typename T> __device__ __forceinline__ Total<T> total_of(T x) {
    if constexpr (kIsFloat<T>) return to_f32(x);
    else return u64(x);
}

// An entry: where it goes and what it adds. The operands of lanes are src, out and the list's number.
template <typename T, bool kFirst> struct Entries {
    const Scatter& scatter;
    u64 lane, lanes;
    Place<3> start;

    __device__ __forceinline__ u32 place(u64 i) const {
        if constexpr (kFirst) return scatter.keys[start.of[2] * scatter.n + i];
        else return scatter.places_in[i * lanes + lane];
    }

    __device__ __forceinline__ Total<T> sum(u64 i) const {
        if constexpr (kFirst) {
            const u64 position = scatter.order[start.of[2] * scatter.n + i];
            return total_of(static_cast<const T*>(scatter.src)[start.of[0] + position * scatter.src_step]);
        } else {
            return static_cast<const Total<T>*>(scatter.sums_in)[i * lanes + lane];
        }
    }

    __device__ __forceinline__ void add(u32 place, Total<T> sum) const {
        if (place >= scatter.extent) return;
        T& out = static_cast<T*>(scatter.out)[start.of[1] + place * scatter.out_step];
        if constexpr (kIsFloat<T>) out = from_f32<T>(to_f32(out) + sum);
        else out = T(u64(out) + sum);
    }
};

template <typename T, bool kFirst>
__global__ void __launch_bounds__(kThreads)
scatter_add(const __grid_constant__ Scatter scatter, const __grid_constant__ Walk<3> lanes) {
    follow();
    const u64 thread = u64(blockIdx.x) * kThreads + threadIdx.x;
    if (thread >= lanes.numel * scatter.chunks) return;
    const u64 lane = thread % lanes.numel, chunk = thread / lanes.numel;
    u64 unit[1] = {lane};
    Place<3> start[1];
    lanes.at(unit, start);
    const Entries<T, kFirst> entries = {scatter, lane, lanes.numel, start[0]};
    const u64 begin = chunk * kScatterChunk;
    const u64 end = begin + kScatterChunk < scatter.n ? begin + kScatterChunk : scatter.n;

    const u32 first = entries.place(begin);
    // Whether the run began in an earlier chunk, whose sum of it comes before ours.
    bool open = begin > 0 && entries.place(begin - 1) == first;
    u32 place = first;
    Total<T> sum = 0, head = 0;
    #pragma unroll 1
    for (u64 i = begin; i < end; i += kAhead) {
        u32 places[kAhead];
        Total<T> sums[kAhead];
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) {
            places[j] = i + j < end ? entries.place(i + j) : 0;
            sums[j] = i + j < end ? entries.sum(i + j) : 0;
        }
        #pragma unroll
        for (u32 j = 0; j < kAhead; ++j) {
            if (i + j >= end) break;
            if (places[j] != place) {
                if (open) head = sum;
                else entries.add(place, sum);
                open = false;
                place = places[j];
                sum = 0;
            }
            sum += sums[j];
        }
    }

    const bool goes_on = end < scatter.n && entries.place(end) == place;
    Total<T> tail = 0;
    if (open) head = sum;
    else if (goes_on) tail = sum;
    else entries.add(place, sum);
    if (scatter.chunks == 1) return;

    // Both ends are always entries, some of nothing, so that their number is known beforehand.
    auto* sums = static_cast<Total<T>*>(scatter.sums_out);
    auto* places = scatter.places_out;
    const u64 at = chunk * 2 * lanes.numel + lane;
    sums[at] = head, sums[at + lanes.numel] = tail;
    places[at] = first, places[at + lanes.numel] = place;
}
