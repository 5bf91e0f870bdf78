// matmul_wgmma.cu: products of 16-bit operands on the tensor cores of compute 9.0a (wgmma), each contiguous along one of
// its axes; and of f32 as tf32, contiguous along k, which the copy engine rounds to 10 bits behind the first on their way.
//
// A block stays on its multiprocessor and takes one tile after the other. One thread of its first warpgroup starts bulk
// copies of both operands into a ring of stages; two warpgroups multiply, or three. With kTeam = 2 or 3 they share a tile; with
// kTeam = 1 each has its own, and while one stores, the other multiplies: they hand on the tensor cores in turn. What goes into
// the epilogue, the bias and what dst holds, is on its way while the products are computed.
//
// Blocks in pairs take tiles below one another, which want the same of b: each brings half of it, to both. That is a third
// less to read from L2. Of an odd number of tiles down the last has one below it that has no rows. Blocks of the smaller
// tiles would wait for each other longer than they save.
//
// Launch     1-D, at most a block for each tile of each part of k of each product; in clusters of 1, or of 2 if kTeam is
//            more; Shape::kThreads threads; the dynamic shared memory of Kernel::shared_bytes in src/block.rs.
// Requires   a_map and b_map: 3-D, the contiguous axis, the other, products; boxes as in Side; k at least 1. dst_map
//            likewise in boxes of 128 bytes and 64 rows, 32 if p.turned and p.wide, if out_of says so (else any); of tiles of
//            no multiple of 64 columns, which are never turned, in boxes of Shape::kOutCols as they lie in dst. With kPlain it
//            says so in elements of T, never turned, and results have no more than bias and relu or gelu; with kTight
//            out_of says so if there are no parts, p.turned is not set, and activations are part of the rounding. k_part a
//            multiple of kStep<T>, unless there is one part. Of f32, p.wide is set and p.turned is not.
// Aliasing   dst apart from a, b and bias.
// Numerics   as matmul_mma.cu. Where the copy engine adds to f32, what is below 2^-126 counts as zero.
// Bound by   tensor cores for large m, n and k; 2 * m * n * k operations.
#include "matmul_rows.cuh"
#include "matmul_stages.cuh"

template <typename T, typename S>
__device__ __forceinline__ Work work_at(const Product& p, u32 tiles, u32 index, u32 cluster) {
    u32 part = divide(index, tiles);
    const u32 product = divide(part, p.splits);
    return work_of<T>(tile_at(p, S::kM, S::kN, index, part, cluster), part, product);
}

