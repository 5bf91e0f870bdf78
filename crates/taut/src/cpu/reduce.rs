//! The twin of `reduce_sums.cu` and `reduce_order.cu`.

mod moments;
mod order;
mod sums;
mod walk;

use super::{Acc, BLOCK, Scalar, Truth, with_float, with_scalar};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
pub(super) use moments::Real;
use moments::{LogSumExp, Var};
use order::{ArgExtreme, End, Extreme};
use sums::{Norm, Prod, Sum, Summed};
pub(super) use sums::{Squares, Term, lanes};
use taut_core::{DType, Layout, Reduce, Result};
use taut_memory::Block;
use walk::Plan;
pub(super) use walk::position;

/// One value made from many.
trait Fold<T: Scalar>: Sync {
    /// What is kept of some elements.
    type Part: Copy + Send + Sync;

    /// Of none: joined with another, it is that.
    fn empty(&self) -> Self::Part;
    /// With the elements `x`, at most a block, the first of which has the number `start`; `wide` has room for as many.
    fn row(&self, part: Self::Part, x: &[T], start: usize, wide: &mut [T::Acc; BLOCK]) -> Self::Part;
    /// Many results side by side: with an element for each of `parts` from every one of `rows`.
    fn columns(&self, parts: &mut [Self::Part], rows: &Rows<'_, T>);
    /// With elements that come later.
    fn join(&self, a: Self::Part, b: Self::Part) -> Self::Part;
    /// Whether nothing can change it any more.
    fn is_final(&self, _part: Self::Part) -> bool {
        false
    }
}

/// At most [`ROWS`](walk::ROWS) runs of as many neighbours as there are results.
struct Rows<'a, T> {
    data: &'a [T],
    starts: &'a [usize],
    width: usize,
    /// The number of the first.
    first: usize,
}

impl<T: Scalar> Rows<'_, T> {
    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = &[T]> {
        self.starts.iter().map(|&start| &self.data[start..][..self.width])
    }

    /// The first row as what is computed in.
    #[inline(always)]
    fn first_wide(&self, f: impl FnMut(&[T::Acc])) {
        Rows { starts: &self.starts[..1.min(self.starts.len())], ..*self }.each_wide(f);
    }

    /// Each row as what is computed in.
    #[inline(always)]
    fn each_wide(&self, mut f: impl FnMut(&[T::Acc])) {
        let mut buffer = [T::Acc::zeroed(); BLOCK];
        self.iter().for_each(|row| f(T::wide(row, &mut buffer)));
    }
}

/// The scratch bytes that a reduction takes, where `dtype` is that of the result.
pub(crate) fn workspace_bytes(src: &Layout, axes: &[usize], dtype: DType) -> u64 {
    let plan = Plan::new(src, axes, false);
    if plan.is_scattered() { (plan.outputs() * dtype.size()) as u64 } else { 0 }
}

/// Reduces `src` over `axes` into the flat `dst`, row-major over the other axes.
pub(crate) fn reduce(
    op: Reduce,
    axes: &[usize],
    src: View<'_>,
    dst: ViewMut<'_>,
    workspace: &mut Block,
) -> Result<()> {
    let plan = Plan::new(src.layout, axes, op.is_position());
    let n = plan.n();
    let divisor = op.divisor(n);
    let job = Job { plan, src, dst, workspace };
    let end = |largest| if largest { End::Largest } else { End::Smallest };
    match op {
        Reduce::Sum | Reduce::Mean => {
            let count = (op == Reduce::Mean).then_some(n);
            with_scalar!(job.src.dtype, T => job.total::<T, _>(&Sum, count))
        }
        Reduce::Prod => with_scalar!(job.src.dtype, T => job.total::<T, _>(&Prod, None)),
        Reduce::Max | Reduce::Min | Reduce::Any | Reduce::All => with_scalar!(job.src.dtype, T => {
            let fold = Extreme::<T>::new(end(matches!(op, Reduce::Max | Reduce::Any)));
            job.run::<T, T, _>(&fold, &|key| fold.value(key))
        }),
        Reduce::ArgMax | Reduce::ArgMin => with_scalar!(job.src.dtype, T => {
            let fold = ArgExtreme::<T>::new(end(op == Reduce::ArgMax));
            job.run::<T, i64, _>(&fold, &|best| best.index as i64)
        }),
        Reduce::MeanSquare => with_float!(job.src.dtype, op.name(), T => {
            job.run::<T, T, _>(&Norm, &|squares| Scalar::from_f64(squares.sum() / divisor))
        }),
        Reduce::Norm => with_float!(job.src.dtype, op.name(), T => {
            job.run::<T, T, _>(&Norm, &|squares| Scalar::from_f64(squares.root()))
        }),
        Reduce::Var { .. } | Reduce::Std { .. } => with_float!(job.src.dtype, op.name(), T => {
            let root = matches!(op, Reduce::Std { .. });
            job.run::<T, T, _>(&Var, &|moments| {
                let var = moments.mean_square() / divisor;
                Scalar::from_f64(if root { var.sqrt() } else { var })
            })
        }),
        Reduce::LogSumExp => with_float!(job.src.dtype, op.name(), T => {
            job.run::<T, T, _>(&LogSumExp, &|sum| Scalar::from_f64(sum.log()))
        }),
    }
}

/// A reduction and its memory.
struct Job<'a> {
    plan: Plan,
    src: View<'a>,
    dst: ViewMut<'a>,
    workspace: &'a mut Block,
}

impl Job<'_> {
    fn total<T: Summed, F>(self, fold: &F, count: Option<usize>) -> Result<()>
    where
        F: Fold<T, Part = <T::Acc as Acc>::Total>,
    {
        self.run::<T, T::Out, F>(fold, &|total| T::Acc::finish(total, count))
    }

    fn run<T: Scalar, D: Scalar, F: Fold<T>>(
        mut self,
        fold: &F,
        finish: &Finish<'_, F::Part, D>,
    ) -> Result<()> {
        let (plan, data) = (&self.plan, self.src.data::<T>()?);
        let out = self.dst.flat::<D>()?;
        if !plan.is_scattered() {
            plan.run(fold, finish, data, out);
            return Ok(());
        }
        let bytes = self.workspace.host_mut().unwrap_or_default();
        let results = bytemuck::cast_slice_mut(&mut bytes[..plan.outputs() * size_of::<D>()]);
        plan.run(fold, finish, data, results);
        plan.scatter(results, out);
        Ok(())
    }
}

/// A result from what is kept of all of its elements.
type Finish<'a, P, D> = dyn Fn(P) -> D + Sync + 'a;
