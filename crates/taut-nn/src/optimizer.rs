//! Optimizers of the parameters of a network, and the states they keep.

mod saved;

use crate::{
    Module, Parameter, States,
    scale::LossScale,
    states::{Held, Place},
};
use std::collections::BTreeMap;
use taut::{
    DType, Device, Error, ErrorKind, Kind, Number, Result, Tensor, multi,
    optim::{self, Control, Rule, Step},
    scope,
};

/// An optimizer of some parameters: one launch for all of them, in place.
///
/// What a step needs as numbers, how many there were, and whether a gradient was infinite, stays on the device: nothing waits.
/// 16-bit parameters get a master, so that steps that are too small for them add up: 2 bytes beside each element, which
/// make it the f32 that it is rounded from.
///
/// ```
/// use taut::{Activation, DType, Device, Tensor, optim::{AdamW, Rule}};
/// use taut_nn::{Builder, Layer, Mlp, Module, Optimizer, States, loss};
///
/// let device = Device::cpu();
/// let network = Mlp::new(&Builder::random(1, DType::F32, &device), &[2, 32, 1], Activation::Relu)?;
/// network.train()?;
/// let mut optimizer = Optimizer::new(Rule::AdamW(AdamW::default()), &network, States::Full)?;
/// // Is the product of two numbers positive?
/// let x = Tensor::uniform([256, 2], -1.0, 1.0, 7, DType::F32, &device)?;
/// let sides = x.clone().split(1, &[1, 1])?;
/// let target = sides[0].clone().mul(&sides[1])?.sign()?;
/// let mut losses = Vec::new();
/// for _ in 0..100 {
///     let loss = loss::mean_squared(network.forward(x.clone())?, &target)?;
///     losses.push(loss.item::<f32>()?);
///     loss.backward()?;
///     optimizer.step(0.01)?;
/// }
/// assert!(losses[99] < 0.5 * losses[0]);
/// # Ok::<(), taut::Error>(())
/// ```
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    slots: Vec<Slot>,
    /// Steps that were done, one f32.
    count: Tensor,
    max_norm: f32,
    scale: Option<LossScale>,
    /// In which order states came from the host in the last [`backward`](Self::backward).
    turns: Vec<usize>,
}

/// A parameter with its states.
#[derive(Debug)]
struct Slot {
    parameter: Parameter,
    place: Place,
}

impl Optimizer {
    /// Of the parameters of `module` that [learn](Parameter::train). States begin as zeros.
    ///
    /// # Errors
    ///
    /// [`Value`](ErrorKind::Value) if none learns, [`Device`](ErrorKind::Device) if they are on several devices,
    /// [`OutOfMemory`](ErrorKind::OutOfMemory) if there is no room for the states.
    pub fn new(rule: Rule, module: &impl Module, states: States) -> Result<Optimizer> {
        Optimizer::with_places(rule, module, states, &|held| Ok(Place::Device(held)))
    }

    /// [`new`](Self::new) with states in [host memory](taut::Offloaded), moments and masters, but for those of parameters that
    /// have less than 128 KiB of them. A step lets them come one parameter after the other, the next one while the present one
    /// is changed, and go back: the device holds those of two parameters at once at most, also while this makes them. Values
    /// are the same to the bit. Within [`backward`](Self::backward) the copies take place beside its other work.
    ///
    /// Source: Ren et al., "ZeRO-Offload: democratizing billion-scale model training", 2021, but for the place of the step.
    ///
    /// ```
    /// use taut::{DType, Device, Kind, optim::{AdamW, Rule}};
    /// use taut_nn::{Builder, Layer, Linear, Module, Optimizer, States};
    ///
    /// let device = Device::cpu().fresh()?;
    /// let layer = Linear::new(&Builder::random(1, DType::F32, &device), 512, 512)?;
    /// layer.train()?;
    /// let optimizer = Optimizer::on_host(Rule::AdamW(AdamW::default()), &layer, States::Full)?;
    /// assert_eq!(device.host_stats().live_bytes, 2 * 512 * 512 * 4);
    /// // Those of the bias, and the number of steps.
    /// assert_eq!(device.stats().live_by_kind[Kind::Optimizer as usize], 2 * 512 * 4 + 4);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); [`OutOfMemory`](ErrorKind::OutOfMemory) if the host has no room either.
    pub fn on_host(rule: Rule, module: &impl Module, states: States) -> Result<Optimizer> {
        Optimizer::with_places(rule, module, states, &Place::host)
    }

