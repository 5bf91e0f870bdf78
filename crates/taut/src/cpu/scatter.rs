//! The twin of `scatter.cu`: each task owns a part of the result, looks at all that may go there, and adds it in order.

use super::{
    BLOCK, Scalar, TASK,
    gather::{len, rows, step},
};
use crate::tensor::{View, ViewMut};
use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};
use rayon::prelude::*;
use taut_core::{DType, Error, Index, Layout, Result};
use taut_memory::Block;

/// Tasks that look at the same elements, at most.
const SHARERS: usize = 8;

/// The scratch bytes of a sum: 16-bit floats are added in f32.
pub(crate) fn workspace_bytes(dst: &Layout, dtype: DType) -> u64 {
    let wide = if matches!(dtype, DType::F16 | DType::BF16) { 4 } else { 0 };
    dst.numel() as u64 * wide
}

/// Adds each element of `src` to the element of the flat `dst` at its `index` on `axis`. `index` has the shape of `src`,
/// and was [checked](super::gather::check).
pub(crate) fn scatter_add(
    op: Index,
    axis: usize,
    index: View<'_>,
    src: View<'_>,
    mut dst: ViewMut<'_>,
    workspace: &mut Block,
) -> Result<()> {
    let layouts = [Layout::contiguous(*dst.layout.shape()), *index.layout, *src.layout];
    let plan = Plan { op, axis, layouts, index: index.data()? };
    match dst.dtype {
        DType::F32 => plan.add::<f32, f32>(src.data()?, dst.flat()?),
        DType::F64 => plan.add::<f64, f64>(src.data()?, dst.flat()?),
        DType::I64 => plan.add::<i64, i64>(src.data()?, dst.flat()?),
        DType::U32 => plan.add::<u32, u32>(src.data()?, dst.flat()?),
        DType::U8 => plan.add::<u8, u8>(src.data()?, dst.flat()?),
        DType::F16 => plan.add_wide::<f16>(src, dst, workspace),
        DType::BF16 => plan.add_wide::<bf16>(src, dst, workspace),
        DType::Bool => Err(Error::dtype(format!("{}: does not take bool", op.name()))),
    }
}

struct Plan<'a> {
    op: Index,
    axis: usize,
    /// Of the result, the index and the source.
    layouts: [Layout; 3],
    index: &'a [i64],
}

impl Plan<'_> {
    fn add_wide<S: Scalar<Acc = f32>>(
        &self,
        src: View<'_>,
        mut dst: ViewMut<'_>,
        workspace: &mut Block,
    ) -> Result<()>
    where
        f32: Sum<S>,
    {
        let bytes =
            workspace.host_mut().ok_or_else(|| Error::device("cpu: the workspace is not host memory"))?;
        let dst = dst.flat::<S>()?;
        let sums: &mut [f32] = &mut bytemuck::cast_slice_mut(bytes)[..dst.len()];
        sums.par_chunks_mut(TASK).zip(dst.par_chunks(TASK)).for_each(|(sums, dst)| S::widen(dst, sums));
        self.add::<S, f32>(src.data()?, sums)?;
        dst.par_chunks_mut(TASK).zip(sums.par_chunks(TASK)).for_each(|(dst, sums)| S::narrow(sums, dst));
        Ok(())
    }

    /// Parts of the result go to tasks: ranges of its first axis, which other elements do not come to, and where these are
    /// too few, or it is the axis that is summed over, parts of them, whose tasks look at the same elements.
    fn add<S: Pod + Send + Sync, D: Sum<S>>(&self, src: &[S], dst: &mut [D]) -> Result<()> {
        let [out, index, source] = &self.layouts;
        if dst.is_empty() || index.numel() == 0 {
            return Ok(());
        }
        let at = self.op.along(out, self.axis, index.shape())?;
        let threads = rayon::current_num_threads();
        let first = (0..out.rank()).find(|&axis| out.shape()[axis] > 1).filter(|&axis| axis != self.axis);
        // Coordinates on the first axis that go together, and the elements of a coordinate.
        let (extent, size) = first.map_or((1, dst.len()), |axis| (out.shape()[axis], out.strides()[axis]));
        let together = extent.div_ceil(4 * threads);
        let groups = extent.div_ceil(together);
        let part = (together * size).div_ceil(threads.div_ceil(groups).min(SHARERS));
        let tasks = dst.par_chunks_mut(together * size).enumerate().flat_map(|(group, dst)| {
            dst.par_chunks_mut(part).enumerate().map(move |(i, dst)| (group, i, dst))
        });
        tasks.for_each(|(group, i, dst)| {
            let mut layouts = [at, *index, *source];
            if let Some(axis) = first {
                let end = index.shape()[axis].min((group + 1) * together);
                for layout in &mut layouts {
                    // The range is within the axis, or empty.
                    *layout = layout.sliced(axis, (group * together).min(end)..end).unwrap_or(*layout);
                }
            }
            self.add_own(src, layouts, group * together * size + i * part, dst);
        });
        Ok(())
    }

    /// Adds those of the elements that go to `dst`, which is the part of the result from element `own` on.
    fn add_own<S: Pod, D: Sum<S>>(&self, src: &[S], layouts: [Layout; 3], own: usize, dst: &mut [D]) {
        let [at, index, source] = Layout::collapse(layouts);
        let (n, along) = (len(&at), self.layouts[0].strides()[self.axis]);
        let [to_step, index_step, from_step] = [&at, &index, &source].map(step);
        for (row, ..) in rows(0..at.numel(), n) {
            let [to, first, from] = [&at, &index, &source].map(|layout| layout.row_position(row));
            if (to_step, index_step, from_step) == (1, 0, 1) {
                let to = to + self.index[first] as usize * along;
                // What the row and this part have in common.
                let (start, end) = (to.max(own), (to + n).min(own + dst.len()));
                if start < end {
                    D::add_row(&mut dst[start - own..end - own], &src[from + start - to..from + end - to]);
                }
                continue;
            }
            for i in 0..n {
                let to = to + i * to_step + self.index[first + i * index_step] as usize * along;
                if let Some(sum) = to.checked_sub(own).and_then(|to| dst.get_mut(to)) {
                    *sum = sum.plus(src[from + i * from_step]);
                }
            }
        }
    }
}

/// What elements of type `S` are added to.
trait Sum<S: Pod>: Pod + Send + Sync {
    fn plus(self, x: S) -> Self;

    fn add_row(sums: &mut [Self], row: &[S]) {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum = sum.plus(x));
    }
}

macro_rules! sums {
    ($($t:ty, $plus:expr;)*) => {$(
        impl Sum<$t> for $t {
            fn plus(self, x: $t) -> $t {
                ($plus)(self, x)
            }
        }
    )*};
}

sums! {
    f32, |a: f32, b: f32| a + b;
    f64, |a: f64, b: f64| a + b;
    i64, i64::wrapping_add;
    u32, u32::wrapping_add;
    u8, u8::wrapping_add;
}

macro_rules! half_sums {
    ($($t:ty)*) => {$(
        impl Sum<$t> for f32 {
            fn plus(self, x: $t) -> f32 {
                self + x.to_f32()
            }

            fn add_row(sums: &mut [f32], row: &[$t]) {
                let mut wide = [f32::zeroed(); BLOCK];
                for (sums, row) in sums.chunks_mut(BLOCK).zip(row.chunks(BLOCK)) {
                    <$t as Scalar>::widen(row, &mut wide);
                    sums.iter_mut().zip(&wide).for_each(|(sum, x)| *sum += x);
                }
            }
        }
    )*};
}

half_sums!(f16 bf16);
