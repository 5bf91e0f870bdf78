//! Making sure that nothing is right by luck: fresh memory is never clean.

use taut::{DType, Device, Result, Tensor};

/// Leaves `0xff` (NaN for floats) in the memory that the next blocks of these sizes will get.
///
/// The pool gives a block the place that the last one of its size had, if all that came since has been given back.
///
/// # Errors
///
/// [`OutOfMemory`](taut::ErrorKind::OutOfMemory) if there is no room.
pub fn poison(device: &Device, sizes_bytes: &[usize]) -> Result<()> {
    let dirty = sizes_bytes.iter().map(|&bytes| Tensor::full([bytes], 255.0, DType::U8, device));
    let dirty: Vec<Tensor> = dirty.collect::<Result<_>>()?;
    dirty.into_iter().rev().for_each(drop);
    Ok(())
}
