//! Training: a run that stops goes on as if it had not, and faults lose nothing.

mod scale;

use proptest::prelude::*;
use std::{collections::BTreeMap, path::Path};
use taut::{
    Activation, Budget, DType, Device, Error, ErrorKind, Result, Tensor,
    optim::{AdamW, Rule},
    scope, seed,
};
use taut_nn::{
    Builder, Layer, Mlp, Module, Optimizer, Parameter, States, Weights, epoch, gather_rows, loss, prefetch,
    save,
};
use taut_tests::{At, Check, Suite, fail, kind_of};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("training::a_stopped_run_goes_on", a_stopped_run_goes_on);
    suite.real("training::update_in_backward_is_the_update", update_in_backward_is_the_update);
    suite.real(
        "training::inside_of_the_backward_gradients_stand_alone",
        inside_of_the_backward_gradients_stand_alone,
    );
    suite.real("training::learning_rates_of_the_device", learning_rates_of_the_device);
    suite.real("training::parts_of_a_batch_are_the_batch", parts_of_a_batch_are_the_batch);
    suite.real("training::infinite_gradients_change_nothing", scale::infinite_gradients_change_nothing);
    suite.real(
        "training::a_scale_comes_down_until_gradients_fit",
        scale::a_scale_comes_down_until_gradients_fit,
    );
    suite.real(
        "training::without_a_norm_nan_goes_where_it_belongs",
        scale::without_a_norm_nan_goes_where_it_belongs,
    );
    suite.everywhere(
        "training::out_of_memory_anywhere_changes_nothing",
        out_of_memory_anywhere_changes_nothing,
    );
    suite.everywhere("training::refused", refused);
    suite.cpu("training::batches", batches);
}

/// A network with dropout between its layers, and its optimizer.
pub(crate) struct Run {
    network: Mlp,
    optimizer: Optimizer,
}

impl Run {
    pub(crate) fn new(device: &Device, dtype: DType, states: States) -> Result<Run> {
        let network = Mlp::new(&Builder::random(3, dtype, device), &[8, 96, 96, 2], Activation::Relu)?;
        network.train()?;
        let optimizer = Optimizer::new(Rule::AdamW(AdamW::default()), &network, states)?;
        Ok(Run { network, optimizer })
    }

    fn loss(&self, step: u64, rows: std::ops::Range<usize>) -> Result<Tensor> {
        let first = self.network.parameters()[0].tensor();
        let (dtype, device) = (first.dtype(), first.device().clone());
        let x = Tensor::normal([64, 8], 0.0, 1.0, 100 + step, DType::F32, &device)?.cast(dtype)?;
        let target = x.clone().slice(1, 0..2)?.square()?;
        let (x, target) = (x.slice(0, rows.clone())?, target.slice(0, rows)?);
        let mut h = x;
        for layer in self.network.layers() {
            h = layer.forward(h)?.dropout(0.1, seed::next())?;
        }
        loss::mean_squared(h.cast(DType::F32)?, &target.cast(DType::F32)?)
    }

    pub(crate) fn steps(&mut self, steps: std::ops::Range<u64>) -> Result<()> {
        for step in steps {
            self.loss(step, 0..64)?.backward()?;
            self.optimizer.step(0.01)?;
        }
        Ok(())
    }

    fn values(&self) -> Result<Vec<Vec<f32>>> {
        let values = |x: &Parameter| x.tensor().detach().cast(DType::F32)?.to_vec::<f32>();
        self.network.parameters().into_iter().map(values).collect()
    }

    /// How many steps were done.
    pub(crate) fn count(&self) -> Result<u64> {
        Ok(number(self, "step")? as u64)
    }

