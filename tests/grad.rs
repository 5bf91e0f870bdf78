//! Gradients: every op against central differences in f64, every dtype and device against f64, and what the tape keeps.

use proptest::prelude::*;
use std::cell::Cell;
use taut::{
    Activation, Budget, DType, Device, Error, ErrorKind, Kind, Result, Saved, Tensor, checkpoint,
    checkpoint_sequential, no_grad, saved, scope, seed,
};
use taut_tests::{
    At, Check, Op, Rng, Suite, Use, Value, cast, fail, kind_of, message_of, ops, shapes, upload,
};

/// Ops that have a saved-set and no backward yet.
const WITHOUT: [&str; 4] = ["attention", "attention_packed", "mean_packed", "sum_packed"];

pub(crate) fn trials(suite: &mut Suite) {
    for op in ops::all() {
        let name = op.name.replace(", ", "::").replace(' ', "_");
        let op = std::sync::Arc::new(op);
        if op.takes(DType::F64) {
            let op = op.clone();
            suite.cpu(&format!("grad::differences::{name}"), move |at| differences(at, &op));
        }
        if op.takes(DType::F32) {
            let op = op.clone();
            suite.real(&format!("grad::keeps::{name}"), move |at| keeps(at, &op));
        }
        if op.takes(DType::F32) && op.takes(DType::F64) {
            suite.real(&format!("grad::dtypes::{name}"), move |at| dtypes(at, &op));
        }
    }
    suite.real("grad::uses_are_added", uses_are_added);
    suite.real("grad::views", views);
    suite.everywhere("grad::no_grad_keeps_nothing", no_grad_keeps_nothing);
    suite.everywhere("grad::layers_keep_one_tensor_each", layers_keep_one_tensor_each);
    suite.everywhere("grad::frozen_weights_keep_nothing", frozen_weights_keep_nothing);
    suite.everywhere("grad::saved_tensors_go_as_they_are_used", saved_tensors_go_as_they_are_used);
    suite.everywhere("grad::one_buffer_for_a_gradient", one_buffer_for_a_gradient);
    suite.everywhere("grad::deep_graphs", deep_graphs);
    suite.real("grad::in_place", in_place);
    suite.real("grad::changed_parameters_learn_on", changed_parameters_learn_on);
    suite.everywhere("grad::refused", refused);
    suite.everywhere("grad::an_error_leaves_no_part", an_error_leaves_no_part);
    suite.real("grad::a_head_in_parts_is_the_head", a_head_in_parts_is_the_head);
    suite.everywhere("grad::a_head_keeps_no_logits", a_head_keeps_no_logits);
    suite.everywhere("grad::updates_as_gradients_come", updates_as_gradients_come);
    suite.real("grad::checkpoints_give_the_same", checkpoints_give_the_same);
    suite.everywhere("grad::checkpoints_keep_their_inputs", checkpoints_keep_their_inputs);
}

fn has_backward(op: &Op) -> bool {
    saved(op.method()).is_some() && !WITHOUT.contains(&op.method())
}

/// A use of an op with values of its own.
struct Subject {
    subject: Use,
    values: Vec<Vec<Value>>,
}

impl Subject {
    /// Of values in `[0.25, 2)`, of either sign if `signed`, as `dtype` has them. No two are close to each other, so that a
    /// small step changes no order.
    fn new(op: &Op, shape: &[usize], seed: u64, signed: bool, dtype: DType) -> Option<Subject> {
        let subject = op.draw(shape, dtype, seed)?;
        let mut rng = Rng(seed);
        let values = subject.operands.iter().enumerate().map(|(place, operand)| {
            let n: usize = operand.shape.iter().product();
            if !operand.dtype.is_float() {
                return (0..n).map(|_| operand.fill.draw(operand.dtype, &mut rng)).collect();
            }
            let mut order: Vec<(u64, usize)> = (0..n).map(|i| (rng.bits(), i)).collect();
            order.sort();
            let draw = |(_, i): (u64, usize)| {
                let part = (i as f64 + 0.3 + 0.1 * place as f64) / n as f64;
                let sign = if signed && rng.below(2) == 0 { -1.0 } else { 1.0 };
                cast(Value::Float(sign * (0.25 + 1.75 * part)), dtype)
            };
            order.into_iter().map(draw).collect()
        });
        let values = values.collect();
        Some(Subject { subject, values })
    }

