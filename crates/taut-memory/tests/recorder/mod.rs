//! A backing that remembers what it was asked for, and refuses when it is told to; and what the tests share.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};
use taut_memory::{
    ALIGN_BYTES, Backing, Block, Error, GRANULE_BYTES, HostBacking, Kind, PhantomBacking, Pool, Result, Site,
    StreamId,
};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const PAGE: u64 = GRANULE_BYTES;
pub(crate) const SITE: Site = Site::new("relu", Kind::Activations);
pub(crate) const S0: StreamId = StreamId::COMPUTE;
pub(crate) const S1: StreamId = StreamId(1);
pub(crate) const S2: StreamId = StreamId(63);

/// A pool over phantom pages, and the record of them.
pub(crate) fn phantom(capacity_bytes: u64, overhead_bytes: u64) -> (Arc<Recorder>, Pool) {
    let recorder = Arc::new(Recorder::phantom(capacity_bytes, overhead_bytes));
    (recorder.clone(), Pool::new(recorder))
}

/// A pool over host pages.
pub(crate) fn host() -> Pool {
    Pool::new(Arc::new(HostBacking::new().expect("host pages")))
}

#[derive(Debug)]
pub(crate) struct Recorder {
    inner: Box<dyn Backing>,
    overhead_bytes: u64,
    span_bytes: u64,
    log: Mutex<Log>,
}

#[derive(Debug)]
pub(crate) struct Log {
    /// Waiter and after, of each call.
    pub(crate) orders: Vec<(u8, u8)>,
    pub(crate) committed: BTreeSet<u64>,
    /// Each that was committed in one call, where pages come so.
    pub(crate) segments: Vec<Range<u64>>,
    pub(crate) commits: usize,
    /// What each page of a view shows.
    pub(crate) shown: BTreeMap<u64, u64>,
    pub(crate) aliases: usize,
    pub(crate) refuse_aliases: bool,
    pub(crate) decommits: Vec<Range<u64>>,
    /// Commits beyond so many pages fail.
    pub(crate) most_pages: usize,
    pub(crate) refuse_orders: bool,
    pub(crate) refuse_decommits: bool,
    /// Every so many calls one is refused.
    pub(crate) refuse_every: usize,
    calls: usize,
}

impl Log {
    /// Counts a call; whether it is to be refused.
    fn refused(&mut self) -> bool {
        self.calls += 1;
        self.calls.is_multiple_of(self.refuse_every)
    }
}

impl Recorder {
    pub(crate) fn phantom(capacity_bytes: u64, overhead_bytes: u64) -> Recorder {
        Recorder::over(Box::new(PhantomBacking::new(capacity_bytes, overhead_bytes)), overhead_bytes)
    }

    /// Pages that come in segments, with room for half as many as this.
    pub(crate) fn segmented(span_pages: u64) -> Recorder {
        let inner = PhantomBacking::new(1 << 40, 0).segmented(true);
        Recorder::over(Box::new(inner), 0).spanning(span_pages * PAGE)
    }

    /// Twins: host pages, and phantom ones that are recorded.
    pub(crate) fn twins(overhead_bytes: u64, is_segmented: bool) -> [Recorder; 2] {
        let host = HostBacking::new().expect("host pages").segmented(is_segmented);
        let phantom = PhantomBacking::new(1 << 40, overhead_bytes).segmented(is_segmented);
        // A system may grant the host fewer addresses.
        let span_bytes = host.span_bytes();
        let host = Recorder::over(Box::new(host), overhead_bytes);
        [host, Recorder::over(Box::new(phantom), overhead_bytes).spanning(span_bytes)]
    }

    /// With room for half as many pages as this, and views of as many.
    pub(crate) fn narrow(span_pages: u64) -> Recorder {
        Recorder::phantom(1 << 40, 0).spanning(span_pages * PAGE)
    }

    pub(crate) fn spanning(self, span_bytes: u64) -> Recorder {
        Recorder { span_bytes, ..self }
    }

