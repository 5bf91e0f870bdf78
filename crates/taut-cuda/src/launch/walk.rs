//! How the elements of operands of one shape are reached: densely, in packs along rows, or one by one.

use crate::{Grid, Operand, Param};
use taut_core::{Error, Layout, Result};
use taut_kernels::{
    Access,
    args::{ELEMENT_STEPS, PACK_STEPS, THREADS, WALK_LIMIT, Walk},
    pack_len,
};

// SAFETY: `Walk` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl<const N: usize> Param for Walk<N> {}

/// How an elementwise kernel goes over `N` operands, the last of which it writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice<const N: usize> {
    /// What the kernel is instantiated for.
    pub(crate) access: Access,
    /// Elements in a unit: in a pack, or 1.
    len: usize,
    /// The operands with as few axes as possible, the last operand's largest stride first.
    layouts: [Layout; N],
}

/// The part of the arguments that depends on the access.
pub(crate) enum Way<'a, const N: usize> {
    /// So many elements in a row.
    Packed(&'a u64),
    /// Units to walk.
    Walk(&'a Walk<N>),
}

/// That operands have one shape; what else a kernel takes for granted, their construction guarantees.
pub(crate) fn check_shapes(op: &str, operands: &[Operand<'_>]) -> Result<()> {
    match operands.windows(2).find(|pair| pair[0].layout.shape() != pair[1].layout.shape()) {
        Some([a, b]) => {
            Err(Error::shape(format!("{op}: {} and {} differ", a.layout.shape(), b.layout.shape())))
        }
        _ => Ok(()),
    }
}

/// That operands have one dtype.
pub(crate) fn check_dtypes(op: &str, operands: &[Operand<'_>]) -> Result<()> {
    match operands.windows(2).find(|pair| pair[0].dtype != pair[1].dtype) {
        Some([a, b]) => Err(Error::dtype(format!("{op}: {} and {} differ", a.dtype, b.dtype))),
        _ => Ok(()),
    }
}

/// Chooses the access for operands of one shape, none of them empty. Pure: addresses play no part, since storages
/// start on 256 bytes.
pub(crate) fn choose<const N: usize>(operands: &[Operand<'_>; N]) -> Choice<N> {
    choose_with(operands, pack_len(&operands.each_ref().map(|operand| operand.dtype)))
}

/// [`choose`] with packs of `len` elements, a power of two.
pub(crate) fn choose_with<const N: usize>(operands: &[Operand<'_>; N], len: usize) -> Choice<N> {
    debug_assert!(operands.iter().all(|o| o.layout.shape() == operands[0].layout.shape()));
    let layouts = operands.each_ref().map(|operand| *operand.layout);
    let flat = layouts.iter().all(|layout| layout.flat().is_some());
    let layouts = if flat { layouts } else { by_stride_of_last(layouts) };
    let flat = flat || layouts.iter().all(|layout| layout.flat().is_some());

    let access = if flat && layouts.iter().all(|layout| layout.offset().is_multiple_of(len)) {
        Access::Packed
    } else if in_rows(&layouts, len) {
        Access::Rows
    } else {
        Access::Strided
    };
    Choice { access, len: if access == Access::Strided { 1 } else { len }, layouts }
}

/// Whether every operand lies in whole packs along the last axis, or repeats one element there.
pub(super) fn in_rows<const N: usize>(layouts: &[Layout; N], len: usize) -> bool {
    let Some((&inner, outer)) = layouts[0].shape().split_last() else { return false };
    let packs = |layout: &Layout| {
        let Some((&stride, outer_strides)) = layout.strides().split_last() else { return false };
        stride == 1
            && layout.offset().is_multiple_of(len)
            && outer_strides.iter().zip(outer).all(|(&stride, &dim)| dim == 1 || stride.is_multiple_of(len))
    };
    let repeats = |layout: &Layout| layout.strides().last() == Some(&0);
    let (dst, srcs) = (&layouts[N - 1], &layouts[..N - 1]);
    inner.is_multiple_of(len) && packs(dst) && srcs.iter().all(|src| packs(src) || repeats(src))
}

/// [`Layout::collapse_by_last`]: the writes of the last operand are contiguous where they can be.
pub(crate) fn by_stride_of_last<const N: usize>(layouts: [Layout; N]) -> [Layout; N] {
    Layout::collapse_by_last(layouts)
}

impl<const N: usize> Choice<N> {
    /// The operands as they are walked: with as few axes as possible, the last operand's largest stride first.
    pub(super) fn layouts(&self) -> &[Layout; N] {
        &self.layouts
    }

    /// The addresses of the first elements.
    pub(super) fn pointers(&self, operands: &[Operand<'_>; N]) -> [u64; N] {
        std::array::from_fn(|i| Operand { layout: &self.layouts[i], ..operands[i] }.pointer())
    }

    /// Calls `launch` with pointers to the first elements: once, or for each part of a walk that is too long for one
    /// launch.
    pub(crate) fn each(
        &self,
        operands: &[Operand<'_>; N],
        mut launch: impl FnMut(Grid, [u64; N], Way<'_, N>) -> Result<()>,
    ) -> Result<()> {
        let pointers = |layouts: &[Layout; N]| -> [u64; N] {
            std::array::from_fn(|i| Operand { layout: &layouts[i], ..operands[i] }.pointer())
        };
        if self.access == Access::Packed {
            let n = self.layouts[0].numel() as u64;
            return launch(packed_grid(n, self.len)?, self.pointers(operands), Way::Packed(&n));
        }
        each_part(&self.layouts, self.len as u64 * WALK_LIMIT, &mut |layouts| {
            let walk = Walk::new(layouts, self.len);
            launch(walk_grid(walk.numel, self.len)?, pointers(layouts), Way::Walk(&walk))
        })
    }
}

/// The grid of a packed kernel over `n` elements, `len` in a pack: a thread for each pack, and for each element that is left.
pub(crate) fn packed_grid(n: u64, len: usize) -> Result<Grid> {
    packed_grid_by(n, len, 1)
}

/// The same, of packs by so many a thread.
pub(super) fn packed_grid_by(n: u64, len: usize, packs: u32) -> Result<Grid> {
    let len = len as u64;
    grid([(n / len + n % len).div_ceil((THREADS * packs).into()).max(1), 1], THREADS)
}

/// The grid of a walking kernel over units of `len` elements.
pub(super) fn walk_grid(units: u64, len: usize) -> Result<Grid> {
    let steps = if len > 1 { PACK_STEPS } else { ELEMENT_STEPS };
    grid([units.div_ceil(u64::from(THREADS * steps)), 1], THREADS)
}

/// A grid of these extents.
pub(crate) fn grid([x, y]: [u64; 2], threads: u32) -> Result<Grid> {
    let extent = |n: u64, limit: u64| u32::try_from(n).ok().filter(|_| n <= limit);
    match (extent(x, i32::MAX as u64), extent(y, u16::MAX as u64)) {
        (Some(x), Some(y)) => Ok(Grid { blocks: [x, y, 1], threads, shared_bytes: 0, cluster: 1 }),
        _ => Err(Error::shape(format!("launch: a grid of {x} x {y} blocks is too large"))),
    }
}

/// Cuts layouts along their outer axes into parts of at most `limit` elements.
pub(crate) fn each_part<const N: usize>(
    layouts: &[Layout; N],
    limit: u64,
    part: &mut dyn FnMut(&[Layout; N]) -> Result<()>,
) -> Result<()> {
    let numel = layouts[0].numel() as u64;
    // The outermost axis that can be cut. Without one the part is a single element.
    let axis = layouts[0].shape().iter().position(|&dim| dim > 1);
    let (Some(axis), true) = (axis, numel > limit) else { return part(layouts) };
    let dim = layouts[0].shape()[axis];
    let step = usize::try_from(limit / (numel / dim as u64)).unwrap_or(dim).max(1);
    for start in (0..dim).step_by(step) {
        let mut cut = *layouts;
        for layout in &mut cut {
            *layout = layout.sliced(axis, start..dim.min(start + step))?;
        }
        each_part(&cut, limit, part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::{DType, Shape};

    fn layout(dims: &[usize]) -> Layout {
        Layout::contiguous(Shape::new(dims).unwrap())
    }

    fn choice<const N: usize>(layouts: [Layout; N], dtypes: [DType; N]) -> Choice<N> {
        choose(&std::array::from_fn(|i| Operand { address: 0, layout: &layouts[i], dtype: dtypes[i] }))
    }

    #[test]
    fn dense_operands_of_one_order_are_packed() {
        let (a, f16) = (layout(&[30, 40]), DType::F16);
        let t = a.transposed(0, 1).unwrap();
        for (layouts, access) in [
            ([a, a], Access::Packed),
            ([t, t], Access::Packed),
            ([t, layout(&[40, 30])], Access::Strided),
            ([layout(&[]), layout(&[])], Access::Packed),
            ([layout(&[1, 7]), layout(&[1, 7])], Access::Packed),
        ] {
            assert_eq!(choice(layouts, [f16; 2]).access, access, "{layouts:?}");
        }
        // Rows 8.. start on 16 bytes in f16; element 1 does not.
        let flat = layout(&[64]);
        let [eight, one] = [8, 1].map(|start| flat.sliced(0, start..start + 32).unwrap());
        assert_eq!(choice([eight, eight], [f16; 2]).access, Access::Packed);
        assert_eq!(choice([one, eight], [f16; 2]).access, Access::Strided);
        // In f32 packs have 4 elements.
        let four = flat.sliced(0, 4..36).unwrap();
        assert_eq!(choice([four, four], [f16, DType::F32]).access, Access::Packed);
    }

    #[test]
    fn broadcast_rows_columns_and_slices_go_in_rows_of_packs() {
        let (a, f16) = (layout(&[30, 40]), DType::F16);
        let shape = *a.shape();
        let bias = layout(&[40]).broadcast_to(shape).unwrap();
        let column = layout(&[30, 1]).broadcast_to(shape).unwrap();
        let scalar = layout(&[]).broadcast_to(shape).unwrap();
        for b in [bias, column, scalar] {
            let choice = choice([a, b, a], [f16; 3]);
            assert_eq!((choice.access, choice.len), (Access::Rows, 8), "{b:?}");
        }
        let slice = a.sliced(1, 8..24).unwrap();
        assert_eq!(choice([slice, slice], [f16; 2]).access, Access::Rows);
        let odd = a.sliced(1, 8..23).unwrap();
        assert_eq!(choice([odd, odd], [f16; 2]).access, Access::Strided);
    }

    #[test]
    fn walks_that_are_too_long_are_cut_and_cover_all() {
        let (a, b) =
            (layout(&[5, 7, 3]), layout(&[7, 1]).broadcast_to(Shape::new(&[5, 7, 3]).unwrap()).unwrap());
        for limit in [1, 2, 3, 10, 21, 22, 50, 104, 105] {
            let mut positions = Vec::new();
            each_part(&[a, b], limit, &mut |[a, b]| {
                assert!(a.numel() as u64 <= limit);
                positions.extend(a.positions().zip(b.positions()));
                Ok(())
            })
            .unwrap();
            assert!(positions.into_iter().eq(a.positions().zip(b.positions())), "{limit}");
        }
    }

    #[test]
    fn the_grid_has_a_thread_for_each_pack_and_each_element_that_is_left() {
        let full = u64::from(THREADS) * 8;
        let blocks = |n| packed_grid(n, 8).unwrap().blocks[0];
        assert_eq!([0, 1, full - 8, full - 7, full - 6, full, full + 1].map(blocks), [1, 1, 1, 1, 2, 1, 2]);
        assert!(grid([1, 65_536], 1).is_err() && grid([1 << 31, 1], 1).is_err());
    }
}
