//! The group `encoder`: sentence vectors by all-MiniLM-L6-v2 with its real weights, in batches of every shape and over real
//! text, the bytes beside the weights equal to those that were planned.

use crate::{
    Bench,
    figures::Figure,
    memory::{self, Run},
    page::Section,
    timer::Timer,
};
use std::{
    cell::RefCell,
    fmt::Display,
    path::{Path, PathBuf},
    time::Duration,
};
use taut::{DType, Device, Error, ErrorKind, Graphed, Result, Tensor};
use taut_nn::{Module, Tokens, text::SentenceEncoder};
use taut_tests::{embeddings, inputs};

/// The name of the group.
pub const GROUP: &str = "encoder";

/// Of a text so many tokens count, as the model was trained for.
pub const LONGEST: usize = 256;

/// Sentences and tokens of each.
const SHAPES: [[usize; 2]; 6] = [[1, 16], [32, 16], [256, 16], [256, 64], [256, 128], [64, 256]];

/// One dtype and batch.
struct Case {
    dtype: DType,
    shape: [usize; 2],
    /// As a graph.
    replayed: bool,
}

/// The real text.
struct Text {
    dtype: DType,
    from: Input,
}

/// Where the way to the vectors begins.
#[derive(Clone, Copy, PartialEq)]
enum Input {
    Words,
    /// The numbers of the words, as a tokenizer makes them.
    Numbers,
}

/// Measures batches of one length, and the real text from its words, or their numbers, to vectors on the host.
///
/// # Errors
///
/// As [`SentenceEncoder::open`], [`inputs::works`] and [`measure`].
pub fn measure(bench: &mut Bench) -> Result<()> {
    let folder = folder(bench);
    let cuda = bench.device.is_cuda();
    let dtypes: &[DType] = if cuda { &[DType::F16, DType::F32] } else { &[DType::F32] };
    let shapes = match (cuda, bench.quick) {
        (true, _) => &SHAPES[..],
        (false, true) => &[[1, 16], [32, 64]],
        (false, false) => &[[1, 16], [32, 16], [32, 64], [32, 256]],
    };
    // A replay on the CPU is a call.
    let ways = if cuda { &[false, true][..] } else { &[false] };
    let batches = shapes.iter().flat_map(|&shape| ways.iter().map(move |&replayed| (shape, replayed)));
    let case = |&dtype| batches.clone().map(move |(shape, replayed)| Case { dtype, shape, replayed });
    let wanted = |name: &str| bench.ops.is_empty() || bench.ops.iter().any(|part| name.contains(part));
    let cases: Vec<Case> = dtypes.iter().flat_map(case).filter(|case| wanted(&case.name())).collect();
    let text = |&dtype| [Input::Words, Input::Numbers].map(|from| Text { dtype, from });
    let texts: Vec<Text> = dtypes.iter().flat_map(text).filter(|text| wanted(&text.name())).collect();
    bench.group(GROUP, cases.len() + texts.len(), |bench, progress| {
        for case in &cases {
            let name = case.name();
            progress.step(&name);
            bench.add(batch(bench, case, &folder)?);
            progress.advance(1);
        }
        for text in &texts {
            progress.step(&text.name());
            bench.add(shakespeare(bench, text, &folder)?);
            progress.advance(1);
        }
        Ok(())
    })
}

impl Case {
    fn name(&self) -> String {
        let [sentences, tokens] = self.shape;
        let replayed = if self.replayed { " replayed" } else { "" };
        format!("{sentences} x {tokens} tokens{replayed}, {}", self.dtype)
    }
}

impl Text {
    fn name(&self) -> String {
        let from = if self.from == Input::Words { "words" } else { "numbers of words" };
        format!("Shakespeare from {from}, {}", self.dtype)
    }
}

/// Random words: their vectors do not depend on which they are, and what they cost neither.
pub(crate) fn words([sentences, tokens]: [usize; 2]) -> Vec<Vec<u32>> {
    let word = |i: usize, j: usize| (1000 + (i * 7919 + j * 104_729) % 29_000) as u32;
    (0..sentences).map(|i| (0..tokens).map(|j| word(i, j)).collect()).collect()
}

/// How often a batch is sent through in one timed region, so that it takes some milliseconds.
const TOGETHER: usize = 8;

