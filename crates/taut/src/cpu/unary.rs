//! The twin of `unary.cu`.

use super::{
    BLOCK, Source,
    math::Math,
    normal::Normal,
    runs::each_run,
    vectorized,
    word::{Word, with_word},
};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
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
    each_run(dst.data::<T>()?, &to, |first, run| {
        let mut wide = [T::Work::zeroed(); BLOCK];
        let src = src.as_ref().map(|src| src.part(first, run.len()));
        for (i, block) in run.chunks_mut(BLOCK).enumerate() {
            if let Some(src) = &src {
                src.read(i * BLOCK, block);
            }
            T::over(block, &mut wide, |block| T::Work::unary(op, params, block));
        }
    });
    Ok(())
}

/// A type that unary ops compute in.
pub(crate) trait Unaries: Sized {
    /// Applies `op` to a block, in a loop of its own.
    fn unary(op: Unary, params: [Self; 2], block: &mut [Self]);
}

/// Applies `f` to a block. To end up in vector instructions as a whole, functions of some length that go in here must be
/// `inline(always)`, and closures made by one.
fn each<T: Copy>(block: &mut [T], f: impl Fn(T) -> T) {
    vectorized(over(block, f));
}

#[inline(always)]
fn over<T: Copy>(block: &mut [T], f: impl Fn(T) -> T) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for x in block {
            *x = f(*x);
        }
    }
}

/// What a block goes through whole.
fn whole<T>(block: &mut [T], f: impl Fn(&mut [T])) {
    vectorized(through(block, f));
}

#[inline(always)]
fn through<T>(block: &mut [T], f: impl Fn(&mut [T])) -> impl FnOnce() {
    #[inline(always)]
    move || f(block)
}

macro_rules! floats {
    ($($t:ident)*) => {$(
        impl Unaries for $t {
            fn unary(op: Unary, [first, second]: [$t; 2], block: &mut [$t]) {
                match op {
                    Unary::Relu => each(block, relu),
                    Unary::LeakyRelu { .. } => each(block, |x| if x < 0.0 { first * x } else { x }),
                    Unary::Neg => each(block, |x| -x),
                    Unary::AddScalar { .. } => each(block, |x| x + first),
                    Unary::MulScalar { .. } => each(block, |x| x * first),
                    Unary::Exp => each(block, <$t as Math>::exp),
                    Unary::Log => each(block, <$t as Math>::ln),
                    Unary::Sqrt => each(block, |x| x.sqrt()),
                    Unary::Rsqrt => each(block, |x| 1.0 / x.sqrt()),
                    Unary::Abs => each(block, |x| x.abs()),
                    Unary::Sin => whole(block, <$t as Math>::sin_each),
                    Unary::Cos => whole(block, <$t as Math>::cos_each),
                    Unary::Tanh => each(block, <$t as Math>::tanh),
                    Unary::Sigmoid => each(block, sigmoid),
                    Unary::Silu => each(block, silu),
                    Unary::Gelu => each(block, gelu),
                    Unary::GeluTanh => each(block, gelu_tanh),
                    Unary::Elu { .. } => each(block, elu(first)),
                    Unary::Softplus => each(block, softplus),
                    Unary::Reciprocal => each(block, |x| 1.0 / x),
                    Unary::Clamp { .. } => each(block, clamp(first, second)),
                    Unary::PowScalar { .. } => each(block, pow(first)),
                    Unary::Square => each(block, |x| x * x),
                    Unary::Sign => each(block, |x| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x }),
                    Unary::Floor => each(block, |x| x.floor()),
                    Unary::Ceil => each(block, |x| x.ceil()),
                    Unary::Round => each(block, |x| x.round_ties_even()),
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
            fn unary(op: Unary, [first, second]: [$t; 2], block: &mut [$t]) {
                match op {
                    Unary::Neg => each(block, $t::wrapping_neg),
                    Unary::AddScalar { .. } => each(block, |x| x.wrapping_add(first)),
                    Unary::MulScalar { .. } => each(block, |x| x.wrapping_mul(first)),
                    Unary::Abs => each(block, $abs),
                    Unary::Clamp { .. } => each(block, clamp(first, second)),
                    Unary::Square => each(block, |x| x.wrapping_mul(x)),
                    Unary::Sign => each(block, $sign),
                    // Of bools.
                    Unary::Not => each(block, |x| x ^ 1),
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
trait Float:
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
fn minus_abs<F: Float>(x: F) -> F {
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
    relu(x) - F::tail(-minus_abs(x))
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