    fn is_float(&self, i: usize) -> bool {
        self.subject.operands[i].dtype.is_float()
    }

    /// The operands, floats as `dtype` and tracked if `tracked`.
    fn operands(&self, device: &Device, dtype: DType, tracked: bool) -> Result<Vec<Tensor>> {
        let make = |(operand, values): (&taut_tests::Operand, &Vec<Value>)| {
            let dtype = if operand.dtype.is_float() { dtype } else { operand.dtype };
            let x = upload(values, &operand.shape, dtype, device)?;
            if tracked && dtype.is_float() { x.require_grad() } else { Ok(x) }
        };
        self.subject.operands.iter().zip(&self.values).map(make).collect()
    }

    /// A sum over all results, with weights; `None` if no result is a tracked float.
    fn loss(&self, operands: Vec<Tensor>) -> Result<Option<Tensor>> {
        let mut loss: Option<Tensor> = None;
        for (i, out) in (self.subject.call)(operands)?.into_iter().enumerate() {
            if !out.dtype().is_float() {
                continue;
            }
            let mut rng = Rng(i as u64 + 7);
            let weights: Vec<Value> =
                (0..out.numel()).map(|_| Value::Float(0.5 + rng.below(8) as f64 * 0.125)).collect();
            let weights = upload(&weights, out.shape(), out.dtype(), out.device())?;
            let part = out.mul(&weights)?.sum(&[])?;
            loss = Some(match loss {
                None => part,
                Some(sum) => sum.add(&part)?,
            });
        }
        Ok(loss)
    }

    /// The gradients of the float operands; `None` if nothing is tracked.
    fn gradients(&self, op: &Op, device: &Device, dtype: DType) -> Result<Option<Vec<Vec<f64>>>> {
        let operands = self.operands(device, dtype, true)?;
        let loss = match self.loss(operands.clone()) {
            Err(error) if error.kind() == ErrorKind::Grad && !has_backward(op) => return Ok(None),
            loss => loss?,
        };
        let Some(loss) = loss.filter(Tensor::is_tracked) else { return Ok(None) };
        loss.backward()?;
        let gradient = |x: &Tensor| match x.take_grad() {
            Some(grad) => {
                let wide = if dtype == DType::F64 { dtype } else { DType::F32 };
                grad.cast(wide)?.to_floats()
            }
            None => Ok(vec![0.0; x.numel()]),
        };
        operands.iter().filter(|x| x.dtype().is_float()).map(gradient).collect::<Result<_>>().map(Some)
    }
}

trait Floats {
    fn to_floats(&self) -> Result<Vec<f64>>;
}

impl Floats for Tensor {
    fn to_floats(&self) -> Result<Vec<f64>> {
        match self.dtype() {
            DType::F64 => self.to_vec::<f64>(),
            _ => Ok(self.to_vec::<f32>()?.into_iter().map(f64::from).collect()),
        }
    }
}

/// Along a random direction for each operand, the loss changes as the gradient says.
fn differences(at: &At, op: &Op) -> Check {
    let (checked, tracked) = (Cell::new(0u32), Cell::new(0u32));
    at.for_some(4, (shapes(), any::<u32>(), any::<bool>()), |(shape, seed, signed)| {
        let Some(case) = Subject::new(op, &shape, seed.into(), signed, DType::F64) else { return Ok(()) };
        let loss = |operands: Vec<Tensor>| -> Result<f64> {
            match no_grad(|| case.loss(operands))? {
                Some(loss) if loss.dtype() == DType::F64 => loss.item::<f64>(),
                // In another dtype a small step is lost.
                _ => Ok(f64::NAN),
            }
        };
        let operands = case.operands(&at.device, DType::F64, false)?;
        let here = loss(operands.clone())?;
        if !here.is_finite() {
            return Ok(());
        }
        checked.set(checked.get() + 1);
        let Some(gradients) = case.gradients(op, &at.device, DType::F64)? else { return Ok(()) };
        tracked.set(tracked.get() + 1);
        let floats = (0..operands.len()).filter(|&i| case.is_float(i));
        for (i, gradient) in floats.zip(gradients) {
            let mut rng = Rng(u64::from(seed) + 1);
            let step = 1e-6;
            let direction: Vec<f64> =
                gradient.iter().map(|_| if rng.below(2) == 0 { -step } else { step }).collect();
            let moved = |sign: f64| -> Result<f64> {
                let by = direction.iter().map(|d| sign * d).collect::<Vec<_>>();
                let by = Tensor::from_slice(&by, operands[i].shape(), &at.device)?;
                let mut operands = operands.clone();
                operands[i] = operands[i].clone().add(&by)?;
                loss(operands)
            };
            let want = (moved(1.0)? - moved(-1.0)?) / 2.0;
            let got: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let scale: f64 = gradient.iter().map(|g| g.abs()).sum::<f64>() * step;
            let bound = 1e-4 * scale + 1e-11 * (1.0 + here.abs());
            let off = (got - want).abs();
            if off.is_nan() || off > bound {
                return Err(fail(format!(
                    "{} {}: operand {i} {:?}: the loss changes by {want:e}, the gradient says {got:e}",
                    op.name, case.subject.note, operands[i]
                )));
            }
        }
        Ok(())
    })?;
    // Of the result, or where it has none, of nothing.
    prop_assert!(
        !has_backward(op) || checked.get() < 8 || tracked.get() * 2 >= checked.get(),
        "{}: {} of {} cases were tracked",
        op.name,
        tracked.get(),
        checked.get()
    );
    Ok(())
}

