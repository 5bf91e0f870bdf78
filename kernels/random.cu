// random.cu: uniform and normal numbers, zeros and ones, that depend on seed and position only.
//
// Launch     1-D, kThreads threads, kRandomBlocks times 4 elements a thread (random_words: 4). No shared memory.
// Requires   out: n elements, contiguous, aligned to an element.
// Aliasing   none: nothing is read.
// Numerics   the steps below, in exactly these f32 operations, each rounded to nearest even, so that a host with
//            correctly rounded add, mul, fma and sqrt gets the same bits; then one rounding to T.
// Bound by   memory: n * sizeof(T) bytes; normal in f16 by arithmetic.
//
// Element e is word e % 4 of block e / 4 of Philox under the seed: see philox.cuh.
//
// Uniform, for each word x of the block:
//   u = f32(x >> 8) * 2^-24                                                exact, in [0, 1)
//   value = fma(u, scale, offset); value = min(value, limit)               limit: the largest T below the upper end
//
// Normal, for each pair of words (x, y) (Box and Muller, 1958), giving lanes (cos, sin):
//   k = (x >> 8) + 1; u = f32(k) * 2^-24                                   exact, in (0, 1]
//   ln u: polynomial of Cephes logf (Moshier):
//     bits = as_uint(u); e = (bits >> 23) - 126; m = as_float(bits & 0x007fffff | 0x3f000000)     m in [0.5, 1)
//     if m < 0.707106781186547524f: e = e - 1; t = (m + m) - 1  else  t = m - 1
//     z = t * t
//     p = L0; p = fma(p, t, Li) for i = 1..8
//     l = (p * t) * z
//     l = fma(f32(e), -2.12194440e-4f, l)
//     l = fma(-0.5f, z, l)
//     l = t + l
//     l = fma(f32(e), 0.693359375f, l)
//   r = sqrt(-2 * l)
//   angle 2 pi (y >> 8) / 2^24, by quadrant:
//     j = y >> 8; q = (j + 2^21) >> 22; d = i32(j) - i32(q << 22)           in [-2^21, 2^21)
//     a = f32(d) * 3.7450703e-7f                                           2 pi / 2^24, in [-pi/4, pi/4]
//   sin a, cos a: polynomials of Cephes sinf and cosf:
//     w = a * a
//     s = S0; s = fma(s, w, S1); s = fma(s, w, S2); s = fma(s * w, a, a)
//     c = C0; c = fma(c, w, C1); c = fma(c, w, C2); c = fma(c * w, w, fma(-0.5f, w, 1))
//   q % 4 = 0: (c, s)   1: (-s, c)   2: (-c, -s)   3: (s, -c)
//   (z0, z1) = (r * cos, r * sin); value = fma(z, scale, offset)
//
// Bernoulli, for each word x of the block:
//   u as of Uniform; value = u < offset ? 1 : 0
#include "philox.cuh"

__device__ __forceinline__ f32 natural_log(f32 u) {
    const u32 bits = __float_as_uint(u);
    int e = int(bits >> 23) - 126;
    f32 m = __uint_as_float((bits & 0x007fffffu) | 0x3f000000u);
    if (m < 0.707106781186547524f) {
        e -= 1;
        m = __fadd_rn(m, m);
    }
    const f32 t = __fadd_rn(m, -1.0f);
    const f32 z = __fmul_rn(t, t);
    f32 p = 7.0376836292e-2f;
    p = __fmaf_rn(p, t, -1.1514610310e-1f);
    p = __fmaf_rn(p, t, 1.1676998740e-1f);
    p = __fmaf_rn(p, t, -1.2420140846e-1f);
    p = __fmaf_rn(p, t, 1.4249322787e-1f);
    p = __fmaf_rn(p, t, -1.6668057665e-1f);
    p = __fmaf_rn(p, t, 2.0000714765e-1f);
    p = __fmaf_rn(p, t, -2.4999993993e-1f);
    p = __fmaf_rn(p, t, 3.3333331174e-1f);
    f32 l = __fmul_rn(__fmul_rn(p, t), z);
    l = __fmaf_rn(f32(e), -2.12194440e-4f, l);
    l = __fmaf_rn(-0.5f, z, l);
    l = __fadd_rn(t, l);
    return __fmaf_rn(f32(e), 0.693359375f, l);
}

struct Pair { f32 cos, sin; };

