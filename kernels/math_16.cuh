// math_16.cuh: functions of f32 whose results are rounded to 16 bits: each errs by at most 2^-17 of its result, a 32nd of what
// rounding to f16 may take, but where it says otherwise. NaN gives NaN, subnormal numbers count.
#pragma once
#include "math.cuh"

constexpr f32 kLog2E = 1.44269502f;

// The logarithm. The hardware's errs by 2^-22, whatever it is: near 1 a polynomial takes its place.
__device__ __forceinline__ f32 log_16(f32 x) {
    const f32 d = __fadd_rn(x, -1.0f);
    f32 p = __fmaf_rn(-0.250693887f, d, 0.333982110f);
    p = __fmaf_rn(p, d, -0.499999583f);
    p = __fmul_rn(__fmaf_rn(p, d, 1.0f), d);
    return fabsf(d) <= 0.0625f ? p : __fmul_rn(__log2f(x), 0.693147182f);
}

// e^x - 1: of small ones by a polynomial, of which nothing cancels.
__device__ __forceinline__ f32 expm1_16(f32 x) {
    f32 p = __fmaf_rn(0.0416592285f, x, 0.166774541f);
    p = __fmaf_rn(p, x, 0.500000298f);
    p = __fmul_rn(__fmaf_rn(p, x, 1.0f), x);
    return fabsf(x) < 0.125f ? p : __fadd_rn(ex2_approx_ftz(__fmul_rn(x, kLog2E)), -1.0f);
}

// log(1 + e^x), which is max(x, 0) and log(1 + e) for the smaller e.
__device__ __forceinline__ f32 softplus_16(f32 x) {
    const f32 e = exp2f(__fmul_rn(fabsf(x), -kLog2E));
    f32 p = __fmaf_rn(0.0141409840f, e, -0.0664016604f);
    p = __fmaf_rn(p, e, 0.149223670f);
    p = __fmaf_rn(p, e, -0.235038459f);
    p = __fmaf_rn(p, e, 0.331094444f);
    p = __fmaf_rn(p, e, -0.499869645f);
    p = __fmaf_rn(p, e, 0.999998748f);
    return __fmaf_rn(p, e, max_nan(x, 0.0f));
}

// gelu_tanh. In bf16 it errs by 2^-14, a 32nd of what rounding may take there too, and is 0 where the sigmoid is below 2^-126.
__device__ __forceinline__ f32 gelu_tanh_16(f32 x) {
    const f32 y = max_nan(x, -32.0f);
    const f32 u = __fmul_rn(y, __fmaf_rn(__fmul_rn(y, y), -1.02943240e-1f, -2.30220819f));  // times -log2(e)
    return __fmul_rn(y, rcp_approx(__fadd_rn(1.0f, ex2_approx_ftz(u))));
}

// The sine, or with ahead == 1 the cosine, of x up to 105615, infinity too: x less whole half turns, or what is halfway
// between them.
template <u32 kAhead> __device__ __forceinline__ f32 near_sine_16(f32 x) {
    constexpr f32 kMagic = 12582912.0f;  // 1.5 * 2^23: to the nearest whole number
    const f32 turns = kAhead == 0 ? x : __fmaf_rn(x, 0.318309873f, -0.5f);
    const f32 shifted = kAhead == 0 ? __fmaf_rn(x, 0.318309873f, kMagic) : __fadd_rn(turns, kMagic);
    f32 count = __fadd_rn(shifted, -kMagic);
    if constexpr (kAhead == 1) count = __fadd_rn(count, 0.5f);
    // A half turn in two parts: the first is exact to here, and both are positive, so that -0 stays.
    const f32 r = __fmaf_rn(count, -1.50995788e-7f, __fmaf_rn(count, -0x1.921fb4p+1f, x));
    const f32 square = __fmul_rn(r, r);
    f32 p = __fmaf_rn(-1.85270110e-4f, square, 8.31381883e-3f);
    p = __fmaf_rn(p, square, -0.166658238f);
    p = __fmul_rn(__fmaf_rn(p, square, 1.0f), r);
    const u32 odd = kAhead == 0 ? __float_as_uint(shifted) : ~__float_as_uint(shifted);
    return __uint_as_float(__float_as_uint(p) ^ odd << 31);
}

