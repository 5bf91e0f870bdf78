//! Launches of `fused.cu`.

use super::walk::{Choice, Way, check_dtypes, check_shapes, choose_with, packed_grid_by};
use crate::{Arg, Operand, Param, Stream};
use taut_core::{Activation, DType, Error, Layout, Mask, Result, Shape};
use taut_kernels::{
    Access, Kernel,
    args::{FUSED_LEN, FUSED_PACKS, Parts, WALK_LIMIT, Walk, philox_keys},
};

// SAFETY: `Parts` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for Parts {}

/// What is done in one pass: `dst = residual + dropout(activation(src + bias))`. Operands are already broadcast to the
/// shape of `dst`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fused<'a> {
    /// Added first.
    pub bias: Option<Operand<'a>>,
    /// Applied to the sum.
    pub activation: Activation,
    /// What is dropped of that.
    pub mask: Option<Mask>,
    /// Added last.
    pub residual: Option<Operand<'a>>,
}

/// Runs the pass. Shapes and dtypes are equal; `src` or the residual may be `dst`, for the op in place.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if operands differ in them,
/// [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn fused(stream: &Stream, fused: Fused<'_>, src: Operand<'_>, dst: Operand<'_>) -> Result<()> {
    // What is absent is never read; as an operand it is in nobody's way.
    let (bias, residual) = (fused.bias.unwrap_or(dst), fused.residual.unwrap_or(dst));
    check_dtypes("fused", &[src, bias, residual, dst])?;
    check_shapes("fused", &[src, bias, residual, dst])?;
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    // Its positions are the row-major numbers of the elements: bytes from address 0 on.
    let numbers = Layout::contiguous(*dst.layout.shape());
    let layout = if fused.mask.is_some() { &numbers } else { dst.layout };
    let operands = [src, bias, residual, Operand { address: 0, layout, dtype: DType::U8 }, dst];
    let choice = choose_with(&operands, FUSED_LEN);
    let (activation, slope) = fused.activation.code();
    let Mask { seed, threshold, scale } = fused.mask.unwrap_or_default();
    let keys = philox_keys(seed);
    let parts = |[_, bias, residual, _, _]: [u64; 5]| {
        let bias = fused.bias.map_or(0, |_| bias);
        let residual = fused.residual.map_or(0, |_| residual);
        Parts { bias, residual, threshold, scale, activation, slope, keys }
    };
    let drops = threshold != 0;
    if let Some(walk) = bias_walk(&choice, drops) {
        let pointers = choice.pointers(&operands);
        let (n, parts) = (dst.layout.numel() as u64, parts(pointers));
        let packs = if drops && dst.dtype.size() == 2 { FUSED_PACKS } else { 1 };
        let grid = packed_grid_by(n, FUSED_LEN, packs)?;
        let [src, _, _, _, dst] = &pointers;
        let args = [Arg::new(src), Arg::new(dst), Arg::new(&n), Arg::new(&walk), Arg::new(&parts)];
        let kernel = Kernel::Fused(operands[4].dtype, Access::Packed, drops);
        // SAFETY: `fused_packed(in, out, n, walk, parts)`; the pointers, those of `parts` too, are of operands that the
        // caller vouches for, dense but for the bias, which is walked within its layout, or null.
        return unsafe { stream.launch(kernel, grid, args) };
    }
    let kernel = Kernel::Fused(dst.dtype, choice.access, drops);
    choice.each(&operands, |grid, pointers, way| {
        let (parts, [src, _, _, first, dst]) = (parts(pointers), &pointers);
        let Way::Walk(walk) = way else {
            return Err(Error::shape("fused: more elements than a launch takes"));
        };
        let args = [Arg::new(src), Arg::new(dst), Arg::new(walk), Arg::new(first), Arg::new(&parts)];
        // SAFETY: `fused_walk(in, out, walk, first, parts)`; as above, all walked within their layouts.
        unsafe { stream.launch(kernel, grid, args) }
    })
}

/// How the bias goes along where all else is dense in one order, in units of [`FUSED_LEN`]; a walk of none where it is dense
/// too. Where nothing is dropped the walk of all operands is as fast: on an H200 262 us where this takes 276, and with dropout
/// 491 where this takes 458 (2^28 of f16).
fn bias_walk(choice: &Choice<5>, drops: bool) -> Option<Walk<1>> {
    let [src, bias, residual, numbers, dst] = choice.layouts();
    let is_dense = |layout: &Layout| layout.flat().is_some();
    match choice.access {
        Access::Packed => Some(Walk::new(&[Layout::contiguous(Shape::new(&[0]).ok()?)], FUSED_LEN)),
        Access::Rows if drops && [src, residual, numbers, dst].into_iter().all(is_dense) => {
            let fits = (dst.numel() / FUSED_LEN) as u64 <= WALK_LIMIT;
            fits.then(|| Walk::new(&[*bias], FUSED_LEN))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(shape: &[usize], bias: &[usize], transposed: bool) -> Option<(u64, Vec<u64>)> {
        let dense = Layout::contiguous(Shape::new(shape).unwrap());
        let bias = Layout::contiguous(Shape::new(bias).unwrap()).broadcast_to(*dense.shape()).unwrap();
        let src = if transposed {
            let [a, b] = [shape[1], shape[0]];
            Layout::contiguous(Shape::new(&[a, b]).unwrap()).transposed(0, 1).unwrap()
        } else {
            dense
        };
        let layouts = [&src, &bias, &dense, &dense, &dense];
        let choice =
            choose_with(&layouts.map(|layout| Operand { address: 0, layout, dtype: DType::F16 }), FUSED_LEN);
        let walk = bias_walk(&choice, true)?;
        Some((walk.numel, walk.stride[0][..walk.rank as usize].to_vec()))
    }

    #[test]
    fn a_bias_is_walked_alone_where_all_else_is_dense() {
        assert_eq!(walk(&[30, 40], &[30, 40], false), Some((0, vec![8])));
        assert_eq!(walk(&[30, 40], &[40], false), Some((150, vec![8, 0])));
        assert_eq!(walk(&[30, 40], &[30, 1], false), Some((150, vec![0, 1])));
        assert_eq!(walk(&[30, 40], &[1], false), Some((150, vec![0])));
        assert_eq!(walk(&[3, 10, 40], &[10, 40], false), Some((150, vec![8, 0])));
        assert_eq!(walk(&[30, 41], &[41], false), None);
        assert_eq!(walk(&[30, 40], &[40], true), None);
    }
}
