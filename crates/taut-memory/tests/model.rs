//! Random programs against a model of the pool.

mod recorder;
mod twins;

use proptest::{collection::vec, prelude::*, sample::Index, sample::select};
use taut_memory::{Block, GRANULE_BYTES, Kind, StreamId};
use twins::{BUDGET_BYTES, Step, Twins};

fn any_step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![
        1 => Just(0),
        4 => 1..5000u64,
        4 => 5000..(3u64 << 20),
        2 => (3u64 << 20)..(20 << 20),
        1 => (1u64..10).prop_map(|pages| pages * GRANULE_BYTES),
        1 => any::<u64>(),
    ];
    let kind = || select(&Kind::ALL[..]);
    prop_oneof![
        12 => (bytes, 0..4u8, kind(), select(&[None, Some("model"), Some("head")][..])).prop_map(
            |(bytes, stream, kind, scope)| Step::Allocate { bytes, stream, kind, scope }
        ),
        9 => any::<usize>().prop_map(Step::Free),
        3 => (any::<usize>(), 0..64u8).prop_map(|(index, stream)| Step::UsedBy(index, stream)),
        2 => (any::<usize>(), kind()).prop_map(|(index, kind)| Step::SetKind(index, kind)),
        1 => (0..BUDGET_BYTES).prop_map(Step::SetBudget),
        1 => Just(Step::Release),
        1 => Just(Step::ResetPeaks),
    ]
}

proptest! {
    #[test]
    fn pools_agree_with_the_model(steps in vec(any_step(), 1..80)) {
        Twins::run(steps, false);
    }

    /// So they do where pages come in segments, as on a card that maps none.
    #[test]
    fn pools_over_segments_agree_with_the_model(steps in vec(any_step(), 1..80)) {
        Twins::run(steps, true);
    }

    /// From the same live blocks, the same calls take the same places: the memory is there already.
    #[test]
    fn a_repeated_step_commits_nothing(
        kept in vec(1..(20u64 << 20), 0..10),
        step in vec((1..(20u64 << 20), any::<Index>(), any::<bool>()), 1..80),
    ) {
        let (recorder, pool) = recorder::phantom(1 << 40, 0);
        let allocate = |bytes| pool.allocate(bytes, StreamId::COMPUTE, recorder::SITE).expect("there is room");
        let run = || {
            let mut live: Vec<Block> = Vec::new();
            for (bytes, index, free) in &step {
                live.push(allocate(*bytes));
                if *free {
                    live.swap_remove(index.index(live.len()));
                }
            }
            live.iter().map(Block::address).collect::<Vec<_>>()
        };
        let _kept: Vec<Block> = kept.iter().map(|&bytes| allocate(bytes)).collect();
        let first = run();
        let commits = recorder.log().commits;
        prop_assert_eq!(run(), first);
        prop_assert_eq!(recorder.log().commits, commits);
    }
}
