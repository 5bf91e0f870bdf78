//! Products of f32 and f64 that `faer` reads where they lie.

use super::{Epilogue, Float, WORK, zero};
use crate::cpu::tasks::each_chunk;
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use taut_core::Products;

/// Multiplications of one product that are split over threads; smaller ones are taken as a whole.
const LARGE: usize = 1 << 24;

/// How a matrix lies, if `faer` can read it there.
#[derive(Clone, Copy)]
enum Plain {
    Rows { step: usize },
    Columns { step: usize },
}

impl Plain {
    fn new(rows: usize, columns: usize, [down, right]: [usize; 2]) -> Option<Plain> {
        match () {
            () if (right == 1 || columns <= 1) && (down >= columns || rows <= 1) => {
                Some(Plain::Rows { step: if rows <= 1 { columns } else { down } })
            }
            () if (down == 1 || rows <= 1) && (right >= rows || columns <= 1) => {
                Some(Plain::Columns { step: if columns <= 1 { rows } else { right } })
            }
            () => None,
        }
    }

    fn matrix<T>(self, data: &[T], rows: usize, columns: usize) -> MatRef<'_, T> {
        match self {
            Plain::Rows { step } => MatRef::from_row_major_slice_with_stride(data, rows, columns, step),
            Plain::Columns { step } => MatRef::from_column_major_slice_with_stride(data, rows, columns, step),
        }
    }
}

fn plain(products: &Products) -> Option<[Plain; 2]> {
    let Products { m, k, n, a, b, .. } = *products;
    Some([Plain::new(m, k, a)?, Plain::new(k, n, b)?])
}

/// Whether both factors lie so that `faer` can read them.
pub(super) fn takes(products: &Products) -> bool {
    plain(products).is_some()
}

/// `out = finish(a b)`. What is accumulated has no activation, so that the bias may come last.
pub(super) fn run<A: Float>(products: &Products, a: &[A], b: &[A], finish: &Epilogue<A>, out: &mut [A]) {
    let Products { m, k, n, .. } = *products;
    let Some([left, right]) = plain(products) else { return };
    let one = |i: usize, out: &mut [A], par: Par| {
        let [a_start, b_start] = products.at(i);
        if k > 0 {
            let accum = if finish.accumulate { Accum::Add } else { Accum::Replace };
            let (a, b) = (left.matrix(&a[a_start..], m, k), right.matrix(&b[b_start..], k, n));
            matmul(MatMut::from_row_major_slice_mut(out, m, n), accum, a, b, A::one_impl(), par);
        } else if !finish.accumulate {
            out.fill(zero());
        }
    };
    let rows = |out: &mut [A]| out.chunks_mut(n).for_each(|row| finish.apply(row, 0));
    let is_plain = finish.is_plain();

    let work = m * n * k.max(1);
    if work >= LARGE {
        for (i, out) in out.chunks_mut(m * n).enumerate() {
            one(i, out, Par::rayon(0));
            if !is_plain {
                each_chunk(out, WORK.div_ceil(n) * n, &|_, out| rows(out));
            }
        }
        return;
    }
    let group = WORK.div_ceil(work);
    let task = |i: usize, out: &mut [A]| {
        for (j, out) in out.chunks_mut(m * n).enumerate() {
            one(i * group + j, out, Par::Seq);
            if !is_plain {
                rows(out);
            }
        }
    };
    if out.len() <= group * m * n {
        task(0, out);
    } else {
        each_chunk(out, group * m * n, &task);
    }
}
