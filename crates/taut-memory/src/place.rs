//! Placing a block under a budget: what to commit, and where.
//!
//! The lock of the pool is never held while the device is asked for something. What a block needs made is taken first, so
//! that nobody else gets it, then made, then handed out; meanwhile other threads take and give what is there. Those that
//! need the device too take turns.

use crate::{
    ALIGN_BYTES, Error, ErrorKind, Result, ScopeId, Site, StreamId,
    arena::{Full, NewView, Place, Plan},
    pool::{Inner, Locked, State, Turn},
    report::{Cause, Shortage},
};
use std::ops::Range;

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) bytes: u64,
    pub(crate) stream: StreamId,
    pub(crate) site: Site,
    pub(crate) scope: ScopeId,
}

impl Inner {
    /// Takes a place that is ready for a block of `bytes` on `stream`, if there is one that waits for no other stream.
    #[inline]
    pub(crate) fn find(&self, state: &mut State, bytes: u64, stream: StreamId) -> Option<(Place, u64)> {
        let bytes = bytes.checked_next_multiple_of(ALIGN_BYTES).filter(|&bytes| bytes > 0)?;
        state.arena.take_ready(bytes, 1 << stream.0)
    }

    /// Finds, commits and takes the place of a block, and returns it with its offset. What has no byte has no place, nor has
    /// what lies where a script says.
    ///
    /// With an error no block has moved, and at most pages and views kept for reuse are gone.
    pub(crate) fn place<'a>(
        &'a self,
        mut state: Locked<'a>,
        request: &Request,
    ) -> Result<(Locked<'a>, Option<Place>, u64)> {
        let &Request { bytes, stream, site, .. } = request;
        if let Some(script) = &mut state.script
            && let Some(offset) = script.next(bytes, self.backing.capacity_bytes(), site)
        {
            return Ok((state, None, offset?));
        }
        if bytes == 0 {
            return Ok((state, None, 0));
        }
        match self.plan(&state, bytes) {
            Ok(plan) if plan.is_ready() && plan.streams & !(1 << stream.0) == 0 => {
                let (place, offset) = state.arena.take(&plan, None);
                Ok((state, Some(place), offset))
            }
            Ok(_) => {
                drop(state);
                self.place_in_turn(request).map(|(state, place, offset)| (state, Some(place), offset))
            }
            Err(full) => {
                let cause = self.cause(full);
                Err(self.shortage(state, request, cause))
            }
        }
    }

    /// The same where the device must do something, or its streams must wait.
    #[cold]
    fn place_in_turn(&self, request: &Request) -> Result<(Locked<'_>, Place, u64)> {
        let turn = self.turn();
        let mut state = self.lock();
        // Another thread may have come first.
        if let Some(limit) = state.limits.exceeded(request.scope, request.bytes) {
            return Err(self.shortage(state, request, limit));
        }
        let plan = match self.plan(&state, request.bytes) {
            Ok(plan) => plan,
            Err(full) => {
                let cause = self.cause(full);
                return Err(self.shortage(state, request, cause));
            }
        };
        // Limits change in their turn only, so these are the same in the end.
        state.limits.add(request.scope, request.bytes);
        let (mut state, made) = self.make(&turn, state, plan, request);
        state.limits.sub(request.scope, request.bytes);
        match made {
            Ok((place, offset)) => Ok((state, place, offset)),
            Err(error) if error.kind() == ErrorKind::OutOfMemory => {
                Err(self.shortage(state, request, Cause::Device(error)))
            }
            Err(error) => Err(Error::new(error.kind(), format!("{}: {error}", request.site.op))),
        }
    }

    fn plan(&self, state: &State, bytes: u64) -> Result<Plan, Full> {
        let most_pages = self.pages_within(state.budget_bytes);
        let bytes = bytes.checked_next_multiple_of(ALIGN_BYTES).ok_or(Full::Addresses)?;
        state.arena.plan(bytes, most_pages)
    }

    /// Takes the place of a plan, and makes what it misses. If the device refuses, another place is tried, once.
    fn make<'a>(
        &'a self,
        turn: &Turn<'_>,
        state: Locked<'a>,
        plan: Plan,
        &Request { bytes, stream, .. }: &Request,
    ) -> (Locked<'a>, Result<(Place, u64)>) {
        let (mut state, mut made) = self.prepare(turn, state, &plan, stream);
        if let Err(Refusal::Memory(_)) = &made {
            let most_pages = self.pages_within(state.budget_bytes);
            let other = state.arena.plan_again(&plan, bytes.next_multiple_of(ALIGN_BYTES), most_pages);
            if let Ok(other) = other {
                (state, made) = self.prepare(turn, state, &other, stream);
            }
        }
        let error = |refusal| match refusal {
            Refusal::Order(error) | Refusal::Memory(error) => error,
        };
        (state, made.map_err(error))
    }

    /// Takes the place of a plan, lets `stream` wait for those that used it, commits the pages and makes the view that it
    /// misses: all of it or nothing.
    fn prepare<'a>(
        &'a self,
        turn: &Turn<'_>,
        state: Locked<'a>,
        plan: &Plan,
        stream: StreamId,
    ) -> (Locked<'a>, Result<(Place, u64), Refusal>) {
        let (mut state, view) = self.view(turn, state, plan);
        let view = match view {
            Ok(view) => view,
            Err(error) => return (state, Err(Refusal::Memory(error))),
        };
        let age = state.arena.next_age();
        let (place, offset) = state.arena.take(plan, view.as_ref());
        drop(state);

        let mut made = Made::default();
        let done = self.ask(plan, view, stream, &mut made);

        let mut state = self.lock();
        state.calls.commits += made.commits;
        state.calls.decommits += made.decommits;
        made.pages.into_iter().for_each(|pages| state.arena.commit(pages, age));
        if done.is_err() {
            state.arena.abandon(plan, place);
        }
        let reserved_bytes = state.arena.committed_pages() * self.granule_bytes;
        state.stats.reserve(reserved_bytes);
        state.publish();
        self.rebase();
        (state, done.map(|()| (place, offset)))
    }

    /// Asks the device for what a plan misses, whose place is taken.
    fn ask(
        &self,
        plan: &Plan,
        view: Option<NewView>,
        stream: StreamId,
        made: &mut Made,
    ) -> Result<(), Refusal> {
        // First, because it changes nothing: work on `stream` at most waits in vain.
        self.order(stream, plan.streams & !(1 << stream.0)).map_err(Refusal::Order)?;
        let mut done = Ok(());
        for pages in &plan.missing {
            made.commits += 1;
            done = self.commit(pages.clone());
            if done.is_err() {
                break;
            }
            made.pages.push(pages.clone());
        }
        if let (Ok(()), Some(NewView { pages, of })) = (&done, view) {
            made.commits += 1;
            done = self.alias(pages, &of);
        }
        if done.is_err() {
            // Nobody needs these now, and no view shows them: they had no memory before. Those that can not be given back
            // stay, as what they are.
            made.decommits += made.pages.len() as u64;
            made.pages.retain(|pages| self.decommit(pages.clone()).is_err());
        }
        done.map_err(Refusal::Memory)
    }

    /// The view that a plan needs made, if any, in place of others if there is no room.
    fn view<'a>(
        &'a self,
        turn: &Turn<'_>,
        mut state: Locked<'a>,
        plan: &Plan,
    ) -> (Locked<'a>, Result<Option<NewView>>) {
        loop {
            if let Ok(view) = state.arena.new_view(plan) {
                return (state, Ok(view));
            }
            // A part of them: enough that it does not happen each time, for it may synchronize, and few enough that it does
            // not take long.
            let idle = state.arena.idle_views().len();
            if idle == 0 {
                let none = "no range of addresses is left to show these pages in";
                return (state, Err(Error::out_of_memory(none)));
            }
            let forgotten;
            (state, forgotten) = self.forget_views(turn, state, idle.div_ceil(16));
            if let Err(error) = forgotten {
                return (state, Err(error));
            }
        }
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
    pub(crate) fn bytes_with(&self, pages: u64) -> u64 {
        pages.saturating_mul(self.granule_bytes).saturating_add(self.backing.overhead_bytes())
    }

    fn cause(&self, full: Full) -> Cause {
        match full {
            Full::Pages(pages) => Cause::Budget { needed_bytes: self.bytes_with(pages) },
            Full::Addresses => Cause::Addresses,
        }
    }

    /// Why there is no room, in words.
    #[cold]
    pub(crate) fn shortage(&self, state: Locked<'_>, request: &Request, cause: Cause) -> Error {
        drop(state);
        let used = self.backing.driver_bytes();
        let free = used.map(|used| self.backing.capacity_bytes().saturating_sub(used));
        let state = self.lock();
        let shortage = Shortage {
            site: request.site,
            requested_bytes: request.bytes,
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

/// What the device did for a plan.
#[derive(Default)]
struct Made {
    /// With memory now, but not before.
    pages: Vec<Range<u64>>,
    commits: u64,
    decommits: u64,
}

/// What the device did not do.
enum Refusal {
    /// Let a stream wait: no other place would help.
    Order(Error),
    /// Commit pages, or show them.
    Memory(Error),
}
