//! Launches of `gather.cu`: elements one by one, or in packs along an inner axis on which the index does not change.

use super::walk::{by_stride_of_last, check_dtypes, check_shapes, each_part, grid};
use crate::{Arg, Operand, Stream};
use taut_core::{DType, Error, Index, Layout, Result};
use taut_kernels::{
    Kernel,
    args::{ELEMENT_STEPS, PACK_STEPS, THREADS, WALK_LIMIT, Walk},
    pack_len,
};

/// Moves the element of `src` at `index` on `axis`, and at the coordinates of the index on the others, to each element of
/// `dst`. `index` and `dst` have one shape. An index that is out of range is reported by the next call that waits for the
/// device.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) or [`DType`](taut_core::ErrorKind::DType) if the operands do not fit,
/// [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
pub fn gather(
    stream: &Stream,
    op: Index,
    axis: usize,
    src: Operand<'_>,
    index: Operand<'_>,
    dst: Operand<'_>,
) -> Result<()> {
    let at = op.along(src.layout, axis, dst.layout.shape())?;
    let operands = [Operand { layout: &at, ..src }, index, dst];
    check_shapes(op.name(), &operands)?;
    check_dtypes(op.name(), &[src, dst])?;
    check_index(op, &index)?;
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let (size, step) = (src.dtype.size(), src.layout.strides()[axis]);
    let layouts = by_stride_of_last(operands.map(|operand| *operand.layout));
    let len = unit(&layouts, step, pack_len(&[src.dtype]));
    let kernel = Kernel::Gather(size * len);
    let steps = if size * len == 16 { PACK_STEPS } else { ELEMENT_STEPS };
    let fault = stream.context().faults().of(op);
    let [step, extent, bytes] = [step, src.layout.shape()[axis], size].map(|n| n as u64);
    each_part(&layouts, len as u64 * WALK_LIMIT, &mut |layouts| {
        let walk = Walk::new(layouts, len);
        let at = |i: usize| Operand { layout: &layouts[i], ..operands[i] }.pointer();
        let pointers = [at(0), at(1), at(2)];
        let [src, index, dst] = pointers.each_ref().map(Arg::new);
        let [step, extent, bytes] = [&step, &extent, &bytes].map(Arg::new);
        let grid = grid([walk.numel.div_ceil(u64::from(THREADS * steps)), 1], THREADS)?;
        let args = [src, index, dst, Arg::new(&walk), step, extent, bytes, Arg::new(&fault)];
        // SAFETY: `gather(in, index, out, walk, step, extent, size, fault)`. All three are walked within their layouts,
        // src from there by less than `extent` steps, its extent on the axis.
        unsafe { stream.launch(kernel, grid, args) }
    })
}

/// That an operand holds positions.
pub(super) fn check_index(op: Index, index: &Operand<'_>) -> Result<()> {
    if index.dtype == DType::I64 {
        return Ok(());
    }
    Err(Error::dtype(format!("{}: the index is {}, not i64", op.name(), index.dtype)))
}

/// Elements in a unit: `len`, those of 16 bytes, where all units lie so, otherwise 1.
fn unit(layouts: &[Layout; 3], step: usize, len: usize) -> usize {
    let [src, index, dst] = layouts;
    let whole = |layout: &Layout| {
        let Some((&inner, outer)) = layout.strides().split_last() else { return false };
        inner == 1
            && layout.offset().is_multiple_of(len)
            && outer.iter().all(|stride| stride.is_multiple_of(len))
    };
    let packs = whole(src)
        && whole(dst)
        && index.strides().last() == Some(&0)
        && step.is_multiple_of(len)
        && dst.shape().last().is_some_and(|dim| dim.is_multiple_of(len));
    if packs { len } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::Shape;

    #[test]
    fn whole_rows_go_in_packs() {
        let shape = |dims: &[usize]| Shape::new(dims).unwrap();
        let layout = |dims: &[usize]| Layout::contiguous(shape(dims));
        let take = |width: usize, len: usize| {
            let dst = layout(&[5, width]);
            let src = layout(&[9, width]).sliced(0, 0..1).unwrap().broadcast_to(*dst.shape()).unwrap();
            let index = layout(&[5, 1]).broadcast_to(*dst.shape()).unwrap();
            unit(&by_stride_of_last([src, index, dst]), width, len)
        };
        assert_eq!((take(64, 8), take(24, 8), take(20, 8), take(20, 4)), (8, 8, 1, 4));
        // An index for each element: one at a time.
        let (dst, src) = (layout(&[5, 8]), layout(&[1, 8]).broadcast_to(shape(&[5, 8])).unwrap());
        assert_eq!(unit(&[src, dst, dst], 8, 8), 1);
    }
}
