//! Placing a block under a budget: what to commit, and what to give back first.

use crate::{
    ALIGN_BYTES, Error, ErrorKind, Result, Site, StreamId,
    arena::Plan,
    pool::{Inner, State},
    report::{Cause, Shortage},
};
use std::ops::Range;

impl Inner {
    /// Finds, commits and takes the place of a block of `bytes` (not 0), and returns its offset.
    ///
    /// With an error no block has moved, and at most pages kept for reuse are gone.
    pub(crate) fn place(&self, state: &mut State, bytes: u64, stream: StreamId, site: Site) -> Result<u64> {
        let plan = self.choose(state, bytes).map_err(|cause| self.shortage(state, bytes, site, cause))?;
        // First, because it changes nothing: work on `stream` at most waits in vain.
        let mut others = plan.streams & !(1 << stream.0);
        while others != 0 {
            let after = StreamId(others.trailing_zeros() as u8);
            self.backing.order(stream, after).map_err(|error| named(site, &error))?;
            others &= others - 1;
        }
        if !plan.missing.is_empty() {
            let keep = state.arena.pages(&plan.block);
            let limit = state.budget_bytes.saturating_sub(self.backing.overhead_bytes());
            let new = plan.missing_pages() * self.granule_bytes;
            self.shrink(state, limit.saturating_sub(new), &keep).map_err(|error| named(site, &error))?;
            if self.commit(state, &plan).is_err() {
                self.shrink(state, 0, &keep).map_err(|error| named(site, &error))?;
                self.commit(state, &plan).map_err(|error| match error.kind() {
                    ErrorKind::OutOfMemory => self.shortage(state, bytes, site, Cause::Device(error)),
                    _ => named(site, &error),
                })?;
            }
            state.stats.reserve(state.arena.committed_bytes());
            self.rebase();
        }
        state.arena.take(&plan);
        Ok(plan.block.start)
    }

    /// What the live blocks need at least: their pages, and the overhead.
    pub(crate) fn least_bytes(&self, state: &State) -> u64 {
        let spare = count(&state.arena.spare(&(0..0))) * self.granule_bytes;
        (state.arena.committed_bytes() - spare).saturating_add(self.backing.overhead_bytes())
    }

    /// Gives pages without a live block back, the highest first and not those in `keep`, until `committed_bytes` or
    /// less are left or none can go. Returns the bytes given back.
    pub(crate) fn shrink(&self, state: &mut State, committed_bytes: u64, keep: &Range<u64>) -> Result<u64> {
        let before = state.arena.committed_bytes();
        if before <= committed_bytes {
            return Ok(0);
        }
        for pages in state.arena.spare(keep) {
            let excess = state.arena.committed_bytes().saturating_sub(committed_bytes);
            let n = excess.div_ceil(self.granule_bytes).min(pages.end - pages.start);
            if n == 0 {
                break;
            }
            self.decommit(state, pages.end - n..pages.end)?;
        }
        Ok(before - state.arena.committed_bytes())
    }

    /// The best fit or, where its pages can not be paid for, the place with the fewest pages to itself.
    fn choose(&self, state: &State, bytes: u64) -> Result<Plan, Cause> {
        let bytes = bytes.checked_next_multiple_of(ALIGN_BYTES).ok_or(Cause::Addresses)?;
        let plan = state.arena.plan(bytes).ok_or(Cause::Addresses)?;
        if plan.missing.is_empty() || self.least_bytes_with(state, &plan) <= state.budget_bytes {
            return Ok(plan);
        }
        let plan = state.arena.plan_tightest(bytes).ok_or(Cause::Addresses)?;
        let needed_bytes = self.least_bytes_with(state, &plan);
        if needed_bytes <= state.budget_bytes { Ok(plan) } else { Err(Cause::Budget { needed_bytes }) }
    }

    /// What the live blocks and the block of `plan` need at least, overhead included.
    fn least_bytes_with(&self, state: &State, plan: &Plan) -> u64 {
        let spare = count(&state.arena.spare(&state.arena.pages(&plan.block)));
        let pages = state.arena.committed_bytes() / self.granule_bytes + plan.missing_pages() - spare;
        (pages * self.granule_bytes).saturating_add(self.backing.overhead_bytes())
    }

    /// Commits all pages that a plan misses, or none.
    fn commit(&self, state: &mut State, plan: &Plan) -> Result<()> {
        for (i, pages) in plan.missing.iter().enumerate() {
            state.calls.commits += 1;
            let result = match &self.host {
                Some(mapping) => mapping.commit(pages.clone()),
                None => self.backing.commit(pages.clone()),
            };
            if let Err(error) = result {
                for done in &plan.missing[..i] {
                    // If this fails too, the pages stay in the arena as committed, which is what they are.
                    let _ = self.decommit(state, done.clone());
                }
                state.stats.reserve(state.arena.committed_bytes());
                return Err(error);
            }
            state.arena.commit(pages.clone());
        }
        Ok(())
    }

    fn decommit(&self, state: &mut State, pages: Range<u64>) -> Result<()> {
        state.calls.decommits += 1;
        match &self.host {
            Some(mapping) => mapping.decommit(pages.clone())?,
            None => self.backing.decommit(pages.clone())?,
        }
        state.arena.decommit(pages);
        state.stats.reserved_bytes = state.arena.committed_bytes();
        state.publish();
        Ok(())
    }

    fn shortage(&self, state: &State, bytes: u64, site: Site, cause: Cause) -> Error {
        let shortage = Shortage {
            site,
            requested_bytes: bytes,
            live_bytes: state.stats.live_bytes,
            reserved_bytes: state.stats.reserved_bytes,
            overhead_bytes: self.backing.overhead_bytes(),
            budget_bytes: state.budget_bytes,
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

fn count(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|pages| pages.end - pages.start).sum()
}
