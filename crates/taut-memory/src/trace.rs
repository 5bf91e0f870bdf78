//! The timeline of a pool: its last events, and what was live before them.

mod ring;

pub(crate) use ring::{Event, Ring};

use crate::{Kind, ScopeId, Site};
use std::fmt;

/// What a pool did lately, as [`Pool::record`](crate::Pool::record) keeps it: the state at its start, and every event
/// since then. Where events were lost, the start is behind them, so that sums over the rest are exact.
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{Kind, PhantomBacking, Pool, Site, StreamId};
///
/// let pool = Pool::new(Arc::new(PhantomBacking::new(80 << 30, 0)));
/// let weights = pool.allocate(3_000_000, StreamId::COMPUTE, Site::new("linear", Kind::Weights))?;
/// pool.record(2)?;
/// for _ in 0..5 {
///     pool.allocate(1000, StreamId::COMPUTE, Site::new("relu", Kind::Activations))?;
/// }
/// let Some(timeline) = pool.timeline() else { panic!("it is recorded") };
/// assert_eq!((timeline.events.len(), timeline.lost), (2, 8));
/// assert_eq!(timeline.owners[0].bytes, weights.bytes());
/// assert_eq!(timeline.events[0].level.live_bytes, 3_001_000);
/// # Ok::<(), taut_memory::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Who held the live blocks at the start.
    pub owners: Vec<Held>,
    /// The state at the start: in nanoseconds the time of the last event that was lost, or 0.
    pub start: Level,
    /// In the order in which they happened.
    pub events: Vec<TraceEvent>,
    /// Events before those, which the ring had no room for.
    pub lost: u64,
    /// How long this had been recorded when it was taken, in nanoseconds.
    pub end_nanoseconds: u64,
    /// What the device takes for itself, which counts against the budget beside the reserved bytes.
    pub overhead_bytes: u64,
    /// The memory of the device: a budget of as much is none.
    pub capacity_bytes: u64,
}

/// What the blocks of one op, kind and scope hold together. In a timeline none holds no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Why they exist.
    pub site: Site,
    /// The scope that they were allocated in.
    pub scope: ScopeId,
    /// Their bytes, as requested.
    pub bytes: u64,
    /// How many they are.
    pub blocks: u64,
}

/// The figures of a pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Since the recording began; never less than in the event before. No decision depends on it.
    pub nanoseconds: u64,
    /// Live bytes.
    pub live_bytes: u64,
    /// Reserved bytes.
    pub reserved_bytes: u64,
    /// The most that may be reserved, overhead included.
    pub budget_bytes: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A block was handed out.
    Allocate(TraceBlock),
    /// A block was given back.
    Free(TraceBlock),
    /// The kind of a block, this until now, became the one that it has.
    Kind(TraceBlock, Kind),
    /// No block, but reserved bytes or the budget: by `release`, `set_budget` or `reset`.
    Limits,
}

impl Change {
    /// The block that its owner has since this event: of an [`Allocate`](Change::Allocate), and of a
    /// [`Kind`](Change::Kind) with the kind that it has now.
    ///
    /// ```
    /// use taut_memory::{Change, Kind, ScopeId, Site, TraceBlock};
    ///
    /// let site = Site::new("relu", Kind::Saved);
    /// let block = TraceBlock { id: 0, bytes: 4096, site, scope: ScopeId::ROOT };
    /// let change = Change::Kind(block, Kind::Activations);
    /// assert_eq!(change.gains(), Some(block));
    /// assert_eq!(change.loses().map(|block| block.site.kind), Some(Kind::Activations));
    /// ```
    pub fn gains(&self) -> Option<TraceBlock> {
        match *self {
            Change::Allocate(block) | Change::Kind(block, _) => Some(block),
            Change::Free(_) | Change::Limits => None,
        }
    }

    /// The block that its owner had until this event: of a [`Free`](Change::Free), and of a [`Kind`](Change::Kind) with
    /// the kind that it had.
    pub fn loses(&self) -> Option<TraceBlock> {
        match *self {
            Change::Free(block) => Some(block),
            Change::Kind(block, kind) => Some(TraceBlock { site: Site { kind, ..block.site }, ..block }),
            Change::Allocate(_) | Change::Limits => None,
        }
    }
}

/// The block of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceBlock {
    /// Blocks of a pool are numbered from 0, in the order in which they were handed out. Those of threads that had memory of
    /// their own have numbers from 2^48 on, which no two of them share.
    pub id: u64,
    /// Its bytes, as requested.
    pub bytes: u64,
    /// Why it exists. The kind is the one after the event.
    pub site: Site,
    /// The scope that it was allocated in.
    pub scope: ScopeId,
}

/// One event of a [`Timeline`].
///
/// Shown as a line without its time and budget, so that two runs can be compared, with `-` for the root scope:
/// `+ 17 4096 activations relu model/layer3 live 8192 reserved 2097152`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// What happened.
    pub change: Change,
    /// When, and the figures of the pool after it.
    pub level: Level,
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, block, from) = match self.change {
            Change::Allocate(block) => ("+", Some(block), None),
            Change::Free(block) => ("-", Some(block), None),
            Change::Kind(block, from) => ("=", Some(block), Some(from)),
            Change::Limits => ("~", None, None),
        };
        f.write_str(sign)?;
        if let Some(TraceBlock { id, bytes, site: Site { op, kind }, scope }) = block {
            write!(f, " {id} {bytes} ")?;
            if let Some(from) = from {
                write!(f, "{from}>")?;
            }
            let path = if scope.name().is_empty() { "-" } else { scope.name() };
            write!(f, "{kind} {op} {path}")?;
        }
        let Level { live_bytes, reserved_bytes, .. } = self.level;
        write!(f, " live {live_bytes} reserved {reserved_bytes}")
    }
}
