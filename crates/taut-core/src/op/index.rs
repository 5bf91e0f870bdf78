use crate::{Error, Layout, Result, Shape};

/// Ops that find elements by positions along an axis, which a tensor of i64 names. Negative positions are out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// An element for each index.
    Gather,
    /// A slice for each index.
    IndexSelect,
    /// Elements added to where their indices say.
    ScatterAdd,
    /// Slices added to where their indices say.
    IndexAdd,
    /// Losses of rows by the elements that their labels name.
    CrossEntropy,
}

impl Index {
    /// Every op; `ALL[op as usize] == op`.
    pub const ALL: [Index; 5] =
        [Index::Gather, Index::IndexSelect, Index::ScatterAdd, Index::IndexAdd, Index::CrossEntropy];

    /// The name of the method and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Index::Gather => "gather",
            Index::IndexSelect => "index_select",
            Index::ScatterAdd => "scatter_add",
            Index::IndexAdd => "index_add",
            Index::CrossEntropy => "cross_entropy",
        }
    }

    /// Where the elements of an operand would be if every index were 0: a layout of `shape`, that of the indices, which
    /// stands still along `axis`.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if ranks differ, if there is no such axis, if `shape` is longer than the operand
    /// on another axis, or if there are indices of an axis that has no elements.
    pub fn along(self, layout: &Layout, axis: usize, shape: &Shape) -> Result<Layout> {
        let name = self.name();
        let extent = layout.axis(name, axis)?;
        let fits = |i: usize| i == axis || shape[i] <= layout.shape()[i];
        if shape.rank() != layout.rank() || !(0..shape.rank()).all(fits) {
            return Err(Error::shape(format!(
                "{name}: {} and indices {shape}: must have one rank, and indices no longer axis but {axis}",
                layout.shape()
            )));
        }
        if shape.numel() == 0 {
            return Ok(Layout::contiguous(*shape));
        }
        if extent == 0 {
            return Err(Error::shape(format!("{name}: axis {axis} of {} has no elements", layout.shape())));
        }
        let mut part = layout.sliced(axis, 0..1)?;
        for i in (0..shape.rank()).filter(|&i| i != axis) {
            part = part.sliced(i, 0..shape[i])?;
        }
        part.broadcast_to(*shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn along_stands_still_on_the_axis_and_fits_on_others() {
        let shape = |dims: &[usize]| Shape::new(dims).unwrap();
        let x = Layout::contiguous(shape(&[4, 5, 6]));
        let at = Index::Gather.along(&x, 1, &shape(&[2, 9, 3])).unwrap();
        assert_eq!((&at.shape()[..], at.strides()), (&[2, 9, 3][..], &[30, 0, 1][..]));
        for (axis, dims) in [(1, &[5, 9, 3][..]), (1, &[4, 5]), (3, &[4, 5, 6])] {
            assert!(Index::Gather.along(&x, axis, &shape(dims)).is_err(), "{dims:?}");
        }
        let none = Layout::contiguous(shape(&[4, 0]));
        assert!(Index::Gather.along(&none, 1, &shape(&[4, 1])).is_err());
        assert_eq!(Index::Gather.along(&none, 1, &shape(&[4, 0])).unwrap().numel(), 0);
    }
}
