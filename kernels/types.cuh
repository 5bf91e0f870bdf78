// types.cuh: the types of elements and of the compiler's words. No CUDA header is included anywhere.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i32 = int;
using i64 = long long;
using f32 = float;
using f64 = double;

// Stored and moved, never computed in: see to_f32 and from_f32 in convert.cuh.
struct f16 { u16 bits; };
struct bf16 { u16 bits; };

struct alignas(8) u32x2 { u32 a, b; };
struct alignas(16) u32x4 { u32 a, b, c, d; };

// The word that moves kBytes bytes at once.
template <u32 kBytes> struct WordOf;
template <> struct WordOf<1> { using Type = u8; };
template <> struct WordOf<2> { using Type = u16; };
template <> struct WordOf<4> { using Type = u32; };
template <> struct WordOf<8> { using Type = u32x2; };
template <> struct WordOf<16> { using Type = u32x4; };
template <u32 kBytes> using Word = typename WordOf<kBytes>::Type;

template <typename A, typename B> constexpr bool kSame = false;
template <typename A> constexpr bool kSame<A, A> = true;

template <typename T> constexpr bool kIsHalf = kSame<T, f16> || kSame<T, bf16>;
template <typename T> constexpr bool kIsFloat = kIsHalf<T> || kSame<T, f32> || kSame<T, f64>;

template <bool kCondition, typename A, typename B> struct ChooseOf { using Type = A; };
template <typename A, typename B> struct ChooseOf<false, A, B> { using Type = B; };
template <bool kCondition, typename A, typename B> using Choose = typename ChooseOf<kCondition, A, B>::Type;

// What ops on T compute in.
template <typename T> using Compute = Choose<kIsHalf<T>, f32, T>;

template <typename To, typename From> __device__ __forceinline__ To bits_as(From x) {
    static_assert(sizeof(To) == sizeof(From));
    return __builtin_bit_cast(To, x);
}
