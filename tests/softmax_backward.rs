//! The backward of softmax: rows of any length, what it is the derivative of, and what takes no part.

use proptest::prelude::*;
use taut::{DType, ErrorKind, Result, Tensor};
use taut_tests::{
    At, Check, FEW_ROW_LENGTHS, Fill, Suite, Value, by_rows, download, kind_of, log_softmax_backward,
    message_of, poison, same, same_tensors, softmax_backward, upload, within,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.cpu("softmax_backward::is_the_derivative", is_the_derivative);
    suite.real("softmax_backward::rows_of_any_length", rows_of_any_length);
    suite.real("softmax_backward::packs_of_columns", packs_of_columns);
    suite.real("softmax_backward::many_long_rows", many_long_rows);
    suite.real("softmax_backward::what_takes_no_part_is_not_seen", what_takes_no_part_is_not_seen);
    suite.real("softmax_backward::repeats", repeats);
    suite.everywhere("softmax_backward::reuses_contiguous_memory", reuses_contiguous_memory);
    suite.everywhere("softmax_backward::errors", errors);
}

/// Around what a warp, a block and a pass hold, in packs and single elements.
const LENGTHS: [usize; 16] =
    [1, 2, 31, 33, 128, 129, 257, 513, 1025, 4096, 8193, 16_384, 16_392, 33_000, 131_072, 131_077];

/// By central differences in f64 of the sum of outputs times gradients.
fn is_the_derivative(at: &At) -> Check {
    let h = 1e-5;
    let new = |seed| Tensor::normal([5, 7], 0.0, 1.0, seed, DType::F64, &at.device);
    let (x, grad, scale) = (new(1)?, new(2)?, 0.5f32);
    let softmax = |x: Tensor, log: bool| {
        if log { x.log_softmax(1) } else { x.softmax_with(1, scale, None) }
    };
    for log in [false, true] {
        let y = softmax(x.clone(), log)?;
        let got = if log {
            grad.clone().log_softmax_backward(1, &y)?
        } else {
            grad.clone().softmax_backward(1, &y, scale)?
        };
        let values = download(&x)?;
        for (i, got) in download(&got)?.into_iter().enumerate() {
            let moved = |by: f64| -> Result<f64> {
                let mut values = values.clone();
                values[i] = Value::Float(values[i].float() + by);
                let x = upload(&values, &[5, 7], DType::F64, &at.device)?;
                softmax(x, log)?.mul(&grad)?.sum(&[])?.item::<f64>()
            };
            let want = (moved(h)? - moved(-h)?) / (2.0 * h);
            prop_assert!((got.float() - want).abs() < 1e-8, "{:?} where differences say {}", got, want);
        }
    }
    Ok(())
}

fn rows_of_any_length(at: &At) -> Check {
    for (seed, &n) in (0..).zip(at.shapes(&LENGTHS, &FEW_ROW_LENGTHS)) {
        for dtype in at.floats() {
            let shape = [3, n];
            let new = |seed| Fill::Tame.values(3 * n, dtype, seed);
            let grads = upload(&new(seed), &shape, dtype, &at.device)?;
            let x = upload(&new(seed + 50), &shape, dtype, &at.device)?;
            // Rows aligned to nothing, and across.
            let shifted = |x: &Tensor| -> Result<Tensor> {
                let values = [vec![Value::Float(f64::NAN)], download(x)?].concat();
                upload(&values, &[values.len()], dtype, &at.device)?.slice(0, 1..3 * n + 1)?.reshape(shape)
            };
            let across = |x: &Tensor| x.clone().t()?.contiguous()?.t();
            for log in [false, true] {
                let y = if log { x.clone().log_softmax(1)? } else { x.clone().softmax(1)? };
                let call = |grad: Tensor, axis, y: &Tensor| {
                    if log {
                        grad.log_softmax_backward(axis, y)
                    } else {
                        grad.softmax_backward(axis, y, 0.37)
                    }
                };
                let pairs = download(&grads)?.into_iter().zip(download(&y)?);
                let pairs: Vec<(f64, f64)> = pairs.map(|(grad, y)| (grad.float(), y.float())).collect();
                let want = by_rows(&shape, 1, &pairs, |row, _| match log {
                    true => log_softmax_backward(row, dtype),
                    false => softmax_backward(row, 0.37, dtype),
                });
                poison(&at.device, &[3 * n * dtype.size()])?;
                within(&call(grads.clone(), 1, &y)?, &want)?;
                within(&call(grads.copy()?, 1, &y)?, &want)?;
                within(&call(shifted(&grads)?, 1, &y)?, &want)?;
                within(&call(grads.copy()?, 1, &shifted(&y)?)?, &want)?;
                within(&call(across(&grads)?, 1, &across(&y)?)?, &want)?;
                within(&call(grads.clone().t()?.copy()?, 0, &y.t()?.copy()?)?.t()?, &want)?;
            }
        }
    }
    Ok(())
}

