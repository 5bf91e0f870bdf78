//! Layouts: how the elements of a view lie in its storage.

use crate::{Error, MAX_RANK, Result, Shape};
use std::ops::Range;

/// A shape with strides and an offset, both in elements. Transposing, slicing and broadcasting make new layouts
/// over the same storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    shape: Shape,
    strides: [usize; MAX_RANK],
    offset: usize,
}

impl Layout {
    /// Row-major from the start of the storage.
    pub fn contiguous(shape: Shape) -> Layout {
        Layout { shape, strides: shape.row_major(), offset: 0 }
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The distance of neighbours on each axis, in elements; 0 where an axis is broadcast.
    pub fn strides(&self) -> &[usize] {
        &self.strides[..self.shape.rank()]
    }

    /// The position of the first element, in elements.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.rank()
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.shape.numel()
    }

    /// One past the last element that is touched, counted from the start of the storage; 0 for an empty layout.
    pub fn end(&self) -> usize {
        if self.numel() == 0 {
            return 0;
        }
        let last: usize = self.shape.iter().zip(self.strides()).map(|(&d, &s)| (d - 1) * s).sum();
        self.offset + last + 1
    }

    /// The range of elements, if they lie in row-major order without gaps.
    pub fn flat(&self) -> Option<Range<usize>> {
        let mut step = 1;
        for axis in (0..self.rank()).rev() {
            if self.shape[axis] != 1 && self.strides[axis] != step {
                if self.numel() == 0 {
                    break;
                }
                return None;
            }
            step *= self.shape[axis];
        }
        Some(self.offset..self.offset + self.numel())
    }

    /// The range of elements, if they lie without gaps in whatever order: a transposed matrix is dense.
    pub fn dense(&self) -> Option<Range<usize>> {
        let mut axes: [usize; MAX_RANK] = std::array::from_fn(|i| i);
        let axes = &mut axes[..self.rank()];
        axes.sort_by_key(|&axis| std::cmp::Reverse(self.strides[axis]));
        self.permute(axes).flat()
    }

    /// Whether two different coordinates share an element.
    pub fn overlaps(&self) -> bool {
        // Sorted by stride, each axis must step over all that lies below it. Sufficient for every view that slices,
        // permutations and broadcasts of a dense tensor can make.
        let mut axes: Vec<_> = self.shape.iter().zip(self.strides()).filter(|(d, _)| **d > 1).collect();
        axes.sort_by_key(|(_, s)| **s);
        let mut span = 1;
        self.numel() > 0
            && axes.into_iter().any(|(&d, &s)| {
                let clash = s < span;
                span += (d - 1) * s;
                clash
            })
    }

    /// Each element once: axes on which elements repeat have an extent of 1.
    pub fn distinct(&self) -> Layout {
        let repeats = |&axis: &usize| self.strides[axis] == 0 && self.shape[axis] > 1;
        // The first of several is there.
        (0..self.rank()).filter(repeats).fold(*self, |out, axis| out.sliced(axis, 0..1).unwrap_or(out))
    }

    /// The axes in the order that `axes` names.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if `axes` is not a permutation of the axes.
    pub fn permuted(&self, axes: &[usize]) -> Result<Layout> {
        let named = |axis: &usize| axes.contains(axis);
        if axes.len() != self.rank() || !(0..self.rank()).all(|axis| named(&axis)) {
            let shape = self.shape;
            return Err(Error::shape(format!("permute: {axes:?} is no permutation of the axes of {shape}")));
        }
        Ok(self.permute(axes))
    }

    /// The axes in a new order. `axes` must be a permutation: checked by [`permuted`](Self::permuted).
    fn permute(&self, axes: &[usize]) -> Layout {
        let mut dims = [0; MAX_RANK];
        let mut out = *self;
        for (to, &from) in axes.iter().enumerate() {
            dims[to] = self.shape[from];
            out.strides[to] = self.strides[from];
        }
        // A permutation of a sound shape is sound.
        if let Ok(shape) = Shape::new(&dims[..axes.len()]) {
            out.shape = shape;
        }
        out
    }

