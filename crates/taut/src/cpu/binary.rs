//! The twin of `binary.cu`.

use super::{
    BLOCK, PIECE, Source,
    math::Math,
    runs::each_run,
    vectorized,
    word::{Word, with_word},
};
use crate::tensor::{View, ViewMut};
use bytemuck::{Pod, Zeroable};
use taut_core::{Binary, Layout, Result};

/// `dst = op(a, b)`, all of one shape; without `a`, `dst` is the first operand, whatever its strides.
pub(crate) fn binary(op: Binary, a: Option<View<'_>>, b: View<'_>, dst: ViewMut<'_>) -> Result<()> {
    let dtype = b.dtype;
    match a {
        Some(a) if dst.dtype != dtype => with_word!(dtype, T => compare::<T>(op, a, b, dst)),
        a => with_word!(dtype, T => combine::<T>(op, a, b, dst)),
    }
}

/// Ops whose result has the dtype of the operands.
fn combine<T: Word>(op: Binary, a: Option<View<'_>>, b: View<'_>, mut dst: ViewMut<'_>) -> Result<()> {
    let layouts = [a.map_or(*dst.layout, |a| *a.layout), *b.layout, *dst.layout];
    let [first, second, to] = Layout::collapse_by_last(layouts);
    let a = a.map(|a| Ok(Source::new(a.data::<T>()?, &first))).transpose()?;
    let b = Source::new(b.data::<T>()?, &second);
    each_run(dst.data::<T>()?, &to, &|start, run| {
        let (mut narrow, mut other) = ([T::zeroed(); BLOCK], [T::zeroed(); BLOCK]);
        let (mut left, mut right) = ([T::Work::zeroed(); BLOCK], [T::Work::zeroed(); BLOCK]);
        let mut out = [T::Work::zeroed(); BLOCK];
        let a = a.as_ref().map(|a| a.part(start, run.len()));
        let b = b.part(start, run.len());
        for (i, block) in run.chunks_mut(BLOCK).enumerate() {
            let (at, len) = (i * BLOCK, block.len());
            let other = &mut other[..len];
            let first = match &a {
                Some(a) => a.get(at, other),
                None => {
                    other.copy_from_slice(block);
                    other
                }
            };
            let left = T::wide(first, &mut left);
            let right = T::wide(b.get(at, &mut narrow[..len]), &mut right);
            T::fill(block, &mut out, |out| T::Work::combine_to(op, left, right, out));
        }
    });
    Ok(())
}

/// Ops whose result is bool.
fn compare<T: Word>(op: Binary, a: View<'_>, b: View<'_>, mut dst: ViewMut<'_>) -> Result<()> {
    let [first, second, to] = Layout::collapse_by_last([*a.layout, *b.layout, *dst.layout]);
    let (a, b) = (Source::new(a.data::<T>()?, &first), Source::new(b.data::<T>()?, &second));
    each_run(dst.data::<u8>()?, &to, &|start, run| {
        let (mut narrow, mut other) = ([T::zeroed(); BLOCK], [T::zeroed(); BLOCK]);
        let (mut left, mut right) = ([T::Work::zeroed(); BLOCK], [T::Work::zeroed(); BLOCK]);
        let (a, b) = (a.part(start, run.len()), b.part(start, run.len()));
        for (i, block) in run.chunks_mut(BLOCK).enumerate() {
            let (at, len) = (i * BLOCK, block.len());
            let left = T::wide(a.get(at, &mut narrow[..len]), &mut left);
            let right = T::wide(b.get(at, &mut other[..len]), &mut right);
            T::Work::compare(op, left, right, block);
        }
    });
    Ok(())
}

/// A type that binary ops compute in.
pub(crate) trait Binaries: Pod + PartialOrd {
    /// Combines blocks, in a loop for each op.
    fn combine_to(op: Binary, a: &[Self], b: &[Self], out: &mut [Self]);

    /// [`combine_to`](Self::combine_to), into the first.
    fn combine(op: Binary, a: &mut [Self], b: &[Self]) {
        let mut copy = [Self::zeroed(); PIECE];
        for (a, b) in a.chunks_mut(PIECE).zip(b.chunks(PIECE)) {
            let copy = &mut copy[..a.len()];
            copy.copy_from_slice(a);
            Self::combine_to(op, copy, b, a);
        }
    }

