// copy_planes.cu: copies between kPlanes planes and pixels of an element from each: pixels[i][c] = planes[c][i], and back, in
// another dtype or in the same.
//
// Launch     1-D, kThreads threads, tiles blocks for each image: kThreads * kPackLen pixels each. Static shared memory.
// Requires   packs of kPackLen elements, aligned in all operands; the length of an image is a multiple of it, or there is
//            one image.
// Aliasing   what is written overlaps nothing.
// Numerics   as convert.cuh says; a copy within one dtype keeps all bits.
// Bound by   memory: n * (sizeof(From) + sizeof(To)) bytes.
//
// A thread has kPackLen pixels: a pack of each plane. On their way from or to memory, packs of pixels change hands in
// shared memory, so that neighbours take neighbours.
#include "common.cuh"

// The twin of Planes in src/args.rs.
struct Planes {
    u64 plane[4];     // of the first image
    u64 pixels;
    u64 plane_step;   // from image to image, in elements of each
    u64 pixel_step;
    u64 len;          // pixels of an image
    u64 tiles;        // of an image
};

// Packs of pixels in shared memory. Where a thread has an even number of them, one in nine places is left out, so that
// threads meet in no bank.
template <typename T, u32 kLen, u32 kPlanes> struct Strip {
    static constexpr u32 kPacks = kThreads * kPlanes;
    Pack<T, kLen> packs[kPlanes % 2 ? kPacks : kPacks + kPacks / 8];

    __device__ __forceinline__ Pack<T, kLen>& at(u32 i) { return packs[kPlanes % 2 ? i : i + i / 8]; }
};

template <typename From, typename To, u32 kPlanes>
__global__ void __launch_bounds__(kThreads) planes_to_pixels(const __grid_constant__ Planes planes) {
    follow();
    constexpr u32 kLen = kPackLen<From, To>;
    __shared__ Strip<To, kLen, kPlanes> strip;
    const u64 image = blockIdx.x / planes.tiles, begin = blockIdx.x % planes.tiles * (kThreads * kLen);
    const u64 first = begin + threadIdx.x * kLen, packs = planes.len / kLen * kPlanes;
    const auto plane = [&](u32 c) { return reinterpret_cast<const From*>(planes.plane[c]) + image * planes.plane_step; };
    To* const pixels = reinterpret_cast<To*>(planes.pixels) + image * planes.pixel_step;

    if (first + kLen <= planes.len) {
        Pack<From, kLen> x[kPlanes];
        #pragma unroll
        for (u32 c = 0; c < kPlanes; ++c) x[c] = load<kLen, Cache::Use>(plane(c) + first);
        #pragma unroll
        for (u32 q = 0; q < kPlanes; ++q) {
            Pack<To, kLen> y;
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) {
                const u32 i = q * kLen + l;
                y.lane[l] = convert<To>(x[i % kPlanes].lane[i / kPlanes]);
            }
            strip.at(threadIdx.x * kPlanes + q) = y;
        }
    } else {
        // What is left of the last image.
        #pragma unroll 1
        for (u64 i = first; i < planes.len; ++i) {
            #pragma unroll
            for (u32 c = 0; c < kPlanes; ++c) pixels[i * kPlanes + c] = convert<To>(plane(c)[i]);
        }
    }
    __syncthreads();
    #pragma unroll
    for (u32 q = 0; q < kPlanes; ++q) {
        const u32 i = q * kThreads + threadIdx.x;
        const u64 pack = begin / kLen * kPlanes + i;
        if (pack < packs) store(pixels + pack * kLen, strip.at(i));
    }
}

template <typename From, typename To, u32 kPlanes>
__global__ void __launch_bounds__(kThreads) pixels_to_planes(const __grid_constant__ Planes planes) {
    follow();
    constexpr u32 kLen = kPackLen<From, To>;
    __shared__ Strip<From, kLen, kPlanes> strip;
    const u64 image = blockIdx.x / planes.tiles, begin = blockIdx.x % planes.tiles * (kThreads * kLen);
    const u64 first = begin + threadIdx.x * kLen, packs = planes.len / kLen * kPlanes;
    const auto plane = [&](u32 c) { return reinterpret_cast<To*>(planes.plane[c]) + image * planes.plane_step; };
    const From* const pixels = reinterpret_cast<const From*>(planes.pixels) + image * planes.pixel_step;

    Pack<From, kLen> x[kPlanes];
    #pragma unroll
    for (u32 q = 0; q < kPlanes; ++q) {
        const u64 pack = begin / kLen * kPlanes + q * kThreads + threadIdx.x;
        if (pack < packs) x[q] = load<kLen, Cache::Use>(pixels + pack * kLen);
    }
    #pragma unroll
    for (u32 q = 0; q < kPlanes; ++q) strip.at(q * kThreads + threadIdx.x) = x[q];
    __syncthreads();
    if (first + kLen <= planes.len) {
        #pragma unroll
        for (u32 q = 0; q < kPlanes; ++q) x[q] = strip.at(threadIdx.x * kPlanes + q);
        #pragma unroll
        for (u32 c = 0; c < kPlanes; ++c) {
            Pack<To, kLen> y;
            #pragma unroll
            for (u32 l = 0; l < kLen; ++l) {
                const u32 i = l * kPlanes + c;
                y.lane[l] = convert<To>(x[i / kLen].lane[i % kLen]);
            }
            store(plane(c) + first, y);
        }
    } else {
        #pragma unroll 1
        for (u64 i = first; i < planes.len; ++i) {
            #pragma unroll
            for (u32 c = 0; c < kPlanes; ++c) plane(c)[i] = convert<To>(pixels[i * kPlanes + c]);
        }
    }
}
