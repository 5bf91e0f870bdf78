// attention.cuh: what all attention kernels share: the argument, and which rows of queries a block takes.
//
// Queries that share keys, those of a group of heads, are rows of one matrix: row r is position r / group of head
// r % group.
#pragma once
#include "common.cuh"
#include "mma.cuh"

// Distances of neighbours, in elements.
struct Strides { u64 sequence, head, row, col; };

// out = softmax(scale * q k^T) v for every sequence and head. The twin of Attention in src/args.rs.
struct Attention {
    const void* q;  // [sequences, kv_heads * group, len, dim]
    const void* k;  // [sequences, kv_heads, kv_len, dim]
    const void* v;
    void* out;      // as q
    Strides q_at, k_at, v_at, out_at;
    const u32* bounds;  // of sequences one after the other along the rows: where each begins, and the end; or null
    u32 len, kv_len;    // rows of a sequence, unless there are bounds
    u32 kv_heads, group;
    u32 dim;
    u32 tiles;          // blocks that share the keys of a sequence and a head
    u32 causal;         // row i sees the keys up to i + kv_len - len
    u32 packs;          // every row of every operand takes 16-byte accesses
    f32 scale;          // times log2(e)
    u32 unused;
};

// A block's rows of queries, and the keys and values of their sequence and head.
template <typename T> struct Part {
    const T *q, *k, *v;  // first elements
    T* out;
    u32 first;           // row of the block
    u32 rows;            // of the sequence, all heads of the group counted
    u32 len, kv_len, group;
    bool causal;

    // Blocks go from row to row, from the last to the first where those have more to do.
    __device__ __forceinline__ Part(const Attention& p, u32 rows_of_block) {
        const u32 tile = blockIdx.x % p.tiles, rest = blockIdx.x / p.tiles;
        const u64 head = rest % p.kv_heads, sequence = rest / p.kv_heads;
        u64 start = 0, number = sequence;
        len = p.len;
        kv_len = p.kv_len;
        if (p.bounds) {
            start = p.bounds[sequence];
            len = kv_len = p.bounds[sequence + 1] - u32(start);
            number = 0;
        }
        const auto begin = [&](const Strides& at, u64 heads) {
            return number * at.sequence + heads * at.head + start * at.row;
        };
        q = static_cast<const T*>(p.q) + begin(p.q_at, head * p.group);
        k = static_cast<const T*>(p.k) + begin(p.k_at, head);
        v = static_cast<const T*>(p.v) + begin(p.v_at, head);
        out = static_cast<T*>(p.out) + begin(p.out_at, head * p.group);
        group = p.group;
        rows = len * group;
        causal = p.causal;
        first = (causal ? p.tiles - 1 - tile : tile) * rows_of_block;
    }

    // Where a row begins.
    __device__ __forceinline__ u64 at(const Strides& at, u32 row) const {
        if (group == 1) return row * at.row;
        return row / group * at.row + row % group * at.head;
    }

    // How many keys a row sees; those are the first.
    __device__ __forceinline__ u32 seen(u32 row) const {
        if (!causal) return kv_len;
        const i32 last = i32(row / group + kv_len) - i32(len);
        return last < 0 ? 0 : u32(last) + 1;
    }
};
