//! Where blocks lie: pure decisions over offsets, without memory, addresses or time.
//!
//! The range `[0, span)` is divided into live blocks and the free ranges between them. Which pages have memory is
//! kept apart, and has no say in the choice of a place: a block goes where the live blocks alone put it. So a program
//! that returns to the same live blocks takes the same places again, and finds its memory there: from its second
//! repetition on, a static step commits nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    granule: u64,
    committed_bytes: u64,
    /// Keyed by its end: a block cut from the front of a range then changes it in place.
    free: BTreeMap<u64, Free>,
    /// `(length, start)` of the free ranges, for the best fit.
    sizes: BTreeSet<(u64, u64)>,
    /// Runs of committed pages, their starts keyed by their ends. Two neighbours are always one run.
    committed: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Free {
    start: u64,
    /// Bit `s`: stream `s` may still use a byte of it.
    streams: u64,
    /// No stream uses a byte from here on: without this, the last range, which never fills up, would never forget.
    used_end: u64,
}

/// A place for a block, and what must happen before it can be [taken](Arena::take).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) block: Range<u64>,
    /// Bit `s`: stream `s` may still use a part of it.
    pub(crate) streams: u64,
    /// Pages to commit, from the lowest.
    pub(crate) missing: Vec<Range<u64>>,
}

impl Plan {
    pub(crate) fn missing_pages(&self) -> u64 {
        self.missing.iter().map(|pages| pages.end - pages.start).sum()
    }
}

impl Arena {
    /// An arena without a page. `granule` is a power of two.
    pub(crate) fn new(span_bytes: u64, granule: u64) -> Arena {
        let (free, sizes, committed) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let mut arena = Arena { granule, committed_bytes: 0, free, sizes, committed };
        let end = span_bytes - span_bytes % granule;
        if end > 0 {
            arena.put(end, Free { start: 0, streams: 0, used_end: 0 });
        }
        arena
    }

    pub(crate) fn committed_bytes(&self) -> u64 {
        self.committed_bytes
    }

    /// The pages that hold a byte of `block`.
    pub(crate) fn pages(&self, block: &Range<u64>) -> Range<u64> {
        block.start / self.granule..block.end.div_ceil(self.granule)
    }

    /// The start of the smallest free range that is long enough, the lowest on ties. `None` if the free addresses are
    /// too few or too scattered. `bytes` is not 0.
    pub(crate) fn plan(&self, bytes: u64) -> Option<Plan> {
        let &(_, start) = self.sizes.range((bytes, 0)..).next()?;
        Some(self.plan_at(start..start + bytes))
    }

    /// The place that has the fewest pages to itself, the lowest on ties: what fits if anything does, once all pages
    /// without a live block are given back.
    ///
    /// Only the first and the last page of a free range are shared, so the place starts with the range, at a page,
    /// or such that it ends in the last page.
    pub(crate) fn plan_tightest(&self, bytes: u64) -> Option<Plan> {
        let mut best: Option<(u64, u64)> = None;
        for (&end, free) in &self.free {
            let Some(last) = end.checked_sub(bytes) else { continue };
            let places = [free.start, free.start.next_multiple_of(self.granule), last - last % self.granule];
            for start in places.into_iter().filter(|start| (free.start..=last).contains(start)) {
                let pages = self.pages(&(start..start + bytes));
                let first_shared = pages.start * self.granule < free.start;
                let last_shared = pages.end * self.granule > end;
                // A block within one page can share it at both ends.
                let own = (pages.end - pages.start)
                    .saturating_sub(first_shared.into())
                    .saturating_sub(last_shared.into());
                best = Some(best.map_or((own, start), |other| other.min((own, start))));
            }
        }
        best.map(|(_, start)| self.plan_at(start..start + bytes))
    }

    /// Makes the block of a plan live. Its missing pages have been [committed](Self::commit).
    pub(crate) fn take(&mut self, plan: &Plan) {
        let Some((&end, free)) = self.free.range_mut(plan.block.end..).next() else { return };
        let old = *free;
        self.sizes.remove(&(end - old.start, old.start));
        if plan.block.end < end {
            let streams = if plan.block.end < old.used_end { old.streams } else { 0 };
            *free = Free { start: plan.block.end, streams, ..old };
            self.sizes.insert((end - plan.block.end, plan.block.end));
        } else {
            self.free.remove(&end);
        }
        if old.start < plan.block.start {
            self.put(plan.block.start, Free { used_end: old.used_end.min(plan.block.start), ..old });
        }
    }

