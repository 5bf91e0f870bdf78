//! The pool: what a device hands out.

use crate::{
    ALIGN_BYTES, Backing, Block, Calls, Error, ErrorKind, Result, ScopeId, Site, Stats, StreamId, Timeline,
    area::{Area, Span},
    leak, live,
    owners::Owners,
    place::Request,
    report::Size,
    state::Inner,
    trace::{Event, Ring},
};
use std::{fmt, sync::Arc};

/// All memory of a device. A clone is another handle to the same pool.
///
/// Memory is taken from the [`Backing`] in whole pages as it is needed, and kept for reuse until
/// [`release`](Self::release) is called or the budget calls for it. Calls from several threads are safe; placement is
/// repeatable where one thread makes them. Threads that wait for each other again and again get memory of their own, each
/// as much as it needs at most: what one of them has free serves another when the budget or the device has no more.
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{Budget, ErrorKind, HostBacking, Kind, Pool, Site, StreamId};
///
/// let pool = Pool::new(Arc::new(HostBacking::new()?));
/// pool.set_budget(Budget::Bytes(16 << 20))?;
/// let site = Site::new("zeros", Kind::Input);
/// let block = pool.allocate(9 << 20, StreamId::COMPUTE, site)?;
///
/// let error = pool.allocate(9 << 20, StreamId::COMPUTE, site).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::OutOfMemory);
/// assert!(error.to_string().contains("zeros input 9.00 MiB (9437184 bytes) in 1 block"));
///
/// drop(block);
/// assert!(pool.allocate(9 << 20, StreamId::COMPUTE, site).is_ok());
/// assert_eq!(pool.release()?, 10 << 20); // five pages of 2 MiB
/// # Ok::<(), taut_memory::Error>(())
/// ```
#[derive(Clone)]
pub struct Pool(pub(crate) Arc<Inner>);

/// How much a pool may reserve, overhead included. Never more than the capacity of the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// So many bytes.
    Bytes(u64),
    /// A fraction of the capacity of the device: above 0, at most 1.
    Fraction(f64),
    /// The capacity of the device.
    Unlimited,
}

impl Budget {
    /// The bytes that it means on a device of this capacity; errors begin with `op`.
    pub(crate) fn of(self, capacity_bytes: u64, op: &str) -> Result<u64> {
        match self {
            Budget::Bytes(bytes) => Ok(bytes.min(capacity_bytes)),
            Budget::Fraction(part) if part > 0.0 && part <= 1.0 => Ok((capacity_bytes as f64 * part) as u64),
            Budget::Fraction(part) => {
                Err(Error::device(format!("{op}: {part} is no fraction, above 0 and at most 1")))
            }
            Budget::Unlimited => Ok(capacity_bytes),
        }
    }
}

impl Pool {
    /// A pool over `backing`, with the budget [`Budget::Unlimited`]. Commits nothing yet.
    ///
    /// # Panics
    ///
    /// If the page size of the backing is not a power of two of at least [`ALIGN_BYTES`].
    pub fn new(backing: Arc<dyn Backing>) -> Pool {
        let host = backing.host();
        // The facts of the pages that will really be used, whatever a wrapper around them says.
        let pages = host.map_or(&*backing, |host| host as &dyn Backing);
        let (base, granule_bytes) = (pages.base(), pages.granule_bytes());
        let span = Span { bytes: pages.span_bytes(), granule_bytes, is_segmented: pages.is_segmented() };
        assert!(
            granule_bytes.is_power_of_two() && granule_bytes >= ALIGN_BYTES,
            "pool: a page of {granule_bytes} bytes is not a power of two of at least {ALIGN_BYTES}"
        );
        let host = host.and_then(|host| host.take());
        let mut inner = Inner::new(backing, base, span);
        inner.host = host;
        let pool = Pool::from_inner(inner);
        live::show(&pool.0);
        leak::note(&pool);
        pool
    }

