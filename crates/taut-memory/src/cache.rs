//! Caches: areas that threads have for themselves where too many would wait for one.
//!
//! A program begins with one area for all threads, so that what one gives back another takes. Threads that wait for each
//! other again and again get an area each, which grows by the same rules under the same budget, and counts for itself: then
//! they share nothing but the [turn](Inner::turn) to ask the device for more. Memory that one has free serves another only
//! once the budget or the device has no more. They go back to the one area for all where the order of all calls is wanted:
//! by a timeline, a limit, figures that are shown, or a change of the budget; and when what is free is released.
//!
//! So a program whose calls do not overlap never has a cache, and lies where a plan of it says.

mod thread;

use crate::{
    Block, Kind, Pool, Site, Stats,
    area::{AREAS, Area, Span, has_areas},
    arena::Place,
    hold::Hold,
    lock::{Guard, Lock},
    owners::{Lookup, Owners},
    place::Request,
    state::{Inner, Locked, Seat, State, Turn},
};
use std::{
    num::NonZero,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// What an allocation counts that has to wait for another thread; one that has not takes 1 away.
const MET: u32 = 16;

/// From this sum on each thread has an area: at least one allocation in 17 has waited then, for some time.
const CROWD: u32 = 1024;

/// The caches of a pool.
#[derive(Default)]
pub(crate) struct Caches {
    /// Whether they are in use: changes while the pool is locked, to `false` in a turn only.
    open: AtomicBool,
    /// Made when they are first used. Locked after the pool where both are.
    list: OnceLock<Vec<Line<Lock<Cache>>>>,
}

/// What shares no line of the processor's cache with anything else, nor the one that is fetched with it.
#[repr(align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// What is known of the threads of a pool.
#[derive(Default)]
pub(crate) struct Meetings {
    /// Of what allocations count that [met](MET) another thread.
    sum: u32,
    /// While the caches are open, the peaks until they were settled last: those of the pool's statistics are since then.
    peaks: Option<Box<Stats>>,
}

/// See the [module](self).
pub(crate) struct Cache {
    pub(crate) area: Area,
    /// Whether it is used, and counts.
    is_open: bool,
    /// Since it was settled last, from the [middle](Stats::middle): a block may have been counted elsewhere before.
    stats: Stats,
    /// Bytes and blocks of each owner since then, below 0 too.
    owners: Vec<(u64, u64)>,
    lookup: Lookup,
    /// The number of its next block: those of a cache begin where others do not come to.
    next_id: u64,
    hold: Hold,
}

impl Caches {
    #[inline]
    pub(crate) fn are_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn are_made(&self) -> bool {
        self.list.get().is_some()
    }

    /// A cache, if there are any.
    #[inline]
    pub(crate) fn lock(&self, number: u16) -> Option<Guard<'_, Cache>> {
        let Line(cache) = self.list.get()?.get(usize::from(number))?;
        Some(cache.lock())
    }

    /// The same, if they are in use.
    #[inline]
    pub(crate) fn lock_open(&self, number: u16) -> Option<Guard<'_, Cache>> {
        self.lock(number).filter(|cache| cache.is_open)
    }
}

impl Cache {
    /// A cache that is closed.
    fn new(number: u16, span: Span) -> Cache {
        Cache {
            area: Area::new(number + 1, span),
            is_open: false,
            stats: Stats::middle(),
            owners: Vec::new(),
            lookup: Lookup::default(),
            next_id: u64::from(number + 1) << 48,
            hold: Hold::default(),
        }
    }

    /// A block for which everything is there.
    #[inline]
    fn take(&mut self, pool: &Pool, number: u16, request: &Request) -> Option<Block> {
        let owner = self.lookup.get(request.scope, request.site)?;
        let (place, offset) = match request.aligned() {
            None if request.bytes == 0 => (None, 0),
            None => return None,
            Some(bytes) => {
                let found = self.area.find(request).or_else(|| {
                    let plan = self.area.arena.plan(bytes, u64::MAX).ok()?;
                    self.area.take(&plan, request)
                });
                found.map(|(place, offset)| (Some(place), offset))?
            }
        };
        Some(self.enter(pool, number, request, (place, offset), owner))
    }

