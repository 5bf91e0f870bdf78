//! Memory under pages, and views of them: what the pool does to its backing is noted here.

use super::{Arena, Choice, Full, Place, Plan, count, ranges::Used, views::View};
use std::ops::Range;

/// Second places for the parts of a plan, to be made before it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewView {
    /// Where.
    pub(crate) pages: Range<u64>,
    /// The pages to show there, in order.
    pub(crate) of: Vec<Range<u64>>,
}

/// Pages on their way out.
#[derive(Debug)]
pub(crate) struct Held {
    node: u32,
    pub(crate) pages: Range<u64>,
    streams: u64,
}

impl Arena {
    /// How old what is made for the next plan will be.
    pub(crate) fn next_age(&self) -> u64 {
        self.now + 1
    }

    /// Pages of a plan that was taken now have memory; `age` is what [`next_age`](Self::next_age) was before.
    pub(crate) fn commit(&mut self, pages: Range<u64>, age: u64) {
        self.pages.commit(pages, age);
    }

    /// Makes free pages that have memory live, so that nobody gets them while that is taken away. No view is idle.
    pub(crate) fn hold(&mut self, pages: Range<u64>) -> Option<Held> {
        let bytes = self.byte(pages.start)..self.byte(pages.end);
        let gap = self.gap_at(bytes.start).filter(|&gap| bytes.end <= self.ranges.end(gap))?;
        let used = self.ranges.used(gap).filter(|used| bytes.start < used.end);
        Some(Held { node: self.occupy(gap, bytes), pages, streams: used.map_or(0, |used| used.streams) })
    }

    /// All that a plan needed is there.
    #[inline]
    pub(crate) fn finish(&mut self, plan: &Plan, place: Place) {
        if let (Choice::Segment { block }, Place::Range(node)) = (&plan.place, place) {
            // Until now nobody else could have the rest.
            self.vacate(node, 0);
            self.occupy(node, block.clone());
        }
    }

    /// Makes pages free that were [held](Self::hold), with their memory or without.
    pub(crate) fn let_go(&mut self, held: Held, decommitted: bool) {
        self.unuse(held.node, if decommitted { 0 } else { held.streams });
        if decommitted {
            self.decommit(held.pages);
        }
    }

    /// Free pages now have no memory.
    fn decommit(&mut self, pages: Range<u64>) {
        if self.segments.is_some() {
            self.pages.decommit(pages.clone());
            return self.close_segment(pages);
        }
        let bytes = self.byte(pages.start)..self.byte(pages.end);
        if let Some(gap) = self.gap_at(bytes.start)
            && let Some(used) = self.ranges.used(gap).filter(|used| used.end <= bytes.end)
        {
            self.ranges.free(gap, Used { end: used.end.min(bytes.start), ..used });
        }
        self.pages.decommit(pages);
    }

    /// Up to `n` committed pages that can go, the highest first. Of segments none goes in part: the last one may be longer.
    pub(crate) fn spare(&self, n: u64) -> Vec<Range<u64>> {
        let (mut spare, mut rest) = (Vec::new(), n);
        let all = self
            .segments
            .as_ref()
            .map_or_else(|| self.pages.spare(), |segments| self.free_segments(segments));
        for pages in all {
            if rest == 0 {
                break;
            }
            let len = pages.end - pages.start;
            let taken = if self.segments.is_some() { len } else { rest.min(len) };
            spare.push(pages.end - taken..pages.end);
            rest = rest.saturating_sub(taken);
        }
        spare
    }

    /// The view that a plan needs made, or `None` if it needs none. An error if there is no room: then others that are
    /// [idle](Self::idle_views) must go.
    pub(crate) fn new_view(&self, plan: &Plan) -> Result<Option<NewView>, Full> {
        let Choice::Parts(parts) = &plan.place else { return Ok(None) };
        if parts.len() < 2 {
            return Ok(None);
        }
        let of: Vec<Range<u64>> = parts.iter().map(|part| self.pages_of(part)).collect();
        let room = self.views.room(count(&of), parts.len(), self.view_span.clone());
        room.map(|pages| Some(NewView { pages, of })).ok_or(Full::Addresses)
    }

    /// The views without a block, the one that was taken the longest time ago first, with the pages where they lie.
    pub(crate) fn idle_views(&self) -> Vec<(u32, Range<u64>)> {
        let pages = |id| self.views.get(id).map(|view| (id, view.pages.clone()));
        self.views.idle().into_iter().filter_map(pages).collect()
    }

    /// Takes out a view, if it is idle, so that it is taken no more.
    pub(crate) fn forget_view(&mut self, id: u32) -> Option<View> {
        self.views.get(id).filter(|view| view.nodes.is_empty())?;
        self.views.remove(id)
    }

    /// Enters an idle view again that was [forgotten](Self::forget_view), but is still there.
    pub(crate) fn restore_view(&mut self, view: View) {
        self.views.insert(view);
    }
}
