//! The figures of another process.

use super::{FILE, MAGIC, ROWS, VERSION, WORDS, header, row};
use crate::{Error, Kind, Result, map::SeenWords};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{Ordering, fence},
    thread,
};

/// What one pool of a process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The device.
    pub device: String,
    /// By which the driver's tools know the card.
    pub uuid: Option<[u8; 16]>,
    /// The memory of the device.
    pub capacity_bytes: u64,
    /// What the device takes for itself while it is open: its context and modules.
    pub overhead_bytes: u64,
    /// The most that the pool may reserve, overhead included.
    pub budget_bytes: u64,
    /// Bytes of all committed pages.
    pub reserved_bytes: u64,
    /// The peak of `reserved_bytes`.
    pub peak_reserved_bytes: u64,
    /// Bytes of live blocks by kind, indexed by `kind as usize`.
    pub live_by_kind: [u64; 8],
    /// The peak of their sum.
    pub peak_live_bytes: u64,
    /// Blocks handed out so far.
    pub allocations: u64,
}

impl Figures {
    /// Bytes of all live blocks.
    pub fn live_bytes(&self) -> u64 {
        self.live_by_kind.iter().sum()
    }
}

/// The figures that a process [shows](crate::publish).
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{HostBacking, Kind, Pool, Published, Site, StreamId, publish};
///
/// let pool = Pool::new(Arc::new(HostBacking::new()?));
/// publish()?;
/// let block = pool.allocate(3_000_000, StreamId::COMPUTE, Site::new("linear", Kind::Weights))?;
///
/// // As any other process would.
/// let Some(published) = Published::of(std::process::id())? else { panic!("it is published") };
/// let figures = published.figures();
/// assert_eq!(figures[0].device, "cpu");
/// assert_eq!(figures[0].live_by_kind[Kind::Weights as usize], 3_000_000);
/// assert_eq!(figures[0].reserved_bytes, 4 << 20);
/// # Ok::<(), taut_memory::Error>(())
/// ```
#[derive(Debug)]
pub struct Published {
    words: SeenWords,
}

impl Published {
    /// The running processes that show figures and that this user may look into, in the order of their numbers.
    pub fn all() -> Vec<(u32, Result<Published>)> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids: Vec<u32> =
            processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        pids.sort_unstable();
        let published = pids.into_iter().filter_map(|pid| Some((pid, Published::of(pid).transpose()?)));
        published.collect()
    }

    /// What the process of this number shows. `None` if it shows nothing, is not there, or is none of this user's.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the figures are of another version of taut;
    /// [`Driver`](crate::ErrorKind::Driver) if the system does not map them.
    pub fn of(pid: u32) -> Result<Option<Published>> {
        let Some(path) = file_of(pid) else { return Ok(None) };
        let Some(words) = SeenWords::open(&path, WORDS)? else { return Ok(None) };
        let published = Published { words };
        if published.word(header::MAGIC) != MAGIC {
            return Ok(None);
        }
        match published.word(header::VERSION) {
            VERSION => Ok(Some(published)),
            other => Err(Error::corrupt(format!(
                "top: process {pid} shows figures of version {other}, this program reads version {VERSION}"
            ))),
        }
    }

    /// What its pools hold now, each as it was at one moment. A pool that is never at rest for as long as it takes to
    /// read it is left out.
    pub fn figures(&self) -> Vec<Figures> {
        (0..ROWS).filter_map(|index| self.row(header::WORDS + index * row::WORDS)).collect()
    }

    /// Pools that are not shown: there were too many at once.
    pub fn left_out(&self) -> u64 {
        self.word(header::LEFT_OUT)
    }

    fn row(&self, start: usize) -> Option<Figures> {
        for attempt in 0..1000 {
            let sequence = self.word(start + row::SEQUENCE);
            fence(Ordering::Acquire);
            let words: [u64; row::WORDS] = std::array::from_fn(|i| self.word(start + i));
            // What was read is not younger than the number that is read now.
            fence(Ordering::Acquire);
            if sequence.is_multiple_of(2) && sequence == self.word(start + row::SEQUENCE) {
                return figures(&words);
            }
            if attempt % 16 == 15 {
                thread::yield_now();
            }
        }
        None
    }

    fn word(&self, index: usize) -> u64 {
        u64::from_le(self.words.load(index))
    }
}

/// The file with the figures of a process, among those that it has open.
fn file_of(pid: u32) -> Option<PathBuf> {
    let name = format!("/memfd:{FILE} (deleted)");
    let mut files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().map(|entry| entry.path());
    files.find(|path| fs::read_link(path).is_ok_and(|target| target == Path::new(&name)))
}

/// The figures in the words of a row, if a pool has it.
fn figures(words: &[u64; row::WORDS]) -> Option<Figures> {
    if words[row::TAKEN] != 1 {
        return None;
    }
    let name: Vec<u8> =
        words[row::NAME..][..row::NAME_WORDS].iter().flat_map(|word| word.to_le_bytes()).collect();
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    let uuid = u128::from(words[row::UUID + 1]) << 64 | u128::from(words[row::UUID]);
    Some(Figures {
        device: String::from_utf8_lossy(&name[..end]).into_owned(),
        uuid: (uuid != 0).then(|| uuid.to_le_bytes()),
        capacity_bytes: words[row::CAPACITY],
        overhead_bytes: words[row::OVERHEAD],
        budget_bytes: words[row::BUDGET],
        reserved_bytes: words[row::RESERVED],
        peak_reserved_bytes: words[row::PEAK_RESERVED],
        live_by_kind: Kind::ALL.map(|kind| words[row::KINDS + kind as usize]),
        peak_live_bytes: words[row::PEAK_LIVE],
        allocations: words[row::ALLOCATIONS],
    })
}
