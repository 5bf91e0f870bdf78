//! Programs that are bytes, against the model of the pool: a corpus of them, and what becomes of it by small changes.
//!
//! The same inputs on every run. `TAUT_FUZZ_SECONDS=600 cargo test --release -p taut-memory --test fuzz -- --nocapture` goes
//! on for ten minutes, keeps what makes the pool do two things one after the other that nothing before made it do, and says how
//! many inputs there were; with `TAUT_FUZZ_KEEP=FILE` it writes the fewest of them that make it do all. A failure prints its
//! program, a line for `corpus/programs.txt`.

mod recorder;
mod twins;

use std::{
    collections::BTreeSet,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};
use taut_memory::{GRANULE_BYTES, Kind};
use twins::{BUDGET_BYTES, Step, Twins};

/// Inputs of a run that is not timed, beside the corpus.
const INPUTS: u64 = if cfg!(miri) { 0 } else { 300 };

/// How many programs of the corpus are left out after each one that is run: Miri takes seconds for one.
const LEFT_OUT: usize = if cfg!(miri) { 43 } else { 0 };

/// Bytes of a step, and steps of a program.
const STEP: usize = 4;
const MOST_STEPS: usize = 64;

/// Every four bytes are a step.
fn program(input: &[u8]) -> impl Iterator<Item = Step> {
    input.chunks_exact(STEP).take(MOST_STEPS).map(|bytes| {
        let [op, a, b, c] = [bytes[0], bytes[1], bytes[2], bytes[3]];
        let wide = u64::from(b) << 8 | u64::from(c);
        let block = usize::from(a) << 8 | usize::from(b);
        let kind = |byte: u8| Kind::ALL[usize::from(byte) % Kind::ALL.len()];
        match op % 29 {
            0..12 => {
                let bytes = match a >> 5 {
                    0 => wide % 2,
                    1 | 2 => 1 + wide % 5000,
                    3 | 4 => 5000 + 48 * wide,
                    5 => (3 << 20) + 272 * wide,
                    6 => (1 + wide % 10) * GRANULE_BYTES,
                    _ => u64::MAX >> (wide % 64),
                };
                let scope = [None, Some("model"), Some("head"), None][usize::from(a >> 2 & 3)];
                Step::Allocate { bytes, stream: a & 3, kind: kind(c), scope }
            }
            12..21 => Step::Free(block),
            21..24 => Step::UsedBy(block, c % 64),
            24..26 => Step::SetKind(block, kind(c)),
            26 => Step::SetBudget(wide * (BUDGET_BYTES >> 16)),
            27 => Step::Release,
            _ => Step::ResetPeaks,
        }
    })
}

/// Pairs of what the pool did in two steps one after the other.
fn pairs(input: &[u8]) -> BTreeSet<(u16, u16)> {
    let done = catch_unwind(AssertUnwindSafe(|| Twins::run(program(input), false))).unwrap_or_else(|panic| {
        eprintln!("the program: {}", line(input));
        resume_unwind(panic)
    });
    done.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

fn line(input: &[u8]) -> String {
    input.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn corpus() -> Vec<Vec<u8>> {
    let byte = |line: &str, i: usize| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).expect("two digits");
    let lines = include_str!("corpus/programs.txt").lines().step_by(1 + LEFT_OUT);
    lines.map(|line| (0..line.len() / 2).map(|i| byte(line, i)).collect()).collect()
}

/// SplitMix64, by Steele, Lea and Flood, 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Where a step begins, or the end.
    fn place(&mut self, input: &[u8]) -> usize {
        STEP * self.below(input.len() / STEP + 1)
    }

    /// Some steps of an input.
    fn piece<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        let start = self.place(input);
        let end = input.len().min(start + STEP * self.below(24));
        &input[start.min(end)..end]
    }

    /// An input with some small changes.
    fn changed(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let any = |random: &mut Random| inputs.get(random.below(inputs.len())).map_or(&[][..], Vec::as_slice);
        let mut input = any(self).to_vec();
        for _ in 0..1 + self.below(4) {
            let at = self.place(&input);
            match self.below(5) {
                0 => input.splice(at..at, self.next().to_le_bytes()).for_each(drop),
                1 => {
                    let end = input.len().min(at + STEP * self.below(8));
                    input.drain(at.min(end)..end).for_each(drop);
                }
                2 => {
                    let i = self.below(input.len());
                    let byte = self.next() as u8;
                    input.get_mut(i).into_iter().for_each(|at| *at = byte);
                }
                3 => {
                    let again = self.piece(&input).to_vec();
                    input.splice(at..at, again).for_each(drop);
                }
                _ => {
                    let other = any(self);
                    let piece = self.piece(other);
                    input.splice(at..at, piece.iter().copied()).for_each(drop);
                }
            }
        }
        input.truncate(STEP * MOST_STEPS);
        input
    }
}

#[test]
fn programs_of_bytes_agree_with_the_model() {
    let seconds = env::var("TAUT_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let mut random = Random(env::var("TAUT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1));
    let mut kept = corpus();
    let mut known: BTreeSet<(u16, u16)> = kept.iter().flat_map(|input| pairs(input)).collect();
    let (start, mut inputs) = (Instant::now(), 0u64);
    while seconds.map_or(inputs < INPUTS, |seconds| start.elapsed() < Duration::from_secs(seconds)) {
        let input = random.changed(&kept);
        let new = pairs(&input);
        inputs += 1;
        if !new.is_subset(&known) {
            known.extend(new);
            kept.push(input);
        }
    }
    if seconds.is_some() {
        println!("{inputs} programs, {} kept, {} pairs of steps", kept.len(), known.len());
    }
    if let Some(path) = env::var_os("TAUT_FUZZ_KEEP") {
        fs::write(path, fewest(&kept)).expect("the file is written");
    }
}

/// The lines of inputs that together do what all do, those first that do the most.
fn fewest(inputs: &[Vec<u8>]) -> String {
    let mut all: Vec<_> = inputs.iter().map(|input| (pairs(input), input)).collect();
    all.sort_by_key(|(pairs, input)| (std::cmp::Reverse(pairs.len()), input.len()));
    let (mut known, mut lines) = (BTreeSet::new(), String::new());
    for (pairs, input) in all {
        if !pairs.is_subset(&known) {
            known.extend(pairs);
            lines += &(line(input) + "\n");
        }
    }
    lines
}
