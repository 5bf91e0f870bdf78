// optimizer.cuh: a step of an optimizer over all parameters of a list, in place, in one launch.
//
// Launch     1-D, kThreads threads, a block for each chunk of kStepChunk elements of the table. Static shared memory.
// Requires   operands of a parameter: the weight (one or two), its gradient, then for each moment f32, or u8 codes and the
//            f32 largest of each kCodeBlock of them; contiguous, aligned to an element; packs where all are aligned to one.
// Aliasing   operands do not overlap.
// Numerics   f32; roots and quotients by the fast instructions, to within an ulp each. A weight is rounded once, from what
//            its master is. What is not to be done, as Control says, changes nothing.
// Bound by   memory: all operands are read and, but for gradients, written.
#pragma once
#include "codes.cuh"
#include "table.cuh"

// The elements of a pack: 16 bytes of f32. A warp takes a block of codes.
constexpr u32 kLen = 4;
constexpr u32 kUnits = kCodeBlock / kWarp / kLen;
static_assert(kThreads * kUnits * kLen == kStepChunk);

// What stays from step to step. The twin of Hyper in src/args/optimizer.rs.
struct Hyper {
    f32 beta1, beta2;  // how much of each moment stays; of SGD the momentum
    f32 rest1, rest2;  // 1 less those
    f32 log1, log2;    // the natural logarithms of those
    f32 eps, decay;
    u32 nesterov;
};

// What changes. The twin of Control in src/args/optimizer.rs.
struct Control {
    Number lr, step, grad_scale;
    Number norm;  // of the gradients; nothing is done if it is not finite
    Number skip;  // nothing is done if it is not 0
    f32 max_norm;
};

// Control as it is now.
struct Now {
    f32 lr, step, scale;
    bool skips;

    __device__ explicit Now(const Control& control) {
        const f32 norm = control.norm.get(), skip = control.skip.get();
        lr = control.lr.get();
        step = control.step.get();
        scale = control.grad_scale.get();
        const f32 size = norm * fabsf(scale);
        if (size > control.max_norm) scale *= __fdiv_rn(control.max_norm, size);
        skips = skip != 0 || !(fabsf(norm) < __uint_as_float(0x7f800000u));
    }
};

// A pack of which the first count elements exist. Of the others nothing is read or written; they count as 0.
template <bool kWhole, typename T> __device__ __forceinline__ Pack<T, kLen> load_some(const T* at, u32 count) {
    if constexpr (kWhole) {
        return load<kLen, Cache::Use>(at);
    } else {
        Pack<T, kLen> x = {};
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            if (l < count) x.lane[l] = at[l];
        }
        return x;
    }
}

template <bool kWhole, typename T> __device__ __forceinline__ void store_some(T* at, Pack<T, kLen> x, u32 count) {
    if constexpr (kWhole) {
        store(at, x);
    } else {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            if (l < count) at[l] = x.lane[l];
        }
    }
}

// How a weight is kept: what is read of it, and what is written.

template <typename T> struct Plain {
    using First = T;
    using Second = T;
    static constexpr u32 kOperands = 1;
    Pack<T, kLen> x;

    template <bool kWhole> __device__ void read(const Chunk& chunk, u32 i, u32 count) {
        x = load_some<kWhole>(chunk.operand<T>(0) + i, count);
    }
    __device__ f32 get(u32 l) const { return to_f32(x.lane[l]); }
    __device__ void set(u32 l, f32 y) { x.lane[l] = from_f32<T>(y); }
    template <bool kWhole> __device__ void write(const Chunk& chunk, u32 i, u32 count) const {
        store_some<kWhole>(chunk.operand<T>(0) + i, x, count);
    }
};

// The f32 that a weight of 16 bits is rounded from, and what makes the weight whole: 16 bits more.

// Of bf16: the lower half of the f32, of which the weight is the upper one, rounded to the nearest, half away from 0. The
// lower half tells whether it was rounded up.
__device__ __forceinline__ f32 join(bf16 weight, u16 rest) {
    return __uint_as_float((u32(weight.bits) - (rest >> 15)) << 16 | rest);
}

