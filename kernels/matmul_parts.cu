// matmul_parts.cu: products as in matmul_wgmma.cu of few tiles. Of so few that most of the card would have none, the blocks of a
// cluster take one tile, each a part of k, and add up through each other's shared memory; alone, a block takes a tile of so many
// columns (p.width) that about as many tiles as the card has multiprocessors come out: wgmma multiplies all Shape::kN, of which
// those beyond are whatever lies in the ring, and are dropped. Where that still leaves most of the card idle, tiles are cut into
// shares of k, whose sums matmul_reduce adds. Some shapes have clusters instead that share a factor: tiles side by side the first
// one, two below one another the second. Each block brings it to all of them in turn, so that L2 is read less often.
//
// One thread of a block starts bulk copies of both operands into a ring of stages; warpgroups of 64 rows each multiply. Every
// block then lays its sums where the ring was, in rows; when all blocks have, each takes some of the rows, adds them up in the
// order of the parts, so that the bits do not depend on who adds, and stores them. Who has nobody to add to rounds at once, and
// the copy engine stores, if it can and there is no more to do than a bias and relu.
//
// Shared memory: stages of kBytes, first the rows of a, then those of b, each of 128 bytes; then in their place the sums, rows of
// kRowBytes, or what is rounded of them, in boxes. Barriers: of each stage one that its bytes have come, one that all warps have
// read it, those of all blocks that share a factor; 1 when nobody reads the ring any more, 2 and 3 of a warpgroup, before its
// boxes go out.
//
// Launch     1-D, a cluster for each tile of each share of k of each product; in clusters of 1 to 8, the parts of a share, some
//            of which may be empty, or of Shape::kShares for as many tiles, where some may have no rows or columns;
//            Shape::kThreads threads; the dynamic shared memory of Kernel::shared_bytes in src/block.rs.
// Requires   a_map and b_map as in matmul_wgmma.cu, but for boxes of a where m is below theirs: these have m rows, in eights;
//            and those of b along k have p.width. k at least 1, p.k_part a multiple of kStep<T> if there are shares; p.width a
//            multiple of 8 up to Shape::kN, and that if b lies across k. dst_map in boxes of 64 rows, if out_of says so: of 64
//            columns as those of operands, or where p.width is no multiple of that, of all as they lie in dst. With kTurned
//            p.turned is set, and there are no shares of k; if a factor is shared out_of says boxes, and results have no
//            more than bias and relu.
// Aliasing   dst apart from a, b and bias.
// Numerics   as matmul_mma.cu.
// Bound by   what L2 and memory bring; for short k, the latencies of copies and of the cluster.
#include "matmul_out.cuh"

// Tiles of kM x kN; kAcross of them side by side share the first factor, or kDown below one another the second. With kTurned,
// dst is [products, n, m] and bias [m]. The numbers come from Strip in src/variant.rs.
template <u32 kM_, u32 kN_, u32 kStages_, u32 kAcross_, u32 kDown_, bool kTurned_> struct Shape {
    static constexpr u32 kM = kM_, kN = kN_, kStages = kStages_;
    static constexpr bool kTurned = kTurned_;
    static constexpr u32 kAcross = kAcross_, kDown = kDown_, kShares = kAcross * kDown;
    static constexpr u32 kABytes = kM * 128, kBytes = (kM + kN) * 128;
    static constexpr u32 kMultiply = kM / 64 * 128, kThreads = kMultiply + 32, kWarps = kMultiply / 32;
    // As they lie in dst.
    static constexpr u32 kOutRows = kTurned ? kN : kM, kOutCols = kTurned ? kM : kN;
    // Warps take all columns of a row, or a half of them, 4 to a lane; two or four rows at once, of 64 or 32 columns. Of other
    // numbers below 128 the last lanes take none.
    static constexpr u32 kHalves = (kOutCols + 127) / 128, kLanes = 32 % (kOutCols / 4) == 0 ? kOutCols / 4 : 32;
    static constexpr u32 kAtOnce = 32 / kLanes;
    // Of sums: what is added to a multiple of 128 bytes lets the eight rows that a warp writes at a time meet all banks.
    static constexpr u32 kRowBytes = kOutCols * sizeof(f32) + (kTurned ? 16 : 32);
    static_assert((kM == 64 || kM == 128) && kWarps % kHalves == 0 && kOutRows * kRowBytes <= kStages * kBytes);
    static_assert(kAcross == 1 || kDown == 1);
};

