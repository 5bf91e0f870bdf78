//! Where blocks lie: pure decisions over offsets, without memory, addresses or time.
//!
//! Offsets below `span` are pages: they are divided into live ranges and the free ranges between them, and a block
//! goes into the shortest free range that is long enough, to the end of it at which short blocks of round lengths leave no
//! rest. Where there is none below the last live byte, the block goes behind that byte, or, if this would take pages while
//! others are free, into parts of free pages from anywhere, which a [view](views) behind `span` shows as one range.
//!
//! **A program that returns to the same live blocks takes the same places again, and finds pages and views there**: from
//! its second repetition on, a static step changes no page (but where they come in [segments]). For this, what is chosen
//! among the places that are ready depends on the live blocks alone, but for one rule: of the place behind the last live
//! byte and the views, the one comes first that has been ready for the longest time. So what was made later never takes the
//! place of what was chosen, or made, in an earlier repetition; only the making of something new looks at what there is.

mod bins;
mod change;
mod memory;
mod pages;
mod plan;
mod ranges;
mod segments;
mod tight;
mod views;

use bins::Bins;
pub(crate) use memory::NewView;
use pages::Pages;
use plan::Choice;
pub(crate) use plan::{Full, Plan};
use ranges::{END, Ranges};
use segments::Segments;
use std::ops::Range;
use views::{View, Views};

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    /// A page is 2 to the power of this many bytes: dividing by the size is much of the time of a call.
    page_bits: u32,
    ranges: Ranges,
    /// Of all free ranges but the one at the top.
    bins: Bins,
    pages: Pages,
    /// For each page the free range that begins in it and has its last byte, or the live one that ends with that byte;
    /// otherwise one that did so once.
    last: Vec<u32>,
    views: Views,
    /// Pages in which views lie.
    view_span: Range<u64>,
    /// Where pages can not be put together: the pieces in which they come.
    segments: Option<Segments>,
    live_bytes: u64,
    /// Changes of the pages so far: the time by which they and the views have their age.
    now: u64,
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In one range.
    Range(u32),
    /// In a view.
    View(u32),
}

/// Lengths that are multiples of this part of a page are round.
const ROUND: u64 = 32;

impl Arena {
    /// An arena without a page: below `pages` for pages, and from there to `end` for views. `granule` is a power of two.
    pub(crate) fn new(pages: u64, end: u64, granule: u64) -> Arena {
        Arena {
            page_bits: granule.trailing_zeros(),
            ranges: Ranges::new(pages * granule),
            bins: Bins::new(),
            pages: Pages::default(),
            last: Vec::new(),
            views: Views::default(),
            view_span: pages..end,
            segments: None,
            live_bytes: 0,
            now: 0,
        }
    }

    /// The same where pages come in [segments].
    pub(crate) fn segmented(pages: u64, granule: u64) -> Arena {
        let (ranges, segments) = Segments::new(pages * granule);
        Arena { ranges, segments: Some(segments), ..Arena::new(pages, pages, granule) }
    }

    pub(crate) fn committed_pages(&self) -> u64 {
        self.pages.committed()
    }

    /// Pages that can not go: they hold a byte of a live block, or came with one that does.
    pub(crate) fn needed_pages(&self) -> u64 {
        match &self.segments {
            Some(_) => self.pages.committed() - count(&self.spare(u64::MAX)),
            None => self.pages.touched(),
        }
    }

    /// Takes the best place for a block of `bytes`, a multiple of [`ALIGN_BYTES`](crate::ALIGN_BYTES) and not 0, at
    /// once, if that is ready, no view comes before it, and no other streams than these (a bit for each) use it. Returns it
    /// with its offset. Most often it can.
    ///
    /// It never lies in a page that is being made: below the last live byte there is none but under live blocks, and the
    /// one behind it does not count as committed before it is there.
    #[inline]
    pub(crate) fn take_ready(&mut self, bytes: u64, streams: u64) -> Option<(Place, u64)> {
        if !self.pages.is_plain() && self.segments.is_none() {
            return None;
        }
        let (node, start) = self.gap(bytes).or_else(|| self.behind(bytes))?;
        let used = self.ranges.used(node)?;
        if used.streams & !streams != 0 && start < used.end {
            return None;
        }
        Some((Place::Range(self.occupy(node, start..start + bytes)), start))
    }

