//! The twin of `binary.cu`.

use super::{
    BLOCK, Source,
    math::Math,
    runs::each_run,
    vectorized,
    word::{Word, with_word},
};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
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
    each_run(dst.data::<T>()?, &to, |start, run| {
        let mut narrow = [T::zeroed(); BLOCK];
        let (mut left, mut right) = ([T::Work::zeroed(); BLOCK], [T::Work::zeroed(); BLOCK]);
        let a = a.as_ref().map(|a| a.part(start, run.len()));
        let b = b.part(start, run.len());
        for (i, block) in run.chunks_mut(BLOCK).enumerate() {
            let (at, len) = (i * BLOCK, block.len());
            if let Some(a) = &a {
                a.read(at, block);
            }
            let right = T::wide(b.get(at, &mut narrow[..len]), &mut right);
            T::over(block, &mut left, |left| T::Work::combine(op, left, right));
        }
    });
    Ok(())
}

/// Ops whose result is bool.
fn compare<T: Word>(op: Binary, a: View<'_>, b: View<'_>, mut dst: ViewMut<'_>) -> Result<()> {
    let [first, second, to] = Layout::collapse_by_last([*a.layout, *b.layout, *dst.layout]);
    let (a, b) = (Source::new(a.data::<T>()?, &first), Source::new(b.data::<T>()?, &second));
    each_run(dst.data::<u8>()?, &to, |start, run| {
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
pub(crate) trait Binaries: Copy + PartialOrd {
    /// Combines blocks into the first, in a loop for each op.
    fn combine(op: Binary, a: &mut [Self], b: &[Self]);

    /// Compares blocks into bools, in a loop for each op.
    fn compare(op: Binary, a: &[Self], b: &[Self], out: &mut [u8]) {
        match op {
            Binary::Eq => each_pair(a, b, out, |a, b| a == b),
            Binary::Ne => each_pair(a, b, out, |a, b| a != b),
            Binary::Lt => each_pair(a, b, out, |a, b| a < b),
            Binary::Le => each_pair(a, b, out, |a, b| a <= b),
            Binary::Gt => each_pair(a, b, out, |a, b| a > b),
            Binary::Ge => each_pair(a, b, out, |a, b| a >= b),
            // The others do not compare.
            _ => {}
        }
    }
}

/// As `each` of unary ops.
fn each<T: Copy>(a: &mut [T], b: &[T], f: impl Fn(T, T) -> T) {
    vectorized(over(a, b, f));
}

#[inline(always)]
fn over<T: Copy>(a: &mut [T], b: &[T], f: impl Fn(T, T) -> T) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (a, &b) in a.iter_mut().zip(b) {
            *a = f(*a, b);
        }
    }
}

fn each_pair<T: Copy>(a: &[T], b: &[T], out: &mut [u8], f: impl Fn(T, T) -> bool) {
    vectorized(|| {
        for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
            *out = u8::from(f(a, b));
        }
    });
}

macro_rules! floats {
    ($($t:ident)*) => {$(
        impl Binaries for $t {
            fn combine(op: Binary, a: &mut [$t], b: &[$t]) {
                match op {
                    Binary::Add => each(a, b, |a, b| a + b),
                    Binary::Sub => each(a, b, |a, b| a - b),
                    Binary::Mul => each(a, b, |a, b| a * b),
                    Binary::Div => each(a, b, |a, b| a / b),
                    Binary::Minimum => each(a, b, minimum),
                    Binary::Maximum => each(a, b, maximum),
                    Binary::Pow => each(a, b, <$t as Math>::pow),
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
            fn combine(op: Binary, a: &mut [$t], b: &[$t]) {
                match op {
                    Binary::Add => each(a, b, $t::wrapping_add),
                    Binary::Sub => each(a, b, $t::wrapping_sub),
                    Binary::Mul => each(a, b, $t::wrapping_mul),
                    Binary::Minimum => each(a, b, minimum),
                    Binary::Maximum => each(a, b, maximum),
                    // Of bools, which are compared to bools, too.
                    Binary::And => each(a, b, |a, b| a & b),
                    Binary::Or => each(a, b, |a, b| a | b),
                    Binary::Xor => each(a, b, |a, b| a ^ b),
                    Binary::Eq => each(a, b, |a, b| $t::from(a == b)),
                    Binary::Ne => each(a, b, |a, b| $t::from(a != b)),
                    Binary::Lt => each(a, b, |a, b| $t::from(a < b)),
                    Binary::Le => each(a, b, |a, b| $t::from(a <= b)),
                    Binary::Gt => each(a, b, |a, b| $t::from(a > b)),
                    Binary::Ge => each(a, b, |a, b| $t::from(a >= b)),
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
