//! The arena against a model that knows what each 256 bytes are.

use super::{bins::Key, ranges::END, *};
use crate::area::{Area, Span};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::collections::BTreeMap;

const UNIT: u64 = 256;
const PAGE_UNITS: u64 = 4;
const PAGE: u64 = PAGE_UNITS * UNIT;
const PAGES: u64 = 40;
/// Where views end.
const END_PAGES: u64 = 4000;

/// What is known about each unit of memory.
#[derive(Clone, Copy, Default)]
struct Unit {
    live: bool,
    streams: u64,
}

/// A block: its place, and the units of memory under it, in order.
#[derive(Clone, Debug)]
struct Live {
    place: Place,
    offset: u64,
    units: Vec<u64>,
    streams: u64,
}

struct Model {
    arena: Arena,
    units: Vec<Unit>,
    committed: Vec<bool>,
    /// Which page of memory a page of a view shows.
    shown: BTreeMap<u64, u64>,
    made: u64,
}

impl Model {
    fn new() -> Model {
        let n = (PAGES) as usize;
        let units = vec![Unit::default(); n * PAGE_UNITS as usize];
        let arena = Arena::new(PAGES, END_PAGES, PAGE);
        Model { arena, units, committed: vec![false; n], shown: BTreeMap::new(), made: 0 }
    }

    /// Takes a block as the pool does.
    fn take(&mut self, units: u64, stream: u64, most_pages: u64) -> Result<Live, Full> {
        let bytes = units * UNIT;
        let (gap, behind, views) = (self.best_fit(units), self.behind(), self.arena.views.of(bytes).to_vec());
        if let Some((place, offset)) = self.arena.take_ready(bytes, 1 << stream) {
            assert_eq!(offset / UNIT, gap.unwrap_or(behind), "not the best fit, or its other end");
            assert!(gap.is_some() || views.is_empty(), "a view was left out");
            return Ok(self.enter(place, offset, units, stream, 1 << stream));
        }
        let plan = self.arena.plan(bytes, most_pages)?;
        if let (Some(gap), true) = (gap, self.is_plain()) {
            let is_there = matches!(&plan.place, Choice::Gap { block, .. } if block.start == gap * UNIT);
            assert!(is_there && plan.missing.is_empty(), "not the best fit, or its other end");
        }
        Ok(self.make(&plan, units, stream))
    }

    fn make(&mut self, plan: &Plan, units: u64, stream: u64) -> Live {
        if !plan.is_ready() {
            self.made += 1;
        }
        // At times the device refuses.
        if self.made % 3 == 1 {
            let view = self.arena.new_view(plan).unwrap();
            let (place, _) = self.arena.take(plan, view.as_ref());
            self.arena.abandon(plan, place);
            self.check();
        }
        for page in plan.missing.iter().cloned().flatten() {
            assert!(!std::mem::replace(&mut self.committed[page as usize], true), "committed twice");
        }
        let view = self.arena.new_view(plan).unwrap();
        if let Some(view) = &view {
            let of: Vec<u64> = view.of.iter().cloned().flatten().collect();
            assert_eq!(of.len() as u64, view.pages.end - view.pages.start);
            for (page, of) in view.pages.clone().zip(of) {
                assert!((PAGES..END_PAGES).contains(&page));
                assert!(self.shown.insert(page, of).is_none(), "two views at one place");
            }
        }
        let age = self.arena.next_age();
        let (place, offset) = self.arena.take(plan, view.as_ref());
        plan.missing.iter().cloned().for_each(|pages| self.arena.commit(pages, age));
        self.arena.finish(plan, place);
        self.enter(place, offset, units, stream, plan.streams | 1 << stream)
    }

