// ptx.cuh: one function an instruction. Inline PTX stands here, in mma.cuh and in hopper.cuh, and nowhere else.
//
// Loads and stores are volatile, so that they keep the order in which a kernel writes them: loads of a thread first,
// all in flight together, then its stores. In-place kernels depend on no more than that.
#pragma once
#include "types.cuh"

// The kernels of a stream follow each other without a gap: lets the next one's blocks come to the multiprocessors as soon as
// this one's are all there. Nothing happens where a launch does not ask for it.
__device__ __forceinline__ void lead() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// The first statement of every kernel, or of each role in it whose beginning takes no more than arguments: leads, and waits
// until the kernel before is done and what it wrote can be seen.
__device__ __forceinline__ void follow() {
    lead();
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// `count` threads, of whole warps, meet at a barrier of theirs: one of 15, from 1 on.
__device__ __forceinline__ void some_wait(u32 id, u32 count) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(count) : "memory");
}

// All bits of a product. Of a * u64(b) the compiler makes an addition more.
__device__ __forceinline__ u64 mul_wide(u32 a, u32 b) {
    u64 x;
    asm("mul.wide.u32 %0, %1, %2;" : "=l"(x) : "r"(a), "r"(b));
    return x;
}

// 16 and 8 bytes of global memory that are used once: no room in L1, and DRAM is asked for whole lines of 256 bytes.
__device__ __forceinline__ u32x4 ld_global_once(const u32x4* at) {
    u32x4 x;
    asm volatile("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.a), "=r"(x.b), "=r"(x.c), "=r"(x.d) : "l"(at));
    return x;
}

__device__ __forceinline__ u32x2 ld_global_once(const u32x2* at) {
    u32x2 x;
    asm volatile("ld.global.L1::no_allocate.L2::256B.v2.u32 {%0, %1}, [%2];" : "=r"(x.a), "=r"(x.b) : "l"(at));
    return x;
}

// 16 and 8 bytes of global memory.
__device__ __forceinline__ u32x4 ld_global(const u32x4* at) {
    u32x4 x;
    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.a), "=r"(x.b), "=r"(x.c), "=r"(x.d) : "l"(at));
    return x;
}

__device__ __forceinline__ u32x2 ld_global(const u32x2* at) {
    u32x2 x;
    asm volatile("ld.global.v2.u32 {%0, %1}, [%2];" : "=r"(x.a), "=r"(x.b) : "l"(at));
    return x;
}

// 16, 8, 4 and 2 bytes of global memory that no thread writes while the kernel runs.
__device__ __forceinline__ u32x4 ld_global_constant(const u32x4* at) {
    u32x4 x;
    asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(x.a), "=r"(x.b), "=r"(x.c), "=r"(x.d) : "l"(at));
    return x;
}

__device__ __forceinline__ u32x2 ld_global_constant(const u32x2* at) {
    u32x2 x;
    asm("ld.global.nc.v2.u32 {%0, %1}, [%2];" : "=r"(x.a), "=r"(x.b) : "l"(at));
    return x;
}

__device__ __forceinline__ u32 ld_global_constant(const u32* at) {
    u32 x;
    asm("ld.global.nc.u32 %0, [%1];" : "=r"(x) : "l"(at));
    return x;
}

__device__ __forceinline__ u16 ld_global_constant(const u16* at) {
    u16 x;
    asm("ld.global.nc.u16 %0, [%1];" : "=h"(x) : "l"(at));
    return x;
}

__device__ __forceinline__ void st_global(u32x4* at, u32x4 x) {
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" :: "l"(at), "r"(x.a), "r"(x.b), "r"(x.c), "r"(x.d)
                 : "memory");
}

__device__ __forceinline__ void st_global(u32x2* at, u32x2 x) {
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" :: "l"(at), "r"(x.a), "r"(x.b) : "memory");
}

