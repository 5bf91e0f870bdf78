//! Launches of `triangle.cu`.

use super::walk::{check_dtypes, check_shapes, each_part, in_rows, walk_grid};
use crate::{Arg, Operand, Stream};
use taut_core::{Layout, Result, Shape, Triangle};
use taut_kernels::{
    Access, Kernel,
    args::{WALK_LIMIT, Walk},
};

/// `dst = src` in one triangle of the last two axes, counted from the diagonal that is `diagonal` to the right of the
/// main one; 0 elsewhere. Shapes and dtypes are equal; `src` may be `dst`, for the op in place.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) if the shapes differ or have less than two axes,
/// [`DType`](taut_core::ErrorKind::DType) if the dtypes differ, [`Driver`](taut_core::ErrorKind::Driver) if a launch
/// fails.
pub fn triangle(
    stream: &Stream,
    keep: Triangle,
    diagonal: i64,
    src: Operand<'_>,
    dst: Operand<'_>,
) -> Result<()> {
    let operands = [src, dst];
    check_shapes(keep.name(), &operands)?;
    check_dtypes(keep.name(), &operands)?;
    let Some(sides) = Sides::new(keep, diagonal, dst.layout)? else { return Ok(()) };
    let bytes = dst.dtype.size();
    let layouts = Layout::collapse_by_last([*src.layout, sides.layout, *dst.layout]);
    let rows = in_rows(&[layouts[0], layouts[2]], 16 / bytes);
    let (access, len) = if rows { (Access::Rows, 16 / bytes) } else { (Access::Strided, 1) };
    each_part(&layouts, len as u64 * WALK_LIMIT, &mut |[from, part, to]| {
        let mut walk = Walk::new(&[*from, *part, *to], len);
        let steps = part.strides().iter().rev().map(|&stride| sides.step(stride));
        for (axis, step) in steps.enumerate() {
            let unit = if axis == 0 { len as i64 } else { 1 };
            walk.stride[1][axis] = (step * unit) as u64;
        }
        let step = part.strides().last().map_or(0, |&stride| sides.step(stride));
        let limit = sides.limit_from(part.offset());
        let (src, dst) = (Operand { layout: from, ..src }.pointer(), Operand { layout: to, ..dst }.pointer());
        let args = [Arg::new(&src), Arg::new(&dst), Arg::new(&walk), Arg::new(&step), Arg::new(&limit)];
        // SAFETY: `triangle_walk(in, out, walk, step, limit)`; both pointers are of operands that the caller vouches for,
        // walked within their layouts, and the second operand of the walk is none.
        unsafe { stream.launch(Kernel::Triangle(bytes, access), walk_grid(walk.numel, len)?, args) }
    })
}

/// How far elements are on the side of a diagonal that stays, for layouts that are walked in any order.
#[derive(Clone, Copy, Debug)]
pub struct Sides {
    /// Of the shape of the tensor: positions that tell row and column, and give a row another stride than a run of columns.
    pub layout: Layout,
    /// From row to row in `layout`.
    width: usize,
    /// From column to column in the distance: 1, or -1 where the lower triangle stays.
    right: i64,
    limit: i64,
}

impl Sides {
    /// For a tensor with this layout; `None` if it is empty.
    ///
    /// # Errors
    ///
    /// [`Shape`](taut_core::ErrorKind::Shape) if it has less than two axes.
    pub fn new(keep: Triangle, diagonal: i64, of: &Layout) -> Result<Option<Sides>> {
        of.axis(keep.name(), 1)?;
        if of.numel() == 0 {
            return Ok(None);
        }
        let [rows, columns] = [of.rank() - 2, of.rank() - 1].map(|axis| of.shape()[axis]);
        let matrix = Layout::contiguous(Shape::new(&[rows, columns + 1])?).sliced(1, 0..columns)?;
        let layout = matrix.broadcast_to(*of.shape())?;
        let (right, limit) = match keep {
            Triangle::Upper => (1, diagonal),
            Triangle::Lower => (-1, diagonal.saturating_neg()),
        };
        Ok(Some(Sides { layout, width: columns + 1, right, limit }))
    }

    /// What a step of this stride in `layout` adds to the distance.
    pub fn step(&self, stride: usize) -> i64 {
        match stride {
            0 => 0,
            1 => self.right,
            _ => -self.right,
        }
    }

    /// The elements from this position of `layout` on stay where their distance from its element is this or more.
    pub fn limit_from(&self, position: usize) -> i64 {
        let (row, column) = ((position / self.width) as i64, (position % self.width) as i64);
        self.limit.saturating_sub(self.right * (column - row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dims: &[usize]) -> Layout {
        Layout::contiguous(Shape::new(dims).unwrap())
    }

    #[test]
    fn sides_count_from_any_element_in_any_order() {
        for (keep, diagonal) in Triangle::ALL.into_iter().flat_map(|keep| (-4..4).map(move |d| (keep, d))) {
            let of = layout(&[2, 3, 4]);
            let sides = Sides::new(keep, diagonal, &of).unwrap().unwrap();
            let stays = |row: i64, column: i64| match keep {
                Triangle::Lower => column - row <= diagonal,
                Triangle::Upper => column - row >= diagonal,
            };
            for (i, position) in sides.layout.positions().enumerate() {
                let (row, column) = ((i / 4 % 3) as i64, (i % 4) as i64);
                assert_eq!(sides.limit_from(position) <= 0, stays(row, column), "{keep:?} {diagonal} {i}");
            }
            let steps: Vec<i64> = sides.layout.strides().iter().map(|&stride| sides.step(stride)).collect();
            let right = if keep == Triangle::Upper { 1 } else { -1 };
            assert_eq!(steps, [0, -right, right]);
        }
        assert!(Sides::new(Triangle::Lower, 0, &layout(&[3])).is_err());
        assert!(Sides::new(Triangle::Lower, 0, &layout(&[3, 0])).unwrap().is_none());
        let far = |diagonal| Sides::new(Triangle::Lower, diagonal, &layout(&[2, 2])).unwrap().unwrap();
        assert!(far(i64::MIN).limit_from(1) > 2 && far(i64::MAX).limit_from(1) < -2);
    }
}