/// The gradient in every dtype is that in f64 of the same values, but for rounding.
fn dtypes(at: &At, op: &Op) -> Check {
    let dtypes: Vec<DType> = at.floats().into_iter().filter(|&dtype| op.takes(dtype)).collect();
    let cpu = Device::cpu();
    at.for_some(8, (shapes(), any::<u32>(), any::<bool>()), |(shape, seed, signed)| {
        for &dtype in &dtypes {
            let Some(case) = Subject::new(op, &shape, seed.into(), signed, dtype) else { return Ok(()) };
            let Some(wants) = case.gradients(op, &cpu, DType::F64)? else { return Ok(()) };
            let Some(gots) = case.gradients(op, &at.device, dtype)? else {
                return Err(fail(format!("{}: tracked in f64, not in {dtype}", op.name)));
            };
            // The norm of a few numbers hardly changes with them: what is left is rounding.
            if op.method().contains("norm") && shape.iter().any(|&dim| dim < 16) {
                return Ok(());
            }
            let unit = match dtype {
                DType::BF16 => 2f64.powi(-8),
                DType::F16 => 2f64.powi(-11),
                _ => 2f64.powi(-24),
            };
            for (i, (got, want)) in gots.iter().zip(&wants).enumerate() {
                let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
                let size = norm(want);
                if !size.is_finite() || size > 1e4 {
                    continue;
                }
                let off = norm(&got.iter().zip(want).map(|(a, b)| a - b).collect::<Vec<_>>());
                let bound = 64.0 * unit * (size + 1.0 + 0.01 * (got.len() as f64).sqrt());
                if off.is_nan() || off > bound {
                    return Err(fail(format!(
                        "{} {}: {dtype} {:?}, float operand {i}: off by {off:e} of {size:e}, more than {bound:e}",
                        op.name, case.subject.note, case.subject.operands[i].shape
                    )));
                }
            }
        }
        Ok(())
    })
}

