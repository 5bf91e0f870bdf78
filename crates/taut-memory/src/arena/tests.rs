//! The arena against one that looks at every place.

use super::*;
use proptest::{collection::vec, prelude::*, sample::Index};

const UNIT: u64 = 256;
const GRANULE: u64 = 4 * UNIT;
const UNITS: u64 = 96;

#[derive(Clone, Debug)]
enum Step {
    Take { units: u64, stream: u64, tight: bool },
    Give(Index),
    Decommit(Index),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..20u64, 0..3u64, any::<bool>()).prop_map(|(units, stream, tight)| Step::Take { units, stream, tight }),
        3 => any::<Index>().prop_map(Step::Give),
        1 => any::<Index>().prop_map(Step::Decommit),
    ]
}

/// What is known about each unit of 256 bytes.
#[derive(Clone, Copy, Default)]
struct Unit {
    live: bool,
    committed: bool,
    streams: u64,
}

/// The start of the place that the rules ask for, and how many pages it misses, by trying all.
fn best_fit(model: &[Unit], units: u64) -> Option<(u64, u64)> {
    let room = |from: usize| model[from..].iter().take_while(|unit| !unit.live).count();
    let starts_range = |from: &usize| room(*from) > 0 && (*from == 0 || model[*from - 1].live);
    let fits = (0..model.len()).filter(starts_range).filter(|&from| room(from) >= units as usize);
    let from = fits.min_by_key(|&from| (room(from), from))?;
    let missing = pages_of(from, units).filter(|&page| !page_units(model, page)[0].committed).count();
    Some((from as u64 * UNIT, missing as u64))
}

/// The fewest pages that a block needs to itself, and the lowest place with so many, by trying all.
fn tightest(model: &[Unit], units: u64) -> Option<(u64, u64)> {
    let last = model.len().checked_sub(units as usize)?;
    let places = (0..=last).filter(|&from| model[from..from + units as usize].iter().all(|unit| !unit.live));
    let own = |from| {
        pages_of(from, units).filter(|&page| page_units(model, page).iter().all(|unit| !unit.live)).count()
    };
    places.map(|from| (own(from) as u64, from as u64 * UNIT)).min()
}

fn pages_of(from: usize, units: u64) -> Range<usize> {
    let per_page = (GRANULE / UNIT) as usize;
    from / per_page..(from + units as usize).div_ceil(per_page)
}

fn page_units(model: &[Unit], page: usize) -> &[Unit] {
    let per_page = (GRANULE / UNIT) as usize;
    &model[page * per_page..][..per_page]
}

/// The free ranges are what the model says, joined, and all of them are in the index; so are the committed pages.
fn check(arena: &Arena, model: &[Unit]) {
    let mut sizes = BTreeSet::new();
    let mut free_units = 0;
    let mut last = None;
    for (&end, free) in &arena.free {
        assert!(free.start < end);
        assert_ne!(last, Some(free.start), "two neighbours");
        last = Some(end);
        free_units += (end - free.start) / UNIT;
        sizes.insert((end - free.start, free.start));
        for (i, unit) in model[units(&(free.start..end))].iter().enumerate() {
            let streams = if free.start + i as u64 * UNIT < free.used_end { free.streams } else { 0 };
            assert!(!unit.live);
            assert_eq!(unit.streams & !streams, 0, "a stream is forgotten");
        }
    }
    assert_eq!(arena.sizes, sizes);
    assert_eq!(free_units, model.iter().filter(|unit| !unit.live).count() as u64);
    assert_eq!(arena.committed_bytes, model.iter().filter(|unit| unit.committed).count() as u64 * UNIT);
    let mut pages = 0;
    let mut last = None;
    for (&end, &start) in &arena.committed {
        assert!(start < end && last != Some(start));
        last = Some(end);
        pages += end - start;
        assert!(model[units(&(start * GRANULE..end * GRANULE))].iter().all(|unit| unit.committed));
    }
    assert_eq!(pages * GRANULE, arena.committed_bytes);
}

