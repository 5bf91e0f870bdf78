//! The times of the ways of one product: graphs of launches, one after the other on operands that no cache holds, in turns.

use crate::{Device, Tensor};
use std::{sync::Arc, thread, time::Duration};
use taut_core::{ErrorKind, Layout, Result, Shape};
use taut_cuda::{
    Event, Gpu, Graph, Operand, Stream,
    launch::matmul::{self, Choice, Epilogue, Pick, Problem},
};
use taut_memory::{Block, Kind, Site, StreamId};

/// The time of each way is taken so often.
const ROUNDS: usize = 9;

/// What one of these times is of: enough launches to take so long.
const SAMPLE: Duration = Duration::from_millis(1);

/// Launches of a sample at most.
const MOST_LAUNCHES: f64 = 256.0;

/// How much longer than it works a card rests before the next sample: neither its power nor its heat is the limit then.
const REST: u32 = 10;

/// Ways that take so much longer than the best one after their first sample are not timed again.
const HOPELESS: f64 = 1.3;

/// The part of the model's time that another way has to save.
const GAIN: f64 = 0.02;

/// Times of one way, in ascending order; at least one.
pub(super) struct Times(Vec<Duration>);

impl Times {
    fn new(mut times: Vec<Duration>) -> Times {
        times.sort();
        Times(times)
    }

    pub(super) fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    /// Three quarters of the times are not below the first, and not above the second.
    fn quartiles(&self) -> (Duration, Duration) {
        let quarter = self.0.len() / 4;
        (self.0[quarter], self.0[self.0.len() - 1 - quarter])
    }
}

/// The way to take: the first, which is the model's, unless another one is faster by [`GAIN`] and by more than times of one way
/// differ.
pub(super) fn best(times: &[Times]) -> usize {
    let (model, (model_low, _)) = (times[0].median(), times[0].quartiles());
    let fastest = (1..times.len()).min_by_key(|&i| times[i].median());
    let wins = |&i: &usize| {
        times[i].median().as_secs_f64() <= model.as_secs_f64() * (1.0 - GAIN)
            && times[i].quartiles().1 < model_low
    };
    fastest.filter(wins).unwrap_or(0)
}

/// The times of every way. Of those that are hopeless there is one, but for the model's.
pub(super) fn times(
    device: &Device,
    gpu: &Gpu,
    problem: &Problem<'_>,
    candidates: &[(Pick, Choice)],
) -> Result<Vec<Times>> {
    let bench = Bench::new(device, gpu, problem, &candidates[0].1)?;
    let mut graphs = Vec::with_capacity(candidates.len());
    // Loads the kernels, and tells how many launches are a sample.
    let first = bench.graph(&candidates[0].1, 4)?;
    bench.time(&first)?;
    let one = bench.time(&first)?.as_secs_f64() / 4.0;
    let launches = (SAMPLE.as_secs_f64() / one.max(1e-9)).clamp(2.0, MOST_LAUNCHES) as u32;
    for (_, choice) in candidates {
        let graph = bench.graph(choice, launches)?;
        bench.time(&graph)?;
        graphs.push(graph);
    }
    let mut times: Vec<Vec<Duration>> = graphs.iter().map(|_| Vec::new()).collect();
    let mut limit = f64::INFINITY;
    for _ in 0..ROUNDS {
        for (i, (graph, times)) in graphs.iter().zip(&mut times).enumerate() {
            let is_hopeless = times.first().is_some_and(|first| first.as_secs_f64() > limit);
            // The model's is what the others are compared with.
            if i == 0 || !is_hopeless {
                times.push(bench.time(graph)? / launches);
            }
        }
        let fastest = times.iter().flatten().min().copied().unwrap_or_default();
        limit = HOPELESS * fastest.as_secs_f64();
    }
    Ok(times.into_iter().map(Times::new).collect())
}

/// The operands of a product, so often that no cache holds them all, and what times it.
struct Bench<'a> {
    gpu: &'a Gpu,
    problem: &'a Problem<'a>,
    stream: Arc<Stream>,
    id: StreamId,
    start: Event,
    end: Event,
    factors: Vec<[Tensor; 2]>,
    result: Tensor,
    workspace: Block,
}