/// What an op keeps for its backward is what the table says, and not a byte more.
fn keeps(at: &At, op: &Op) -> Check {
    let Some(set) = saved(op.method()).filter(|_| !WITHOUT.contains(&op.method())) else { return Ok(()) };
    let device = at.fresh()?;
    at.for_some(16, (shapes(), any::<u32>()), |(shape, seed)| {
        let Some(case) = Subject::new(op, &shape, seed.into(), true, DType::F32) else { return Ok(()) };
        let operands = case.operands(&device, DType::F32, true)?;
        let bytes = |x: &Tensor| (x.numel() * x.dtype().size()) as u64;
        let floats = |x: &&Tensor| x.dtype().is_float();
        let outputs = (case.subject.call)(operands.clone())?;
        let made: u64 = outputs.iter().map(bytes).sum();
        let out: u64 = outputs.iter().filter(floats).map(bytes).sum();
        let part = |what: &Saved| match what {
            Saved::Input => bytes(&operands[0]),
            Saved::Others => operands[1..].iter().filter(floats).map(bytes).sum(),
            // It is there anyway, or is an index that the caller made.
            Saved::Output | Saved::Seed => 0,
            Saved::Mask => {
                operands.iter().filter(|x| x.dtype() == DType::Bool).map(bytes).sum::<u64>().max(out / 4)
            }
            Saved::Positions => {
                operands.iter().filter(|x| x.dtype() == DType::I64).map(bytes).sum::<u64>().max(2 * out)
            }
            Saved::Statistics(n) => u64::from(*n) * out,
            Saved::Bounds => 0,
        };
        // From the output of one with a negative slope nothing follows.
        let turns = matches!(op.method(), "leaky_relu" | "elu") && case.subject.note.contains(": -");
        let most: u64 = if turns { bytes(&operands[0]) } else { set.iter().map(part).sum() };
        drop(operands);
        let kept = live(&device) - made;
        prop_assert!(
            kept <= most,
            "{} {}: keeps {} bytes, the table says {}",
            op.name,
            case.subject.note,
            kept,
            most
        );
        drop(outputs);
        prop_assert_eq!(live(&device), 0, "{} leaks", op.name);
        Ok(())
    })
}

fn leaf(values: &[f32], device: &Device) -> Result<Tensor> {
    Tensor::from_slice(values, [values.len()], device)?.require_grad()
}

fn grad(x: &Tensor) -> Result<Vec<f32>> {
    x.grad().ok_or_else(|| Error::grad("there is no gradient"))?.to_vec::<f32>()
}

/// Every use of a tensor adds to its gradient: twice by one op, by several, and over two ways that meet again.
fn uses_are_added(at: &At) -> Check {
    let x = leaf(&[1.0, -2.0, 3.0], &at.device)?;
    x.clone().mul(&x)?.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [2.0, -4.0, 6.0]);

    // Onto what is there.
    x.clone().mul_scalar(10.0)?.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [12.0, 6.0, 16.0]);
    x.zero_grad();
    prop_assert!(x.grad().is_none());

    // A diamond: x -> y -> (2 y, y^2) -> sum.
    let y = x.clone().add_scalar(1.0)?;
    let sum = y.clone().mul_scalar(2.0)?.add(&y.square()?)?;
    sum.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [6.0, 0.0, 10.0]);

    // Broadcast: each element of a column is used for a row.
    let column = leaf(&[1.0, 2.0], &at.device)?;
    let rows = column.clone().unsqueeze(1)?.mul(&x.clone().detach())?;
    rows.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&column)?, [2.0, 2.0]);
    Ok(())
}