    /// The memory under a block, page by page: offsets of the places where its pages were committed, whether it is seen
    /// there or through a view. In units that no other block shares.
    pub(crate) fn memory(&self, block: &Block) -> Vec<Range<u64>> {
        let start = block.address() - self.inner.base();
        let end = start + block.bytes().next_multiple_of(ALIGN_BYTES);
        let log = self.log();
        let pages = start / PAGE..end.div_ceil(PAGE);
        let parts = pages.filter(|_| start < end).map(|page| {
            let part = start.max(page * PAGE)..end.min((page + 1) * PAGE);
            let place = log.shown.get(&page).copied().unwrap_or(page) * PAGE;
            assert!(log.committed.contains(&(place / PAGE)), "a live block without memory");
            place + part.start % PAGE..place + part.start % PAGE + part.end - part.start
        });
        let holds = |segment: &Range<u64>| segment.start * PAGE <= start && end <= segment.end * PAGE;
        let is_whole = !self.is_segmented() || start == end || log.segments.iter().any(holds);
        assert!(is_whole, "a block over the end of a segment");
        parts.collect()
    }

    fn over(inner: Box<dyn Backing>, overhead_bytes: u64) -> Recorder {
        let log = Log {
            orders: Vec::new(),
            committed: BTreeSet::new(),
            segments: Vec::new(),
            commits: 0,
            shown: BTreeMap::new(),
            aliases: 0,
            refuse_aliases: false,
            decommits: Vec::new(),
            most_pages: usize::MAX,
            refuse_orders: false,
            refuse_decommits: false,
            refuse_every: usize::MAX,
            calls: 0,
        };
        let span_bytes = inner.span_bytes();
        Recorder { inner, overhead_bytes, span_bytes, log: Mutex::new(log) }
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no test thread panicked")
    }
}

impl Backing for Recorder {
    fn granule_bytes(&self) -> u64 {
        GRANULE_BYTES
    }

    fn capacity_bytes(&self) -> u64 {
        self.inner.capacity_bytes()
    }

    fn overhead_bytes(&self) -> u64 {
        self.overhead_bytes
    }

    fn base(&self) -> u64 {
        self.inner.base()
    }

    fn span_bytes(&self) -> u64 {
        self.span_bytes
    }

    fn is_segmented(&self) -> bool {
        self.inner.is_segmented()
    }

    fn commit(&self, pages: Range<u64>) -> Result<()> {
        let mut log = self.log();
        log.commits += 1;
        if log.refused() || log.committed.len() + (pages.end - pages.start) as usize > log.most_pages {
            return Err(Error::out_of_memory("commit: the card is full"));
        }
        if self.is_segmented() {
            log.segments.push(pages.clone());
        }
        for page in pages {
            assert!(log.committed.insert(page), "page {page} is committed twice");
        }
        Ok(())
    }

    fn decommit(&self, pages: Range<u64>) -> Result<()> {
        let mut log = self.log();
        if log.refused() || log.refuse_decommits {
            return Err(Error::driver("decommit: a fault"));
        }
        log.decommits.push(pages.clone());
        if self.is_segmented() {
            let i = log.segments.iter().position(|segment| *segment == pages);
            log.segments.swap_remove(i.expect("a part of a segment"));
        }
        for page in pages {
            assert!(log.committed.remove(&page), "page {page} is not committed");
            assert!(!log.shown.values().any(|&of| of == page), "page {page} is shown elsewhere");
        }
        Ok(())
    }

    fn alias(&self, pages: Range<u64>, of: &[Range<u64>]) -> Result<()> {
        let mut log = self.log();
        log.aliases += 1;
        assert!(!self.is_segmented(), "a part of a segment is shown twice");
        if log.refused() || log.refuse_aliases {
            return Err(Error::out_of_memory("alias: refused"));
        }
        for (page, of) in pages.zip(of.iter().cloned().flatten()) {
            assert!(log.committed.contains(&of), "page {of} is not committed");
            assert!(log.shown.insert(page, of).is_none(), "page {page} is shown twice");
        }
        Ok(())
    }

    fn unalias(&self, pages: Range<u64>) -> Result<()> {
        let mut log = self.log();
        if log.refused() || log.refuse_decommits {
            return Err(Error::driver("unalias: a fault"));
        }
        for page in pages {
            assert!(log.shown.remove(&page).is_some(), "page {page} shows nothing");
        }
        Ok(())
    }

    fn order(&self, waiter: StreamId, after: StreamId) -> Result<()> {
        let mut log = self.log();
        if log.refused() || log.refuse_orders {
            return Err(Error::driver("order: a fault"));
        }
        log.orders.push((waiter.0, after.0));
        Ok(())
    }

    fn driver_bytes(&self) -> Option<u64> {
        self.inner.driver_bytes()
    }

    fn host(&self) -> Option<&HostBacking> {
        self.inner.host()
    }
}
