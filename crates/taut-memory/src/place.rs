//! Placing a block under a budget: what to commit, and where.
//!
//! No lock of the pool is held while the device is asked for something, but for the [turn](Inner::turn) to ask it. What a
//! block needs made is taken first, so that nobody else gets it, then made, then handed out; meanwhile other threads take
//! and give what is there.

use crate::{
    ALIGN_BYTES, Error, ErrorKind, Result, ScopeId, Site, StreamId,
    area::Area,
    arena::{Full, NewView, Place, Plan},
    report::{Cause, Shortage},
    state::{Inner, Locked, Seat, State, Turn},
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

impl Request {
    /// The bytes of its place, if there are any, and not too many to say.
    #[inline]
    pub(crate) fn aligned(&self) -> Option<u64> {
        self.bytes.checked_next_multiple_of(ALIGN_BYTES).filter(|&bytes| bytes > 0)
    }

    /// A bit for its stream.
    #[inline]
    pub(crate) fn streams(&self) -> u64 {
        1 << self.stream.0
    }
}

impl Area {
    /// Takes a place that is ready, if there is one that waits for no other stream. Returns it with its offset in the pool.
    #[inline]
    pub(crate) fn find(&mut self, request: &Request) -> Option<(Place, u64)> {
        let (place, offset) = self.arena.take_ready(request.aligned()?, request.streams())?;
        Some((place, self.offset(offset)))
    }

    /// Takes the place of a plan, if that is ready and waits for no other stream.
    #[inline]
    pub(crate) fn take(&mut self, plan: &Plan, request: &Request) -> Option<(Place, u64)> {
        if !plan.is_ready() || plan.streams & !request.streams() != 0 {
            return None;
        }
        let (place, offset) = self.arena.take(plan, None);
        Some((place, self.offset(offset)))
    }
}

impl Inner {
    /// Finds, commits and takes the place of a block in the first area, and returns it with its offset. What has no byte has
    /// no place, nor has what lies where a script says.
    ///
    /// With an error no block has moved, and at most pages and views kept for reuse are gone.
    pub(crate) fn place<'a>(
        &'a self,
        mut state: Locked<'a>,
        request: Request,
    ) -> Result<(Locked<'a>, Option<Place>, u64)> {
        let Request { bytes, site, .. } = request;
        if let Some(script) = &mut state.script
            && let Some(offset) = script.next(bytes, self.backing.capacity_bytes(), site)
        {
            return Ok((state, None, offset?));
        }
        if bytes == 0 {
            return Ok((state, None, 0));
        }
        if let Ok(plan) = self.plan(&state, &state.area, &request)
            && let Some((place, offset)) = state.area.take(&plan, &request)
        {
            return Ok((state, Some(place), offset));
        }
        drop(state);
        self.place_in_turn(request).map(|(state, (place, offset))| (state, Some(place), offset))
    }

    /// The same where the device must do something, or its streams must wait. There is no error before what can be
    /// [reclaimed](Self::reclaim) has been.
    #[cold]
    fn place_in_turn(&self, request: Request) -> Result<(Locked<'_>, (Place, u64))> {
        let turn = self.turn();
        loop {
            let (state, done) = self.shrink_unused(&turn, self.lock(), false);
            done.map_err(|error| named(request.site, &error))?;
            // Another thread may have come first.
            if let Some(limit) = state.limits.exceeded(request.scope, request.bytes) {
                return Err(self.shortage(state, request, limit));
            }
            let (Seat { state, .. }, made) = self.make(&turn, Seat { state, cache: None }, &request);
            let cause = match made {
                Ok(taken) => return Ok((state, taken)),
                Err(Refusal::Full(full)) => self.cause(&state, full),
                Err(Refusal::Device(error)) if error.kind() == ErrorKind::OutOfMemory => Cause::Device(error),
                Err(Refusal::Device(error) | Refusal::Order(error)) => {
                    return Err(named(request.site, &error));
                }
            };
            let (state, reclaimed) = self.reclaim(&turn, state, &cause);
            if !reclaimed.is_ok_and(|bytes| bytes > 0) {
                return Err(self.shortage(state, request, cause));
            }
        }
    }

    /// Where to place a block in an area.
    fn plan(&self, state: &State, area: &Area, request: &Request) -> Result<Plan, Full> {
        let bytes = request.bytes.checked_next_multiple_of(ALIGN_BYTES).ok_or(Full::Addresses)?;
        area.arena.plan(bytes, self.most_pages(state, area))
    }

    /// How many pages an area may have under the budget.
    fn most_pages(&self, state: &State, area: &Area) -> u64 {
        let others = state.committed_pages - area.arena.committed_pages();
        self.pages_within(state.budget_bytes).saturating_sub(others)
    }

    /// Finds a place in an area, takes it, and makes what it misses. If the device refuses, another place is tried, once.
    pub(crate) fn make<'a>(
        &'a self,
        turn: &Turn<'_>,
        mut seat: Seat<'a>,
        request: &Request,
    ) -> (Seat<'a>, Result<(Place, u64), Refusal>) {
        let plan = match self.plan(&seat.state, seat.area(), request) {
            Ok(plan) => plan,
            Err(full) => return (seat, Err(Refusal::Full(full))),
        };
        // Limits change in their turn only, so these are the same in the end.
        seat.state.limits.add(request.scope, request.bytes);
        let mut made;
        (seat, made) = self.prepare(turn, seat, &plan, request.stream);
        if let Err(Refusal::Device(_)) = &made {
            let most_pages = self.most_pages(&seat.state, seat.area());
            let other = request.aligned().map(|bytes| seat.area().arena.plan_again(&plan, bytes, most_pages));
            if let Some(Ok(other)) = other {
                (seat, made) = self.prepare(turn, seat, &other, request.stream);
            }
        }
        seat.state.limits.sub(request.scope, request.bytes);
        (seat, made)
    }

    /// Takes the place of a plan, lets `stream` wait for those that used it, commits the pages and makes the view that it
    /// misses: all of it or nothing.
    fn prepare<'a>(
        &'a self,
        turn: &Turn<'_>,
        seat: Seat<'a>,
        plan: &Plan,
        stream: StreamId,
    ) -> (Seat<'a>, Result<(Place, u64), Refusal>) {
        let (mut seat, view) = self.view(turn, seat, plan);
        let view = match view {
            Ok(view) => view,
            Err(error) => return (seat, Err(Refusal::Device(error))),
        };
        let area = seat.area_mut();
        let age = area.arena.next_age();
        let (place, offset) = area.arena.take(plan, view.as_ref());
        let offset = area.offset(offset);
        let missing = plan.missing.iter().map(|pages| area.pages(pages)).collect();
        let view = view.map(|NewView { pages, of }| NewView {
            pages: area.pages(&pages),
            of: of.iter().map(|pages| area.pages(pages)).collect(),
        });
        let number = seat.number();
        drop(seat);

        let mut made = Made { has_memory: vec![false; plan.missing.len()], commits: 0, decommits: 0 };
        let done = self.ask(stream, plan.streams & !(1 << stream.0), missing, view, &mut made);

        let mut seat = self.seat(number);
        seat.state.calls.commits += made.commits;
        seat.state.calls.decommits += made.decommits;
        let arena = &mut seat.area_mut().arena;
        let before = arena.committed_pages();
        for (pages, _) in plan.missing.iter().zip(made.has_memory).filter(|(_, has)| *has) {
            arena.commit(pages.clone(), age);
        }
        match &done {
            Ok(()) => arena.finish(plan, place),
            Err(_) => arena.abandon(plan, place),
        }
        let new = arena.committed_pages() - before;
        seat.state.committed_pages += new;
        let reserved_bytes = seat.state.committed_pages * self.span.granule_bytes;
        seat.state.stats.reserve(reserved_bytes);
        seat.state.publish();
        self.rebase();
        (seat, done.map(|()| (place, offset)))
    }

    /// Asks the device for what a plan misses, whose place is taken.
    fn ask(
        &self,
        stream: StreamId,
        others: u64,
        missing: Vec<Range<u64>>,
        view: Option<NewView>,
        made: &mut Made,
    ) -> Result<(), Refusal> {
        // First, because it changes nothing: work on `stream` at most waits in vain.
        self.order(stream, others).map_err(Refusal::Order)?;
        let mut done = Ok(());
        for (pages, has_memory) in missing.iter().zip(&mut made.has_memory) {
            made.commits += 1;
            done = self.commit(pages.clone());
            *has_memory = done.is_ok();
            if done.is_err() {
                break;
            }
        }
        if let (Ok(()), Some(NewView { pages, of })) = (&done, view) {
            made.commits += 1;
            done = self.alias(pages, &of);
        }
        if done.is_err() {
            // Nobody needs these now, and no view shows them: they had no memory before. Those that can not be given back
            // stay, as what they are.
            for (pages, has_memory) in missing.iter().zip(&mut made.has_memory).filter(|(_, has)| **has) {
                made.decommits += 1;
                *has_memory = self.decommit(pages.clone()).is_err();
            }
        }
        done.map_err(Refusal::Device)
    }

    /// The view that a plan needs made, if any, in place of others if there is no room.
    fn view<'a>(
        &'a self,
        turn: &Turn<'_>,
        mut seat: Seat<'a>,
        plan: &Plan,
    ) -> (Seat<'a>, Result<Option<NewView>>) {
        loop {
            if let Ok(view) = seat.area().arena.new_view(plan) {
                return (seat, Ok(view));
            }
            // A part of them: enough that it does not happen each time, for it may synchronize, and few enough that it does
            // not take long.
            let idle = seat.area().arena.idle_views().len();
            if idle == 0 {
                let none = "no range of addresses is left to show these pages in";
                return (seat, Err(Error::out_of_memory(none)));
            }
            let forgotten;
            (seat, forgotten) = self.forget_views(turn, seat, idle.div_ceil(16));
            if let Err(error) = forgotten {
                return (seat, Err(error));
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
        budget_bytes.saturating_sub(self.backing.overhead_bytes()) / self.span.granule_bytes
    }

    /// So many pages and the overhead.
    pub(crate) fn bytes_with(&self, pages: u64) -> u64 {
        pages.saturating_mul(self.span.granule_bytes).saturating_add(self.backing.overhead_bytes())
    }

    /// Why there is no place in the first area.
    fn cause(&self, state: &State, full: Full) -> Cause {
        let others = state.committed_pages - state.area.arena.committed_pages();
        match full {
            Full::Pages(pages) => {
                Cause::Budget { needed_bytes: self.bytes_with(others.saturating_add(pages)) }
            }
            Full::Addresses => Cause::Addresses,
        }
    }

    /// Why there is no room, in words.
    #[cold]
    pub(crate) fn shortage(&self, state: Locked<'_>, request: Request, cause: Cause) -> Error {
        drop(state);
        let used = self.backing.driver_bytes();
        let free = used.map(|used| self.backing.capacity_bytes().saturating_sub(used));
        let state = self.settled();
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

/// A fault of the device, with the op that met it in front.
fn named(site: Site, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", site.op))
}

/// What the device did for a plan.
struct Made {
    /// Which of the pages have memory that had none.
    has_memory: Vec<bool>,
    commits: u64,
    decommits: u64,
}

/// Why there is no place.
pub(crate) enum Refusal {
    Full(Full),
    /// Of pages or of a view.
    Device(Error),
    /// Of a wait: no other place would help.
    Order(Error),
}