/// Gradients of parts go where the parts are, through all kinds of views.
fn views(at: &At) -> Check {
    let x = leaf(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &at.device)?;
    let matrix = x.clone().reshape([2, 3])?;
    let left = matrix.clone().slice(1, 0..1)?;
    let right = matrix.clone().t()?.slice(0, 1..3)?;
    let loss = left.mul_scalar(5.0)?.sum(&[])?.add(&right.square()?.sum(&[])?)?;
    drop(matrix);
    loss.backward()?;
    prop_assert_eq!(grad(&x)?, [5.0, 4.0, 6.0, 5.0, 10.0, 12.0]);
    x.zero_grad();
    let parts = x.clone().split(0, &[1, 2, 3])?;
    let weighted = parts.into_iter().enumerate().map(|(i, part)| part.mul_scalar(i as f64)?.sum(&[]));
    let sums = weighted.collect::<Result<Vec<_>>>()?;
    Tensor::stack(&sums, 0)?.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [0.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    Ok(())
}

fn live(device: &Device) -> u64 {
    device.stats().live_bytes
}

/// In `no_grad` a chain of layers keeps no byte.
fn no_grad_keeps_nothing(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::zeros([64, 64], DType::F32, &device)?.require_grad()?;
    let x = Tensor::zeros([32, 64], DType::F32, &device)?;
    let before = live(&device);
    let y = no_grad(|| {
        let h = x.linear_with(&w, None, Activation::Relu)?.gelu()?.mul(&w.clone().slice(0, 0..32)?)?;
        h.softmax(1)?.layer_norm(None, None, 1e-5)
    })?;
    prop_assert!(!y.is_tracked());
    prop_assert_eq!(device.stats().live_by_kind[Kind::Saved as usize], 0);
    // The result has the size of what it was made of.
    prop_assert_eq!(live(&device), before);
    Ok(())
}

/// Sixteen linear layers with ReLU keep their outputs, each once: as the output of one and the input of the next.
fn layers_keep_one_tensor_each(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::zeros([64, 64], DType::F32, &device)?.require_grad()?;
    let x = Tensor::zeros([128, 64], DType::F32, &device)?;
    let (before, one) = (live(&device), 128 * 64 * 4);
    let mut h = x;
    for _ in 0..16 {
        h = h.linear_with(&w, None, Activation::Relu)?;
    }
    prop_assert_eq!(live(&device) - before, 16 * one);
    prop_assert_eq!(device.stats().live_by_kind[Kind::Saved as usize], 17 * one);
    h.sum(&[])?.backward()?;
    prop_assert_eq!(live(&device), 2 * 64 * 64 * 4, "the weight and its gradient");
    Ok(())
}

/// A layer whose weight is frozen keeps no input, and what leads to no parameter is not noted.
fn frozen_weights_keep_nothing(at: &At) -> Check {
    let device = at.fresh()?;
    let frozen = Tensor::zeros([64, 64], DType::F32, &device)?;
    let bias = Tensor::zeros([64], DType::F32, &device)?.require_grad()?;
    let x = Tensor::zeros([128, 64], DType::F32, &device)?;
    let before = live(&device);
    let y = x.linear(&frozen)?;
    prop_assert!(!y.is_tracked());
    let y = y.linear_with(&frozen, Some(&bias), Activation::Identity)?.linear(&frozen)?;
    prop_assert!(y.is_tracked());
    // The input of the second layer went, though its bias learns: only the result is there.
    prop_assert_eq!(live(&device), before);
    y.sum(&[])?.backward()?;
    prop_assert!(frozen.grad().is_none());
    prop_assert_eq!(bias.grad().map(|g| g.shape().to_vec()), Some(vec![64]));
    Ok(())
}

/// The peak of a backward is what the forward kept, and the gradients of two layers.
fn saved_tensors_go_as_they_are_used(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::zeros([64, 64], DType::F32, &device)?.require_grad()?;
    let (one, weight) = (512 * 64 * 4, 64 * 64 * 4);
    let mut h = Tensor::zeros([512, 64], DType::F32, &device)?;
    for _ in 0..8 {
        h = h.linear_with(&w, None, Activation::Relu)?;
    }
    let ones = Tensor::zeros([512, 64], DType::F32, &device)?;
    device.pool().reset_peaks();
    h.backward_with(ones)?;
    // What was kept and the given gradient, and nothing more: the last output goes as its gradient is made over the given one,
    // and the gradient of each input is made over that.
    prop_assert_eq!(device.stats().peak_tensor_bytes, 9 * one + one + weight);
    Ok(())
}

/// The second backward adds to the gradient where it is.
fn one_buffer_for_a_gradient(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::zeros([256, 256], DType::F32, &device)?.require_grad()?;
    let step = || -> Result<u64> {
        let x = Tensor::zeros([4, 256], DType::F32, &device)?;
        x.linear(&w)?.sum(&[])?.backward()?;
        Ok(live(&device))
    };
    let first = step()?;
    device.pool().reset_peaks();
    prop_assert_eq!(step()?, first);
    // The product is added in the buffer: no second one exists at any time.
    prop_assert!(device.stats().peak_tensor_bytes < first + 256 * 256 * 4);
    prop_assert_eq!(w.grad().map(|g| g.kind()), Some(Kind::Gradients));
    Ok(())
}

/// A graph of 100,000 ops is walked, and dropped, without a deep stack.
fn deep_graphs(at: &At) -> Check {
    let x = leaf(&[1.0], &at.device)?;
    let deep = |n: usize| (0..n).try_fold(x.clone(), |y, _| y.add_scalar(0.0));
    drop(deep(100_000)?);
    deep(100_000)?.backward()?;
    if !at.device.is_plan() {
        prop_assert_eq!(grad(&x)?, [1.0]);
    }
    Ok(())
}

/// An op in place is noted as the op is.
fn in_place(at: &At) -> Check {
    let x = leaf(&[1.0, -2.0], &at.device)?;
    let mut y = x.clone().mul_scalar(3.0)?;
    y.mul_scalar_(2.0)?;
    y.relu_()?;
    y.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [6.0, 0.0]);
    x.zero_grad();

    let mut sum = Tensor::zeros([2], DType::F32, &at.device)?;
    sum.add_(&x)?;
    sum.add_(&x)?;
    sum.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [2.0, 2.0]);
    Ok(())
}

