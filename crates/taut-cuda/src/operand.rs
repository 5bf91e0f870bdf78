//! What a launcher sees of a tensor.

use taut_core::{DType, Error, Layout, Result};
use taut_memory::Block;

/// A view of device memory: the block, how the elements lie in it, and their dtype.
///
/// An operand that exists lies within its block, so that a launcher can be safe.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    pub(crate) address: u64,
    /// Shape, strides and offset, in elements.
    pub layout: &'a Layout,
    /// The type of the elements.
    pub dtype: DType,
}

impl<'a> Operand<'a> {
    /// The elements of `block` that `layout` names.
    ///
    /// # Errors
    ///
    /// [`Device`](taut_core::ErrorKind::Device) if the block is host memory, [`Shape`](taut_core::ErrorKind::Shape)
    /// if the layout reaches beyond it.
    pub fn new(block: &'a Block, layout: &'a Layout, dtype: DType) -> Result<Operand<'a>> {
        if block.host().is_some() {
            return Err(Error::device("operand: the block is host memory"));
        }
        let end = (layout.end() * dtype.size()) as u64;
        if end > block.bytes() {
            return Err(Error::shape(format!("operand: byte {end} of a block of {}", block.bytes())));
        }
        Ok(Operand { address: block.address(), layout, dtype })
    }

    /// The address of the first element.
    pub fn pointer(&self) -> u64 {
        self.address + (self.layout.offset() * self.dtype.size()) as u64
    }

    /// The bytes from the first element to the last.
    pub fn span_bytes(&self) -> usize {
        self.layout.end().saturating_sub(self.layout.offset()) * self.dtype.size()
    }
}

/// The address of the scratch memory of an op, which must hold `bytes`; 0 where none is needed.
///
/// # Errors
///
/// [`Device`](taut_core::ErrorKind::Device) if the block is host memory, [`Shape`](taut_core::ErrorKind::Shape) if it is
/// smaller.
pub(crate) fn workspace(op: &str, block: &Block, bytes: u64) -> Result<u64> {
    if bytes == 0 {
        return Ok(0);
    }
    if block.host().is_some() {
        return Err(Error::device(format!("{op}: the workspace is host memory")));
    }
    if block.bytes() < bytes {
        return Err(Error::shape(format!("{op}: a workspace of {} bytes, not {bytes}", block.bytes())));
    }
    Ok(block.address())
}
