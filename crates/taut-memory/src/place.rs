//! Placing a block under a budget: what to commit, and what to give back.

use crate::{
    ALIGN_BYTES, Error, ErrorKind, Result, Site, StreamId,
    arena::{Full, NewView, Place, Plan},
    pool::{Inner, State},
    report::{Cause, Shortage},
};
use std::ops::Range;

impl Inner {
    /// Takes a place that is ready for a block of `bytes` on `stream`, if there is one that waits for no other stream.
    #[inline]
    pub(crate) fn find(&self, state: &mut State, bytes: u64, stream: StreamId) -> Option<(Place, u64)> {
        let bytes = bytes.checked_next_multiple_of(ALIGN_BYTES).filter(|&bytes| bytes > 0)?;
        state.arena.take_ready(bytes, 1 << stream.0)
    }

    /// Finds, commits and takes the place of a block of `bytes`, and returns it with its offset. What has no byte has no
    /// place, nor has what lies where a script says.
    ///
    /// With an error no block has moved, and at most pages and views kept for reuse are gone.
    pub(crate) fn place(
        &self,
        state: &mut State,
        bytes: u64,
        stream: StreamId,
        site: Site,
    ) -> Result<(Option<Place>, u64)> {
        if let Some(script) = &mut state.script
            && let Some(offset) = script.next(bytes, self.backing.capacity_bytes(), site)
        {
            return Ok((None, offset?));
        }
        if bytes == 0 {
            return Ok((None, 0));
        }
        let most_pages = self.pages_within(state.budget_bytes);
        let plan = match bytes.checked_next_multiple_of(ALIGN_BYTES) {
            Some(bytes) => state.arena.plan(bytes, most_pages),
            None => Err(Full::Addresses),
        };
        let plan = plan.map_err(|full| self.shortage(state, bytes, site, self.cause(full)))?;
        // First, because it changes nothing: work on `stream` at most waits in vain.
        let others = plan.streams & !(1 << stream.0);
        if others != 0 {
            self.order(stream, others).map_err(|error| named(site, &error))?;
        }
        if plan.is_ready() {
            let (place, offset) = state.arena.take(&plan, None);
            return Ok((Some(place), offset));
        }
        let (place, offset) = self.make(state, plan, bytes, most_pages, stream, site)?;
        Ok((Some(place), offset))
    }

    /// What the live blocks need at least: their pages, and the overhead.
    pub(crate) fn least_bytes(&self, state: &State) -> u64 {
        self.bytes_with(state.arena.touched_pages())
    }

    /// Gives pages without a live block back, the highest first, until `committed_bytes` or less are left or none can go.
    /// Returns the bytes given back.
    pub(crate) fn shrink(&self, state: &mut State, committed_bytes: u64) -> Result<u64> {
        let (before, wanted) = (state.arena.committed_pages(), committed_bytes / self.granule_bytes);
        if before <= wanted {
            return Ok(0);
        }
        // A page that is given back is shown nowhere.
        self.forget_views(state, usize::MAX)?;
        for pages in state.arena.spare() {
            let excess = state.arena.committed_pages().saturating_sub(wanted);
            let n = excess.min(pages.end - pages.start);
            if n == 0 {
                break;
            }
            self.decommit(state, pages.end - n..pages.end)?;
        }
        Ok((before - state.arena.committed_pages()) * self.granule_bytes)
    }

    /// Makes what a plan misses, and takes its place. If the device refuses, another place is tried, once.
    #[cold]
    fn make(
        &self,
        state: &mut State,
        plan: Plan,
        bytes: u64,
        most_pages: u64,
        stream: StreamId,
        site: Site,
    ) -> Result<(Place, u64)> {
        let mut plan = plan;
        let mut made = self.prepare(state, &plan);
        if made.is_err()
            && let Ok(other) = state.arena.plan_again(&plan, bytes.next_multiple_of(ALIGN_BYTES), most_pages)
        {
            self.order(stream, other.streams & !(1 << stream.0)).map_err(|error| named(site, &error))?;
            plan = other;
            made = self.prepare(state, &plan);
        }
        let view = made.map_err(|error| match error.kind() {
            ErrorKind::OutOfMemory => self.shortage(state, bytes, site, Cause::Device(error)),
            _ => named(site, &error),
        })?;
        let taken = state.arena.take(&plan, view.as_ref());
        state.stats.reserve(state.arena.committed_pages() * self.granule_bytes);
        self.rebase();
        Ok(taken)
    }