// The angle is a whole turn times j / 2^24.
__device__ __forceinline__ Pair turn(u32 j) {
    const u32 q = (j + (1u << 21)) >> 22;
    const f32 a = __fmul_rn(f32(int(j) - int(q << 22)), 3.7450703e-7f);
    const f32 w = __fmul_rn(a, a);
    f32 s = -1.9515295891e-4f;
    s = __fmaf_rn(s, w, 8.3321608736e-3f);
    s = __fmaf_rn(s, w, -1.6666654611e-1f);
    s = __fmaf_rn(__fmul_rn(s, w), a, a);
    f32 c = 2.443315711809948e-5f;
    c = __fmaf_rn(c, w, -1.388731625493765e-3f);
    c = __fmaf_rn(c, w, 4.166664568298827e-2f);
    c = __fmaf_rn(__fmul_rn(c, w), w, __fmaf_rn(-0.5f, w, 1.0f));
    const Pair odd = q & 1 ? Pair{-s, c} : Pair{c, s};
    return q & 2 ? Pair{-odd.cos, -odd.sin} : odd;
}

struct Spread { f32 offset, scale, limit; };

// In [0, 1).
__device__ __forceinline__ f32 unit(u32 x) { return __fmul_rn(f32(x >> 8), 0x1p-24f); }

__device__ __forceinline__ f32 place(f32 standard, Spread p) { return __fmaf_rn(standard, p.scale, p.offset); }

struct Uniform {
    __device__ Pack<f32, 4> operator()(Words w, Spread p) const {
        Pack<f32, 4> u;
        #pragma unroll
        for (u32 l = 0; l < 4; ++l) u.lane[l] = min_nan(place(unit(w.x[l]), p), p.limit);
        return u;
    }
};

struct Bernoulli {
    __device__ Pack<f32, 4> operator()(Words w, Spread p) const {
        Pack<f32, 4> x;
        #pragma unroll
        for (u32 l = 0; l < 4; ++l) x.lane[l] = unit(w.x[l]) < p.offset ? 1.0f : 0.0f;
        return x;
    }
};

struct Normal {
    __device__ Pack<f32, 4> operator()(Words w, Spread p) const {
        Pack<f32, 4> z;
        #pragma unroll
        for (u32 l = 0; l < 4; l += 2) {
            const f32 u = __fmul_rn(f32((w.x[l] >> 8) + 1), 0x1p-24f);
            const f32 r = __fsqrt_rn(__fmul_rn(-2.0f, natural_log(u)));
            const Pair angle = turn(w.x[l + 1] >> 8);
            z.lane[l] = place(__fmul_rn(r, angle.cos), p);
            z.lane[l + 1] = place(__fmul_rn(r, angle.sin), p);
        }
        return z;
    }
};

template <typename Dist, typename T>
__global__ void __launch_bounds__(kThreads) random(T* out, u64 n, u64 seed, f32 offset, f32 scale, f32 limit) {
    follow();
    const auto make = [=](u64 block) {
        const Pack<f32, 4> value = Dist{}(philox(seed, block), {offset, scale, limit});
        Pack<T, 4> x;
        #pragma unroll
        for (u32 l = 0; l < 4; ++l) x.lane[l] = convert<T>(value.lane[l]);
        return x;
    };
    constexpr u32 kBlocks = kRandomBlocks * kThreads;
    static_assert((kBlocks & (kBlocks - 1)) == 0);
    const u64 first = u64(blockIdx.x) * kBlocks;
    if ((first + kBlocks) * 4 <= n && reinterpret_cast<u64>(out) % sizeof(Pack<T, 4>) == 0) {
        #pragma unroll
        for (u32 j = 0; j < kRandomBlocks; ++j) {
            // The upper half of its number is the same for all threads: blocks begin at multiples of kBlocks.
            const u32 low = u32(first) + (j * kThreads + threadIdx.x);
            const u64 block = (first & ~u64(0xffffffff)) | low;
            store(out + block * 4, make(block));
        }
        return;
    }
    #pragma unroll 1
    for (u64 block = first + threadIdx.x; block < first + kBlocks; block += kThreads) {
        const Pack<T, 4> x = make(block);
        #pragma unroll
        for (u32 l = 0; l < 4; ++l) {
            if (block * 4 + l < n) out[block * 4 + l] = x.lane[l];
        }
    }
}

// The words themselves.
__global__ void __launch_bounds__(kThreads) random_words(u32* out, u64 n, u64 seed) {
    follow();
    const u64 block = u64(blockIdx.x) * kThreads + threadIdx.x;
    const Words words = philox(seed, block);
    #pragma unroll
    for (u32 l = 0; l < 4; ++l) {
        if (block * 4 + l < n) out[block * 4 + l] = words.x[l];
    }
}
