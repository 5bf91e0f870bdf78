//! Launches of `optimizer.cuh`: a step over all parameters of a list.

use super::table::{Entry, Number, each_part};
use crate::{Arg, Grid, Operand, Param, Stream};
use taut_core::{CODE_BLOCK, DType, Error, Result, Rule};
use taut_kernels::{
    Capacity, Kernel, Update, Weight,
    args::{self, Codes, Hyper, STEP_CHUNK},
};

// SAFETY: `Hyper` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for Hyper {}
// SAFETY: likewise; no kernel reads what is between its numbers.
unsafe impl Param for args::Control {}
// SAFETY: likewise.
unsafe impl Param for Codes {}

/// What changes from step to step.
#[derive(Clone, Copy, Debug)]
pub struct Control<'a> {
    /// The learning rate.
    pub lr: Number<'a>,
    /// The number of the step, from 1.
    pub step: Number<'a>,
    /// What gradients are multiplied by.
    pub grad_scale: Number<'a>,
    /// The norm of the gradients. Nothing is done if it is not finite.
    pub norm: Number<'a>,
    /// Nothing is done if it is not 0.
    pub skip: Number<'a>,
    /// Gradients with a larger norm, after `grad_scale`, are scaled down to it.
    pub max_norm: f32,
}

/// How a moment is kept.
#[derive(Clone, Copy, Debug)]
pub enum Moment<'a> {
    /// As f32.
    Full(Operand<'a>),
    /// As u8, and the largest magnitude of each [`CODE_BLOCK`] of them as f32.
    Codes(Operand<'a>, Operand<'a>),
}

/// A parameter with all that a step needs of it.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// What is changed: f32, f16 or bf16.
    pub param: Operand<'a>,
    /// What makes f16 or bf16 the f32 that it is rounded from: two u8 for each element.
    pub master: Option<Operand<'a>>,
    /// The gradient: of the dtype of the parameter, or f32.
    pub grad: Operand<'a>,
    /// As many as [`Rule::moments`].
    pub moments: Vec<Moment<'a>>,
}

/// Changes every parameter, its master and its moments as `rule` says. All operands are contiguous and those of an item have
/// as many elements as the parameter.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if an item is not so,
/// [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
pub fn step(stream: &Stream, rule: Rule, items: &[Item<'_>], control: &Control<'_>) -> Result<()> {
    let name = rule.name();
    let (hyper, codes) = (Hyper::new(rule), Codes::default());
    let control = args::Control {
        lr: control.lr.arg(name)?,
        step: control.step.arg(name)?,
        grad_scale: control.grad_scale.arg(name)?,
        norm: control.norm.arg(name)?,
        skip: control.skip.arg(name)?,
        max_norm: control.max_norm,
    };
    let mut groups: Vec<(Key, Vec<Entry<MOST>>)> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let (key, entry) = entry(rule, i, item)?;
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, entries)) => entries.push(entry),
            None => groups.push((key, vec![entry])),
        }
    }
    for (key, entries) in &groups {
        each_part(stream.card(), entries, key.operands(), STEP_CHUNK.into(), &mut |part| {
            let tensors = Arg::new(&part.tensors);
            let args = [part.words.arg(), tensors, Arg::new(&hyper), Arg::new(&control), Arg::new(&codes)];
            // SAFETY: `optimizer(table, tensors, hyper, control, codes)`; the table names elements of operands that the caller
            // vouches for, in the order of the kernel, and so are the numbers.
            unsafe { stream.launch(key.kernel(part.capacity), part.grid, args) }
        })?;
    }
    Ok(())
}

/// Adds 1 to `count`, one f32, unless `norm` is not finite or `skip` not 0.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) if an operand is not one f32, [`Driver`](taut_core::ErrorKind::Driver) if the launch
/// fails.
pub fn advance(stream: &Stream, count: Operand<'_>, norm: Number<'_>, skip: Number<'_>) -> Result<()> {
    const OP: &str = "advance_";
    let count = Number::Device(count).arg(OP)?.at;
    let (norm, skip) = (norm.arg(OP)?, skip.arg(OP)?);
    let args = [Arg::new(&count), Arg::new(&norm), Arg::new(&skip)];
    // SAFETY: `advance(count, norm, skip)`, of operands that the caller vouches for.
    unsafe { stream.launch(Kernel::Advance, Grid::linear(1, 32), args) }
}

/// Operands of a parameter at most: in two planes, a gradient, two moments in codes.
const MOST: usize = 7;

/// What a kernel is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    update: Update,
    weight: Weight,
    grad: DType,
    codes: bool,
    moments: usize,
}

impl Key {
    fn kernel(&self, capacity: Capacity) -> Kernel {
        Kernel::Optimizer(self.update, self.weight, self.grad, self.codes, capacity)
    }

    fn operands(&self) -> usize {
        self.weight.operands() + 1 + self.moments * if self.codes { 2 } else { 1 }
    }
}

fn entry(rule: Rule, i: usize, item: &Item<'_>) -> Result<(Key, Entry<MOST>)> {
    let name = rule.name();
    let Item { param, master, grad, moments } = item;
    let weight = match (param.dtype, master) {
        (dtype, None) => Weight::Plain(dtype),
        (dtype @ (DType::F16 | DType::BF16), Some(_)) => Weight::Planes(dtype),
        (dtype, Some(_)) => {
            return Err(Error::dtype(format!("{name}: parameter {i}: {dtype} has no master")));
        }
    };
    let codes = moments.iter().filter(|moment| matches!(moment, Moment::Codes(..))).count();
    let key =
        Key { update: Update::of(rule), weight, grad: grad.dtype, codes: codes > 0, moments: moments.len() };
    let mixed = codes > 0 && codes < moments.len() || moments.len() != rule.moments();
    if mixed || key.kernel(Capacity::Small).slot().is_none() {
        let (param, grad) = (param.dtype, grad.dtype);
        return Err(Error::dtype(format!(
            "{name}: parameter {i}: does not take {param} with a gradient of {grad} and {} moments, {codes} of them in codes",
            moments.len()
        )));
    }

    let numel = param.layout.numel();
    let mut operands = vec![(param, numel, param.dtype)];
    operands.extend(master.iter().map(|master| (master, 2 * numel, DType::U8)));
    operands.push((grad, numel, grad.dtype));
    for moment in moments {
        match moment {
            Moment::Full(full) => operands.push((full, numel, DType::F32)),
            Moment::Codes(codes, largest) => {
                operands.push((codes, numel, DType::U8));
                operands.push((largest, numel.div_ceil(CODE_BLOCK), DType::F32));
            }
        }
    }
    let mut address = [0; MOST];
    for (address, (operand, wanted, dtype)) in address.iter_mut().zip(operands) {
        let shape = operand.layout.shape();
        if operand.layout.flat().is_none() || shape.numel() != wanted {
            return Err(Error::shape(format!(
                "{name}: parameter {i}: {shape} must be contiguous and have {wanted} elements"
            )));
        }
        if operand.dtype != dtype {
            return Err(Error::dtype(format!("{name}: parameter {i}: {} must be {dtype}", operand.dtype)));
        }
        *address = operand.pointer();
    }
    // Elements of a plane have two bytes, those of its tensor one.
    if master.is_some() && address[1] % 2 == 1 {
        return Err(Error::shape(format!("{name}: parameter {i}: the master begins at an odd byte")));
    }
    Ok((key, Entry { address, numel: numel as u64 }))
}
