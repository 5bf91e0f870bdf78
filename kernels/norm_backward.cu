// norm_backward.cu: backward of norms over rows: from the gradient of the output and the input, whose statistics are
// computed again.
//
// Launch     as softmax.cu. stay: as norm.cu.
// Requires   as softmax.cu, of x, grad and out. weight: as in norm.cu.
// Aliasing   grad == out with the same layout is the op in place; otherwise nothing overlaps out.
// Numerics   f32; statistics as in norm.cu, and products with the gradient counted alike; one rounding on store. Where an
//            element of x or its gradient is not finite, nothing in the row is.
// Bound by   memory: n * 3 * sizeof(T) bytes; where none are held, rows are read again, from L2 where they fit.
#include "norm.cuh"
#include "stay.cuh"

// What Kind finds in x; and of the gradient times the weight the sum of products with x less its mean, and where there is a
// mean, the sum itself.
template <typename Kind, bool kCentered = Kind::kCentered> struct Found {
    typename Kind::Stat x;
    f32 product, sum;
};

template <typename Kind> struct Found<Kind, false> {
    typename Kind::Stat x;
    f32 product;
};

template <typename Kind> struct Sums {
    using Stat = Found<Kind>;
    static __device__ Stat empty() { return {Kind::empty()}; }
    static __device__ Stat join(Stat a, Stat b) {
        Stat both{Kind::join(a.x, b.x), a.product + b.product};
        if constexpr (Kind::kCentered) {
            both.product += (a.x.mean - both.x.mean) * a.sum + (b.x.mean - both.x.mean) * b.sum;
            both.sum = a.sum + b.sum;
        }
        return both;
    }

    static __device__ __forceinline__ Stat join_all(const Group& group, Stat own) requires Kind::kCentered {
        const auto x = Kind::join_all(group, own.x);
        f32 product = fmaf(own.x.mean - x.mean, own.sum, own.product), sum = own.sum;
        group.sum_both(product, sum);
        return {x, product, sum};
    }
};

// out = grad * factor - normal * slope + shift, where normal is what the norm makes of x.
template <typename By> struct Prescription {
    By normal;
    f32 shift, slope, factor;
};

template <typename Kind, typename T, u32 kLength, typename Beyond = Affine> struct Line {
    using Op = Sums<Kind>;
    using Stat = typename Op::Stat;
    static constexpr u32 kLen = kLength, kValues = 2 * kLen;
    static constexpr f32 kPad = 0.0f;
    static constexpr bool kSkips = Kind::kCentered;
    static constexpr u32 kSources = 2;
    struct Raw { Pack<T, kLen> x, grad; };
    struct Beside {};

    const T *in, *grad;
    T* out;
    u64 in_step, grad_step, out_step;
    Beyond weight;
    f32 eps, n;
    T first;  // of x

    __device__ __forceinline__ f32 origin() const {
        if constexpr (Kind::kCentered) return to_f32(first);
        else return 0.0f;
    }

    template <bool> __device__ __forceinline__ Raw load(u64 unit) const {
        return {::load<kLen, Cache::Use>(in + along<kLen>(unit, in_step)),
                ::load<kLen, Cache::Use>(grad + along<kLen>(unit, grad_step))};
    }

    template <bool> __device__ __forceinline__ void widen(const Raw& raw, f32 (&x)[kValues]) const {
        const auto own = to_f32(raw.x), grad = to_f32(raw.grad);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            x[l] = own.lane[l];
            x[kLen + l] = grad.lane[l];
        }
    }

    __device__ __forceinline__ const T* source(u32 which) const { return which == 0 ? in : grad; }
    __device__ __forceinline__ T pad() const { return from_f32<T>(kPad); }
    __device__ __forceinline__ void leave(u64, const f32 (&)[kValues]) const {}

    // Leaves the gradient times the weight.
    template <typename Chunk> __device__ __forceinline__ Stat find(Chunk& chunk) const {
        if constexpr (Kind::kCentered) {
            const f32 centre = chunk.has(0) ? chunk.x[0][0] : origin(), apart_of_centre = centre - origin();
            f32 count = 0.0f, sum = 0.0f, squares = 0.0f, product = 0.0f, grads = 0.0f;
            #pragma unroll
            for (u32 j = 0; j < Chunk::kUnits; ++j) {
                if (!chunk.has(j)) continue;
                weigh(chunk, j);
                count += kLen;
                #pragma unroll
                for (u32 l = 0; l < kLen; ++l) {
                    const f32 apart = chunk.x[j][l] - centre, g = chunk.x[j][kLen + l];
                    sum += apart;
                    squares += apart * apart;
                    product += g * apart;
                    grads += g;
                }
            }
            const Moment x = Kind::moment(count, sum, squares, apart_of_centre);
            return {x, product - grads * (x.mean - apart_of_centre), grads};
        } else {
            Stat found{Kind::find(chunk, 0.0f), 0.0f};
            #pragma unroll
            for (u32 j = 0; j < Chunk::kUnits; ++j) {
                if (chunk.has(j)) weigh(chunk, j);
            }
            #pragma unroll
            for (u32 j = 0; j < Chunk::kUnits; ++j) {
                #pragma unroll
                for (u32 l = 0; l < kLen; ++l) found.product += chunk.x[j][kLen + l] * chunk.x[j][l];
            }
            return found;
        }
    }

    template <typename Chunk> __device__ __forceinline__ void weigh(Chunk& chunk, u32 j) const {
        if (!Kind::kWeighted || !weight.at) return;
        f32 w[kLen];
        weight.template load<T>(chunk.unit(j) * kLen, w);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) chunk.x[j][kLen + l] *= w[l];
    }

    __device__ __forceinline__ auto prescribe(Stat total, Stat) const {
        const auto normal = Kind::prescribe(total.x, n, eps);
        Prescription<decltype(Kind::prescribe(total.x, n, eps))> by{normal, 0.0f, 0.0f, 0.0f};
        if constexpr (Kind::kCentered) {
            by.factor = normal.factor;
            by.shift = -by.factor * (total.sum / n);
        } else {
            by.factor = normal;
        }
        by.slope = by.factor * total.product * Kind::share(total.x, n, eps) * by.factor;
        return by;
    }

    __device__ __forceinline__ Beside beside(u64) const { return {}; }

    template <typename By>
    __device__ __forceinline__ void finish(u64 unit, const f32 (&x)[kValues], const By& by, const Beside*) const {
        f32 y[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) {
            const f32 normal = Kind::value(x[l], origin(), by.normal);
            y[l] = fmaf(x[kLen + l], by.factor, fmaf(-normal, by.slope, by.shift));
        }
        store(out + along<kLen>(unit, out_step), rounded<T>(y));
    }
};

