//! Pages: which have memory, which hold a byte of a live block, and since when.

use std::ops::Range;

/// What is known of each page.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    committed: Bits,
    /// With a byte of a live block.
    touched: Bits,
    /// When it was committed last, counted in changes of the committed pages.
    born: Vec<u64>,
    /// No page from here on is committed.
    frontier: u64,
    /// A page below the frontier was committed later than one above it.
    refilled: bool,
}

impl Pages {
    pub(super) fn committed(&self) -> u64 {
        self.committed.count
    }

    pub(super) fn touched(&self) -> u64 {
        self.touched.count
    }

    /// Whether every page below the frontier is committed, and is older than those above it.
    pub(super) fn is_plain(&self) -> bool {
        self.committed.count == self.frontier && !self.refilled
    }

    #[inline]
    pub(super) fn touch(&mut self, pages: Range<u64>) {
        self.touched.set(pages);
    }

    #[inline]
    pub(super) fn untouch(&mut self, pages: Range<u64>) {
        self.touched.clear(pages);
    }

    /// The last touched page below this one.
    pub(super) fn touched_before(&self, page: u64) -> Option<u64> {
        self.touched.last_before(page)
    }

    /// When the last of these pages was committed.
    pub(super) fn born(&self, pages: Range<u64>) -> u64 {
        let known = pages.start as usize..(pages.end as usize).min(self.born.len());
        self.born.get(known).and_then(|born| born.iter().max()).copied().unwrap_or(0)
    }

    pub(super) fn commit(&mut self, pages: Range<u64>, now: u64) {
        self.refilled |= pages.start < self.frontier;
        self.frontier = self.frontier.max(pages.end);
        self.born.resize(self.frontier as usize, 0);
        self.born[pages.start as usize..pages.end as usize].fill(now);
        self.committed.set(pages);
    }

    /// Takes memory away; what is left counts as old.
    pub(super) fn decommit(&mut self, pages: Range<u64>) {
        self.committed.clear(pages);
        self.frontier = self.committed.last_before(self.frontier).map_or(0, |last| last + 1);
        self.born.truncate(self.frontier as usize);
        self.born.fill(0);
        self.refilled = false;
    }

    /// The parts of `pages` without memory, from the lowest.
    pub(super) fn missing(&self, pages: Range<u64>) -> Vec<Range<u64>> {
        // Most often nothing is missing below the frontier; above it everything is, which may be half of a span.
        let below = match self.committed.count == self.frontier {
            true => 0..0,
            false => pages.start..pages.end.min(self.frontier),
        };
        let mut missing = runs(below, |page| !self.committed.has(page));
        let above = pages.start.max(self.frontier)..pages.end;
        match missing.last_mut() {
            _ if above.is_empty() => {}
            Some(last) if last.end == above.start => last.end = above.end,
            _ => missing.push(above),
        }
        missing
    }

    /// The parts of `pages` with memory, from the lowest.
    pub(super) fn present(&self, pages: Range<u64>) -> Vec<Range<u64>> {
        let known = pages.start..pages.end.min(self.frontier);
        if self.committed.count == self.frontier {
            return if known.is_empty() { Vec::new() } else { vec![known] };
        }
        runs(known, |page| self.committed.has(page))
    }

    /// Committed pages without a live byte, the highest first.
    pub(super) fn spare(&self) -> Vec<Range<u64>> {
        let mut spare = runs(0..self.frontier, |page| self.committed.has(page) && !self.touched.has(page));
        spare.reverse();
        spare
    }
}

/// The longest parts of `pages` for which all pages are `wanted`.
fn runs(pages: Range<u64>, wanted: impl Fn(u64) -> bool) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for page in pages.filter(|&page| wanted(page)) {
        match runs.last_mut() {
            Some(run) if run.end == page => run.end += 1,
            _ => runs.push(page..page + 1),
        }
    }
    runs
}

/// A set of pages.
#[derive(Clone, Debug, Default)]
struct Bits {
    words: Vec<u64>,
    count: u64,
}

impl Bits {
    fn has(&self, page: u64) -> bool {
        self.words.get((page / 64) as usize).is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// Enters pages of which none is there.
    #[inline]
    fn set(&mut self, pages: Range<u64>) {
        if pages.end > self.words.len() as u64 * 64 {
            self.words.resize(pages.end.div_ceil(64) as usize, 0);
        }
        self.count += pages.end.saturating_sub(pages.start);
        self.flip(pages);
    }

    /// Takes out pages that are all there.
    #[inline]
    fn clear(&mut self, pages: Range<u64>) {
        self.count -= pages.end.saturating_sub(pages.start);
        self.flip(pages);
    }

    #[inline]
    fn flip(&mut self, pages: Range<u64>) {
        let mut page = pages.start;
        while page < pages.end {
            let end = pages.end.min((page / 64 + 1) * 64);
            self.words[(page / 64) as usize] ^= u64::MAX >> (64 - (end - page)) << (page % 64);
            page = end;
        }
    }

    fn last_before(&self, page: u64) -> Option<u64> {
        let mut index = (page / 64) as usize;
        let mut word = self.words.get(index).map_or(0, |word| word & !(u64::MAX << (page % 64)));
        index = index.min(self.words.len());
        while word == 0 {
            index = index.checked_sub(1)?;
            word = self.words[index];
        }
        Some(index as u64 * 64 + 63 - u64::from(word.leading_zeros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn bits_are_a_set(steps in vec((any::<bool>(), 0..300u64, 0..200u64), 1..40)) {
            let (mut bits, mut model) = (Bits::default(), BTreeSet::new());
            for (set, start, len) in steps {
                for pages in runs(start..start + len, |page| model.contains(&page) != set) {
                    if set {
                        bits.set(pages.clone());
                        model.extend(pages);
                    } else {
                        bits.clear(pages.clone());
                        model.retain(|page| !pages.contains(page));
                    }
                }
                prop_assert_eq!(bits.count, model.len() as u64);
                for page in [0, start, start + len, 63, 64, 1000] {
                    prop_assert_eq!(bits.has(page), model.contains(&page));
                    prop_assert_eq!(bits.last_before(page), model.range(..page).next_back().copied());
                }
            }
        }
    }

    #[test]
    fn pages_know_their_age() {
        let mut pages = Pages::default();
        pages.commit(0..4, 1);
        pages.commit(4..6, 2);
        assert!(pages.is_plain());
        assert_eq!([pages.born(0..4), pages.born(2..5), pages.born(6..9)], [1, 2, 0]);
        pages.touch(1..2);
        pages.touch(5..6);
        assert_eq!(pages.spare(), [2..5, 0..1]);
        pages.decommit(2..4);
        assert!(!pages.is_plain());
        assert_eq!((pages.born(0..6), pages.frontier, pages.committed()), (0, 6, 4));
        assert_eq!((pages.missing(0..8), pages.present(0..8)), (vec![2..4, 6..8], vec![0..2, 4..6]));
        assert_eq!(pages.missing(3..1 << 60), [3..4, 6..1 << 60]);
        pages.commit(2..4, 3);
        assert!(!pages.is_plain());
        assert_eq!((pages.born(0..2), pages.born(0..3)), (0, 3));
        pages.untouch(1..2);
        pages.untouch(5..6);
        pages.decommit(1..6);
        assert_eq!((pages.frontier, pages.touched(), pages.is_plain()), (1, 0, true));
    }
}
