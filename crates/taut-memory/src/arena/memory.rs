//! Memory under pages, and views of them: what the pool does to its backing is noted here.

use super::{
    Arena, Choice, Full, Plan, count,
    ranges::{END, Used},
};
use std::ops::Range;

/// Second places for the parts of a plan, to be made before it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewView {
    /// Where.
    pub(crate) pages: Range<u64>,
    /// The pages to show there, in order.
    pub(crate) of: Vec<Range<u64>>,
}

impl Arena {
    /// Pages of a plan now have memory.
    pub(crate) fn commit(&mut self, pages: Range<u64>) {
        let len = self.last.len().max(pages.end as usize);
        self.last.resize(len, END);
        // As old as all that is made for this plan.
        self.pages.commit(pages, self.now + 1);
    }

    /// Free pages now have no memory. No view is idle.
    pub(crate) fn decommit(&mut self, pages: Range<u64>) {
        let bytes = self.byte(pages.start)..self.byte(pages.end);
        if let Some(gap) = self.gap_at(bytes.start)
            && let Some(used) = self.ranges.used(gap).filter(|used| used.end <= bytes.end)
        {
            self.ranges.free(gap, Used { end: used.end.min(bytes.start), ..used });
        }
        self.pages.decommit(pages);
    }

    /// Committed pages that hold no byte of a live block, the highest first.
    pub(crate) fn spare(&self) -> Vec<Range<u64>> {
        self.pages.spare()
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

    /// An idle view is no more.
    pub(crate) fn forget_view(&mut self, id: u32) {
        self.views.remove(id);
    }
}
