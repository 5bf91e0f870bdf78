//! Shapes: up to [`MAX_RANK`] extents, kept inline.

use crate::{Error, Result};
use std::{fmt, ops::Deref};

/// The highest rank of a tensor.
pub const MAX_RANK: usize = 8;

/// The extents of a tensor. A rank-0 shape `[]` has one element.
///
/// A `Shape` that exists is sound: its rank is at most [`MAX_RANK`], and the bytes of its elements can be counted
/// in an `isize` for every dtype.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    rank: u8,
    dims: [usize; MAX_RANK],
}

impl Shape {
    /// The shape of a single value: rank 0.
    pub const SCALAR: Shape = Shape { rank: 0, dims: [0; MAX_RANK] };

    /// A shape of these extents.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the rank is above [`MAX_RANK`], or the product of the extents overflows.
    /// Extents of zero do not hide an overflow: `[0, usize::MAX, 2]` is an error.
    pub fn new(dims: &[usize]) -> Result<Shape> {
        if dims.len() > MAX_RANK {
            return Err(Error::shape(format!("shape: {dims:?} has rank {}, at most {MAX_RANK}", dims.len())));
        }
        // 8 bytes is the largest element, and the zeros are left out so that every view is countable too.
        let bytes = dims.iter().filter(|&&d| d != 0).try_fold(8usize, |n, &d| n.checked_mul(d));
        if bytes.is_none_or(|n| isize::try_from(n).is_err()) {
            return Err(Error::shape(format!("shape: the number of elements of {dims:?} overflows")));
        }
        let mut shape = Shape { rank: dims.len() as u8, dims: [0; MAX_RANK] };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        usize::from(self.rank)
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.iter().product()
    }

    /// Row-major strides, in elements.
    pub(crate) fn row_major(&self) -> [usize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let mut step = 1;
        for axis in (0..self.rank()).rev() {
            strides[axis] = step;
            step *= self.dims[axis].max(1);
        }
        strides
    }

    /// The shape that `self` and `other` broadcast to: aligned at the last axis, equal or 1 on each.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape), named after `op`, if they do not broadcast.
    pub fn broadcast(&self, other: &Shape, op: &str) -> Result<Shape> {
        let rank = self.rank().max(other.rank());
        let mut dims = [0; MAX_RANK];
        for back in 1..=rank {
            let a = self.rank().checked_sub(back).map_or(1, |i| self[i]);
            let b = other.rank().checked_sub(back).map_or(1, |i| other[i]);
            dims[rank - back] = match (a, b) {
                _ if a == b => a,
                (1, _) => b,
                (_, 1) => a,
                _ => return Err(Error::shape(format!("{op}: {self} and {other} do not broadcast"))),
            };
        }
        Shape::new(&dims[..rank])
    }

    /// This shape with `axes` removed, or kept as 1 if `keep`.
    pub fn reduce(&self, axes: &[usize], keep: bool) -> Shape {
        let mut out = Shape::SCALAR;
        for (axis, &dim) in self.iter().enumerate() {
            let gone = axes.contains(&axis);
            if !gone || keep {
                out.dims[usize::from(out.rank)] = if gone { 1 } else { dim };
                out.rank += 1;
            }
        }
        out
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank()]
    }
}

impl AsRef<[usize]> for Shape {
    fn as_ref(&self) -> &[usize] {
        self
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &**self)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn shape(dims: &[usize]) -> Shape {
        Shape::new(dims).unwrap()
    }

    #[test]
    fn overflow_is_an_error_even_behind_a_zero() {
        for dims in [&[usize::MAX, 2][..], &[1 << 40, 1 << 40], &[0, usize::MAX, 2], &[1; 9]] {
            assert_eq!(Shape::new(dims).unwrap_err().kind(), ErrorKind::Shape);
        }
        assert_eq!(shape(&[]).numel(), 1);
        assert_eq!(shape(&[3, 0]).numel(), 0);
    }

    #[test]
    fn broadcast_aligns_at_the_last_axis() {
        let b = |a: &[usize], b: &[usize]| shape(a).broadcast(&shape(b), "add");
        assert_eq!(b(&[3, 1], &[4]).unwrap(), shape(&[3, 4]));
        assert_eq!(b(&[], &[2, 0]).unwrap(), shape(&[2, 0]));
        assert_eq!(b(&[3, 4], &[5]).unwrap_err().to_string(), "add: [3, 4] and [5] do not broadcast");
    }

    #[test]
    fn reduce_drops_or_keeps() {
        assert_eq!(shape(&[2, 3, 4]).reduce(&[0, 2], false), shape(&[3]));
        assert_eq!(shape(&[2, 3, 4]).reduce(&[0, 2], true), shape(&[1, 3, 1]));
    }
}