/// A parameter that is changed in `no_grad` is one still.
fn changed_parameters_learn_on(at: &At) -> Check {
    let mut x = leaf(&[1.0, -2.0], &at.device)?;
    let number = x.grad_number();
    no_grad(|| -> Result<()> {
        x.mul_scalar_(2.0)?;
        let one = Tensor::full([2], 1.0, DType::F32, &at.device)?;
        x.add_(&one)?;
        x.copy_(&one)
    })?;
    prop_assert_eq!(x.grad_number(), number);
    x.clone().square()?.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [2.0, 2.0]);
    // What is made of it there does not.
    prop_assert!(!no_grad(|| x.mul_scalar(2.0))?.is_tracked());
    Ok(())
}

/// What can not be right is refused, by name, and changes nothing.
fn refused(at: &At) -> Check {
    let device = at.fresh()?;
    let mut x = Tensor::zeros([4], DType::F32, &device)?.require_grad()?;
    let message = message_of(x.relu_())?;
    prop_assert!(message.starts_with("relu_: [4] requires a gradient"), "{}", message);

    // Kept by an op: of the name of that op.
    let mut y = x.clone().exp()?;
    let message = message_of(y.relu_())?;
    prop_assert!(message.contains("the backward of `exp`"), "{}", message);
    let mut z = x.clone().mul_scalar(2.0)?;
    prop_assert_eq!(kind_of(z.gelu_())?, ErrorKind::Grad);
    prop_assert_eq!(kind_of(z.mul_(&x))?, ErrorKind::Grad);

    // Twice through one graph; no graph; no scalar; other shapes.
    let loss = y.sum(&[])?;
    let again = loss.clone();
    loss.backward()?;
    prop_assert_eq!(kind_of(again.backward())?, ErrorKind::Grad);
    prop_assert_eq!(kind_of(x.clone().detach().sum(&[])?.backward())?, ErrorKind::Grad);
    prop_assert_eq!(kind_of(x.clone().relu()?.backward())?, ErrorKind::Shape);
    prop_assert_eq!(kind_of(z.clone().require_grad())?, ErrorKind::Grad);
    let whole = Tensor::zeros([4], DType::I64, &device)?;
    prop_assert_eq!(kind_of(whole.require_grad())?, ErrorKind::DType);
    let wrong = Tensor::zeros([2], DType::F32, &device)?;
    prop_assert_eq!(kind_of(z.backward_with(wrong))?, ErrorKind::Shape);
    Ok(())
}

/// A backward that fails half way leaves no part of a gradient, and no byte.
fn an_error_leaves_no_part(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::zeros([256, 256], DType::F32, &device)?.require_grad()?;
    let x = Tensor::zeros([4096, 256], DType::F32, &device)?;
    let before = live(&device);
    let one = 4096 * 256 * 4;
    // Room for the forward pass, but then for nothing more.
    device.pool().scope("step").limit(Budget::Bytes(2 * one + 4096))?;
    let _scope = scope("step");
    let loss = x.clone().linear_with(&w, None, Activation::Relu)?.linear(&w)?.sum(&[])?;
    let rest = Tensor::zeros([4096, 256], DType::F32, &device)?;
    prop_assert_eq!(kind_of(loss.backward())?, ErrorKind::OutOfMemory);
    drop(rest);
    prop_assert!(w.grad().is_none());
    prop_assert_eq!(live(&device), before);
    Ok(())
}

/// One layer with dropout: a step of the networks below.
fn step(x: Tensor, w: &Tensor) -> Result<Tensor> {
    x.linear_with(w, None, Activation::Relu)?.dropout(0.25, seed::next())
}

/// The gradients of nine layers that share a weight, by some way to run them.
fn nine(at: &At, run: impl Fn(Tensor, &Tensor) -> Result<Tensor>) -> Result<[Vec<f32>; 2]> {
    seed::set(5);
    let w = Tensor::normal([32, 32], 0.0, 0.2, 1, DType::F32, &at.device)?.require_grad()?;
    let x = Tensor::normal([16, 32], 0.0, 1.0, 2, DType::F32, &at.device)?.require_grad()?;
    run(x.clone(), &w)?.sum(&[])?.backward()?;
    Ok([grad(&w)?, grad(&x)?])
}

