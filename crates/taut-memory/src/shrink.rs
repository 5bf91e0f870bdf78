//! What is given back to the device: pages and views without a block. And the calls to the backing.

use crate::{
    Result,
    area::AREAS,
    report::Cause,
    state::{Inner, Locked, Seat, State, Turn},
};
use std::ops::Range;

impl Inner {
    /// What the live blocks need at least: their pages, and the overhead.
    pub(crate) fn least_bytes(&self, state: &State) -> u64 {
        let mut pages = state.area.arena.needed_pages();
        self.each_cache(|cache| pages += cache.area.arena.needed_pages());
        self.bytes_with(pages)
    }

    /// Gives pages without a live block back until `committed_bytes` or less are left or none can go: those of the caches
    /// first, and the highest first. Returns the bytes given back.
    pub(crate) fn shrink<'a>(
        &'a self,
        turn: &Turn<'_>,
        state: Locked<'a>,
        committed_bytes: u64,
    ) -> (Locked<'a>, Result<u64>) {
        let wanted = committed_bytes / self.span.granule_bytes;
        if state.committed_pages <= wanted {
            return (state, Ok(0));
        }
        let (state, caches) = self.shrink_caches(turn, state);
        let bytes = match caches {
            Ok(bytes) => bytes,
            Err(error) => return (state, Err(error)),
        };
        let excess = state.committed_pages.saturating_sub(wanted);
        let (seat, first) = self.shrink_area(turn, Seat { state, cache: None }, excess);
        (seat.state, first.map(|first| bytes + first))
    }

    /// Gives all pages of the caches back that hold no live block. Returns their bytes.
    pub(crate) fn shrink_caches<'a>(
        &'a self,
        turn: &Turn<'_>,
        mut state: Locked<'a>,
    ) -> (Locked<'a>, Result<u64>) {
        let mut bytes = 0;
        for number in 0..if self.caches.are_made() { AREAS } else { 0 } {
            drop(state);
            let (seat, given) = self.shrink_area(turn, self.seat(Some(number)), u64::MAX);
            state = seat.state;
            match given {
                Ok(given) => bytes += given,
                Err(error) => return (state, Err(error)),
            }
        }
        (state, Ok(bytes))
    }

    /// Gives back what is of no use to a block for which there is no room: all that the caches have free, or else, where pages
    /// come in segments, as many of those as it takes.
    pub(crate) fn reclaim<'a>(
        &'a self,
        turn: &Turn<'_>,
        state: Locked<'a>,
        cause: &Cause,
    ) -> (Locked<'a>, Result<u64>) {
        let (state, reclaimed) = self.shrink_caches(turn, state);
        if !self.span.is_segmented || reclaimed.as_ref().is_ok_and(|&bytes| bytes > 0) {
            return (state, reclaimed);
        }
        let excess = match cause {
            Cause::Budget { needed_bytes } => {
                needed_bytes.saturating_sub(state.budget_bytes).div_ceil(self.span.granule_bytes)
            }
            Cause::Device(_) | Cause::Addresses => u64::MAX,
            Cause::Scope { .. } => 0,
        };
        let (seat, given) = self.shrink_area(turn, Seat { state, cache: None }, excess);
        (seat.state, given)
    }

    /// Before an area grows: gives back what is free in areas that no thread takes from now. That is the first one while the
    /// caches are open, and otherwise theirs.
    pub(crate) fn shrink_unused<'a>(
        &'a self,
        turn: &Turn<'_>,
        state: Locked<'a>,
        of_cache: bool,
    ) -> (Locked<'a>, Result<u64>) {
        let arena = &state.area.arena;
        match of_cache {
            true if arena.committed_pages() > arena.needed_pages() => {
                let (seat, done) = self.shrink_area(turn, Seat { state, cache: None }, u64::MAX);
                (seat.state, done)
            }
            false if !self.caches.are_open() => self.shrink_caches(turn, state),
            _ => (state, Ok(0)),
        }
    }

    /// Gives up to `excess` pages of an area back, in whole segments where they come in those.
    fn shrink_area<'a>(
        &'a self,
        turn: &Turn<'_>,
        mut seat: Seat<'a>,
        excess: u64,
    ) -> (Seat<'a>, Result<u64>) {
        if seat.area().arena.committed_pages() == 0 || excess == 0 {
            return (seat, Ok(0));
        }
        // A page that is given back is shown nowhere. More views may have become idle meanwhile.
        while !seat.area().arena.idle_views().is_empty() {
            let forgotten;
            (seat, forgotten) = self.forget_views(turn, seat, usize::MAX);
            if let Err(error) = forgotten {
                return (seat, Err(error));
            }
        }
        let (area, mut held) = (seat.area_mut(), Vec::new());
        for pages in area.arena.spare(excess) {
            held.extend(area.arena.hold(pages));
        }
        let pages: Vec<_> = held.iter().map(|held| area.pages(&held.pages)).collect();
        let number = seat.number();
        drop(seat);

        let (mut gone, mut done) = (0, Ok(()));
        for pages in pages {
            done = self.decommit(pages);
            if done.is_err() {
                break;
            }
            gone += 1;
        }

        let mut seat = self.seat(number);
        seat.state.calls.decommits += gone as u64 + u64::from(done.is_err());
        let arena = &mut seat.area_mut().arena;
        let before = arena.committed_pages();
        held.into_iter().enumerate().for_each(|(i, held)| arena.let_go(held, i < gone));
        let n = before - arena.committed_pages();
        seat.state.committed_pages -= n;
        seat.state.stats.reserved_bytes = seat.state.committed_pages * self.span.granule_bytes;
        seat.state.publish();
        (seat, done.map(|()| n * self.span.granule_bytes))
    }

    /// Ends `n` views of an area without a block, those first that were taken the longest time ago.
    pub(crate) fn forget_views<'a>(
        &'a self,
        _turn: &Turn<'_>,
        mut seat: Seat<'a>,
        n: usize,
    ) -> (Seat<'a>, Result<()>) {
        let area = seat.area_mut();
        let idle = area.arena.idle_views().into_iter().take(n);
        let mut views: Vec<_> = idle
            .filter_map(|(id, _)| {
                let view = area.arena.forget_view(id)?;
                Some((area.pages(&view.pages), view))
            })
            .collect();
        let number = seat.number();
        drop(seat);

        let (mut calls, mut done) = (0, Ok(()));
        views.retain(|(pages, _)| {
            if done.is_ok() && !pages.is_empty() {
                calls += 1;
                done = self.unalias(pages.clone());
            }
            done.is_err()
        });

        let mut seat = self.seat(number);
        seat.state.calls.decommits += calls;
        views.into_iter().for_each(|(_, view)| seat.area_mut().arena.restore_view(view));
        (seat, done)
    }
}

/// What the backing is asked for, or the host pages that it stands for.
impl Inner {
    pub(crate) fn commit(&self, pages: Range<u64>) -> Result<()> {
        match &self.host {
            Some(mapping) => mapping.commit(pages),
            None => self.backing.commit(pages),
        }
    }

    pub(crate) fn decommit(&self, pages: Range<u64>) -> Result<()> {
        match &self.host {
            Some(mapping) => mapping.decommit(pages),
            None => self.backing.decommit(pages),
        }
    }

    pub(crate) fn alias(&self, pages: Range<u64>, of: &[Range<u64>]) -> Result<()> {
        match &self.host {
            Some(mapping) => mapping.alias(pages, of),
            None => self.backing.alias(pages, of),
        }
    }

    fn unalias(&self, pages: Range<u64>) -> Result<()> {
        match &self.host {
            Some(mapping) => mapping.unalias(pages),
            None => self.backing.unalias(pages),
        }
    }
}
