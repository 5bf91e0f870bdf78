//! One card, opened: its streams and its staging buffers. Memory is the pool's, over a [`CudaBacking`].

use crate::{
    Card, Event, Operand, Pinned, Stream,
    context::{self, Context},
    graph,
    staging::Staging,
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::Ordering,
    },
};
use taut_core::{Error, Result};
use taut_memory::StreamId;

/// A card with its context, streams and kernels. Its tensors' memory is elsewhere: in pools.
///
/// It is open from [`open`](Self::open) to [`close`](Self::close), and again from the next call that needs it on.
pub struct Gpu {
    index: u32,
    /// As it was when it was first opened: budgets and plans count on it.
    card: Card,
    state: RwLock<State>,
    upload: Mutex<Option<Staging>>,
    download: Mutex<Option<Staging>>,
}

/// What a card that is closed does not have.
struct State {
    open: Option<Open>,
    /// Streams that there are, made when one of them is needed.
    n_streams: usize,
}

struct Open {
    context: Arc<Context>,
    streams: Vec<Arc<StreamSlot>>,
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
        let context = Context::open(index)?;
        let card = context.card().clone();
        let state = State { open: Some(Open { context, streams: Vec::new() }), n_streams: 0 };
        let state = RwLock::new(state);
        let gpu = Arc::new(Gpu { index, card, state, upload: Mutex::default(), download: Mutex::default() });
        gpu.make_stream(StreamId::DOWNLOAD)?;
        open.retain(|(_, gpu)| gpu.strong_count() > 0);
        open.push((index, Arc::downgrade(&gpu)));
        Ok(gpu)
    }

    /// Gives back all that this process has on the card beside the memory of pools: pinned buffers, streams, kernels, the
    /// context. Blocks until the card is idle. Whatever needs the card opens it again: that takes as long as the first
    /// time, and is an error if the driver then refuses. Streams keep their numbers.
    ///
    /// # Errors
    ///
    /// [`Shared`](taut_core::ErrorKind::Shared) while a pool has memory or addresses on the card, a stream or an event is
    /// held, or another thread is using it: the card then stays open. As [`synchronize`](Self::synchronize) for what
    /// failed before.
    pub fn close(&self) -> Result<()> {
        self.synchronize()?;
        // In this order, as copies do.
        let (mut upload, mut download) = (lock(&self.upload), lock(&self.download));
        let mut state = self.write();
        (*upload, *download) = (None, None);
        let Some(open) = &mut state.open else { return Ok(()) };
        open.streams.clear();
        // No one takes another hold while the state is locked.
        match Arc::strong_count(&open.context) - 1 {
            0 => state.open = None,
            n => {
                return Err(Error::shared(format!(
                    "close: pools with memory, streams, events or other threads still use {self}: {n} in all"
                )));
            }
        }
        Ok(())
    }

    /// Its number among the cards.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// The facts of the card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// By which the driver's tools know the card, where the driver says it.
    pub fn uuid(&self) -> Option<[u8; 16]> {
        context::uuid(self.index).ok()
    }

    /// Host memory that is pinned for copies to and from the card: once there was one, two buffers of 8 MiB each way, and
    /// what was [asked for](Self::pin) beside them.
    pub fn pinned_bytes(&self) -> u64 {
        self.opened().map_or(0, |context| context.pinned_bytes().load(Ordering::Relaxed))
    }

    /// `bytes` bytes of pinned host memory, at least one, until it is dropped. May block.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](taut_core::ErrorKind::OutOfMemory) if the system has not as much.
    pub fn pin(&self, bytes: usize) -> Result<Pinned> {
        let context = self.context()?;
        context.bind()?;
        Pinned::new(&context, bytes)
    }

    /// The newest CUDA version that the driver knows.
    pub fn cuda_version(&self) -> Option<String> {
        crate::driver::version().ok().map(|version| format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    /// The version of the driver, where it tells the system.
    pub fn driver_version(&self) -> Option<String> {
        crate::driver::release()
    }

    /// The context, opened if it is not.
    pub(crate) fn context(&self) -> Result<Arc<Context>> {
        match self.opened() {
            Some(context) => Ok(context),
            None => Ok(self.write().opened(self.index)?.context.clone()),
        }
    }

    /// The context, if the card is open.
    pub(crate) fn opened(&self) -> Option<Arc<Context>> {
        self.read().open.as_ref().map(|open| open.context.clone())
    }

    /// Makes the streams up to that number, those that are not there yet. Devices over one card share its streams.
    ///
    /// # Errors
    ///
    /// [`Driver`](taut_core::ErrorKind::Driver) if the driver refuses.
    pub fn make_stream(&self, id: StreamId) -> Result<()> {
        let mut state = self.write();
        let n_streams = state.n_streams.max(usize::from(id.0) + 1);
        state.opened(self.index)?.make_streams(n_streams)?;
        state.n_streams = n_streams;
        Ok(())
    }

    fn slot(&self, id: StreamId) -> Result<Arc<StreamSlot>> {
        let n = usize::from(id.0);
        if let Some(slot) = self.read().open.as_ref().and_then(|open| open.streams.get(n)) {
            return Ok(slot.clone());
        }
        let mut state = self.write();
        let n_streams = state.n_streams;
        if n >= n_streams {
            return Err(Error::device(format!("stream: the card has no stream {n}")));
        }
        let open = state.opened(self.index)?;
        open.make_streams(n_streams)?;
        Ok(open.streams[n].clone())
    }

    /// The stream of that number, or what [captures](Self::capture) its work on this thread.
    pub fn stream(&self, id: StreamId) -> Result<Arc<Stream>> {
        match graph::capturing(self.index, id) {
            Some(stream) => Ok(stream),
            None => Ok(self.slot(id)?.stream.clone()),
        }
    }

    /// Makes later work of `waiter` wait for all that `after` has been given so far. Does not block the host.
    pub fn order(&self, waiter: StreamId, after: StreamId) -> Result<()> {
        if waiter == after {
            return Ok(());
        }
        let (waiter, after) = (self.slot(waiter)?, self.slot(after)?);
        // One event serves all waits for this stream: a wait holds what was recorded when it was made.
        let fence = lock(&after.fence);
        fence.record(&after.stream)?;
        fence.hold(&waiter.stream)
    }

    /// Events behind all that every stream has been given so far.
    pub(crate) fn mark(&self) -> Result<Vec<Event>> {
        let state = self.read();
        let streams = state.open.iter().flat_map(|open| &open.streams);
        let events = streams.map(|slot| {
            let event = Event::untimed(slot.stream.context())?;
            event.record(&slot.stream).map(|()| event)
        });
        events.collect()
    }

    /// Blocks until every stream is done, and reports what failed, in a kernel too: an index out of range.
    ///
    /// # Errors
    ///
    /// [`Shape`](taut_core::ErrorKind::Shape) for what a kernel reported since the last call that waited,
    /// [`Driver`](taut_core::ErrorKind::Driver) for what the driver reports.
    pub fn synchronize(&self) -> Result<()> {
        self.wait()?;
        self.opened().map_or(Ok(()), |context| context.faults().take())
    }

    /// Blocks until every stream is done; what kernels reported stays to be said.
    pub(crate) fn wait(&self) -> Result<()> {
        let streams = self.read().open.as_ref().map_or_else(Vec::new, |open| open.streams.clone());
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
        let mut staging = lock(&self.upload);
        let stream = self.stream(StreamId::UPLOAD)?;
        stream.context().bind()?;
        let staging = Staging::ready(&mut staging, stream.context())?;
        // SAFETY: an operand lies within its block.
        unsafe { staging.upload(&stream, dst.span_bytes(), next, dst.pointer()) }
    }

    /// Copies a flat operand to the host, through pinned memory, on the download stream. Blocks until it is there.
    ///
    /// # Errors
    ///
    /// As [`synchronize`](Self::synchronize).
    pub fn download(&self, src: Operand<'_>, dst: &mut [u8]) -> Result<()> {
        let mut staging = lock(&self.download);
        let stream = self.stream(StreamId::DOWNLOAD)?;
        stream.context().bind()?;
        let bytes = src.span_bytes().min(dst.len());
        // SAFETY: an operand lies within its block, and the slice is no longer than it.
        unsafe {
            Staging::ready(&mut staging, stream.context())?.download(
                &stream,
                src.pointer(),
                &mut dst[..bytes],
            )?;
        }
        stream.context().faults().take()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn opened(&mut self, index: u32) -> Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open { context: Context::open(index)?, streams: Vec::new() },
        };
        Ok(self.open.insert(open))
    }
}

impl Open {
    fn make_streams(&mut self, count: usize) -> Result<()> {
        while self.streams.len() < count {
            let stream = Arc::new(Stream::new(&self.context, StreamId(self.streams.len() as u8))?);
            let fence = Mutex::new(Event::untimed(&self.context)?);
            self.streams.push(Arc::new(StreamSlot { stream, fence }));
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{} ({})", self.index, self.card.name)
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").field("card", self.card()).finish_non_exhaustive()
    }
}
