//! The arena against a model that knows what each 256 bytes are.

mod model;

use super::{ranges::END, *};
use crate::area::{Area, Span};
use model::{END_PAGES, Live, Model, PAGE, PAGE_UNITS, PAGES, UNIT};
use proptest::{collection::vec, prelude::*, sample::Index};

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
fn what_one_free_end_has_too_much_stays_a_free_end() {
    let mut model = Model::new();
    // Free are the last three units of the first page, and a whole page elsewhere.
    let blocks = [1, 3, 4, 4, 4].map(|units| model.take(units, 0, u64::MAX).unwrap());
    [1, 3].into_iter().for_each(|i| model.give(&blocks[i]));
    let plan = tightest(&model.arena, 5, u64::MAX).unwrap();
    assert_eq!(model.make(&plan, 5, 0).units, [1, 2, 3, 8, 9]);
    // The same behind a page whose first three units are free.
    let mut model = Model::new();
    let blocks = [4, 3, 1, 4, 4, 4].map(|units| model.take(units, 0, u64::MAX).unwrap());
    [1, 4].into_iter().for_each(|i| model.give(&blocks[i]));
    let plan = tightest(&model.arena, 5, u64::MAX).unwrap();
    assert_eq!(model.make(&plan, 5, 0).units, [14, 15, 4, 5, 6]);
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
