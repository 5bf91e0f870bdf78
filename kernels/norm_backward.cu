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

// out = grad * factor + (x - origin) * slope + shift.
struct Prescription { f32 factor, slope, shift; };

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
            const f32 centre = chunk.has(0) ? chunk.numbers(0)[0] : origin(), apart_of_centre = centre - origin();
            f32 count = 0.0f, sum = 0.0f, squares = 0.0f, product = 0.0f, grads = 0.0f;
            #pragma unroll
            for (u32 j = 0; j < Chunk::kUnits; ++j) {
                if (!chunk.has(j)) continue;
                auto& x = chunk.numbers(j);
                weigh(chunk.unit(j), x);
                count += kLen;
                #pragma unroll
                for (u32 l = 0; l < kLen; ++l) {
                    const f32 apart = x[l] - centre, g = x[kLen + l];
                    sum += apart;
                    squares += apart * apart;
                    product += g * apart;
                    grads += g;
                }
            }
            const Moment found = Kind::moment(count, sum, squares, apart_of_centre);
            return {found, product - grads * (found.mean - apart_of_centre), grads};
        } else {
            f32 squares = 0.0f, product = 0.0f;
            #pragma unroll
            for (u32 j = 0; j < Chunk::kUnits; ++j) {
                if (!chunk.counts(j)) continue;
                auto& x = chunk.numbers(j);
                if (chunk.has(j)) weigh(chunk.unit(j), x);
                #pragma unroll
                for (u32 l = 0; l < kLen; ++l) {
                    squares += x[l] * x[l];
                    product += x[kLen + l] * x[l];
                }
            }
            return {{squares}, product};
        }
    }

    __device__ __forceinline__ void weigh(u64 unit, f32 (&x)[kValues]) const {
        if (!Kind::kWeighted || !weight.at) return;
        f32 w[kLen];
        weight.template load<T>(unit * kLen, w);
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) x[kLen + l] *= w[l];
    }

    __device__ __forceinline__ auto prescribe(Stat total, Stat) const {
        const auto normal = Kind::prescribe(total.x, n, eps);
        const auto slope = [&](f32 factor) {
            return -factor * (factor * total.product * Kind::share(total.x, n, eps) * factor);
        };
        if constexpr (Kind::kCentered) {
            const f32 by = slope(normal.factor);
            return Prescription{normal.factor, by, fmaf(-normal.mean, by, -normal.factor * (total.sum / n))};
        } else {
            return Prescription{normal, slope(normal), 0.0f};
        }
    }

    __device__ __forceinline__ Beside beside(u64) const { return {}; }

    __device__ __forceinline__ void finish(u64 unit, const f32 (&x)[kValues], Prescription by, const Beside*) const {
        f32 y[kLen];
        #pragma unroll
        for (u32 l = 0; l < kLen; ++l) y[l] = fmaf(x[kLen + l], by.factor, fmaf(x[l] - origin(), by.slope, by.shift));
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
    const auto line_of = [&](u32 row) {
        const auto place = rows.even(row);
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
    const auto head_of = [&](u32 row) {
        if constexpr (Kind::kCentered) return in[rows.even(row).of[1]];
        else return T{};
    };
    stay<Cut, L>(u32(rows.walk.numel), share, side, beside, bytes, near, line_of, head_of);
}