    /// A block of `bytes`, to be used on `stream`. Its contents are those that an earlier block left there, or on the
    /// host, in fresh memory, zeros. 0 bytes take no memory.
    ///
    /// Where the memory was last used on other streams, `stream` is made to wait for them. Does not block the host,
    /// except where pages must be taken from or given back to the device.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory), saying who holds what, if the budget or the device has no room;
    /// [`Device`](crate::ErrorKind::Device) if there is no such stream; [`Driver`](crate::ErrorKind::Driver) for a
    /// fault of the device. Live blocks and statistics are then as before, though pages kept for reuse may have been
    /// given back.
    pub fn allocate(&self, bytes: u64, stream: StreamId, site: Site) -> Result<Block> {
        if stream.0 >= StreamId::COUNT {
            let (n, most) = (stream.0, StreamId::COUNT - 1);
            return Err(Error::device(format!("{}: there is no stream {n}, the last is {most}", site.op)));
        }
        let scope = ScopeId::current();
        let request = Request { bytes, stream, site, scope };
        if self.0.caches.are_open()
            && let Some(block) = self.take_cached(request)
        {
            return Ok(block);
        }
        let mut state = self.0.meet();
        if let Some(limit) = state.limits.exceeded(scope, bytes) {
            return Err(self.0.shortage(state, request, limit));
        }
        let (mut state, place, offset) = match state.area.find(&request) {
            Some((place, offset)) => (state, Some(place), offset),
            None => self.0.place(state, request)?,
        };
        let region = self.0.region(offset, bytes);
        state.limits.add(scope, bytes);
        let id = state.stats.allocations;
        state.stats.allocations += 1;
        if let Some(script) = &mut state.script {
            script.allocated(bytes);
        }
        state.stats.add(site.kind, bytes);
        let owner = state.owners.add(scope, site, bytes);
        state.event(Event::Allocate { owner: owner as u32 }, id, bytes);
        state.publish();
        let held = state.hold.take(self);
        drop(state);
        Ok(Block::new(held, region, (place, None, offset), (id, owner), &request))
    }

    /// The first handle of a pool.
    pub(crate) fn from_inner(inner: Inner) -> Pool {
        Pool(Arc::new(inner))
    }

    /// What is in use now, and was at most. Asks the driver for `driver_bytes`, where there is one.
    pub fn stats(&self) -> Stats {
        let driver_bytes = self.0.backing.driver_bytes();
        Stats { driver_bytes, ..self.0.settled().settled_stats() }
    }

    /// How often the backing was asked to change pages since the pool was made, whether it did or refused.
    pub fn calls(&self) -> Calls {
        self.0.lock().calls
    }

    /// Sets every peak to the present value.
    pub fn reset_peaks(&self) {
        let mut state = self.0.settled();
        state.reset_peaks();
        state.publish();
    }

    /// Limits what the pool reserves, overhead included, from now on; pages kept for reuse are given back as far as it
    /// calls for it.
    ///
    /// # Errors
    ///
    /// [`Device`](crate::ErrorKind::Device) for a fraction outside of `(0, 1]` or NaN;
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if live blocks and overhead already need more. The old budget
    /// then stays.
    pub fn set_budget(&self, budget: Budget) -> Result<()> {
        let wanted = budget.of(self.0.backing.capacity_bytes(), "set_budget")?;
        let turn = self.0.turn();
        let state = self.0.ordered(&turn);
        let needed = self.0.least_bytes(&state);
        if needed > wanted {
            let (wanted, needed) = (Size(wanted), Size(needed));
            return Err(Error::out_of_memory(format!(
                "set_budget: {wanted} is less than the {needed} in use"
            )));
        }
        let committed_bytes = wanted.saturating_sub(self.0.backing.overhead_bytes());
        let (mut state, shrunk) = self.0.shrink(&turn, state, committed_bytes);
        if shrunk.is_ok() {
            state.budget_bytes = wanted;
        }
        state.limits();
        state.publish();
        shrunk.map(drop)
    }

    /// The memory of the device.
    pub fn capacity_bytes(&self) -> u64 {
        self.0.backing.capacity_bytes()
    }

    /// The most that the pool may reserve, overhead included.
    pub fn budget_bytes(&self) -> u64 {
        self.0.lock().budget_bytes
    }