// 1 / x to within an ulp, for 2^-126 <= x <= 2^126.
__device__ __forceinline__ f32 rcp_approx(f32 x) {
    f32 y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// The square root to within an ulp; of subnormals too.
__device__ __forceinline__ f32 sqrt_approx(f32 x) {
    f32 y;
    asm("sqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// 2^x within 2 ulp; a subnormal result, and a subnormal argument, count as 0.
__device__ __forceinline__ f32 ex2_approx_ftz(f32 x) {
    f32 y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Exact.
__device__ __forceinline__ f32 cvt_f32_f16(u16 x) {
    f32 y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}

// To the nearest, ties to even; too large gives infinity, NaN the canonical NaN.
__device__ __forceinline__ u16 cvt_rn_f16_f32(f32 x) {
    u16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ u16 cvt_rn_bf16_f32(f32 x) {
    u16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}

// Two at once, the first in the low half.
__device__ __forceinline__ u32 cvt_rn_f16x2_f32(f32 low, f32 high) {
    u32 y;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}

__device__ __forceinline__ u32 cvt_rn_bf16x2_f32(f32 low, f32 high) {
    u32 y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}

// The same of what is above 0, NaN, or else 0.
__device__ __forceinline__ u32 cvt_rn_relu_f16x2_f32(f32 low, f32 high) {
    u32 y;
    asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}

__device__ __forceinline__ u32 cvt_rn_relu_bf16x2_f32(f32 low, f32 high) {
    u32 y;
    asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}

// Toward zero; too large and too small give the nearest integer there is, NaN gives 0.
__device__ __forceinline__ u32 cvt_rzi_u32_f32(f32 x) {
    u32 y;
    asm("cvt.rzi.u32.f32 %0, %1;" : "=r"(y) : "f"(x));
    return y;
}

// Toward zero and saturating, but what NaN gives differs between types: callers keep it out.
__device__ __forceinline__ i64 cvt_rzi_s64_f32(f32 x) {
    i64 y;
    asm("cvt.rzi.s64.f32 %0, %1;" : "=l"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ i64 cvt_rzi_s64_f64(f64 x) {
    i64 y;
    asm("cvt.rzi.s64.f64 %0, %1;" : "=l"(y) : "d"(x));
    return y;
}

__device__ __forceinline__ u32 cvt_rzi_u32_f64(f64 x) {
    u32 y;
    asm("cvt.rzi.u32.f64 %0, %1;" : "=r"(y) : "d"(x));
    return y;
}

// x + y if so, or else y. Of a choice between the two the compiler makes a branch.
__device__ __forceinline__ f32 add_if(bool adds, f32 x, f32 y) {
    asm("{.reg .pred adds; setp.ne.u32 adds, %2, 0; @adds add.rn.f32 %0, %1, %0;}" : "+f"(y) : "f"(x), "r"(u32(adds)));
    return y;
}

// A word that other blocks look for, in one piece.
__device__ __forceinline__ void st_relaxed(u64* at, u64 x) {
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(at), "l"(x) : "memory");
}

__device__ __forceinline__ u64 ld_relaxed(const u64* at) {
    u64 x;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(x) : "l"(at) : "memory");
    return x;
}

// NaN if either is, and 0 as larger than -0.
__device__ __forceinline__ f32 max_nan(f32 a, f32 b) {
    f32 y;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
}

__device__ __forceinline__ f32 min_nan(f32 a, f32 b) {
    f32 y;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
}

// The larger or the smaller of each pair of 16-bit floats, and of a number and NaN the number.
__device__ __forceinline__ u32 max_f16x2(u32 a, u32 b) {
    u32 y;
    asm("max.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
    return y;
}

__device__ __forceinline__ u32 max_bf16x2(u32 a, u32 b) {
    u32 y;
    asm("max.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
    return y;
}

__device__ __forceinline__ u32 min_f16x2(u32 a, u32 b) {
    u32 y;
    asm("min.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
    return y;
}

__device__ __forceinline__ u32 min_bf16x2(u32 a, u32 b) {
    u32 y;
    asm("min.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
    return y;
}

// The larger or the smaller of each pair, NaN if either is.
__device__ __forceinline__ u32 max_nan_f16x2(u32 a, u32 b) {
    u32 y;
    asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
    return y;
}

__device__ __forceinline__ u32 max_nan_bf16x2(u32 a, u32 b) {
    u32 y;
    asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
    return y;
}

__device__ __forceinline__ u32 min_nan_f16x2(u32 a, u32 b) {
    u32 y;
    asm("min.NaN.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
    return y;
}

__device__ __forceinline__ u32 min_nan_bf16x2(u32 a, u32 b) {
    u32 y;
    asm("min.NaN.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
    return y;
}
