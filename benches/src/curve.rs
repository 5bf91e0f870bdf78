//! The group `curve`: the losses of a network that learns, step by step, in every dtype and with every kind of states, from a
//! start that is written down, so that another program can learn from the same numbers. `benches/curve.py` does, in PyTorch.

use crate::{
    Bench, atomic,
    figures::Figure,
    flights::{Flights, Rows, WIDTH},
    page::{Plot, Section},
};
use std::{collections::BTreeMap, path::Path};
use taut::{
    Activation, DType, Device, Error, Result, Tensor,
    optim::{AdamW, Lion, Rule},
};
use taut_nn::{
    Builder, Layer, LayerNorm, Linear, Module, Optimizer, Sequential, States, Weights, epoch, loss, save,
};
use taut_tests::inputs;

/// The name of the group.
pub const GROUP: &str = "curve";

/// Steps of a curve.
const STEPS: usize = 200;
/// Steps of one in a hurry.
const QUICK_STEPS: usize = 50;
/// Rows of a step.
const BATCH: usize = 256;
/// Outputs of each layer but the last: enough that the states of its weights are kept in 8 bits.
const HIDDEN: usize = 128;
/// Layers, each but the last followed by a norm.
const LAYERS: usize = 5;
/// Of the loss: from which error on it grows no faster.
const DELTA: f64 = 1.0;
/// Of the weights and of the order of the rows.
const SEED: u64 = 2013;
/// What losses of f16 are multiplied by.
const SCALE: f32 = 1024.0;
/// Steps whose mean loss is a figure.
const ENDS: usize = 20;

/// A way to learn.
struct Way {
    /// In tables, and in the file of losses.
    name: &'static str,
    rule: Rule,
    lr: f32,
    dtype: DType,
    states: States,
}

fn ways() -> [Way; 8] {
    let (adamw, lion) = (AdamW::default(), Lion::default());
    let adamw = |name, dtype, states| Way { name, rule: Rule::AdamW(adamw), lr: 1e-3, dtype, states };
    let lion = |name, dtype, states| Way { name, rule: Rule::Lion(lion), lr: 2e-4, dtype, states };
    [
        adamw("AdamW, f32", DType::F32, States::Full),
        adamw("AdamW, f32, 8-bit states", DType::F32, States::Codes),
        adamw("AdamW, bf16", DType::BF16, States::Full),
        adamw("AdamW, bf16, 8-bit states", DType::BF16, States::Codes),
        adamw("AdamW, f16", DType::F16, States::Full),
        lion("Lion, f32", DType::F32, States::Full),
        lion("Lion, f32, 8-bit states", DType::F32, States::Codes),
        lion("Lion, bf16, 8-bit states", DType::BF16, States::Codes),
    ]
}

/// Learns in every way, and writes the start and the losses to `out`.
///
/// # Errors
///
/// Those of [`Flights::read`] and of the file system; [`Device`](taut::ErrorKind::Device) if a loss is not finite.
pub fn measure(bench: &mut Bench, out: &Path) -> Result<()> {
    let steps = if bench.quick { QUICK_STEPS } else { STEPS };
    let flights = Flights::read(&bench.data.join(inputs::FLIGHTS))?;
    let failed = |error: std::io::Error| Error::driver(format!("curve: {error}"));
    std::fs::create_dir_all(out).map_err(failed)?;
    let start = out.join("start.safetensors");
    write_start(&flights.train, steps, &start)?;
    let start = Weights::open(&start)?;
    let ways = ways();
    bench.group(GROUP, ways.len() * steps, |bench, progress| {
        let device = bench.device.fresh()?;
        let mut all = serde_json::Map::new();
        for way in ways {
            progress.step(way.name);
            let losses = learn(&way, &start, steps, &device)?;
            progress.advance(steps as u64);
            if let Some(step) = losses.iter().position(|loss| !loss.is_finite()) {
                return Err(Error::device(format!(
                    "curve: {}: the loss of step {step} is not finite",
                    way.name
                )));
            }
            let mean = |part: &[f32]| part.iter().map(|&x| f64::from(x)).sum::<f64>() / part.len() as f64;
            let of =
                |metric, value| Figure::new([GROUP, way.name, bench.device_name(), metric], "", vec![value]);
            let first = of("loss of the first 20 steps", mean(&losses[..ENDS]));
            let last = of("loss of the last 20 steps", mean(&losses[steps - ENDS..]));
            bench.add([first, last]);
            all.insert(way.name.to_owned(), losses.into());
        }
        let json = serde_json::Value::from(all).to_string();
        atomic::write(&out.join("losses.json"), json.as_bytes()).map_err(failed)
    })
}