// The same of all of a run. What is farther in bf16 comes one after the other, as there is none as a rule.
template <u32 kAhead, typename Half, u32 kLen> __device__ __forceinline__ void sines_16(f32 (&x)[kLen]) {
    constexpr f32 kFar = 105615.0f;
    bool is_far = false;
    if constexpr (kSame<Half, bf16>) {
        #pragma unroll
        for (f32 lane : x) is_far |= fabsf(lane) > kFar;
    }
    if (!is_far) {
        #pragma unroll
        for (f32& lane : x) lane = near_sine_16<kAhead>(lane);
        return;
    }
    #pragma unroll 1
    for (u32 i = 0; i < kLen; ++i) {
        const f32 first = fabsf(x[0]) > kFar ? sine(x[0], kAhead) : near_sine_16<kAhead>(x[0]);
        #pragma unroll
        for (u32 l = 0; l + 1 < kLen; ++l) x[l] = x[l + 1];
        x[kLen - 1] = first;
    }
}

// A power of a larger exponent, of x near 1, is more than the hardware's logarithm tells.
constexpr f32 kSteep = 32.0f;

// x^y, as powf has it for ends, zeros and negative x. It errs by an eighth of what rounding may take: 2^-15 of it in f16, 2^-12
// in bf16. kAny says whether y may be steep.
template <bool kAny> __device__ __forceinline__ f32 power_16(f32 x, f32 y) {
    const f32 size = fabsf(x), half = __fmul_rn(0.5f, y);
    f32 log = __log2f(size);
    if constexpr (kAny) {
        const f32 d = __fadd_rn(size, -1.0f);
        f32 p = __fmaf_rn(0.227330536f, d, -0.261521071f);
        p = __fmaf_rn(p, d, 0.287707895f);
        p = __fmaf_rn(p, d, -0.360000819f);
        p = __fmaf_rn(p, d, 0.480908513f);
        p = __fmaf_rn(p, d, -0.721352816f);
        p = __fmaf_rn(p, d, 1.44269502f);
        if (fabsf(y) > kSteep && fabsf(d) <= 0.25f) log = __fmul_rn(p, d);
    }
    f32 z = exp2f(__fmul_rn(y, log));
    if (y == 0.0f || size == 1.0f) z = 1.0f;  // of NaN too
    const bool is_whole = truncf(y) == y, is_odd = is_whole && truncf(half) != half;
    const u32 sign = is_odd ? __float_as_uint(x) & 0x80000000u : 0;
    const u32 nan = x < 0.0f && size < __int_as_float(0x7f800000) && !is_whole ? 0x7fffffff : 0;
    return __uint_as_float((__float_as_uint(z) ^ sign) | nan);
}

// The same of all of a run, each with its own y.
template <u32 kLen> __device__ __forceinline__ void powers_16(f32 (&x)[kLen], const f32 (&y)[kLen]) {
    bool is_steep = false;
    #pragma unroll
    for (f32 exponent : y) is_steep |= fabsf(exponent) > kSteep;
    if (is_steep) {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x[l] = power_16<true>(x[l], y[l]);
    } else {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x[l] = power_16<false>(x[l], y[l]);
    }
}

// All with the same y, which all threads have. Whole ones up to 4 are products, of x or of 1 / x.
template <u32 kLen> __device__ __forceinline__ void powers_16(f32 (&x)[kLen], f32 y) {
    const f32 n = fabsf(y);
    if (!(n <= 4.0f && n == truncf(n))) {
        f32 exponents[kLen];
        #pragma unroll
        for (f32& exponent : exponents) exponent = y;
        return powers_16(x, exponents);
    }
    if (y < 0.0f) {
        #pragma unroll
        for (f32& lane : x) {
            const f32 root = rsqrtf(fabsf(lane));
            lane = copysignf(__fmul_rn(root, root), lane);
        }
    }
    #pragma unroll
    for (f32& lane : x) {
        const f32 low = u32(n) & 1 ? lane : 1.0f, square = __fmul_rn(lane, lane);
        lane = __fmul_rn(low, n < 2.0f ? 1.0f : n < 4.0f ? square : __fmul_rn(square, square));
    }
}
