//! The twin of `packed.cu`: columns side by side, row after row.

use super::{
    Acc, BLOCK, Scalar, Source,
    reduce::Term,
    tasks::{each_chunk, each_part},
    vectorized, with_float,
};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use std::ops::Range;
use taut_core::{Packed, Result};

/// Rows that are added in f32 before the sums go to f64.
const ROWS: usize = 64;
/// Rows of a slice: tasks share sequences that are longer.
const SLICE: usize = 2048;

/// `dst = op` of the rows of each sequence, where `bounds` say where each begins, and the end of the last. `dst` is flat
/// and not empty.
pub(crate) fn packed(op: Packed, src: View<'_>, bounds: View<'_>, dst: ViewMut<'_>) -> Result<()> {
    with_float!(dst.dtype, op.name(), T => run::<T>(op, src, bounds, dst))
}

fn run<T: Scalar<Acc: Term + Acc<Total = f64>>>(
    op: Packed,
    src: View<'_>,
    bounds: View<'_>,
    mut dst: ViewMut<'_>,
) -> Result<()> {
    let mut ends = vec![0u32; bounds.layout.numel()];
    bounds.source::<u32>()?.read(0, &mut ends);
    let row = src.layout.split(&[0]).0;
    let rows = Rows { source: Source::new(src.data::<T>()?, &row), step: src.layout.strides()[0] };
    each_chunk(dst.flat::<T>()?, row.numel(), &|i, out| {
        let sequence = ends[i] as usize..ends[i + 1] as usize;
        let count = (op == Packed::Mean).then_some(sequence.len());
        each_chunk(out, BLOCK, &|tile, out| {
            let mut sums = [0.0; BLOCK];
            let sums = &mut sums[..out.len()];
            rows.sum(tile * BLOCK, sequence.clone(), sums);
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = T::Acc::finish(*sum, count));
        });
    });
    Ok(())
}

struct Rows<'a, T> {
    /// The first.
    source: Source<'a, T>,
    /// From row to row.
    step: usize,
}

impl<T: Scalar<Acc: Term + Acc<Total = f64>>> Rows<'_, T> {
    /// Adds the columns from `first` on of `rows`. Cuts are facts of the lengths, so that results do not depend on the number
    /// of threads.
    fn sum(&self, first: usize, rows: Range<usize>, sums: &mut [f64]) {
        if rows.len() <= SLICE {
            return self.add(first, rows, sums);
        }
        let width = sums.len();
        let parts = each_part(rows.len().div_ceil(SLICE), &|slice| {
            let start = rows.start + slice * SLICE;
            let mut part = vec![0.0; width];
            self.add(first, start..rows.end.min(start + SLICE), &mut part);
            part
        });
        for part in parts {
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
    }

    fn add(&self, first: usize, rows: Range<usize>, sums: &mut [f64]) {
        let (mut narrow, mut wide) = ([T::zeroed(); BLOCK], [T::Acc::zeroed(); BLOCK]);
        let mut some = [T::Acc::zeroed(); BLOCK];
        let some = &mut some[..sums.len()];
        vectorized(
            #[inline(always)]
            || {
                for start in rows.clone().step_by(ROWS) {
                    some.fill(T::Acc::zeroed());
                    for row in start..rows.end.min(start + ROWS) {
                        let x = self.source.block(row * self.step, first, &mut narrow[..some.len()]);
                        let x = T::wide(x, &mut wide);
                        for (some, &x) in some.iter_mut().zip(x) {
                            *some = T::Acc::add(*some, x);
                        }
                    }
                    for (sum, &some) in sums.iter_mut().zip(&*some) {
                        *sum += some.total();
                    }
                }
            },
        );
    }
}