    /// Counts a block.
    #[inline]
    fn enter(
        &mut self,
        pool: &Pool,
        number: u16,
        request: &Request,
        (place, offset): (Option<Place>, u64),
        owner: usize,
    ) -> Block {
        let id = self.next_id;
        self.next_id += 1;
        self.stats.allocations += 1;
        self.stats.add(request.site.kind, request.bytes);
        self.count(owner, request.bytes, 1);
        let (held, region) = (self.hold.take(pool), pool.0.region(offset, request.bytes));
        Block::new(held, region, (place, NonZero::new(number + 1), offset), (id, owner), request)
    }

    /// Opens it, and gives it what it needs for a block but for memory: an owner.
    fn supply(&mut self, state: &mut State, request: &Request) -> usize {
        self.is_open = true;
        let owner = state.owners.of(request.scope, request.site);
        self.lookup.insert(request.scope, request.site, owner);
        owner
    }

    #[inline]
    fn count(&mut self, owner: usize, bytes: u64, blocks: u64) {
        if self.owners.len() <= owner {
            self.owners.resize(owner + 1, (0, 0));
        }
        let (held, n) = &mut self.owners[owner];
        (*held, *n) = (held.wrapping_add(bytes), n.wrapping_add(blocks));
    }

    #[inline]
    fn discount(&mut self, owner: usize, bytes: u64) {
        self.count(owner, bytes.wrapping_neg(), 1u64.wrapping_neg());
    }

    /// Counts a block of it no more.
    #[inline]
    pub(crate) fn uncount(&mut self, block: &Block) {
        self.stats.sub(block.kind(), block.bytes);
        self.discount(block.owner.load(Ordering::Relaxed), block.bytes);
    }

    /// Takes back the memory of a block, wherever that is counted. Returns whether nothing else of it holds the pool.
    #[inline]
    pub(crate) fn give(&mut self, block: &Block) -> bool {
        if let Some(place) = block.place {
            self.area.arena.give(place, block.streams.load(Ordering::Relaxed));
        }
        self.hold.give()
    }

    /// Moves what it counted to the pool.
    fn settle(&mut self, stats: &mut Stats, owners: &mut Owners) {
        stats.merge(&self.stats);
        self.stats = Stats::middle();
        for (i, (bytes, blocks)) in self.owners.iter_mut().enumerate() {
            owners.merge(i, *bytes, *blocks);
            (*bytes, *blocks) = (0, 0);
        }
    }
}

impl Pool {
    /// A block from the cache of this thread, if there is one and the device has room.
    #[inline(never)]
    pub(crate) fn take_cached(&self, request: Request) -> Option<Block> {
        let number = number();
        let mut cache = self.0.caches.lock_open(number);
        let block = cache.as_mut().and_then(|cache| cache.take(self, number, &request));
        drop(cache);
        block.or_else(|| self.take_in_turn(number, &request))
    }

    /// The same where something is missing.
    #[cold]
    fn take_in_turn(&self, number: u16, request: &Request) -> Option<Block> {
        if !self.0.caches.are_open() {
            return None;
        }
        // Until the end of it the caches stay open.
        let turn = self.0.turn();
        let mut seat = self.0.seat(Some(number));
        if !self.0.caches.are_open() {
            return None;
        }
        let Seat { state, cache: Some((_, cache)) } = &mut seat else { return None };
        let owner = cache.supply(state, request);
        if let Some(block) = cache.take(self, number, request) {
            return Some(block);
        }
        // Without a byte it has been taken.
        request.aligned()?;
        drop(seat);
        let (state, done) = self.0.shrink_unused(&turn, self.0.lock(), true);
        drop(state);
        done.ok()?;
        let (mut seat, made) = self.0.make(&turn, self.0.seat(Some(number)), request);
        let (place, offset) = made.ok()?;
        let (_, cache) = seat.cache.as_mut()?;
        Some(cache.enter(self, number, request, (Some(place), offset), owner))
    }
}

impl Inner {
    /// Counts a block of a cache under another kind.
    pub(crate) fn change_cached(&self, block: &Block, number: u16, kind: Kind) {
        let site = Site::new(block.op, kind);
        if let Some(mut cache) = self.caches.lock_open(number)
            && let Some(new) = cache.lookup.get(block.scope, site)
        {
            cache.stats.change(block.kind(), kind, block.bytes);
            cache.discount(block.owner.swap(new, Ordering::Relaxed), block.bytes);
            cache.count(new, block.bytes, 1);
            block.kind.store(kind as u8, Ordering::Relaxed);
            return;
        }
        // Both, so that the block is changed once at a time.
        let mut state = self.lock();
        let mut cache = self.caches.lock(number);
        if let Some(cache) = &mut cache {
            let state = &mut *state;
            cache.settle(&mut state.stats, &mut state.owners);
            cache.lookup.insert(block.scope, site, state.owners.of(block.scope, site));
        }
        block.change(&mut state, kind);
    }

