//! Elements as the CPU computes with them.

use super::{BLOCK, binary::Binaries, convert, copy::Casts, unary::Unaries, vectorized};
use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};

/// A type in memory: widened before an op, narrowed once after it.
pub(crate) trait Scalar: Pod + Send + Sync {
    /// What it computes in: f32 for floats up to that, f64, or i64 for integers, whose low bits are right when they
    /// wrap.
    type Acc: Acc;

    /// Converts without loss.
    fn widen(src: &[Self], dst: &mut [Self::Acc]);
    /// A block of at most [`BLOCK`] elements, converted without loss: itself, or in `scratch`.
    fn wide<'a>(block: &'a [Self], scratch: &'a mut [Self::Acc; BLOCK]) -> &'a [Self::Acc] {
        let wide = &mut scratch[..block.len()];
        Self::widen(block, wide);
        wide
    }
    /// Lets `f` fill a block of at most [`BLOCK`] elements: itself, or `scratch`, which is then narrowed.
    fn fill(block: &mut [Self], scratch: &mut [Self::Acc; BLOCK], f: impl FnOnce(&mut [Self::Acc])) {
        let wide = &mut scratch[..block.len()];
        f(wide);
        Self::narrow(wide, block);
    }
    /// Lets `f` change a block of at most [`BLOCK`] elements, if need be widened in `scratch`.
    fn over(block: &mut [Self], scratch: &mut [Self::Acc; BLOCK], f: impl FnOnce(&mut [Self::Acc])) {
        let wide = &mut scratch[..block.len()];
        Self::widen(block, wide);
        f(wide);
        Self::narrow(wide, block);
    }
    /// The elements themselves, if they compute in their own type.
    fn own(_: &mut [Self]) -> Option<&mut [Self::Acc]> {
        None
    }
    /// A scalar operand: as exact as what is computed in, but for integers an element.
    fn param(x: f64) -> Self::Acc;
    /// Rounds or wraps.
    fn narrow(src: &[Self::Acc], dst: &mut [Self]);
    /// Converts as [`Tensor::cast`](crate::Tensor::cast) says.
    fn from_f32(x: f32) -> Self;
    /// [`from_f32`](Self::from_f32) of as many elements as both hold.
    fn from_f32s(src: &[f32], dst: &mut [Self]) {
        each(src, dst, Self::from_f32);
    }
    /// Converts as [`Tensor::cast`](crate::Tensor::cast) says.
    fn from_f64(x: f64) -> Self;
    /// Converts as [`Tensor::cast`](crate::Tensor::cast) says.
    fn from_i64(x: i64) -> Self;
}

/// A type to compute in.
pub(crate) trait Acc: Pod + Send + Sync + PartialOrd + Unaries + Binaries + Casts {
    /// What sums of many are kept in: f64 for floats.
    type Total: Pod + Send + Sync;

    fn add(a: Self, b: Self) -> Self;
    /// The sum of a block, added to `total`.
    fn sum(total: Self::Total, block: &[Self]) -> Self::Total;
    fn add_total(a: Self::Total, b: Self::Total) -> Self::Total;
    /// A total as an element; `count` divides it for a mean.
    fn finish<T: Scalar>(total: Self::Total, count: Option<usize>) -> T;
}

macro_rules! float_acc {
    ($t:ty) => {
        impl Acc for $t {
            type Total = f64;

            fn add(a: Self, b: Self) -> Self {
                a + b
            }

            fn sum(total: f64, block: &[Self]) -> f64 {
                // Sixteen sums side by side, which the compiler keeps in registers.
                let mut lanes = [0.0; 16];
                let chunks = block.chunks_exact(16);
                let rest: Self = chunks.remainder().iter().sum();
                for chunk in chunks {
                    lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane += x);
                }
                total + f64::from(lanes.iter().sum::<Self>() + rest)
            }

            fn add_total(a: f64, b: f64) -> f64 {
                a + b
            }

            fn finish<T: Scalar>(total: f64, count: Option<usize>) -> T {
                T::from_f64(count.map_or(total, |n| total / n as f64))
            }
        }
    };
}

float_acc!(f32);
float_acc!(f64);

impl Acc for i64 {
    type Total = i64;

