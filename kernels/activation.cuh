// activation.cuh: activations of f32, alone and in the epilogues of other kernels. NaN in, NaN out.
#pragma once
#include "math.cuh"

// Not fmaxf(x, 0): that turns NaN into 0. And no slope of 0: that would make NaN of -infinity, and -0 of -1.
__device__ __forceinline__ f32 relu(f32 x) { return x < 0.0f ? 0.0f : x; }

// Below -1024 the result is -0, that of -infinity too, where the product would be NaN.
__device__ __forceinline__ f32 silu(f32 x) {
    const f32 y = x < -1024.0f ? -1024.0f : x;
    return __fmul_rn(y, sigmoid(y));
}

// x Phi(x) is max(x, 0) less the tail beyond |x|: nothing cancels.
__device__ __forceinline__ f32 gelu(f32 x) { return __fsub_rn(relu(x), normal_tail(fabsf(x))); }

// To be rounded to Out: for 16 bits it errs by an eighth of what rounding may take.
template <typename Out> __device__ __forceinline__ f32 gelu_to(f32 x) {
    if constexpr (!kIsHalf<Out>) return gelu(x);
    const f32 t = fminf(fabsf(x), kUpperEnd<Out>);
    return __fmaf_rn(-t, upper_16<Out>(t), max_nan(x, -0.0f));  // relu, but -0 for what is below 0
}

// (1 + tanh(u)) / 2 is sigmoid(2 u): nothing cancels. Below -32 as silu below -1024.
__device__ __forceinline__ f32 gelu_tanh(f32 x) {
    const f32 y = x < -32.0f ? -32.0f : x;
    const f32 u = __fmul_rn(y, __fmaf_rn(__fmul_rn(y, y), 7.13548163e-2f, 1.59576912f));
    return __fmul_rn(y, sigmoid(u));
}

// The activation with this Activation::code in Rust, to be rounded to Out. It is the same for all of a launch, and so is
// chosen outside of the loops.
template <typename Out = f32, u32 kLen> __device__ __forceinline__ void activate(f32 (&run)[kLen], u32 code, f32 slope) {
    switch (code) {
        case 0: break;
        case 1:
            #pragma unroll
            for (f32& x : run) x = relu(x);
            break;
        case 2:
            #pragma unroll
            for (f32& x : run) x = x < 0.0f ? slope * x : x;
            break;
        case 3:
            #pragma unroll
            for (f32& x : run) x = gelu_to<Out>(x);
            break;
        case 4:
            #pragma unroll
            for (f32& x : run) x = gelu_tanh(x);
            break;
        default:
            #pragma unroll
            for (f32& x : run) x = silu(x);
    }
}
