//! The twin of `cross_entropy.cu`.

use super::{
    BLOCK, Scalar, Source, TASK,
    rows::Float,
    softmax::{max, shift},
    tasks::{each_chunk_with, each_part_with},
    vectorized, with_float,
};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use taut_core::{Error, Index, Result};

/// What rows are compared with.
#[derive(Clone, Copy)]
pub(crate) struct Labels<'a> {
    /// Checked by [`check`].
    pub(crate) targets: View<'a>,
    pub(crate) smoothing: f32,
    pub(crate) ignored: Option<i64>,
}

/// Refuses a label that is not below `classes` and is not ignored.
pub(crate) fn check(labels: &Labels<'_>, classes: usize) -> Result<()> {
    let data = labels.targets.data::<i64>()?;
    let mut targets = labels.targets.layout.positions().map(|at| data[at]);
    let bad = targets.find(|&label| Some(label) != labels.ignored && label as u64 >= classes as u64);
    bad.map_or(Ok(()), |label| {
        let name = Index::CrossEntropy.name();
        Err(Error::shape(format!("{name}: index {label} is out of range of {classes} classes")))
    })
}

/// The losses of the rows of `logits`, `[rows, classes]` and not empty.
pub(crate) fn cross_entropy(logits: View<'_>, labels: Labels<'_>, mut losses: ViewMut<'_>) -> Result<()> {
    let n = logits.layout.shape()[1];
    with_float!(logits.dtype, Index::CrossEntropy.name(), T => {
        let (source, rows) = (logits.source::<T>()?, Rows::new(labels, n)?);
        let scratch = || (vec![T::zeroed(); n], vec![<T as Scalar>::Acc::zeroed(); n]);
        let found = each_part_with(rows.labels.len(), &scratch, &|(narrow, wide), row| {
            T::widen(source.get(row * n, narrow), wide);
            vectorized(#[inline(always)] || rows.compare(row, wide).loss)
        });
        losses.flat()?.copy_from_slice(&found);
        Ok(())
    })
}

/// The same, and the gradients times the one element of `scale`, into the flat `dst`; without `logits`, these stand there.
pub(crate) fn cross_entropy_with_grad(
    logits: Option<View<'_>>,
    labels: Labels<'_>,
    scale: View<'_>,
    mut losses: ViewMut<'_>,
    mut dst: ViewMut<'_>,
) -> Result<()> {
    let n = dst.layout.shape()[1];
    with_float!(dst.dtype, Index::CrossEntropy.name(), T => {
        type A = <T as Scalar>::Acc;
        let source = logits.map(|logits| logits.source::<T>()).transpose()?;
        let (rows, scale) = (Rows::new(labels, n)?, scale.data::<A>()?[scale.layout.offset()]);
        let found = with_grad(&rows, scale, source.as_ref(), dst.flat::<T>()?);
        losses.flat()?.copy_from_slice(&found);
        Ok(())
    })
}

fn with_grad<T: Scalar<Acc: Float>>(
    rows: &Rows<T::Acc>,
    scale: T::Acc,
    source: Option<&Source<'_, T>>,
    out: &mut [T],
) -> Vec<T::Acc> {
    let n = rows.n;
    let task = (TASK / n).max(1);
    let found = each_chunk_with(out, task * n, &|| vec![T::Acc::zeroed(); n], &|wide, number, chunk| {
        let each = chunk.chunks_mut(n).enumerate().map(|(i, narrow)| {
            let row = number * task + i;
            if let Some(source) = source {
                source.read(row * n, narrow);
            }
            T::widen(narrow, wide);
            let loss = vectorized(
                #[inline(always)]
                || {
                    let found = rows.compare(row, wide);
                    rows.differ(row, found.factor, scale, wide);
                    found.loss
                },
            );
            T::narrow(wide, narrow);
            loss
        });
        each.collect::<Vec<_>>()
    });
    found.concat()
}

/// Rows of `n` elements, with the label of each that counts.
struct Rows<A> {
    n: usize,
    labels: Vec<Option<usize>>,
    smoothing: A,
}

/// What is found in a row.
struct Found<A> {
    loss: A,
    /// What makes a softmax of the exponentials.
    factor: A,
}

impl<A: Float> Rows<A> {
    fn new(labels: Labels<'_>, n: usize) -> Result<Rows<A>> {
        let data = labels.targets.data::<i64>()?;
        let targets = labels.targets.layout.positions().map(|at| data[at]);
        // Those that count are below the length of a row.
        let labels_of = targets.map(|label| (Some(label) != labels.ignored).then_some(label as usize));
        Ok(Rows { n, labels: labels_of.collect(), smoothing: A::of(labels.smoothing.into()) })
    }

    /// Leaves `exp(x - max)` in the row.
    #[inline(always)]
    fn compare(&self, row: usize, x: &mut [A]) -> Found<A> {
        let Some(label) = self.labels[row] else { return Found { loss: A::of(0.0), factor: A::of(0.0) } };
        let (max, own, smoothing) = (max(x), x[label], self.smoothing.wide());
        let all = if smoothing == 0.0 {
            0.0
        } else {
            A::sum_of(
                x,
                #[inline(always)]
                |x| x,
            )
        };
        let (shift, mut sum) = (shift(max), 0.0);
        for x in x.chunks_mut(BLOCK) {
            for x in &mut *x {
                *x = A::exp(*x - shift);
            }
            sum += A::sum_of(
                x,
                #[inline(always)]
                |x| x,
            );
        }
        let (max, log) = (max.wide(), sum.ln());
        let loss = (max - own.wide()) + log;
        let even = (max - all / self.n as f64) + log;
        // 0 times the infinity of what is masked is not asked for.
        let loss = if smoothing == 0.0 { loss } else { (1.0 - smoothing) * loss + smoothing * even };
        Found { loss: A::of(loss), factor: A::of(1.0 / sum) }
    }

    /// From exponentials to gradients.
    #[inline(always)]
    fn differ(&self, row: usize, factor: A, scale: A, x: &mut [A]) {
        let Some(label) = self.labels[row] else { return x.fill(A::of(0.0)) };
        let even = A::of(self.smoothing.wide() / self.n as f64);
        let target = A::of(1.0) - self.smoothing + even;
        let own = (x[label] * factor - target) * scale;
        for x in &mut *x {
            *x = (*x * factor - even) * scale;
        }
        x[label] = own;
    }
}
