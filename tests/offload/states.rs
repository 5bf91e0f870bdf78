//! Networks whose optimizer has its states in host memory, most with their saved tensors there too.

use super::bits;
use proptest::prelude::*;
use taut::{
    Activation, Budget, DType, Device, Error, ErrorKind, HostStats, Kind, Result, Stats, Tensor,
    optim::{AdamW, Rule},
    save_on_host, scope,
};
use taut_nn::{Builder, Layer, Mlp, Module, Optimizer, Parameter, States};
use taut_tests::{At, Check, Suite, figures, kind_of};

pub(super) fn trials(suite: &mut Suite) {
    suite.real("offload::planned", planned);
    suite.alone(|suite| suite.everywhere("offload::steps_repeat", steps_repeat));
    suite.real("offload::states_are_the_same", states_are_the_same);
    suite.real("offload::states_go_on_elsewhere", states_go_on_elsewhere);
    suite.everywhere("offload::states_of_two_at_a_time", states_of_two_at_a_time);
    suite.everywhere("offload::out_of_memory_anywhere", out_of_memory_anywhere);
}

/// A network whose saved tensors and states are large enough to go out.
struct Run {
    network: Mlp,
    optimizer: Optimizer,
}

impl Run {
    fn new(device: &Device, dtype: DType, states: States, on_host: bool) -> Result<Run> {
        let network =
            Mlp::new(&Builder::random(3, dtype, device), &[64, 192, 256, 192, 16], Activation::Relu)?;
        network.train()?;
        let rule = Rule::AdamW(AdamW::default());
        let optimizer = match on_host {
            true => Optimizer::on_host(rule, &network, states)?,
            false => Optimizer::new(rule, &network, states)?,
        };
        Ok(Run { network, optimizer })
    }

    fn loss(&self, step: u64) -> Result<Tensor> {
        let first = self.network.parameters()[0].tensor();
        let (dtype, device) = (first.dtype(), first.device().clone());
        let x = Tensor::normal([384, 64], 0.0, 1.0, 100 + step, DType::F32, &device)?.cast(dtype)?;
        self.network.forward(x)?.square()?.mean(&[])
    }

    fn step(&mut self, step: u64, saved_on_host: bool, in_backward: bool) -> Result<()> {
        let loss = if saved_on_host { save_on_host(|| self.loss(step)) } else { self.loss(step) }?;
        if in_backward {
            return self.optimizer.backward(loss, 0.01);
        }
        loss.backward()?;
        self.optimizer.step(0.01)
    }

    /// Parameters and states.
    fn values(&self) -> Result<Vec<Vec<u32>>> {
        let parameters = self.network.parameters().into_iter().map(Parameter::tensor);
        let states = self.optimizer.states()?.into_iter().map(|(_, x)| x);
        parameters.chain(states).map(|x| bits(&x)).collect()
    }
}

/// All that a plan promises.
fn promised(device: &Device) -> (Stats, HostStats) {
    (figures(device), device.host_stats())
}

/// The plan is right to the byte, on the device and beside it, after each of three steps.
fn planned(at: &At) -> Check {
    for (dtype, states) in [(DType::F32, States::Full), (DType::BF16, States::Codes)] {
        for in_backward in [false, true] {
            let steps = |device: Device| -> Result<Vec<(Stats, HostStats)>> {
                let mut run = Run::new(&device, dtype, states, true)?;
                let mut all = vec![promised(&device)];
                for step in 0..3 {
                    run.step(step, true, in_backward)?;
                    all.push(promised(&device));
                }
                Ok(all)
            };
            let measured = steps(at.fresh()?)?;
            let plan = steps(Device::plan(at.device.spec()))?;
            prop_assert!(
                measured == plan,
                "{} in_backward {}: {:?} {:?}",
                dtype,
                in_backward,
                measured,
                plan
            );
        }
    }
    Ok(())
}

/// From the second step on nothing is asked of the system, for the device or the host.
fn steps_repeat(at: &At) -> Check {
    for in_backward in [false, true] {
        let device = at.fresh()?;
        let mut run = Run::new(&device, DType::F32, States::Full, true)?;
        (0..2).try_for_each(|step| run.step(step, true, in_backward))?;
        let (host, calls, live) = (device.host_stats(), device.pool().calls(), device.stats().live_bytes);
        let pinned = device.gpu().map(|gpu| gpu.pinned_bytes());
        prop_assert!(host.live_bytes > 0 && host.peak_live_bytes > host.live_bytes, "{:?}", host);
        (2..6).try_for_each(|step| run.step(step, true, in_backward))?;
        prop_assert_eq!(device.host_stats(), host);
        prop_assert_eq!(device.pool().calls(), calls);
        prop_assert_eq!(device.stats().live_bytes, live);
        prop_assert_eq!(device.gpu().map(|gpu| gpu.pinned_bytes()), pinned);
    }
    Ok(())
}

