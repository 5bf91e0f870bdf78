//! A service that runs for long: requests of any size and models that come and go leave its memory as it was.

use proptest::prelude::*;
use taut::{DType, Device};
use taut_nn::{Bert, BertConfig, Builder, Module, Tokens};
use taut_tests::{At, Check, Rng, Suite};

pub(crate) fn trials(suite: &mut Suite) {
    suite.everywhere("server::requests_leave_nothing", requests_leave_nothing);
    suite.everywhere("server::swaps_leave_nothing", swaps_leave_nothing);
}

const SMALL: BertConfig = BertConfig {
    hidden: 64,
    layers: 2,
    heads: 4,
    intermediate: 128,
    words: 500,
    positions: 48,
    types: 2,
    eps: 1e-12,
};

const LARGE: BertConfig = BertConfig { hidden: 128, layers: 3, intermediate: 512, ..SMALL };

/// Sequences of a request at most.
const MOST: usize = 12;

/// So many on a card, where `TAUT_CASES` is as usual; a share of it elsewhere.
fn scaled(at: &At, count: u32) -> u32 {
    let cases = at.cases().min(256);
    (count * cases / 256 / if at.device.is_cuda() { 1 } else { 10 }).max(2)
}

/// What must not grow: reserved bytes, what the driver charges, pinned host memory.
fn held(device: &Device) -> (u64, Option<u64>, Option<u64>) {
    let stats = device.stats();
    (stats.reserved_bytes, stats.driver_bytes, device.gpu().map(|gpu| gpu.pinned_bytes()))
}

fn model(config: &BertConfig, seed: u64, device: &Device) -> taut::Result<Bert> {
    let dtype = if device.is_cuda() { DType::F16 } else { DType::F32 };
    Bert::new(&Builder::random(seed, dtype, device), config)
}

/// A request of one to [`MOST`] sequences, each of any length, and its answer.
fn serve(bert: &Bert, rng: &mut Rng, device: &Device) -> Check {
    let batch: Vec<Vec<u32>> =
        (0..1 + rng.below(MOST)).map(|_| sequence(1 + rng.below(SMALL.positions), rng)).collect();
    answer(bert, &batch, device)
}

fn sequence(length: usize, rng: &mut Rng) -> Vec<u32> {
    (0..length).map(|_| rng.below(SMALL.words) as u32).collect()
}

fn answer(bert: &Bert, batch: &[Vec<u32>], device: &Device) -> Check {
    let vectors = bert.embed(&Tokens::new(batch, device)?)?.to_vec::<f32>()?;
    prop_assert!(device.is_plan() || vectors.iter().all(|x| x.is_finite()), "an answer is not finite");
    Ok(())
}

/// After the largest request, none of any size takes a page more.
fn requests_leave_nothing(at: &At) -> Check {
    let (device, mut rng) = (&at.device, Rng(at.seed()));
    let bert = model(&SMALL, 1, device)?;
    let largest: Vec<Vec<u32>> = (0..MOST).map(|_| sequence(SMALL.positions, &mut rng)).collect();
    answer(&bert, &largest, device)?;
    // The first round loads the kernels of every size: on a card it takes as many requests, however few follow.
    let loading = if device.is_cuda() { 200 } else { scaled(at, 200) };
    (0..loading).try_for_each(|_| serve(&bert, &mut rng, device))?;
    let (first, peak) = (held(device), device.stats().peak_live_bytes);
    let weights = bert.parameter_bytes() as u64;

    for request in 0..scaled(at, 10_000) {
        serve(&bert, &mut rng, device)?;
        let stats = device.stats();
        prop_assert_eq!(stats.live_bytes, weights, "after request {}", request);
        prop_assert_eq!(stats.reserved_bytes, first.0, "after request {}", request);
    }
    prop_assert_eq!(held(device), first);
    prop_assert_eq!(device.stats().peak_live_bytes, peak);
    drop(bert);
    goes_back(device)
}

/// Two models in turn, with what the other left given back between them.
fn swaps_leave_nothing(at: &At) -> Check {
    let (device, mut rng) = (&at.device, Rng(at.seed()));
    let mut first = Vec::new();
    for swap in 0..scaled(at, 100).max(20) {
        let config = if swap % 2 == 0 { &SMALL } else { &LARGE };
        let bert = model(config, swap.into(), device)?;
        let largest: Vec<Vec<u32>> = (0..MOST).map(|_| sequence(SMALL.positions, &mut rng)).collect();
        answer(&bert, &largest, device)?;
        (0..5).try_for_each(|_| serve(&bert, &mut rng, device))?;
        let working = held(device);
        drop(bert);
        device.release()?;
        prop_assert_eq!(device.stats().reserved_bytes, 0, "after swap {}", swap);
        // The first two fill what is kept for good: pinned buffers, kernels.
        match swap {
            0 | 1 => first.push((working, held(device))),
            _ if swap < 4 => first[swap as usize % 2] = (working, held(device)),
            _ => prop_assert_eq!((working, held(device)), first[swap as usize % 2], "swap {}", swap),
        }
    }
    goes_back(device)
}

/// And all of it can be given back.
fn goes_back(device: &Device) -> Check {
    device.reset()?;
    prop_assert_eq!(held(device), (0, None, device.gpu().map(|_| 0)));
    Ok(())
}