    /// The axes `a` and `b` exchanged.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is no such axis.
    pub fn transposed(&self, a: usize, b: usize) -> Result<Layout> {
        self.axis("transpose", a)?;
        self.axis("transpose", b)?;
        let mut axes: [usize; MAX_RANK] = std::array::from_fn(|i| i);
        axes.swap(a, b);
        Ok(self.permute(&axes[..self.rank()]))
    }

    /// The part with `range` on `axis`.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the range is not within the axis.
    pub fn sliced(&self, axis: usize, range: Range<usize>) -> Result<Layout> {
        let dim = self.axis("slice", axis)?;
        if range.start > range.end || range.end > dim {
            return Err(Error::shape(format!(
                "slice: {range:?} is not within axis {axis} of {}",
                self.shape
            )));
        }
        let mut dims = [0; MAX_RANK];
        dims[..self.rank()].copy_from_slice(&self.shape);
        dims[axis] = range.len();
        let shape = Shape::new(&dims[..self.rank()])?;
        Ok(Layout { shape, offset: self.offset + range.start * self.strides[axis], ..*self })
    }

    /// The same elements in the same order under another shape, or `None` if that needs a copy.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the number of elements differs.
    pub fn reshaped(&self, shape: Shape) -> Result<Option<Layout>> {
        if shape.numel() != self.numel() {
            let (from, to) = (self.shape, shape);
            return Err(Error::shape(format!(
                "reshape: {from} has {} elements, {to} has {}",
                from.numel(),
                to.numel()
            )));
        }
        if self.numel() == 0 {
            return Ok(Some(Layout { offset: self.offset, ..Layout::contiguous(shape) }));
        }
        // Walk both shapes from the last axis; each new axis must divide a run of old axes that lie row-major.
        let old = self.collapsed();
        let mut out = Layout { shape, strides: shape.row_major(), offset: self.offset };
        let mut from = old.rank();
        let (mut left, mut stride) = (1, 1);
        for to in (0..shape.rank()).rev() {
            if shape[to] == 1 {
                continue;
            }
            if left == 1 {
                from -= 1;
                (left, stride) = (old.shape[from], old.strides[from]);
            }
            if left % shape[to] != 0 {
                return Ok(None);
            }
            out.strides[to] = stride;
            left /= shape[to];
            stride *= shape[to];
        }
        Ok(Some(out))
    }

    /// Repeated along new leading axes and axes of extent 1, without a copy: those get stride 0.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if this shape does not broadcast to `shape`.
    pub fn broadcast_to(&self, shape: Shape) -> Result<Layout> {
        let fits = shape.rank() >= self.rank()
            && self.shape.iter().rev().zip(shape.iter().rev()).all(|(&a, &b)| a == b || a == 1);
        if !fits {
            return Err(Error::shape(format!("broadcast: {} does not broadcast to {shape}", self.shape)));
        }
        let lead = shape.rank() - self.rank();
        let mut strides = [0; MAX_RANK];
        for axis in 0..self.rank() {
            if self.shape[axis] == shape[lead + axis] {
                strides[lead + axis] = self.strides[axis];
            }
        }
        Ok(Layout { shape, strides, offset: self.offset })
    }

    /// The same elements in the same order with as few axes as possible: no axis of extent 1, neighbours merged.
    pub fn collapsed(&self) -> Layout {
        let [out] = Layout::collapse([*self]);
        out
    }

    /// [`collapsed`](Self::collapsed) for layouts of one shape that are walked together: axes are merged where
    /// that is right for all of them.
    pub fn collapse<const N: usize>(layouts: [Layout; N]) -> [Layout; N] {
        let shape = layouts[0].shape;
        debug_assert!(layouts.iter().all(|l| l.shape == shape));
        let mut dims = [0; MAX_RANK];
        let mut out = layouts;
        let mut rank = 0;
        for (axis, &dim) in shape.iter().enumerate().filter(|(_, dim)| **dim != 1) {
            let merges = rank > 0
                && out.iter().zip(&layouts).all(|(o, l)| o.strides[rank - 1] == dim * l.strides[axis]);
            if merges {
                dims[rank - 1] *= dim;
            } else {
                dims[rank] = dim;
                rank += 1;
            }
            for (o, l) in out.iter_mut().zip(&layouts) {
                o.strides[rank - 1] = l.strides[axis];
            }
        }
        // Merging a sound shape keeps its number of elements.
        if let Ok(merged) = Shape::new(&dims[..rank]) {
            out.iter_mut().for_each(|o| o.shape = merged);
        }
        out
    }