/// Columns that lie side by side, in one matrix and in several, and some of those of a wider one; out of place and in place.
fn packs_of_columns(at: &At) -> Check {
    for (seed, &n) in (0..).zip(at.shapes(&[65, 129, 300, 1100, 4099, 33_000], &[65, 300, 4099])) {
        for dtype in at.floats() {
            for shape in [[1, n, 24], [3, n, 8], [1, n, 144]] {
                let numel = shape.iter().product::<usize>();
                if numel > 1 << 20 {
                    continue;
                }
                let new = |seed| upload(&Fill::Tame.values(numel, dtype, seed), &shape, dtype, &at.device);
                let (grads, x) = (new(seed)?, new(seed + 50)?);
                let (beside, width) = (Tensor::zeros([shape[0], n, 8], dtype, &at.device)?, shape[2]);
                let of_wider = |x: &Tensor| Tensor::cat(&[&beside, x, &beside], 2)?.slice(2, 8..8 + width);
                for log in [false, true] {
                    let y = if log { x.clone().log_softmax(1)? } else { x.clone().softmax(1)? };
                    let call = |grad: Tensor, y: &Tensor| {
                        if log { grad.log_softmax_backward(1, y) } else { grad.softmax_backward(1, y, 0.37) }
                    };
                    let pairs = download(&grads)?.into_iter().zip(download(&y)?);
                    let pairs: Vec<(f64, f64)> = pairs.map(|(grad, y)| (grad.float(), y.float())).collect();
                    let want = by_rows(&shape, 1, &pairs, |row, _| match log {
                        true => log_softmax_backward(row, dtype),
                        false => softmax_backward(row, 0.37, dtype),
                    });
                    poison(&at.device, &[numel * dtype.size()])?;
                    within(&call(grads.clone(), &y)?, &want)?;
                    within(&call(grads.copy()?, &y)?, &want)?;
                    within(&call(of_wider(&grads)?, &of_wider(&y)?)?, &want)?;
                }
            }
        }
    }
    Ok(())
}

/// Rows that a card shares among blocks that stay, each more than once.
fn many_long_rows(at: &At) -> Check {
    let all = [(81, 65_536), (41, 131_072), (83, 98_304), (41, 131_080)];
    for &(times, n) in at.shapes(&all, &all[..1]) {
        let times = if at.device.is_cuda() { times } else { 1 };
        for &dtype in at.shapes(&at.floats(), &[DType::F16]) {
            let new = |seed| upload(&Fill::Tame.values(3 * n, dtype, seed), &[3, n], dtype, &at.device);
            let (grad, x) = (new(1)?, new(51)?);
            let again = |three: Tensor| three.reshape([1, 3, n])?.broadcast_to([times, 3, n]);
            for log in [false, true] {
                let y = if log { x.clone().log_softmax(1)? } else { x.clone().softmax(1)? };
                let pairs = download(&grad)?.into_iter().zip(download(&y)?);
                let pairs: Vec<(f64, f64)> = pairs.map(|(grad, y)| (grad.float(), y.float())).collect();
                let want = by_rows(&[3, n], 1, &pairs, |row, _| match log {
                    true => log_softmax_backward(row, dtype),
                    false => softmax_backward(row, 0.37, dtype),
                });
                let (grads, y) = (again(grad.clone())?.contiguous()?, again(y)?.contiguous()?);
                let call = |grad: Tensor| {
                    if log { grad.log_softmax_backward(2, &y) } else { grad.softmax_backward(2, &y, 0.37) }
                };
                let beside = call(grads.clone())?;
                let over = call(grads)?;
                same_tensors(&beside, &over)?;
                let three = over.clone().slice(0, 0..1)?.reshape([3, n])?;
                within(&three, &want)?;
                same_tensors(&over, &again(three)?)?;
            }
        }
    }
    Ok(())
}