// A block less on a multiprocessor, where there are several, leaves the registers that two numbers of each element take.
template <typename Cut> constexpr u32 kBlocks = Cut::kBlocks > 1 ? Cut::kBlocks - 1 : 1;

template <typename Kind, typename T, typename Cut>
__global__ void __launch_bounds__(Cut::kMost, kBlocks<Cut>)
norm_backward_rows(const T* grad, const T* in, T* out, const void* weight, const __grid_constant__ Rows<3> rows, f32 eps,
                   u32 wide, u32 side) {
    const typename Cut::Team team(side);
    const u64 row = team.index(), units = rows.units_of(row);
    const auto place = rows.at(row);
    Line<Kind, T, Cut::kLen> line;
    line.grad = grad + place.of[0];
    line.grad_step = rows.step[0];
    line.in = in + place.of[1];
    line.in_step = rows.step[1];
    line.out = out + place.of[2];
    line.out_step = rows.step[2];
    line.weight = {weight, wide};
    line.eps = eps;
    line.n = f32(rows.units) * Cut::kLen;
    follow();
    if constexpr (Kind::kCentered) {
        if (units > 0) line.first = line.in[0];
    }
    Cut::run(line, team, units);
}

template <typename Kind, typename T, typename Cut>
__global__ void __launch_bounds__(Cut::kTeams * Cut::kSize, 1)
norm_backward_stay(const T* grad, const T* in, T* out, const void* weight, const __grid_constant__ Rows<3> rows, f32 eps,
                   u32 wide, u32 side) {
    follow();
    constexpr u32 kLen = kPackLen<T>;
    using L = Line<Kind, T, kLen, NearAffine>;
    const u32 share = u32(rows.units) >> side;
    const u64 before = u64(blockIdx.x & ((1 << side) - 1)) * share * kLen;
    const u32 size = wide ? sizeof(f32) : sizeof(T);
    const void* const beside[] = {weight ? static_cast<const u8*>(weight) + before * size : nullptr};
    const u32 bytes[] = {share * kLen * size};
    u32 near[1] = {};
    const auto line_of = [&](u64 row) {
        const auto place = rows.at(row);
        L line;
        line.grad = grad + place.of[0] + before;
        line.in = in + place.of[1] + before;
        line.out = out + place.of[2] + before;
        line.grad_step = line.in_step = line.out_step = 1;
        line.weight = {near[0], wide};
        line.eps = eps;
        line.n = f32(rows.units) * kLen;
        return line;
    };
    const auto head_of = [&](u64 row) {
        if constexpr (Kind::kCentered) return in[rows.at(row).of[1]];
        else return T{};
    };
    stay<Cut, L>(rows.walk.numel, share, side, beside, bytes, near, line_of, head_of);
}
