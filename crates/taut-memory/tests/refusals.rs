//! Random programs on a device that refuses every so many calls: nothing that lives is touched, and nothing is lost.

mod recorder;

use proptest::{collection::vec, prelude::*, sample::Index};
use recorder::{PAGE, Recorder, SITE};
use std::{ops::Range, sync::Arc};
use taut_memory::{Block, Budget, ErrorKind, Pool, Stats, StreamId};

#[derive(Clone, Debug)]
enum Step {
    Allocate(u64, u8),
    Free(Index),
    SetBudget(u64),
    Release,
}

fn any_step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![2 => 0..5000u64, 3 => 5000..(3u64 << 20), 3 => (3u64 << 20)..(20 << 20)];
    prop_oneof![
        9 => (bytes, 0..3u8).prop_map(|(bytes, stream)| Step::Allocate(bytes, stream)),
        7 => any::<Index>().prop_map(Step::Free),
        1 => (10..40u64).prop_map(|pages| Step::SetBudget(pages * PAGE)),
        1 => Just(Step::Release),
    ]
}

struct Model {
    recorder: Arc<Recorder>,
    pool: Pool,
    live: Vec<(Block, Vec<Range<u64>>)>,
}

impl Model {
    fn step(&mut self, step: &Step) {
        let before = self.pool.stats();
        let refused = match step {
            Step::Allocate(bytes, stream) => {
                self.pool.allocate(*bytes, StreamId(*stream), SITE).map(|block| self.enter(block)).err()
            }
            Step::Free(index) if !self.live.is_empty() => {
                drop(self.live.swap_remove(index.index(self.live.len())));
                None
            }
            Step::Free(_) => None,
            Step::SetBudget(bytes) => self.pool.set_budget(Budget::Bytes(*bytes)).err(),
            Step::Release => self.pool.release().err(),
        };
        let after = self.pool.stats();
        if let Some(error) = refused {
            assert!([ErrorKind::OutOfMemory, ErrorKind::Driver].contains(&error.kind()), "{error}");
            let Stats { reserved_bytes, peak_reserved_bytes, .. } = after;
            assert_eq!(after, Stats { reserved_bytes, peak_reserved_bytes, ..before });
        }
        assert_eq!(after.live_bytes, self.live.iter().map(|(block, _)| block.bytes()).sum::<u64>());
        assert_eq!(after.reserved_bytes, self.recorder.log().committed.len() as u64 * PAGE);
        assert!(after.reserved_bytes <= self.pool.budget_bytes());
        for (block, memory) in &self.live {
            assert_eq!(&self.recorder.memory(block), memory, "a block has moved");
        }
    }

    fn enter(&mut self, block: Block) {
        let memory = self.recorder.memory(&block);
        let overlaps = |a: &Range<u64>| memory.iter().any(|b| a.start < b.end && b.start < a.end);
        assert!(!self.live.iter().flat_map(|(_, memory)| memory).any(overlaps), "an overlap");
        self.live.push((block, memory));
    }
}

proptest! {
    #[test]
    fn refused_calls_lose_nothing(
        steps in vec(any_step(), 1..120),
        every in prop_oneof![1..8usize, Just(usize::MAX)],
        // At times there is not room for all views, nor for all blocks.
        span_pages in prop_oneof![100..200u64, Just(1 << 20)],
        segmented in any::<bool>(),
    ) {
        let recorder = if segmented { Recorder::segmented(span_pages) } else { Recorder::narrow(span_pages) };
        let recorder = Arc::new(recorder);
        let pool = Pool::new(recorder.clone());
        pool.set_budget(Budget::Bytes(40 * PAGE)).unwrap();
        recorder.log().refuse_every = every;
        let mut model = Model { recorder: recorder.clone(), pool: pool.clone(), live: Vec::new() };
        steps.iter().for_each(|step| model.step(step));

        recorder.log().refuse_every = usize::MAX;
        pool.set_budget(Budget::Unlimited).unwrap();
        model.step(&Step::Allocate(30 << 20, 0));
        model.live.clear();
        pool.release().unwrap();
        prop_assert_eq!((pool.stats().live_bytes, pool.stats().reserved_bytes), (0, 0));
        prop_assert!(recorder.log().committed.is_empty() && recorder.log().shown.is_empty());
        prop_assert_eq!(pool.holders(), None);
    }
}
