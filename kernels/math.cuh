// math.cuh: functions of f32 that CUDA has not, or has only with a stack frame. Each takes every f32, NaN gives NaN.
#pragma once
#include "ptx.cuh"

// An angle less whole quarters of a turn: within pi/4 of 0, but for rounding, and how many quarters, modulo 4.
struct Quarter { f32 angle; u32 count; };

// 2/pi as a fraction, behind 32 bits of 0.
constexpr u32 kTwoOverPi[7] = {0, 0x28be60db, 0x9391054a, 0x7f09d5f4, 0x7d4d3770, 0x36d8a566, 0x4f10e410};

// quarter() of finite numbers of at least 1: of the product with 2/pi (Payne and Hanek, 1983) only the bits are computed
// that a quarter and 62 bits of its fraction are made of.
__device__ __forceinline__ Quarter quarter_of_large(f32 x) {
    const u32 bits = __float_as_uint(x);
    const u32 mantissa = (bits << 8) | 0x80000000u;  // |x| = mantissa * 2^(exponent - 32)
    const u32 exponent = ((bits >> 23) & 0xff) - 126;
    const u32 word = exponent / 32, shift = exponent % 32;
    u32 part[4];
    #pragma unroll
    for (u32 i = 0; i < 4; ++i) part[i] = word + i < 7 ? kTwoOverPi[word + i] : 0;
    #pragma unroll
    for (u32 i = 0; i < 3; ++i) part[i] = __funnelshift_l(part[i + 1], part[i], shift);

    // The product as a number with two bits before the point and 62 behind it; what is above them are whole turns.
    u64 product = u64(mantissa) * part[2];
    product = u64(mantissa) * part[1] + (product >> 32);
    product += u64(mantissa * part[0]) << 32;
    const u32 count = u32((product + (1ull << 61)) >> 62);  // the nearest
    const i64 rest = i64(product - (u64(count) << 62));
    const f32 angle = f32(f64(rest) * 0x1.921fb54442d18p-62);  // pi/2
    return __float_as_int(x) < 0 ? Quarter{-angle, 0 - count} : Quarter{angle, count};
}

__device__ __forceinline__ Quarter quarter(f32 x) {
    // Up to here (Cody and Waite, 1980) count * pi/2 in three parts is exact enough.
    if (!(fabsf(x) > 105615.0f)) {
        const f32 shifted = __fmaf_rn(x, 0.636619747f, 12582912.0f);  // 1.5 * 2^23: to the nearest whole number
        const f32 count = __fadd_rn(shifted, -12582912.0f);
        f32 angle = __fmaf_rn(count, -0x1.921fb0p+00f, x);
        angle = __fmaf_rn(count, -0x1.5110b4p-22f, angle);
        angle = __fmaf_rn(count, -0x1.846988p-48f, angle);
        return {angle, __float_as_uint(shifted)};
    }
    if (fabsf(x) == __int_as_float(0x7f800000)) return {__fsub_rn(x, x), 0};
    return quarter_of_large(x);
}

// The sine of x, or with ahead == 1, a quarter of a turn later, the cosine: within 1.6 ulp.
__device__ __forceinline__ f32 sine(f32 x, u32 ahead) {
    const Quarter at = quarter(x);
    const u32 count = at.count + ahead;
    const f32 square = __fmul_rn(at.angle, at.angle);
    const bool odd = count & 1;
    const f32 first = odd ? 1.0f : at.angle;
    f32 p = odd ? 2.44677067e-5f : 2.86567956e-6f;
    p = __fmaf_rn(p, square, odd ? -1.38877297e-3f : -1.98559923e-4f);
    p = __fmaf_rn(p, square, odd ? 4.16666567e-2f : 8.33338592e-3f);
    p = __fmaf_rn(p, square, odd ? -0.5f : -1.66666672e-1f);
    // Of -0 the sum below would be 0.
    const f32 y = first == 0.0f ? first : __fmaf_rn(p, __fmul_rn(first, square), first);
    return count & 2 ? -y : y;
}

// 1 / x for x from 1 to 2^100, to within an ulp: a hardware estimate and one step of Newton.
__device__ __forceinline__ f32 inverse(f32 x) {
    const f32 y = rcp_approx(x);
    return __fmaf_rn(y, __fmaf_rn(-x, y, 1.0f), y);
}

// 1 / (1 + e^-x), small results as exact as large ones.
__device__ __forceinline__ f32 sigmoid(f32 x) {
    const f32 e = expf(-fabsf(x));
    return __fmul_rn(x < 0.0f ? e : 1.0f, inverse(__fadd_rn(1.0f, e)));
}

