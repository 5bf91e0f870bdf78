//! Launches of `bits.cu`.

use super::walk::{check_dtypes, check_shapes, grid};
use crate::{Arg, Grid, Operand, Stream};
use taut_core::{DType, Error, Layout, Predicate, Result};
use taut_kernels::{
    Access, Kernel,
    args::{Params, THREADS, Walk},
    pack_len,
};

const NAME: &str = "bits";

/// The answers of `ask` about the elements of `a` and `b`, of one shape and dtype, in row-major order, into the
/// [bytes](Predicate::bytes) of `dst`. A question about one operand does not look at `b`.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if operands are not so,
/// [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn bits(stream: &Stream, ask: Predicate, a: Operand<'_>, b: Operand<'_>, dst: Operand<'_>) -> Result<()> {
    let n = a.layout.numel();
    check_shapes(NAME, &[a, b])?;
    check_dtypes(NAME, &[a, b])?;
    check_bits(&dst, n)?;
    if n == 0 {
        return Ok(());
    }
    let layouts = Layout::collapse([*a.layout, *b.layout]);
    let access = access(&layouts, a.dtype);
    let kernel = Kernel::Bits(ask, a.dtype, access);
    let params = Params { value: ask.params() };
    let (walk, numel) = (Walk::wide(&layouts, 1), n as u64);
    let way = if access == Access::Packed { Arg::new(&numel) } else { Arg::new(&walk) };
    let units = if access == Access::Packed { n.div_ceil(pack_len(&[a.dtype])) } else { Predicate::bytes(n) };
    let [a, b, dst] = [a.pointer(), b.pointer(), dst.pointer()];
    let args = [Arg::new(&a), Arg::new(&b), Arg::new(&dst), way, Arg::new(&params)];
    // SAFETY: `bits_packed(a, b, out, n, params)` and `bits_walk(a, b, out, walk, params)`; the pointers are of operands
    // that the caller vouches for, walked within their layouts, and `dst` has the bytes of the bits.
    unsafe { stream.launch(kernel, blocks(units)?, args) }
}

/// `dst = grad` where its bit is `wanted`, and elsewhere `grad * factor`, or 0 where that is 0. `dst` is contiguous, and may
/// be `grad`.
///
/// # Errors
///
/// As [`bits()`].
pub fn choose(
    stream: &Stream,
    grad: Operand<'_>,
    bits: Operand<'_>,
    wanted: bool,
    factor: f32,
    dst: Operand<'_>,
) -> Result<()> {
    let n = grad.layout.numel();
    check_shapes(NAME, &[grad, dst])?;
    check_dtypes(NAME, &[grad, dst])?;
    check_bits(&bits, n)?;
    if n == 0 {
        return Ok(());
    }
    let layouts = Layout::collapse([*grad.layout, *dst.layout]);
    let access = access(&layouts, grad.dtype);
    if layouts[1].flat().is_none() {
        return Err(Error::shape(format!("{NAME}: the gradients go to strides {:?}", dst.layout.strides())));
    }
    let kernel = Kernel::BitsChoose(grad.dtype, access);
    let [from] = Layout::collapse([*grad.layout]);
    let (walk, numel) = (Walk::wide(&[from], 1), n as u64);
    let way = if access == Access::Packed { Arg::new(&numel) } else { Arg::new(&walk) };
    let units = if access == Access::Packed { n.div_ceil(pack_len(&[grad.dtype])) } else { n };
    let [grad, bits, dst] = [grad.pointer(), bits.pointer(), dst.pointer()];
    let flip = if wanted { 0u32 } else { 255 };
    let (flip, factor) = (Arg::new(&flip), Arg::new(&factor));
    let args = [Arg::new(&grad), Arg::new(&bits), Arg::new(&dst), way, flip, factor];
    // SAFETY: `bits_choose_packed(grad, bits, out, n, flip, factor)` and `bits_choose_walk(grad, bits, out, walk, flip,
    // factor)`; the pointers are of operands that the caller vouches for, walked within their layouts.
    unsafe { stream.launch(kernel, blocks(units)?, args) }
}

fn check_bits(bits: &Operand<'_>, n: usize) -> Result<()> {
    if bits.dtype != DType::U8 {
        return Err(Error::dtype(format!("{NAME}: they are {}, they must be u8", bits.dtype)));
    }
    let bytes = Predicate::bytes(n);
    if bits.layout.numel() != bytes || bits.layout.flat().is_none() {
        return Err(Error::shape(format!("{NAME}: {} for {n} elements, not [{bytes}]", bits.layout.shape())));
    }
    Ok(())
}

/// Packs where all lie in row-major order and begin on 16 bytes; otherwise element by element.
fn access<const N: usize>(layouts: &[Layout; N], dtype: DType) -> Access {
    let in_packs =
        |layout: &Layout| layout.flat().is_some() && layout.offset().is_multiple_of(pack_len(&[dtype]));
    if layouts.iter().all(in_packs) { Access::Packed } else { Access::Strided }
}

/// A thread for each unit.
fn blocks(units: usize) -> Result<Grid> {
    grid([units.div_ceil(THREADS as usize) as u64, 1], THREADS)
}