    /// Makes the block of a plan live, with the [view](Self::new_view) that it needs, if it needs one. Returns where it
    /// lies, and its offset. Before it is handed out the view must be there, and the missing pages
    /// [committed](Self::commit), and then it is [finished](Self::finish); otherwise it is
    /// [abandoned](Self::abandon).
    #[inline]
    pub(crate) fn take(&mut self, plan: &Plan, view: Option<&NewView>) -> (Place, u64) {
        if let Some(end) = plan.missing.iter().map(|pages| pages.end as usize).max() {
            let len = self.last.len().max(end);
            self.last.resize(len, END);
        }
        match &plan.place {
            Choice::Gap { node, block } => {
                self.now += u64::from(!plan.missing.is_empty());
                (Place::Range(self.occupy(*node, block.clone())), block.start)
            }
            Choice::View(id) => self.take_view(*id),
            Choice::Parts(parts) => {
                let pages = view.map_or(0..0, |view| view.pages.clone());
                let first = parts.first().map_or(0, |part| part.start);
                let offset =
                    if pages.is_empty() { first } else { self.byte(pages.start) + self.in_page(first) };
                let bytes = parts.iter().map(|part| part.end - part.start).sum();
                self.now += 1;
                let (parts, born) = (parts.clone(), self.now);
                let view = View { bytes, born, taken: born, offset, pages, parts, nodes: Vec::new() };
                let id = self.views.make(view);
                self.take_view(id)
            }
            Choice::Segment { block } => {
                self.now += 1;
                (Place::Range(self.open_segment(self.pages_of(block))), block.start)
            }
        }
    }

    /// Frees a block that the `streams` (a bit for each) may still use.
    #[inline]
    pub(crate) fn give(&mut self, place: Place, streams: u64) {
        match place {
            Place::Range(node) => self.vacate(node, streams),
            Place::View(id) => {
                let nodes = self.views.get_mut(id).map(|view| std::mem::take(&mut view.nodes));
                nodes.into_iter().flatten().for_each(|node| self.vacate(node, streams));
            }
        }
    }
}

impl Arena {
    /// The best fit below the last live byte, and where a block begins in it: at its start, or, if its length is short and
    /// [round](ROUND), so that it ends where the free range ends, if that is the rounder number. So blocks of which a few
    /// make up a page fill it, and leave no rests between them.
    #[inline]
    fn gap(&self, bytes: u64) -> Option<(u32, u64)> {
        let gap = self.bins.best(bytes)?;
        let (start, end) = (gap.start(), gap.start() + gap.len());
        // The largest power of two that divides it, and a page.
        let round = |byte: u64| {
            let all = byte | self.byte(1);
            all & all.wrapping_neg()
        };
        let is_short = bytes < 2 * self.byte(1) && bytes & (self.byte(1) / ROUND - 1) == 0;
        // Without a branch, which nobody could foresee.
        let is_back = u64::from(is_short) & u64::from(round(end) > round(start));
        Some((gap.node(), start + (end - start - bytes) * is_back))
    }

    /// The place behind the last live byte, in pages that all have memory below, if it is ready and there is no view for
    /// such a block.
    #[inline]
    fn behind(&self, bytes: u64) -> Option<(u32, u64)> {
        let node = self.ranges.top()?;
        let start = self.ranges.start(node);
        let ready = self.byte(self.pages.committed()).saturating_sub(start) >= bytes;
        (ready && self.views.of(bytes).is_empty()).then_some((node, start))
    }

    /// The pages that hold a byte of `block`.
    fn pages_of(&self, block: &Range<u64>) -> Range<u64> {
        self.page(block.start)..self.page_up(block.end)
    }

    /// The pages that hold no other byte than those of `range`.
    fn whole_pages(&self, range: &Range<u64>) -> Range<u64> {
        self.page_up(range.start)..self.page(range.end)
    }

    /// The page with this byte.
    fn page(&self, byte: u64) -> u64 {
        byte >> self.page_bits
    }

    /// The first page that begins at this byte or behind it.
    fn page_up(&self, byte: u64) -> u64 {
        self.page(byte + (self.byte(1) - 1))
    }

    /// Where a page begins.
    fn byte(&self, page: u64) -> u64 {
        page << self.page_bits
    }

    /// How far a byte is from where its page begins.
    fn in_page(&self, byte: u64) -> u64 {
        byte & (self.byte(1) - 1)
    }

    /// Frees a block that was never handed out. The `streams` are those that used its memory before; its view is forgotten,
    /// if it was made for it.
    #[cold]
    pub(crate) fn abandon(&mut self, plan: &Plan, place: Place) {
        match place {
            Place::Range(node) => {
                self.unuse(node, plan.streams);
                if let Choice::Segment { block } = &plan.place {
                    self.close_segment(self.pages_of(block));
                }
            }
            Place::View(id) => {
                let nodes = self.views.get_mut(id).map(|view| std::mem::take(&mut view.nodes));
                nodes.into_iter().flatten().for_each(|node| self.unuse(node, plan.streams));
                if matches!(plan.place, Choice::Parts(_)) {
                    self.views.remove(id);
                }
            }
        }
    }
}

fn count(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|pages| pages.end - pages.start).sum()
}

#[cfg(test)]
mod tests;
