//! Launches of `multi.cuh`: the same for every tensor of a list.

use super::table::{Entry, Number, Part, chunks, each_part};
use crate::{Arg, Grid, Operand, Stream, operand};
use taut_core::{DType, Error, Multi, Result};
use taut_kernels::{
    Capacity, Kernel,
    args::{MOST_THREADS, MULTI_PACKS, NORM_PACKS, SQUARES_BYTES, THREADS},
    pack_len,
};
use taut_memory::Block;

/// `x = factor x` for every operand. Each is contiguous, a float.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) if an operand is not contiguous, [`DType`](taut_core::ErrorKind::DType) if it is not a
/// float, [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
pub fn scale(stream: &Stream, list: &[Operand<'_>], factor: Number<'_>) -> Result<()> {
    let factor = factor.arg(Multi::Scale.name())?;
    each_group(stream, Multi::Scale, &alone(list), &mut |kernel, part| {
        let args = [part.words.arg(), Arg::new(&part.tensors), Arg::new(&factor)];
        // SAFETY: `multi_scale(table, tensors, factor)`; the table names elements of operands that the caller vouches for, and
        // the factor is one of them.
        unsafe { stream.launch(kernel, part.grid, args) }
    })
}

/// `y = y + factor x` for every pair `[y, x]` of as many elements, each contiguous.
///
/// # Errors
///
/// As [`scale`]; [`Shape`](taut_core::ErrorKind::Shape) if a pair differs in the number of elements,
/// [`DType`](taut_core::ErrorKind::DType) if [`Multi::takes`] says so.
pub fn axpy(stream: &Stream, list: &[[Operand<'_>; 2]], factor: Number<'_>) -> Result<()> {
    let factor = factor.arg(Multi::Axpy.name())?;
    each_group(stream, Multi::Axpy, list, &mut |kernel, part| {
        let args = [part.words.arg(), Arg::new(&part.tensors), Arg::new(&factor)];
        // SAFETY: `multi_axpy(table, tensors, factor)`, as above.
        unsafe { stream.launch(kernel, part.grid, args) }
    })
}

/// `y = factor x` for every pair `[y, x]` of as many elements, each contiguous, a float.
///
/// # Errors
///
/// As [`axpy`].
pub fn cast(stream: &Stream, list: &[[Operand<'_>; 2]], factor: Number<'_>) -> Result<()> {
    let factor = factor.arg(Multi::Cast.name())?;
    each_group(stream, Multi::Cast, list, &mut |kernel, part| {
        let args = [part.words.arg(), Arg::new(&part.tensors), Arg::new(&factor)];
        // SAFETY: `multi_cast(table, tensors, factor)`, as above.
        unsafe { stream.launch(kernel, part.grid, args) }
    })
}

/// Zeros for every operand, of any dtype, each contiguous.
///
/// # Errors
///
/// As [`scale`].
pub fn zero(stream: &Stream, list: &[Operand<'_>]) -> Result<()> {
    let mut entries = Vec::with_capacity(list.len());
    for (i, x) in list.iter().enumerate() {
        let numel = check_flat(Multi::Zero, i, x)? * x.dtype.size() as u64;
        entries.push(Entry { address: [x.pointer()], numel });
    }
    each_part(stream.card(), &entries, 1, chunk_len(Multi::Zero, [DType::U8; 2]), &mut |part| {
        let kernel = Kernel::Multi(Multi::Zero, [DType::U8; 2], part.capacity);
        // SAFETY: `multi_zero(table, tensors)`, with all bytes of the operands.
        unsafe { stream.launch(kernel, part.grid, [part.words.arg(), Arg::new(&part.tensors)]) }
    })
}

/// The bytes of workspace that [`norm`] takes over tensors of these dtypes and numbers of elements. Pure.
pub fn norm_workspace_bytes(list: impl IntoIterator<Item = (DType, usize)>) -> u64 {
    let of = |(dtype, numel)| chunks([numel as u64], chunk_len(Multi::Norm, [dtype; 2]));
    list.into_iter().map(of).sum::<u64>() * SQUARES_BYTES as u64
}

/// `dst`, one f32, becomes the Euclidean norm of all elements of all operands, each contiguous, a float; the workspace has
/// [`norm_workspace_bytes`].
///
/// # Errors
///
/// As [`scale`]; [`Shape`](taut_core::ErrorKind::Shape) if the workspace is too small.
pub fn norm(stream: &Stream, list: &[Operand<'_>], dst: Operand<'_>, workspace: &Block) -> Result<()> {
    let name = Multi::Norm.name();
    if dst.layout.numel() != 1 || dst.dtype != DType::F32 {
        return Err(Error::shape(format!("{name}: the result is one f32")));
    }
    let bytes = norm_workspace_bytes(list.iter().map(|x| (x.dtype, x.layout.numel())));
    let partials = operand::workspace(name, workspace, bytes)?;
    let mut done = 0;
    each_group(stream, Multi::Norm, &alone(list), &mut |kernel, part| {
        let out = partials + done * SQUARES_BYTES as u64;
        done += u64::from(part.grid.blocks[0]);
        // SAFETY: `multi_norm(table, tensors, partials)`; the workspace holds a result for each chunk of all parts.
        unsafe {
            stream.launch(kernel, part.grid, [part.words.arg(), Arg::new(&part.tensors), Arg::new(&out)])
        }
    })?;
    let out = dst.pointer();
    let args = [Arg::new(&partials), Arg::new(&out), Arg::new(&done)];
    // SAFETY: `multi_join(partials, out, n)`, over what the launches before wrote on this stream.
    unsafe { stream.launch(Kernel::MultiJoin, Grid::linear(1, MOST_THREADS), args) }
}

/// Elements of a chunk.
fn chunk_len(op: Multi, dtypes: [DType; 2]) -> u64 {
    let packs = if op == Multi::Norm { NORM_PACKS } else { MULTI_PACKS };
    u64::from(THREADS * packs) * pack_len(&dtypes) as u64
}

/// Operands without a second one.
fn alone<'a>(list: &[Operand<'a>]) -> Vec<[Operand<'a>; 2]> {
    list.iter().map(|&x| [x, x]).collect()
}

/// Calls `launch` for the tensors of each combination of dtypes, in the order in which they first come.
fn each_group(
    stream: &Stream,
    op: Multi,
    list: &[[Operand<'_>; 2]],
    launch: &mut dyn FnMut(Kernel, Part<'_>) -> Result<()>,
) -> Result<()> {
    let operands = if matches!(op, Multi::Axpy | Multi::Cast) { 2 } else { 1 };
    let mut groups: Vec<([DType; 2], Vec<Entry<2>>)> = Vec::new();
    for (i, pair) in list.iter().enumerate() {
        let [a, b] = pair;
        let dtypes = [a.dtype, b.dtype];
        if !op.takes(a.dtype, b.dtype) || Kernel::Multi(op, dtypes, Capacity::Small).slot().is_none() {
            return Err(Error::dtype(format!(
                "{}: tensor {i}: does not take {} and {}",
                op.name(),
                a.dtype,
                b.dtype
            )));
        }
        let numel = check_flat(op, i, a)?;
        if check_flat(op, i, b)? != numel {
            let (a, b) = (a.layout.shape(), b.layout.shape());
            return Err(Error::shape(format!("{}: tensor {i}: {a} and {b} differ", op.name())));
        }
        let entry = Entry { address: [a.pointer(), b.pointer()], numel };
        match groups.iter_mut().find(|(known, _)| *known == dtypes) {
            Some((_, entries)) => entries.push(entry),
            None => groups.push((dtypes, vec![entry])),
        }
    }
    for (dtypes, entries) in &groups {
        each_part(stream.card(), entries, operands, chunk_len(op, *dtypes), &mut |part| {
            launch(Kernel::Multi(op, *dtypes, part.capacity), part)
        })?;
    }
    Ok(())
}

/// The number of elements of a contiguous operand.
fn check_flat(op: Multi, i: usize, x: &Operand<'_>) -> Result<u64> {
    match x.layout.flat() {
        Some(range) => Ok(range.len() as u64),
        None => {
            Err(Error::shape(format!("{}: tensor {i}: {} is not contiguous", op.name(), x.layout.shape())))
        }
    }
}
