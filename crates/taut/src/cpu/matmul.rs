//! Matrix products on the host, by the crate `faer`: f32 and f64 where they lie, everything else by tiles that are
//! converted into a planned workspace.

use super::{Acc, Scalar, Source};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul as faer_matmul, traits::ComplexField};
use half::{bf16, f16};
use rayon::prelude::*;
use std::ops::Range;
use taut_core::{Activation, DType, Error, Layout, Result};
use taut_memory::Block;

/// Rows and columns of a tile of the result.
const TILE: usize = 256;
/// The depth of a tile of the operands.
const DEPTH: usize = 1024;
/// Row strips of the result that are computed at once. Fixed, so that the workspace is a fact of the shapes.
const SLOTS: usize = 16;

/// What is done with the sums before they are stored.
pub(crate) struct Finish<'a> {
    /// Added to each row.
    pub(crate) bias: Option<View<'a>>,
    /// Applied after the bias.
    pub(crate) activation: Activation,
    /// Added to what stands there; without bias and activation.
    pub(crate) accumulate: bool,
}

/// The extents of `[m, k] x [k, n]`.
fn extents(a: &Layout, b: &Layout) -> (usize, usize, usize) {
    (a.shape()[0], b.shape()[1], a.shape()[1])
}

/// The scratch bytes that a product takes.
pub(crate) fn workspace_bytes(a: &Layout, b: &Layout, dtype: DType) -> u64 {
    let (m, n, k) = extents(a, b);
    if m * n == 0 || (is_direct(dtype) && plain(a).is_some() && plain(b).is_some()) {
        return 0;
    }
    let size = if dtype == DType::F64 { 8 } else { 4 };
    (slots(m) * slot(m, n, k) * size) as u64
}

/// Row strips that are computed at once.
fn slots(m: usize) -> usize {
    m.div_ceil(TILE).min(SLOTS)
}

/// Elements of workspace for one of them: a tile of each operand and one of the result.
fn slot(m: usize, n: usize, k: usize) -> usize {
    let (rows, columns, depth) = (m.min(TILE), n.min(TILE), k.min(DEPTH));
    rows * depth + depth * columns + rows * columns
}

fn is_direct(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}

/// How a matrix lies, if `faer` can read it there.
enum Plain {
    Rows { step: usize },
    Columns { step: usize },
}

impl Plain {
    fn matrix<'a, T>(&self, data: &'a [T], layout: &Layout) -> MatRef<'a, T> {
        let (rows, columns) = (layout.shape()[0], layout.shape()[1]);
        let data = &data[layout.offset()..];
        match *self {
            Plain::Rows { step } => MatRef::from_row_major_slice_with_stride(data, rows, columns, step),
            Plain::Columns { step } => MatRef::from_column_major_slice_with_stride(data, rows, columns, step),
        }
    }
}

fn plain(layout: &Layout) -> Option<Plain> {
    let (&[rows, columns], &[down, right]) = (&layout.shape()[..], layout.strides()) else { return None };
    match () {
        () if (right == 1 || columns == 1) && (down >= columns || rows == 1) => {
            Some(Plain::Rows { step: down.max(columns) })
        }
        () if (down == 1 || rows == 1) && (right >= rows || columns == 1) => {
            Some(Plain::Columns { step: right.max(rows) })
        }
        () => None,
    }
}

/// A type that products are summed in.
trait Float: Scalar<Acc = Self> + Acc + ComplexField {}
impl Float for f32 {}
impl Float for f64 {}

/// `dst = finish(a b)`, where `dst` is flat.
pub(crate) fn matmul(
    a: View<'_>,
    b: View<'_>,
    finish: Finish<'_>,
    dst: ViewMut<'_>,
    workspace: &mut Block,
) -> Result<()> {
    let (m, n, _) = extents(a.layout, b.layout);
    if m * n == 0 {
        return Ok(());
    }
    match (a.dtype, dst.dtype) {
        (DType::F32, _) => direct_or_tiled::<f32>(a, b, finish, dst, workspace),
        (DType::F64, _) => direct_or_tiled::<f64>(a, b, finish, dst, workspace),
        (DType::F16, DType::F32) => tiled::<f32, f16, f32>(a, b, finish, dst, workspace),
        (DType::F16, _) => tiled::<f32, f16, f16>(a, b, finish, dst, workspace),
        (DType::BF16, DType::F32) => tiled::<f32, bf16, f32>(a, b, finish, dst, workspace),
        (DType::BF16, _) => tiled::<f32, bf16, bf16>(a, b, finish, dst, workspace),
        (dtype, _) => Err(Error::dtype(format!("matmul: does not take {dtype}"))),
    }
}

fn direct_or_tiled<A: Float>(
    a: View<'_>,
    b: View<'_>,
    finish: Finish<'_>,
    mut dst: ViewMut<'_>,
    workspace: &mut Block,
) -> Result<()> {
    let (Some(left), Some(right)) = (plain(a.layout), plain(b.layout)) else {
        return tiled::<A, A, A>(a, b, finish, dst, workspace);
    };
    let (m, n, k) = extents(a.layout, b.layout);
    let out = dst.flat::<A>()?;
    let accum = if finish.accumulate { Accum::Add } else { Accum::Replace };
    if k == 0 && !finish.accumulate {
        out.fill(<A as Zeroable>::zeroed());
    } else if k > 0 {
        let (a, b) = (left.matrix::<A>(a.data()?, a.layout), right.matrix::<A>(b.data()?, b.layout));
        let c = MatMut::from_row_major_slice_mut(&mut *out, m, n);
        faer_matmul(c, accum, a, b, A::one_impl(), Par::rayon(0));
    }
    if !finish.accumulate {
        let bias = finish.bias.map(|bias| bias.source::<A>()).transpose()?;
        out.par_chunks_mut(n).for_each(|row| {
            for (i, chunk) in row.chunks_mut(TILE).enumerate() {
                apply(chunk, bias.as_ref(), i * TILE, finish.activation);
            }
        });
    }
    Ok(())
}

