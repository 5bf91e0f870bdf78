//! What is in use, and what was at most.

use crate::Kind;
use std::ops::Sub;

/// The state of a [`Pool`](crate::Pool) at one moment.
///
/// Live bytes are those that were asked for, exactly: the space between blocks is not counted. A peak is the highest
/// value since the pool was made or [`reset_peaks`](crate::Pool::reset_peaks) was called. Where threads have memory of their
/// own, the peaks of live bytes are as if each thread had held its most at the same time: never less than the true ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of all live blocks.
    pub live_bytes: u64,
    /// The peak of `live_bytes`.
    pub peak_live_bytes: u64,
    /// Bytes of live blocks of every kind but [`Kind::Workspace`]: the same on every device.
    pub tensor_bytes: u64,
    /// The peak of `tensor_bytes`.
    pub peak_tensor_bytes: u64,
    /// Bytes of live blocks of [`Kind::Workspace`].
    pub workspace_bytes: u64,
    /// The peak of `workspace_bytes`.
    pub peak_workspace_bytes: u64,
    /// Bytes of all committed pages: under live blocks, between them, and kept for reuse.
    pub reserved_bytes: u64,
    /// The peak of `reserved_bytes`.
    pub peak_reserved_bytes: u64,
    /// What the driver says is in use on the card, by everybody. `None` where there is no card.
    pub driver_bytes: Option<u64>,
    /// Bytes of live blocks by kind, indexed by `kind as usize`.
    pub live_by_kind: [u64; 8],
    /// The peaks of `live_by_kind`, each at its own moment: their sum is no peak of anything.
    pub peak_by_kind: [u64; 8],
    /// Blocks handed out since the pool was made, empty ones too.
    pub allocations: u64,
}

/// How often a [`Pool`](crate::Pool) asked its [`Backing`](crate::Backing) to change pages: calls to the driver, on a
/// card. From its second repetition on, a step that repeats makes none.
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{Calls, Kind, PhantomBacking, Pool, Site, StreamId};
///
/// let pool = Pool::new(Arc::new(PhantomBacking::new(1 << 40, 0)));
/// let step = || pool.allocate(3 << 20, StreamId::COMPUTE, Site::new("relu", Kind::Activations)).map(drop);
/// step()?;
/// let before = pool.calls();
/// step()?;
/// assert_eq!(pool.calls() - before, Calls { commits: 0, decommits: 0 });
/// # Ok::<(), taut_memory::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls that put memory under pages, or show it at a second place.
    pub commits: u64,
    /// Calls that took it away, or ended a second place.
    pub decommits: u64,
}

impl Sub for Calls {
    type Output = Calls;

    /// The calls since `before`.
    fn sub(self, before: Calls) -> Calls {
        Calls { commits: self.commits - before.commits, decommits: self.decommits - before.decommits }
    }
}

impl Stats {
    #[inline]
    pub(crate) fn add(&mut self, kind: Kind, bytes: u64) {
        self.live_bytes += bytes;
        self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes);
        self.add_kind(kind, bytes);
    }

    #[inline]
    pub(crate) fn sub(&mut self, kind: Kind, bytes: u64) {
        self.live_bytes -= bytes;
        self.sub_kind(kind, bytes);
    }

    /// From one kind to another, at once: the live bytes stay, so no peak of theirs moves.
    pub(crate) fn change(&mut self, from: Kind, to: Kind, bytes: u64) {
        self.sub_kind(from, bytes);
        self.add_kind(to, bytes);
    }

    #[inline]
    fn add_kind(&mut self, kind: Kind, bytes: u64) {
        let (live, peak) = (&mut self.live_by_kind[kind as usize], &mut self.peak_by_kind[kind as usize]);
        *live += bytes;
        *peak = (*live).max(*peak);
        if kind == Kind::Workspace {
            self.workspace_bytes += bytes;
            self.peak_workspace_bytes = self.peak_workspace_bytes.max(self.workspace_bytes);
        } else {
            self.tensor_bytes += bytes;
            self.peak_tensor_bytes = self.peak_tensor_bytes.max(self.tensor_bytes);
        }
    }

    #[inline]
    fn sub_kind(&mut self, kind: Kind, bytes: u64) {
        self.live_by_kind[kind as usize] -= bytes;
        *(if kind == Kind::Workspace { &mut self.workspace_bytes } else { &mut self.tensor_bytes }) -= bytes;
    }

    pub(crate) fn reserve(&mut self, reserved_bytes: u64) {
        self.reserved_bytes = reserved_bytes;
        self.peak_reserved_bytes = self.peak_reserved_bytes.max(reserved_bytes);
    }

    pub(crate) fn reset_peaks(&mut self) {
        self.restart_peaks();
        self.peak_reserved_bytes = self.reserved_bytes;
    }
}

/// What is needed where several count.
impl Stats {
    /// So much above 0 that what is taken away before it is added does no harm.
    const MIDDLE: u64 = 1 << 62;

    /// Nothing, from where it can become less.
    pub(crate) fn middle() -> Stats {
        let mut stats = Stats::default();
        stats.levels().for_each(|(live, peak)| (*live, *peak) = (Stats::MIDDLE, Stats::MIDDLE));
        stats
    }

    /// Adds what was counted from the [middle](Self::middle): peaks as if both had been at once.
    pub(crate) fn merge(&mut self, other: &Stats) {
        let mut other = *other;
        self.allocations += other.allocations;
        for ((live, peak), (change, most)) in self.levels().zip(other.levels()) {
            *live = live.wrapping_add(*change).wrapping_sub(Stats::MIDDLE);
            *peak += *most - Stats::MIDDLE;
        }
    }

    /// Raises the peaks of live bytes to those of `other`.
    pub(crate) fn raise_peaks(&mut self, other: &Stats) {
        let mut other = *other;
        self.levels().zip(other.levels()).for_each(|((_, peak), (_, most))| *peak = (*peak).max(*most));
    }

    /// Live bytes were never more than what was reserved.
    pub(crate) fn cap_peaks(&mut self) {
        let most = self.peak_reserved_bytes;
        self.levels().for_each(|(live, peak)| *peak = (*peak).min(most).max(*live));
    }

    /// Sets the peaks of live bytes to the present values.
    pub(crate) fn restart_peaks(&mut self) {
        self.levels().for_each(|(live, peak)| *peak = *live);
    }

    /// Live bytes of every sort, with their peaks.
    fn levels(&mut self) -> impl Iterator<Item = (&mut u64, &mut u64)> {
        let sums = [
            (&mut self.live_bytes, &mut self.peak_live_bytes),
            (&mut self.tensor_bytes, &mut self.peak_tensor_bytes),
            (&mut self.workspace_bytes, &mut self.peak_workspace_bytes),
        ];
        sums.into_iter().chain(self.live_by_kind.iter_mut().zip(&mut self.peak_by_kind))
    }
}