    /// Compares blocks into bools, in a loop for each op.
    fn compare(op: Binary, a: &[Self], b: &[Self], out: &mut [u8]) {
        match op {
            Binary::Eq => each(a, b, out, |a, b| u8::from(a == b)),
            Binary::Ne => each(a, b, out, |a, b| u8::from(a != b)),
            Binary::Lt => each(a, b, out, |a, b| u8::from(a < b)),
            Binary::Le => each(a, b, out, |a, b| u8::from(a <= b)),
            Binary::Gt => each(a, b, out, |a, b| u8::from(a > b)),
            Binary::Ge => each(a, b, out, |a, b| u8::from(a >= b)),
            // The others do not compare.
            _ => {}
        }
    }
}

/// As `each` of unary ops.
pub(super) fn each<T: Copy, O>(a: &[T], b: &[T], out: &mut [O], f: impl Fn(T, T) -> O) {
    vectorized(over(a, b, out, f));
}

#[inline(always)]
fn over<T: Copy, O>(a: &[T], b: &[T], out: &mut [O], f: impl Fn(T, T) -> O) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
            *out = f(a, b);
        }
    }
}

macro_rules! floats {
    ($($t:ident)*) => {$(
        impl Binaries for $t {
            fn combine_to(op: Binary, a: &[$t], b: &[$t], out: &mut [$t]) {
                match op {
                    Binary::Add => each(a, b, out, |a, b| a + b),
                    Binary::Sub => each(a, b, out, |a, b| a - b),
                    Binary::Mul => each(a, b, out, |a, b| a * b),
                    Binary::Div => each(a, b, out, |a, b| a / b),
                    Binary::Minimum => each(a, b, out, minimum),
                    Binary::Maximum => each(a, b, out, maximum),
                    Binary::Pow => each(a, b, out, <$t as Math>::pow),
                    // Of bools only, or with a result of bools.
                    _ => {}
                }
            }
        }
    )*};
}

floats!(f32 f64);

macro_rules! integers {
    ($($t:ident)*) => {$(
        impl Binaries for $t {
            fn combine_to(op: Binary, a: &[$t], b: &[$t], out: &mut [$t]) {
                match op {
                    Binary::Add => each(a, b, out, $t::wrapping_add),
                    Binary::Sub => each(a, b, out, $t::wrapping_sub),
                    Binary::Mul => each(a, b, out, $t::wrapping_mul),
                    Binary::Minimum => each(a, b, out, minimum),
                    Binary::Maximum => each(a, b, out, maximum),
                    // Of bools, which are compared to bools, too.
                    Binary::And => each(a, b, out, |a, b| a & b),
                    Binary::Or => each(a, b, out, |a, b| a | b),
                    Binary::Xor => each(a, b, out, |a, b| a ^ b),
                    Binary::Eq => each(a, b, out, |a, b| $t::from(a == b)),
                    Binary::Ne => each(a, b, out, |a, b| $t::from(a != b)),
                    Binary::Lt => each(a, b, out, |a, b| $t::from(a < b)),
                    Binary::Le => each(a, b, out, |a, b| $t::from(a <= b)),
                    Binary::Gt => each(a, b, out, |a, b| $t::from(a > b)),
                    Binary::Ge => each(a, b, out, |a, b| $t::from(a >= b)),
                    // Refused for integers before they come here.
                    Binary::Div | Binary::Pow => {}
                }
            }
        }
    )*};
}

integers!(i64 u32 u8);

/// NaN wins; of equals, 0 and -0 too, the first.
#[inline(always)]
#[expect(clippy::eq_op, reason = "NaN differs from itself")]
fn minimum<T: Copy + PartialOrd>(a: T, b: T) -> T {
    if a <= b || a != a { a } else { b }
}

#[inline(always)]
#[expect(clippy::eq_op, reason = "NaN differs from itself")]
fn maximum<T: Copy + PartialOrd>(a: T, b: T) -> T {
    if a >= b || a != a { a } else { b }
}