/// With checkpoints of any length, within each other or not, gradients are the same to the bit, dropout included.
fn checkpoints_give_the_same(at: &At) -> Check {
    let plain = nine(at, |x, w| (0..9).try_fold(x, |x, _| step(x, w)))?;
    prop_assert!(plain[1].iter().any(|&g| g != 0.0));
    for segments in [1, 3, 4, 9] {
        let some = nine(at, |x, w| {
            let steps = (0..9).map(|_| {
                let w = w.clone();
                move |x| step(x, &w)
            });
            checkpoint_sequential(x, steps.collect(), segments)
        })?;
        prop_assert!(some == plain, "{} segments", segments);
    }
    let nested = nine(at, |x, w| {
        let w = w.clone();
        checkpoint(vec![x], move |x| {
            let steps = (0..9).map(|_| {
                let w = w.clone();
                move |x| step(x, &w)
            });
            checkpoint_sequential(taut_tests::first(x)?, steps.collect(), 3)
        })
    })?;
    prop_assert!(nested == plain, "nested");
    Ok(())
}

/// A checkpoint keeps its input alone, and what it runs again is gone when it is done with.
fn checkpoints_keep_their_inputs(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::zeros([64, 64], DType::F32, &device)?.require_grad()?;
    let (one, weight) = (512 * 64 * 4, 64 * 64 * 4);
    let x = Tensor::zeros([512, 64], DType::F32, &device)?;
    let steps = (0..16).map(|_| {
        let w = w.clone();
        move |x: Tensor| x.linear_with(&w, None, Activation::Relu)
    });
    // The inputs need no gradient: the weight in the function does.
    let y = checkpoint_sequential(x, steps.collect(), 4)?;
    prop_assert!(y.is_tracked());
    prop_assert_eq!(live(&device), weight + 5 * one, "four inputs and the result");
    let ones = Tensor::zeros([512, 64], DType::F32, &device)?;
    y.backward_with(ones)?;
    prop_assert_eq!(live(&device), 2 * weight);
    prop_assert!(w.grad().is_some());

    let none = no_grad(|| {
        checkpoint(vec![Tensor::zeros([2], DType::F32, &device)?], |x| taut_tests::first(x)?.exp())
    })?;
    prop_assert!(!none.is_tracked());
    let f = |x: Tensor| x.exp();
    let x = Tensor::zeros([2], DType::F32, &device)?;
    prop_assert_eq!(kind_of(checkpoint_sequential(x, vec![f], 2))?, ErrorKind::Value);
    Ok(())
}

/// Updates inside of a backward see each gradient once, whole, and never all of them together.
fn updates_as_gradients_come(at: &At) -> Check {
    let device = at.fresh()?;
    let weight = 256 * 256 * 4;
    let weights = || -> Result<Vec<Tensor>> {
        (0..8)
            .map(|i| Tensor::normal([256, 256], 0.0, 0.06, i, DType::F32, &device)?.require_grad())
            .collect()
    };
    let loss = |weights: &[Tensor], in_parts: bool| {
        let x = Tensor::normal([16, 256], 0.0, 1.0, 9, DType::F32, &device)?;
        // The first is used twice: at the start and at the end.
        let layers = weights.iter().chain(&weights[..1]).map(|w| {
            let w = w.clone();
            move |x: Tensor| x.linear_with(&w, None, Activation::Relu)
        });
        let y = match in_parts {
            true => checkpoint_sequential(x, layers.collect(), 3)?,
            false => layers.into_iter().try_fold(x, |x, layer| layer(x))?,
        };
        y.square()?.mean(&[])
    };

    let all = weights()?;
    loss(&all, false)?.backward()?;
    let plain = all.iter().map(grad).collect::<Result<Vec<_>>>()?;
    let before = loss(&all, false)?;
    prop_assert_eq!(kind_of(before.backward_each(|_, _| Ok(())))?, ErrorKind::Grad, "a gradient is there");
    drop(all);

    for in_parts in [false, true] {
        let mut all = weights()?;
        let numbers: Vec<_> = all.iter().map(Tensor::grad_number).collect();
        let loss = loss(&all, in_parts)?;
        device.pool().reset_peaks();
        let mut seen = vec![0; 8];
        loss.backward_each(|number, grad| {
            let i = numbers.iter().position(|&n| n == Some(number)).unwrap_or(8);
            seen[i] += 1;
            if !device.is_plan() && grad.to_vec::<f32>()? != plain[i] {
                return Err(Error::grad(format!("gradient {i} is another")));
            }
            all[i].sub_(&grad)
        })?;
        prop_assert_eq!(&seen, &[1; 8]);
        prop_assert!(all.iter().all(|w| w.grad().is_none()));
        let gradients = device.stats().peak_by_kind[Kind::Gradients as usize];
        prop_assert!(gradients <= if in_parts { 4 } else { 3 } * weight, "{} bytes of gradients", gradients);
        drop(all);
    }
    Ok(())
}

