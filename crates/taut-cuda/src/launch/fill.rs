//! Launches of `fill.cu`.

use super::walk::{Way, choose, packed_grid};
use crate::{Arg, Grid, Operand, Stream};
use taut_core::{Error, Result};
use taut_kernels::{Kernel, pack_len};

/// Every element of `dst` gets the low bits of `bits`.
///
/// # Errors
///
/// [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn fill(stream: &Stream, bits: u64, dst: Operand<'_>) -> Result<()> {
    let bytes = dst.dtype.size();
    if let Some(range) = dst.layout.flat() {
        return fill_flat(stream, bits, bytes, dst.pointer(), range.len() as u64);
    }
    let choice = choose(&[dst]);
    choice.each(&[dst], |grid, [pointer], way| match way {
        Way::Packed(n) => fill_flat(stream, bits, bytes, pointer, *n),
        Way::Walk(walk) => {
            let args = [Arg::new(&pointer), Arg::new(walk), Arg::new(&bits)];
            // SAFETY: `fill_walk(out, walk, bits)`, and the walk is over the elements of `dst`.
            unsafe { stream.launch(Kernel::FillWalk(bytes, choice.access), grid, args) }
        }
    })
}

/// The same for `n` elements of so many bytes, side by side.
pub(super) fn fill_flat(stream: &Stream, bits: u64, bytes: usize, pointer: u64, n: u64) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    let args = [Arg::new(&pointer), Arg::new(&n), Arg::new(&bits)];
    // SAFETY: `fill(out, n, bits)`, and the `n` elements from the pointer on are those of the operand.
    unsafe { stream.launch(Kernel::Fill(bytes), grid(n, 16 / bytes)?, args) }
}

/// For any number of elements in front of the first aligned pack.
fn grid(n: u64, len: usize) -> Result<Grid> {
    packed_grid(n | (len as u64 - 1), len)
}

/// Element `i` of `dst` gets `start + i * step`, computed in f64 and converted. `dst` is flat, and not of bools.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) if `dst` is not flat, [`Driver`](taut_core::ErrorKind::Driver) if the launch
/// fails.
pub fn arange(stream: &Stream, start: f64, step: f64, dst: Operand<'_>) -> Result<()> {
    let Some((pointer, n)) = flat("arange", &dst)? else { return Ok(()) };
    let grid = grid(n, pack_len(&[dst.dtype]))?;
    let args = [Arg::new(&pointer), Arg::new(&n), Arg::new(&start), Arg::new(&step)];
    // SAFETY: `arange(out, n, start, step)`, and the `n` elements from the pointer on are those of `dst`.
    unsafe { stream.launch(Kernel::Arange(dst.dtype), grid, args) }
}

/// The first element of a flat operand and the number of elements; `None` if there are none.
pub(super) fn flat(op: &str, dst: &Operand<'_>) -> Result<Option<(u64, u64)>> {
    match dst.layout.flat() {
        Some(range) if range.is_empty() => Ok(None),
        Some(range) => Ok(Some((dst.pointer(), range.len() as u64))),
        None => Err(Error::shape(format!("{op}: the destination {} is not contiguous", dst.layout.shape()))),
    }
}