/// Parameters and states are those of a run whose states are on the device, to the bit, after the backward and inside of it.
fn states_are_the_same(at: &At) -> Check {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for states in [States::Full, States::Codes] {
            let run = |on_host: bool, in_backward: bool| -> Result<Vec<Vec<u32>>> {
                let mut run = Run::new(&at.device, dtype, states, on_host)?;
                (0..4).try_for_each(|step| run.step(step, on_host, in_backward))?;
                run.values()
            };
            let plain = run(false, false)?;
            prop_assert!(run(true, false)? == plain, "{} {:?}", dtype, states);
            prop_assert!(run(true, true)? == plain, "{} {:?} in backward", dtype, states);
        }
    }
    // With all gradients clipped and scaled.
    let clipped = |on_host: bool| -> Result<Vec<Vec<u32>>> {
        let mut run = Run::new(&at.device, DType::F32, States::Full, on_host)?;
        run.optimizer = run.optimizer.with_max_norm(1e-3).with_loss_scale(64.0)?;
        for step in 0..3 {
            run.optimizer
                .scaled(run.loss(step)?.mul_scalar(if step == 1 { f64::NAN } else { 1.0 })?)?
                .backward()?;
            run.optimizer.step(0.01)?;
        }
        run.values()
    };
    prop_assert!(clipped(true)? == clipped(false)?, "clipped");
    Ok(())
}

/// What a run on the device kept, one on the host takes up, and the other way round.
fn states_go_on_elsewhere(at: &At) -> Check {
    let run = |places: [bool; 2]| -> Result<Vec<Vec<u32>>> {
        let mut first = Run::new(&at.device, DType::BF16, States::Full, places[0])?;
        (0..2).try_for_each(|step| first.step(step, false, false))?;
        let mut second = Run::new(&at.device, DType::BF16, States::Full, places[1])?;
        for (new, old) in second.network.parameters().into_iter().zip(first.network.parameters()) {
            new.update(|x| x.copy_(&old.tensor().detach()))?;
        }
        let states = first.optimizer.states()?;
        second.optimizer.restore(|wanted| {
            let found = states.iter().find(|(name, _)| name == wanted);
            found.map(|(_, x)| x.clone()).ok_or_else(|| Error::new(ErrorKind::Value, wanted))
        })?;
        drop(states);
        (2..4).try_for_each(|step| second.step(step, false, false))?;
        second.values()
    };
    let plain = run([false, false])?;
    for places in [[false, true], [true, false], [true, true]] {
        prop_assert!(run(places)? == plain, "{:?}", places);
    }
    Ok(())
}

/// The device holds the states of two parameters at once at most, beside those that are small.
fn states_of_two_at_a_time(at: &At) -> Check {
    let optimizer = Kind::Optimizer as usize;
    for in_backward in [false, true] {
        let device = at.fresh()?;
        let mut run = Run::new(&device, DType::F32, States::Full, true)?;
        let small = device.stats().live_by_kind[optimizer];
        // Of the biases, of the first and the last weight, and the number of steps.
        prop_assert_eq!(small, 8 * (192 + 256 + 192 + 16 + 64 * 192 + 192 * 16) + 4);
        let large = 8 * 192 * 256;
        for step in 0..3 {
            device.pool().reset_peaks();
            run.step(step, false, in_backward)?;
            let stats = device.stats();
            prop_assert_eq!(stats.live_by_kind[optimizer], small);
            let peak = stats.peak_by_kind[optimizer] - small;
            prop_assert!(peak == 2 * large, "{} bytes, in backward {}", peak, in_backward);
        }
    }
    // A parameter that someone holds can not be changed: nor are the others.
    let device = at.fresh()?;
    let mut run = Run::new(&device, DType::F32, States::Full, true)?;
    let before = if device.is_plan() { Vec::new() } else { run.values()? };
    run.loss(0)?.backward()?;
    let held = run.network.parameters()[2].tensor();
    prop_assert_eq!(kind_of(run.optimizer.step(0.1))?, ErrorKind::Shared);
    drop(held);
    prop_assert!(device.is_plan() || run.values()? == before);
    Ok(())
}

/// Steps with room for some bytes more each time: after an error parameters, states and bytes are as before, here and there.
fn out_of_memory_anywhere(at: &At) -> Check {
    let device = at.fresh()?;
    let mut run = Run::new(&device, DType::F32, States::Full, true)?;
    let before = (device.stats().live_bytes, device.host_stats().live_bytes);
    let values = if device.is_plan() { Vec::new() } else { run.values()? };
    let mut failures = 0;
    for room in (0..).step_by(24 << 10) {
        device.pool().scope("step").limit(Budget::Bytes(room))?;
        let done = {
            let _scope = scope("step");
            run.step(0, true, false)
        };
        match done {
            Ok(()) => break,
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{}", error),
        }
        failures += 1;
        prop_assert_eq!((device.stats().live_bytes, device.host_stats().live_bytes), before);
        prop_assert!(run.network.parameters().iter().all(|x| x.take_grad().is_none()));
        if !device.is_plan() {
            prop_assert!(run.values()? == values, "after failure {}", failures);
        }
    }
    prop_assert!(failures > 20, "only {}", failures);
    prop_assert_eq!((device.stats().live_bytes, device.host_stats().live_bytes), before);
    Ok(())
}