    /// Writes all that a run is made of.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let parameters = self.network.parameters().into_iter().map(|x| (x.name().to_owned(), x.tensor()));
        let states = self.optimizer.states()?.into_iter().map(|(name, x)| (format!("optimizer.{name}"), x));
        let all: Vec<(String, Tensor)> = parameters.chain(states).collect();
        let seed = BTreeMap::from([("seed".to_owned(), seed::state().to_string())]);
        save(path, all.iter().map(|(name, x)| (name.clone(), x)), &seed)
    }

    /// Takes up what was written.
    pub(crate) fn load(&mut self, path: &Path) -> Result<()> {
        let weights = Weights::open(path)?;
        let device = self.optimizer.device().clone();
        for parameter in self.network.parameters() {
            let new = weights.get(parameter.name())?.load(parameter.dtype(), &device)?;
            parameter.update(|x| x.copy_(&new))?;
        }
        self.optimizer.restore(|name| {
            let entry = weights.get(&format!("optimizer.{name}"))?;
            let dtype =
                if name.ends_with(".codes") || is_planes(name, &weights) { DType::U8 } else { DType::F32 };
            entry.load(dtype, &device)
        })?;
        let seed = weights.metadata().get("seed").and_then(|seed| seed.parse().ok());
        seed::set(seed.ok_or_else(|| Error::new(ErrorKind::Value, "the file has no seed"))?);
        Ok(())
    }
}

/// The master of a parameter of 16 bits is bytes.
fn is_planes(name: &str, weights: &Weights) -> bool {
    let of = name.strip_suffix(".master").and_then(|name| weights.get(name).ok());
    of.is_some_and(|entry| [taut_nn::Stored::F16, taut_nn::Stored::BF16].contains(&entry.stored()))
}

/// Ten steps are the same to the bit as five, a save, a new process as it were, and five more: with all states.
fn a_stopped_run_goes_on(at: &At) -> Check {
    let folder = tempfile::tempdir().map_err(|error| fail(error.to_string()))?;
    for (dtype, states) in
        [(DType::F32, States::Full), (DType::BF16, States::Codes), (DType::F16, States::Full)]
    {
        seed::set(9);
        let mut whole = Run::new(&at.device, dtype, states)?;
        whole.steps(0..10)?;
        seed::set(9);
        let mut first = Run::new(&at.device, dtype, states)?;
        first.steps(0..5)?;
        let path = folder.path().join(format!("{dtype}.safetensors"));
        first.save(&path)?;
        drop(first);
        seed::set(1234);
        let mut second = Run::new(&at.device, dtype, states)?;
        second.load(&path)?;
        second.steps(5..10)?;
        prop_assert!(second.values()? == whole.values()?, "{}", dtype);
        let state = |run: &Run| -> Result<Vec<Vec<f32>>> {
            let states = run.optimizer.states()?.into_iter();
            states.map(|(_, x)| x.cast(DType::F32)?.to_vec::<f32>()).collect()
        };
        prop_assert!(state(&second)? == state(&whole)?, "states of {}", dtype);
    }
    Ok(())
}

/// Inside of the backward or after it: the same weights, to the bit.
fn update_in_backward_is_the_update(at: &At) -> Check {
    for (dtype, scale) in [(DType::F32, None), (DType::BF16, None), (DType::F16, Some(1024.0))] {
        let run = || {
            seed::set(2);
            let mut run = Run::new(&at.device, dtype, States::Full)?;
            if let Some(scale) = scale {
                run.optimizer = run.optimizer.with_loss_scale(scale)?;
            }
            Ok::<Run, Error>(run)
        };
        let mut after = run()?;
        for step in 0..5 {
            after.optimizer.scaled(after.loss(step, 0..64)?)?.backward()?;
            after.optimizer.step(0.01)?;
        }
        let mut inside = run()?;
        for step in 0..5 {
            let loss = inside.loss(step, 0..64)?;
            inside.optimizer.backward(loss, 0.01)?;
        }
        prop_assert!(inside.values()? == after.values()?, "{}", dtype);
    }
    Ok(())
}

