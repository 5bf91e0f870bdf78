// matmul_grouped.cu: a list of products of different sizes in one launch: as matmul_wgmma.cu, over the tiles of all of them.
//
// Blocks walk over the tiles in the order of the list. Blocks in pairs take tiles below one another, as there; those of a last
// row that is alone side by side, and each brings its own operands, so that an odd number of rows costs nothing. Warpgroups
// whose rows lie outside of a product do not multiply.
//
// Launch     1-D, at most a block for each tile; in clusters of 1, or of 2 if kTeam is 2; 384 threads; the dynamic shared
//            memory of Kernel::shared_bytes in src/block.rs.
// Requires   maps as in matmul_wgmma.cu; no product is empty, and k is at least 1. `end` counts units as unit_at does.
// Aliasing   every dst apart from all else.
// Numerics   as matmul_mma.cu.
// Bound by   as matmul_wgmma.cu.
#include "matmul_rows.cuh"
#include "matmul_stages.cuh"

// A list of products dst = a * b, by value. The twin of Grouped in src/args/matmul.rs.
struct Grouped {
    // What is read by index comes first. Behind the maps, near 32 KiB, CUDA 12.9 read it by negative offsets, and on an H200 no
    // result was written; so it is well.
    void* dst[kGrouped];  // [m, n] row-major, aligned to its elements only
    u32 m[kGrouped], n[kGrouped], k[kGrouped];
    u32 end[kGrouped];    // the units of this product and of all before it
    u32 count;            // of products
    TensorMap a[kGrouped], b[kGrouped];
    TensorMap out[kGrouped];  // only where out_of says boxes
};

__device__ __forceinline__ Product product_of(const Grouped& list, u32 group) {
    Product p{};
    p.dst = list.dst[group];
    p.m = list.m[group];
    p.n = list.n[group];
    p.k = p.k_part = list.k[group];
    return p;
}

// The maps of a product take long to come where they are used first.
__device__ __forceinline__ void prefetch_maps(const Grouped& list, u32 group) {
    prefetch(list.a[group]);
    prefetch(list.b[group]);
    if (out_of(product_of(list, group)) == Out::Boxes) prefetch(list.out[group]);
}

// Units are tiles, one for each block of a cluster. Where the list is walked: a unit, and the product that it is of.
struct Cursor {
    u32 unit, group;

    __device__ __forceinline__ void find(const Grouped& list) {
        while (unit >= list.end[group]) ++group;
    }
};

// The tiles of a unit.
struct Unit {
    Work work;
    bool halves;  // whether a pair of blocks shares b
};

// Of this block. As `units` counts in crates/taut-cuda/src/launch/matmul/grouped.rs.
template <typename T, typename S>
__device__ __forceinline__ Unit unit_at(const Grouped& list, const Product& p, Cursor at, bool paired) {
    const u32 index = at.unit - (at.group > 0 ? list.end[at.group - 1] : 0);
    Unit unit{};
    if (paired) {
        const u32 down = u32((p.m + S::kM - 1) / S::kM), right = u32((p.n + S::kN - 1) / S::kN);
        const u32 in_pairs = down / 2 * right, rank = cluster_rank();
        unit.halves = index < in_pairs;
        if (unit.halves) {
            Product even = p;
            even.m = min(p.m, u64(down / 2 * 2 * S::kM));
            unit.work = work_of<T>(tile_at(even, S::kM, S::kN, 2 * index + rank, 0));
        } else {
            const Tile tile{u64(down - 1) * S::kM, u64(2 * (index - in_pairs) + rank) * S::kN, 0, p.k};
            unit.work = work_of<T>(tile);
        }
    } else {
        unit.work = work_of<T>(tile_at(p, S::kM, S::kN, index, 0));
    }
    return unit;
}

template <typename T, Major kA, Major kB, typename S>
__global__ void __launch_bounds__(384, 1) matmul_grouped(const __grid_constant__ Grouped list) {
    using A = Side<kA, S::kM>;
    using B = Side<kB, S::kN, S::kPairs>;
    extern __shared__ unsigned char shared[];
    __shared__ u64 barriers[S::kBarriers];
    const u32 ring_at = (shared_address(shared) + 1023) & ~1023u;
    u32 full = shared_address(barriers);
    asm volatile("" : "+r"(full));  // else it is computed anew in each step
    const u32 empty = full + 8 * S::kStages;

    const bool paired = S::kPairs && cluster_size() == 2;
    const u32 stride = paired ? gridDim.x / 2 : gridDim.x, units = list.end[list.count - 1];
    Cursor at{paired ? blockIdx.x / 2 : blockIdx.x, 0};
    Stages<T, S, A, B> stages{ring_at, full, empty, paired};
    at.find(list);
    if (threadIdx.x == 0) {
        prefetch_maps(list, at.group);
        stages.init();
    }
    if (paired) cluster_wait();
    else __syncthreads();
    follow();

    if (threadIdx.x < 128) {
        give_registers<40>();
        #pragma unroll 1
        for (; threadIdx.x == 0 && at.unit < units; at.unit += stride) {
            at.find(list);
            Cursor next{at.unit + stride, at.group};
            if (next.unit < units) next.find(list);
            if (next.group != at.group) prefetch_maps(list, next.group);
            const Unit unit = unit_at<T, S>(list, product_of(list, at.group), at, paired);
            stages.bring(list.a[at.group], list.b[at.group], unit.work, 0, 0, unit.halves, [](u32) {});
        }
        __syncwarp();
        if (paired) cluster_wait();  // until nobody writes or arrives here any more
        return;
    }

    take_registers<232>();
    const u32 group = threadIdx.x / 128 - 1;
    const u32 rows_at = S::kTeam == 2 ? group * S::kRows : 0;
    const u32 boxes = ring_at + S::kStages * S::kBytes + group * S::kOutBytes;
    const u32 staged = boxes + threadIdx.x / 32 % 4 * kStagedBytes;  // of a warp, in place of boxes
    static_assert(4 * kStagedBytes <= S::kOutBytes);
    u32 turn = 0;
    #pragma unroll 1
    for (; at.unit < units; at.unit += stride, ++turn) {
        at.find(list);
        const Product p = product_of(list, at.group);
        const Work work = unit_at<T, S>(list, p, at, paired).work;
        if (S::kTeam == 1 && turn % 2 != group) {
            stages.ring.advance(work.steps);
            continue;
        }
        const u32 row0 = work.m0 + rows_at;
        if (S::kTeam == 2 && (row0 >= p.m || work.n0 >= p.n)) {
            stages.pass(work.steps);
            continue;
        }
        f32 sums[S::kRows / 64][S::kN / 2];
        if (S::kTeam == 1 && turn > 0) pair_wait(1 + group);
        const u32 used = stages.multiply(sums, work.steps, rows_at, [] {}, work.steps, [] {});
        if (S::kTeam == 1 && at.unit + stride < units) pair_arrive(2 - group);
        product_wait<0>();
        stages.leave(used);
        Outlet<T, S> outlet{list.out[at.group], 0, boxes, 0};
        if (out_of(p) == Out::Boxes) {
            outlet.template send_as<Finish::Nothing, false>(p, sums, work, row0);
        } else {
            outlet.drain();
            store_rows<T>(p, sums, work, row0, staged);
            group_wait(outlet.id);  // before boxes are there again
        }
    }
    if (threadIdx.x % 128 == 0) copy_out_wait<0>();
    __syncwarp();
    if (paired) cluster_wait();
}
