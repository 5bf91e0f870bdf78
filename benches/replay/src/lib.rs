//! A recorded trace of allocations, replayed on a pool: what it reserves beside what was asked for, the calls to the
//! driver, and the time of each event.

mod load;
mod made;
mod trace;

pub use load::{Times, among, beside, rate, times, together};
pub use made::{Family, made};
pub use trace::{Event, events, read};

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use taut_memory::{Block, Calls, Error, GRANULE_BYTES, Kind, Pool, Result, Site, StreamId};

/// What one pass over a trace took.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Events of the trace.
    pub events: u64,
    /// The most bytes that the trace had asked for and not given back.
    pub peak_requested_bytes: u64,
    /// The most bytes of live blocks, as the pool counts them.
    pub peak_live_bytes: u64,
    /// The most bytes of committed pages.
    pub peak_reserved_bytes: u64,
    /// Calls to the backing.
    pub calls: Calls,
    /// The time of each event in nanoseconds, sorted: of the pool alone, without what reading the clock takes.
    pub times: Vec<u64>,
    /// The times of both events of each block together, sorted; of those that the trace frees.
    pub pairs: Vec<u64>,
}

impl Pass {
    /// Reserved over requested bytes, at their peaks: 1 is the best there is. 1 for a trace without a byte.
    pub fn ratio(&self) -> f64 {
        if self.peak_requested_bytes == 0 {
            return 1.0;
        }
        self.peak_reserved_bytes as f64 / self.peak_requested_bytes as f64
    }

    /// The least that the [ratio](Self::ratio) can be: the pages that the live bytes of the peak fill, the last one partly.
    pub fn least_ratio(&self) -> f64 {
        if self.peak_requested_bytes == 0 {
            return 1.0;
        }
        let pages = self.peak_live_bytes.div_ceil(GRANULE_BYTES);
        (pages * GRANULE_BYTES) as f64 / self.peak_requested_bytes as f64
    }
}

/// The time that a part of sorted times, from 0 to 1, did not exceed: 0 without one.
///
/// ```
/// assert_eq!(taut_replay::quantile(&[10, 20, 30], 0.5), 20);
/// ```
pub fn quantile(times: &[u64], part: f64) -> u64 {
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * part).round() as usize).copied().unwrap_or(0)
}

/// Feeds a trace to a pool, each event only when it happens, and frees what it leaves at its end.
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{PhantomBacking, Pool};
///
/// let pool = Pool::new(Arc::new(PhantomBacking::new(1 << 40, 0)));
/// let pass = taut_replay::pass(&pool, b"+,0,3000000\n+,1,1000000\n-,0\n")?;
/// assert_eq!((pass.peak_requested_bytes, pass.peak_reserved_bytes), (4_000_000, 4 << 20));
/// assert_eq!(pool.stats().live_bytes, 0);
/// # Ok::<(), taut_memory::Error>(())
/// ```
///
/// # Errors
///
/// [`Corrupt`](taut_memory::ErrorKind::Corrupt), naming the line and what was expected, if it is no event, allocates an
/// id that is live or frees one that is not. Errors of the pool come with the line in front.
pub fn pass(pool: &Pool, text: &[u8]) -> Result<Pass> {
    let site = Site::new("replay", Kind::Activations);
    let clock = clock();
    pool.reset_peaks();
    let calls = pool.calls();
    let mut live: HashMap<u64, (Block, u64)> = HashMap::new();
    let (mut requested_bytes, mut peak_requested_bytes) = (0, 0);
    let (mut times, mut pairs) = (Vec::new(), Vec::new());
    for event in events(text) {
        let (line, event) = event?;
        let time = match event {
            Event::Allocate { id, bytes } => {
                if live.contains_key(&id) {
                    return Err(trace::bad(line, &format!("{id} is live: expected an id that is not")));
                }
                let start = Instant::now();
                let block = pool.allocate(bytes, StreamId::COMPUTE, site);
                let time = nanoseconds(start.elapsed().saturating_sub(clock));
                let block = block.map_err(|e| Error::new(e.kind(), format!("replay: line {line}: {e}")))?;
                requested_bytes += bytes;
                peak_requested_bytes = requested_bytes.max(peak_requested_bytes);
                live.insert(id, (block, time));
                time
            }
            Event::Free { id } => {
                let Some((block, taken)) = live.remove(&id) else {
                    return Err(trace::bad(line, &format!("{id} is not live: expected an id that is")));
                };
                requested_bytes -= block.bytes();
                let start = Instant::now();
                drop(block);
                let time = nanoseconds(start.elapsed().saturating_sub(clock));
                pairs.push(taken + time);
                time
            }
        };
        times.push(time);
    }
    drop(live);
    times.sort_unstable();
    pairs.sort_unstable();
    let stats = pool.stats();
    Ok(Pass {
        events: times.len() as u64,
        peak_requested_bytes,
        peak_live_bytes: stats.peak_live_bytes,
        peak_reserved_bytes: stats.peak_reserved_bytes,
        calls: pool.calls() - calls,
        times,
        pairs,
    })
}

/// What two readings of the clock in a row differ by: the least of many, so that no event becomes too short.
fn clock() -> Duration {
    let readings = (0..1000).map(|_| Instant::now().elapsed());
    readings.min().unwrap_or_default()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use taut_memory::{ErrorKind, PhantomBacking};

    fn phantom(bytes: u64) -> Pool {
        Pool::new(Arc::new(PhantomBacking::new(bytes, 0)))
    }

    #[test]
    fn a_pass_counts_what_happened() {
        let pool = phantom(1 << 40);
        let text = b"+,5,100\n+,6,3000000\n-,5\n+,5,7\n-,6\n";
        let first = pass(&pool, text).unwrap();
        assert_eq!((first.events, first.times.len(), first.pairs.len()), (5, 5, 2));
        assert_eq!((first.peak_requested_bytes, first.peak_live_bytes), (3_000_100, 3_000_100));
        assert_eq!((first.peak_reserved_bytes, first.calls.decommits), (4 << 20, 0));
        assert_eq!(
            (first.ratio(), first.least_ratio()),
            (first.least_ratio(), f64::from(4 << 20) / 3_000_100.0)
        );
        assert!(first.calls.commits > 0 && quantile(&first.times, 0.5) <= quantile(&first.times, 0.99));
        assert_eq!(pool.stats().live_bytes, 0);
        assert_eq!(pass(&pool, text).unwrap().calls, Calls::default());
        let nothing = pass(&pool, b"").unwrap();
        assert_eq!((nothing.ratio(), quantile(&nothing.times, 0.5)), (1.0, 0));
    }

    #[test]
    fn errors_name_the_line_and_leave_nothing() {
        for (text, wanted) in [
            ("+,1,2\n+,1,2\n", "replay: line 2: 1 is live: expected an id that is not"),
            ("+,1,2\n-,2\n", "replay: line 2: 2 is not live: expected an id that is"),
            ("+,1,2\n-,1\n-,1\n", "replay: line 3: 1 is not live: expected an id that is"),
            ("+,1,2\nfree\n", "replay: line 2: `free` is no event"),
        ] {
            let pool = phantom(1 << 40);
            let error = pass(&pool, text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().starts_with(wanted), "{error}");
            assert_eq!(pool.stats().live_bytes, 0);
        }
        let error = pass(&phantom(1 << 20), b"+,0,5000000\n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.to_string().starts_with("replay: line 1: replay: out of memory"), "{error}");
    }
}
