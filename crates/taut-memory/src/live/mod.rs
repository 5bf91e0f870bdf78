//! The figures of this process, for other processes to look at while it runs.
//!
//! They stand in an anonymous file in memory, which is found through `/proc` and is gone with the process, however it
//! ends. A pool writes its row with plain stores, under the lock that it holds anyway: no system call, no thread.
//!
//! The file is words of 64 bits, little-endian: a header, then [`ROWS`] rows. A row is written between two steps of its
//! sequence number, which is odd meanwhile, so that a reader knows when to look again.

mod read;

pub use read::{Figures, Published};

use crate::{Kind, Result, Stats, map::OwnWords, state::Inner};
use std::{
    env,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering, fence},
    },
};

/// What a pool is called where its figures are [shown](publish).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The name of the device: `cuda:0 (NVIDIA H200)`. Up to 96 bytes are shown.
    pub name: String,
    /// By which the driver's tools know the card.
    pub uuid: Option<[u8; 16]>,
}

/// The name of the file.
const FILE: &str = "taut-figures";

/// The first word of the file.
const MAGIC: u64 = u64::from_le_bytes(*b"taut-top");

/// Of this layout.
const VERSION: u64 = 1;

/// Pools that are shown at once.
const ROWS: usize = 31;

/// Words of the file: two pages of 4 KiB.
const WORDS: usize = header::WORDS + ROWS * row::WORDS;

const _: () = assert!(WORDS * 8 <= 8192 && row::KINDS + Kind::ALL.len() == row::PEAK_LIVE);

/// Where things stand in the header.
mod header {
    pub(super) const MAGIC: usize = 0;
    pub(super) const VERSION: usize = 1;
    /// Pools for which there was no row.
    pub(super) const LEFT_OUT: usize = 2;
    pub(super) const WORDS: usize = 8;
}

/// Where things stand in a row.
mod row {
    /// Odd while the row is being written.
    pub(super) const SEQUENCE: usize = 0;
    /// 1 if a pool has the row.
    pub(super) const TAKEN: usize = 1;
    pub(super) const CAPACITY: usize = 2;
    pub(super) const OVERHEAD: usize = 3;
    pub(super) const BUDGET: usize = 4;
    pub(super) const RESERVED: usize = 5;
    pub(super) const PEAK_RESERVED: usize = 6;
    pub(super) const ALLOCATIONS: usize = 7;
    /// Live bytes, a word for each kind.
    pub(super) const KINDS: usize = 8;
    pub(super) const PEAK_LIVE: usize = 16;
    /// Two words, 0 where there is none.
    pub(super) const UUID: usize = 17;
    /// UTF-8, zeros behind it.
    pub(super) const NAME: usize = 19;
    pub(super) const NAME_WORDS: usize = 12;
    pub(super) const WORDS: usize = 32;
}

/// Shows the memory of this process to `cargo xtask top` until it ends: what its pools hold, those made already and those
/// made later. An environment in which `TAUT_TOP` is 1 has the same effect. Plans are not shown, for they hold nothing.
///
/// Whoever may look into the process (its user and root) sees device, live bytes by kind, reserved bytes, peaks and
/// budget, and no contents. An allocation costs a few nanoseconds more. Calling it again changes nothing.
///
/// ```
/// taut_memory::publish()?;
/// # Ok::<(), taut_memory::Error>(())
/// ```
///
/// # Errors
///
/// [`Driver`](crate::ErrorKind::Driver) if the system refuses 8 KiB of shared memory.
pub fn publish() -> Result<()> {
    let mut shown = shown();
    shown.open()?;
    shown.fill();
    Ok(())
}

/// Shows a new pool, if this process shows any.
pub(crate) fn show(pool: &Arc<Inner>) {
    if pool.backing.label().is_none() {
        return;
    }
    let mut shown = shown();
    shown.pools.retain(|pool| pool.strong_count() > 0);
    shown.pools.push(Arc::downgrade(pool));
    if shown.page.is_none() && env::var_os("TAUT_TOP").is_some_and(|value| value == "1") {
        // Figures that can not be shown are no reason to have no device.
        let _ = shown.open();
    }
    shown.fill();
}

/// What this process shows.
struct Shown {
    page: Option<Arc<Page>>,
    /// Every pool that can be shown.
    pools: Vec<Weak<Inner>>,
}

static SHOWN: Mutex<Shown> = Mutex::new(Shown { page: None, pools: Vec::new() });