__device__ __forceinline__ void split(f32 y, bf16& weight, u16& rest) {
    // One NaN: rounded up, others would be a number.
    const u32 bits = y == y ? __float_as_uint(y) : 0x7fc00000u;
    weight.bits = u16((bits + 0x8000) >> 16);
    rest = u16(bits);
}

// Of f16: the difference in units of 2^-15 of the weight's ulp, which is 2^(exponent - 25), also where there is no first bit.
// Exact from 2^-15 on, to the nearest 2^-39 below, and 0 beside what is infinite.
__device__ __forceinline__ u32 exponent(f16 weight) { return max(weight.bits >> 10 & 31u, 1u); }

__device__ __forceinline__ f32 join(f16 weight, u16 rest) {
    const f32 unit = __uint_as_float((exponent(weight) + 127 - 40) << 23);
    return fmaf(f32(short(rest)), unit, to_f32(weight));
}

__device__ __forceinline__ void split(f32 y, f16& weight, u16& rest) {
    weight = from_f32<f16>(y);
    const u32 of = exponent(weight);
    const f32 units = __uint_as_float((127 + 40 - of) << 23);
    rest = of == 31 ? u16(0) : u16(__float2int_rn((y - to_f32(weight)) * units));
}

template <typename T> struct Planes {
    using First = T;
    using Second = u16;
    static constexpr u32 kOperands = 2;
    Pack<T, kLen> weight;
    Pack<u16, kLen> rest;

    template <bool kWhole> __device__ void read(const Chunk& chunk, u32 i, u32 count) {
        weight = load_some<kWhole>(chunk.operand<T>(0) + i, count);
        rest = load_some<kWhole>(chunk.operand<u16>(1) + i, count);
    }
    __device__ f32 get(u32 l) const { return join(weight.lane[l], rest.lane[l]); }
    __device__ void set(u32 l, f32 y) { split(y, weight.lane[l], rest.lane[l]); }
    template <bool kWhole> __device__ void write(const Chunk& chunk, u32 i, u32 count) const {
        store_some<kWhole>(chunk.operand<T>(0) + i, weight, count);
        store_some<kWhole>(chunk.operand<u16>(1) + i, rest, count);
    }
};

// The rules: from a weight, its gradient and its moments to the new weight and moments. The first moment has a sign, the
// second has none.

struct Sgd {
    static constexpr u32 kMoments = 0;
    f32 lr, decay;
    __device__ Sgd(const Hyper& hyper, const Now& now) : lr(now.lr), decay(hyper.decay) {}
    __device__ __forceinline__ f32 operator()(f32 p, f32 g, f32*) const { return fmaf(-lr, fmaf(decay, p, g), p); }
};

struct Momentum {
    static constexpr u32 kMoments = 1;
    f32 lr, decay, momentum;
    bool nesterov;
    __device__ Momentum(const Hyper& hyper, const Now& now)
        : lr(now.lr), decay(hyper.decay), momentum(hyper.beta1), nesterov(hyper.nesterov) {}
    __device__ __forceinline__ f32 operator()(f32 p, f32 g, f32* moment) const {
        const f32 d = fmaf(decay, p, g);
        moment[0] = fmaf(momentum, moment[0], d);
        return fmaf(-lr, nesterov ? fmaf(momentum, moment[0], d) : moment[0], p);
    }
};

struct AdamW {
    static constexpr u32 kMoments = 2;
    f32 beta1, beta2, rest1, rest2, eps, keep, rate, root;
    __device__ AdamW(const Hyper& hyper, const Now& now)
        : beta1(hyper.beta1), beta2(hyper.beta2), rest1(hyper.rest1), rest2(hyper.rest2), eps(hyper.eps) {
        keep = fmaf(-now.lr, hyper.decay, 1.0f);
        // 1 - beta^step, without cancellation.
        rate = __fdiv_rn(now.lr, -expm1f(now.step * hyper.log1));
        root = __fdiv_rn(1.0f, __fsqrt_rn(-expm1f(now.step * hyper.log2)));
    }
    __device__ __forceinline__ f32 operator()(f32 p, f32 g, f32* moment) const {
        moment[0] = fmaf(beta1, moment[0], rest1 * g);
        moment[1] = fmaf(beta2, moment[1], rest2 * g * g);
        const f32 divisor = fmaf(sqrt_approx(moment[1]), root, eps);
        return fmaf(-rate, moment[0] * rcp_approx(divisor), p * keep);
    }
};

