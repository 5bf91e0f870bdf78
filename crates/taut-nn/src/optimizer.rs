//! Optimizers of the parameters of a network, and the states they keep.

use crate::{Module, Parameter, scale::LossScale};
use std::collections::BTreeMap;
use taut::{
    DType, Device, Error, ErrorKind, Kind, Result, Tensor, multi,
    optim::{self, CODE_BLOCK, Control, Moment, Rule, Step},
    scope,
};

/// What an optimizer keeps of each moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum States {
    /// 4 bytes for each element.
    #[default]
    Full,
    /// A code of 8 bits for each element, and 4 bytes for each 256 of them. Parameters of fewer than 4,096 elements, whose
    /// states weigh nothing, keep theirs in full.
    ///
    /// Source: Dettmers et al., "8-bit optimizers via block-wise quantization", 2021.
    Codes,
}

/// Parameters of fewer elements keep their states in full.
const LEAST_CODED: usize = 4096;

/// An optimizer of some parameters: one launch for all of them, in place.
///
/// What a step needs as numbers, how many there were, and whether a gradient was infinite, stays on the device: nothing waits.
/// 16-bit parameters get a master, so that steps that are too small for them add up: beside bf16 2 bytes for each element,
/// the lower half of the f32 whose upper half the parameter is; beside f16 4.
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
}

/// A parameter with its states.
#[derive(Debug)]
struct Slot {
    parameter: Parameter,
    master: Option<Tensor>,
    moments: Vec<State>,
}

#[derive(Debug)]
enum State {
    Full(Tensor),
    Codes { codes: Tensor, largest: Tensor },
}

impl State {
    fn new(x: &Tensor, states: States) -> Result<State> {
        let zeros = |n: usize, dtype| Tensor::zeros([n], dtype, x.device())?.with_kind(Kind::Optimizer);
        let n = x.numel();
        if states == States::Codes && n >= LEAST_CODED && x.dtype() != DType::F64 {
            return Ok(State::Codes {
                codes: zeros(n, DType::U8)?,
                largest: zeros(n.div_ceil(CODE_BLOCK), DType::F32)?,
            });
        }
        let dtype = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        Ok(State::Full(zeros(n, dtype)?))
    }

    fn moment(&mut self) -> Moment<'_> {
        match self {
            State::Full(tensor) => Moment::Full(tensor),
            State::Codes { codes, largest } => Moment::Codes { codes, largest },
        }
    }

    fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            State::Full(tensor) => vec![("", tensor)],
            State::Codes { codes, largest } => vec![(".codes", codes), (".largest", largest)],
        }
    }
}

impl Slot {
    fn new(parameter: &Parameter, rule: Rule, states: States) -> Result<Slot> {
        let x = parameter.tensor();
        let master = match x.dtype() {
            DType::BF16 => Some(Tensor::zeros([2 * x.numel()], DType::U8, x.device())?),
            DType::F16 => Some(x.clone().detach().cast(DType::F32)?),
            _ => None,
        };
        let master = master.map(|master| master.with_kind(Kind::Optimizer)).transpose()?;
        let moments = (0..rule.moments()).map(|_| State::new(&x, states)).collect::<Result<_>>()?;
        Ok(Slot { parameter: parameter.clone(), master, moments })
    }

    /// Its states, by names that begin with that of the parameter.
    fn states(&self) -> Vec<(String, &Tensor)> {
        let name = self.parameter.name();
        let master = self.master.iter().map(|master| (format!("{name}.master"), master));
        let moments = self.moments.iter().zip(["first", "second"]).flat_map(|(state, which)| {
            state.tensors().into_iter().map(move |(part, x)| (format!("{name}.{which}{part}"), x))
        });
        master.chain(moments).collect()
    }
}

impl Optimizer {
    /// Of the parameters of `module` that [learn](Parameter::train). States begin as zeros.
    ///
    /// # Errors
    ///
    /// [`Value`](ErrorKind::Value) if none learns, [`Device`](ErrorKind::Device) if they are on several devices,
    /// [`OutOfMemory`](ErrorKind::OutOfMemory) if there is no room for the states.
    pub fn new(rule: Rule, module: &impl Module, states: States) -> Result<Optimizer> {
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
        let slots = parameters.iter().map(|p| Slot::new(p, rule, states)).collect::<Result<_>>()?;
        let count = Tensor::zeros([], DType::F32, &device)?.with_kind(Kind::Optimizer)?;
        Ok(Optimizer { rule, slots, count, max_norm: f32::INFINITY, scale: None })
    }

    /// With gradients scaled down where the norm of all of them together is larger than `max_norm`.
    pub fn with_max_norm(self, max_norm: f32) -> Optimizer {
        Optimizer { max_norm, ..self }
    }

    /// With losses [scaled](Self::scaled), so that small gradients of f16 do not vanish: by `scale` at first, by half of it
    /// from a step on whose gradients were not finite, which is not done, and by twice that after 2,000 steps without.
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

