//! Where blocks lie whose times are known.

use super::{Life, aligned};
use std::cmp::Reverse;

/// Offsets for blocks that live at the same time and do not overlap, and the end of the last: the better of two orders.
pub(super) fn place(lives: &[Life]) -> (Vec<u64>, u64) {
    let mut by_size: Vec<usize> = (0..lives.len()).collect();
    by_size.sort_by_key(|&i| (Reverse(lives[i].bytes), lives[i].from));
    let (by_size, by_time) =
        (in_order(lives, &by_size), in_order(lives, &(0..lives.len()).collect::<Vec<_>>()));
    if by_time.1 < by_size.1 { by_time } else { by_size }
}

/// Places one block after the other in the shortest gap that is long enough between those placed before that live at the
/// same time, or behind them.
fn in_order(lives: &[Life], order: &[usize]) -> (Vec<u64>, u64) {
    let mut offsets = vec![0; lives.len()];
    // By their offsets.
    let mut placed: Vec<usize> = Vec::new();
    let mut end = 0;
    for &i in order {
        let Life { from, to, .. } = lives[i];
        let bytes = aligned(lives[i].bytes);
        if bytes == 0 {
            continue;
        }
        let (mut best, mut shortest, mut behind) = (None, u64::MAX, 0);
        for &other in placed.iter().filter(|&&other| lives[other].from < to && from < lives[other].to) {
            let start: u64 = offsets[other];
            let gap = start.saturating_sub(behind);
            if gap >= bytes && gap < shortest {
                (best, shortest) = (Some(behind), gap);
            }
            behind = behind.max(start + aligned(lives[other].bytes));
        }
        let offset = best.unwrap_or(behind);
        offsets[i] = offset;
        end = end.max(offset + bytes);
        let index = placed.partition_point(|&other| offsets[other] <= offset);
        placed.insert(index, i);
    }
    (offsets, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn life(bytes: u64, from: u32, to: u32) -> Life {
        Life { bytes, from, to }
    }

    /// The most bytes that live at once.
    fn peak(lives: &[Life]) -> u64 {
        let at = |time| {
            let live = lives.iter().filter(|life| life.from <= time && time < life.to);
            live.map(|life| aligned(life.bytes)).sum()
        };
        lives.iter().map(|life| at(life.from)).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn blocks_that_live_together_do_not_overlap(lives in vec((0..5000u64, 0..20u32), 0..60)) {
            let lives: Vec<Life> =
                lives.into_iter().zip(0..).map(|((bytes, long), from)| life(bytes, from, from + 1 + long)).collect();
            let (offsets, end) = place(&lives);
            let blocks: Vec<(Life, u64)> = lives.iter().copied().zip(offsets).collect();
            for (i, (a, start)) in blocks.iter().enumerate() {
                prop_assert!(start + aligned(a.bytes) <= end && start % 256 == 0);
                for (b, other) in &blocks[..i] {
                    let together = a.from < b.to && b.from < a.to;
                    let apart = start + a.bytes <= *other || other + b.bytes <= *start;
                    prop_assert!(!together || apart);
                }
            }
            // At worst a few gaps.
            prop_assert!(end >= peak(&lives) && end <= peak(&lives) * 3 / 2 + 5120, "{} of {}", end, peak(&lives));
        }
    }

    #[test]
    fn a_layer_of_an_encoder_takes_its_peak() {
        // x, q with k and v, attended; over x; x and four times as much between two products.
        let unit = 12_288;
        let mut lives = vec![life(unit, 0, 100)];
        for layer in 0..6 {
            let now = 1 + 3 * layer;
            lives.extend([
                life(3 * unit, now, now + 2),
                life(unit, now + 1, now + 2),
                life(4 * unit, now + 2, now + 3),
            ]);
        }
        assert_eq!(place(&lives).1, 5 * unit);
        assert_eq!(peak(&lives), 5 * unit);
    }
}
