//! Blocks come and go: what follows for the ranges, the bins and the pages.

use super::{
    Arena,
    bins::Key,
    ranges::{END, Used},
};
use std::ops::Range;

impl Arena {
    /// Makes a part of a free range live, and returns its node.
    #[inline]
    pub(super) fn occupy(&mut self, gap: u32, block: Range<u64>) -> u32 {
        self.unlist(gap);
        let Some(used) = self.ranges.used(gap) else { return gap };
        let (start, end) = (self.ranges.start(gap), self.ranges.end(gap));
        // All of the gap first, then what is left of it on both sides.
        self.ranges.occupy(gap);
        let mut node = gap;
        if start < block.start {
            node = self.ranges.insert_after(gap, block.start);
            self.ranges.free(gap, Used { end: used.end.min(block.start), ..used });
        }
        if block.end < end {
            let rest = self.ranges.insert_after(node, block.end);
            self.ranges.free(rest, used);
            self.settle(rest);
        }
        if node != gap {
            self.settle(gap);
        }
        self.settle(node);
        let (whole, pages) = (self.whole_pages(&(start..end)), self.pages_of(&block));
        self.pages.touch(pages.start.max(whole.start)..pages.end.min(whole.end));
        self.live_bytes += block.end - block.start;
        node
    }

    /// Makes a live range free, and joins it with its neighbours.
    #[inline]
    pub(super) fn vacate(&mut self, node: u32, streams: u64) {
        let block = self.ranges.start(node)..self.ranges.end(node);
        let (prev, next) = (self.ranges.prev(node), self.ranges.next(node));
        let (mut joined, mut used) = (node, Used { streams, end: block.end });
        if let Some(above) = self.ranges.used(next) {
            self.unlist(next);
            self.ranges.remove(next);
            used = Used { streams: used.streams | above.streams, end: used.end.max(above.end) };
        }
        if let Some(below) = self.ranges.used(prev) {
            self.unlist(prev);
            self.ranges.remove(node);
            used.streams |= below.streams;
            joined = prev;
        }
        self.ranges.free(joined, used);
        self.settle(joined);
        let around = self.ranges.start(joined)..self.ranges.end(joined);
        let (whole, pages) = (self.whole_pages(&around), self.pages_of(&block));
        self.pages.untouch(pages.start.max(whole.start)..pages.end.min(whole.end));
        self.live_bytes -= block.end - block.start;
    }

    /// Enters a range where it is looked for.
    #[inline]
    fn settle(&mut self, node: u32) {
        let (start, end) = (self.ranges.start(node), self.ranges.end(node));
        if !self.ranges.is_free(node) {
            if self.in_page(end) == 0 {
                self.note(self.page(end) - 1, node);
            }
            return;
        }
        if self.page(start) < self.page(end) {
            self.note(self.page(start), node);
        }
        if self.ranges.next(node) != END {
            self.bins.insert(Key::new(start..end, node));
        }
    }

    /// Takes a free range out of the bins. The one at the top is in none.
    #[inline]
    fn unlist(&mut self, node: u32) {
        if self.ranges.next(node) != END {
            self.bins.remove(Key::new(self.ranges.start(node)..self.ranges.end(node), node));
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