fn shown() -> MutexGuard<'static, Shown> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shown {
    fn open(&mut self) -> Result<()> {
        if self.page.is_none() {
            self.page = Some(Arc::new(Page::new()?));
        }
        Ok(())
    }

    /// Gives every pool that has none a row.
    fn fill(&mut self) {
        let Some(page) = &self.page else { return };
        for pool in self.pools.iter().filter_map(Weak::upgrade) {
            let mut state = pool.ordered(&pool.turn());
            if let (false, Some(label)) = (state.is_shown(), pool.backing.label()) {
                let facts = (pool.backing.capacity_bytes(), pool.backing.overhead_bytes());
                match Page::row(page, &label, facts) {
                    Some(row) => state.show_in(row),
                    None => drop(page.words.get(header::LEFT_OUT).fetch_add(1u64.to_le(), Ordering::Relaxed)),
                }
            }
        }
    }
}

/// The file.
struct Page {
    words: OwnWords,
    taken: Mutex<[bool; ROWS]>,
}

impl Page {
    fn new() -> Result<Page> {
        let words = OwnWords::create(FILE, WORDS)?;
        store(words.get(header::VERSION), VERSION);
        // Last: with it the file is one of ours.
        words.get(header::MAGIC).store(MAGIC.to_le(), Ordering::Release);
        Ok(Page { words, taken: Mutex::new([false; ROWS]) })
    }

    /// A free row, now that of a pool.
    fn row(page: &Arc<Page>, label: &Label, (capacity, overhead): (u64, u64)) -> Option<Row> {
        let index = {
            let mut taken = page.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let index = taken.iter().position(|taken| !taken)?;
            taken[index] = true;
            index
        };
        let row = Row { page: page.clone(), index };
        row.change(|word| {
            let uuid = u128::from_le_bytes(label.uuid.unwrap_or_default());
            store(word(row::UUID), uuid as u64);
            store(word(row::UUID + 1), (uuid >> 64) as u64);
            let mut name = [0; 8 * row::NAME_WORDS];
            let whole = |&n: &usize| label.name.is_char_boundary(n);
            let shown = (0..=label.name.len().min(name.len())).rev().find(whole).unwrap_or(0);
            name[..shown].copy_from_slice(&label.name.as_bytes()[..shown]);
            for (i, chunk) in name.as_chunks().0.iter().enumerate() {
                store(word(row::NAME + i), u64::from_le_bytes(*chunk));
            }
            store(word(row::CAPACITY), capacity);
            store(word(row::OVERHEAD), overhead);
            store(word(row::TAKEN), 1);
        });
        Some(row)
    }
}

/// The place of one pool in the file, until it is dropped.
pub(crate) struct Row {
    page: Arc<Page>,
    index: usize,
}

impl Row {
    /// Shows these figures. Only the pool of this row calls it, with its lock held.
    pub(crate) fn write(&self, stats: &Stats, budget_bytes: u64) {
        self.change(|word| {
            store(word(row::BUDGET), budget_bytes);
            store(word(row::RESERVED), stats.reserved_bytes);
            store(word(row::PEAK_RESERVED), stats.peak_reserved_bytes);
            store(word(row::ALLOCATIONS), stats.allocations);
            store(word(row::PEAK_LIVE), stats.peak_live_bytes);
            for (i, &bytes) in stats.live_by_kind.iter().enumerate() {
                store(word(row::KINDS + i), bytes);
            }
        });
    }

    /// Changes words of the row, such that a reader sees all of it or looks again.
    fn change<'a>(&'a self, change: impl FnOnce(&dyn Fn(usize) -> &'a AtomicU64)) {
        let word = |i| self.page.words.get(header::WORDS + self.index * row::WORDS + i);
        let sequence = u64::from_le(word(row::SEQUENCE).load(Ordering::Relaxed));
        store(word(row::SEQUENCE), sequence.wrapping_add(1));
        // What follows is not seen before the odd number, nor the even one before what it ends.
        fence(Ordering::Release);
        change(&word);
        word(row::SEQUENCE).store(sequence.wrapping_add(2).to_le(), Ordering::Release);
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.change(|word| store(word(row::TAKEN), 0));
        self.page.taken.lock().unwrap_or_else(PoisonError::into_inner)[self.index] = false;
    }
}

fn store(word: &AtomicU64, value: u64) {
    word.store(value.to_le(), Ordering::Relaxed);
}