    /// Marks the memory under a block, which nobody has and which is used by these streams only.
    fn enter(&mut self, place: Place, offset: u64, units: u64, stream: u64, waited: u64) -> Live {
        let mut under = Vec::new();
        for unit in offset / UNIT..offset / UNIT + units {
            let (page, rest) = (unit / PAGE_UNITS, unit % PAGE_UNITS);
            let page = if page < PAGES { page } else { self.shown[&page] };
            assert!(self.committed[page as usize], "no memory");
            let unit = page * PAGE_UNITS + rest;
            let known = &mut self.units[unit as usize];
            assert!(!std::mem::replace(&mut known.live, true), "an overlap");
            assert_eq!(known.streams & !waited, 0, "reused without waiting");
            under.push(unit);
        }
        self.check();
        Live { place, offset, units: under, streams: 1 << stream }
    }

    fn give(&mut self, block: &Live) {
        self.arena.give(block.place, block.streams);
        for &unit in &block.units {
            self.units[unit as usize] = Unit { live: false, streams: block.streams };
        }
        self.check();
    }

    fn forget_views(&mut self) {
        for (id, pages) in self.arena.idle_views() {
            self.shown.retain(|page, _| !pages.contains(page));
            self.arena.forget_view(id);
        }
    }

    fn decommit(&mut self, pages: Range<u64>) {
        for page in pages.clone() {
            self.committed[page as usize] = false;
            let units = page * PAGE_UNITS..(page + 1) * PAGE_UNITS;
            self.units[units.start as usize..units.end as usize].fill(Unit::default());
        }
        let again = self.arena.hold(pages.clone()).unwrap();
        self.arena.let_go(again, false);
        let held = self.arena.hold(pages).unwrap();
        self.arena.let_go(held, true);
        self.check();
    }

    /// Whether no page below a committed one is missing, or was.
    fn is_plain(&self) -> bool {
        self.arena.pages.is_plain()
    }

    /// Where a block goes in the shortest free range that is long enough, but for the last one: if it is short, to the end
    /// that is a multiple of more of a quarter, half and whole page. All lengths here are round.
    fn best_fit(&self, units: u64) -> Option<u64> {
        let top = self.units.iter().rposition(|unit| unit.live)?;
        let room = |from: usize| self.units[from..].iter().take_while(|unit| !unit.live).count();
        let begins = |from: &usize| room(*from) > 0 && (*from == 0 || self.units[*from - 1].live);
        let fits = (0..top).filter(begins).filter(|&from| room(from) as u64 >= units);
        let from = fits.min_by_key(|&from| (room(from), from))?;
        let (from, to) = (from as u64, (from + room(from)) as u64);
        let ends = |unit: u64| [1, 2, 4].into_iter().filter(|part| unit.is_multiple_of(*part)).count();
        Some(if units < 2 * PAGE_UNITS && ends(to) > ends(from) { to - units } else { from })
    }

    /// The unit behind the last live one.
    fn behind(&self) -> u64 {
        self.units.iter().rposition(|unit| unit.live).map_or(0, |top| top as u64 + 1)
    }

    /// The fewest pages that must be committed for a block, by trying every two ends of pages.
    fn fewest(&self, units: u64) -> u64 {
        let page = |i: usize| &self.units[i * PAGE_UNITS as usize..(i + 1) * PAGE_UNITS as usize];
        let touched = |i: &usize| page(*i).iter().any(|unit| unit.live);
        let free = |i: &usize, back: bool| {
            let is_free = |unit: &&Unit| !unit.live;
            let all = page(*i).iter();
            let n =
                if back { all.rev().take_while(is_free).count() } else { all.take_while(is_free).count() };
            n as u64
        };
        let pages = 0..(PAGES) as usize;
        let ends: Vec<(usize, u64)> = pages.clone().filter(touched).map(|i| (i, free(&i, true))).collect();
        let starts: Vec<(usize, u64)> = pages.clone().filter(touched).map(|i| (i, free(&i, false))).collect();
        let (end, start) = (ends.iter().map(|e| e.1).max(), starts.iter().map(|s| s.1).max());
        let new = units.saturating_sub(end.unwrap_or(0) + start.unwrap_or(0)).div_ceil(PAGE_UNITS);
        let spare = pages.filter(|i| self.committed[*i] && !touched(i)).count() as u64;
        new.saturating_sub(spare)
    }