    /// Commits the pages and makes the view that a plan misses: all of it or nothing.
    fn prepare(&self, state: &mut State, plan: &Plan) -> Result<Option<NewView>> {
        for (i, pages) in plan.missing.iter().enumerate() {
            if let Err(error) = self.commit(state, pages.clone()) {
                self.undo(state, &plan.missing[..i]);
                return Err(error);
            }
        }
        let view = self.view(state, plan);
        if view.is_err() {
            self.undo(state, &plan.missing);
        }
        view
    }

    /// Makes the view that a plan needs, if any, in place of others if there is no room.
    fn view(&self, state: &mut State, plan: &Plan) -> Result<Option<NewView>> {
        let view = loop {
            if let Ok(view) = state.arena.new_view(plan) {
                break view;
            }
            // A part of them: enough that it does not happen each time, for it may synchronize, and few enough that it does
            // not take long.
            let idle = state.arena.idle_views().len();
            if idle == 0 {
                return Err(Error::out_of_memory("no range of addresses is left to show these pages in"));
            }
            self.forget_views(state, idle.div_ceil(16))?;
        };
        if let Some(NewView { pages, of }) = &view {
            state.calls.commits += 1;
            match &self.host {
                Some(mapping) => mapping.alias(pages.clone(), of),
                None => self.backing.alias(pages.clone(), of),
            }?;
        }
        Ok(view)
    }

    /// Ends `n` views without a block, those first that were taken the longest time ago.
    fn forget_views(&self, state: &mut State, n: usize) -> Result<()> {
        for (id, pages) in state.arena.idle_views().into_iter().take(n) {
            if !pages.is_empty() {
                state.calls.decommits += 1;
                match &self.host {
                    Some(mapping) => mapping.unalias(pages),
                    None => self.backing.unalias(pages),
                }?;
            }
            state.arena.forget_view(id);
        }
        Ok(())
    }

    fn commit(&self, state: &mut State, pages: Range<u64>) -> Result<()> {
        state.calls.commits += 1;
        match &self.host {
            Some(mapping) => mapping.commit(pages.clone()),
            None => self.backing.commit(pages.clone()),
        }?;
        state.arena.commit(pages);
        Ok(())
    }

    fn decommit(&self, state: &mut State, pages: Range<u64>) -> Result<()> {
        state.calls.decommits += 1;
        match &self.host {
            Some(mapping) => mapping.decommit(pages.clone())?,
            None => self.backing.decommit(pages.clone())?,
        }
        state.arena.decommit(pages);
        state.stats.reserved_bytes = state.arena.committed_pages() * self.granule_bytes;
        state.publish();
        Ok(())
    }

    /// Gives pages back that were committed for nothing. No view shows them: they had no memory before.
    fn undo(&self, state: &mut State, committed: &[Range<u64>]) {
        for pages in committed {
            // If this fails too, the pages stay in the arena as committed, which is what they are.
            let _ = self.decommit(state, pages.clone());
        }
        state.stats.reserve(state.arena.committed_pages() * self.granule_bytes);
    }

    /// Makes work on `stream` wait for the streams of `others`, a bit for each.
    fn order(&self, stream: StreamId, mut others: u64) -> Result<()> {
        while others != 0 {
            self.backing.order(stream, StreamId(others.trailing_zeros() as u8))?;
            others &= others - 1;
        }
        Ok(())
    }

    /// How many pages a budget has room for.
    fn pages_within(&self, budget_bytes: u64) -> u64 {
        budget_bytes.saturating_sub(self.backing.overhead_bytes()) / self.granule_bytes
    }

    /// So many pages and the overhead.
    fn bytes_with(&self, pages: u64) -> u64 {
        pages.saturating_mul(self.granule_bytes).saturating_add(self.backing.overhead_bytes())
    }

    fn cause(&self, full: Full) -> Cause {
        match full {
            Full::Pages(pages) => Cause::Budget { needed_bytes: self.bytes_with(pages) },
            Full::Addresses => Cause::Addresses,
        }
    }

    /// Why there is no room, in words.
    pub(crate) fn shortage(&self, state: &State, bytes: u64, site: Site, cause: Cause) -> Error {
        let used = self.backing.driver_bytes();
        let free = used.map(|used| self.backing.capacity_bytes().saturating_sub(used));
        let shortage = Shortage {
            site,
            requested_bytes: bytes,
            live_bytes: state.stats.live_bytes,
            reserved_bytes: state.stats.reserved_bytes,
            overhead_bytes: self.backing.overhead_bytes(),
            budget_bytes: state.budget_bytes,
            driver_free_bytes: free,
            owners: &state.owners,
            cause,
        };
        shortage.error()
    }
}

/// A fault of the device, with the op that met it in front.
fn named(site: Site, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", site.op))
}
