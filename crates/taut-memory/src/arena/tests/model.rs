//! What each 256 bytes of memory are, told from the calls alone.

use super::super::{Arena, Choice, Full, Place, Plan, bins::Key, ranges::END};
use std::{collections::BTreeMap, ops::Range};

pub(super) const UNIT: u64 = 256;
pub(super) const PAGE_UNITS: u64 = 4;
pub(super) const PAGE: u64 = PAGE_UNITS * UNIT;
pub(super) const PAGES: u64 = 40;
/// Where views end.
pub(super) const END_PAGES: u64 = 4000;

/// What is known about each unit of memory.
#[derive(Clone, Copy, Default)]
pub(super) struct Unit {
    pub(super) live: bool,
    pub(super) streams: u64,
}

/// A block: its place, and the units of memory under it, in order.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) place: Place,
    pub(super) offset: u64,
    pub(super) units: Vec<u64>,
    pub(super) streams: u64,
}

pub(super) struct Model {
    pub(super) arena: Arena,
    pub(super) units: Vec<Unit>,
    pub(super) committed: Vec<bool>,
    /// Which page of memory a page of a view shows.
    pub(super) shown: BTreeMap<u64, u64>,
    pub(super) made: u64,
}

impl Model {
    pub(super) fn new() -> Model {
        let n = (PAGES) as usize;
        let units = vec![Unit::default(); n * PAGE_UNITS as usize];
        let arena = Arena::new(PAGES, END_PAGES, PAGE);
        Model { arena, units, committed: vec![false; n], shown: BTreeMap::new(), made: 0 }
    }

    /// Takes a block as the pool does.
    pub(super) fn take(&mut self, units: u64, stream: u64, most_pages: u64) -> Result<Live, Full> {
        let bytes = units * UNIT;
        let (gap, behind, views) = (self.best_fit(units), self.behind(), self.arena.views.of(bytes).to_vec());
        if let Some((place, offset)) = self.arena.take_ready(bytes, 1 << stream) {
            assert_eq!(offset / UNIT, gap.unwrap_or(behind), "not the best fit, or its other end");
            assert!(gap.is_some() || views.is_empty(), "a view was left out");
            return Ok(self.enter(place, offset, units, stream, 1 << stream));
        }
        let plan = self.arena.plan(bytes, most_pages)?;
        if let (Some(gap), true) = (gap, self.is_plain()) {
            let is_there = matches!(&plan.place, Choice::Gap { block, .. } if block.start == gap * UNIT);
            assert!(is_there && plan.missing.is_empty(), "not the best fit, or its other end");
        }
        Ok(self.make(&plan, units, stream))
    }

    pub(super) fn make(&mut self, plan: &Plan, units: u64, stream: u64) -> Live {
        if !plan.is_ready() {
            self.made += 1;
        }
        // At times the device refuses.
        if self.made % 3 == 1 {
            let view = self.arena.new_view(plan).unwrap();
            let (place, _) = self.arena.take(plan, view.as_ref());
            self.arena.abandon(plan, place);
            self.check();
        }
        for page in plan.missing.iter().cloned().flatten() {
            assert!(!std::mem::replace(&mut self.committed[page as usize], true), "committed twice");
        }
        let view = self.arena.new_view(plan).unwrap();
        if let Some(view) = &view {
            let of: Vec<u64> = view.of.iter().cloned().flatten().collect();
            assert_eq!(of.len() as u64, view.pages.end - view.pages.start);
            for (page, of) in view.pages.clone().zip(of) {
                assert!((PAGES..END_PAGES).contains(&page));
                assert!(self.shown.insert(page, of).is_none(), "two views at one place");
            }
        }
        let age = self.arena.next_age();
        let (place, offset) = self.arena.take(plan, view.as_ref());
        plan.missing.iter().cloned().for_each(|pages| self.arena.commit(pages, age));
        self.arena.finish(plan, place);
        self.enter(place, offset, units, stream, plan.streams | 1 << stream)
    }

    /// Marks the memory under a block, which nobody has and which is used by these streams only.
    pub(super) fn enter(&mut self, place: Place, offset: u64, units: u64, stream: u64, waited: u64) -> Live {
        let mut under = Vec::new();
        for unit in offset / UNIT..offset / UNIT + units {
            let (page, rest) = (unit / PAGE_UNITS, unit % PAGE_UNITS);
            let page = if page < PAGES { page } else { self.shown[&page] };
            assert!(self.committed[page as usize], "no memory");
            let unit = page * PAGE_UNITS + rest;
            let known = &mut self.units[unit as usize];
            assert!(!std::mem::replace(&mut known.live, true), "an overlap");
            assert_eq!(known.streams & !waited, 0, "reused without waiting");
            under.push(unit);
        }
        self.check();
        Live { place, offset, units: under, streams: 1 << stream }
    }

    pub(super) fn give(&mut self, block: &Live) {
        self.arena.give(block.place, block.streams);
        for &unit in &block.units {
            self.units[unit as usize] = Unit { live: false, streams: block.streams };
        }
        self.check();
    }

    pub(super) fn forget_views(&mut self) {
        for (id, pages) in self.arena.idle_views() {
            self.shown.retain(|page, _| !pages.contains(page));
            self.arena.forget_view(id);
        }
    }

