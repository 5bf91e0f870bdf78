//! Lists of positions in the order of the places that they name: launches of `places.cu`, digit by digit, or of `sort.cu`
//! where a list fits a tile.

use super::{
    sort::{PART, Rows, TILE},
    walk::grid,
};
use crate::{Arg, Param, Stream};
use taut_core::{Error, Layout, Result};
use taut_kernels::{
    Kernel,
    args::{self, PLACE_DIGITS, PLACE_TILE, THREADS, Walk},
};

const DIGITS: u64 = PLACE_DIGITS as u64;

/// Parts of a list at most: each block reads the counts of all.
const PARTS: u64 = 128;

// SAFETY: `Places` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for args::Places {}

/// Lists that are brought in order alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lists {
    /// Entries of a list.
    pub(super) n: u64,
    /// Places are below this, and keys up to it.
    pub(super) extent: u64,
}

/// Where the index of some lists lies, and where faults go.
pub(super) struct Source<'a> {
    /// The address of the first entry.
    pub(super) index: u64,
    /// From entry to entry.
    pub(super) step: u64,
    /// From list to list.
    pub(super) lists: &'a Layout,
    pub(super) fault: args::Fault,
}

impl Lists {
    /// Of `count` lists, how many are brought in order at once.
    pub(super) fn part(&self, count: u64) -> u64 {
        (PART / self.n.max(1)).clamp(1, count.max(1))
    }

    /// The scratch memory for so many lists, keys and positions that come out included.
    pub(super) fn workspace_bytes(&self, lists: u64) -> u64 {
        if self.n <= TILE {
            return self.rows().workspace_bytes(lists);
        }
        // What one digit leaves and the next one takes.
        u64::from(self.digits().min(2)) * self.pairs_bytes(lists) + lists * self.parts() * DIGITS * 4
    }

    /// Brings the lists in order: `[lists, n]`, the addresses of the keys and of their positions. Equal keys stay in order;
    /// an entry that is no place has the key `extent`.
    ///
    /// # Safety
    ///
    /// `source` is an index of i64 that stays where it is, and `workspace`, aligned to 256, starts
    /// [`workspace_bytes`](Self::workspace_bytes) of at least as many lists.
    pub(super) unsafe fn run(
        &self,
        stream: &Stream,
        source: &Source<'_>,
        workspace: u64,
    ) -> Result<[u64; 2]> {
        let Source { index, step, lists, fault } = *source;
        let count = lists.numel() as u64;
        let extent = self.extent;
        if self.n <= TILE {
            let base =
                args::Sort { keys: index, key_step: step, rows: count, extent, fault, ..Default::default() };
            let walk = Walk::wide(&Layout::collapse([*lists; 3]), 1);
            // SAFETY: nothing comes out but pairs, into workspace for so many rows; the index is the caller's word.
            return unsafe { self.rows().run(stream, Kernel::SortPositions, base, &walk, workspace) };
        }
        let narrow = |n: u64| u32::try_from(n).map_err(|_| Error::shape("places: a list is too long"));
        let (half, entries, parts) = (self.pairs_bytes(count), count * self.n, self.parts());
        let halves = [workspace, workspace + half].map(|start| [start, start + entries * 4]);
        let counts = workspace + u64::from(self.digits().min(2)) * half;
        let base = args::Places {
            index,
            index_step: step,
            counts,
            extent,
            fault,
            n: narrow(self.n)?,
            share: narrow(self.share())?,
            parts: narrow(parts)?,
            ..Default::default()
        };
        let walk = Walk::wide(&Layout::collapse([*lists]), 1);
        let grid = grid([count * parts, 1], THREADS)?;
        let mut from = [0; 2];
        for digit in 0..self.digits() {
            let to = halves[digit as usize % 2];
            let args = args::Places {
                in_keys: from[0],
                in_order: from[1],
                out_keys: to[0],
                out_order: to[1],
                shift: digit * PLACE_DIGITS.ilog2(),
                ..base
            };
            for moves in [false, true] {
                let args = [Arg::new(&args), Arg::new(&walk)];
                // SAFETY: `places_count(places, lists)` and `places_move(places, lists)`, over the caller's index or what
                // the digit before left in the other half.
                unsafe { stream.launch(Kernel::Places(digit == 0, moves), grid, args)? };
            }
            from = to;
        }
        Ok(from)
    }

    fn rows(&self) -> Rows {
        Rows { n: self.n, k: self.n, key_bytes: 4, pairs: true, few: false }
    }

    /// Digits of the largest key.
    pub(super) fn digits(&self) -> u32 {
        (u64::BITS - self.extent.leading_zeros()).div_ceil(PLACE_DIGITS.ilog2()).max(1)
    }

    /// Entries of a part.
    fn share(&self) -> u64 {
        self.n.div_ceil(PARTS).next_multiple_of(PLACE_TILE.into())
    }

    fn parts(&self) -> u64 {
        self.n.div_ceil(self.share())
    }

    fn pairs_bytes(&self, lists: u64) -> u64 {
        (lists * self.n * 8).next_multiple_of(256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_hold_the_largest_key_and_no_more() {
        let digits = |extent| Lists { n: 5000, extent }.digits();
        assert_eq!([0, 1, 255, 256, 50_304, 65_535, 65_536].map(digits), [1, 1, 1, 2, 2, 2, 3]);
        assert_eq!(digits(u64::from(u32::MAX) - 1), 4);
    }

    #[test]
    fn parts_cover_a_list_and_are_few() {
        for n in [2049, 4096, 50_304, 1 << 18, (1 << 18) + 1, 1 << 24, u64::from(u32::MAX) - 1] {
            let lists = Lists { n, extent: n };
            assert!(lists.parts() * lists.share() >= n && (lists.parts() - 1) * lists.share() < n, "{n}");
            assert!(lists.parts() <= PARTS && lists.share().is_multiple_of(PLACE_TILE.into()), "{n}");
        }
    }

    #[test]
    fn one_digit_takes_one_half() {
        let [one, two] = [255, 256].map(|extent| Lists { n: 5000, extent }.workspace_bytes(3));
        let (pairs, counts) = (3u64 * 5000 * 8, 3 * 5 * 256 * 4);
        assert_eq!(one, pairs.next_multiple_of(256) + counts);
        assert_eq!(two, 2 * pairs.next_multiple_of(256) + counts);
    }
}