// x^y; of whole numbers y up to 4 by products of x or of 1 / x, within 3.5 ulp. All threads have the same y.
__device__ __forceinline__ f32 power(f32 x, f32 y) {
    const f32 n = fabsf(y);
    u32 is_other = !(n <= 4.0f && n == truncf(n));
    asm volatile("" : "+r"(is_other));  // else there is code for each y in each element
    if (is_other) return powf(x, y);
    const f32 base = y < 0.0f ? __frcp_rn(x) : x;
    const f32 low = u32(n) & 1 ? base : 1.0f, square = __fmul_rn(base, base);
    return __fmul_rn(low, n < 2.0f ? 1.0f : n < 4.0f ? square : __fmul_rn(square, square));
}

// The probability that a standard normal variable is above t, in factors: e^(-t^2/2), and a polynomial times what it is
// one of.
struct Beyond { f32 gauss, polynomial, inverse; };

// For t from 0 to 40 to within 2^-16 of the whole, and 0 below 2^-126: the polynomial is one of 1 / (t + 2.1875) without
// constant, fitted up to t = 13.5.
__device__ __forceinline__ Beyond beyond_16(f32 t) {
    const f32 s = rcp_approx(__fadd_rn(t, 2.1875f));
    f32 p = 7.82967663f;
    p = __fmaf_rn(p, s, -11.8888855f);
    p = __fmaf_rn(p, s, 4.21581841f);
    p = __fmaf_rn(p, s, 1.18489814f);
    p = __fmaf_rn(p, s, 0.892030537f);
    p = __fmaf_rn(p, s, 0.39850226f);
    return {ex2_approx_ftz(__fmul_rn(__fmul_rn(t, -0.72134752f), t)), p, s};  // log2(e) / 2
}

// For t from 0 to 40: the polynomial is one of (t - 4) / (t + 4), fitted up to t = 15, where the result ends.
__device__ __forceinline__ Beyond beyond(f32 t) {
    const f32 r = inverse(__fadd_rn(t, 4.0f));
    const f32 m = __fmul_rn(__fadd_rn(t, -4.0f), r);
    f32 p = -1.25558392e-4f;
    p = __fmaf_rn(p, m, 1.88996521e-4f);
    p = __fmaf_rn(p, m, 1.56688166e-3f);
    p = __fmaf_rn(p, m, -3.52097279e-3f);
    p = __fmaf_rn(p, m, -7.52540259e-3f);
    p = __fmaf_rn(p, m, 6.04061857e-2f);
    p = __fmaf_rn(p, m, -1.86523303e-1f);
    p = __fmaf_rn(p, m, 3.87136698e-1f);
    p = __fmaf_rn(p, m, -6.07896566e-1f);
    p = __fmaf_rn(p, m, 7.55285144e-1f);
    // What rounding takes from t^2 is given back to first order: it is up to 2^-17, and e^x magnifies it.
    const f32 square = __fmul_rn(t, t);
    const f32 lost = __fmaf_rn(t, t, -square);
    f32 g = expf(-0.5f * square);
    g = __fmaf_rn(g, -0.5f * lost, g);
    return {g, p, r};
}

// t times the probability that a standard normal variable is above t, for t >= 0. NaN gives 0.
__device__ __forceinline__ f32 normal_tail(f32 t) {
    t = t < 40.0f ? t : 40.0f;
    const Beyond b = beyond(t);
    return __fmul_rn(__fmul_rn(t, __fmul_rn(b.polynomial, b.inverse)), b.gauss);
}

// Where t times the probability that a standard normal variable is above t rounds to 0.
template <typename Half> constexpr f32 kUpperEnd = kSame<Half, f16> ? 6.5f : 13.0f;

// That probability, for t from 0 to there: 2 to a polynomial. Times t it errs by an eighth of what rounding to Half may take.
template <typename Half> __device__ __forceinline__ f32 upper_16(f32 t) {
    f32 p;
    if constexpr (kSame<Half, f16>) {
        p = __fmaf_rn(3.32271156e-05f, t, -0.000758251874f);
        p = __fmaf_rn(p, t, 0.00798837747f);
        p = __fmaf_rn(p, t, -0.0531510971f);
        p = __fmaf_rn(p, t, -0.45907402f);
        p = __fmaf_rn(p, t, -1.15107083f);
        p = __fmaf_rn(p, t, -1.00000572f);
    } else {
        p = __fmaf_rn(2.86046866e-08f, t, -1.80114955e-06f);
        p = __fmaf_rn(p, t, 4.89180711e-05f);
        p = __fmaf_rn(p, t, -0.000757334987f);
        p = __fmaf_rn(p, t, 0.00749329338f);
        p = __fmaf_rn(p, t, -0.0510252118f);
        p = __fmaf_rn(p, t, -0.462455511f);
        p = __fmaf_rn(p, t, -1.14921904f);
        p = __fmaf_rn(p, t, -1.00016749f);
    }
    return ex2_approx_ftz(p);
}
