//! The arena over segments against a naive model: every segment is known from end to end, and so is every block.

use super::super::{Arena, Choice, Full, Place};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::{collections::BTreeMap, ops::Range};

const UNIT: u64 = 256;
const PAGE_UNITS: u64 = 16;
const PAGE: u64 = PAGE_UNITS * UNIT;
const PAGES: u64 = 60;

struct Model {
    arena: Arena,
    /// Pages.
    segments: Vec<Range<u64>>,
    /// Units of live blocks, in no order, with the streams that use them.
    live: Vec<(Place, Range<u64>)>,
    /// Of each unit since its memory came: who used it last.
    streams: BTreeMap<u64, u64>,
}

impl Model {
    fn new() -> Model {
        let arena = Arena::segmented(PAGES, PAGE);
        Model { arena, segments: Vec::new(), live: Vec::new(), streams: BTreeMap::new() }
    }

    /// Free ranges of units within segments, the shortest first, the lowest on ties.
    fn gaps(&self) -> Vec<Range<u64>> {
        let is_live = |unit: u64| self.live.iter().any(|(_, block)| block.contains(&unit));
        let mut gaps: Vec<Range<u64>> = Vec::new();
        for segment in &self.segments {
            let mut gap: Option<Range<u64>> = None;
            for unit in segment.start * PAGE_UNITS..segment.end * PAGE_UNITS {
                match &mut gap {
                    _ if is_live(unit) => gaps.extend(gap.take()),
                    Some(gap) => gap.end = unit + 1,
                    None => gap = Some(unit..unit + 1),
                }
            }
            gaps.extend(gap);
        }
        gaps.sort_by_key(|gap| (gap.end - gap.start, gap.start));
        gaps
    }

    fn spare(&self) -> Vec<Range<u64>> {
        let is_free = |pages: &&Range<u64>| {
            let touches = |block: &Range<u64>| {
                block.start < pages.end * PAGE_UNITS && pages.start * PAGE_UNITS < block.end
            };
            !self.live.iter().any(|(_, block)| touches(block))
        };
        let mut spare: Vec<_> = self.segments.iter().filter(is_free).cloned().collect();
        spare.sort_by_key(|pages| std::cmp::Reverse(pages.start));
        spare
    }

    /// Takes a block, or returns what it would need; `refused` is what the device does to a new segment.
    fn take(&mut self, units: u64, stream: u64, most_pages: u64, refused: bool) -> Result<(), Full> {
        let gap = self.gaps().into_iter().find(|gap| gap.end - gap.start >= units);
        if let Some((place, offset)) = self.arena.take_ready(units * UNIT, 1 << stream) {
            self.enter(place, offset, units, stream, 1 << stream, gap.as_ref());
            return Ok(());
        }
        let plan = self.arena.plan(units * UNIT, most_pages)?;
        assert_eq!(gap.is_some(), plan.missing.is_empty(), "a gap was left out, or is none");
        assert_eq!(self.arena.new_view(&plan), Ok(None));
        let age = self.arena.next_age();
        let (place, offset) = self.arena.take(&plan, None);
        for pages in &plan.missing {
            assert_eq!(pages.end - pages.start, units.div_ceil(PAGE_UNITS));
            // While it is made nobody gets its rest.
            let meanwhile = self.arena.clone().take_ready(UNIT, u64::MAX);
            let within = meanwhile.is_some_and(|(_, other)| pages.contains(&(other / PAGE)));
            assert!(!within, "memory that is not there");
            if refused {
                self.arena.abandon(&plan, place);
                assert_eq!(self.arena.plan_again(&plan, units * UNIT, u64::MAX), Err(Full::Addresses));
                return Ok(());
            }
            self.arena.commit(pages.clone(), age);
            let touches = |other: &Range<u64>| other.start < pages.end && pages.start < other.end;
            assert!(!self.segments.iter().any(touches), "two segments at one place");
            self.segments.push(pages.clone());
        }
        self.arena.finish(&plan, place);
        self.enter(place, offset, units, stream, plan.streams | 1 << stream, gap.as_ref());
        Ok(())
    }

    fn enter(
        &mut self,
        place: Place,
        offset: u64,
        units: u64,
        stream: u64,
        waited: u64,
        gap: Option<&Range<u64>>,
    ) {
        let block = offset / UNIT..offset / UNIT + units;
        let wanted = gap.cloned().unwrap_or(block.start..u64::MAX);
        assert!(wanted.start <= block.start && block.end <= wanted.end, "not the best fit");
        for unit in block.clone() {
            let before = self.streams.insert(unit, 1 << stream).unwrap_or(0);
            assert_eq!(before & !waited, 0, "reused without waiting");
        }
        self.live.push((place, block));
    }