/// Rows, features and classes of a head whose logits of f32 are more than exist at once.
const HEAD: [usize; 3] = [3000, 8, 20_000];

/// The operands of a head: rows, the weight, and targets of which some do not count.
fn head(device: &Device, dtype: DType) -> Result<(Tensor, Tensor, Tensor)> {
    let [rows, k, classes] = HEAD;
    let x = Tensor::normal([rows, k], 0.0, 1.0, 1, DType::F32, device)?.cast(dtype)?.require_grad()?;
    let w = Tensor::normal([classes, k], 0.0, 0.5, 2, DType::F32, device)?.cast(dtype)?.require_grad()?;
    let targets: Vec<i64> = (0..rows as i64).map(|i| if i % 5 == 0 { -100 } else { i * 6 }).collect();
    Ok((x, w, Tensor::from_slice(&targets, [rows], device)?))
}

/// The loss and the gradients are those of a layer, a cross entropy and a mean over the rows that count.
fn a_head_in_parts_is_the_head(at: &At) -> Check {
    for dtype in [DType::F32, DType::BF16] {
        let (x, w, targets) = head(&at.device, dtype)?;
        let loss = x.clone().linear_cross_entropy(&w, &targets, 0.1, Some(-100))?;
        let got = loss.item::<f32>()?;
        loss.backward()?;
        let gradient =
            |x: &Tensor| x.take_grad().ok_or_else(|| Error::grad("none"))?.cast(DType::F32)?.to_vec::<f32>();
        let gots = [gradient(&x)?, gradient(&w)?];

        let wide = |x: &Tensor| x.clone().detach().cast(DType::F32)?.require_grad();
        let (x, w) = (wide(&x)?, wide(&w)?);
        let losses = x.clone().linear(&w)?.cross_entropy(&targets, 0.1, Some(-100))?;
        let loss = losses.sum(&[])?.mul_scalar(1.0 / 2400.0)?;
        let want = loss.item::<f32>()?;
        loss.backward()?;
        let unit = if dtype == DType::F32 { 1e-5 } else { 1e-2 };
        prop_assert!((got - want).abs() <= unit * want.abs(), "{}: a loss of {} for {}", dtype, got, want);
        for (got, x) in gots.iter().zip([&x, &w]) {
            let want = grad(x)?;
            let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
            let off = norm(&mut got.iter().zip(&want).map(|(a, b)| f64::from(a - b)));
            let size = norm(&mut want.iter().map(|&x| x.into()));
            prop_assert!(off <= f64::from(unit) * size, "{}: off by {} of {}", dtype, off, size);
        }
    }
    Ok(())
}

/// The peak is a part of the logits, and what is kept the gradients.
fn a_head_keeps_no_logits(at: &At) -> Check {
    let device = at.fresh()?;
    let [rows, k, classes] = HEAD;
    let (x, w, targets) = head(&device, DType::F32)?;
    let before = live(&device);
    device.pool().reset_peaks();
    let loss = x.clone().linear_cross_entropy(&w, &targets, 0.0, Some(-100))?;
    let gradients = (4 * k * (rows + classes)) as u64;
    prop_assert_eq!(live(&device) - before, gradients + 4);
    let logits = (4 * rows * classes) as u64;
    let peak = device.stats().peak_tensor_bytes - before - gradients;
    prop_assert!(peak < logits / 2, "{} bytes of {}", peak, logits);
    loss.backward()?;
    prop_assert_eq!(live(&device) - before, gradients);
    Ok(())
}