fn batch(bench: &Bench, case: &Case, folder: &Path) -> Result<Vec<Figure>> {
    let repetitions = if bench.quick { 3 } else { 11 };
    let together = if bench.device.is_cuda() { TOGETHER } else { 1 };
    let times = RefCell::new(Vec::new());
    let run = memory::measure(&bench.device, 1, |device| {
        let encoder = SentenceEncoder::open(folder, LONGEST, case.dtype, device)?;
        let tokens = Tokens::new(&words(case.shape), device)?;
        device.synchronize()?;
        device.pool().reset_peaks();
        let times = &times;
        Ok(move |device: &Device| {
            let bert = encoder.bert();
            let numbers = [tokens.numbers()];
            let function = |x: &[Tensor]| Ok(vec![bert.embed(&tokens.with_numbers(x[0].clone())?)?]);
            let mut graph =
                case.replayed.then(|| Graphed::new(vec![numbers[0].clone()], function)).transpose()?;
            let mut step = || match &mut graph {
                Some(graph) => graph.replay(&numbers).map(drop),
                None => bert.embed(&tokens).map(drop),
            };
            let held = device.stats().tensor_bytes;
            step()?;
            // Without gradients nothing is kept: not a byte.
            let kept = device.stats().tensor_bytes - held;
            if kept > 0 {
                return Err(Error::device(format!("encoder: {kept} bytes were kept")));
            }
            if device.is_plan() {
                return Ok(());
            }
            let timer = Timer::new(device)?;
            *times.borrow_mut() = (0..repetitions)
                .map(|_| Ok(timer.time(|| (0..together).try_for_each(|_| step()))? / together as u32))
                .collect::<Result<Vec<Duration>>>()?;
            Ok(())
        })
    })?;
    let weights = weight_bytes(folder, case.dtype)?;
    Ok(figures(bench, &case.name(), case.shape[0], weights, &run, &times.into_inner()))
}

/// To vectors on the host, again and again.
fn shakespeare(bench: &Bench, text: &Text, folder: &Path) -> Result<Vec<Figure>> {
    let works = inputs::works(&bench.data.join(inputs::SHAKESPEARE)).map_err(unread)?;
    let golden = embeddings().map_err(unread)?;
    let step = if bench.quick { 8 } else { 1 };
    let texts: Vec<String> = golden.iter().step_by(step).filter_map(|golden| golden.text(&works)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let run = memory::measure(&bench.device, if bench.quick { 1 } else { 5 }, |device| {
        let encoder = SentenceEncoder::open(folder, LONGEST, text.dtype, device)?;
        device.synchronize()?;
        device.pool().reset_peaks();
        let (texts, numbers) = (&texts, encoder.tokenize(&texts)?);
        Ok(move |_: &Device| {
            let vectors = match text.from {
                Input::Words => encoder.embed(texts)?,
                Input::Numbers => encoder.embed_tokens(&numbers)?,
            };
            vectors.to_vec::<f32>().map(drop)
        })
    })?;
    let weights = weight_bytes(folder, text.dtype)?;
    Ok(figures(bench, &text.name(), texts.len(), weights, &run, &run.times))
}

/// Where the model is.
pub(crate) fn folder(bench: &Bench) -> PathBuf {
    bench.data.join(inputs::MINILM)
}

fn unread(error: impl Display) -> Error {
    Error::new(ErrorKind::Driver, error.to_string())
}

/// The bytes of the parameters, without loading them.
fn weight_bytes(folder: &Path, dtype: DType) -> Result<u64> {
    let plan = Device::plan(Device::cpu().spec());
    Ok(SentenceEncoder::open(folder, LONGEST, dtype, &plan)?.parameter_bytes())
}

fn figures(
    bench: &Bench,
    name: &str,
    sentences: usize,
    weights: u64,
    run: &Run,
    times: &[Duration],
) -> Vec<Figure> {
    let names = |metric| [GROUP, name, bench.device_name(), metric];
    let seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    let rates = seconds.iter().map(|time| sentences as f64 / time).collect();
    let above = |peak: u64| vec![peak.saturating_sub(weights) as f64];
    vec![
        Figure::new(names("rate"), "sentences/s", rates),
        Figure::new(names("time"), "s", seconds),
        Figure::new(names("peak above the weights"), "bytes", above(run.stats.peak_live_bytes)),
    ]
}

/// This group's part of the page.
pub fn section(bench: &Bench) -> Section {
    let intro = "Sentence vectors by all-MiniLM-L6-v2 with its real weights: batches of sentences of one length, and texts \
        of Shakespeare from their words, or the numbers of these, to vectors on the host. Every peak was planned and came out \
        equal to the byte, and after each batch no byte is kept. A batch is replayed where its kernels are given to the card by one \
        call, as a graph, whose memory is counted.";
    Section::new(GROUP, "Encoder", intro).with_figures(&bench.report)
}