/// A gradient that is NaN or infinite does no harm where a mask left nothing, in a row that has other elements and in one
/// that has none; NaN of the output spoils its row and no other.
fn what_takes_no_part_is_not_seen(at: &At) -> Check {
    for dtype in at.floats() {
        for n in [2, 3, 64, 1000, 40_000] {
            let (mut y, mut grad) = (vec![0.0; 3 * n], vec![f64::NAN; 3 * n]);
            (y[0], y[1], grad[0], grad[1]) = (0.5, 0.5, 3.0, 1.0);
            grad[n..2 * n].fill(f64::INFINITY);
            (y[2 * n], y[2 * n + 1], grad[2 * n], grad[2 * n + 1]) = (f64::NAN, 1.0, 1.0, 1.0);
            let new = |x: &[f64]| {
                let values: Vec<Value> = x.iter().map(|&x| Value::Float(x)).collect();
                upload(&values, &[3, n], dtype, &at.device)
            };
            let mut want = vec![Value::Float(0.0); 3 * n];
            (want[0], want[1]) = (Value::Float(0.5), Value::Float(-0.5));
            want[2 * n..2 * n + 2].fill(Value::Float(f64::NAN));
            let (y, grad) = (new(&y)?, new(&grad)?);
            same(&grad.clone().softmax_backward(1, &y, 1.0)?, &want)?;
            let across = grad.t()?.contiguous()?.softmax_backward(0, &y.t()?, 1.0)?;
            same(&across.t()?, &want)?;
        }
        for (shape, axis) in [([4, 0], 1), ([0, 4], 1), ([0, 4], 0), ([4, 0], 0)] {
            let none = Tensor::zeros(shape, dtype, &at.device)?;
            same_tensors(&none.clone().softmax_backward(axis, &none, 1.0)?, &none)?;
            same_tensors(&none.clone().log_softmax_backward(axis, &none)?, &none)?;
        }
    }
    Ok(())
}

/// The same bits every time, in place or not.
fn repeats(at: &At) -> Check {
    for shape in [[333, 1031], [3, 70_000], [2048, 64]] {
        let grad = Tensor::normal(shape, 0.0, 3.0, 9, DType::F32, &at.device)?;
        for axis in [0, 1] {
            let y = Tensor::normal(shape, 0.0, 3.0, 8, DType::F32, &at.device)?.softmax(axis)?;
            let first = grad.clone().softmax_backward(axis, &y, 1.0)?;
            for _ in 0..3 {
                same_tensors(&grad.clone().softmax_backward(axis, &y, 1.0)?, &first)?;
            }
            same_tensors(&grad.copy()?.softmax_backward(axis, &y, 1.0)?, &first)?;
        }
    }
    Ok(())
}

fn reuses_contiguous_memory(at: &At) -> Check {
    let new = || Tensor::zeros([64, 1000], DType::F32, &at.device);
    let y = new()?;
    let peak = |f: &dyn Fn(Tensor) -> Result<Tensor>, x: Tensor| -> Result<u64> {
        at.device.pool().reset_peaks();
        let before = at.device.stats().live_bytes;
        f(x)?;
        Ok(at.device.stats().peak_live_bytes - before)
    };
    for axis in [0, 1] {
        prop_assert_eq!(peak(&|x| x.softmax_backward(axis, &y, 1.0), new()?)?, 0);
        prop_assert_eq!(peak(&|x| x.log_softmax_backward(axis, &y), new()?)?, 0);
    }
    prop_assert_eq!(peak(&|x| x.clone().softmax_backward(1, &y, 1.0), new()?)?, 256_000);
    Ok(())
}

fn errors(at: &At) -> Check {
    let new = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &at.device);
    let grad = new(&[3, 4], DType::F32)?;
    let grad = || grad.clone();
    let live = at.device.stats().live_bytes;
    let message = "softmax_backward: axis 2 is not within the rank of [3, 4]";
    prop_assert_eq!(message_of(grad().softmax_backward(2, &grad(), 1.0))?, message);
    let message = "log_softmax_backward: the gradient [3, 4] and the output [4] differ";
    prop_assert_eq!(message_of(grad().log_softmax_backward(1, &new(&[4], DType::F32)?))?, message);
    let message = "softmax_backward: f32 and f16 differ; cast one";
    prop_assert_eq!(message_of(grad().softmax_backward(1, &new(&[3, 4], DType::F16)?, 1.0))?, message);
    let whole = new(&[3, 4], DType::I64)?;
    prop_assert_eq!(
        message_of(whole.clone().softmax_backward(1, &whole, 1.0))?,
        "softmax_backward: does not take i64"
    );
    let elsewhere = Tensor::zeros([3, 4], DType::F32, &at.fresh()?)?;
    prop_assert_eq!(kind_of(grad().softmax_backward(1, &elsewhere, 1.0))?, ErrorKind::Device);
    drop(whole);
    prop_assert_eq!(at.device.stats().live_bytes, live);
    Ok(())
}