    pub(super) fn decommit(&mut self, pages: Range<u64>) {
        for page in pages.clone() {
            self.committed[page as usize] = false;
            let units = page * PAGE_UNITS..(page + 1) * PAGE_UNITS;
            self.units[units.start as usize..units.end as usize].fill(Unit::default());
        }
        let again = self.arena.hold(pages.clone()).unwrap();
        self.arena.let_go(again, false);
        let held = self.arena.hold(pages).unwrap();
        self.arena.let_go(held, true);
        self.check();
    }

    /// Whether no page below a committed one is missing, or was.
    pub(super) fn is_plain(&self) -> bool {
        self.arena.pages.is_plain()
    }

    /// Where a block goes in the shortest free range that is long enough, but for the last one: if it is short, to the end
    /// that is a multiple of more of a quarter, half and whole page. All lengths here are round.
    pub(super) fn best_fit(&self, units: u64) -> Option<u64> {
        let top = self.units.iter().rposition(|unit| unit.live)?;
        let room = |from: usize| self.units[from..].iter().take_while(|unit| !unit.live).count();
        let begins = |from: &usize| room(*from) > 0 && (*from == 0 || self.units[*from - 1].live);
        let fits = (0..top).filter(begins).filter(|&from| room(from) as u64 >= units);
        let from = fits.min_by_key(|&from| (room(from), from))?;
        let (from, to) = (from as u64, (from + room(from)) as u64);
        let ends = |unit: u64| [1, 2, 4].into_iter().filter(|part| unit.is_multiple_of(*part)).count();
        Some(if units < 2 * PAGE_UNITS && ends(to) > ends(from) { to - units } else { from })
    }

    /// The unit behind the last live one.
    pub(super) fn behind(&self) -> u64 {
        self.units.iter().rposition(|unit| unit.live).map_or(0, |top| top as u64 + 1)
    }

    /// The fewest pages that must be committed for a block, by trying every two ends of pages.
    pub(super) fn fewest(&self, units: u64) -> u64 {
        let page = |i: usize| &self.units[i * PAGE_UNITS as usize..(i + 1) * PAGE_UNITS as usize];
        let touched = |i: &usize| page(*i).iter().any(|unit| unit.live);
        let free = |i: &usize, back: bool| {
            let is_free = |unit: &&Unit| !unit.live;
            let all = page(*i).iter();
            let n =
                if back { all.rev().take_while(is_free).count() } else { all.take_while(is_free).count() };
            n as u64
        };
        let pages = 0..(PAGES) as usize;
        let ends: Vec<(usize, u64)> = pages.clone().filter(touched).map(|i| (i, free(&i, true))).collect();
        let starts: Vec<(usize, u64)> = pages.clone().filter(touched).map(|i| (i, free(&i, false))).collect();
        let (end, start) = (ends.iter().map(|e| e.1).max(), starts.iter().map(|s| s.1).max());
        let new = units.saturating_sub(end.unwrap_or(0) + start.unwrap_or(0)).div_ceil(PAGE_UNITS);
        let spare = pages.filter(|i| self.committed[*i] && !touched(i)).count() as u64;
        new.saturating_sub(spare)
    }

    /// The lists and counts of the arena are what the model says.
    pub(super) fn check(&self) {
        let mut next = 0;
        let mut free = None;
        let mut listed = Vec::new();
        let mut node = self.arena.ranges.next(END);
        while node != END {
            let (start, end) = (self.arena.ranges.start(node), self.arena.ranges.end(node));
            assert!(start == next && start < end);
            next = end;
            let used = self.arena.ranges.used(node);
            assert!(!(free == Some(true) && used.is_some()), "two free neighbours");
            free = Some(used.is_some());
            for unit in start / UNIT..end / UNIT {
                let known = self.units[unit as usize];
                assert_eq!(known.live, used.is_none());
                let streams =
                    used.map_or(u64::MAX, |used| if unit * UNIT < used.end { used.streams } else { 0 });
                assert_eq!(known.streams & !streams & if known.live { 0 } else { u64::MAX }, 0);
            }
            if used.is_some() && self.arena.ranges.next(node) != END {
                listed.push(Key::new(start..end, node));
            }
            node = self.arena.ranges.next(node);
        }
        assert_eq!(next, PAGES * PAGE);
        listed.sort_unstable();
        assert!(self.arena.bins.from(0).eq(listed.iter().copied()));
        let pages = self.units.chunks(PAGE_UNITS as usize);
        let touched = pages.clone().filter(|page| page.iter().any(|unit| unit.live)).count() as u64;
        assert_eq!(self.arena.needed_pages(), touched);
        assert_eq!(self.arena.committed_pages(), self.committed.iter().filter(|&&page| page).count() as u64);
        assert_eq!(self.arena.live_bytes, self.units.iter().filter(|unit| unit.live).count() as u64 * UNIT);
        // Every free range is found from each page that begins in it, and from its last bytes of a page.
        for key in listed {
            let (start, end) = (key.start(), key.start() + key.len());
            let first = start.next_multiple_of(PAGE);
            let pages = (first..end).step_by(PAGE as usize);
            let ends = (first <= end && start % PAGE != 0).then_some(start);
            assert!(pages.chain(ends).all(|byte| self.arena.gap_at(byte) == Some(key.node())));
        }
        assert!(
            self.units
                .iter()
                .zip(0..)
                .filter(|(unit, _)| unit.live)
                .all(|(_, i)| self.arena.gap_at(i * UNIT).is_none())
        );
    }
}