/// With a scale, inside of the backward, a parameter whose gradient is not finite stays, another changes, and the scale is halved.
fn inside_of_the_backward_gradients_stand_alone(at: &At) -> Check {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let layer = Mlp::new(&Builder::random(3, dtype, &at.device), &[4, 2], Activation::Identity)?;
        layer.train()?;
        let optimizer = Optimizer::new(Rule::AdamW(AdamW::default()), &layer, States::Full)?;
        let mut run = optimizer.with_loss_scale(1024.0)?;
        let [weight, bias] = layer.parameters()[..] else { return Err(fail("two parameters")) };
        let values = |x: &Parameter| x.tensor().detach().cast(DType::F32)?.to_vec::<f32>();
        let numbers = |run: &Optimizer| -> Result<Vec<f32>> {
            let states =
                run.states()?.into_iter().filter(|(name, _)| name.contains("step") || name == "loss_scale");
            states.map(|(_, x)| x.item::<f32>()).collect()
        };
        let mut before = [values(weight)?, values(bias)?];
        // Gradients: of the weight the input, of the bias 1.
        for (input, numbers_after) in [(f64::INFINITY, [1.0, 512.0, 0.0]), (2.0, [2.0, 512.0, 1.0])] {
            let x = Tensor::full([1, 4], input, dtype, &at.device)?;
            run.backward(layer.forward(x)?.sum(&[])?, 0.01)?;
            let after = [values(weight)?, values(bias)?];
            prop_assert_eq!(after[0] != before[0], input.is_finite(), "{} by {}", dtype, input);
            prop_assert!(after[1].iter().zip(&before[1]).all(|(a, b)| a < b), "{} by {}", dtype, input);
            prop_assert_eq!(numbers(&run)?, numbers_after);
            before = after;
        }
    }
    Ok(())
}

/// A schedule that runs on the device: its learning rates are those of the host, to the bit, and nobody reads them.
fn learning_rates_of_the_device(at: &At) -> Check {
    let rates = [0.01f32, 0.005, 0.0025, 0.00125];
    let mut runs = Vec::new();
    for of_the_device in [false, true] {
        seed::set(2);
        let mut run = Run::new(&at.device, DType::BF16, States::Full)?;
        let mut rate = Tensor::full([], f64::from(rates[0]), DType::F32, &at.device)?;
        for (step, lr) in (0u64..).zip(rates) {
            let loss = run.loss(step, 0..64)?;
            match (of_the_device, step % 2) {
                (false, 0) => loss.backward().and_then(|()| run.optimizer.step(lr))?,
                (false, _) => run.optimizer.backward(loss, lr)?,
                (true, 0) => loss.backward().and_then(|()| run.optimizer.step(&rate))?,
                (true, _) => run.optimizer.backward(loss, &rate)?,
            }
            rate = rate.mul_scalar(0.5)?;
        }
        runs.push(run.values()?);
    }
    prop_assert!(runs[0] == runs[1]);
    Ok(())
}

/// The gradients of two halves of a batch add up to those of the whole, but for rounding.
fn parts_of_a_batch_are_the_batch(at: &At) -> Check {
    let run = Run::new(&at.device, DType::F32, States::Full)?;
    let gradients = |parts: &[(usize, usize)]| -> Result<Vec<Vec<f32>>> {
        for &(start, end) in parts {
            // Without dropout, which would drop other elements.
            let x = Tensor::normal([64, 8], 0.0, 1.0, 5, DType::F32, &at.device)?.slice(0, start..end)?;
            let target = x.clone().slice(1, 0..2)?.square()?;
            let loss = loss::mean_squared(run.network.forward(x)?, &target)?;
            loss.mul_scalar((end - start) as f64 / 64.0)?.backward()?;
        }
        let grad = |x: &Parameter| x.take_grad().ok_or_else(|| Error::grad("none"))?.to_vec::<f32>();
        run.network.parameters().into_iter().map(grad).collect()
    };
    let whole = gradients(&[(0, 64)])?;
    let parts = gradients(&[(0, 32), (32, 64)])?;
    for (whole, parts) in whole.iter().flatten().zip(parts.iter().flatten()) {
        prop_assert!((whole - parts).abs() <= 1e-5 * (1.0 + whole.abs()), "{} and {}", whole, parts);
    }
    Ok(())
}

