//! What the pool costs beside many live blocks, and under many threads.

use crate::{Event, clock, events, nanoseconds, pass};
use std::{collections::HashMap, sync::Barrier, thread, time::Instant};
use taut_memory::{Block, Error, ErrorKind, Kind, Pool, Result, Site, StreamId};

const SITE: Site = Site::new("load", Kind::Activations);

/// Allocations and frees between two readings of the clock. Around each of them alone it would take as long as they do, and
/// the processor would finish the one before it looks at the next: that says how long one may take, but not what a program
/// has to pay for it.
const RUN: usize = 64;

/// The times of an allocation and its free in nanoseconds, each list sorted.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// In runs of 64 events, over their pairs, with what it takes to put a block where it is kept.
    pub in_runs: Vec<u64>,
    /// Of each pair, both events timed alone, without what reading the clock takes.
    pub alone: Vec<u64>,
}

/// The times of `pairs` frees and allocations in turn among `live` blocks: a pair frees any one block, and allocates the next
/// of `sizes`, which come again and again. What comes before, until no block is left of the first ones, is not timed.
///
/// No program frees in such an order, and no cache holds what the next pair needs: not even the block that is freed.
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{PhantomBacking, Pool};
///
/// let pool = Pool::new(Arc::new(PhantomBacking::new(1 << 40, 0)));
/// let times = taut_replay::among(&pool, 10, &[4096, 512, 70_000], 100)?;
/// assert_eq!((times.alone.len(), times.in_runs.len()), (100, 3));
/// # Ok::<(), taut_memory::Error>(())
/// ```
///
/// # Errors
///
/// [`Value`](taut_memory::ErrorKind::Value) without a block or a size, and those of the pool.
pub fn among(pool: &Pool, live: usize, sizes: &[u64], pairs: usize) -> Result<Times> {
    let clock = clock();
    let (mut blocks, mut sizes) = (fill(pool, live, sizes)?, sizes.iter().copied().cycle());
    let mut take = || pool.allocate(sizes.next().unwrap_or(0), StreamId::COMPUTE, SITE);
    let mut state = 1u64;
    // Any block, by the high bits of a linear congruence.
    let mut any = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % live
    };
    let mut times = Times::default();
    for _ in 0..pairs {
        let slot = &mut blocks[any()];
        let start = Instant::now();
        drop(slot.take());
        let block = take();
        let time = start.elapsed().saturating_sub(clock);
        *slot = Some(block?);
        times.alone.push(nanoseconds(time));
    }
    for _ in 0..pairs * 2 / RUN {
        let start = Instant::now();
        for _ in 0..RUN / 2 {
            let slot = &mut blocks[any()];
            drop(slot.take());
            *slot = Some(take()?);
        }
        times.in_runs.push(nanoseconds(start.elapsed() * 2) / RUN as u64);
    }
    Ok(times.sorted())
}

/// The times of a trace that is replayed `repeat` times, after once that is not timed. Runs are of its own order.
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{PhantomBacking, Pool};
///
/// let pool = Pool::new(Arc::new(PhantomBacking::new(1 << 40, 0)));
/// let times = taut_replay::times(&pool, b"+,0,4096\n+,1,512\n-,0\n-,1\n", 10)?;
/// assert_eq!((times.alone.len(), times.in_runs.len()), (20, 10));
/// # Ok::<(), taut_memory::Error>(())
/// ```
///
/// # Errors
///
/// As [`pass`].
pub fn times(pool: &Pool, text: &[u8], repeat: usize) -> Result<Times> {
    let (steps, n_slots) = steps(text)?;
    let mut slots = Vec::new();
    slots.resize_with(n_slots, || None);
    let mut times = Times::default();
    replay(pool, &steps, &mut slots)?;
    for _ in 0..repeat {
        for run in steps.chunks(RUN) {
            let start = Instant::now();
            replay(pool, run, &mut slots)?;
            times.in_runs.push(nanoseconds(start.elapsed() * 2) / run.len() as u64);
        }
        slots.fill_with(|| None);
    }
    for _ in 0..repeat {
        times.alone.extend(pass(pool, text)?.pairs);
    }
    Ok(times.sorted())
}

impl Times {
    fn sorted(mut self) -> Times {
        self.in_runs.sort_unstable();
        self.alone.sort_unstable();
        self
    }
}

/// The [times] of a trace beside `live` blocks of `sizes`, which stay, with gaps between them.
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{PhantomBacking, Pool};
///
/// let pool = Pool::new(Arc::new(PhantomBacking::new(1 << 40, 0)));
/// let times = taut_replay::beside(&pool, 10, &[4096, 512, 70_000], b"+,0,4096\n-,0\n", 5)?;
/// assert_eq!((times.alone.len(), times.in_runs.len()), (5, 5));
/// # Ok::<(), taut_memory::Error>(())
/// ```
///
/// # Errors
///
/// As [`among`] and [`times`].
pub fn beside(pool: &Pool, live: usize, sizes: &[u64], text: &[u8], repeat: usize) -> Result<Times> {
    let _blocks = fill(pool, live, sizes)?;
    times(pool, text, repeat)
}