    /// The lists and counts of the arena are what the model says.
    fn check(&self) {
        let mut next = 0;
        let mut free = None;
        let mut listed = Vec::new();
        let mut node = self.arena.ranges.next(END);
        while node != END {
            let (start, end) = (self.arena.ranges.start(node), self.arena.ranges.end(node));
            assert!(start == next && start < end);
            next = end;
            let used = self.arena.ranges.used(node);
            assert!(!(free == Some(true) && used.is_some()), "two free neighbours");
            free = Some(used.is_some());
            for unit in start / UNIT..end / UNIT {
                let known = self.units[unit as usize];
                assert_eq!(known.live, used.is_none());
                let streams =
                    used.map_or(u64::MAX, |used| if unit * UNIT < used.end { used.streams } else { 0 });
                assert_eq!(known.streams & !streams & if known.live { 0 } else { u64::MAX }, 0);
            }
            if used.is_some() && self.arena.ranges.next(node) != END {
                listed.push(Key::new(start..end, node));
            }
            node = self.arena.ranges.next(node);
        }
        assert_eq!(next, PAGES * PAGE);
        listed.sort_unstable();
        assert!(self.arena.bins.from(0).eq(listed.iter().copied()));
        let pages = self.units.chunks(PAGE_UNITS as usize);
        let touched = pages.clone().filter(|page| page.iter().any(|unit| unit.live)).count() as u64;
        assert_eq!(self.arena.needed_pages(), touched);
        assert_eq!(self.arena.committed_pages(), self.committed.iter().filter(|&&page| page).count() as u64);
        assert_eq!(self.arena.live_bytes, self.units.iter().filter(|unit| unit.live).count() as u64 * UNIT);
        // Every free range is found from each page that begins in it, and from its last bytes of a page.
        for key in listed {
            let (start, end) = (key.start(), key.start() + key.len());
            let first = start.next_multiple_of(PAGE);
            let pages = (first..end).step_by(PAGE as usize);
            let ends = (first <= end && start % PAGE != 0).then_some(start);
            assert!(pages.chain(ends).all(|byte| self.arena.gap_at(byte) == Some(key.node())));
        }
        assert!(
            self.units
                .iter()
                .zip(0..)
                .filter(|(unit, _)| unit.live)
                .all(|(_, i)| self.arena.gap_at(i * UNIT).is_none())
        );
    }
}

/// What is tried when the device refuses a place in one range.
fn tightest(arena: &Arena, units: u64, most_pages: u64) -> Result<Plan, Full> {
    let place = Choice::Gap { node: END, block: 0..0 };
    arena.plan_again(&Plan { place, streams: 0, missing: Vec::new() }, units * UNIT, most_pages)
}

#[derive(Clone, Debug)]
enum Step {
    Take { units: u64, stream: u64, most_pages: u64, tight: bool },
    Give(Index),
    Decommit(Index),
}