    fn with_places(
        rule: Rule,
        module: &impl Module,
        states: States,
        place: &dyn Fn(Held<Tensor>) -> Result<Place>,
    ) -> Result<Optimizer> {
        let _scope = scope("optimizer");
        let mut parameters = module.parameters();
        parameters.retain(|parameter| parameter.is_trained());
        // Tied weights are one parameter.
        let mut numbers = Vec::new();
        parameters.retain(|parameter| {
            let number = parameter.tensor().grad_number();
            let is_new = !numbers.contains(&number);
            numbers.push(number);
            is_new
        });
        let Some(device) = parameters.first().map(|first| first.tensor().device().clone()) else {
            let message = "optimizer: no parameter learns; call `train` on the network first";
            return Err(Error::new(ErrorKind::Value, message));
        };
        if let Some(other) = parameters.iter().find(|parameter| *parameter.tensor().device() != device) {
            let (name, other) = (other.name(), other.tensor().device().clone());
            return Err(Error::device(format!("optimizer: {name:?} is on {other}, others on {device}")));
        }
        let slot = |parameter: &&Parameter| {
            let place = place(Held::new(&parameter.tensor(), rule, states)?)?;
            Ok(Slot { parameter: (*parameter).clone(), place })
        };
        let slots = parameters.iter().map(slot).collect::<Result<_>>()?;
        let count = Tensor::zeros([], DType::F32, &device)?.with_kind(Kind::Optimizer)?;
        Ok(Optimizer { rule, slots, count, max_norm: f32::INFINITY, scale: None, turns: Vec::new() })
    }

    /// With gradients scaled down where the norm of all of them together is larger than `max_norm`.
    pub fn with_max_norm(self, max_norm: f32) -> Optimizer {
        Optimizer { max_norm, ..self }
    }

    /// With losses [scaled](Self::scaled), so that small gradients of f16 do not vanish: by `scale` at first, by half of it
    /// from a step on whose gradients were not finite, which is not done, and by twice that after 2,000 steps without. Within
    /// [`backward`](Self::backward) each parameter goes by its own gradient.
    ///
    /// Source: Micikevicius et al., "Mixed precision training", 2018.
    ///
    /// # Errors
    ///
    /// As [`Tensor::full`].
    pub fn with_loss_scale(self, scale: f32) -> Result<Optimizer> {
        let scale = Some(LossScale::new(scale, self.count.device())?);
        Ok(Optimizer { scale, ..self })
    }

    /// `loss` times the present scale, in f32, to call [`backward`](Tensor::backward) on; as it is if there is none. What the
    /// network said should have been cast to f32 before the loss was made of it: the scale itself is too large for f16.
    ///
    /// # Errors
    ///
    /// As [`Tensor::mul`].
    pub fn scaled(&self, loss: Tensor) -> Result<Tensor> {
        self.scale.as_ref().map_or(Ok(loss.clone()), |scale| scale.apply(loss))
    }

