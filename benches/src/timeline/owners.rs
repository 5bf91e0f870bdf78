//! Who held what in a timeline, and the bands that this makes.

use super::{Band, Group, Owner, Split};
use std::{cmp::Reverse, collections::HashMap};
use taut::{
    Kind,
    memory::{Held, ScopeId, Timeline, TraceBlock},
};

/// Owners that have a band of their own, the largest ones.
const OWNERS: usize = 28;

/// Scopes that have a colour of their own, the largest ones.
const SCOPES: usize = 7;

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
pub(super) struct Owners {
    list: Vec<Owner>,
    pub(super) index: HashMap<Owner, usize>,
}

impl Owners {
    pub(super) fn of(timeline: &Timeline) -> Owners {
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

    /// The groups, from the bottom, the bands, and for each owner its band.
    pub(super) fn bands(&self, timeline: &Timeline, split: Split) -> (Vec<Group>, Vec<Band>, Vec<usize>) {
        let all: Vec<usize> = (0..self.list.len()).collect();
        let peaks = self.peaks(timeline, &all);
        let mut large = all.clone();
        large.sort_by_key(|&i| Reverse(peaks[i]));
        large.truncate(OWNERS);

        let (names, group_of) = self.groups(timeline, split);
        let of_groups = self.peaks(timeline, &group_of);
        let (mut groups, mut bands, mut band_of) = (Vec::new(), Vec::new(), vec![0; all.len()]);
        for (number, (name, colour)) in names.into_iter().enumerate() {
            let mut members: Vec<usize> = all.iter().copied().filter(|&i| group_of[i] == number).collect();
            let Some(&peak_bytes) = of_groups.get(number).filter(|&&bytes| bytes > 0) else { continue };
            members.sort_by_key(|&i| self.list[i].kind);
            let (own, small): (Vec<usize>, Vec<usize>) = members.iter().partition(|i| large.contains(i));
            let group = groups.len();
            groups.push(Group { name, colour, peak_bytes });
            for i in own {
                band_of[i] = bands.len();
                bands.push(Band { group, owner: Some(self.list[i]), peak_bytes: peaks[i] });
            }
            if !small.is_empty() {
                small.iter().for_each(|&i| band_of[i] = bands.len());
                bands.push(Band { group, owner: None, peak_bytes: 0 });
            }
        }
        let of_bands = self.peaks(timeline, &band_of);
        bands.iter_mut().zip(of_bands).for_each(|(band, peak)| band.peak_bytes = peak);
        (groups, bands, band_of)
    }

    /// The names and colours of all groups, from the bottom, and for each owner the number of its group.
    fn groups(&self, timeline: &Timeline, split: Split) -> (Vec<(String, Option<usize>)>, Vec<usize>) {
        if split == Split::Kind {
            let names = Kind::ALL.map(|kind| (kind.name().to_owned(), Some(kind as usize)));
            return (names.into(), self.list.iter().map(|owner| owner.kind as usize).collect());
        }
        // In the order of their coming, but those first whose kinds are: the kinds that stay.
        let mut scopes: Vec<(Kind, ScopeId)> = Vec::new();
        for &Owner { scope, kind, .. } in &self.list {
            match scopes.iter_mut().find(|(_, known)| *known == scope) {
                Some((least, _)) => *least = kind.min(*least),
                None => scopes.push((kind, scope)),
            }
        }
        scopes.sort_by_key(|&(kind, _)| kind);
        let number = |of: &[(Kind, ScopeId)], scope| of.iter().position(|&(_, known)| known == scope);
        let numbers = |of: &[(Kind, ScopeId)]| -> Vec<usize> {
            self.list.iter().map(|owner| number(of, owner.scope).unwrap_or(of.len())).collect()
        };
        let peaks = self.peaks(timeline, &numbers(&scopes));
        let mut largest: Vec<usize> = (0..scopes.len()).collect();
        largest.sort_by_key(|&i| Reverse(peaks[i]));
        largest.truncate(SCOPES);
        largest.sort_unstable();
        let shown: Vec<(Kind, ScopeId)> = largest.into_iter().map(|i| scopes[i]).collect();

        let name = |scope: ScopeId| match scope {
            ScopeId::ROOT => "outside of scopes".to_owned(),
            scope => scope.name().to_owned(),
        };
        let mut names: Vec<_> =
            shown.iter().enumerate().map(|(i, &(_, scope))| (name(scope), Some(i))).collect();
        names.push(("other scopes".to_owned(), None));
        (names, numbers(&shown))
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