impl<'a> Bench<'a> {
    fn new(device: &Device, gpu: &'a Gpu, problem: &'a Problem<'a>, choice: &Choice) -> Result<Bench<'a>> {
        let Problem { a, b, dtype, out, .. } = *problem;
        let peak = device.stats().peak_live_bytes;
        let rank = a.rank();
        let numel = a.shape()[..rank - 1].iter().product::<usize>() * b.shape()[rank - 1];
        let site = Site::new("tune", Kind::Workspace);
        let result = Tensor::allocate(Shape::new(&[numel])?, out, device, site)?;
        let workspace = device.workspace(choice.workspace_bytes, "tune")?;
        let flat = |layout: &Layout, seed| Tensor::normal([layout.end()], 0.0, 1.0, seed, dtype, device);
        let pair = |i: u64| Ok([flat(a, 2 * i)?, flat(b, 2 * i + 1)?]);
        let mut factors = vec![pair(0)?];
        let bytes = ((a.end() + b.end()) * dtype.size()) as u64;
        // As many as outlast the cache, as far as there was that much memory in use before.
        let free = peak.saturating_sub(device.stats().live_bytes) / bytes.max(1);
        let more = (2 * gpu.card().l2_bytes / bytes.max(1)).min(free);
        for i in 0..more {
            match pair(i + 1) {
                Err(error) if error.kind() == ErrorKind::OutOfMemory => break,
                another => factors.push(another?),
            }
        }
        let id = device.current();
        let stream = gpu.stream(id)?;
        let (start, end) = (Event::timed(&stream)?, Event::timed(&stream)?);
        Ok(Bench { gpu, problem, stream, id, start, end, factors, result, workspace })
    }

    /// So many launches of one way, each on the next operands.
    fn graph(&self, choice: &Choice, launches: u32) -> Result<Graph> {
        let Problem { a, b, dtype, .. } = *self.problem;
        let run = || {
            let stream = self.gpu.stream(self.id)?;
            for [x, y] in self.factors.iter().cycle().take(launches as usize) {
                let x = Operand::new(x.storage().block(), a, dtype)?;
                let y = Operand::new(y.storage().block(), b, dtype)?;
                let result = &self.result;
                let dst = Operand::new(result.storage().block(), result.layout(), result.dtype())?;
                matmul::matmul(&stream, choice, x, y, Epilogue::default(), dst, &self.workspace)?;
            }
            Ok(())
        };
        Ok(self.gpu.capture(self.id, run)?.1)
    }

    /// The time of a graph, after which the card rests.
    fn time(&self, graph: &Graph) -> Result<Duration> {
        self.start.record(&self.stream)?;
        graph.launch(&self.stream)?;
        self.end.record(&self.stream)?;
        let time = self.end.since(&self.start)?;
        thread::sleep(time * REST);
        Ok(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(us: [u64; 5]) -> Times {
        Times::new(us.map(Duration::from_micros).into())
    }

    #[test]
    fn a_way_wins_by_more_than_times_differ() {
        let model = || times([1000, 1001, 1002, 1003, 1004]);
        assert_eq!(best(&[model()]), 0);
        // Not by 1 %, by 3 %, and of two the faster.
        assert_eq!(best(&[model(), times([990, 991, 992, 993, 994])]), 0);
        assert_eq!(best(&[model(), times([970, 971, 972, 973, 974])]), 1);
        assert_eq!(best(&[model(), times([970; 5]), times([900; 5])]), 2);
        // Times that differ as much as they are faster say nothing; single ones do not matter.
        let noisy = || times([900, 990, 1000, 1010, 1100]);
        assert_eq!(best(&[noisy(), times([940, 970, 975, 995, 999])]), 0);
        assert_eq!(best(&[model(), times([900, 920, 940, 990, 1200])]), 1);
    }

    #[test]
    fn the_middle_of_unsorted_times() {
        let times = times([5, 1, 4, 2, 3]);
        assert_eq!(times.median(), Duration::from_micros(3));
        assert_eq!(times.quartiles(), (Duration::from_micros(2), Duration::from_micros(4)));
    }
}