/// Weights as they are before the first step, in f32, the rows of each step, and what else a step is made of.
fn write_start(train: &Rows, steps: usize, path: &Path) -> Result<()> {
    let host = Device::cpu();
    let network = network(&Builder::random(SEED, DType::F32, &host))?;
    let order: Vec<usize> = epoch(train.len(), BATCH, SEED).take(steps).flatten().collect();
    let rows = |row: &usize| &train.features[row * WIDTH..(row + 1) * WIDTH];
    let x: Vec<_> = order.iter().flat_map(rows).copied().collect();
    let y: Vec<_> = order.iter().map(|&row| train.target[row]).collect();
    let mut tensors: Vec<(String, Tensor)> =
        network.parameters().iter().map(|x| (x.name().to_owned(), x.tensor())).collect();
    tensors.push(("x".into(), Tensor::from_slice(&x, [order.len(), WIDTH], &host)?));
    tensors.push(("y".into(), Tensor::from_slice(&y, [order.len(), 1], &host)?));
    let mut facts = BTreeMap::from([
        ("layers".to_owned(), LAYERS.to_string()),
        ("batch".to_owned(), BATCH.to_string()),
        ("delta".to_owned(), DELTA.to_string()),
        ("scale".to_owned(), SCALE.to_string()),
    ]);
    facts.extend(ways().map(|way| (format!("lr of {}", way.name), way.lr.to_string())));
    save(path, tensors.iter().map(|(name, x)| (name.clone(), x)), &facts)
}

fn network(builder: &Builder<'_>) -> Result<Sequential> {
    let mut network = Sequential::new();
    for layer in 0..LAYERS - 1 {
        let inputs = if layer == 0 { WIDTH } else { HIDDEN };
        network = network
            .then(builder, |b| Ok(Linear::new(b, inputs, HIDDEN)?.with_activation(Activation::Relu)))?
            .then(builder, |b| LayerNorm::new(b, HIDDEN))?;
    }
    network.then(builder, |b| Linear::new(b, HIDDEN, 1))
}

/// The loss of each step, before it is done.
fn learn(way: &Way, start: &Weights, steps: usize, device: &Device) -> Result<Vec<f32>> {
    let network = start.build(way.dtype, device, &["x", "y"], network)?;
    network.train()?;
    let mut optimizer = Optimizer::new(way.rule, &network, way.states)?;
    if way.dtype == DType::F16 {
        optimizer = optimizer.with_loss_scale(SCALE)?;
    }
    let (x, y) = (start.get("x")?.load(way.dtype, device)?, start.get("y")?.load(DType::F32, device)?);
    let mut losses = Vec::with_capacity(steps);
    for step in 0..steps {
        let part = |of: &Tensor| of.clone().slice(0, step * BATCH..(step + 1) * BATCH);
        let out = network.forward(part(&x)?)?.cast(DType::F32)?;
        let loss = loss::huber(out, &part(&y)?, DELTA)?;
        losses.push(loss.clone().detach());
        optimizer.scaled(loss)?.backward()?;
        optimizer.step(way.lr)?;
    }
    losses.into_iter().map(|loss| loss.item::<f32>()).collect()
}

/// The group on the page.
pub fn section(bench: &Bench) -> Section {
    let intro = "A network of five layers with norms between them learns from the flights, in each way from the same weights \
        and the same rows: 16-bit weights with f32 masters, states of 32 and of 8 bits. benches/curve.py lays PyTorch's \
        losses beside these, step by step.";
    let mut section = Section::new(GROUP, "Curves", intro);
    let all = bench.report.group(GROUP);
    let mut plot = Plot::new("loss of the last 20 steps", "");
    for figure in all.iter().filter(|figure| figure.metric.contains("last")) {
        plot.bar(&figure.work, &[figure.median]);
    }
    section.plots.push(plot);
    section.tables = crate::table::tables(&all);
    section
}
