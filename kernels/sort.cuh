// sort.cuh: pairs of key and position in the shared memory of a block, and the steps that sort and merge them.
//
// Every step is stable: neighbours are exchanged only if they are out of order, and merges prefer the left.
#pragma once
#include "common.cuh"

constexpr u32 kItems = kSortTile / kThreads;
constexpr u32 kWarp = 32;

// Pairs in shared memory. One word in 33 is left out, so that threads that take kItems neighbours each meet in no bank.
template <typename K> struct Tile {
    static constexpr u32 kWords = kSortTile + kSortTile / kWarp;
    K keys[kWords];
    u32 positions[kWords];

    __device__ __forceinline__ K& key(u32 i) { return keys[i + i / kWarp]; }
    __device__ __forceinline__ u32& position(u32 i) { return positions[i + i / kWarp]; }
};

// The neighbours that a thread holds: elements kItems * threadIdx.x and on.
template <typename K> struct Items {
    K key[kItems];
    u32 position[kItems];

    __device__ __forceinline__ void load(Tile<K>& tile) {
        #pragma unroll
        for (u32 j = 0; j < kItems; ++j) {
            key[j] = tile.key(threadIdx.x * kItems + j);
            position[j] = tile.position(threadIdx.x * kItems + j);
        }
    }

    __device__ __forceinline__ void store(Tile<K>& tile) const {
        #pragma unroll
        for (u32 j = 0; j < kItems; ++j) {
            tile.key(threadIdx.x * kItems + j) = key[j];
            tile.position(threadIdx.x * kItems + j) = position[j];
        }
    }

    // Exchanges neighbours, as often as there are elements.
    __device__ __forceinline__ void sort() {
        #pragma unroll
        for (u32 round = 0; round < kItems; ++round) {
            #pragma unroll
            for (u32 i = round % 2; i + 1 < kItems; i += 2) {
                const bool swap = key[i] > key[i + 1];
                const K low = swap ? key[i + 1] : key[i], high = swap ? key[i] : key[i + 1];
                const u32 of_low = swap ? position[i + 1] : position[i], of_high = swap ? position[i] : position[i + 1];
                key[i] = low, key[i + 1] = high;
                position[i] = of_low, position[i + 1] = of_high;
            }
        }
    }

    // The elements from number `diagonal` on of what the runs [begin, middle) and [middle, end) of a tile merge to.
    __device__ __forceinline__ void merge(Tile<K>& tile, u32 begin, u32 middle, u32 end, u32 diagonal) {
        // How many of those before come from the left run (Green, McColl and Bader: GPU merge path, 2012).
        const u32 left = middle - begin, right = end - middle;
        u32 low = diagonal > right ? diagonal - right : 0, high = diagonal < left ? diagonal : left;
        while (low < high) {
            const u32 half = (low + high) / 2;
            if (tile.key(begin + half) <= tile.key(middle + diagonal - 1 - half)) low = half + 1;
            else high = half;
        }
        u32 a = begin + low, b = middle + diagonal - low;
        K of_a = a < middle ? tile.key(a) : 0, of_b = b < end ? tile.key(b) : 0;
        #pragma unroll
        for (u32 j = 0; j < kItems; ++j) {
            if (a >= middle && b >= end) break;
            const bool from_a = b >= end || (a < middle && of_a <= of_b);
            key[j] = from_a ? of_a : of_b;
            position[j] = tile.position(from_a ? a : b);
            if (from_a) {
                if (++a < middle) of_a = tile.key(a);
            } else {
                if (++b < end) of_b = tile.key(b);
            }
        }
    }
};
