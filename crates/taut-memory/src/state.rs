//! What a pool is: its backing, and a state for one thread at a time.

use crate::{
    Backing, Block, Calls, Error, Result, Stats, Timeline,
    area::{Area, Span},
    cache::{Cache, Caches, Line, Meetings},
    hold::Hold,
    host::{Mapping, Region},
    limit::Limits,
    live::Row,
    lock::{Guard, Lock},
    owners::Owners,
    script::Scripted,
    trace::{Event, Ring},
};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

pub(crate) struct Inner {
    pub(crate) backing: Arc<dyn Backing>,
    /// The host pages, if that is what the backing stands for.
    pub(crate) host: Option<Mapping>,
    /// The block of another pool that this one lies in, if it does.
    pub(crate) within: Option<Arc<Block>>,
    /// The address of offset 0. Changes only while no block lives.
    base: AtomicU64,
    pub(crate) span: Span,
    /// Whose turn it is to change pages, limits or the budget: taken before the lock, and held while the device is asked
    /// for something.
    turn: Line<Mutex<()>>,
    /// Never locked while the device is asked for something.
    pub(crate) state: Line<Lock<State>>,
    pub(crate) caches: Caches,
}

/// A [turn](Inner::turn): what other threads take and give meanwhile is there already.
pub(crate) type Turn<'a> = MutexGuard<'a, ()>;

/// The state of a pool, for one thread at a time.
pub(crate) type Locked<'a> = Guard<'a, State>;

/// The state, and one of the areas: that of a cache, or the first one.
pub(crate) struct Seat<'a> {
    pub(crate) state: Locked<'a>,
    pub(crate) cache: Option<(u16, Guard<'a, Cache>)>,
}

impl Seat<'_> {
    /// The number of the cache.
    pub(crate) fn number(&self) -> Option<u16> {
        self.cache.as_ref().map(|(number, _)| *number)
    }

    pub(crate) fn area(&self) -> &Area {
        self.cache.as_ref().map_or(&self.state.area, |(_, cache)| &cache.area)
    }

    pub(crate) fn area_mut(&mut self) -> &mut Area {
        self.cache.as_mut().map_or(&mut self.state.area, |(_, cache)| &mut cache.area)
    }
}

pub(crate) struct State {
    /// The first one.
    pub(crate) area: Area,
    /// In all areas.
    pub(crate) committed_pages: u64,
    /// But for what [caches](Caches) that are open have counted.
    pub(crate) stats: Stats,
    pub(crate) meetings: Meetings,
    pub(crate) calls: Calls,
    pub(crate) owners: Owners,
    /// Of the blocks that have no cache.
    pub(crate) hold: Hold,
    pub(crate) budget_bytes: u64,
    /// The budgets of scopes.
    pub(crate) limits: Limits,
    /// Of a pool that takes down what it is asked for, or knows it.
    pub(crate) script: Option<Box<Scripted>>,
    /// The timeline, while it is recorded.
    pub(crate) ring: Option<Box<Ring>>,
    /// Where the figures are shown to other processes, if they are.
    row: Option<Row>,
}

impl Inner {
    /// What a pool over `backing` is that lies in no block and owns no pages of the host.
    pub(crate) fn new(backing: Arc<dyn Backing>, base: u64, span: Span) -> Inner {
        let state = State {
            area: Area::new(0, span),
            committed_pages: 0,
            stats: Stats::default(),
            meetings: Meetings::default(),
            calls: Calls::default(),
            owners: Owners::default(),
            hold: Hold::default(),
            budget_bytes: backing.capacity_bytes(),
            limits: Limits::default(),
            script: None,
            ring: None,
            row: None,
        };
        let (base, turn, state) = (AtomicU64::new(base), Line(Mutex::new(())), Line(Lock::new(state)));
        let caches = Caches::default();
        Inner { backing, host: None, within: None, base, span, turn, state, caches }
    }

    /// The memory of a new block, if it is the host's.
    #[inline]
    pub(crate) fn region(&self, offset: u64, bytes: u64) -> Option<Region> {
        match (&self.host, &self.within) {
            (Some(mapping), _) => mapping.region(offset, bytes),
            (None, Some(block)) => block.region.as_ref()?.part(offset, bytes),
            (None, None) => None,
        }
    }

    /// A thread that panicked left the state whole, or short of what it was about to add: it is usable.
    pub(crate) fn lock(&self) -> Locked<'_> {
        self.state.0.lock()
    }

    /// The state and the area of a cache, or the first one.
    pub(crate) fn seat(&self, number: Option<u16>) -> Seat<'_> {
        let state = self.lock();
        let cache = number.and_then(|number| Some((number, self.caches.lock(number)?)));
        Seat { state, cache }
    }

    /// The turn of this thread to ask the device for something.
    pub(crate) fn turn(&self) -> Turn<'_> {
        self.turn.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn named(&self, ring: &Ring, owners: &Owners) -> Timeline {
        ring.timeline(owners, self.backing.overhead_bytes(), self.backing.capacity_bytes())
    }

    /// Where the byte at this offset is.
    #[inline]
    pub(crate) fn address(&self, offset: u64) -> u64 {
        match self.span.is_segmented {
            true => self.backing.address(offset),
            false => self.base() + offset,
        }
    }

    /// The address of offset 0.
    fn base(&self) -> u64 {
        // Whoever has a block has taken the lock since the address was stored.
        self.base.load(Ordering::Relaxed)
    }

    /// Notes where the backing's addresses begin, after it committed pages.
    pub(crate) fn rebase(&self) {
        if self.host.is_none() {
            self.base.store(self.backing.base(), Ordering::Relaxed);
        }
    }
}

impl State {
    /// Notes what happened to a block, if anyone wants to know.
    #[inline]
    pub(crate) fn event(&mut self, event: Event, id: u64, bytes: u64) {
        if let Some(ring) = &mut self.ring {
            ring.push(event, (id, bytes), &self.stats, self.budget_bytes);
        }
    }

    /// The same where reserved bytes or the budget may have changed without a block.
    pub(crate) fn limits(&mut self) {
        self.event(Event::Limits, 0, 0);
    }

    /// Whether nothing asks for one order of all calls.
    pub(crate) fn is_unordered(&self) -> bool {
        let told = self.script.is_some() || self.ring.is_some() || self.row.is_some();
        !told && self.limits.is_empty()
    }

    pub(crate) fn is_unused(&self) -> Result<()> {
        let held = |holders| Error::shared(format!("reset: the pool still holds {holders}"));
        self.owners.holders().map_or(Ok(()), |holders| Err(held(holders)))
    }

    /// Shows the figures as they are now, if they are shown at all. Called wherever one changed.
    #[inline]
    pub(crate) fn publish(&self) {
        if let Some(row) = &self.row {
            row.write(&self.stats, self.budget_bytes);
        }
    }

    /// Shows the figures in `row` from now on.
    pub(crate) fn show_in(&mut self, row: Row) {
        self.row = Some(row);
        self.publish();
    }

    pub(crate) fn is_shown(&self) -> bool {
        self.row.is_some()
    }
}