    /// The same elements with the axes in a new order, common to all layouts: the largest stride of the last layout first;
    /// then as few axes as possible.
    pub fn collapse_by_last<const N: usize>(layouts: [Layout; N]) -> [Layout; N] {
        let mut layouts = Layout::collapse(layouts);
        for to in 0..layouts[0].rank() {
            let strides = layouts[N - 1].strides();
            let largest = (to..strides.len()).max_by_key(|&axis| (strides[axis], usize::MAX - axis));
            let mut axes: [usize; MAX_RANK] = std::array::from_fn(|axis| axis);
            axes.swap(to, largest.unwrap_or(to));
            layouts = layouts.map(|layout| layout.permute(&axes[..layout.rank()]));
        }
        Layout::collapse(layouts)
    }

    /// The same memory in units of `len` elements along the last axis, which is gone where a unit fills it. `None` unless
    /// every unit lies together and starts on a multiple of `len`.
    pub fn in_units(&self, len: usize) -> Option<Layout> {
        let (last, outer) = self.rank().checked_sub(1).map(|last| (last, &self.shape[..last]))?;
        let fits = |axis: usize| self.shape[axis] == 1 || self.strides[axis].is_multiple_of(len);
        let whole = self.strides[last] == 1
            && self.shape[last].is_multiple_of(len)
            && self.offset.is_multiple_of(len)
            && (0..last).all(fits);
        if !whole {
            return None;
        }
        let mut out = Layout { offset: self.offset / len, ..*self };
        out.strides[..last].iter_mut().for_each(|stride| *stride /= len);
        let units = self.shape[last] / len;
        let dims = [outer, &[units]].concat();
        out.shape = Shape::new(if units == 1 { outer } else { &dims }).ok()?;
        Some(out)
    }

    /// The axes that are not in `axes`, with the offset, and those that are, from 0: the position of an element is the
    /// sum of both parts. The axes must exist.
    pub fn split(&self, axes: &[usize]) -> (Layout, Layout) {
        let pick = |chosen: bool, offset| {
            let mut part = Layout { shape: Shape::SCALAR, strides: [0; MAX_RANK], offset };
            let mut dims = [0; MAX_RANK];
            let mut rank = 0;
            for axis in (0..self.rank()).filter(|axis| axes.contains(axis) == chosen) {
                (dims[rank], part.strides[rank]) = (self.shape[axis], self.strides[axis]);
                rank += 1;
            }
            // Some axes of a sound shape make a sound shape.
            if let Ok(shape) = Shape::new(&dims[..rank]) {
                part.shape = shape;
            }
            part
        };
        (pick(false, self.offset), pick(true, 0))
    }

    /// The part of a position that comes from `axes`: the same shape, stride 0 on the others, and no offset.
    pub fn only(&self, axes: &[usize]) -> Layout {
        let mut out = Layout { offset: 0, ..*self };
        (0..self.rank()).filter(|axis| !axes.contains(axis)).for_each(|axis| out.strides[axis] = 0);
        out
    }

    /// The extent of `axis`.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape), named after `op`, if there is no such axis.
    pub fn axis(&self, op: &str, axis: usize) -> Result<usize> {
        let missing = || Error::shape(format!("{op}: axis {axis} is not within the rank of {}", self.shape));
        self.shape.get(axis).copied().ok_or_else(missing)
    }

    /// The positions of the elements in the storage, in row-major order of the coordinates.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        let inner = self.rank().checked_sub(1);
        let (len, step) = inner.map_or((1, 0), |axis| (self.shape[axis], self.strides[axis]));
        let rows = self.numel().checked_div(len).unwrap_or(0);
        (0..rows).flat_map(move |row| {
            let start = self.row_position(row);
            (0..len).map(move |i| start + i * step)
        })
    }

    /// The position of the first element of a row, where rows run along the last axis and are counted row-major.
    pub fn row_position(&self, mut row: usize) -> usize {
        let mut position = self.offset;
        for axis in (0..self.rank().saturating_sub(1)).rev() {
            position += row % self.shape[axis] * self.strides[axis];
            row /= self.shape[axis];
        }
        position
    }
}

#[cfg(test)]
mod tests;