    /// The state, for a thread that allocates.
    #[inline]
    pub(crate) fn meet(&self) -> Locked<'_> {
        match self.state.0.try_lock() {
            Some(mut state) => {
                state.meetings.sum = state.meetings.sum.saturating_sub(1);
                state
            }
            None => self.wait(),
        }
    }

    #[cold]
    fn wait(&self) -> Locked<'_> {
        let mut state = self.lock();
        state.meetings.sum += MET;
        if state.meetings.sum >= CROWD {
            self.open_caches(&mut state);
        }
        state
    }

    /// Opens the caches, where there are addresses for them, and nothing that wants one order of all calls.
    #[cold]
    fn open_caches(&self, state: &mut State) {
        state.meetings.sum = 0;
        if !state.is_unordered() || !has_areas(self.span.bytes) || self.caches.are_open() {
            return;
        }
        let new = |number| Line(Lock::new(Cache::new(number, self.span)));
        self.caches.list.get_or_init(|| (0..AREAS).map(new).collect());
        state.meetings.peaks = Some(Box::new(state.stats));
        state.stats.restart_peaks();
        self.caches.open.store(true, Ordering::Relaxed);
    }

    /// The state, with all that the caches have counted; they stay open.
    ///
    /// Peaks are then as if all caches had held the most at once that each of them did since the last time: never less than
    /// they were, and what they were where one thread allocates.
    pub(crate) fn settled(&self) -> Locked<'_> {
        let mut state = self.lock();
        if self.caches.are_open() {
            self.each_cache(|cache| {
                let state = &mut *state;
                cache.settle(&mut state.stats, &mut state.owners);
            });
            state.settle_peaks();
        }
        state
    }

    /// The state, with the caches closed until threads meet again.
    pub(crate) fn ordered(&self, _: &Turn<'_>) -> Locked<'_> {
        let mut state = self.lock();
        state.meetings.sum = 0;
        if self.caches.are_open() {
            self.each_cache(|cache| {
                let state = &mut *state;
                cache.settle(&mut state.stats, &mut state.owners);
                cache.is_open = false;
            });
            state.settle_peaks();
            self.caches.open.store(false, Ordering::Relaxed);
            if let Some(peaks) = state.meetings.peaks.take() {
                state.stats.raise_peaks(&peaks);
            }
        }
        state
    }

    /// Forgets all that caches have, which is nothing.
    pub(crate) fn reset_caches(&self, _: &Locked<'_>) {
        let mut numbers = 0..;
        self.each_cache(|cache| {
            *cache = Cache::new(numbers.next().unwrap_or(0), self.span);
        });
    }

    /// Calls `with` for each cache, of which none is locked.
    pub(crate) fn each_cache(&self, with: impl FnMut(&mut Cache)) {
        let caches = (0..AREAS).filter_map(|number| self.caches.lock(number));
        let mut with = with;
        caches.for_each(|mut cache| with(&mut cache));
    }
}

impl State {
    /// The statistics, once [settled](Inner::settled).
    pub(crate) fn settled_stats(&self) -> Stats {
        let mut stats = self.stats;
        if let Some(peaks) = &self.meetings.peaks {
            stats.raise_peaks(peaks);
        }
        stats
    }

    pub(crate) fn reset_peaks(&mut self) {
        self.stats.reset_peaks();
        if let Some(peaks) = &mut self.meetings.peaks {
            **peaks = self.stats;
        }
    }

    fn settle_peaks(&mut self) {
        self.stats.cap_peaks();
        if let Some(peaks) = &mut self.meetings.peaks {
            peaks.raise_peaks(&self.stats);
        }
        self.stats.restart_peaks();
    }
}

/// The number of the cache of this thread.
#[inline]
fn number() -> u16 {
    (thread::number() % u32::from(AREAS)) as u16
}

#[cfg(test)]
mod tests;
