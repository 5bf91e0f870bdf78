//! Pinned host memory that the card copies to and from by itself.

use crate::{Event, Operand, Stream, context::Context};
use cudarc::driver::sys;
use std::{
    ptr,
    sync::{Arc, atomic::Ordering},
};
use taut_core::{Error, Result};

/// Pinned host memory, and the end of the last copy from or to it. The host itself never looks at it.
#[derive(Debug)]
pub struct Pinned {
    start: *mut u8,
    bytes: usize,
    done: Event,
    context: Arc<Context>,
}

// SAFETY: pinned memory is ordinary host memory, and the buffer has one owner.
unsafe impl Send for Pinned {}
// SAFETY: through a shared reference only the card touches the memory, one copy after the other.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// `bytes` bytes, at least one, of any contents.
    pub(crate) fn new(context: &Arc<Context>, bytes: usize) -> Result<Pinned> {
        let done = Event::untimed(context)?;
        let mut start = ptr::null_mut();
        // SAFETY: `start` is a valid place for a pointer, and the context is current.
        context.check(unsafe { sys::cuMemHostAlloc(&mut start, bytes, 0) }, "pin host memory")?;
        context.pinned_bytes().fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(Pinned { start: start.cast(), bytes, done, context: context.clone() })
    }

    /// Its first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }

    /// The end of the last copy.
    pub(crate) fn done(&self) -> &Event {
        &self.done
    }

    /// Copies a flat operand here, on `stream`, after the last copy from or to this memory. Does not block the host.
    ///
    /// # Errors
    ///
    /// [`Shape`](taut_core::ErrorKind::Shape) if the operand is longer, [`Driver`](taut_core::ErrorKind::Driver) if the
    /// driver refuses.
    pub fn take(&self, stream: &Stream, src: Operand<'_>) -> Result<()> {
        let bytes = self.checked(src)?;
        self.done.hold(stream)?;
        // SAFETY: an operand lies within its block and is no longer than this memory, which no other copy touches.
        let code =
            unsafe { sys::cuMemcpyDtoHAsync_v2(self.start.cast(), src.pointer(), bytes, stream.raw()) };
        self.context.check(code, "copy to pinned memory")?;
        self.done.record(stream)
    }

    /// Copies what [`take`](Self::take) took over a flat operand, on `stream`, after that. Does not block the host.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn give(&self, stream: &Stream, dst: Operand<'_>) -> Result<()> {
        let bytes = self.checked(dst)?;
        self.done.hold(stream)?;
        // SAFETY: as above; what the card reads there is what it wrote, or whatever the driver left.
        let code =
            unsafe { sys::cuMemcpyHtoDAsync_v2(dst.pointer(), self.start.cast(), bytes, stream.raw()) };
        self.context.check(code, "copy from pinned memory")?;
        self.done.record(stream)
    }

    /// The bytes of an operand, if there are as many here.
    fn checked(&self, operand: Operand<'_>) -> Result<usize> {
        let bytes = operand.span_bytes();
        if bytes > self.bytes {
            let has = self.bytes;
            return Err(Error::shape(format!("pinned memory: {bytes} bytes, it has {has}")));
        }
        self.context.bind()?;
        Ok(bytes)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.done.synchronize();
        if self.context.bind().is_ok() {
            // SAFETY: allocated by `new`, no copy is under way, and not used after this.
            unsafe { sys::cuMemFreeHost(self.start.cast()) };
            self.context.pinned_bytes().fetch_sub(self.bytes as u64, Ordering::Relaxed);
        }
    }
}
