//! Pinned host memory through which bytes move between host and card.

use crate::{Stream, context::Context, pinned::Pinned};
use cudarc::driver::sys;
use std::{ptr, slice, sync::Arc};
use taut_core::{Error, Result};

/// The size of one buffer: long enough for the full speed of the bus, short enough to fill while the other moves.
const BUFFER_BYTES: usize = 8 << 20;

/// Two pinned buffers, one being filled or emptied by the host while the card copies the other.
pub(crate) struct Staging {
    buffers: [Buffer; 2],
    /// Which buffer comes next: its last copy is the older one.
    next: usize,
}

impl Staging {
    /// The staging of a direction, made when first needed.
    pub(crate) fn ready<'a>(
        slot: &'a mut Option<Staging>,
        context: &Arc<Context>,
    ) -> Result<&'a mut Staging> {
        if slot.is_none() {
            *slot = Some(Staging { buffers: [Buffer::new(context)?, Buffer::new(context)?], next: 0 });
        }
        slot.as_mut().ok_or_else(|| Error::driver("staging: not there"))
    }

    /// Uploads `bytes` bytes, which `next` gives piece by piece: each call at most as many as it is asked for, and not
    /// none. A piece is done with when the next is asked for.
    ///
    /// # Errors
    ///
    /// Those of `next`; [`Shape`](taut_core::ErrorKind::Shape) if it gives too few or too many bytes.
    ///
    /// # Safety
    ///
    /// `dst` starts `bytes` bytes of committed memory, ordered before `stream`.
    pub(crate) unsafe fn upload<'a>(
        &mut self,
        stream: &Stream,
        bytes: usize,
        next: &mut dyn FnMut(usize) -> Result<&'a [u8]>,
        dst: u64,
    ) -> Result<()> {
        let mut done = 0;
        while done < bytes {
            let buffer = &mut self.buffers[self.next];
            self.next = 1 - self.next;
            let len = BUFFER_BYTES.min(bytes - done);
            let mut room = &mut buffer.bytes()?[..len];
            while !room.is_empty() {
                let piece = next(room.len())?;
                let (filled, rest) = room.split_at_mut_checked(piece.len()).ok_or_else(uneven)?;
                filled.copy_from_slice(piece);
                if piece.is_empty() {
                    return Err(uneven());
                }
                room = rest;
            }
            let dst = dst + done as u64;
            // SAFETY: the bytes stand in pinned memory that is not touched before the event; `dst` by contract.
            let code = unsafe { sys::cuMemcpyHtoDAsync_v2(dst, buffer.0.start().cast(), len, stream.raw()) };
            stream.context().check(code, "upload")?;
            buffer.0.done().record(stream)?;
            done += len;
        }
        Ok(())
    }

    /// # Safety
    ///
    /// `src` starts `dst.len()` bytes of committed memory, ordered before `stream`.
    pub(crate) unsafe fn download(&mut self, stream: &Stream, src: u64, dst: &mut [u8]) -> Result<()> {
        // The card copies chunk i + 1 while the host empties chunk i.
        let mut waiting: Option<(usize, &mut [u8])> = None;
        for (index, chunk) in dst.chunks_mut(BUFFER_BYTES).enumerate() {
            let which = self.next;
            self.next = 1 - self.next;
            let buffer = &mut self.buffers[which];
            buffer.bytes()?;
            let src = src + (index * BUFFER_BYTES) as u64;
            // SAFETY: the buffer is idle and long enough; `src` by contract.
            let code =
                unsafe { sys::cuMemcpyDtoHAsync_v2(buffer.0.start().cast(), src, chunk.len(), stream.raw()) };
            stream.context().check(code, "download")?;
            buffer.0.done().record(stream)?;
            if let Some((which, chunk)) = waiting.replace((which, chunk)) {
                chunk.copy_from_slice(&self.buffers[which].bytes()?[..chunk.len()]);
            }
        }
        if let Some((which, chunk)) = waiting {
            chunk.copy_from_slice(&self.buffers[which].bytes()?[..chunk.len()]);
        }
        Ok(())
    }
}

fn uneven() -> Error {
    Error::shape("upload: the pieces are not as long as the whole")
}

/// A pinned buffer that the host fills and empties.
struct Buffer(Pinned);

impl Buffer {
    fn new(context: &Arc<Context>) -> Result<Buffer> {
        let pinned = Pinned::new(context, BUFFER_BYTES)?;
        // SAFETY: the driver gave this many bytes; zeroed so that they may be seen as a slice.
        unsafe { ptr::write_bytes(pinned.start(), 0, BUFFER_BYTES) };
        Ok(Buffer(pinned))
    }

    /// The bytes, once the last copy is done.
    fn bytes(&mut self) -> Result<&mut [u8]> {
        self.0.done().synchronize()?;
        // SAFETY: of this length, initialized, borrowed from the one owner, and no copy is under way.
        Ok(unsafe { slice::from_raw_parts_mut(self.0.start(), BUFFER_BYTES) })
    }
}