    /// Frees a block that the `streams` (a bit for each) may still use.
    pub(crate) fn give(&mut self, block: Range<u64>, streams: u64) {
        let mut new = Free { start: block.start, streams, used_end: block.end };
        if let Some(below) = self.free.remove(&block.start) {
            self.sizes.remove(&(block.start - below.start, below.start));
            new = Free { start: below.start, streams: streams | below.streams, ..new };
        }
        match self.free.range_mut(block.end + 1..).next() {
            Some((&end, above)) if above.start == block.end => {
                let used_end = above.used_end.max(block.end);
                *above = Free { streams: new.streams | above.streams, used_end, ..new };
                self.sizes.remove(&(end - block.end, block.end));
                self.sizes.insert((end - new.start, new.start));
            }
            _ => self.put(block.end, new),
        }
    }

    /// Pages of a plan now have memory.
    pub(crate) fn commit(&mut self, pages: Range<u64>) {
        self.committed_bytes += (pages.end - pages.start) * self.granule;
        let start = self.committed.remove(&pages.start).unwrap_or(pages.start);
        match self.committed.range_mut(pages.end + 1..).next() {
            Some((_, above)) if *above == pages.end => *above = start,
            _ => drop(self.committed.insert(pages.end, start)),
        }
    }

    /// Free pages now have no memory.
    pub(crate) fn decommit(&mut self, pages: Range<u64>) {
        self.committed_bytes -= (pages.end - pages.start) * self.granule;
        if let Some((&end, start)) = self.committed.range_mut(pages.end..).next() {
            let below = *start;
            if pages.end < end {
                *start = pages.end;
            } else {
                self.committed.remove(&end);
            }
            if below < pages.start {
                self.committed.insert(pages.start, below);
            }
        }
        let Some((_, free)) = self.free.range_mut(pages.end * self.granule..).next() else { return };
        if free.used_end <= pages.end * self.granule {
            free.used_end = free.used_end.min(pages.start * self.granule);
            free.streams = if free.used_end > free.start { free.streams } else { 0 };
        }
    }

    /// Committed pages that hold no byte of a live block, the highest first, without the pages `keep`.
    pub(crate) fn spare(&self, keep: &Range<u64>) -> Vec<Range<u64>> {
        let mut spare = Vec::new();
        for (&end, free) in &self.free {
            for pages in self.runs(free.start.div_ceil(self.granule)..end / self.granule) {
                let below = pages.start..pages.end.min(keep.start);
                let above = pages.start.max(keep.end)..pages.end;
                // An empty `keep` is nowhere, so nothing is on either side of it.
                let parts = if keep.is_empty() { [0..0, pages] } else { [below, above] };
                spare.extend(parts.into_iter().filter(|part| !part.is_empty()));
            }
        }
        spare.reverse();
        spare
    }

    /// The plan that puts a block at this very place, which is free.
    fn plan_at(&self, block: Range<u64>) -> Plan {
        let pages = self.pages(&block);
        let mut missing = Vec::new();
        let mut next = pages.start;
        for run in self.runs(pages.clone()) {
            if next < run.start {
                missing.push(next..run.start);
            }
            next = run.end;
        }
        if next < pages.end {
            missing.push(next..pages.end);
        }
        let free = self.free.range(block.end..).next().map(|(_, free)| free);
        let used = free.filter(|free| block.start < free.used_end);
        Plan { block, streams: used.map_or(0, |free| free.streams), missing }
    }

    /// The committed parts of `pages`, from the lowest.
    fn runs(&self, pages: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let runs = self.committed.range(pages.start + 1..).take_while(move |&(_, &start)| start < pages.end);
        runs.map(move |(&end, &start)| start.max(pages.start)..end.min(pages.end))
            .filter(|run| !run.is_empty())
    }

    fn put(&mut self, end: u64, free: Free) {
        self.sizes.insert((end - free.start, free.start));
        self.free.insert(end, free);
    }
}

#[cfg(test)]
mod tests;
