//! One piece of memory.

use crate::{
    Kind, Pool, ScopeId, Site, StreamId, arena::Place, hold::Held, host::Region, place::Request,
    state::State, trace::Event,
};
use std::{
    fmt,
    num::NonZero,
    sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
};

/// Memory that a [`Pool`] handed out, for its owner alone. Dropping it gives it back.
///
/// Giving it back waits for nothing: the block remembers the streams that used it, and whoever gets the memory next is
/// made to wait for those.
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{HostBacking, Kind, Pool, Site, StreamId};
///
/// let pool = Pool::new(Arc::new(HostBacking::new()?));
/// let mut block = pool.allocate(6, StreamId::COMPUTE, Site::new("zeros", Kind::Input))?;
/// if let Some(bytes) = block.host_mut() {
///     bytes.copy_from_slice(b"abcdef");
/// }
/// assert_eq!(block.host(), Some(&b"abcdef"[..]));
/// assert_eq!(block.address() % 256, 0);
///
/// block.set_kind(Kind::Saved);
/// assert_eq!(pool.stats().live_by_kind[Kind::Saved as usize], 6);
/// drop(block);
/// assert_eq!(pool.stats().live_bytes, 0);
/// # Ok::<(), taut_memory::Error>(())
/// ```
pub struct Block {
    pub(crate) pool: Held,
    /// On the host. Nobody else has one over the same bytes.
    pub(crate) region: Option<Region>,
    /// `None` if it is empty, or lies where a script says.
    pub(crate) place: Option<Place>,
    /// The cache that has its memory, by a number that is 1 more.
    cache: Option<NonZero<u16>>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) id: u64,
    /// Where the pool counts it among the owners. It and the kind change under the lock of the pool, or of its cache.
    pub(crate) owner: AtomicUsize,
    pub(crate) op: &'static str,
    pub(crate) kind: AtomicU8,
    pub(crate) scope: ScopeId,
    /// Bit `s`: used on stream `s`.
    pub(crate) streams: AtomicU64,
}

impl Block {
    /// A block with this memory, by its offset, and with this number and owner.
    #[inline]
    pub(crate) fn new(
        pool: Held,
        region: Option<Region>,
        (place, cache, offset): (Option<Place>, Option<NonZero<u16>>, u64),
        (id, owner): (u64, usize),
        &Request { bytes, stream, site, scope }: &Request,
    ) -> Block {
        let streams = AtomicU64::new(1 << stream.0);
        let (op, kind, owner) = (site.op, AtomicU8::new(site.kind as u8), AtomicUsize::new(owner));
        Block { pool, region, place, cache, offset, bytes, id, owner, op, kind, scope, streams }
    }

    /// Its length, as requested.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its first byte, on the device: a multiple of [`ALIGN_BYTES`](crate::ALIGN_BYTES), never 0. An empty block has
    /// the address at which the pool begins.
    pub fn address(&self) -> u64 {
        self.pool.0.address(self.offset)
    }

    /// Why it exists, with its present kind.
    pub fn site(&self) -> Site {
        Site::new(self.op, self.kind())
    }

    /// The scope that it was allocated in.
    pub fn scope(&self) -> ScopeId {
        self.scope
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        Kind::ALL[usize::from(self.kind.load(Ordering::Relaxed))]
    }

    /// Says that it is for something else from now on: an activation that backward keeps is [`Kind::Saved`].
    pub fn set_kind(&self, kind: Kind) {
        if self.kind() == kind {
            return;
        }
        match self.cache {
            Some(cache) => self.pool.0.change_cached(self, cache.get() - 1, kind),
            None => self.change(&mut self.pool.0.lock(), kind),
        }
    }

    /// The same with the pool locked, and the cache that it came from.
    pub(crate) fn change(&self, state: &mut State, kind: Kind) {
        let (from, owner) = (self.kind(), self.owner.load(Ordering::Relaxed));
        state.stats.change(from, kind, self.bytes);
        state.owners.remove(owner, self.bytes);
        let new = state.owners.add(self.scope, Site::new(self.op, kind), self.bytes);
        self.owner.store(new, Ordering::Relaxed);
        self.kind.store(kind as u8, Ordering::Relaxed);
        state.event(Event::Kind { from: owner as u32, to: new as u32 }, self.id, self.bytes);
        state.publish();
    }

