//! The timeline: every event, in a ring that loses the oldest and nothing else.

mod recorder;

use proptest::prelude::*;
use recorder::{PAGE, S0, SITE, host, phantom};
use std::{collections::BTreeMap, sync::Arc};
use taut_memory::{
    Block, Budget, Change, ErrorKind, Held, Kind, PhantomBacking, Pool, ScopeId, Site, Timeline, TraceBlock,
    scope,
};

const MATMUL: Site = Site::new("matmul", Kind::Workspace);

fn lines(timeline: &Timeline) -> Vec<String> {
    timeline.events.iter().map(ToString::to_string).collect()
}

#[test]
fn it_has_every_event() {
    let pool = host();
    drop(pool.allocate(1, S0, SITE).unwrap());
    assert_eq!(pool.timeline(), None);
    pool.record(100).unwrap();
    let layer = scope("layer3");
    let block = pool.allocate(4096, S0, SITE).unwrap();
    drop(layer);
    block.set_kind(Kind::Saved);
    block.set_kind(Kind::Saved);
    let other = pool.allocate(PAGE, S0, MATMUL).unwrap();
    drop(block);
    let so_far = pool.timeline().unwrap();
    drop(other);
    pool.release().unwrap();
    pool.release().unwrap();
    let timeline = pool.take_timeline().unwrap();
    drop(pool.allocate(1, S0, SITE).unwrap());
    assert_eq!((pool.timeline(), pool.take_timeline()), (None, None));

    let expected = [
        "+ 1 4096 activations relu layer3 live 4096 reserved 2097152",
        "= 1 4096 activations>saved relu layer3 live 4096 reserved 2097152",
        "+ 2 2097152 workspace matmul - live 2101248 reserved 4194304",
        "- 1 4096 saved relu layer3 live 2097152 reserved 4194304",
        "- 2 2097152 workspace matmul - live 0 reserved 4194304",
        "~ live 0 reserved 0",
    ];
    assert_eq!(lines(&timeline), expected);
    assert_eq!(so_far.events, timeline.events[..4]);
    assert_eq!((timeline.lost, timeline.owners.len()), (0, 0));
    assert!(matches!(timeline.events[1].change, Change::Kind(_, Kind::Activations)));
}

#[test]
fn the_oldest_go() {
    let (_, pool) = phantom(1 << 40, 0);
    let weights = pool.allocate(700, S0, Site::new("linear", Kind::Weights)).unwrap();
    pool.record(3).unwrap();
    let kept = pool.allocate(50, S0, SITE).unwrap();
    for _ in 0..4 {
        drop(pool.allocate(PAGE, S0, MATMUL).unwrap());
    }
    let timeline = pool.timeline().unwrap();
    let held = |block: &Block| {
        let (site, scope) = (block.site(), block.scope());
        Held { site, scope, bytes: block.bytes(), blocks: 1 }
    };
    // The block of the first event that is left is freed by it.
    let matmul = Held { site: MATMUL, scope: ScopeId::ROOT, bytes: PAGE, blocks: 1 };
    assert_eq!(timeline.owners, [held(&weights), held(&kept), matmul]);
    assert_eq!((timeline.lost, timeline.start.live_bytes), (6, 750 + PAGE));
}

#[test]
fn limits_are_events() {
    let (_, pool) = phantom(80 * PAGE, 5 * PAGE);
    drop(pool.allocate(3 * PAGE, S0, SITE).unwrap());
    pool.record(10).unwrap();
    pool.set_budget(Budget::Bytes(60 * PAGE)).unwrap();
    pool.set_budget(Budget::Bytes(60 * PAGE)).unwrap();
    pool.set_budget(Budget::Bytes(7 * PAGE)).unwrap();
    pool.set_budget(Budget::Bytes(PAGE)).unwrap_err();
    pool.reset().unwrap();
    drop(pool.allocate(1, S0, SITE).unwrap());
    let timeline = pool.take_timeline().unwrap();
    assert_eq!((timeline.overhead_bytes, timeline.capacity_bytes), (5 * PAGE, 80 * PAGE));
    assert_eq!((timeline.start.reserved_bytes, timeline.start.budget_bytes), (3 * PAGE, 80 * PAGE));
    let limits = timeline.events.iter().map(|e| (e.level.reserved_bytes / PAGE, e.level.budget_bytes / PAGE));
    assert_eq!(limits.collect::<Vec<_>>(), [(3, 60), (2, 7), (0, 7), (1, 7), (1, 7)]);
    let shown = lines(&timeline);
    assert_eq!(shown[2], "~ live 0 reserved 0");
    assert_eq!(shown[3], "+ 0 1 activations relu - live 1 reserved 2097152");
}

