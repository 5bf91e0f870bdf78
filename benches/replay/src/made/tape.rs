//! A trace while it is written.

use std::fmt::Write;

/// The lines so far, and the random numbers of what comes.
pub(super) struct Tape {
    text: String,
    next: u64,
    state: u64,
}

/// A live block: its id.
#[must_use]
pub(super) struct Id(u64);

impl Tape {
    pub(super) fn new(seed: u64) -> Tape {
        Tape { text: String::new(), next: 0, state: seed }
    }

    pub(super) fn text(self) -> String {
        self.text
    }

    pub(super) fn take(&mut self, bytes: u64) -> Id {
        let id = self.next;
        self.next += 1;
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "+,{id},{bytes}");
        Id(id)
    }

    pub(super) fn give(&mut self, Id(id): Id) {
        let _ = writeln!(self.text, "-,{id}");
    }

    pub(super) fn give_all(&mut self, ids: impl IntoIterator<Item = Id>) {
        ids.into_iter().for_each(|id| self.give(id));
    }

    /// A block that stays to the end.
    pub(super) fn keep(&mut self, bytes: u64) {
        let Id(_) = self.take(bytes);
    }

    /// A block that is freed at once: a workspace.
    pub(super) fn touch(&mut self, bytes: u64) {
        let id = self.take(bytes);
        self.give(id);
    }

    /// A number from `range`, by SplitMix64.
    pub(super) fn random(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start() + (z ^ z >> 31) % (range.end() - range.start() + 1)
    }

    pub(super) fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        let last = of.len() as u64 - 1;
        of[self.random(0..=last) as usize]
    }
}