    fn add(a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    fn sum(total: i64, block: &[i64]) -> i64 {
        block.iter().fold(total, |sum, &x| sum.wrapping_add(x))
    }

    fn add_total(a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    fn finish<T: Scalar>(total: i64, _: Option<usize>) -> T {
        T::from_i64(total)
    }
}

/// Converts as many elements as both hold.
pub(super) fn each<S: Copy, D>(src: &[S], dst: &mut [D], f: impl Fn(S) -> D) {
    vectorized(
        #[inline(always)]
        || {
            for (d, &s) in dst.iter_mut().zip(src) {
                *d = f(s);
            }
        },
    );
}

/// Of types that compute in themselves.
macro_rules! itself {
    () => {
        fn wide<'a>(block: &'a [Self], _: &'a mut [Self; BLOCK]) -> &'a [Self] {
            block
        }
        fn fill(block: &mut [Self], _: &mut [Self; BLOCK], f: impl FnOnce(&mut [Self])) {
            f(block);
        }
        fn over(block: &mut [Self], _: &mut [Self; BLOCK], f: impl FnOnce(&mut [Self])) {
            f(block);
        }
        fn own(block: &mut [Self]) -> Option<&mut [Self]> {
            Some(block)
        }
    };
}

macro_rules! scalars {
    ($($t:ty, $acc:ty, $narrow:ident $(, $same:ident)?;)*) => {$(
        impl Scalar for $t {
            type Acc = $acc;
            $($same!();)?
            fn param(x: f64) -> $acc {
                <$acc>::from(x as $t)
            }
            fn widen(src: &[Self], dst: &mut [$acc]) {
                each(src, dst, |s| <$acc>::from(s));
            }
            fn narrow(src: &[$acc], dst: &mut [Self]) {
                each(src, dst, Self::$narrow);
            }
            #[inline(always)]
            fn from_f32(x: f32) -> Self {
                x as $t
            }
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn from_i64(x: i64) -> Self {
                x as $t
            }
        }
    )*};
}

scalars! {
    f32, f32, from_f32, itself;
    f64, f64, from_f64, itself;
    i64, i64, from_i64, itself;
    u32, i64, from_i64;
    u8, i64, from_i64;
}

macro_rules! half_scalars {
    ($($t:ty, $widen:ident, $narrow:ident, $to:ident;)*) => {$(
        impl Scalar for $t {
            type Acc = f32;
            fn param(x: f64) -> f32 {
                x as f32
            }
            fn widen(src: &[Self], dst: &mut [f32]) {
                convert::$widen(src, dst);
            }
            fn narrow(src: &[f32], dst: &mut [Self]) {
                convert::$narrow(src, dst);
            }
            fn from_f32s(src: &[f32], dst: &mut [Self]) {
                convert::$narrow(src, dst);
            }
            #[inline(always)]
            fn from_f32(x: f32) -> Self {
                <$t>::from_bits(convert::$to(x))
            }
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                // Not `<$t>::from_f64`, which rounds once on some machines and twice on others.
                <Self as Scalar>::from_f32(x as f32)
            }
            #[inline(always)]
            fn from_i64(x: i64) -> Self {
                <Self as Scalar>::from_f32(x as f32)
            }
        }
    )*};
}

half_scalars! {
    f16, widen_f16, narrow_f16, to_f16;
    bf16, widen_bf16, narrow_bf16, to_bf16;
}

/// A bool in memory: 0 or 1.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct Truth(u8);

impl Scalar for Truth {
    type Acc = i64;
    fn param(x: f64) -> i64 {
        i64::from(x != 0.0)
    }
    fn widen(src: &[Self], dst: &mut [i64]) {
        each(src, dst, |s| i64::from(s.0));
    }
    fn narrow(src: &[i64], dst: &mut [Self]) {
        each(src, dst, Self::from_i64);
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        Truth(u8::from(x != 0.0))
    }
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        Truth(u8::from(x != 0.0))
    }
    #[inline(always)]
    fn from_i64(x: i64) -> Self {
        Truth(u8::from(x != 0))
    }
}

/// Evaluates an expression with a type that stands for a run-time dtype.
macro_rules! with_scalar {
    ($dtype:expr, $t:ident => $body:expr) => {{
        use taut_core::DType;
        match $dtype {
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F16 => {
                type $t = half::f16;
                $body
            }
            DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
            DType::I64 => {
                type $t = i64;
                $body
            }
            DType::U32 => {
                type $t = u32;
                $body
            }
            DType::U8 => {
                type $t = u8;
                $body
            }
            DType::Bool => {
                type $t = $crate::cpu::Truth;
                $body
            }
        }
    }};
}
pub(crate) use with_scalar;

/// As [`with_scalar`], for floats; an error that names the op for others.
macro_rules! with_float {
    ($dtype:expr, $op:expr, $t:ident => $body:expr) => {{
        use taut_core::DType;
        match $dtype {
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F16 => {
                type $t = half::f16;
                $body
            }
            DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
            dtype => Err(taut_core::Error::dtype(format!("{}: does not take {dtype}", $op))),
        }
    }};
}
pub(crate) use with_float;