/// `row = activation(row + bias)`, for at most a tile's columns from `column` on.
fn apply<A: Float, T: Scalar<Acc = A>>(
    row: &mut [A],
    bias: Option<&Source<'_, T>>,
    column: usize,
    activation: Activation,
) {
    if let Some(bias) = bias {
        let (mut narrow, mut wide) = ([T::zeroed(); TILE], [<A as Zeroable>::zeroed(); TILE]);
        let (narrow, wide) = (&mut narrow[..row.len()], &mut wide[..row.len()]);
        bias.read(column, narrow);
        T::widen(narrow, wide);
        row.iter_mut().zip(wide).for_each(|(x, b)| *x = <A as Acc>::add(*x, *b));
    }
    if let Some(op) = activation.unary() {
        A::unary(op, op.params().map(A::param), row);
    }
}

/// An operand that is read by rows of whatever axis lies closer.
struct Operand<'a, T> {
    source: Source<'a, T>,
    /// Elements of a row.
    width: usize,
    /// Whether the rows of `source` are the columns of the operand.
    transposed: bool,
}

impl<'a, T: Scalar> Operand<'a, T> {
    fn new(view: View<'a>) -> Result<Operand<'a, T>> {
        let strides = view.layout.strides();
        let transposed = strides[0] < strides[1];
        let layout = if transposed { view.layout.transposed(0, 1)? } else { *view.layout };
        Ok(Operand { source: Source::new(view.data()?, &layout), width: layout.shape()[1], transposed })
    }

    /// Widens a part into `tile`.
    fn tile<'t>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        tile: &'t mut [T::Acc],
    ) -> MatRef<'t, T::Acc> {
        let shape = (rows.len(), columns.len());
        let (outer, inner) = if self.transposed { (columns, rows) } else { (rows, columns) };
        let mut narrow = [T::zeroed(); DEPTH];
        let narrow = &mut narrow[..inner.len()];
        let tile = &mut tile[..outer.len() * inner.len()];
        for (row, wide) in outer.zip(tile.chunks_mut(inner.len())) {
            self.source.read(row * self.width + inner.start, narrow);
            T::widen(narrow, wide);
        }
        if self.transposed {
            MatRef::from_column_major_slice(tile, shape.0, shape.1)
        } else {
            MatRef::from_row_major_slice(tile, shape.0, shape.1)
        }
    }
}

fn tiled<A: Float, T: Scalar<Acc = A>, D: Scalar<Acc = A>>(
    a: View<'_>,
    b: View<'_>,
    finish: Finish<'_>,
    mut dst: ViewMut<'_>,
    workspace: &mut Block,
) -> Result<()> {
    let (m, n, k) = extents(a.layout, b.layout);
    let (a, b) = (Operand::<T>::new(a)?, Operand::<T>::new(b)?);
    let bias = finish.bias.map(|bias| bias.source::<T>()).transpose()?;
    let scratch =
        workspace.host_mut().ok_or_else(|| Error::device("matmul: the workspace is not host memory"))?;
    let scratch: &mut [A] = bytemuck::cast_slice_mut(scratch);
    let out = dst.flat::<D>()?;
    let strips = m.div_ceil(TILE).div_ceil(slots(m));
    // A single strip is split inside of its products instead.
    let par = if slots(m) == 1 { Par::rayon(0) } else { Par::Seq };

    let tasks = out.par_chunks_mut(strips * TILE * n).zip(scratch.par_chunks_mut(slot(m, n, k))).enumerate();
    tasks.for_each(|(task, (out, scratch))| {
        let (left, scratch) = scratch.split_at_mut(m.min(TILE) * k.min(DEPTH));
        let (right, sums) = scratch.split_at_mut(k.min(DEPTH) * n.min(TILE));
        for (i, strip) in out.chunks_mut(TILE * n).enumerate() {
            let first = (task * strips + i) * TILE;
            let rows = first..first + strip.len() / n;
            for column in (0..n).step_by(TILE) {
                let columns = column..n.min(column + TILE);
                let sums = &mut sums[..rows.len() * columns.len()];
                sums.fill(<A as Zeroable>::zeroed());
                for depth in (0..k).step_by(DEPTH) {
                    let depths = depth..k.min(depth + DEPTH);
                    let a = a.tile(rows.clone(), depths.clone(), left);
                    let b = b.tile(depths, columns.clone(), right);
                    let c = MatMut::from_row_major_slice_mut(&mut *sums, rows.len(), columns.len());
                    faer_matmul(c, Accum::Add, a, b, A::one_impl(), par);
                }
                for (row, out) in sums.chunks_mut(columns.len()).zip(strip.chunks_mut(n)) {
                    let out = &mut out[columns.clone()];
                    if finish.accumulate {
                        let mut old = [<A as Zeroable>::zeroed(); TILE];
                        D::widen(out, &mut old[..row.len()]);
                        row.iter_mut().zip(old).for_each(|(x, old)| *x = <A as Acc>::add(*x, old));
                    } else {
                        apply(row, bias.as_ref(), column, finish.activation);
                    }
                    D::narrow(row, out);
                }
            }
        }
    });
    Ok(())
}