    /// Changes every parameter that has a gradient, with this learning rate, a number of the host or, for a schedule that runs
    /// on the device, a tensor with one element, and drops the gradients. If the gradients are
    /// clipped or scaled and one is not finite, nothing is changed; if they are neither, what follows from NaN is NaN: the
    /// weights that it is the gradient of, and their states.
    ///
    /// # Errors
    ///
    /// [`Shared`](ErrorKind::Shared) if anyone holds a parameter, or a graph that no backward has been through,
    /// [`OutOfMemory`](ErrorKind::OutOfMemory) if there is no room for states that come from the host: nothing is changed then,
    /// and the gradients are gone.
    pub fn step<'a>(&mut self, lr: impl Into<Number<'a>>) -> Result<()> {
        let lr = lr.into();
        let _scope = scope("optimizer");
        let grads: Vec<Option<Tensor>> = self.slots.iter().map(|slot| slot.parameter.take_grad()).collect();
        let all: Vec<&Tensor> = grads.iter().flatten().collect();
        if all.is_empty() {
            return Ok(());
        }
        let norm = match self.scale.is_some() || self.max_norm.is_finite() {
            true => Some(multi::norm(&all)?),
            false => None,
        };
        let turns: Vec<usize> =
            (0..grads.len()).filter(|&i| grads[i].is_some() && self.slots[i].place.is_host()).collect();
        if !turns.is_empty() {
            // What is done one after the other can not be refused half way.
            self.ready(&grads, &turns)?;
        }
        optim::advance_(&mut self.count, norm.as_ref(), None)?;
        let inverse = self.scale.as_ref().map(LossScale::inverse).transpose()?;
        let control =
            Control { norm: norm.as_ref(), max_norm: self.max_norm, ..Control::new(lr, &self.count) };
        let control = match &inverse {
            Some(inverse) => Control { grad_scale: inverse.into(), ..control },
            None => control,
        };
        let pairs = self.slots.iter_mut().zip(&grads).filter(|(slot, _)| !slot.place.is_host());
        apply(self.rule, pairs.filter_map(|(slot, grad)| Some((slot, grad.as_ref()?))), &control)?;
        for (turn, &i) in turns.iter().enumerate() {
            let Some(grad) = &grads[i] else { continue };
            change(self.rule, &mut self.slots, i, turns.get(turn + 1).copied(), grad, &control)?;
        }
        if let (Some(scale), Some(norm)) = (&mut self.scale, &norm) {
            scale.follow(norm)?;
        }
        Ok(())
    }

    /// [`Tensor::backward`] of `loss`, in which each parameter is changed, with this learning rate, as soon as its gradient is
    /// whole: not all gradients exist together. `loss` is as it is, also where this [scales](Self::scaled) it: then a
    /// parameter whose gradient is not finite is not changed, and others are; the step counts.
    ///
    /// Source: Lv et al., "Full parameter fine-tuning for large language models with limited resources", 2023.
    ///
    /// # Errors
    ///
    /// [`Grad`](ErrorKind::Grad), before anything is done, if gradients are clipped: the norm of all of them comes too late,
    /// or if one is there from a backward before. As [`step`](Self::step); parameters that were changed by then stay changed,
    /// and the scale is as it was.
    pub fn backward<'a>(&mut self, loss: Tensor, lr: impl Into<Number<'a>>) -> Result<()> {
        if self.max_norm.is_finite() {
            return Err(Error::grad(
                "optimizer: the norm of all gradients is not known inside of the backward; use `step`",
            ));
        }
        let loss = self.scaled(loss)?;
        let inverse = self.scale.as_ref().map(LossScale::inverse).transpose()?;
        // The sum of all norms: not finite where one is not.
        let mut norms =
            inverse.is_some().then(|| Tensor::zeros([], DType::F32, self.device())).transpose()?;
        optim::advance_(&mut self.count, None, None)?;
        let places: BTreeMap<Option<u64>, usize> = self
            .slots
            .iter()
            .enumerate()
            .map(|(i, slot)| (slot.parameter.tensor().grad_number(), i))
            .collect();
        let (rule, slots, count, lr) = (self.rule, &mut self.slots, &self.count, lr.into());
        let (last, mut turns) = (std::mem::take(&mut self.turns), Vec::new());
        let mut ahead: Option<usize> = None;
        let done = loss.backward_each(|number, grad| {
            let Some(&i) = places.get(&Some(number)) else { return Ok(()) };
            let control = Control::new(lr, count);
            let norm = inverse.is_some().then(|| multi::norm(&[&grad])).transpose()?;
            let control = match (&inverse, &norm, norms.take()) {
                (Some(inverse), Some(norm), Some(before)) => {
                    norms = Some(before.add(norm)?);
                    Control { grad_scale: inverse.into(), norm: Some(norm), ..control }
                }
                _ => control,
            };
            if !slots[i].place.is_host() {
                return apply(rule, std::iter::once((&mut slots[i], &grad)), &control);
            }
            // What came in vain makes room.
            if let Some(other) = ahead.filter(|&other| other != i) {
                slots[other].place.forget();
            }
            ahead = next(&last, &turns, slots, i);
            turns.push(i);
            change(rule, slots, i, ahead, &grad, &control)
        });
        self.slots.iter_mut().for_each(|slot| slot.place.forget());
        self.turns = turns;
        done?;
        match (&mut self.scale, &norms) {
            (Some(scale), Some(norms)) => scale.follow(norms),
            _ => Ok(()),
        }
    }

    /// Refuses a step for which a parameter can not be changed, or there is no room for the states that come from the host.
    fn ready(&self, grads: &[Option<Tensor>], turns: &[usize]) -> Result<()> {
        for (slot, _) in self.slots.iter().zip(grads).filter(|(_, grad)| grad.is_some()) {
            if let Some(others) = slot.parameter.shared_with() {
                let name = slot.parameter.name();
                return Err(Error::shared(format!(
                    "optimizer: the parameter {name:?} is also held by {others}; drop it"
                )));
            }
        }
        let room = |i: usize| self.slots[i].place.room();
        for (turn, &i) in turns.iter().enumerate() {
            let own = room(i)?;
            turns.get(turn + 1).map_or(Ok(Vec::new()), |&next| room(next))?;
            drop(own);
        }
        Ok(())
    }

    /// Where it works.
    pub fn device(&self) -> &Device {
        self.count.device()
    }
}

