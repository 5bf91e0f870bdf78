//! One card, opened: its streams and its staging buffers. Memory is the pool's, over a [`CudaBacking`].

use crate::{Card, Event, Operand, Stream, context::Context, staging::Staging};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
};
use taut_core::{Error, Result};
use taut_memory::StreamId;

/// A card with its context, streams and kernels. Its tensors' memory is elsewhere: in pools.
pub struct Gpu {
    context: Arc<Context>,
    streams: RwLock<Vec<Arc<StreamSlot>>>,
    upload: Mutex<Option<Staging>>,
    download: Mutex<Option<Staging>>,
}

/// A stream with the event that other streams wait for.
struct StreamSlot {
    stream: Arc<Stream>,
    fence: Mutex<Event>,
}

impl Gpu {
    /// Opens card `index`, or returns it where it is open already.
    ///
    /// # Errors
    ///
    /// [`Device`](taut_core::ErrorKind::Device) if there is no driver, no such card, the driver or the card is too
    /// old, or this build has no kernels; the message says which.
    pub fn open(index: u32) -> Result<Arc<Gpu>> {
        static OPEN: Mutex<Vec<(u32, Weak<Gpu>)>> = Mutex::new(Vec::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gpu) = open.iter().find(|(i, _)| *i == index).and_then(|(_, gpu)| gpu.upgrade()) {
            return Ok(gpu);
        }
        let gpu = Arc::new(Gpu {
            context: Context::open(index)?,
            streams: RwLock::default(),
            upload: Mutex::default(),
            download: Mutex::default(),
        });
        gpu.make_stream(StreamId::DOWNLOAD)?;
        open.retain(|(_, gpu)| gpu.strong_count() > 0);
        open.push((index, Arc::downgrade(&gpu)));
        Ok(gpu)
    }

    /// The facts of the card.
    pub fn card(&self) -> &Card {
        self.context.card()
    }

    /// The newest CUDA version that the driver knows.
    pub fn cuda_version(&self) -> Option<String> {
        crate::driver::version().ok().map(|version| format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Makes the streams up to that number, those that are not there yet. Devices over one card share its streams.
    ///
    /// # Errors
    ///
    /// [`Driver`](taut_core::ErrorKind::Driver) if the driver refuses.
    pub fn make_stream(&self, id: StreamId) -> Result<()> {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        while streams.len() <= usize::from(id.0) {
            let stream = Arc::new(Stream::new(&self.context, StreamId(streams.len() as u8))?);
            let fence = Mutex::new(Event::untimed(&self.context)?);
            streams.push(Arc::new(StreamSlot { stream, fence }));
        }
        Ok(())
    }

    fn slot(&self, id: StreamId) -> Result<Arc<StreamSlot>> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let slot = streams.get(usize::from(id.0)).cloned();
        slot.ok_or_else(|| Error::device(format!("stream: the card has no stream {}", id.0)))
    }

    /// The stream of that number.
    pub fn stream(&self, id: StreamId) -> Result<Arc<Stream>> {
        Ok(self.slot(id)?.stream.clone())
    }

    /// Makes later work of `waiter` wait for all that `after` has been given so far. Does not block the host.
    pub fn order(&self, waiter: StreamId, after: StreamId) -> Result<()> {
        if waiter == after {
            return Ok(());
        }
        let (waiter, after) = (self.slot(waiter)?, self.slot(after)?);
        // One event serves all waits for this stream: a wait holds what was recorded when it was made.
        let fence = after.fence.lock().unwrap_or_else(PoisonError::into_inner);
        fence.record(&after.stream)?;
        fence.hold(&waiter.stream)
    }

    /// Blocks until every stream is done, and reports what failed, in a kernel too: an index out of range.
    ///
    /// # Errors
    ///
    /// [`Shape`](taut_core::ErrorKind::Shape) for what a kernel reported since the last call that waited,
    /// [`Driver`](taut_core::ErrorKind::Driver) for what the driver reports.
    pub fn synchronize(&self) -> Result<()> {
        self.wait()?;
        self.context.faults().take()
    }

    /// Blocks until every stream is done; what kernels reported stays to be said.
    pub(crate) fn wait(&self) -> Result<()> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner).clone();
        streams.iter().try_for_each(|slot| slot.stream.synchronize())
    }

    /// Copies host bytes over a flat operand, through pinned memory, on the upload stream. Returns when `src` may
    /// change: the copy itself may still be under way. What the staging buffers can not hold waits for room in them.
    pub fn upload(&self, src: &[u8], dst: Operand<'_>) -> Result<()> {
        let mut rest = src;
        self.upload_pieces(dst, &mut |limit| {
            let (piece, later) = rest.split_at(limit.min(rest.len()));
            rest = later;
            Ok(piece)
        })
    }

    /// [`upload`](Self::upload) of bytes that `next` gives in order: at least one and at most as many as each call asks
    /// for. A piece is done with when the next is asked for, so that pieces may be few bytes from many places.
    ///
    /// # Errors
    ///
    /// Those of `next`; [`Shape`](taut_core::ErrorKind::Shape) if it gives none, or more than it was asked for.
    pub fn upload_pieces<'a>(
        &self,
        dst: Operand<'_>,
        next: &mut dyn FnMut(usize) -> Result<&'a [u8]>,
    ) -> Result<()> {
        self.context.bind()?;
        let mut staging = self.upload.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = self.stream(StreamId::UPLOAD)?;
        let staging = Staging::ready(&mut staging, &self.context)?;
        // SAFETY: an operand lies within its block.
        unsafe { staging.upload(&stream, dst.span_bytes(), next, dst.pointer()) }
    }

    /// Copies a flat operand to the host, through pinned memory, on the download stream. Blocks until it is there.
    ///
    /// # Errors
    ///
    /// As [`synchronize`](Self::synchronize).
    pub fn download(&self, src: Operand<'_>, dst: &mut [u8]) -> Result<()> {
        self.context.bind()?;
        let mut staging = self.download.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = self.stream(StreamId::DOWNLOAD)?;
        let bytes = src.span_bytes().min(dst.len());
        // SAFETY: an operand lies within its block, and the slice is no longer than it.
        unsafe {
            Staging::ready(&mut staging, &self.context)?.download(
                &stream,
                src.pointer(),
                &mut dst[..bytes],
            )?;
        }
        self.context.faults().take()
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").field("card", self.card()).finish_non_exhaustive()
    }
}
