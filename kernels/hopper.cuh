// hopper.cuh: instructions of compute 9.0a, one function each: bulk tensor copies, barriers in shared memory, and products
// of a warpgroup (four warps, the first of which has a number that is a multiple of four).
#pragma once
#include "mma.cuh"

// How an operand lies in global memory, and in which boxes it comes. The twin of TensorMap in src/args.rs; the driver
// encodes it.
struct alignas(64) TensorMap {
    u64 words[16];
};

// Registers of each thread of the warpgroup from here on. All its warps come here.
template <u32 kCount> __device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

template <u32 kCount> __device__ __forceinline__ void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}

// A barrier at `at` whose phases end when `count` threads have arrived and all bytes that were announced have come.
__device__ __forceinline__ void barrier_init(u32 at, u32 count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(count) : "memory");
}

// Shows barriers to the copy engine, once they are initialized.
__device__ __forceinline__ void barrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Blocks of this one's cluster, and its number among them.
__device__ __forceinline__ u32 cluster_size() {
    u32 n;
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(n));
    return n;
}

__device__ __forceinline__ u32 cluster_rank() {
    u32 i;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(i));
    return i;
}

// The cluster's place in a grid of one dimension.
__device__ __forceinline__ u32 cluster_index() {
    u32 i;
    asm("mov.u32 %0, %%clusterid.x;" : "=r"(i));
    return i;
}

// All threads of the cluster meet, but those that have ended. Of what they wrote it shows nothing.
__device__ __forceinline__ void cluster_wait() {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

// The same in two halves: nobody gets past the second one before all have come to the first.
__device__ __forceinline__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
__device__ __forceinline__ void cluster_await() { asm volatile("barrier.cluster.wait.aligned;" ::: "memory"); }

// The same, and what they wrote to shared memory before shows to all of them.
__device__ __forceinline__ void cluster_meet() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Where `at` is in the shared memory of block `rank` of the cluster.
__device__ __forceinline__ u32 shared_address_in(u32 at, u32 rank) {
    u32 there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(at), "r"(rank));
    return there;
}

// A word of the shared memory of another block.
__device__ __forceinline__ u32 load_shared_there(u32 at) {
    u32 x;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(x) : "r"(at) : "memory");
    return x;
}

// 16 bytes of it.
__device__ __forceinline__ u32x4 load_shared_there_16(u32 at) {
    u32x4 x;
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.a), "=r"(x.b), "=r"(x.c), "=r"(x.d) : "r"(at) : "memory");
    return x;
}

// Sends a word to the shared memory of a block of the cluster, whose barrier is told of 4 bytes when it is there.
__device__ __forceinline__ void send_shared(u32 to, u32 x, u32 barrier) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];"
                 ::"r"(to), "r"(x), "r"(barrier) : "memory");
}

// Arrives at a barrier of another block, of a thread that has only read: a release for the whole cluster would wait for all
// of its memory, 40 % of the time of a product.
__device__ __forceinline__ void barrier_arrive_there(u32 at) {
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(at) : "memory");
}

__device__ __forceinline__ void barrier_arrive(u32 at) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at) : "memory");
}

// Arrives, and announces bytes that copies will bring.
__device__ __forceinline__ void barrier_expect(u32 at, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes) : "memory");
}

// Waits until the phase of this parity, 0 for the first, has ended.
__device__ __forceinline__ void barrier_wait(u32 at, u32 parity) {
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra.uni over;\n"
                 "bra.uni again;\n"
                 "over:\n"
                 "}" ::"r"(at), "r"(parity) : "memory");
}

// Two warpgroups meet at the named barrier `id`, 1 to 15: one waits for the other, which goes on.
__device__ __forceinline__ void pair_wait(u32 id) { asm volatile("bar.sync %0, 256;" ::"r"(id) : "memory"); }
__device__ __forceinline__ void pair_arrive(u32 id) { asm volatile("bar.arrive %0, 256;" ::"r"(id) : "memory"); }