fn any_step() -> impl Strategy<Value = Step> {
    let take = (1..30u64, 0..3u64, 0..PAGES + 1, any::<bool>(), any::<bool>());
    prop_oneof![
        4 => take.prop_map(|(units, stream, most, limited, tight)| {
            Step::Take { units, stream, most_pages: if limited { most } else { u64::MAX }, tight }
        }),
        3 => any::<Index>().prop_map(Step::Give),
        1 => any::<Index>().prop_map(Step::Decommit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn places_are_right(steps in vec(any_step(), 1..80)) {
        let mut model = Model::new();
        let mut live: Vec<Live> = Vec::new();
        for step in steps {
            match step {
                Step::Take { units, stream, most_pages, tight } => {
                    let before = model.arena.committed_pages();
                    let fewest = model.fewest(units);
                    let plan = tight.then(|| tightest(&model.arena, units, most_pages));
                    let got = match &plan {
                        Some(Ok(plan)) => Ok(model.make(plan, units, stream)),
                        Some(Err(full)) => Err(*full),
                        None => model.take(units, stream, most_pages),
                    };
                    let new = model.arena.committed_pages() - before;
                    match got {
                        Ok(block) => {
                            prop_assert!(new == 0 || before + new <= most_pages);
                            if tight {
                                prop_assert_eq!(new, fewest);
                            }
                            live.push(block);
                        }
                        Err(Full::Pages(pages)) => {
                            prop_assert!(pages > most_pages);
                            prop_assert_eq!(pages, before + fewest);
                        }
                        Err(Full::Addresses) => prop_assert!(before + fewest > PAGES),
                    }
                }
                Step::Give(index) if !live.is_empty() => {
                    let block = live.swap_remove(index.index(live.len()));
                    model.give(&block);
                }
                Step::Decommit(index) => {
                    model.forget_views();
                    let spare = model.arena.spare(u64::MAX);
                    if !spare.is_empty() {
                        let Range { start, end } = spare[index.index(spare.len())];
                        model.decommit(end - (end - start).div_ceil(2)..end);
                    }
                }
                Step::Give(_) => {}
            }
        }
        for block in live {
            model.give(&block);
        }
        model.forget_views();
        for pages in model.arena.spare(u64::MAX) {
            model.decommit(pages);
        }
        prop_assert_eq!((model.arena.committed_pages(), model.arena.live_bytes), (0, 0));
        prop_assert!(model.shown.is_empty());
    }

    /// From the same live blocks the same calls find the same places, which are ready: nothing is committed and no view
    /// made, from the second repetition on. In the meantime there may be other work; after it, as before.
    #[test]
    fn a_repeated_step_makes_nothing(
        kept in vec(1..12u64, 0..8),
        step in vec((1..40u64, any::<Index>(), any::<Index>(), 0..3usize), 1..60),
        other in vec(1..40u64, 0..6),
    ) {
        let mut model = Model::new();
        for (i, &units) in kept.iter().enumerate() {
            let block = model.take(units, 0, u64::MAX).unwrap();
            // Some go, so that there are gaps.
            if i % 3 == 1 {
                model.give(&block);
            }
        }
        let run = |model: &mut Model| {
            let (mut live, mut offsets): (Vec<Live>, Vec<u64>) = (Vec::new(), Vec::new());
            for (units, first, second, frees) in &step {
                // Where there is no room, nothing happens, each time.
                let taken = model.take(*units, 0, u64::MAX).ok();
                offsets.push(taken.as_ref().map_or(u64::MAX, |block| block.offset));
                live.extend(taken);
                for index in [first, second].into_iter().take(*frees) {
                    if !live.is_empty() {
                        let block = live.swap_remove(index.index(live.len()));
                        model.give(&block);
                    }
                }
            }
            live.iter().for_each(|block| model.give(block));
            offsets
        };
        let first = run(&mut model);
        let made = model.made;
        prop_assert_eq!(&run(&mut model), &first);
        let others: Vec<Live> = other.iter().filter_map(|&units| model.take(units, 0, u64::MAX).ok()).collect();
        others.iter().for_each(|block| model.give(block));
        prop_assert_eq!(&run(&mut model), &first);
        let after = model.made;
        prop_assert_eq!(&run(&mut model), &first);
        prop_assert_eq!(model.made, after);
        prop_assert!(other.is_empty() && after == made || !other.is_empty());
    }
}

#[test]
fn neighbours_share_pages() {
    let mut model = Model::new();
    for (units, offset, pages) in [(3, 0, 1), (3, 3, 2), (2, 6, 2)] {
        let block = model.take(units, 0, u64::MAX).unwrap();
        assert_eq!((block.offset, model.arena.committed_pages()), (offset * UNIT, pages));
    }
}

#[test]
fn a_block_takes_free_pages_that_lie_apart() {
    let mut model = Model::new();
    let blocks: Vec<Live> = (0..6).map(|_| model.take(PAGE_UNITS, 0, u64::MAX).unwrap()).collect();
    [0, 2, 4].into_iter().for_each(|i| model.give(&blocks[i]));
    let apart = model.take(3 * PAGE_UNITS, 0, u64::MAX).unwrap();
    assert_eq!(model.arena.committed_pages(), 6);
    assert_eq!(apart.units, (0..4).chain(8..12).chain(16..20).collect::<Vec<_>>());
    assert_eq!(model.shown.values().copied().collect::<Vec<_>>(), [0, 2, 4]);
    // The view stays, and is the first to serve such a block again.
    model.give(&apart);
    let made = model.made;
    assert_eq!(model.take(3 * PAGE_UNITS, 0, u64::MAX).unwrap().offset, apart.offset);
    assert_eq!(model.made, made);
}

#[test]
fn blocks_of_round_lengths_fill_pages() {
    let mut model = Model::new();
    // The free range begins where no half of a page does, and ends with a page.
    let blocks = [3, 9, 4].map(|units| model.take(units, 0, u64::MAX).unwrap());
    model.give(&blocks[1]);
    let offsets = [2, 2, 2, 2].map(|units| model.take(units, 0, u64::MAX).unwrap().offset / UNIT);
    assert_eq!(offsets, [10, 8, 6, 4]);
    assert_eq!(model.take(1, 0, u64::MAX).unwrap().offset, 3 * UNIT);
}

#[test]
fn a_view_lies_where_none_was_for_the_longest_time() {
    let mut model = Model::new();
    let blocks: Vec<Live> = (0..6).map(|_| model.take(PAGE_UNITS, 0, u64::MAX).unwrap()).collect();
    [0, 2, 4].into_iter().for_each(|i| model.give(&blocks[i]));
    let places = (0..END_PAGES / 3).map(|_| {
        let block = model.take(12, 0, u64::MAX).unwrap();
        model.give(&block);
        model.forget_views();
        block.offset / PAGE
    });
    let places: Vec<u64> = places.collect();
    // Behind each other, and from the start again once the addresses are at their end.
    let wraps = places.windows(2).filter(|pair| pair[1] < pair[0] + 3).collect::<Vec<_>>();
    assert_eq!(wraps.len(), 1, "{wraps:?}");
    assert!(wraps[0][0] + 9 > END_PAGES && wraps[0][1] < PAGES + 6, "{wraps:?}");
}

#[test]
fn the_free_ends_of_pages_save_a_page() {
    let mut model = Model::new();
    // Free are the last two units of the first page, the first two of the next, and a whole page elsewhere.
    let blocks = [2, 4, 6, 4, 4].map(|units| model.take(units, 0, u64::MAX).unwrap());
    [1, 3].into_iter().for_each(|i| model.give(&blocks[i]));
    let before = model.arena.committed_pages();
    let plan = tightest(&model.arena, 8, u64::MAX).unwrap();
    assert_eq!(model.make(&plan, 8, 0).units, [2, 3, 12, 13, 14, 15, 4, 5]);
    assert_eq!(model.arena.committed_pages(), before);
}

#[test]
fn what_was_never_used_knows_no_stream() {
    let mut model = Model::new();
    let first = model.take(2, 0, u64::MAX).unwrap();
    model.give(&first);
    let plan = model.arena.plan(5 * UNIT, u64::MAX).unwrap();
    assert_eq!(plan.streams, 1);
    model.make(&plan, 5, 0);
    assert_eq!(model.arena.plan(UNIT, u64::MAX).unwrap().streams, 0);
}

#[test]
fn a_span_is_whole_pages() {
    for span in [0, PAGE - 1, 2 * PAGE - 1] {
        assert_eq!(
            Area::new(0, Span { bytes: span, granule_bytes: PAGE, is_segmented: false })
                .arena
                .plan(UNIT, u64::MAX),
            Err(Full::Addresses)
        );
    }
    let arena = Area::new(0, Span { bytes: 1 << 40, granule_bytes: PAGE, is_segmented: false }).arena;
    assert!(arena.plan(1 << 39, u64::MAX).is_ok());
    assert_eq!(arena.plan((1 << 39) + UNIT, u64::MAX), Err(Full::Addresses));
}
