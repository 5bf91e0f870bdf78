//! Second places of pages that no view needs any more: they stay mapped until the work is done that may still use them.
//!
//! Unmapping is not ordered by streams, and the host waits for none. So a place that ends is only noted. The next time a view
//! is made, a mark is put behind all work given so far, and what lies before a mark that has been reached is unmapped.
//! Whether one has been reached decides nothing but that: where views and blocks lie was decided before.

use std::{collections::VecDeque, ops::Range};
use taut_core::Result;

/// Places that have ended, and marks behind the work that may use them.
#[derive(Debug)]
pub(crate) struct Leaving<M> {
    /// Since the last mark.
    unmarked: Vec<Range<u64>>,
    /// The oldest first.
    marked: VecDeque<(M, Vec<Range<u64>>)>,
}

/// What a [`Leaving`] puts behind work.
pub(crate) trait Mark {
    /// Whether the work before it is done.
    fn is_reached(&self) -> Result<bool>;

    /// Blocks until it is.
    fn wait(&self) -> Result<()>;
}

impl<M: Mark> Leaving<M> {
    pub(crate) fn new() -> Leaving<M> {
        Leaving { unmarked: Vec::new(), marked: VecDeque::new() }
    }

    /// A place has ended: what has been given to the card so far may use it, and nothing that comes later.
    pub(crate) fn end(&mut self, pages: Range<u64>) {
        self.unmarked.push(pages);
    }

    /// The places that nothing uses now, `wanted` among them: those that it overlaps are waited for. There are none if
    /// addresses are taken in turn.
    pub(crate) fn take(
        &mut self,
        wanted: &Range<u64>,
        mark: impl FnOnce() -> Result<M>,
    ) -> Result<Vec<Range<u64>>> {
        if !self.unmarked.is_empty() {
            self.marked.push_back((mark()?, std::mem::take(&mut self.unmarked)));
        }
        let overlaps = |pages: &Range<u64>| pages.start < wanted.end && wanted.start < pages.end;
        let last = self.marked.iter().rposition(|(_, places)| places.iter().any(overlaps));
        if let Some((mark, _)) = last.and_then(|last| self.marked.get(last)) {
            mark.wait()?;
        }
        let mut n = last.map_or(0, |last| last + 1);
        while let Some((mark, _)) = self.marked.get(n) {
            if !mark.is_reached()? {
                break;
            }
            n += 1;
        }
        Ok(self.marked.drain(..n).flat_map(|(_, places)| places).collect())
    }

    /// All places, where the card is idle.
    pub(crate) fn take_all(&mut self) -> Vec<Range<u64>> {
        let marked = self.marked.drain(..).flat_map(|(_, places)| places);
        marked.chain(self.unmarked.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, rc::Rc};
    use taut_core::Error;

    /// A card whose work is numbers: how much was given, how much is done, and how often the host waited.
    #[derive(Default)]
    struct Card {
        given: Cell<u64>,
        done: Cell<u64>,
        waits: Cell<u64>,
    }

    struct Before(u64, Rc<Card>);

    impl Mark for Before {
        fn is_reached(&self) -> Result<bool> {
            Ok(self.1.done.get() >= self.0)
        }

        fn wait(&self) -> Result<()> {
            self.1.done.set(self.1.done.get().max(self.0));
            self.1.waits.set(self.1.waits.get() + 1);
            Ok(())
        }
    }

    #[test]
    fn a_place_stays_while_work_may_use_it() {
        let card = Rc::new(Card::default());
        let mark = || Ok(Before(card.given.get(), card.clone()));
        let mut leaving = Leaving::new();
        card.given.set(5);
        leaving.end(0..2);
        leaving.end(2..3);
        assert_eq!(leaving.take(&(10..12), mark).unwrap(), []);
        card.given.set(7);
        leaving.end(3..4);
        leaving.end(4..6);
        card.done.set(5);
        assert_eq!(leaving.take(&(12..14), mark).unwrap(), [0..2, 2..3]);
        assert_eq!(leaving.take(&(14..16), || unreachable!()).unwrap(), []);
        card.done.set(7);
        assert_eq!(leaving.take(&(16..18), || unreachable!()).unwrap(), [3..4, 4..6]);
        assert_eq!(card.waits.get(), 0);
    }

    #[test]
    fn a_place_that_is_wanted_is_waited_for() {
        let card = Rc::new(Card::default());
        let mark = || Ok(Before(card.given.get(), card.clone()));
        let mut leaving = Leaving::new();
        for (given, pages) in [(1, 0..2), (2, 2..4), (3, 4..6)] {
            card.given.set(given);
            leaving.end(pages);
            assert_eq!(leaving.take(&(8..9), mark).unwrap(), []);
        }
        assert_eq!(leaving.take(&(3..4), mark).unwrap(), [0..2, 2..4]);
        assert_eq!((card.waits.get(), card.done.get()), (1, 2));
        leaving.end(6..7);
        assert_eq!(leaving.take_all(), [4..6, 6..7]);
        assert_eq!(leaving.take_all(), []);
    }

    #[test]
    fn without_a_mark_nothing_is_lost() {
        let mut leaving = Leaving::<Before>::new();
        leaving.end(0..2);
        leaving.end(2..3);
        assert!(leaving.take(&(8..9), || Err(Error::driver("no event"))).is_err());
        assert_eq!(leaving.take_all(), [0..2, 2..3]);
    }
}