// kCount threads, of whole warps, meet at theirs.
template <u32 kCount> __device__ __forceinline__ void team_wait(u32 id) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "n"(kCount) : "memory");
}

// A warpgroup meets at the named barrier `id`.
__device__ __forceinline__ void group_wait(u32 id) { asm volatile("bar.sync %0, 128;" ::"r"(id) : "memory"); }

// Two warps of one meet at theirs.
__device__ __forceinline__ void warps_wait(u32 id) { asm volatile("bar.sync %0, 64;" ::"r"(id) : "memory"); }

__device__ __forceinline__ void prefetch(const TensorMap& map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// Starts the copy of the box at x, y, z; zeros for what lies outside. It tells the barrier of the bytes of a whole box.
__device__ __forceinline__ void copy_box(u32 to, const TensorMap& map, u32 x, u32 y, u32 z, u32 barrier) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3, %4}], [%5];"
                 ::"r"(to), "l"(&map), "r"(x), "r"(y), "r"(z), "r"(barrier) : "memory");
}

// The same to the same place of every block of the cluster whose bit is set, and to its barrier.
__device__ __forceinline__
void copy_box_to_all(u32 to, const TensorMap& map, u32 x, u32 y, u32 z, u32 barrier, u32 blocks) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1, {%2, %3, %4}], [%5], %6;"
                 ::"r"(to), "l"(&map), "r"(x), "r"(y), "r"(z), "r"(barrier), "h"(u16(blocks)) : "memory");
}

// Starts to bring the box to L2.
__device__ __forceinline__ void prefetch_box(const TensorMap& map, u32 x, u32 y, u32 z) {
    asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%0, {%1, %2, %3}];"
                 ::"l"(&map), "r"(x), "r"(y), "r"(z) : "memory");
}

// Starts the copy of as many bytes as lie side by side, a multiple of 16, which tells the barrier of them.
__device__ __forceinline__ void copy_bulk(u32 to, const void* from, u32 bytes, u32 barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 ::"r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");
}

// Shows what this thread has written to shared memory to the copy engine.
__device__ __forceinline__ void copy_out_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Starts the copy of a box from shared memory; what lies outside is dropped.
__device__ __forceinline__ void copy_box_out(const TensorMap& map, u32 from, u32 x, u32 y, u32 z) {
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3}], [%4];"
                 ::"l"(&map), "r"(x), "r"(y), "r"(z), "r"(from) : "memory");
}

// The same, added to the f32 elements that are there.
__device__ __forceinline__ void add_box_out(const TensorMap& map, u32 from, u32 x, u32 y, u32 z) {
    asm volatile("cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.tile.bulk_group [%0, {%1, %2, %3}], [%4];"
                 ::"l"(&map), "r"(x), "r"(y), "r"(z), "r"(from) : "memory");
}

__device__ __forceinline__ void copy_out_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// Waits until at most kPending of this thread's groups of copies out, the latest ones, still read shared memory.
template <u32 kPending> __device__ __forceinline__ void copy_out_wait() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}

// Four 8x8 blocks of 16-bit elements to shared memory, the reverse of load_blocks.
__device__ __forceinline__ void store_blocks(u32 address, const u32 (&blocks)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared::cta.b16 [%0], {%1, %2, %3, %4};"
                 ::"r"(address), "r"(blocks[0]), "r"(blocks[1]), "r"(blocks[2]), "r"(blocks[3]) : "memory");
}

// Two of them, at the addresses of lanes 0 to 15.
__device__ __forceinline__ void store_blocks(u32 address, const u32 (&blocks)[2]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x2.shared::cta.b16 [%0], {%1, %2};"
                 ::"r"(address), "r"(blocks[0]), "r"(blocks[1]) : "memory");
}

// Four with each block transposed on the way.
__device__ __forceinline__ void store_blocks_transposed(u32 address, const u32 (&blocks)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared::cta.b16 [%0], {%1, %2, %3, %4};"
                 ::"r"(address), "r"(blocks[0]), "r"(blocks[1]), "r"(blocks[2]), "r"(blocks[3]) : "memory");
}

