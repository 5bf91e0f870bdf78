//! Blocks come and go: what follows for the ranges, the bins and the pages.

use super::{
    Arena,
    bins::Key,
    ranges::{END, Joined, Used},
};
use std::ops::Range;

impl Arena {
    /// Makes a part of a free range live, and returns its node.
    #[inline]
    pub(super) fn occupy(&mut self, gap: u32, block: Range<u64>) -> u32 {
        let Some(used) = self.ranges.used(gap) else { return gap };
        let (free, next) = (self.ranges.range(gap), self.ranges.next(gap));
        self.unlist(gap, free.clone(), next);
        // All of the gap first, then what is left of it on both sides.
        self.ranges.occupy(gap);
        let mut node = gap;
        if free.start < block.start {
            node = self.ranges.insert_after(gap, block.start);
            self.ranges.free(gap, Used { end: used.end.min(block.start), ..used });
            self.list(gap, free.start..block.start, node);
        }
        if block.end < free.end {
            let rest = self.ranges.insert_after(node, block.end);
            self.ranges.free(rest, used);
            self.list(rest, block.end..free.end, next);
        }
        if self.in_page(block.end) == 0 {
            self.note(self.page(block.end) - 1, node);
        }
        let (whole, pages) = (self.whole_pages(&free), self.pages_of(&block));
        self.pages.touch(pages.start.max(whole.start)..pages.end.min(whole.end));
        self.live_bytes += block.end - block.start;
        node
    }

    /// Makes a live range free, and joins it with its neighbours.
    #[inline]
    pub(super) fn vacate(&mut self, node: u32, streams: u64) {
        let Joined { node: joined, range: free, next, below, above } = self.ranges.join(node, streams);
        let mut block = free.clone();
        if let Some((node, above)) = above {
            block.end = above.start;
            self.unlist(node, above, next);
        }
        if let Some(below) = below {
            block.start = below.end;
            self.unlist(joined, below, node);
        }
        let (whole, pages) = (self.whole_pages(&free), self.pages_of(&block));
        self.list(joined, free, next);
        self.pages.untouch(pages.start.max(whole.start)..pages.end.min(whole.end));
        self.live_bytes -= block.end - block.start;
    }

    /// Makes a live range free in which nobody has done anything: it is used by those `streams` that used it before.
    #[cold]
    pub(super) fn unuse(&mut self, node: u32, streams: u64) {
        let (start, prev) = (self.ranges.start(node), self.ranges.prev(node));
        let beside = [prev, self.ranges.next(node)].map(|beside| self.ranges.used(beside));
        self.vacate(node, streams);
        if streams == 0 {
            // Where nobody was, there is nobody to wait for: the end of those beside it is theirs alone.
            let used = beside.iter().flatten().filter(|used| used.streams != 0);
            let used = used.fold(Used { streams, end: start }, |all, used| Used {
                streams: all.streams | used.streams,
                end: all.end.max(used.end),
            });
            self.ranges.free(if beside[0].is_some() { prev } else { node }, used);
        }
    }

    /// Enters a free range, before `next`, where it is looked for. The one at the top is in no bin.
    #[inline]
    pub(super) fn list(&mut self, node: u32, range: Range<u64>, next: u32) {
        if self.page(range.start) < self.page(range.end) {
            self.note(self.page(range.start), node);
        }
        if next != END {
            self.bins.insert(Key::new(range, node));
        }
    }

    /// Takes a free range, before `next`, out of the bins.
    #[inline]
    pub(super) fn unlist(&mut self, node: u32, range: Range<u64>, next: u32) {
        if next != END {
            self.bins.remove(Key::new(range, node));
        }
    }

    #[inline]
    fn note(&mut self, page: u64, node: u32) {
        if let Some(last) = self.last.get_mut(page as usize) {
            *last = node;
        }
    }

    /// The free range with the byte at this offset, at which a page begins or the last free bytes of one.
    ///
    /// What [`last`](Self::last) says of a page is true where the page is touched and its last byte is free, or
    /// followed by one that is; of other pages it can be old, so what is found there is looked at.
    pub(super) fn gap_at(&self, offset: u64) -> Option<u32> {
        let holds = |node: u32| {
            let free = self.ranges.is_free(node) && self.ranges.start(node) <= offset;
            free && offset < self.ranges.end(node)
        };
        let page = self.page(offset);
        let noted = |page: u64| self.last.get(page as usize).copied().filter(|&node| self.ranges.has(node));
        if let Some(node) = noted(page).filter(|&node| holds(node)) {
            return Some(node);
        }
        let node = match self.pages.touched_before(page) {
            Some(below) => noted(below)?,
            None => END,
        };
        [node, self.ranges.next(node)].into_iter().find(|&node| holds(node))
    }
}
