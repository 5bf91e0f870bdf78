// copy_runs.cu: copies of elements that lie anyhow to where they lie in runs: packs are stored whole, their elements
// gathered.
//
// Launch     1-D, kThreads threads, a pack each. No shared memory.
// Requires   at most 2^31 - 1 elements and as many packs. Operand 1 of the walk is contiguous along the inner axis if
//            runs lie along that, and altogether if there is one run; no run needs be aligned to more than an element.
//            Strides of operand 0 may be negative, in two's complement.
// Aliasing   out overlaps nothing.
// Numerics   as convert.cuh says; a copy within one dtype keeps all bits.
// Bound by   memory: n * (sizeof(From) + sizeof(To)) bytes, where what is not read is not between what is.
#include "shifted.cuh"

// The twin of Runs in src/args.rs.
struct Runs {
    Walk<2> walk;  // over elements
    u32 len;       // elements of a run
    u32 packs;     // of a run at most, cut where out is aligned
    u32 units;     // packs of all runs
    u32 magic;     // unit / packs == (mulhi(unit, magic) + unit) >> shift
    u32 shift;
    u32 is_one;  // 1 if there is one run over all axes; otherwise a run is a row of the inner axis
};

template <typename To> constexpr u32 kRunLen = 16 / sizeof(To);

// Elements on their way to a pack of out. Lanes from begin to end exist.
template <typename From, typename To> struct Piece {
    To* to;
    u32 begin, end;
    Pack<From, kRunLen<To>> x;
};

template <typename From, typename To>
__device__ __forceinline__ Piece<From, To> gather(const From* in, To* out, const Runs& runs, u32 unit) {
    constexpr u32 kLen = kRunLen<To>;
    const Walk<2>& walk = runs.walk;
    const u64 step = walk.stride[0][0];
    const u32 run = (__umulhi(unit, runs.magic) + unit) >> runs.shift;
    // From where elements of in are counted: those before the end of a row, and those after.
    const From *near, *far;
    u32 turn = kLen;  // the first lane after it

    Piece<From, To> piece;
    piece.x = {};
    const auto exists = [&](u32 lane) { return lane >= piece.begin && lane < piece.end; };
    const auto cut = [&](To* start) {
        const u32 skew = u32(reinterpret_cast<u64>(start) / sizeof(To)) % kLen;
        // Counted from where the run would begin if it were aligned.
        const u32 first = (unit - run * runs.packs) * kLen;
        piece.to = start - skew + first;
        piece.begin = first < skew ? skew - first : 0;
        const u32 left = skew + runs.len - first;
        piece.end = first >= skew + runs.len ? 0 : left < kLen ? left : kLen;
        return i32(first - skew);
    };
    if (!runs.is_one) {
        u32 i[1] = {run * runs.len};
        Place<2> place[1];
        walk.at(i, place);
        const i32 first = cut(out + place[0].of[1]);
        near = far = in + (place[0].of[0] + u64(i64(first)) * step);
    } else {
        const i32 first = cut(out);
        if (piece.begin >= piece.end) return piece;
        const u32 dim = u32(walk.dim[0]);
        if (walk.rank > 1 && dim < kLen) {
            // A few at a time, for the sake of registers.
            constexpr u32 kFew = kLen < 4 ? kLen : 4;
            #pragma unroll
            for (u32 lane = 0; lane < kLen; lane += kFew) {
                u32 i[kFew];
                Place<2> place[kFew];
                #pragma unroll
                for (u32 j = 0; j < kFew; ++j) i[j] = exists(lane + j) ? u32(first + i32(lane + j)) : 0;
                walk.at(i, place);
                #pragma unroll
                for (u32 j = 0; j < kFew; ++j) {
                    if (exists(lane + j)) piece.x.lane[lane + j] = in[place[j].of[0]];
                }
            }
            return piece;
        }
        const u32 begin = u32(first + i32(piece.begin)), last = u32(first + i32(piece.end) - 1);
        u32 i[2] = {begin, last};
        Place<2> place[2];
        walk.at(i, place);
        near = in + (place[0].of[0] - piece.begin * step);
        far = in + (place[1].of[0] - (piece.end - 1) * step);
        if (walk.rank > 1) {
            const u32 row = (__umulhi(begin, u32(walk.magic[0])) + begin) >> walk.shift[0];
            turn = piece.begin + (row + 1) * dim - begin;
        }
    }

    if constexpr (kSame<From, To> && sizeof(From) < 4) {
        if (step == 1 && piece.begin == 0 && piece.end == kLen && turn >= kLen) {
            piece.x = load_shifted<kLen>(near, kLen);
            return piece;
        }
    }
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) {
        if (exists(l)) piece.x.lane[l] = (l < turn ? near : far)[l * step];
    }
    return piece;
}

template <typename From, typename To>
__global__ void __launch_bounds__(kThreads, kRunLen<To> > 8 ? 6 : 8)
copy_runs(const From* in, To* out, const __grid_constant__ Runs runs) {
    follow();
    constexpr u32 kLen = kRunLen<To>;
    const u32 unit = blockIdx.x * kThreads + threadIdx.x;
    if (unit >= runs.units) return;
    const Piece<From, To> piece = gather(in, out, runs, unit);
    Pack<To, kLen> y;
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) y.lane[l] = convert<To>(piece.x.lane[l]);
    if (piece.begin == 0 && piece.end == kLen) {
        store(piece.to, y);
        return;
    }
    #pragma unroll
    for (u32 l = 0; l < kLen; ++l) {
        if (l >= piece.begin && l < piece.end) piece.to[l] = y.lane[l];
    }
}