/// Steps with room for one allocation more each time: the error comes everywhere once, and after each of them parameters, states and
/// live bytes are as before.
fn out_of_memory_anywhere_changes_nothing(at: &At) -> Check {
    let device = at.fresh()?;
    let mut run = Run::new(&device, DType::F32, States::Full)?;
    let before = device.stats().live_bytes;
    let values = if device.is_plan() { Vec::new() } else { run.values()? };
    let mut failures = 0;
    for most in (before..).step_by(1024) {
        device.pool().scope("step").limit(Budget::Bytes(most - before))?;
        let done = {
            let _scope = scope("step");
            run.steps(0..1)
        };
        match done {
            Ok(()) => break,
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{}", error),
        }
        failures += 1;
        prop_assert_eq!(device.stats().live_bytes, before);
        prop_assert!(run.network.parameters().iter().all(|x| x.take_grad().is_none()));
        if !device.is_plan() {
            prop_assert!(run.values()? == values, "after failure {}", failures);
        }
    }
    prop_assert!(failures > 20, "only {}", failures);
    prop_assert_eq!(device.stats().live_bytes, before);
    Ok(())
}

/// What can not be right is refused before anything is done.
fn refused(at: &At) -> Check {
    let device = at.fresh()?;
    let network = Mlp::new(&Builder::random(3, DType::F32, &device), &[8, 4], Activation::Relu)?;
    let rule = Rule::AdamW(AdamW::default());
    prop_assert_eq!(kind_of(Optimizer::new(rule, &network, States::Full))?, ErrorKind::Value);
    network.train()?;
    let mut clipped = Optimizer::new(rule, &network, States::Full)?.with_max_norm(1.0);
    let x = Tensor::zeros([2, 8], DType::F32, &device)?;
    let loss = || network.forward(x.clone())?.square()?.mean(&[]);
    prop_assert_eq!(kind_of(clipped.backward(loss()?, 0.1))?, ErrorKind::Grad);
    // A parameter that someone holds can not be changed.
    let mut optimizer = Optimizer::new(rule, &network, States::Full)?;
    let held = network.parameters()[0].tensor();
    loss()?.backward()?;
    prop_assert_eq!(kind_of(optimizer.step(0.1))?, ErrorKind::Shared);
    drop(held);
    loss()?.backward()?;
    optimizer.step(0.1)?;
    // One that is frozen does not learn.
    network.freeze();
    prop_assert_eq!(kind_of(loss()?.backward())?, ErrorKind::Grad);
    Ok(())
}

/// Every row once in an epoch, in another order in the next; errors end it.
fn batches(_: &At) -> Check {
    for (len, batch) in [(0, 1), (1, 1), (10, 3), (1000, 64)] {
        let mut seen: Vec<usize> = epoch(len, batch, 1).flatten().collect();
        prop_assert_eq!(seen.len(), len / batch * batch);
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), len / batch * batch);
    }
    let mut got = Vec::new();
    let made = |i: u64| if i < 7 { Ok(i) } else { Err(Error::new(ErrorKind::Value, "seven")) };
    let result = prefetch(0..10, 3, made, |i| {
        got.push(i);
        Ok(())
    });
    prop_assert_eq!(kind_of(result)?, ErrorKind::Value);
    prop_assert_eq!(got, (0..7).collect::<Vec<_>>());
    let stopped = prefetch(0..10u64, 1, Ok, |i| if i < 3 { Ok(()) } else { made(7).map(drop) });
    prop_assert_eq!(kind_of(stopped)?, ErrorKind::Value);
    prop_assert_eq!(kind_of(gather_rows(&[0; 8], 2, &[4]))?, ErrorKind::Value);
    Ok(())
}

fn number(run: &Run, wanted: &str) -> Result<f32> {
    let found = run.optimizer.states()?.into_iter().find(|(name, _)| name == wanted);
    found.ok_or_else(|| Error::grad(format!("no {wanted}")))?.1.item::<f32>()
}
