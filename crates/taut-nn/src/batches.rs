//! Batches of rows: in which order they come, and how they are made ahead of their use.

use rayon::prelude::*;
use std::{ops::Range, sync::mpsc, thread};
use taut::{Error, ErrorKind, Result};

/// Every number below `len` once, in an order that follows from `seed` alone, in batches of `batch`. What does not fill a
/// batch is left out, so that all have one shape.
///
/// ```
/// let batches: Vec<_> = taut_nn::epoch(10, 4, 7).collect();
/// assert_eq!(batches.len(), 2);
/// assert_eq!(batches, taut_nn::epoch(10, 4, 7).collect::<Vec<_>>());
/// assert_ne!(batches, taut_nn::epoch(10, 4, 8).collect::<Vec<_>>());
/// ```
pub fn epoch(len: usize, batch: usize, seed: u64) -> impl Iterator<Item = Vec<usize>> {
    let mut order: Vec<usize> = (0..len).collect();
    let mut state = seed;
    // Fisher and Yates, from the end.
    for last in (1..len).rev() {
        order.swap(last, below(&mut state, last as u64 + 1) as usize);
    }
    let count = len.checked_div(batch).unwrap_or(0);
    (0..count).map(move |i| order[i * batch..(i + 1) * batch].to_vec())
}

/// A number below `n`: of SplitMix64 (Steele, Lea and Flood, 2014), scaled down.
fn below(state: &mut u64, n: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((u128::from(x ^ x >> 31) * u128::from(n)) >> 64) as u64
}

/// Makes something of each job on a thread of its own, at most `ahead` of them before they are asked for, and gives them to
/// `take` in order on this thread: so that rows are read and decoded while the device works, and memory of the device is asked
/// for by one thread only.
///
/// ```
/// let mut sum = 0;
/// taut_nn::prefetch(0..100u64, 2, |i| Ok(i * i), |square| {
///     sum += square;
///     Ok(())
/// })?;
/// assert_eq!(sum, 328_350);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// The first of `make` or `take`, after which neither is called again.
pub fn prefetch<J, T: Send>(
    jobs: impl Iterator<Item = J> + Send,
    ahead: usize,
    make: impl Fn(J) -> Result<T> + Send,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(ahead.saturating_sub(1));
        scope.spawn(move || {
            for job in jobs {
                let made = make(job);
                let failed = made.is_err();
                // Nobody listens any more after an error.
                if sender.send(made).is_err() || failed {
                    break;
                }
            }
        });
        receiver.into_iter().try_for_each(|made| take(made?))
    })
}

/// The rows of `bytes`, of `row_bytes` each, at `indices`, one after the other: gathered on all cores.
///
/// ```
/// assert_eq!(taut_nn::gather_rows(b"aabbcc", 2, &[2, 0])?, b"ccaa");
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// [`Value`](ErrorKind::Value) if there is no such row.
pub fn gather_rows(bytes: &[u8], row_bytes: usize, indices: &[usize]) -> Result<Vec<u8>> {
    let rows = bytes.len().checked_div(row_bytes).unwrap_or(0);
    if let Some(index) = indices.iter().find(|&&index| index >= rows) {
        return Err(Error::new(ErrorKind::Value, format!("gather_rows: row {index} of {rows}")));
    }
    let mut out = vec![0; indices.len() * row_bytes];
    let range = |index: usize| -> Range<usize> { index * row_bytes..(index + 1) * row_bytes };
    // Few rows in one piece: a task costs more than some copies.
    let parts = out.par_chunks_mut(row_bytes.max(1)).with_min_len(256).zip(indices);
    parts.for_each(|(out, &index)| out.copy_from_slice(&bytes[range(index)]));
    Ok(out)
}
