//! Gradients of every op: against central differences in f64, in every dtype and on every device against f64, and what the tape
//! keeps of it.

use proptest::prelude::*;
use std::{cell::Cell, sync::Arc};
use taut::{DType, Device, ErrorKind, Result, Saved, Tensor, no_grad, saved};
use taut_tests::{At, Check, Op, Operand, Rng, Suite, Use, Value, cast, fail, ops, shapes, upload};

/// Ops that have a saved-set and no backward yet.
const WITHOUT: [&str; 4] = ["attention", "attention_packed", "mean_packed", "sum_packed"];

pub(crate) fn trials(suite: &mut Suite) {
    for op in ops::all() {
        let name = op.name.replace(", ", "::").replace(' ', "_");
        let op = Arc::new(op);
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
        let make = |(operand, values): (&Operand, &Vec<Value>)| {
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
            Saved::Mask => operands.iter().filter(|x| x.dtype() == DType::Bool).map(bytes).sum(),
            Saved::Bits => (out / 4).div_ceil(8),
            Saved::Positions => {
                operands.iter().filter(|x| x.dtype() == DType::I64).map(bytes).sum::<u64>().max(2 * out)
            }
            Saved::Statistics(n) => u64::from(*n) * out,
            Saved::Bounds => 0,
        };
        // From the output of one with a negative slope nothing follows.
        let most: u64 = match op.method() {
            "leaky_relu" if case.subject.note.contains(": -") => part(&Saved::Bits),
            "elu" if case.subject.note.contains(": -") => part(&Saved::Input),
            _ => set.iter().map(part).sum(),
        };
        drop(operands);
        let kept = device.stats().live_bytes - made;
        prop_assert!(
            kept <= most,
            "{} {}: keeps {} bytes, the table says {}",
            op.name,
            case.subject.note,
            kept,
            most
        );
        drop(outputs);
        prop_assert_eq!(device.stats().live_bytes, 0, "{} leaks", op.name);
        Ok(())
    })
}