// Columns that a lane adds up, and rows that it stores together, or adds to what dst holds.
constexpr u32 kCols = 4, kTogether = 2, kWaiting = 8;
using Run = Pack<f32, kCols>;

// Adds up rows of all blocks, those before `end`, and puts the sums where the block's own part was: that is this thread's
// alone, and registers have no index. Everything is on its way before any of it is added.
template <typename S, u32 kParts> __device__ __forceinline__ void add_up(u32 at, u32 first_row, u32 end) {
    constexpr u32 kStepRows = kParts * S::kWarps / S::kHalves * S::kAtOnce;
    constexpr u32 kRows = (S::kOutRows + kStepRows - 1) / kStepRows;
    at += first_row * S::kRowBytes;
    u32 there[kParts];
    #pragma unroll
    for (u32 i = 0; i < kParts; ++i) there[i] = shared_address_in(at, i);
    Run x[kRows][kParts];
    #pragma unroll
    for (u32 r = 0; r < kRows; ++r) {
        if (first_row + r * kStepRows >= end) continue;
        #pragma unroll
        for (u32 i = 0; i < kParts; ++i) {
            x[r][i] = bits_as<Run>(load_shared_there_16(there[i] + r * kStepRows * S::kRowBytes));
        }
    }
    #pragma unroll
    for (u32 r = 0; r < kRows; ++r) {
        if (first_row + r * kStepRows >= end) continue;
        #pragma unroll
        for (u32 i = 1; i < kParts; ++i) {
            #pragma unroll
            for (u32 j = 0; j < kCols; ++j) x[r][0].lane[j] += x[r][i].lane[j];
        }
        store_shared(at + r * kStepRows * S::kRowBytes, bits_as<u32x4>(x[r][0]));
    }
}

template <typename T> __device__ __forceinline__ void load_bias(f32 (&term)[kCols], const Product& p, u64 col, u32 cols) {
    const T* bias = static_cast<const T*>(p.bias) + col * p.bias_n;
    if (p.bias_n == 1) {
        load_run(term, bias, cols);
    } else {
        #pragma unroll
        for (u32 i = 0; i < kCols; ++i) term[i] = i < cols ? to_f32(bias[i * p.bias_n]) : 0.0f;
    }
}

// Rows through the rest of the epilogue, the first of them to `at`, of each so many columns.
template <typename Out>
__device__ __forceinline__
void store_together(const Product& p, f32 (&x)[kTogether][kCols], u64 at, u64 step, const u32 (&counts)[kTogether]) {
    f32 all[kTogether * kCols];
    #pragma unroll
    for (u32 i = 0; i < kTogether * kCols; ++i) all[i] = x[i / kCols][i % kCols];
    activate<Out>(all, p.activation, p.slope);
    Out* to = static_cast<Out*>(p.dst) + at;
    f32 old[kTogether][kCols];
    #pragma unroll
    for (u32 r = 0; r < kTogether; ++r) {
        if (p.onto) load_run(old[r], to + r * step, counts[r]);
    }
    #pragma unroll
    for (u32 r = 0; r < kTogether; ++r) {
        #pragma unroll
        for (u32 i = 0; i < kCols; ++i) {
            x[r][i] = all[r * kCols + i];
        }
        if (p.onto) join(p, x[r], old[r]);
        store_run(to + r * step, x[r], counts[r]);
    }
}

// Rows of sums in shared memory that are added to those of dst, `to` and so on: what is there of all is on its way at once.
template <typename T>
__device__ __forceinline__
void add_to_dst(T* to, u64 step, const f32 (&term)[kCols], u32 at, u32 at_step, u32 rows) {
    #pragma unroll 1
    for (u32 first = 0; first < rows; first += kWaiting) {
        Pack<T, kCols> x[kWaiting];
        #pragma unroll
        for (u32 r = 0; r < kWaiting; ++r) {
            if (first + r < rows) x[r] = load<kCols, Cache::Use>(to + (first + r) * step);
        }
        #pragma unroll
        for (u32 r = 0; r < kWaiting; ++r) {
            if (first + r >= rows) continue;
            const Run sum = bits_as<Run>(load_shared(at + (first + r) * at_step));
            #pragma unroll
            for (u32 i = 0; i < kCols; ++i) x[r].lane[i] = from_f32<T>(sum.lane[i] + term[i] + to_f32(x[r].lane[i]));
            store(to + (first + r) * step, x[r]);
        }
    }
}