/// So many blocks of `sizes`, which come again and again, each in the place of a first one or elsewhere.
fn fill(pool: &Pool, live: usize, sizes: &[u64]) -> Result<Vec<Option<Block>>> {
    if live == 0 || sizes.is_empty() {
        let given = format!("load: {live} live blocks of {} sizes: expected at least 1 of each", sizes.len());
        return Err(Error::new(ErrorKind::Value, given));
    }
    let mut sizes = sizes.iter().copied().cycle();
    let mut take = || pool.allocate(sizes.next().unwrap_or(0), StreamId::COMPUTE, SITE);
    let mut blocks = (0..live).map(|_| take().map(Some)).collect::<Result<Vec<Option<Block>>>>()?;
    for block in &mut blocks {
        *block = None;
        *block = Some(take()?);
    }
    Ok(blocks)
}

/// Pairs of an allocation and its free in a second, of all `threads` together: each replays the trace on the same pool,
/// `repeat` times after one that is not timed.
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{PhantomBacking, Pool};
///
/// let pool = Pool::new(Arc::new(PhantomBacking::new(1 << 40, 0)));
/// let rate = taut_replay::rate(&pool, b"+,0,3000000\n+,1,1000000\n-,0\n", 2, 100)?;
/// assert!(rate > 0.0 && pool.stats().live_bytes == 0);
/// # Ok::<(), taut_memory::Error>(())
/// ```
///
/// # Errors
///
/// [`Corrupt`](taut_memory::ErrorKind::Corrupt) for a line that is no event, and those of the pool.
pub fn rate(pool: &Pool, text: &[u8], threads: usize, repeat: usize) -> Result<f64> {
    let (steps, n_slots) = steps(text)?;
    let pairs = steps.iter().filter(|step| step.bytes.is_some()).count();
    let gate = Barrier::new(threads);
    let run = || {
        let mut slots = Vec::new();
        slots.resize_with(n_slots, || None);
        let mut once = || {
            replay(pool, &steps, &mut slots)?;
            slots.fill_with(|| None);
            Ok(())
        };
        let warm = once();
        gate.wait();
        let start = Instant::now();
        let timed = (0..repeat).try_for_each(|_| once());
        let time = start.elapsed();
        warm.and(timed).map(|()| time)
    };
    let slowest = at_once(threads, run)?.into_iter().max().unwrap_or_default();
    Ok((threads * pairs * repeat) as f64 / slowest.as_secs_f64())
}

/// The times of an allocation and its free in nanoseconds, sorted, of all `threads` together: each replays the trace on the
/// same pool, `repeat` times after two that are not timed.
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{PhantomBacking, Pool};
///
/// let pool = Pool::new(Arc::new(PhantomBacking::new(1 << 40, 0)));
/// let times = taut_replay::together(&pool, b"+,0,3000000\n-,0\n", 2, 100)?;
/// assert!(times.len() == 200 && times.is_sorted());
/// # Ok::<(), taut_memory::Error>(())
/// ```
///
/// # Errors
///
/// As [`pass`].
pub fn together(pool: &Pool, text: &[u8], threads: usize, repeat: usize) -> Result<Vec<u64>> {
    let gate = Barrier::new(threads);
    let run = || {
        let warm = (0..2).try_for_each(|_| pass(pool, text).map(drop));
        gate.wait();
        warm?;
        let passes = (0..repeat).map(|_| pass(pool, text).map(|pass| pass.pairs));
        Ok(passes.collect::<Result<Vec<_>>>()?.concat())
    };
    let mut times = at_once(threads, run)?.concat();
    times.sort_unstable();
    Ok(times)
}

/// What each of so many threads returns.
fn at_once<T: Send>(threads: usize, run: impl Fn() -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(&run)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<T>>| {
            thread.join().unwrap_or_else(|_| Err(Error::driver("load: a thread panicked")))
        };
        threads.into_iter().map(join).collect()
    })
}

/// An event whose block stands in a slot: to be allocated, or to be freed.
struct Step {
    slot: usize,
    bytes: Option<u64>,
}

/// The events of a trace, with a slot for each block that lives at once, and how many slots that are.
fn steps(text: &[u8]) -> Result<(Vec<Step>, usize)> {
    let (mut slots, mut free, mut n_slots) = (HashMap::new(), Vec::new(), 0);
    let mut steps = Vec::new();
    for event in events(text) {
        match event?.1 {
            Event::Allocate { id, bytes } => {
                let slot = free.pop().unwrap_or_else(|| {
                    n_slots += 1;
                    n_slots - 1
                });
                slots.insert(id, slot);
                steps.push(Step { slot, bytes: Some(bytes) });
            }
            Event::Free { id } => {
                let slot = slots.remove(&id);
                free.extend(slot);
                steps.extend(slot.map(|slot| Step { slot, bytes: None }));
            }
        }
    }
    Ok((steps, n_slots))
}

fn replay(pool: &Pool, steps: &[Step], slots: &mut [Option<Block>]) -> Result<()> {
    for &Step { slot, bytes } in steps {
        match bytes {
            Some(bytes) => slots[slot] = Some(pool.allocate(bytes, StreamId::COMPUTE, SITE)?),
            None => slots[slot] = None,
        }
    }
    Ok(())
}