    fn give(&mut self, i: usize) {
        let (place, block) = self.live.swap_remove(i);
        let streams = block.clone().fold(0, |all, unit| all | self.streams[&unit]);
        self.arena.give(place, streams);
    }

    /// Gives up to `n` pages back; or tries.
    fn shrink(&mut self, n: u64, refused: bool) {
        let (mut wanted, mut given) = (Vec::new(), 0);
        for pages in self.spare() {
            if given < n {
                given += pages.end - pages.start;
                wanted.push(pages);
            }
        }
        let spare = self.arena.spare(n);
        assert_eq!(spare, wanted);
        for pages in spare {
            let held = self.arena.hold(pages.clone()).unwrap();
            self.arena.let_go(held, !refused);
            if !refused {
                self.segments.retain(|segment| *segment != pages);
                self.streams.retain(|unit, _| !pages.contains(&(unit / PAGE_UNITS)));
            }
        }
    }

    fn check(&self) {
        let pages = |list: &[Range<u64>]| list.iter().map(|pages| pages.end - pages.start).sum::<u64>();
        assert_eq!(self.arena.committed_pages(), pages(&self.segments));
        assert_eq!(self.arena.needed_pages(), pages(&self.segments) - pages(&self.spare()));
        let live: u64 = self.live.iter().map(|(_, block)| block.end - block.start).sum();
        assert_eq!(self.arena.live_bytes, live * UNIT);
        let listed = self.arena.bins.from(0).map(|key| key.start() / UNIT..(key.start() + key.len()) / UNIT);
        assert!(listed.eq(self.gaps()));
        let walls = self.arena.segments.as_ref().map_or(0, |segments| segments.walls.len());
        assert_eq!(walls, self.segments.len() + 1);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take { units: u64, stream: u64, most_pages: u64, refused: bool },
    Give(Index),
    Shrink { pages: u64, refused: bool },
}

fn any_step() -> impl Strategy<Value = Step> {
    let some = prop::bool::weighted(0.1);
    let take = (1..50u64, 0..3u64, prop_oneof![0..PAGES, Just(u64::MAX)], some);
    prop_oneof![
        5 => take.prop_map(|(units, stream, most_pages, refused)| {
            Step::Take { units, stream, most_pages, refused }
        }),
        4 => any::<Index>().prop_map(Step::Give),
        1 => (0..PAGES, some).prop_map(|(pages, refused)| Step::Shrink { pages, refused }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 1000 }))]

    #[test]
    fn no_block_lies_over_an_end(steps in vec(any_step(), 1..80)) {
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Take { units, stream, most_pages, refused } => {
                    let before = model.arena.committed_pages();
                    match model.take(units, stream, most_pages, refused) {
                        Ok(()) => {
                            let after = model.arena.committed_pages();
                            prop_assert!(after == before || after <= most_pages);
                        }
                        Err(Full::Pages(pages)) => {
                            prop_assert!(pages > most_pages);
                            prop_assert_eq!(pages, before + units.div_ceil(PAGE_UNITS));
                        }
                        // Addresses that segments have left between each other may all be too few.
                        Err(Full::Addresses) => {
                            let mut ends: Vec<_> = model.segments.iter().map(|pages| pages.end).collect();
                            ends.push(0);
                            let room = |from: u64| {
                                let starts = model.segments.iter().map(|pages| pages.start);
                                starts.filter(|&start| start >= from).min().unwrap_or(PAGES) - from
                            };
                            prop_assert!(ends.into_iter().all(|end| room(end) < units.div_ceil(PAGE_UNITS)));
                        }
                    }
                }
                Step::Give(index) if !model.live.is_empty() => model.give(index.index(model.live.len())),
                Step::Give(_) => {}
                Step::Shrink { pages, refused } => model.shrink(pages, refused),
            }
            model.check();
        }
        while !model.live.is_empty() {
            model.give(0);
        }
        model.shrink(u64::MAX, false);
        model.check();
        prop_assert_eq!(model.arena.committed_pages(), 0);
    }
}

#[test]
fn a_segment_is_as_long_as_its_block() {
    let mut arena = Arena::segmented(PAGES, PAGE);
    let plan = arena.plan(PAGE + UNIT, u64::MAX).unwrap();
    assert_eq!(plan.place, Choice::Segment { block: 0..PAGE + UNIT });
    assert!(plan.missing.iter().eq([&(0..2)]) && plan.streams == 0);
    let (place, _) = arena.take(&plan, None);
    arena.commit(0..2, 1);
    arena.finish(&plan, place);
    // What is left of it is the best fit of what follows, which no page is needed for.
    let (_, offset) = arena.take_ready(PAGE - UNIT, 0).unwrap();
    assert_eq!((offset, arena.spare(u64::MAX)), (PAGE + UNIT, Vec::new()));
    assert_eq!(arena.plan(UNIT, 2), Err(Full::Pages(3)));
}