// Rounds the sums of a warpgroup and sends them out, by way of `at`: in boxes of 64 columns, where packs lie as in a ring's, or
// in one of all p.width.
template <typename T, typename S>
__device__ __forceinline__
void send_whole(const Product& p, const f32 (&sums)[S::kN / 2], const TensorMap& map, u32 at, u32 m0, u32 n0, u32 product) {
    const bool in_boxes = p.width % 64 == 0;
    if (in_boxes) {
        const u32 lane = threadIdx.x % 32, y = threadIdx.x / 32 % 4 * 16 + lane % 16;
        #pragma unroll
        for (u32 b = 0; b < S::kN / 8; b += 2) {
            if (8 * b >= p.width) break;
            u32 words[4];
            round_blocks<T>(p, sums + 4 * b, words);
            const u32 pack = b % 8 + lane / 16;
            store_blocks(at + b / 8 * kBoxBytes + y * 128 + (pack ^ y % 8) * 16, words);
        }
    } else {
        round_rows<T, S::kN>(p, sums, at, p.width);
    }
    copy_out_fence();
    group_wait(2 + threadIdx.x / 128);
    if (threadIdx.x % 128 != 0) return;
    const u32 cols = in_boxes ? 64 : p.width;
    #pragma unroll 1
    for (u32 i = 0; i * cols < p.width; ++i) copy_box_out(map, at + i * kBoxBytes, n0 + i * cols, m0, product);
    copy_out_commit();
    copy_out_wait<0>();
}

// The same of turned roles, box after box of 64 rows and 64 columns.
template <typename T, typename S>
__device__ __forceinline__
void send_turned(const Product& p, const f32 (&sums)[S::kN / 2], const TensorMap& map, u32 at, u32 m0, u32 n0, u32 product) {
    const u32 lane = threadIdx.x % 32, y = lane / 16 * 8 + lane % 8, pack = threadIdx.x / 32 % 4 * 2 + lane / 8 % 2;
    #pragma unroll
    for (u32 b = 0; b < S::kN / 8; b += 2) {
        u32 words[4];
        round_blocks<T>(p, sums + 4 * b, words);
        store_blocks_transposed(at + (y + 8 * b) * 128 + (pack ^ y % 8) * 16, words);
    }
    copy_out_fence();
    group_wait(2 + threadIdx.x / 128);
    if (threadIdx.x % 128 != 0) return;
    #pragma unroll 1
    for (u32 i = 0; i < S::kN / 64; ++i) copy_box_out(map, at + i * kBoxBytes, m0, n0 + i * 64, product);
    copy_out_commit();
    copy_out_wait<0>();
}

