//! Two tensors as a batch of products sees them.

use crate::Tensor;
use taut_core::{Error, Layout, Result, Shape};

/// Two tensors as a batch of products sees them.
pub(super) struct Factors {
    /// `[.., m, k]`.
    pub(super) a: Layout,
    /// `[.., k, n]`, with the same leading axes.
    pub(super) b: Layout,
    /// Of the result: without the axis that a vector lacks.
    pub(super) shape: Shape,
}

impl Factors {
    /// `a` and `b` seen through layouts: each a vector, a matrix, or a batch of matrices.
    pub(super) fn new(
        op: &str,
        a: &Tensor,
        a_layout: &Layout,
        b: &Tensor,
        b_layout: &Layout,
    ) -> Result<Factors> {
        a.same_device(b, op)?;
        a.same_dtype(b, op)?;
        if !a.dtype().is_float() {
            return Err(Error::dtype(format!("{op}: does not take {}; cast to a float", a.dtype())));
        }
        let misfit = |why: &str| {
            let (a, b) = (a_layout.shape(), b_layout.shape());
            Error::shape(format!("{op}: {a} and {b}: {why}"))
        };
        let must = || misfit("must be [.., m, k] and [.., k, n], or a vector");
        let (row, column) = (a_layout.rank() == 1, b_layout.rank() == 1);
        let a = if row { with_ones(a_layout, [1, 0])? } else { *a_layout };
        let b = if column { with_ones(b_layout, [0, 1])? } else { *b_layout };
        let (Some((a_lead, &[m, k])), Some((b_lead, &[l, n]))) =
            (a.shape().split_last_chunk::<2>(), b.shape().split_last_chunk::<2>())
        else {
            return Err(must());
        };
        if k != l {
            return Err(must());
        }
        let lead = Shape::new(a_lead)?.broadcast(&Shape::new(b_lead)?, op);
        let lead = lead.map_err(|_| misfit("the leading axes do not broadcast"))?;
        let whole = |last: [usize; 2]| Shape::new(&[&lead[..], &last].concat());
        let out = [&[m][usize::from(row)..], &[n][usize::from(column)..]].concat();
        let shape = Shape::new(&[&lead[..], &out].concat())?;
        Ok(Factors { a: a.broadcast_to(whole([m, k])?)?, b: b.broadcast_to(whole([k, n])?)?, shape })
    }
}

/// A vector as a matrix, with an axis of extent 1 before or behind.
fn with_ones(vector: &Layout, [before, behind]: [usize; 2]) -> Result<Layout> {
    let dims = [&[1][..before], vector.shape(), &[1][..behind]].concat();
    // One axis has its strides under any shape.
    Ok(vector.reshaped(Shape::new(&dims)?)?.unwrap_or(*vector))
}
