//! The twin of `unary.cu`.

use super::{
    BLOCK, PIECE, Source,
    math::Math,
    normal::Normal,
    runs::each_run,
    vectorized,
    word::{Word, with_word},
};
use crate::tensor::{View, ViewMut};
use bytemuck::{Pod, Zeroable};
use std::ops::{Add, Div, Mul, Neg, Sub};
use taut_core::{Layout, Result, Unary};

/// `dst = op(src)`; without `src`, over `dst` itself, whatever its strides.
pub(crate) fn unary(op: Unary, src: Option<View<'_>>, dst: ViewMut<'_>) -> Result<()> {
    with_word!(dst.dtype, T => run::<T>(op, src, dst))
}

fn run<T: Word>(op: Unary, src: Option<View<'_>>, mut dst: ViewMut<'_>) -> Result<()> {
    let params = op.params().map(T::param);
    let layouts = [src.map_or(*dst.layout, |src| *src.layout), *dst.layout];
    let [from, to] = Layout::collapse_by_last(layouts);
    let src = src.map(|src| Ok(Source::new(src.data::<T>()?, &from))).transpose()?;
    each_run(dst.data::<T>()?, &to, &|first, run| {
        let mut narrow = [T::zeroed(); BLOCK];
        let (mut wide, mut out) = ([T::Work::zeroed(); BLOCK], [T::Work::zeroed(); BLOCK]);
        let src = src.as_ref().map(|src| src.part(first, run.len()));
        for (i, block) in run.chunks_mut(BLOCK).enumerate() {
            let narrow = &mut narrow[..block.len()];
            let x = match &src {
                Some(src) => src.get(i * BLOCK, narrow),
                None => {
                    narrow.copy_from_slice(block);
                    narrow
                }
            };
            let x = T::wide(x, &mut wide);
            T::fill(block, &mut out, |out| T::Work::unary_to(op, params, x, out));
        }
    });
    Ok(())
}

/// A type that unary ops compute in.
pub(crate) trait Unaries: Pod {
    /// Applies `op` to a block, in a loop of its own.
    fn unary_to(op: Unary, params: [Self; 2], block: &[Self], out: &mut [Self]);

    /// [`unary_to`](Self::unary_to), in place.
    fn unary(op: Unary, params: [Self; 2], block: &mut [Self]) {
        let mut copy = [Self::zeroed(); PIECE];
        for piece in block.chunks_mut(PIECE) {
            let copy = &mut copy[..piece.len()];
            copy.copy_from_slice(piece);
            Self::unary_to(op, params, copy, piece);
        }
    }
}

/// Applies `f` to a block. To end up in vector instructions as a whole, functions of some length that go in here must be
/// `inline(always)`, and closures made by one.
///
/// Not in place: of `if x < 0 { 0 } else { x }` the compiler would store only the zeros, one by one or masked.
fn each<T: Copy>(block: &[T], out: &mut [T], f: impl Fn(T) -> T) {
    vectorized(over(block, out, f));
}

#[inline(always)]
fn over<T: Copy>(block: &[T], out: &mut [T], f: impl Fn(T) -> T) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (out, &x) in out.iter_mut().zip(block) {
            *out = f(x);
        }
    }
}

/// What a block goes through whole.
fn whole<T: Copy>(block: &[T], out: &mut [T], f: impl Fn(&mut [T])) {
    out.copy_from_slice(block);
    vectorized(through(out, f));
}

#[inline(always)]
fn through<T>(block: &mut [T], f: impl Fn(&mut [T])) -> impl FnOnce() {
    #[inline(always)]
    move || f(block)
}

/// A function of some length as a closure that is inlined: behind a pointer or a name alone it would be called.
macro_rules! inlined {
    ($f:expr) => {
        #[inline(always)]
        |x| $f(x)
    };
}

