// kernels/mma.cuh: tensor-core and asynchronous-copy instructions of compute 8.0 and up, one function each.
#pragma once
#include "types.cuh"

// The address of shared memory as the instructions below take it.
__device__ __forceinline__ u32 shared_address(const void* p) { return static_cast<u32>(__cvta_generic_to_shared(p)); }

// Starts a copy of `bytes` (0..16) from global memory; the rest of the 16 bytes at `to` become zero. Nothing is read
// for 0 bytes, so `from` may then point anywhere. Both addresses are 16-byte aligned.
__device__ __forceinline__ void copy_async_16(u32 to, const void* from, u32 bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

// The same for a single word: `bytes` is 0 or 4.
__device__ __forceinline__ void copy_async_4(u32 to, const void* from, u32 bytes) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

// Of 16 or of 8 bytes, all of which there are.
template <u32 kBytes> __device__ __forceinline__ void copy_async(u32 to, const void* from) {
    if constexpr (kBytes == 16) asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
    else asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(to), "l"(from) : "memory");
}

// What has come, again as the instruction takes addresses.
__device__ __forceinline__ uint4 load_shared_16(u32 from) {
    uint4 x;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(from));
    return x;
}

__device__ __forceinline__ void store_shared_16(u32 to, uint4 x) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w));
}

// Closes the group of copies that this thread has started.
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most kPending of this thread's groups, the latest ones, are still on their way.
template <u32 kPending>
__device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four 8x8 blocks of 16-bit elements; lane l brings the address of row l % 8 of block l / 8, and gets the elements
// 2 * (l % 4) and the next of row l / 4 of each block.
__device__ __forceinline__ void load_blocks(u32 (&blocks)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(blocks[0]), "=r"(blocks[1]), "=r"(blocks[2]), "=r"(blocks[3])
                 : "r"(address)
                 : "memory");
}

// The same with each block transposed on the way.
__device__ __forceinline__ void load_blocks_transposed(u32 (&blocks)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(blocks[0]), "=r"(blocks[1]), "=r"(blocks[2]), "=r"(blocks[3])
                 : "r"(address)
                 : "memory");
}

// sums += a * b for a [16, 16], b [16, 8]. Lane l holds rows l / 4 and l / 4 + 8, columns 2 * (l % 4) and the next.
template <typename T>
__device__ __forceinline__ void mma(f32 (&sums)[4], const u32 (&a)[4], u32 b_low, u32 b_high);

template <>
__device__ __forceinline__ void mma<f16>(f32 (&sums)[4], const u32 (&a)[4], u32 b_low, u32 b_high) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_low), "r"(b_high));
}

template <>
__device__ __forceinline__ void mma<bf16>(f32 (&sums)[4], const u32 (&a)[4], u32 b_low, u32 b_high) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_low), "r"(b_high));
}

// Stores 16 bytes to shared memory.
__device__ __forceinline__ void store_shared(u32 to, u32x4 x) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(x.a), "r"(x.b), "r"(x.c), "r"(x.d)
                 : "memory");
}

// Stores 4 bytes to shared memory.
__device__ __forceinline__ void store_shared(u32 to, u32 x) {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(x) : "memory");
}

// Loads 16 bytes of shared memory.
__device__ __forceinline__ u32x4 load_shared(u32 from) {
    u32x4 x;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.a), "=r"(x.b), "=r"(x.c), "=r"(x.d) : "r"(from) : "memory");
    return x;
}

// Loads 4 bytes of shared memory.
__device__ __forceinline__ u32 load_shared_word(u32 from) {
    u32 x;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(from) : "memory");
    return x;
}