template <typename T, Major kA, Major kB, typename S>
__global__ void __launch_bounds__(S::kThreads, 1)
matmul_parts(const __grid_constant__ Product p, const __grid_constant__ TensorMap a_map,
             const __grid_constant__ TensorMap b_map, const __grid_constant__ TensorMap dst_map) {
    using A = Side<kA, S::kM>;
    using B = Side<kB, S::kN>;
    lead();
    extern __shared__ unsigned char shared[];
    __shared__ u64 barriers[2 * S::kStages];
    const u32 ring_at = (shared_address(shared) + 1023) & ~1023u;
    u32 full = shared_address(barriers);
    asm volatile("" : "+r"(full));  // else it is computed anew in each step
    const u32 empty = full + 8 * S::kStages;

    if (threadIdx.x == S::kMultiply) {
        prefetch(a_map);
        prefetch(b_map);
        #pragma unroll 1
        for (u32 i = 0; i < S::kStages; ++i) {
            barrier_init(full + 8 * i, 1);
            barrier_init(empty + 8 * i, S::kWarps * S::kShares);
        }
        barrier_init_fence();
    }
    constexpr bool kAlike = S::kShares > 1;  // else blocks of a cluster have parts of one tile
    if (kAlike) cluster_wait();
    else __syncthreads();
    const u32 parts = kAlike ? 1 : cluster_size(), part = kAlike ? 0 : cluster_rank();
    const u32 all_m = S::kM * S::kDown, all_n = p.width * S::kAcross;  // of a cluster
    u32 index = cluster_index();
    u32 share = divide(index, tiles_of(p, all_m, all_n));
    const u32 product = divide(share, p.splits);
    Work work = work_of<T>(tile_at(p, all_m, all_n, index, share), share, product);
    if (S::kDown > 1) work.m0 += cluster_rank() * S::kM;
    if (S::kAcross > 1) work.n0 += cluster_rank() * p.width;
    // The first parts have a step more, if they are not alike.
    u32 more = work.steps;
    const u32 least = divide(more, parts), steps = least + (part < more), first = part * least + min(part, more);
    follow();
    Ring<S::kStages> ring;

    if (threadIdx.x >= S::kMultiply) {
        // What lies outside would take longer to come than the rest: of few rows a box has no more.
        const u32 rows = A::kBoxes * min((u32(p.m) + 7) & ~7u, A::kBox), bytes = (rows + p.width) * 128;
        // An operand that all products share has one place.
        const u32 a_product = p.batch.stride[0][0] == 0 ? 0 : product;
        const u32 b_product = p.batch.stride[1][0] == 0 ? 0 : product;
        #pragma unroll 1
        for (u32 step = 0; threadIdx.x == S::kMultiply && step < steps; ++step, ring.next()) {
            const u32 barrier = full + 8 * ring.stage, to = ring_at + ring.stage * S::kBytes;
            const u32 k = work.k0 + (first + step) * kStep<T>;
            barrier_wait(empty + 8 * ring.stage, ring.parity ^ 1);
            barrier_expect(barrier, bytes);
            A::template fetch_in_turn<S::kAcross>(step, to, a_map, work.m0, k, a_product, barrier);
            B::template fetch_in_turn<S::kDown>(step, to + S::kABytes, b_map, work.n0, k, b_product, barrier);
        }
        if (kAlike) {
            __syncwarp();
            cluster_wait();
        }
        return;  // the others wait for what is on its way, and clusters do not wait for who has ended
    }

    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, rows_at = warp / 4 * 64;
    const u32 first_col = warp % S::kHalves * 128 + lane % S::kLanes * kCols;
    const u64 out_m = S::kTurned ? p.n : p.m, out_n = S::kTurned ? p.m : p.n;
    const u32 row0 = S::kTurned ? work.n0 : work.m0;
    const u64 col = (S::kTurned ? work.m0 : work.n0) + first_col;
    const u32 cols = first_col < (S::kTurned ? S::kM : p.width) ? left_of(out_n, col, kCols) : 0;
    constexpr bool kTurnsBoxes = S::kTurned && kAlike;
    const bool whole = kIsHalf<T> && !S::kTurned && parts == 1 && out_of(p) == Out::Boxes && !p.onto && p.activation <= 1;
    f32 term[kCols] = {};
    Bias<T, S::kN> bias;
    if (p.bias && kTurnsBoxes) bias.bring_of_rows(p, work.m0 + rows_at);
    else if (p.bias && whole) bias.bring(p, work.n0);
    else if (p.bias && !p.partial) load_bias<T>(term, p, col, cols);
    const auto leave = [&](u32 barrier) {
        if (!kAlike && lane == 0) barrier_arrive(barrier);
        if (kAlike && lane < S::kShares) barrier_arrive_there(shared_address_in(barrier, lane));
    };
    f32 sums[S::kN / 2] = {};  // those of an empty part, too
    u32 used = empty;
    #pragma unroll 1
    for (u32 step = 0; step < steps; ++step, ring.next()) {
        const u32 at = ring_at + ring.stage * S::kBytes;
        const u64 a = factor_at<A::kOuter>(at + rows_at * 128, kBoxBytes);
        const u64 b = factor_at<B::kOuter, B::kRowBytes>(at + S::kABytes, 64 * B::kRowBytes);
        barrier_wait(full + 8 * ring.stage, ring.parity);
        product_fence();
        #pragma unroll
        for (u32 i = 0; i < kProducts; ++i) {
            multiply_group<T, A::kOuter, B::kOuter>(sums, a + i * A::kNext, b + i * B::kNext, true);
        }
        product_commit();
        // The step before is done: its stage is free.
        product_wait<1>();
        if (step > 0) leave(used);
        used = empty + 8 * ring.stage;
    }
    product_wait<0>();
    if (kAlike) cluster_arrive();  // nobody writes or arrives here any more, when all have

    // All copies have come, and when all warps are here nobody reads them any more.
    team_wait<S::kMultiply>(1);
    if constexpr (kIsHalf<T>) {
        if (kTurnsBoxes || whole) {
            f32 (&all)[1][S::kN / 2] = reinterpret_cast<f32 (&)[1][S::kN / 2]>(sums);
            const u32 box = ring_at + rows_at * S::kN * u32(sizeof(T));
            if constexpr (kTurnsBoxes) {
                if (p.bias) bias.add_to_rows(all);
                send_turned<T, S>(p, sums, dst_map, box, work.m0 + rows_at, work.n0, product);
            } else {
                if (p.bias) bias.add_to(all);
                send_whole<T, S>(p, sums, dst_map, box, work.m0 + rows_at, work.n0, product);
            }
            if (kAlike) {
                __syncwarp();
                cluster_await();
            }
            return;
        }
    }
    if constexpr (kTurnsBoxes) return;
    if constexpr (S::kTurned) {
        const u32 own = ring_at + (warp * 16 + lane / 4) * u32(sizeof(f32)) + lane % 4 * 2 * S::kRowBytes;
        #pragma unroll
        for (u32 i = 0; i < S::kN / 2; ++i) {
            f32 x = sums[i];
            asm volatile("" : "+f"(x));  // a store from where the product leaves it makes ptxas wait for that once more
            store_shared(own + i / 2 % 2 * 32 + (i / 4 * 8 + i % 2) * S::kRowBytes, __float_as_uint(x));
        }
    } else {
        const u32 own = ring_at + (warp * 16 + lane / 4) * S::kRowBytes + lane % 4 * 8;
        #pragma unroll
        for (u32 i = 0; i < S::kN / 2; i += 2) {
            store_shared_pair(own + i / 2 % 2 * 8 * S::kRowBytes + i / 4 * 32, sums[i], sums[i + 1]);
        }
    }
    if constexpr (kAlike) team_wait<S::kMultiply>(1);
    else cluster_meet();

    // The warps of all blocks take rows in turn.
    const u32 step_rows = parts * S::kWarps / S::kHalves * S::kAtOnce;
    const u32 first_row = (part * S::kWarps + warp) / S::kHalves * S::kAtOnce + lane / S::kLanes;
    const u32 end = cols > 0 ? left_of(out_m, row0, S::kOutRows) : 0;
    const u32 at = ring_at + first_col * sizeof(f32);
    switch (parts) {
        case 1: break;
        case 2: add_up<S, 2>(at, first_row, end); break;
        case 3: add_up<S, 3>(at, first_row, end); break;
        case 4: add_up<S, 4>(at, first_row, end); break;
        case 5: add_up<S, 5>(at, first_row, end); break;
        case 6: add_up<S, 6>(at, first_row, end); break;
        case 7: add_up<S, 7>(at, first_row, end); break;
        default: add_up<S, 8>(at, first_row, end);
    }
    if (!kAlike) cluster_arrive();  // what the others have is read: the sums were stored
    if (p.partial) {
        const u64 stride = partial_stride(p);
        f32* to = p.partial + share * p.part_step + (product * p.m + work.m0) * stride + col;
        #pragma unroll 4
        for (u32 row = first_row; row < end; row += step_rows) {
            store(to + row * stride, bits_as<Run>(load_shared(at + row * S::kRowBytes)));
        }
        cluster_await();
        return;
    }
    const u64 to = (product * out_m + row0) * out_n + col;
    if (p.onto == 1 && p.activation == 0 && !p.wide && out_n % kCols == 0 && is_aligned<kCols * sizeof(T)>(p.dst)) {
        const u32 rows = first_row < end ? (end - first_row + step_rows - 1) / step_rows : 0;
        T* first = static_cast<T*>(p.dst) + to + first_row * out_n;
        add_to_dst(first, step_rows * out_n, term, at + first_row * S::kRowBytes, step_rows * S::kRowBytes, rows);
        cluster_await();
        return;
    }
    #pragma unroll 1
    for (u32 row = first_row; row < end; row += kTogether * step_rows) {
        f32 x[kTogether][kCols];
        u32 counts[kTogether];
        #pragma unroll
        for (u32 r = 0; r < kTogether; ++r) {
            const u32 here = row + r * step_rows;
            counts[r] = here < end ? cols : 0;
            // Other rows are still being added up.
            const Run sum = bits_as<Run>(load_shared(at + (here < end ? here : row) * S::kRowBytes));
            #pragma unroll
            for (u32 i = 0; i < kCols; ++i) x[r][i] = sum.lane[i] + term[i];
        }
        if (p.wide) store_together<f32>(p, x, to + row * out_n, step_rows * out_n, counts);
        else store_together<T>(p, x, to + row * out_n, step_rows * out_n, counts);
    }
    cluster_await();  // nobody ends whose memory is still read
}
