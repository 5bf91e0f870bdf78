//! Losses of a network that learns, step by step, beside those that PyTorch has in f64: `golden/curve.json`, which
//! `golden/curve.py` writes.

use proptest::prelude::*;
use serde_json::Value as Json;
use taut::{
    Activation, DType, Device, Result, Tensor,
    optim::{AdamW, Rule, Sgd},
};
use taut_nn::{Builder, Layer, LayerNorm, Linear, Module, Optimizer, Sequential, States, loss};
use taut_tests::{At, Check, Suite, fail};

pub(crate) fn trials(suite: &mut Suite) {
    // Counts of steps and what follows from them are f32 in either.
    suite.cpu("golden::f64_learns_as_in_pytorch", |at| follows(at, DType::F64, 1e-6));
    suite.real("golden::f32_learns_as_in_pytorch", |at| follows(at, DType::F32, 1e-5));
}

const GOLDEN: &str = include_str!("golden/curve.json");

const ROWS: usize = 64;
const INPUTS: usize = 8;
const HIDDEN: usize = 32;
const DELTA: f64 = 1.0;

/// The loss of each step differs from PyTorch's by at most `error` of it.
fn follows(at: &At, dtype: DType, error: f64) -> Check {
    let golden: Json = serde_json::from_str(GOLDEN).map_err(|error| fail(format!("curve.json: {error}")))?;
    let sgd = Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-3 };
    for (name, rule, lr) in [("adamw", Rule::AdamW(AdamW::default()), 1e-2), ("sgd", Rule::Sgd(sgd), 5e-2)] {
        let wants: Vec<f64> =
            golden[name].as_array().into_iter().flatten().filter_map(Json::as_f64).collect();
        prop_assert_eq!(wants.len(), 20, "losses of {}", name);
        let gots = losses(rule, lr, wants.len(), dtype, &at.device)?;
        for (step, (got, want)) in gots.iter().zip(&wants).enumerate() {
            let off = (got - want).abs() / want;
            prop_assert!(
                off <= error,
                "{} of step {}: {}, PyTorch says {}: {:e}",
                name,
                step,
                got,
                want,
                off
            );
        }
        // What is followed goes somewhere.
        prop_assert!(wants[19] < 0.5 * wants[0]);
    }
    Ok(())
}

fn losses(rule: Rule, lr: f32, steps: usize, dtype: DType, device: &Device) -> Result<Vec<f64>> {
    let network = network(dtype, device)?;
    network.train()?;
    let mut optimizer = Optimizer::new(rule, &network, States::Full)?;
    let mut losses = Vec::with_capacity(steps);
    for step in 0..steps {
        let x = numbers(100 + step as u32, &[ROWS, INPUTS], |x| x, dtype, device)?;
        let target = x.clone().slice(1, 0..1)?.mul_scalar(4.0)?;
        let loss = loss::huber(network.forward(x)?, &target, DELTA)?;
        losses.push(loss.clone().detach().to(&Device::cpu())?.cast(DType::F64)?.item::<f64>()?);
        loss.backward()?;
        optimizer.step(lr)?;
    }
    Ok(losses)
}

fn network(dtype: DType, device: &Device) -> Result<Sequential> {
    let builder = Builder::random(0, dtype, device);
    let linear = |inputs, outputs, activation| {
        move |b: &Builder<'_>| Ok(Linear::new(b, inputs, outputs)?.with_activation(activation))
    };
    let norm = |b: &Builder<'_>| LayerNorm::new(b, HIDDEN);
    let network = Sequential::new()
        .then(&builder, linear(INPUTS, HIDDEN, Activation::Relu))?
        .then(&builder, norm)?
        .then(&builder, linear(HIDDEN, HIDDEN, Activation::Relu))?
        .then(&builder, norm)?
        .then(&builder, linear(HIDDEN, 1, Activation::Identity))?;
    for (i, parameter) in network.parameters().into_iter().enumerate() {
        // The weights of norms are around 1.
        let base = if matches!(i, 2 | 6) { 1.0 } else { 0.0 };
        let start = numbers(i as u32, &parameter.shape(), |x| base + 0.25 * x, dtype, device)?;
        parameter.update(|x| x.copy_(&start))?;
    }
    Ok(network)
}

/// What `of` makes of numbers in `[-1, 1)`, which f32 holds exactly: those of `numbers` in `golden/curve.py`.
fn numbers(
    seed: u32,
    shape: &[usize],
    of: impl Fn(f32) -> f32,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        of((state >> 8) as f32 / 8_388_608.0 - 1.0)
    };
    let values: Vec<f32> = std::iter::repeat_with(next).take(shape.iter().product()).collect();
    Tensor::from_slice(&values, shape, device)?.cast(dtype)
}