macro_rules! floats {
    ($($t:ident)*) => {$(
        impl Unaries for $t {
            fn unary_to(op: Unary, [first, second]: [$t; 2], block: &[$t], out: &mut [$t]) {
                match op {
                    Unary::Relu => each(block, out, relu),
                    Unary::LeakyRelu { .. } => each(block, out, |x| if x < 0.0 { first * x } else { x }),
                    Unary::Neg => each(block, out, |x| -x),
                    Unary::AddScalar { .. } => each(block, out, |x| x + first),
                    Unary::MulScalar { .. } => each(block, out, |x| x * first),
                    Unary::Exp => each(block, out, inlined!(<$t as Math>::exp)),
                    Unary::Log => each(block, out, inlined!(<$t as Math>::ln)),
                    Unary::Sqrt => each(block, out, |x| x.sqrt()),
                    Unary::Rsqrt => each(block, out, |x| 1.0 / x.sqrt()),
                    Unary::Abs => each(block, out, |x| x.abs()),
                    Unary::Sin => whole(block, out, <$t as Math>::sin_each),
                    Unary::Cos => whole(block, out, <$t as Math>::cos_each),
                    Unary::Tanh => each(block, out, inlined!(<$t as Math>::tanh)),
                    Unary::Sigmoid => each(block, out, inlined!(sigmoid)),
                    Unary::Silu => each(block, out, inlined!(silu)),
                    Unary::Gelu => each(block, out, inlined!(gelu)),
                    Unary::GeluTanh => each(block, out, inlined!(gelu_tanh)),
                    Unary::Elu { .. } => each(block, out, elu(first)),
                    Unary::Softplus => each(block, out, inlined!(softplus)),
                    Unary::Reciprocal => each(block, out, |x| 1.0 / x),
                    Unary::Clamp { .. } => each(block, out, clamp(first, second)),
                    Unary::PowScalar { .. } if first == 2.0 => each(block, out, |x| x * x),
                    Unary::PowScalar { .. } if first == 3.0 => each(block, out, |x| x * x * x),
                    Unary::PowScalar { .. } if first == -1.0 => each(block, out, |x| 1.0 / x),
                    Unary::PowScalar { .. } => each(block, out, pow(first)),
                    Unary::Square => each(block, out, |x| x * x),
                    Unary::Sign => each(block, out, |x| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x }),
                    Unary::Floor => each(block, out, |x| x.floor()),
                    Unary::Ceil => each(block, out, |x| x.ceil()),
                    Unary::Round => each(block, out, |x| x.round_ties_even()),
                    // Of bools only, which are computed as bytes.
                    Unary::Not => {}
                }
            }
        }

        impl Float for $t {}
    )*};
}

floats!(f32 f64);

macro_rules! integers {
    ($($t:ident, $abs:expr, $sign:expr;)*) => {$(
        impl Unaries for $t {
            fn unary_to(op: Unary, [first, second]: [$t; 2], block: &[$t], out: &mut [$t]) {
                match op {
                    Unary::Neg => each(block, out, $t::wrapping_neg),
                    Unary::AddScalar { .. } => each(block, out, |x| x.wrapping_add(first)),
                    Unary::MulScalar { .. } => each(block, out, |x| x.wrapping_mul(first)),
                    Unary::Abs => each(block, out, $abs),
                    Unary::Clamp { .. } => each(block, out, clamp(first, second)),
                    Unary::Square => each(block, out, |x| x.wrapping_mul(x)),
                    Unary::Sign => each(block, out, $sign),
                    // Of bools.
                    Unary::Not => each(block, out, |x| x ^ 1),
                    // The others are refused for integers before they come here.
                    _ => {}
                }
            }
        }
    )*};
}

integers! {
    i64, i64::wrapping_abs, i64::signum;
    u32, |x| x, |x| x.min(1);
    u8, |x| x, |x| x.min(1);
}

/// What the functions below are written in.
pub(super) trait Float:
    Math
    + Normal
    + PartialOrd
    + From<f32>
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
}

#[inline(always)]
fn relu<F: Float>(x: F) -> F {
    if x < F::from(0.0) { F::from(0.0) } else { x }
}

#[inline(always)]
pub(super) fn minus_abs<F: Float>(x: F) -> F {
    if x > F::from(0.0) { -x } else { x }
}

/// Small results are as exact as large ones.
#[inline(always)]
fn sigmoid<F: Float>(x: F) -> F {
    let e = F::exp(minus_abs(x));
    (if x < F::from(0.0) { e } else { F::from(1.0) }) / (F::from(1.0) + e)
}

/// Below -1024 the result is -0, that of -infinity too, where the product would be NaN.
#[inline(always)]
fn silu<F: Float>(x: F) -> F {
    let y = if x < F::from(-1024.0) { F::from(-1024.0) } else { x };
    y * sigmoid(y)
}

/// `x Phi(x)` is `max(x, 0)` less the tail beyond `|x|`: nothing cancels.
#[inline(always)]
fn gelu<F: Float>(x: F) -> F {
    F::less_tail(relu(x), -minus_abs(x))
}

/// `(1 + tanh(u)) / 2` is `sigmoid(2 u)`: nothing cancels. Below -32 as [`silu`] below -1024.
#[inline(always)]
fn gelu_tanh<F: Float>(x: F) -> F {
    let y = if x < F::from(-32.0) { F::from(-32.0) } else { x };
    y * sigmoid(y * (y * y * F::CUBE + F::LINE))
}

#[inline(always)]
fn elu<F: Float>(alpha: F) -> impl Fn(F) -> F {
    #[inline(always)]
    move |x| if x > F::from(0.0) { x } else { alpha * F::exp_m1(x) }
}

#[inline(always)]
fn softplus<F: Float>(x: F) -> F {
    relu(x) + F::ln_1p(F::exp(minus_abs(x)))
}

/// NaN is not below or above anything, and nothing is within bounds that are NaN.
#[inline(always)]
#[expect(clippy::eq_op, reason = "NaN differs from itself")]
fn clamp<T: Copy + PartialOrd>(low: T, high: T) -> impl Fn(T) -> T {
    #[inline(always)]
    move |x| {
        let y = if x >= low || x != x { x } else { low };
        if y <= high || y != y { y } else { high }
    }
}

#[inline(always)]
fn pow<F: Float>(exponent: F) -> impl Fn(F) -> F {
    #[inline(always)]
    move |x| F::pow(x, exponent)
}