    /// Gives every page that holds no live block back to the device, and returns how many bytes those were. May
    /// synchronize.
    ///
    /// # Errors
    ///
    /// [`Driver`](crate::ErrorKind::Driver) for a fault of the device.
    pub fn release(&self) -> Result<u64> {
        let turn = self.0.turn();
        let (mut state, released) = self.0.shrink(&turn, self.0.ordered(&turn), 0);
        state.limits();
        released
    }

    /// Gives everything back, addresses too, and begins anew: statistics are 0, and blocks will lie where they lay in
    /// the first place. The budget stays, and so does the timeline. May synchronize.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use taut_memory::{ErrorKind, HostBacking, Kind, Pool, Site, Stats, StreamId};
    ///
    /// let pool = Pool::new(Arc::new(HostBacking::new()?));
    /// let block = pool.allocate(9 << 20, StreamId::COMPUTE, Site::new("zeros", Kind::Input))?;
    /// assert_eq!(pool.reset().unwrap_err().kind(), ErrorKind::Shared); // and it says that `zeros` holds 9 MiB
    ///
    /// drop(block);
    /// pool.reset()?;
    /// assert_eq!(pool.stats(), Stats::default());
    /// # Ok::<(), taut_memory::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared), saying who holds what, while a block lives, an empty one too: nothing has
    /// changed then. [`Driver`](crate::ErrorKind::Driver) for a fault of the device.
    pub fn reset(&self) -> Result<()> {
        let turn = self.0.turn();
        let state = self.0.ordered(&turn);
        state.is_unused()?;
        let (mut state, shrunk) = self.0.shrink(&turn, state, 0);
        state.limits();
        shrunk?;
        // Another thread may have taken a block meanwhile.
        state.is_unused()?;
        drop(state);
        self.0.backing.close()?;
        let mut state = self.0.ordered(&turn);
        // Of no byte: for others it would have needed its turn.
        state.is_unused()?;
        state.area = Area::new(0, self.0.span);
        self.0.reset_caches(&state);
        state.stats = Stats::default();
        if state.ring.is_none() {
            // They hold nothing now, but the timeline knows them by their numbers.
            state.owners = Owners::default();
        }
        state.publish();
        Ok(())
    }

    /// Who holds the live blocks, in words: how many bytes, and the largest owners by op, kind and scope. `None` if
    /// there is no block.
    pub fn holders(&self) -> Option<String> {
        self.0.settled().owners.holders()
    }

    /// Starts the timeline, anew if it was recorded already: the last `events` events are kept, in 64 bytes of host memory
    /// each, taken now. An event then costs a reading of the clock more.
    ///
    /// # Errors
    ///
    /// [`Value`](crate::ErrorKind::Value) for 0 events, [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the host has no
    /// memory for so many. What was recorded then goes on.
    pub fn record(&self, events: usize) -> Result<()> {
        if events == 0 {
            return Err(Error::new(ErrorKind::Value, "record: a timeline of 0 events: expected at least 1"));
        }
        // Before the lock is taken: it may take long.
        let mut ring = Box::new(Ring::new(events)?);
        let mut state = self.0.ordered(&self.0.turn());
        ring.begin(&state.owners, &state.stats, state.budget_bytes);
        state.ring = Some(ring);
        Ok(())
    }

    /// The timeline so far, which goes on. `None` if none is recorded.
    pub fn timeline(&self) -> Option<Timeline> {
        let state = self.0.lock();
        state.ring.as_ref().map(|ring| self.0.named(ring, &state.owners))
    }

    /// Ends the timeline, gives its memory back, and returns it. `None` if none is recorded.
    pub fn take_timeline(&self) -> Option<Timeline> {
        let mut state = self.0.lock();
        let ring = state.ring.take();
        ring.map(|ring| self.0.named(&ring, &state.owners))
    }
}

impl PartialEq for Pool {
    /// Whether both are handles of one pool.
    fn eq(&self, other: &Pool) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Pool {}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.settled();
        let mut out = f.debug_struct("Pool");
        out.field("backing", &self.0.backing).field("live_bytes", &state.stats.live_bytes);
        out.field("reserved_bytes", &state.stats.reserved_bytes).field("budget_bytes", &state.budget_bytes);
        out.finish()
    }
}
