//! What is given back to the device: pages and views without a block. And the calls to the backing, none of which is made
//! with the lock of the pool held.

use crate::{
    Result,
    pool::{Inner, Locked, State, Turn},
};
use std::ops::Range;

impl Inner {
    /// What the live blocks need at least: their pages, and the overhead.
    pub(crate) fn least_bytes(&self, state: &State) -> u64 {
        self.bytes_with(state.arena.touched_pages())
    }

    /// Gives pages without a live block back, the highest first, until `committed_bytes` or less are left or none can go.
    /// Returns the bytes given back.
    pub(crate) fn shrink<'a>(
        &'a self,
        turn: &Turn<'_>,
        mut state: Locked<'a>,
        committed_bytes: u64,
    ) -> (Locked<'a>, Result<u64>) {
        let (before, wanted) = (state.arena.committed_pages(), committed_bytes / self.granule_bytes);
        if before <= wanted {
            return (state, Ok(0));
        }
        // A page that is given back is shown nowhere. More views may have become idle meanwhile.
        while !state.arena.idle_views().is_empty() {
            let forgotten;
            (state, forgotten) = self.forget_views(turn, state, usize::MAX);
            if let Err(error) = forgotten {
                return (state, Err(error));
            }
        }
        let (mut excess, mut held) = (before - wanted, Vec::new());
        for pages in state.arena.spare() {
            let n = excess.min(pages.end - pages.start);
            if n == 0 {
                break;
            }
            excess -= n;
            held.extend(state.arena.hold(pages.end - n..pages.end));
        }
        drop(state);

        let (mut gone, mut done) = (0, Ok(()));
        for held in &held {
            done = self.decommit(held.pages.clone());
            if done.is_err() {
                break;
            }
            gone += 1;
        }

        let mut state = self.lock();
        state.calls.decommits += gone as u64 + u64::from(done.is_err());
        held.into_iter().enumerate().for_each(|(i, held)| state.arena.let_go(held, i < gone));
        let after = state.arena.committed_pages();
        state.stats.reserved_bytes = after * self.granule_bytes;
        state.publish();
        (state, done.map(|()| (before - after) * self.granule_bytes))
    }

    /// Ends `n` views without a block, those first that were taken the longest time ago.
    pub(crate) fn forget_views<'a>(
        &'a self,
        _turn: &Turn<'_>,
        mut state: Locked<'a>,
        n: usize,
    ) -> (Locked<'a>, Result<()>) {
        let idle = state.arena.idle_views().into_iter().take(n);
        let mut views: Vec<_> = idle.filter_map(|(id, _)| state.arena.forget_view(id)).collect();
        drop(state);

        let (mut calls, mut done) = (0, Ok(()));
        views.retain(|view| {
            if done.is_ok() && !view.pages.is_empty() {
                calls += 1;
                done = self.unalias(view.pages.clone());
            }
            done.is_err()
        });

        let mut state = self.lock();
        state.calls.decommits += calls;
        views.into_iter().for_each(|view| state.arena.restore_view(view));
        (state, done)
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
