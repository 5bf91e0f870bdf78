//! Tiles of a product that stay in registers: a few rows of the first factor by a panel of the second.

use super::{Float, zero};
use bytemuck::Pod;
use pulp::{Arch, Simd, WithSimd};
use std::marker::PhantomData;

/// Elements of a vector at most; those of every CPU divide it.
pub(crate) const LONGEST: usize = 16;
/// Rows of a tile at most: on a CPU with 32 registers, 24 of them hold sums.
const TALLEST: usize = 8;
/// Terms between two looks at where the rows end: so many that the compiler leaves the loop over them as it is, and all
/// sums in registers.
const BLOCK: usize = 32;
/// Vectors side by side in a panel at most.
pub(crate) const VECTORS: usize = 3;

/// A float as vectors of it.
pub(crate) trait Lanes: Float {
    /// As wide as the registers of a CPU.
    type Vector<S: Simd>: Copy + Pod;

    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a b + c`, rounded once where that is one instruction.
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// The whole vectors.
    fn vectors<S: Simd>(x: &[Self]) -> &[Self::Vector<S>];
    /// The whole vectors.
    fn vectors_mut<S: Simd>(x: &mut [Self]) -> &mut [Self::Vector<S>];
}

macro_rules! lanes {
    ($($t:ty, $vector:ident, $splat:ident, $add:ident, $mul_add:ident, $of:ident, $of_mut:ident;)*) => {$(
        impl Lanes for $t {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: $t) -> S::$vector {
                simd.$splat(x)
            }
            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }
            #[inline(always)]
            fn vectors<S: Simd>(x: &[$t]) -> &[S::$vector] {
                S::$of(x).0
            }
            #[inline(always)]
            fn vectors_mut<S: Simd>(x: &mut [$t]) -> &mut [S::$vector] {
                S::$of_mut(x).0
            }
        }
    )*};
}

lanes! {
    f32, f32s, splat_f32s, add_f32s, mul_add_e_f32s, as_simd_f32s, as_mut_simd_f32s;
    f64, f64s, splat_f64s, add_f64s, mul_add_e_f64s, as_simd_f64s, as_mut_simd_f64s;
}

/// Columns of a panel of so many vectors, on this CPU.
pub(crate) fn width<A: Lanes, const VECTORS: usize>() -> usize {
    struct Length<A>(PhantomData<A>);
    impl<A: Lanes> WithSimd for Length<A> {
        type Output = usize;
        fn with_simd<S: Simd>(self, _: S) -> usize {
            length::<A, S>()
        }
    }
    VECTORS * Arch::new().dispatch(Length(PhantomData::<A>))
}

/// Elements of a vector.
const fn length<A: Lanes, S: Simd>() -> usize {
    size_of::<A::Vector<S>>() / size_of::<A>()
}

/// Rows by a panel of so many vectors.
pub(crate) struct Strip<'a, A, const VECTORS: usize> {
    /// From the first element on.
    pub(crate) a: &'a [A],
    /// Elements from row to row of `a`, each of which is contiguous.
    pub(crate) step: usize,
    /// As many rows as there are terms, each of [`width`] columns.
    pub(crate) panel: &'a [A],
    /// From the first element of the result on.
    pub(crate) out: &'a mut [A],
    /// Elements from row to row of `out`.
    pub(crate) pitch: usize,
    /// Of the result.
    pub(crate) rows: usize,
    /// Of the result, at most [`width`].
    pub(crate) columns: usize,
    /// Whether the sums are added to what stands there.
    pub(crate) add: bool,
    /// What the sums begin with, if not 0: one for each column of the panel.
    pub(crate) bias: Option<&'a [A]>,
}

impl<A: Lanes, const VECTORS: usize> Strip<'_, A, VECTORS> {
    /// `out = a panel + bias`, or `out += a panel + bias`.
    pub(crate) fn multiply(self) {
        Arch::new().dispatch(self);
    }
}

impl<A: Lanes, const VECTORS: usize> WithSimd for Strip<'_, A, VECTORS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            tiles::<A, S, VECTORS, TALLEST>(simd, self)
        } else {
            tiles::<A, S, VECTORS, 4>(simd, self)
        }
    }
}

#[inline(always)]
fn tiles<A: Lanes, S: Simd, const VECTORS: usize, const ROWS: usize>(simd: S, strip: Strip<'_, A, VECTORS>) {
    let Strip { a, step, panel, out, pitch, rows, columns, add, bias } = strip;
    let (panel, width) = (A::vectors::<S>(panel).as_chunks::<VECTORS>().0, VECTORS * length::<A, S>());
    let start = bias.map_or([A::splat(simd, zero()); VECTORS], |bias| A::vectors::<S>(bias).as_chunks().0[0]);
    let mut edge = [zero::<A>(); TALLEST * self::VECTORS * LONGEST];
    for first in (0..rows).step_by(ROWS) {
        let height = ROWS.min(rows - first);
        // The last row stands for those that are not there.
        let lines = std::array::from_fn(|i| &a[(first + i.min(height - 1)) * step..][..panel.len()]);
        let out = &mut out[first * pitch..];
        let whole = height == ROWS && columns == width;
        let (to, to_pitch) = if whole { (&mut *out, pitch) } else { (&mut edge[..], width) };
        tile::<A, S, VECTORS, ROWS>(simd, lines, panel, start, to, to_pitch, add && whole);
        if !whole {
            for (out, sums) in out.chunks_mut(pitch).zip(edge.chunks(width)).take(height) {
                for (out, &sum) in out[..columns].iter_mut().zip(sums) {
                    *out = if add { *out + sum } else { sum };
                }
            }
        }
    }
}

#[inline(always)]
fn tile<A: Lanes, S: Simd, const VECTORS: usize, const ROWS: usize>(
    simd: S,
    lines: [&[A]; ROWS],
    panel: &[[A::Vector<S>; VECTORS]],
    start: [A::Vector<S>; VECTORS],
    out: &mut [A],
    pitch: usize,
    add: bool,
) {
    let mut sums = [start; ROWS];
    let (blocks, rest) = panel.as_chunks::<BLOCK>();
    for (k, block) in blocks.iter().enumerate() {
        // Arrays, so that what follows has no borders to check.
        let parts = lines.map(|line| &line.as_chunks::<BLOCK>().0[k]);
        for (k, b) in block.iter().enumerate() {
            add_term(simd, parts.map(|part| part[k]), b, &mut sums);
        }
    }
    let first = panel.len() - rest.len();
    for (k, b) in (first..).zip(rest) {
        add_term(simd, lines.map(|line| line[k]), b, &mut sums);
    }
    for i in 0..ROWS {
        let out = A::vectors_mut::<S>(&mut out[i * pitch..][..VECTORS * length::<A, S>()]);
        for j in 0..VECTORS {
            out[j] = if add { A::plus(simd, out[j], sums[i][j]) } else { sums[i][j] };
        }
    }
}

/// Adds the products of a column of the first factor by a row of a panel.
#[inline(always)]
fn add_term<A: Lanes, S: Simd, const VECTORS: usize, const ROWS: usize>(
    simd: S,
    a: [A; ROWS],
    b: &[A::Vector<S>; VECTORS],
    sums: &mut [[A::Vector<S>; VECTORS]; ROWS],
) {
    for i in 0..ROWS {
        let a = A::splat(simd, a[i]);
        for j in 0..VECTORS {
            sums[i][j] = A::mul_add(simd, a, b[j], sums[i][j]);
        }
    }
}