fn units(range: &Range<u64>) -> Range<usize> {
    (range.start / UNIT) as usize..(range.end / UNIT) as usize
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn places_are_the_best(steps in vec(any_step(), 1..60)) {
        let mut arena = Arena::new(UNITS * UNIT, GRANULE);
        let mut model = vec![Unit::default(); UNITS as usize];
        let mut live: Vec<(Range<u64>, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Take { units: n, stream, tight } => {
                    let plan = if tight { arena.plan_tightest(n * UNIT) } else { arena.plan(n * UNIT) };
                    let start = plan.as_ref().map(|plan| plan.block.start);
                    if tight {
                        prop_assert_eq!(start, tightest(&model, n).map(|(_, start)| start));
                    } else {
                        let got = start.zip(plan.as_ref().map(Plan::missing_pages));
                        prop_assert_eq!(got, best_fit(&model, n));
                    }
                    let Some(plan) = plan else { continue };
                    let used = model[units(&plan.block)].iter().fold(0, |mask, unit| mask | unit.streams);
                    prop_assert_eq!(used & !plan.streams, 0);
                    for pages in &plan.missing {
                        arena.commit(pages.clone());
                        let bytes = pages.start * GRANULE..pages.end * GRANULE;
                        model[units(&bytes)].iter_mut().for_each(|unit| unit.committed = true);
                    }
                    arena.take(&plan);
                    let taken = Unit { live: true, committed: true, streams: 0 };
                    model[units(&plan.block)].fill(taken);
                    live.push((plan.block, 1 << stream));
                }
                Step::Give(index) if !live.is_empty() => {
                    let (block, streams) = live.swap_remove(index.index(live.len()));
                    arena.give(block.clone(), streams);
                    model[units(&block)].fill(Unit { live: false, committed: true, streams });
                }
                Step::Decommit(index) => {
                    let spare = arena.spare(&(0..0));
                    if !spare.is_empty() {
                        let Range { start, end } = spare[index.index(spare.len())];
                        let pages = end - (end - start).div_ceil(2)..end;
                        arena.decommit(pages.clone());
                        model[units(&(pages.start * GRANULE..pages.end * GRANULE))].fill(Unit::default());
                    }
                }
                Step::Give(_) => {}
            }
            check(&arena, &model);
        }
        for (block, streams) in live {
            arena.give(block, streams);
        }
        for pages in arena.spare(&(0..0)) {
            arena.decommit(pages);
        }
        prop_assert_eq!(arena.committed_bytes(), 0);
        prop_assert_eq!(arena.free.len(), 1);
    }
}

/// Takes a block as the pool does.
fn take(arena: &mut Arena, bytes: u64) -> Plan {
    let plan = arena.plan(bytes).unwrap();
    for pages in &plan.missing {
        arena.commit(pages.clone());
    }
    arena.take(&plan);
    plan
}

#[test]
fn neighbours_share_pages() {
    let mut arena = Arena::new(64 * GRANULE, GRANULE);
    take(&mut arena, 3 * UNIT);
    take(&mut arena, 3 * UNIT);
    assert_eq!(arena.committed_bytes(), 2 * GRANULE);
    assert_eq!(take(&mut arena, 2 * UNIT).block, 6 * UNIT..8 * UNIT);
    assert_eq!(arena.committed_bytes(), 2 * GRANULE);
}

#[test]
fn a_split_range_keeps_its_streams() {
    let mut arena = Arena::new(64 * GRANULE, GRANULE);
    let first = take(&mut arena, 4 * UNIT);
    assert_eq!(first.streams, 0);
    arena.give(first.block, 0b101);
    assert_eq!(take(&mut arena, UNIT).streams, 0b101);
    assert_eq!(take(&mut arena, 3 * UNIT).streams, 0b101);
}

#[test]
fn what_was_never_used_knows_no_stream() {
    let mut arena = Arena::new(64 * GRANULE, GRANULE);
    let first = take(&mut arena, 2 * UNIT);
    arena.give(first.block, 0b1);
    let second = take(&mut arena, 5 * UNIT);
    assert_eq!((second.block, second.streams), (0..5 * UNIT, 0b1));
    assert_eq!(take(&mut arena, UNIT).streams, 0);
}

#[test]
fn spare_pages_leave_out_what_is_kept() {
    let mut arena = Arena::new(64 * GRANULE, GRANULE);
    let block = take(&mut arena, 10 * GRANULE).block;
    arena.give(block, 0);
    let spare =
        |keep| arena.spare(&keep).into_iter().map(|pages| (pages.start, pages.end)).collect::<Vec<_>>();
    assert_eq!(spare(0..0), [(0, 10)]);
    assert_eq!(spare(3..5), [(5, 10), (0, 3)]);
    assert_eq!(spare(0..4), [(4, 10)]);
    assert_eq!(spare(8..20), [(0, 8)]);
    assert_eq!(spare(20..30), [(0, 10)]);
}

#[test]
fn memory_has_no_say_in_the_place() {
    let mut arena = Arena::new(64 * GRANULE, GRANULE);
    let blocks: Vec<_> = [3, 1, 2, 1].map(|pages| take(&mut arena, pages * GRANULE).block).into();
    arena.give(blocks[0].clone(), 0);
    arena.give(blocks[2].clone(), 0);
    arena.decommit(4..6);
    let plan = arena.plan(2 * GRANULE).unwrap();
    assert_eq!((plan.block, plan.missing), (blocks[2].clone(), vec![Range { start: 4, end: 6 }]));
}

#[test]
fn a_span_is_whole_pages() {
    assert_eq!(Arena::new(GRANULE - 1, GRANULE).plan(UNIT), None);
    assert_eq!(Arena::new(0, GRANULE).plan(UNIT), None);
    let arena = Arena::new(u64::MAX, GRANULE);
    assert!(arena.plan(u64::MAX - GRANULE - UNIT + 1).is_some());
    assert_eq!(arena.plan(u64::MAX - UNIT + 1), None);
}
