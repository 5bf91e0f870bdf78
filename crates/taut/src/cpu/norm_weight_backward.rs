//! The twin of `norm_weight_backward.cu`.

use super::{
    Scalar, TASK,
    norm::Moment,
    norm_backward::{factor, find},
    rows::Float,
    tasks::each_part,
    vectorized, with_float,
};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use taut_core::{Norm, Result};

const NAME: &str = "norm_weight_backward";

/// Over all rows along the last axis, the sums of `grad * normal` into `weight`, and those of `grad` into `bias`: flat, of
/// one dtype. There is at least one element.
pub(crate) fn norm_weight_backward(
    op: Norm,
    eps: f32,
    grad: View<'_>,
    input: View<'_>,
    mut weight: ViewMut<'_>,
    bias: Option<ViewMut<'_>>,
) -> Result<()> {
    let sums = with_float!(input.dtype, NAME, T => sums::<T>(op, eps.into(), grad, input))?;
    let [of_weight, of_bias] = &sums;
    store(of_weight, &mut weight)?;
    bias.map_or(Ok(()), |mut bias| store(of_bias, &mut bias))
}

fn store(sums: &[f64], dst: &mut ViewMut<'_>) -> Result<()> {
    with_float!(dst.dtype, NAME, T => {
        dst.flat::<T>()?.iter_mut().zip(sums).for_each(|(to, &sum)| *to = T::from_f64(sum));
        Ok(())
    })
}

/// Both sums for each column: in f64, of tasks of rows one after the other.
fn sums<T: Scalar<Acc: Float>>(op: Norm, eps: f64, grad: View<'_>, input: View<'_>) -> Result<[Vec<f64>; 2]> {
    let n = input.layout.shape().last().copied().unwrap_or(1);
    let rows = input.layout.numel() / n;
    let (grad, input) = (grad.source::<T>()?, input.source::<T>()?);
    // Tasks of a size that depends on the shape alone, and not so many that their sums would be as large as what is summed.
    let task = (TASK / n).max(16);
    let parts = each_part(rows.div_ceil(task), &|number| {
        let mut narrow = vec![T::zeroed(); n];
        let (mut g, mut x) = (vec![T::Acc::zeroed(); n], vec![T::Acc::zeroed(); n]);
        let mut sums = [(); 2].map(|()| vec![0.0; n]);
        for row in number * task..rows.min((number + 1) * task) {
            T::widen(grad.get(row * n, &mut narrow), &mut g);
            T::widen(input.get(row * n, &mut narrow), &mut x);
            vectorized(
                #[inline(always)]
                || {
                    let found: Moment = find(op, &x);
                    let factor = T::Acc::of(factor(op, found, n as f64, eps));
                    // The mean in two parts: one alone would be rounded.
                    let mean = T::Acc::of(found.mean);
                    let rest = T::Acc::of(found.mean - mean.wide());
                    let [of_weight, of_bias] = &mut sums;
                    for ((&g, &x), sum) in g.iter().zip(&x).zip(of_weight) {
                        *sum += (g * ((x - mean - rest) * factor)).wide();
                    }
                    for (&g, sum) in g.iter().zip(of_bias) {
                        *sum += g.wide();
                    }
                },
            );
        }
        sums
    });
    let zeros = [(); 2].map(|()| vec![0.0; n]);
    Ok(parts.into_iter().fold(zeros, |mut sums, part| {
        let all = sums.iter_mut().flatten().zip(part.iter().flatten());
        all.for_each(|(sum, part)| *sum += part);
        sums
    }))
}