/// Whose states are to come after those of slot `i`: as the last time, where there was one, and otherwise of the parameter
/// before it, since a backward goes from the end to the start.
fn next(last: &[usize], turns: &[usize], slots: &[Slot], i: usize) -> Option<usize> {
    let after = last.iter().position(|&turn| turn == i).and_then(|at| last.get(at + 1).copied());
    let before = || (0..i).rev().find(|&j| slots[j].place.is_host());
    if last.is_empty() { before() } else { after }.filter(|next| !turns.contains(next))
}

/// One step of a parameter whose states are on the host. Those of `next` come meanwhile.
fn change(
    rule: Rule,
    slots: &mut [Slot],
    i: usize,
    next: Option<usize>,
    grad: &Tensor,
    control: &Control<'_>,
) -> Result<()> {
    slots[i].place.fetch()?;
    let done = apply(rule, std::iter::once((&mut slots[i], grad)), control);
    if done.is_err() {
        slots[i].place.forget();
        return done;
    }
    // First, so that it does not wait for what goes out.
    let ahead = next.map_or(Ok(()), |next| slots[next].place.fetch_ahead());
    slots[i].place.store().and(ahead)
}

/// One step of some parameters, whose states have come.
fn apply<'a>(
    rule: Rule,
    pairs: impl Iterator<Item = (&'a mut Slot, &'a Tensor)>,
    control: &Control<'_>,
) -> Result<()> {
    let mut parts: Vec<_> = pairs
        .filter_map(|(Slot { parameter, place }, grad)| Some((parameter.write(), place.here()?, grad)))
        .collect();
    let steps = parts.iter_mut().map(|(parameter, held, grad)| {
        let (master, [first, second]) = held.parts();
        Step { param: &mut *parameter, grad, master, first, second }
    });
    optim::step_(rule, &mut steps.collect::<Vec<_>>(), control)
}
