//! A timeline as stacked bands, reduced to what can be seen: in each column of the plot stands the moment at which most was
//! live, so that the peaks are exact and the number of events does not matter.

use super::columns::Columns;
use std::{cmp::Reverse, collections::HashMap};
use taut::{
    Kind,
    memory::{Held, ScopeId, Timeline, TraceBlock},
};

/// Columns of a chart: as many as a page shows apart.
pub const COLUMNS: usize = 720;

/// Owners that have a band of their own, the largest ones.
const OWNERS: usize = 28;

/// Scopes that have a colour of their own, the largest ones.
const SCOPES: usize = 7;

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

impl From<&Held> for Owner {
    fn from(held: &Held) -> Owner {
        Owner { op: held.site.op, scope: held.scope, kind: held.site.kind }
    }
}

impl From<&TraceBlock> for Owner {
    fn from(block: &TraceBlock) -> Owner {
        Owner { op: block.site.op, scope: block.scope, kind: block.site.kind }
    }
}

/// Everyone who ever held a byte, in the order of their coming.
struct Owners {
    list: Vec<Owner>,
    index: HashMap<Owner, usize>,
}

impl Owners {
    fn of(timeline: &Timeline) -> Owners {
        let mut owners = Owners { list: Vec::new(), index: HashMap::new() };
        timeline.owners.iter().for_each(|held| owners.add(Owner::from(held)));
        for change in timeline.events.iter().map(|event| event.change) {
            [change.loses(), change.gains()].iter().flatten().for_each(|block| owners.add(block.into()));
        }
        owners
    }

    fn add(&mut self, owner: Owner) {
        self.index.entry(owner).or_insert_with(|| {
            self.list.push(owner);
            self.list.len() - 1
        });
    }

    /// The groups, the bands, and for each owner its band.
    fn bands(&self, timeline: &Timeline, split: Split) -> (Vec<Group>, Vec<Band>, Vec<usize>) {
        let own: Vec<usize> = (0..self.list.len()).collect();
        let peaks = self.peaks(timeline, &own);
        let key_of = |owner: &Owner| match split {
            Split::Kind => owner.kind as usize,
            Split::Scope => self.list.iter().position(|other| other.scope == owner.scope).unwrap_or(0),
        };
        let keys: Vec<usize> = self.list.iter().map(key_of).collect();
        let by_key = self.peaks(timeline, &keys);
        // Kinds in their order, scopes in that of their coming, which is that of their keys.
        let mut order = keys.clone();
        order.sort_unstable();
        order.dedup();
        // Scopes beyond the largest are one group, the last one.
        let mut largest = order.clone();
        largest.sort_by_key(|&key| Reverse(by_key[key]));
        let coloured = |key: &usize| split == Split::Kind || largest.iter().take(SCOPES).any(|k| k == key);
        let shown: Vec<usize> = order.iter().copied().filter(coloured).collect();
        let group_of: Vec<usize> = keys
            .iter()
            .map(|key| shown.iter().position(|shown| shown == key).unwrap_or(shown.len()))
            .collect();
        let by_group = self.peaks(timeline, &group_of);

        let mut large = own.clone();
        large.sort_by_key(|&i| Reverse(peaks[i]));
        large.truncate(OWNERS);
        let (mut groups, mut bands, mut band_of) = (Vec::new(), Vec::new(), vec![0; own.len()]);
        for group in 0..=shown.len() {
            let members: Vec<usize> = own.iter().copied().filter(|&i| group_of[i] == group).collect();
            if members.is_empty() || by_group[group] == 0 {
                continue;
            }
            let first = self.list[members[0]];
            let name = match split {
                _ if group == shown.len() => "other scopes".to_owned(),
                Split::Kind => first.kind.name().to_owned(),
                Split::Scope if first.scope == ScopeId::ROOT => "outside of scopes".to_owned(),
                Split::Scope => first.scope.name().to_owned(),
            };
            let colour = match split {
                _ if group == shown.len() => None,
                Split::Kind => Some(first.kind as usize),
                Split::Scope => Some(group),
            };
            let number = groups.len();
            groups.push(Group { name, colour, peak_bytes: by_group[group] });
            let small = members.iter().filter(|i| !large.contains(i)).count();
            for &i in members.iter().filter(|i| large.contains(i)) {
                band_of[i] = bands.len();
                bands.push(Band { group: number, owner: Some(self.list[i]), peak_bytes: peaks[i] });
            }
            if small > 0 {
                for &i in members.iter().filter(|i| !large.contains(i)) {
                    band_of[i] = bands.len();
                }
                bands.push(Band { group: number, owner: None, peak_bytes: 0 });
            }
        }
        let of_bands = self.peaks(timeline, &band_of);
        bands.iter_mut().zip(of_bands).for_each(|(band, peak)| band.peak_bytes = peak);
        (groups, bands, band_of)
    }

    /// The most bytes of all owners with the same number together, by that number.
    fn peaks(&self, timeline: &Timeline, numbers: &[usize]) -> Vec<u64> {
        let n = numbers.iter().max().map_or(0, |most| most + 1);
        let (mut now, mut peaks) = (vec![0; n], vec![0; n]);
        for held in &timeline.owners {
            now[numbers[self.index[&held.into()]]] += held.bytes;
        }
        peaks.clone_from(&now);
        for change in timeline.events.iter().map(|event| event.change) {
            // What goes first: a block that changes its kind is not in a group twice.
            if let Some(block) = change.loses() {
                now[numbers[self.index[&(&block).into()]]] -= block.bytes;
            }
            if let Some(block) = change.gains() {
                let number = numbers[self.index[&(&block).into()]];
                now[number] += block.bytes;
                peaks[number] = peaks[number].max(now[number]);
            }
        }
        peaks
    }
}
