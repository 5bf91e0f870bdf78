//! Copies that run backwards: launches of `copy.cu` and `copy_runs.cu`.

use super::{
    copy::{gather, has_runs},
    walk::{check_dtypes, check_shapes, each_part, in_rows, walk_grid},
};
use crate::{Arg, Operand, Stream};
use taut_core::{Layout, Result};
use taut_kernels::{
    Access, Kernel, Moved,
    args::{WALK_LIMIT, Walk},
    pack_len,
};

/// `dst = src` with the order turned round on `axes`. Shapes and dtypes are equal; the two do not overlap.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if the operands differ in them,
/// [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
pub fn flip(stream: &Stream, axes: &[usize], src: Operand<'_>, dst: Operand<'_>) -> Result<()> {
    let operands = [src, dst];
    check_shapes("flip", &operands)?;
    check_dtypes("flip", &operands)?;
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let (dtype, size) = (dst.dtype, dst.dtype.size() as u64);
    let moved = Moved::Bits(dtype.size());
    each_flip(axes, src.layout, dst.layout, pack_len(&[dtype]), &mut |first, dst_layout, access, walk| {
        let src = src.address + first as u64 * size;
        let dst = Operand { layout: dst_layout, ..dst }.pointer();
        if access == Access::Strided && has_runs(dst_layout, moved) {
            return gather(stream, moved, [src, dst], *walk, dst_layout);
        }
        let len = if access == Access::Strided { 1 } else { pack_len(&[dtype]) };
        let args = [Arg::new(&src), Arg::new(&dst), Arg::new(walk)];
        // SAFETY: `copy_walk(in, out, walk)`; backwards, the walk starts at the last element of `src`, and its strides
        // wrap around to the elements before.
        unsafe { stream.launch(Kernel::Copy(dtype, dtype, access), walk_grid(walk.numel, len)?, args) }
    })
}

/// A part of a flip: the first element that is read, where it goes, and the walk from there.
type FlipPart<'a> = dyn FnMut(usize, &Layout, Access, &Walk<2>) -> Result<()> + 'a;

fn each_flip(axes: &[usize], src: &Layout, dst: &Layout, len: usize, part: &mut FlipPart<'_>) -> Result<()> {
    // What the turned axes give to a position. As an operand, it also keeps apart what is turned and what is not.
    let turned = src.only(axes);
    let farthest = turned.end().saturating_sub(1);
    let layouts = Layout::collapse_by_last([*src, turned, *dst]);
    let forward = layouts[1].strides().last().is_none_or(|&stride| stride == 0);
    let rows = forward && farthest.is_multiple_of(len) && in_rows(&[layouts[0], layouts[2]], len);
    let (access, len) = if rows { (Access::Rows, len) } else { (Access::Strided, 1) };
    each_part(&layouts, len as u64 * WALK_LIMIT, &mut |[src, turned, dst]| {
        let mut walk = Walk::new(&[*src, *dst], len);
        for (axis, &stride) in turned.strides().iter().rev().enumerate() {
            if stride != 0 {
                walk.stride[0][axis] = walk.stride[0][axis].wrapping_neg();
            }
        }
        part(src.offset() + farthest - 2 * turned.offset(), dst, access, &walk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::Shape;

    fn layout(dims: &[usize]) -> Layout {
        Layout::contiguous(Shape::new(dims).unwrap())
    }

    /// Where an operand of a walk is at a unit, as the kernels compute it.
    fn place<const N: usize>(walk: &Walk<N>, operand: usize, mut unit: u64) -> u64 {
        (0..walk.rank as usize).fold(0, |at: u64, axis| {
            let step = if axis + 1 < walk.rank as usize { unit % walk.dim[axis] } else { unit };
            unit /= walk.dim[axis];
            at.wrapping_add(step.wrapping_mul(walk.stride[operand][axis]))
        })
    }

    #[test]
    fn flipped_walks_reach_every_element_backwards() {
        let plain = layout(&[3, 4, 8]);
        let views = [
            plain,
            layout(&[4, 3, 8]).transposed(0, 1).unwrap(),
            layout(&[3, 5, 16]).sliced(2, 8..16).unwrap().sliced(1, 1..5).unwrap(),
            layout(&[4, 1]).broadcast_to(*plain.shape()).unwrap(),
        ];
        for (src, mask) in views.iter().flat_map(|view| (0..8).map(move |mask| (view, mask))) {
            let axes: Vec<usize> = (0..3).filter(|axis| mask >> axis & 1 == 1).collect();
            let dims: Vec<usize> = plain.shape().to_vec();
            let want = (0..96).map(|i| {
                let coordinates = [i / 32, i / 8 % 4, i % 8];
                let turn = |axis: usize| match axes.contains(&axis) {
                    true => dims[axis] - 1 - coordinates[axis],
                    false => coordinates[axis],
                };
                src.offset() + (0..3).map(|axis| turn(axis) * src.strides()[axis]).sum::<usize>()
            });
            let mut got = vec![None; 96];
            each_flip(&axes, src, &plain, 8, &mut |first, dst, access, walk| {
                let len = if access == Access::Rows { 8 } else { 1 };
                for unit in 0..walk.numel {
                    let from = place(walk, 0, unit).wrapping_add(first as u64);
                    let to = dst.offset() + place(walk, 1, unit) as usize;
                    let step = if walk.stride[0][0] == 0 { 0 } else { 1 };
                    (0..len).for_each(|l| got[to + l] = Some(from as usize + step * l));
                }
                Ok(())
            })
            .unwrap();
            assert!(got.into_iter().eq(want.map(Some)), "{axes:?} of {src:?}");
        }
    }
}
