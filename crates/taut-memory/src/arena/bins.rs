//! Free ranges by length: the best fit in constant time.
//!
//! A class holds the lengths between two neighbours among 16 for each power of two. Which ranges a class holds, and in
//! which order, depends on the ranges alone and not on the order in which they came: so does the best fit.

use crate::ALIGN_BYTES;
use std::{collections::BTreeSet, iter, ops::Range};

/// A free range, in the order in which they are wanted: the shortest first, the lowest on ties. Length and start, in
/// units of [`ALIGN_BYTES`], and the node are one number, which is compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u128);

/// Bits of a start, in units: spans are shorter than 2^56 bytes.
const START_BITS: u32 = 48;

impl Key {
    pub(super) fn new(range: Range<u64>, node: u32) -> Key {
        let (len, start) = ((range.end - range.start) / ALIGN_BYTES, range.start / ALIGN_BYTES);
        Key(u128::from(len) << (START_BITS + 32) | u128::from(start) << 32 | u128::from(node))
    }

    pub(super) fn len(self) -> u64 {
        (self.0 >> (START_BITS + 32)) as u64 * ALIGN_BYTES
    }

    #[inline]
    pub(super) fn start(self) -> u64 {
        (self.0 >> 32) as u64 % (1 << START_BITS) * ALIGN_BYTES
    }

    pub(super) fn node(self) -> u32 {
        self.0 as u32
    }

    /// Before every range of this length or a longer one.
    fn least(len: u64) -> Key {
        Key(u128::from(len.div_ceil(ALIGN_BYTES)) << (START_BITS + 32))
    }
}

/// Classes of lengths, and a bit for each that has a range.
#[derive(Clone, Debug)]
pub(super) struct Bins {
    bins: Vec<Bin>,
    /// Bit `c % 64` of word `c / 64`: class `c` is not empty.
    filled: [u64; WORDS],
    /// Bit `w`: word `w` is not 0.
    words: u64,
}

/// Lengths in a class differ by less than 1 part in 16.
const STEPS: usize = 16;

/// Enough for lengths of 64 bits.
const CLASSES: usize = 53 * STEPS;
const WORDS: usize = CLASSES.div_ceil(64);

/// The ranges of one class: most often there is one, or none.
#[derive(Clone, Debug)]
struct Bin {
    /// The least, if there is any.
    first: Key,
    /// The others.
    more: More,
}

/// Keys, sorted.
#[derive(Clone, Debug)]
enum More {
    Few(Vec<Key>),
    Many(BTreeSet<Key>),
}

/// A class with more is a tree.
const FEW: usize = 64;

impl Bins {
    pub(super) fn new() -> Bins {
        let empty = Bin { first: Key::least(0), more: More::Few(Vec::new()) };
        Bins { bins: vec![empty; CLASSES], filled: [0; WORDS], words: 0 }
    }

    /// The shortest range of at least `len` bytes, the lowest on ties.
    #[inline]
    pub(super) fn best(&self, len: u64) -> Option<Key> {
        let least = Key::least(len);
        let class = self.next_filled(class(len))?;
        let bin = &self.bins[class];
        // Behind the class of `len` all are long enough, and most often the first one there is as well.
        if bin.first >= least { Some(bin.first) } else { self.later(class, least) }
    }

    #[inline]
    pub(super) fn insert(&mut self, key: Key) {
        let class = class(key.len());
        if self.is_filled(class) {
            return self.bins[class].insert(key);
        }
        self.bins[class].first = key;
        self.filled[class / 64] |= 1 << (class % 64);
        self.words |= 1 << (class / 64);
    }

    #[inline]
    pub(super) fn remove(&mut self, key: Key) {
        let class = class(key.len());
        if !self.bins[class].remove(key) {
            self.filled[class / 64] &= !(1 << (class % 64));
            if self.filled[class / 64] == 0 {
                self.words &= !(1 << (class / 64));
            }
        }
    }

    /// The same where the first range of its class is too short.
    #[inline]
    fn later(&self, class: usize, least: Key) -> Option<Key> {
        let here = self.bins[class].more.first_from(least);
        here.or_else(|| Some(self.bins[self.next_filled(class + 1)?].first))
    }