template <typename T, Major kA, Major kB, typename S>
__global__ void __launch_bounds__(S::kThreads, 1)
matmul_wgmma(const __grid_constant__ Product p, const __grid_constant__ TensorMap a_map,
             const __grid_constant__ TensorMap b_map, const __grid_constant__ TensorMap dst_map) {
    using A = Side<kA, S::kM>;
    using B = Side<kB, S::kN, S::kPairs>;
    lead();
    extern __shared__ unsigned char shared[];
    __shared__ u64 barriers[S::kBarriers];
    const u32 ring_at = (shared_address(shared) + 1023) & ~1023u;
    u32 full = shared_address(barriers);
    asm volatile("" : "+r"(full));  // else it is computed anew in each step
    const u32 empty = full + 8 * S::kStages;

    const bool paired = S::kPairs && cluster_size() == 2;
    const u32 cluster = paired ? 2 : 1, tiles = tiles_of(p, S::kM, S::kN, cluster);
    const u32 works = tiles * p.splits * u32(p.batch.numel);
    Stages<T, S, A, B> stages{ring_at, full, empty, paired};
    if (threadIdx.x == 0) {
        prefetch(a_map);
        prefetch(b_map);
        stages.init();
    }
    if (paired) cluster_wait();
    else __syncthreads();

    // Where a tile lies takes a while to find: the first one, while the kernel in front still runs.
    if (threadIdx.x < 128) {
        give_registers<S::kTight ? 32 : 40>();
        Work next = work_at<T, S>(p, tiles, blockIdx.x, cluster);
        follow();
        #pragma unroll 1
        for (u32 index = blockIdx.x; threadIdx.x == 0 && index < works; index += gridDim.x) {
            const Work work = next;
            const u32 m0 = work.m0, n0 = work.n0;
            const bool adds = S::kInBoxes && out_of(p) == Out::WideBoxes && p.onto;
            constexpr u32 kBoxes = S::kM / 64 * (S::kN / 32), kAcross = S::kN / 32, kDown = S::kM / 32;
            // An operand that all products share has one place.
            const u32 a_product = p.batch.stride[0][0] == 0 ? 0 : work.product;
            const u32 b_product = p.batch.stride[1][0] == 0 ? 0 : work.product;
            // What sums are added to comes to L2 during the last steps: at their end all blocks want theirs at once.
            const auto ahead = [&](u32 step) {
                const u32 box = step + kBoxes - work.steps;
                if (!adds || box >= kBoxes) return;
                if (!p.turned) {
                    prefetch_box(dst_map, n0 + box % kAcross * 32, m0 + box / kAcross * 64, work.product);
                } else {
                    // Of half the size.
                    const u32 x = m0 + 2 * box % kDown * 32, y = n0 + 2 * box / kDown * 32;
                    prefetch_box(dst_map, x, y, work.product);
                    prefetch_box(dst_map, x + 32, y, work.product);
                }
            };
            stages.bring(a_map, b_map, work, a_product, b_product, paired, ahead);
            if (index + gridDim.x < works) next = work_at<T, S>(p, tiles, index + gridDim.x, cluster);
        }
        __syncwarp();
        if (paired) cluster_wait();  // until nobody writes or arrives here any more
        return;
    }

    take_registers<S::kTight ? 160 : 232>();
    const u32 group = threadIdx.x / 128 - 1;
    const u32 rows_at = S::kTeam > 1 ? group * S::kRows : 0;
    const bool has_bias = p.bias && !p.partial;
    // Tiles of no multiple of 64 columns have one way of boxes.
    const Out out = S::kInBoxes || !(p.onto || p.wide) ? out_of(p) : Out::Directly;
    constexpr bool kTurns = S::kPairs && !S::kTight && S::kInBoxes && kIsHalf<T>;
    const bool turned = kTurns && p.turned;
    const u32 boxes = ring_at + S::kStages * S::kBytes + group * S::kOutBytes;
    const u32 staged = boxes + threadIdx.x / 32 % 4 * kStagedBytes;  // of a warp, in launches without boxes
    static_assert(S::kTight || 4 * kStagedBytes <= S::kOutBytes);
    Outlet<T, S> outlet{dst_map, p.turned, boxes, empty + 8 * (S::kStages + 2 * group)};
    const bool in_boxes = kIsHalf<T> && out == Out::Boxes, joins = in_boxes && p.onto;
    const bool activates = p.activation != 0 && !p.partial && !(in_boxes && is_rounding(p, S::kInBoxes));
    u32 turn = 0;
    Work next = work_at<T, S>(p, tiles, blockIdx.x, cluster);
    follow();
    #pragma unroll 1
    for (u32 index = blockIdx.x; index < works; index += gridDim.x, ++turn) {
        const Work work = next;
        // The next one, along with products of this tile, or of the other warpgroup's.
        const bool last = index + gridDim.x >= works;
        const auto find_next = [&] {
            if (!last) next = work_at<T, S>(p, tiles, index + gridDim.x, cluster);
        };
        if (S::kTeam == 1) find_next();
        if (S::kTeam == 1 && turn % 2 != group) {
            stages.ring.advance(work.steps);
            continue;
        }
        f32 sums[S::kRows / 64][S::kN / 2];
        Bias<T, S::kN> bias;
        if (has_bias && turned) bias.bring_of_rows(p, work.m0 + rows_at);
        else if (has_bias) bias.bring(p, work.n0);
        if (S::kTeam == 1 && turn > 0) pair_wait(1 + group);
        const u32 row0 = work.m0 + rows_at;
        const bool borrows = S::kBorrows && joins && work.steps > 2;  // the two stages before the last
        const u32 used = stages.multiply(sums, work.steps, rows_at, [&] {
            if (S::kTeam > 1) find_next();
            if (!S::kPlain && joins) outlet.prepare(work, row0);
        }, borrows ? work.steps - 3 : work.steps, [&] {
            outlet.borrow(work, row0, stages.rows_before(1, rows_at), stages.rows_before(2, rows_at));
        });
        if (S::kTeam == 1 && !last) pair_arrive(2 - group);
        product_wait<0>();
        stages.leave(used);
        if constexpr (kTurns) {
            if (turned && has_bias) bias.add_to_rows(sums);
        }
        if (!turned && has_bias) bias.add_to(sums);
        if constexpr (S::kPlain) {
            outlet.template send<false>(p, sums, work, row0);
            continue;
        }
        if (!S::kTight && activates) activate_all<T>(p, sums);
        if constexpr (S::kTight) {
            if (p.partial) store_partial(p, sums, work, row0);
            else if (p.wide) outlet.send_wide(p, sums, work, row0);
            else if (joins) outlet.send_joined(p, sums, work, row0);
            else outlet.template send<false>(p, sums, work, row0);
            continue;
        }
        if constexpr (kIsHalf<T> && S::kInBoxes && !S::kPlain && !S::kTight) {
            if (joins && turned) outlet.template join_all<kTurns>(p, sums, work, row0, borrows);
            else if (joins) outlet.template join_all<false>(p, sums, work, row0, borrows);
            if (borrows) {
                stages.leave(stages.empty_before(2));
                stages.leave(stages.empty_before(3));
            }
        }
        if constexpr (kTurns) {
            if (turned) {
                if (p.wide) outlet.send_wide_turned(p, sums, work, row0);
                else outlet.template send<true>(p, sums, work, row0);
                continue;
            }
        }
        if (p.partial) store_partial(p, sums, work, row0);
        else if (out == Out::Directly && (!kIsHalf<T> || p.wide)) store_rows<f32>(p, sums, work, row0, staged);
        else if (out == Out::Directly) store_rows<T>(p, sums, work, row0, staged);
        else if constexpr (!S::kInBoxes) outlet.send_rows(p, sums, work, row0);
        else if (out == Out::WideBoxes) outlet.send_wide(p, sums, work, row0);
        else if constexpr (kIsHalf<T>) outlet.template send<false>(p, sums, work, row0);
    }
    if (threadIdx.x % 64 == 0) copy_out_wait<0>();
    __syncwarp();
    if (paired) cluster_wait();
}