struct Lion {
    static constexpr u32 kMoments = 1;
    f32 beta1, beta2, rest1, rest2, keep, lr;
    __device__ Lion(const Hyper& hyper, const Now& now)
        : beta1(hyper.beta1), beta2(hyper.beta2), rest1(hyper.rest1), rest2(hyper.rest2),
          keep(fmaf(-now.lr, hyper.decay, 1.0f)), lr(now.lr) {}
    __device__ __forceinline__ f32 operator()(f32 p, f32 g, f32* moment) const {
        const f32 mix = fmaf(beta1, moment[0], rest1 * g);
        moment[0] = fmaf(beta2, moment[0], rest2 * g);
        const f32 sign = mix > 0 ? 1.0f : mix < 0 ? -1.0f : mix;  // NaN stays
        return fmaf(-lr, sign, p * keep);
    }
};

// The moments of a thread's elements: read as they are kept, then as numbers, then as they are kept again.
template <u32 kMoments, bool kCodes> struct Moments {
    static constexpr u32 kSome = kMoments > 0 ? kMoments : 1;
    f32 x[kUnits][kLen][kSome];

    template <u32 kFirst, bool kWhole>
    __device__ __forceinline__ void read(const Chunk& chunk, const u32 (&i)[kUnits], const u32 (&count)[kUnits],
                                         const Levels* levels) {
        #pragma unroll
        for (u32 m = 0; m < kMoments; ++m) {
            #pragma unroll
            for (u32 j = 0; j < kUnits; ++j) {
                if constexpr (kCodes) {
                    const auto codes = load_some<kWhole>(chunk.operand<u8>(kFirst + 2 * m) + i[j], count[j]);
                    #pragma unroll
                    for (u32 l = 0; l < kLen; ++l) {
                        x[j][l][m] = m == 0 ? levels->of<true>(codes.lane[l]) : levels->of<false>(codes.lane[l]);
                    }
                } else {
                    const auto full = load_some<kWhole>(chunk.operand<f32>(kFirst + m) + i[j], count[j]);
                    #pragma unroll
                    for (u32 l = 0; l < kLen; ++l) x[j][l][m] = full.lane[l];
                }
            }
        }
    }

    // The largest of the warp's block of moment m; its warp has elements.
    template <u32 kFirst> static __device__ f32* largest(const Chunk& chunk, u32 m) {
        f32* of_tensor = reinterpret_cast<f32*>(chunk.entry[kFirst + 2 * m + 1]);
        return of_tensor + chunk.first / kCodeBlock + threadIdx.x / kWarp;
    }

    template <u32 kFirst, bool kWhole>
    __device__ __forceinline__ void write(const Chunk& chunk, const u32 (&i)[kUnits], const u32 (&count)[kUnits],
                                          const Levels* levels) const {
        #pragma unroll
        for (u32 m = 0; m < kMoments; ++m) {
            f32 factor = 0;
            if constexpr (kCodes) {
                f32 most = 0;
                #pragma unroll
                for (u32 j = 0; j < kUnits; ++j) {
                    #pragma unroll
                    for (u32 l = 0; l < kLen; ++l) most = max_nan(most, fabsf(x[j][l][m]));
                }
                most = kept_largest(largest_of_warp(most));
                factor = most > 0 ? __fdiv_rn(1.0f, most) : 0.0f;
                if (threadIdx.x % kWarp == 0 && count[0] > 0) *largest<kFirst>(chunk, m) = most;
            }
            #pragma unroll
            for (u32 j = 0; j < kUnits; ++j) {
                if constexpr (kCodes) {
                    Pack<u8, kLen> codes;
                    #pragma unroll
                    for (u32 l = 0; l < kLen; ++l) {
                        const f32 y = x[j][l][m];
                        codes.lane[l] = m == 0 ? levels->code<true>(y, factor) : levels->code<false>(y, factor);
                    }
                    store_some<kWhole>(chunk.operand<u8>(kFirst + 2 * m) + i[j], codes, count[j]);
                } else {
                    Pack<f32, kLen> full;
                    #pragma unroll
                    for (u32 l = 0; l < kLen; ++l) full.lane[l] = x[j][l][m];
                    store_some<kWhole>(chunk.operand<f32>(kFirst + m) + i[j], full, count[j]);
                }
            }
        }
    }
};