    /// Says that work on `stream` uses it too: its memory is reused only after the work that was submitted there
    /// before the block was dropped. The stream that it was allocated on needs no saying.
    ///
    /// # Panics
    ///
    /// If there is no such stream ([`StreamId::COUNT`]): ignoring it would let the memory be reused too early.
    pub fn used_by(&self, stream: StreamId) {
        assert!(stream.0 < StreamId::COUNT, "used_by: there is no stream {}", stream.0);
        // Only `drop` reads it, and whoever drops the last handle has seen what was done through the others.
        self.streams.fetch_or(1 << stream.0, Ordering::Relaxed);
        if let Some(block) = &self.pool.0.within {
            block.used_by(stream);
        }
    }

    /// Says that later work on `stream` was made to wait for all that uses it on `before`: whoever gets the memory next
    /// need not wait for `before`, which may have been given more since.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use taut_memory::{HostBacking, Kind, Pool, Site, StreamId};
    ///
    /// let pool = Pool::new(Arc::new(HostBacking::new()?));
    /// let block = pool.allocate(6, StreamId::COMPUTE, Site::new("zeros", Kind::Input))?;
    /// block.used_by(StreamId::DOWNLOAD);
    /// block.ordered(StreamId::COMPUTE, StreamId::DOWNLOAD);
    /// assert_eq!(block.users().collect::<Vec<_>>(), [StreamId::COMPUTE]);
    /// # Ok::<(), taut_memory::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As [`used_by`](Self::used_by).
    pub fn ordered(&self, stream: StreamId, before: StreamId) {
        self.used_by(stream);
        if stream != before && before.0 < StreamId::COUNT {
            self.streams.fetch_and(!(1 << before.0), Ordering::Relaxed);
        }
    }

    /// The streams that used it so far, the one that it was allocated on among them, but for those that others are
    /// [ordered](Self::ordered) after.
    pub fn users(&self) -> impl Iterator<Item = StreamId> + use<> {
        let streams = self.streams.load(Ordering::Relaxed);
        (0..StreamId::COUNT).filter(move |n| streams >> n & 1 == 1).map(StreamId)
    }

    /// Its bytes, if they are the host's: what was written, or what an earlier block left, or zeros in fresh memory.
    pub fn host(&self) -> Option<&[u8]> {
        self.region.as_ref().map(Region::bytes)
    }

    /// Its bytes to be written, if they are the host's.
    pub fn host_mut(&mut self) -> Option<&mut [u8]> {
        self.region.as_mut().map(Region::bytes_mut)
    }

    /// The pool that it came from.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl Block {
    /// Gives it back, and returns whether its handle held the pool for it alone.
    ///
    /// Nothing of the pool is looked at behind the lock: where the handle is not the last, whoever has that may end it then.
    #[inline]
    fn give(&mut self) -> bool {
        let inner = &self.pool.0;
        let number = self.cache.map(|cache| cache.get() - 1);
        if let Some(mut cache) = number.and_then(|number| inner.caches.lock_open(number)) {
            cache.uncount(self);
            return cache.give(self);
        }
        let mut state = inner.lock();
        if let Some(script) = &mut state.script {
            script.freed(self.id, self.offset, self.bytes);
        }
        state.limits.sub(self.scope, self.bytes);
        let owner = self.owner.load(Ordering::Relaxed);
        state.stats.sub(self.kind(), self.bytes);
        state.owners.remove(owner, self.bytes);
        state.event(Event::Free { owner: owner as u32 }, self.id, self.bytes);
        state.publish();
        if let Some(mut cache) = number.and_then(|number| inner.caches.lock(number)) {
            return cache.give(self);
        }
        if let Some(place) = self.place {
            state.area.arena.give(place, self.streams.load(Ordering::Relaxed));
        }
        state.hold.give()
    }
}

impl Drop for Block {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        if self.give() {
            // SAFETY: this is called once for each handle, which comes with its block and goes with it, and `give` found it
            // to be the last one. Nothing is locked, and nothing comes behind this.
            unsafe { self.pool.end() }
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Block");
        out.field("id", &self.id).field("bytes", &self.bytes).field("address", &self.address());
        out.field("site", &self.site()).field("scope", &self.scope).finish()
    }
}