    /// Every range of at least `len` bytes, the shortest first.
    pub(super) fn from(&self, len: u64) -> impl Iterator<Item = Key> + '_ {
        let mut next = self.next_filled(class(len));
        let classes = iter::from_fn(move || {
            let class = next?;
            next = self.next_filled(class + 1);
            Some(class)
        });
        let keys = |class: usize| iter::once(self.bins[class].first).chain(self.bins[class].more.keys());
        classes.flat_map(keys).filter(move |key| key.len() >= len)
    }

    #[inline]
    fn is_filled(&self, class: usize) -> bool {
        self.filled[class / 64] >> (class % 64) & 1 == 1
    }

    /// The first class that is not empty, from this one on.
    #[inline]
    fn next_filled(&self, class: usize) -> Option<usize> {
        let word = class / 64;
        let here = self.filled.get(word)? & (u64::MAX << (class % 64));
        if here != 0 {
            return Some(word * 64 + here.trailing_zeros() as usize);
        }
        let later = self.words & (u64::MAX << 1 << word);
        let word = (later != 0).then(|| later.trailing_zeros() as usize)?;
        Some(word * 64 + self.filled[word].trailing_zeros() as usize)
    }
}

/// The class of a length, which is a multiple of [`ALIGN_BYTES`]; those below 16 units have one each.
fn class(len: u64) -> usize {
    let units = len / ALIGN_BYTES;
    // What is left of it then are 16 to 31, or less of the shortest, which are not shifted.
    let shift = (units | STEPS as u64).ilog2() - STEPS.ilog2();
    shift as usize * STEPS + (units >> shift) as usize
}

impl Bin {
    /// Enters a key beside the first.
    fn insert(&mut self, key: Key) {
        self.more.insert(self.first.max(key));
        self.first = self.first.min(key);
    }

    /// Takes out a key that is there. Returns whether there is another.
    #[inline]
    fn remove(&mut self, key: Key) -> bool {
        if self.more.is_empty() {
            return false;
        }
        self.remove_one(key);
        true
    }

    /// The same where there are others.
    #[cold]
    fn remove_one(&mut self, key: Key) {
        match self.more.first() {
            Some(second) if self.first == key => {
                self.more.remove(second);
                self.first = second;
            }
            _ => self.more.remove(key),
        }
    }
}

impl More {
    fn first_from(&self, least: Key) -> Option<Key> {
        match self {
            More::Few(keys) => keys.get(keys.partition_point(|key| *key < least)).copied(),
            More::Many(keys) => keys.range(least..).next().copied(),
        }
    }

    fn insert(&mut self, key: Key) {
        match self {
            More::Few(keys) => {
                keys.insert(keys.partition_point(|other| *other < key), key);
                if keys.len() > FEW {
                    *self = More::Many(keys.iter().copied().collect());
                }
            }
            More::Many(keys) => drop(keys.insert(key)),
        }
    }

    fn remove(&mut self, key: Key) {
        match self {
            More::Few(keys) => {
                if let Ok(i) = keys.binary_search(&key) {
                    keys.remove(i);
                }
            }
            More::Many(keys) => {
                keys.remove(&key);
                // Far fewer, so that a class at the limit is not rebuilt each time.
                if keys.len() <= FEW / 4 {
                    *self = More::Few(keys.iter().copied().collect());
                }
            }
        }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        // A tree becomes a list again before it is empty.
        matches!(self, More::Few(keys) if keys.is_empty())
    }

    fn first(&self) -> Option<Key> {
        match self {
            More::Few(keys) => keys.first().copied(),
            More::Many(keys) => keys.first().copied(),
        }
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Key> + '_> {
        match self {
            More::Few(keys) => Box::new(keys.iter().copied()),
            More::Many(keys) => Box::new(keys.iter().copied()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    #[test]
    fn classes_grow_with_the_length() {
        let lens = (1..5000).chain((13..56).flat_map(|log| [(1 << log) - 1, 1 << log, (1 << log) + 1]));
        let classes: Vec<usize> = lens.map(|units: u64| class(units * ALIGN_BYTES)).collect();
        assert!(classes.is_sorted() && classes[..32].is_sorted_by(|a, b| a < b));
        assert_eq!(class(u64::MAX - ALIGN_BYTES + 1), CLASSES - 1);
    }

    proptest! {
        #[test]
        fn the_best_fit_is_that_of_a_sorted_set(
            steps in vec((any::<bool>(), prop_oneof![1..40u64, 1..3000u64], 0..100u64), 1..400),
        ) {
            let (mut bins, mut model) = (Bins::new(), BTreeSet::new());
            for (add, units, start) in steps {
                let len = units * ALIGN_BYTES;
                let key = Key::new(start * ALIGN_BYTES..start * ALIGN_BYTES + len, start as u32);
                match add {
                    true if model.insert(key) => bins.insert(key),
                    false if model.remove(&key) => bins.remove(key),
                    _ => {}
                }
                let wanted = |key: &&Key| key.len() >= len;
                prop_assert_eq!(bins.best(len), model.iter().find(wanted).copied());
                prop_assert!(bins.from(len).eq(model.iter().filter(wanted).copied()));
            }
            for key in model {
                bins.remove(key);
            }
            prop_assert_eq!((bins.words, bins.best(1)), (0, None));
        }
    }
}