template <typename Rule, typename Weight, typename G, bool kCodes, bool kWhole>
__device__ __forceinline__ void step(const Chunk& chunk, const Hyper& hyper, const Control& control,
                                     const Levels* levels) {
    constexpr u32 kGrad = Weight::kOperands, kFirst = kGrad + 1, kMoments = Rule::kMoments;
    u32 i[kUnits], count[kUnits];
    #pragma unroll
    for (u32 j = 0; j < kUnits; ++j) {
        i[j] = (threadIdx.x / kWarp * kUnits + j) * kWarp * kLen + threadIdx.x % kWarp * kLen;
        const u32 left = chunk.count > i[j] ? chunk.count - i[j] : 0;
        count[j] = left < kLen ? left : kLen;
    }

    Weight weight[kUnits];
    Pack<G, kLen> grad[kUnits];
    Moments<kMoments, kCodes> moments;
    #pragma unroll
    for (u32 j = 0; j < kUnits; ++j) {
        weight[j].template read<kWhole>(chunk, i[j], count[j]);
        grad[j] = load_some<kWhole>(chunk.operand<const G>(kGrad) + i[j], count[j]);
    }
    moments.template read<kFirst, kWhole>(chunk, i, count, levels);
    f32 largest[Moments<kMoments, kCodes>::kSome];
    #pragma unroll
    for (u32 m = 0; m < kMoments; ++m) {
        largest[m] = 1.0f;
        if constexpr (kCodes) {
            // Where the first lane has no element the warp has none.
            const u32 begin = threadIdx.x / kWarp * kCodeBlock;
            largest[m] = begin < chunk.count ? *Moments<kMoments, kCodes>::template largest<kFirst>(chunk, m) : 0.0f;
        }
    }

    const Now now(control);
    if (now.skips) return;
    const Rule rule(hyper, now);
    #pragma unroll
    for (u32 j = 0; j < kUnits; ++j) {
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            f32* moment = moments.x[j][l];
            if constexpr (kCodes) {
                #pragma unroll
                for (u32 m = 0; m < kMoments; ++m) moment[m] *= largest[m];
            }
            weight[j].set(l, rule(weight[j].get(l), to_f32(grad[j].lane[l]) * now.scale, moment));
        }
        weight[j].template write<kWhole>(chunk, i[j], count[j]);
    }
    moments.template write<kFirst, kWhole>(chunk, i, count, levels);
}

template <typename Rule, typename Weight, typename G, bool kCodes, u32 kWords>
__global__ void __launch_bounds__(kThreads)
optimizer(const __grid_constant__ Table<kWords> table, u32 tensors, const __grid_constant__ Hyper hyper,
          const __grid_constant__ Control control, const __grid_constant__ Codes codes) {
    follow();
    constexpr u32 kGrad = Weight::kOperands, kFirst = kGrad + 1;
    constexpr u32 kOperands = kFirst + Rule::kMoments * (kCodes ? 2 : 1);
    const Chunk chunk = find_chunk<kOperands, kStepChunk>(table, tensors);
    using First = typename Weight::First;
    using Second = typename Weight::Second;
    bool is_whole = chunk.count == kStepChunk && chunk.is_aligned<kLen * sizeof(First)>(0, sizeof(First)) &&
                    chunk.is_aligned<kLen * sizeof(Second)>(kGrad - 1, sizeof(Second)) &&
                    chunk.is_aligned<kLen * sizeof(G)>(kGrad, sizeof(G));
    #pragma unroll
    for (u32 m = 0; m < Rule::kMoments; ++m) {
        if constexpr (kCodes) is_whole &= chunk.is_aligned<kLen>(kFirst + 2 * m, 1);
        else is_whole &= chunk.is_aligned<16>(kFirst + m, 4);
    }
    const auto run = [&](const Levels* levels) {
        if (is_whole) step<Rule, Weight, G, kCodes, true>(chunk, hyper, control, levels);
        else step<Rule, Weight, G, kCodes, false>(chunk, hyper, control, levels);
    };
    if constexpr (kCodes) {
        __shared__ Levels levels;
        levels.fill(codes);
        run(&levels);
    } else {
        run(nullptr);
    }
}