    /// Changes every parameter that has a gradient, with this learning rate, and drops the gradients. If the gradients are
    /// clipped or scaled and one is not finite, nothing is changed; if they are neither, what follows from NaN is NaN: the
    /// weights that it is the gradient of, and their states.
    ///
    /// # Errors
    ///
    /// [`Shared`](ErrorKind::Shared) if anyone holds a parameter, or a graph that no backward has been through: nothing is
    /// changed then, and the gradients are gone.
    pub fn step(&mut self, lr: f32) -> Result<()> {
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
        optim::advance_(&mut self.count, norm.as_ref(), None)?;
        let inverse = self.scale.as_ref().map(LossScale::inverse).transpose()?;
        let control =
            Control { norm: norm.as_ref(), max_norm: self.max_norm, ..Control::new(lr, &self.count) };
        let control = match &inverse {
            Some(inverse) => Control { grad_scale: inverse.into(), ..control },
            None => control,
        };
        let pairs = self.slots.iter_mut().zip(&grads);
        apply(self.rule, pairs.filter_map(|(slot, grad)| Some((slot, grad.as_ref()?))), &control)?;
        if let (Some(scale), Some(norm)) = (&mut self.scale, &norm) {
            scale.follow(norm)?;
        }
        Ok(())
    }

    /// [`Tensor::backward`] of `loss`, in which each parameter is changed, with this learning rate, as soon as its gradient is
    /// whole: not all gradients exist together.
    ///
    /// Source: Lv et al., "Full parameter fine-tuning for large language models with limited resources", 2023.
    ///
    /// # Errors
    ///
    /// [`Grad`](ErrorKind::Grad), before anything is done, if gradients are clipped or scaled: what follows from all of
    /// them comes too late, or if one is there from a backward before. As [`step`](Self::step); parameters that were changed
    /// by then stay changed.
    pub fn backward(&mut self, loss: Tensor, lr: f32) -> Result<()> {
        if self.max_norm.is_finite() || self.scale.is_some() {
            return Err(Error::grad(
                "optimizer: a norm of all gradients, or a scale that follows from them, is not known inside of the backward; \
                 use `step`",
            ));
        }
        optim::advance_(&mut self.count, None, None)?;
        let places: BTreeMap<Option<u64>, usize> = self
            .slots
            .iter()
            .enumerate()
            .map(|(i, slot)| (slot.parameter.tensor().grad_number(), i))
            .collect();
        let (rule, slots, count) = (self.rule, &mut self.slots, &self.count);
        loss.backward_each(|number, grad| {
            let Some(&i) = places.get(&Some(number)) else { return Ok(()) };
            apply(rule, std::iter::once((&mut slots[i], &grad)), &Control::new(lr, count))
        })
    }

    /// What it keeps, by names: those of the parameters with `.first`, `.second` and `.master`, and `step`. To be
    /// [saved](crate::save) beside the parameters.
    pub fn states(&self) -> Vec<(String, Tensor)> {
        let states = self.slots.iter().flat_map(Slot::states).map(|(name, x)| (name, x.clone()));
        let scale = self.scale.iter().flat_map(LossScale::states);
        states.chain([("step".to_owned(), self.count.clone())]).chain(scale).collect()
    }

    /// Takes up what [`states`](Self::states) gave: training goes on as if it had not stopped.
    ///
    /// # Errors
    ///
    /// [`Value`](ErrorKind::Value) if `find` has no tensor of a name, [`Shape`](ErrorKind::Shape) and
    /// [`DType`](ErrorKind::DType) if it is another than is kept; those of `find`. Nothing is changed then.
    pub fn restore(&mut self, find: impl Fn(&str) -> Result<Tensor>) -> Result<()> {
        let mut found = BTreeMap::new();
        for (name, own) in self.states() {
            let new = find(&name)?;
            if new.shape() != own.shape() {
                let (new, own) = (new.shape(), own.shape());
                return Err(Error::shape(format!("optimizer: {name:?} is {new}, not {own}")));
            }
            if new.dtype() != own.dtype() {
                let (new, own) = (new.dtype(), own.dtype());
                return Err(Error::dtype(format!("optimizer: {name:?} is {new}, not {own}")));
            }
            found.insert(name, new);
        }
        let device = self.count.device().clone();
        let mut put = |name: String, own: &mut Tensor| match found.remove(&name) {
            Some(new) => own.copy_(&new.to(&device)?),
            None => Ok(()),
        };
        for slot in &mut self.slots {
            let name = slot.parameter.name().to_owned();
            slot.master.iter_mut().try_for_each(|master| put(format!("{name}.master"), master))?;
            for (state, which) in slot.moments.iter_mut().zip(["first", "second"]) {
                match state {
                    State::Full(x) => put(format!("{name}.{which}"), x)?,
                    State::Codes { codes, largest } => {
                        put(format!("{name}.{which}.codes"), codes)?;
                        put(format!("{name}.{which}.largest"), largest)?;
                    }
                }
            }
        }
        put("step".to_owned(), &mut self.count)?;
        self.scale.iter_mut().try_for_each(|scale| scale.restore(&mut put))
    }

    /// Where it works.
    pub fn device(&self) -> &Device {
        self.count.device()
    }
}

/// One step of some parameters.
fn apply<'a>(
    rule: Rule,
    pairs: impl Iterator<Item = (&'a mut Slot, &'a Tensor)>,
    control: &Control<'_>,
) -> Result<()> {
    let mut parts: Vec<_> = pairs
        .map(|(Slot { parameter, master, moments }, grad)| (parameter.write(), master, moments, grad))
        .collect();
    let steps = parts.iter_mut().map(|(parameter, master, moments, grad)| {
        let mut moments = moments.iter_mut().map(State::moment);
        let (first, second) = (moments.next(), moments.next());
        Step { param: &mut *parameter, grad, master: master.as_mut(), first, second }
    });
    optim::step_(rule, &mut steps.collect::<Vec<_>>(), control)
}
