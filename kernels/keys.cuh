// keys.cuh: what is sorted, and where it comes from and goes: what the passes of sort.cu and sort_few.cu share.
#pragma once
#include "common.cuh"
#include "fault.cuh"

// What a pass reads and writes. The twin of Sort in src/args.rs. Addresses are those of first elements, null for none;
// steps go from element to element of a row.
struct Sort {
    const void* keys;        // of the first pass
    u64 key_step;
    const void* in_keys;     // of the others: pairs, [rows, n]
    const u32* in_order;
    void* out_keys;          // pairs, [rows, out_n]; null if values and positions come out
    u32* out_order;
    const void* values;
    u64 value_step;
    void* out_values;
    i64* out_indices;
    u64 out_step;
    u64 first, rows;         // rows from number first on, so many
    u64 extent;              // positions are below
    Fault fault;
    u32 n, out_n;            // elements of a row that come in and out
    u32 run, keep;           // of a run that comes in (merge); at most of one that comes out
    u32 value_bytes;
    u32 descending;
};

// NaN above infinity, one zero.
__device__ __forceinline__ u32 order_of(f32 x) {
    const u32 bits = __float_as_uint(x);
    const u32 magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0xffffffffu;
    return bits >> 31 ? 0x80000000u - magnitude : 0x80000000u + magnitude;
}
__device__ __forceinline__ u32 order_of(f16 x) { return order_of(to_f32(x)); }
__device__ __forceinline__ u32 order_of(bf16 x) { return order_of(to_f32(x)); }
__device__ __forceinline__ u64 order_of(i64 x) { return u64(x) ^ 1ull << 63; }
__device__ __forceinline__ u32 order_of(u32 x) { return x; }
__device__ __forceinline__ u32 order_of(u8 x) { return x; }

// Where the elements of the first pass, or the pairs of another, come from. row counts from Sort::first.
template <typename T> struct Elements {
    using Key = Choose<sizeof(T) == 8, u64, u32>;
    static __device__ __forceinline__ void load(const Sort& sort, u64 start, u64, u32 i, Key& key, u32& position) {
        key = order_of(static_cast<const T*>(sort.keys)[start + i * sort.key_step]);
        if (sort.descending) key = ~key;
        position = i;
    }
};

// Elements that are positions: those out of range are reported, and go to the end.
struct Positions {
    using Key = u32;
    static __device__ __forceinline__ void load(const Sort& sort, u64 start, u64, u32 i, Key& key, u32& position) {
        const i64 at = static_cast<const i64*>(sort.keys)[start + i * sort.key_step];
        const bool exists = u64(at) < sort.extent;
        if (!exists) sort.fault.raise(at);
        key = u32(exists ? u64(at) : sort.extent);
        position = i;
    }
};

template <typename K> struct Pairs {
    using Key = K;
    static __device__ __forceinline__ void load(const Sort& sort, u64, u64 row, u32 i, Key& key, u32& position) {
        const u64 at = row * sort.n + i;
        key = static_cast<const K*>(sort.in_keys)[at];
        position = sort.in_order[at];
    }
};

// Where a row starts in keys, values and outputs.
__device__ __forceinline__ Place<3> start_of(const Walk<3>& rows, u64 row) {
    u64 i[1] = {row};
    Place<3> place[1];
    rows.at(i, place);
    return place[0];
}

template <typename W> __device__ __forceinline__ void move(const void* from, u64 at, void* to, u64 as) {
    static_cast<W*>(to)[as] = static_cast<const W*>(from)[at];
}

// Element number `at` of what comes out of a row.
template <typename K>
__device__ __forceinline__ void put(const Sort& sort, Place<3> start, u64 row, u32 at, K key, u32 position) {
    if (sort.out_keys) {
        static_cast<K*>(sort.out_keys)[row * sort.out_n + at] = key;
        sort.out_order[row * sort.out_n + at] = position;
        return;
    }
    const u64 to = start.of[2] + at * sort.out_step;
    if (sort.out_indices) sort.out_indices[to] = position;
    if (!sort.out_values) return;
    const u64 from = start.of[1] + position * sort.value_step;
    switch (sort.value_bytes) {
        case 1: return move<u8>(sort.values, from, sort.out_values, to);
        case 2: return move<u16>(sort.values, from, sort.out_values, to);
        case 4: return move<u32>(sort.values, from, sort.out_values, to);
        default: return move<u64>(sort.values, from, sort.out_values, to);
    }
}