// Two neighbours to shared memory.
__device__ __forceinline__ void store_shared_pair(u32 to, f32 a, f32 b) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to), "f"(a), "f"(b) : "memory");
}

// Before the first product on registers or shared memory that were written otherwise.
__device__ __forceinline__ void product_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Closes the group of products that were started.
__device__ __forceinline__ void product_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most kPending groups, the latest ones, are still at work.
template <u32 kPending> __device__ __forceinline__ void product_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Where a factor lies in shared memory: rows of 128 bytes whose chunks of 16 are XORed with the row's number modulo 8, or of 64
// bytes, with half of that; groups of 8 rows one after the other. Rows are along m or n, or (kOuter) along k, then in boxes of
// 64 or 32 along the other.
template <bool kOuter, u32 kRowBytes = 128> __device__ __forceinline__ u64 factor_at(u32 address, u32 box_bytes) {
    static_assert(kRowBytes == 128 || kRowBytes == 64);
    const u64 leading = kOuter ? box_bytes >> 4 : 1, swizzle = kRowBytes == 128 ? 1 : 2;
    return swizzle << 62 | u64(8 * kRowBytes >> 4) << 32 | leading << 16 | (address & 0x3ffff) >> 4;
}

#define TAUT_SUMS_8(i) \
    "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3]), "+f"(sums[i + 4]), "+f"(sums[i + 5]), \
        "+f"(sums[i + 6]), "+f"(sums[i + 7])
#define TAUT_SUMS_32(i) TAUT_SUMS_8(i), TAUT_SUMS_8(i + 8), TAUT_SUMS_8(i + 16), TAUT_SUMS_8(i + 24)
#define TAUT_OUT_16 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define TAUT_OUT_32 \
    TAUT_OUT_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define TAUT_OUT_48 TAUT_OUT_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define TAUT_OUT_56 TAUT_OUT_48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define TAUT_OUT_64 TAUT_OUT_56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define TAUT_OUT_72 TAUT_OUT_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define TAUT_OUT_88 \
    TAUT_OUT_72 ", %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87"
#define TAUT_OUT_96 TAUT_OUT_88 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define TAUT_OUT_112 \
    TAUT_OUT_96 ", " \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define TAUT_OUT_128 \
    TAUT_OUT_112 ", " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
// Operands beyond the sums: both factors, whether to add, and where there is a choice whether each factor is kOuter.
#define TAUT_PRODUCT(SHAPE, DTYPE, SUMS, A, B, ADD, OUTER) \
    "{\n.reg .pred add;\nsetp.ne.b32 add, " ADD ", 0;\n" \
    "wgmma.mma_async.sync.aligned." SHAPE ".f32." DTYPE "." DTYPE " " SUMS "}, " A ", " B ", add, 1, 1" OUTER ";\n}"

// Of both dtypes of 16 bits.
#define TAUT_HALVES(SHAPE, SUMS, A, B, ADD, OUTER, ...) \
    if constexpr (kSame<T, f16>) { \
        asm volatile(TAUT_PRODUCT(SHAPE, "f16", SUMS, A, B, ADD, OUTER) \
                     : __VA_ARGS__ : "l"(a), "l"(b), "r"(u32(add)), "n"(u32(kA)), "n"(u32(kB))); \
    } else { \
        asm volatile(TAUT_PRODUCT(SHAPE, "bf16", SUMS, A, B, ADD, OUTER) \
                     : __VA_ARGS__ : "l"(a), "l"(b), "r"(u32(add)), "n"(u32(kA)), "n"(u32(kB))); \
    }

