//! A timeline as stacked bands, reduced to what can be seen: in each column of the plot stands the moment at which most was
//! live, so that the peaks are exact and the number of events does not matter.

use super::{columns::Columns, owners::Owners};
use taut::{
    Kind,
    memory::{ScopeId, Timeline, TraceBlock},
};

/// Columns of a chart: as many as a page shows apart.
pub const COLUMNS: usize = 720;

/// By what the bands are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// By the kind of memory.
    Kind,
    /// By the scope, the largest ones.
    Scope,
}

/// A chart: what stands in each of its [`COLUMNS`].
#[derive(Clone, Debug)]
pub struct Chart {
    /// By what it is coloured.
    pub split: Split,
    /// The colours, from the bottom.
    pub groups: Vec<Group>,
    /// From the bottom, those of a group together.
    pub bands: Vec<Band>,
    /// Columns that show the same are one run.
    pub runs: Vec<Run>,
    /// The time of the first and of the last column, in nanoseconds.
    pub time: (u64, u64),
    /// The most live bytes.
    pub peak_bytes: u64,
    /// The column of the first moment with as many.
    pub peak_column: usize,
}

/// The bands of one colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The kind, or the scope.
    pub name: String,
    /// Which colour: the number of the kind, or the place among the scopes; `None` for scopes that share one.
    pub colour: Option<usize>,
    /// The most bytes of all its owners together: at its own moment.
    pub peak_bytes: u64,
}

/// The bytes of one owner, or of the small ones of a group together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// An index of `groups`.
    pub group: usize,
    /// Who it is; `None` for the small ones.
    pub owner: Option<Owner>,
    /// The most bytes, at its own moment.
    pub peak_bytes: u64,
}

/// Op, scope and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The op that allocated.
    pub op: &'static str,
    /// Where.
    pub scope: ScopeId,
    /// For what.
    pub kind: Kind,
}

/// What stands in neighbouring columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first column.
    pub start: usize,
    /// Live bytes of each band.
    pub bytes: Vec<u64>,
    /// The most reserved bytes.
    pub reserved_bytes: u64,
    /// The least budget, less what the device takes for itself.
    pub budget_bytes: u64,
}

impl Chart {
    /// The chart of a timeline. Its last column holds the last event: what comes later is the same.
    pub fn new(timeline: &Timeline, split: Split) -> Chart {
        let owners = Owners::of(timeline);
        let (groups, bands, band_of) = owners.bands(timeline, split);
        let start = timeline.start.nanoseconds;
        let end = timeline.events.last().map_or(start, |event| event.level.nanoseconds);
        // Owners of nothing but empty blocks have no band, and add nothing to the first one.
        let mut now = vec![0; bands.len().max(1)];
        for held in &timeline.owners {
            now[band_of[owners.index[&Owner::from(held)]]] += held.bytes;
        }
        let mut columns = Columns::new(timeline, now, (start, end));
        for event in &timeline.events {
            columns.advance(event.level.nanoseconds);
            let band = |block: &TraceBlock| band_of[owners.index[&Owner::from(block)]];
            if let Some(block) = event.change.gains() {
                columns.now[band(&block)] += block.bytes;
            }
            if let Some(block) = event.change.loses() {
                columns.now[band(&block)] -= block.bytes;
            }
            columns.see(&event.level);
        }
        let (runs, peak) = columns.finish();
        Chart { split, groups, bands, runs, time: (start, end), peak_bytes: peak.0, peak_column: peak.1 }
    }

    /// The largest number in it, but for the budget.
    pub fn most_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.reserved_bytes).fold(self.peak_bytes, u64::max)
    }
}