#[test]
fn a_ring_that_can_not_be_is_refused() {
    let (_, pool) = phantom(1 << 40, 0);
    pool.record(5).unwrap();
    drop(pool.allocate(1, S0, SITE).unwrap());
    let none = pool.record(0).unwrap_err();
    assert_eq!((none.kind(), none.to_string().contains("at least 1")), (ErrorKind::Value, true));
    let vast = pool.record(usize::MAX).unwrap_err();
    assert_eq!(
        (vast.kind(), vast.to_string().starts_with("record: the host")),
        (ErrorKind::OutOfMemory, true)
    );
    assert_eq!(pool.timeline().unwrap().events.len(), 2);
    pool.record(5).unwrap();
    assert_eq!(pool.timeline().unwrap().events.len(), 0);
}

/// One step of a program: what to do, and with which block or size.
fn steps() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0..9u8, 0..3 * PAGE), 0..200)
}

fn pages() -> Pool {
    Pool::new(Arc::new(PhantomBacking::new(1 << 40, 0)))
}

/// Runs the steps, and the pool ends with some blocks.
fn run(pool: &Pool, steps: &[(u8, u64)]) -> Vec<Block> {
    let mut live: Vec<Block> = Vec::new();
    for &(what, n) in steps {
        let nth = |live: &[Block]| n as usize % live.len().max(1);
        let _scope = ["encoder", "decoder"].get(n as usize % 3).map(|&name| scope(name));
        match what {
            0..4 => live
                .push(pool.allocate(n, S0, if n % 2 == 0 { SITE } else { MATMUL }).expect("there is room")),
            4..7 if !live.is_empty() => drop(live.swap_remove(nth(&live))),
            7 if !live.is_empty() => {
                let i = nth(&live);
                live[i].set_kind(Kind::ALL[n as usize % 8]);
            }
            _ => drop(pool.release().expect("no fault")),
        }
    }
    live
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// From the start, event by event, the live bytes of every owner come out as the pool counts them: at each event, and
    /// at the end. However small the ring is, what it has is the tail of what a large one has.
    #[test]
    fn sums_are_exact(before in steps(), steps in steps(), events in 1..300usize) {
        let whole = {
            let pool = pages();
            let _older = run(&pool, &before);
            pool.record(1000).unwrap();
            let _live = run(&pool, &steps);
            pool.take_timeline().unwrap()
        };
        let pool = pages();
        let _older = run(&pool, &before);
        pool.record(events).unwrap();
        let _live = run(&pool, &steps);
        let (timeline, stats) = (pool.take_timeline().unwrap(), pool.stats());

        prop_assert_eq!(whole.lost, 0);
        prop_assert_eq!(timeline.lost as usize, whole.events.len().saturating_sub(events));
        prop_assert_eq!(lines(&timeline), &lines(&whole)[timeline.lost as usize..]);

        let mut held: BTreeMap<_, (u64, u64)> = BTreeMap::new();
        for &Held { site, scope, bytes, blocks } in &timeline.owners {
            prop_assert!(blocks > 0);
            held.insert((scope, site.op, site.kind), (bytes, blocks));
        }
        let (mut level, mut nanoseconds) = (timeline.start, timeline.start.nanoseconds);
        for event in &timeline.events {
            if let Some(TraceBlock { bytes, site, scope, .. }) = event.change.gains() {
                let (sum, blocks) = held.entry((scope, site.op, site.kind)).or_default();
                (*sum, *blocks) = (*sum + bytes, *blocks + 1);
            }
            if let Some(TraceBlock { bytes, site, scope, .. }) = event.change.loses() {
                let (sum, blocks) = held.get_mut(&(scope, site.op, site.kind)).expect("it is live");
                (*sum, *blocks) = (*sum - bytes, *blocks - 1);
            }
            prop_assert_eq!(held.values().map(|held| held.0).sum::<u64>(), event.level.live_bytes);
            prop_assert!(event.level.nanoseconds >= nanoseconds);
            nanoseconds = event.level.nanoseconds;
            level = event.level;
        }
        prop_assert!(timeline.end_nanoseconds >= nanoseconds);
        prop_assert_eq!((level.live_bytes, level.reserved_bytes), (stats.live_bytes, stats.reserved_bytes));
        for kind in Kind::ALL {
            let sum: u64 = held.iter().filter(|((.., k), _)| *k == kind).map(|(_, held)| held.0).sum();
            prop_assert_eq!(sum, stats.live_by_kind[kind as usize]);
        }
    }
}