// sums = a * b, or += that, for a [64, 16] and b [16, N], where N is twice the number of sums; for f32, of which the upper 19
// bits count (tf32), a [64, 8] and b [8, N], never kOuter. Thread l of warp w of the warpgroup holds rows 16 * w + l / 4 and
// the one 8 below; of each block of 8 columns 2 * (l % 4) and the next: two sums of the upper row, then two of the lower.
template <typename T, bool kA, bool kB, u32 kSums>
__device__ __forceinline__ void multiply_group(f32 (&sums)[kSums], u64 a, u64 b, bool add) {
    static_assert(kIsHalf<T> || !(kA || kB));
    if constexpr (!kIsHalf<T>) {
        static_assert(kSums == 64 || kSums == 128);
        if constexpr (kSums == 64) {
            asm volatile(TAUT_PRODUCT("m64n128k8", "tf32", TAUT_OUT_64, "%64", "%65", "%66", "")
                         : TAUT_SUMS_32(0), TAUT_SUMS_32(32) : "l"(a), "l"(b), "r"(u32(add)));
        } else {
            asm volatile(TAUT_PRODUCT("m64n256k8", "tf32", TAUT_OUT_128, "%128", "%129", "%130", "")
                         : TAUT_SUMS_32(0), TAUT_SUMS_32(32), TAUT_SUMS_32(64), TAUT_SUMS_32(96)
                         : "l"(a), "l"(b), "r"(u32(add)));
        }
    } else if constexpr (kSums == 16) {
        TAUT_HALVES("m64n32k16", TAUT_OUT_16, "%16", "%17", "%18", ", %19, %20", TAUT_SUMS_8(0), TAUT_SUMS_8(8));
    } else if constexpr (kSums == 32) {
        TAUT_HALVES("m64n64k16", TAUT_OUT_32, "%32", "%33", "%34", ", %35, %36", TAUT_SUMS_32(0));
    } else if constexpr (kSums == 48) {
        TAUT_HALVES("m64n96k16", TAUT_OUT_48, "%48", "%49", "%50", ", %51, %52", TAUT_SUMS_32(0), TAUT_SUMS_8(32),
                    TAUT_SUMS_8(40));
    } else if constexpr (kSums == 56) {
        TAUT_HALVES("m64n112k16", TAUT_OUT_56, "%56", "%57", "%58", ", %59, %60", TAUT_SUMS_32(0), TAUT_SUMS_8(32),
                    TAUT_SUMS_8(40), TAUT_SUMS_8(48));
    } else if constexpr (kSums == 64) {
        TAUT_HALVES("m64n128k16", TAUT_OUT_64, "%64", "%65", "%66", ", %67, %68", TAUT_SUMS_32(0), TAUT_SUMS_32(32));
    } else if constexpr (kSums == 72) {
        TAUT_HALVES("m64n144k16", TAUT_OUT_72, "%72", "%73", "%74", ", %75, %76", TAUT_SUMS_32(0), TAUT_SUMS_32(32),
                    TAUT_SUMS_8(64));
    } else if constexpr (kSums == 88) {
        TAUT_HALVES("m64n176k16", TAUT_OUT_88, "%88", "%89", "%90", ", %91, %92", TAUT_SUMS_32(0), TAUT_SUMS_32(32),
                    TAUT_SUMS_8(64), TAUT_SUMS_8(72), TAUT_SUMS_8(80));
    } else if constexpr (kSums == 96) {
        TAUT_HALVES("m64n192k16", TAUT_OUT_96, "%96", "%97", "%98", ", %99, %100", TAUT_SUMS_32(0), TAUT_SUMS_32(32),
                    TAUT_SUMS_32(64));
    } else if constexpr (kSums == 112) {
        TAUT_HALVES("m64n224k16", TAUT_OUT_112, "%112", "%113", "%114", ", %115, %116", TAUT_SUMS_32(0), TAUT_SUMS_32(32),
                    TAUT_SUMS_32(64), TAUT_SUMS_8(96), TAUT_SUMS_8(104));
    } else {
        static_assert(kSums == 128);
        TAUT_HALVES("m64n256k16", TAUT_OUT_128, "%128", "%129", "%130", ", %131, %132", TAUT_SUMS_32(0), TAUT_SUMS_32(32),
                    TAUT_SUMS_32(64), TAUT_SUMS_32(96));
    }
}
