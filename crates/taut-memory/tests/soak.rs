//! Many events, and no byte more. `TAUT_CASES=1000` makes 10 million of them.

mod recorder;

use recorder::{S0, S1, SITE};
use std::env;
use taut_memory::{Block, Pool, Site};

/// Events for each of `TAUT_CASES`.
const EVENTS: usize = 10_000;

/// Of one step: half of them allocate.
const STEP: usize = 2_000;

/// The step with this number, always the same: sizes from a byte to 16 MiB, any order of frees.
fn step(pool: &Pool, number: u64, kept: &mut Vec<Block>) {
    let mut state = number;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut live: Vec<Block> = Vec::new();
    for i in 0..STEP / 2 {
        let bits = 4 + random(21);
        let bytes = random(1 << bits);
        let stream = if random(8) == 0 { S1 } else { S0 };
        live.push(pool.allocate(bytes, stream, SITE).expect("there is room"));
        if live.len() > 64 || random(3) == 0 {
            drop(live.swap_remove(random(live.len() as u64) as usize));
        }
        // As an optimizer does: what is born in the first step stays.
        if kept.len() < 40 && i % 20 == 0 {
            kept.push(pool.allocate(random(1 << 21), S0, SITE).expect("there is room"));
        }
    }
}

#[test]
fn reserved_bytes_stay() {
    let cases = env::var("TAUT_CASES").map_or(32, |cases| cases.parse().expect("TAUT_CASES: a whole number"));
    let (recorder, pool) = recorder::phantom(1 << 40, 0);
    let (mut kept, mut settled) = (Vec::new(), None);
    for round in 0..(cases * EVENTS / STEP).max(30) as u64 {
        // Three kinds of steps in turn. The first was among fewer blocks that stay, so it has one repetition more.
        step(&pool, round % 3, &mut kept);
        let now = (pool.stats().reserved_bytes, pool.calls());
        match settled {
            _ if round < 6 => {}
            None => settled = Some(now),
            Some(settled) => assert_eq!(now, settled, "in round {round}"),
        }
    }
    drop(kept);
    assert_eq!(pool.stats().live_bytes, 0);
    assert_eq!(pool.release().unwrap(), pool.stats().peak_reserved_bytes);
    assert!(recorder.log().committed.is_empty() && recorder.log().shown.is_empty());
}

/// Sizes and lives that never repeat: what is reserved stays near the most that was asked for.
#[test]
fn random_lives_do_not_pile_up() {
    let cases = env::var("TAUT_CASES").map_or(32, |cases| cases.parse().expect("TAUT_CASES: a whole number"));
    let (_, pool) = recorder::phantom(1 << 40, 0);
    let mut kept =
        (0..40).map(|_| pool.allocate(1 << 20, S0, Site { op: "kept", ..SITE }).unwrap()).collect();
    for round in 0..(cases * EVENTS / STEP) as u64 {
        step(&pool, 1000 + round, &mut kept);
    }
    let stats = pool.stats();
    assert!(stats.peak_reserved_bytes as f64 <= stats.peak_live_bytes as f64 * 1.1, "{stats:?}");
}
