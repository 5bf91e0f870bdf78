//! Cross entropy: rows of any length, what its gradient is the derivative of, rows that do not count, and labels that are out
//! of range.

use proptest::prelude::*;
use taut::{DType, ErrorKind, Result, Tensor};
use taut_tests::{
    At, Check, CrossEntropy, FEW_ROW_LENGTHS, Fill, Interval, Suite, Value, cross_entropy, download, fail,
    kind_of, message_of, poison, same, same_tensors, upload, within,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.cpu("cross_entropy::is_the_derivative", is_the_derivative);
    suite.real("cross_entropy::rows_of_any_length", rows_of_any_length);
    suite.real("cross_entropy::large_logits_and_masked_classes", large_logits_and_masked_classes);
    suite.real("cross_entropy::what_is_ignored_is_not_seen", what_is_ignored_is_not_seen);
    suite.alone(|suite| suite.real("cross_entropy::labels_out_of_range", labels_out_of_range));
    suite.everywhere("cross_entropy::reuses_the_logits", reuses_the_logits);
    suite.everywhere("cross_entropy::errors", errors);
}

const LENGTHS: [usize; 17] =
    [1, 2, 31, 33, 128, 129, 257, 513, 1025, 4096, 8193, 16_384, 16_392, 33_000, 65_544, 131_072, 131_077];

fn scale(value: f64, dtype: DType, at: &At) -> Result<Tensor> {
    let dtype = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    Tensor::full([], value, dtype, &at.device)
}

/// By central differences in f64.
fn is_the_derivative(at: &At) -> Check {
    let h = 1e-5;
    let x = Tensor::normal([4, 6], 0.0, 1.0, 1, DType::F64, &at.device)?;
    let targets = Tensor::from_slice(&[5i64, 0, 2, 3], [4], &at.device)?;
    for smoothing in [0.0, 0.2] {
        let (_, grad) =
            x.clone().cross_entropy_with_grad(&targets, smoothing, Some(2), &scale(0.5, DType::F64, at)?)?;
        let values = download(&x)?;
        for (i, got) in download(&grad)?.into_iter().enumerate() {
            let moved = |by: f64| -> Result<f64> {
                let mut values = values.clone();
                values[i] = Value::Float(values[i].float() + by);
                let x = upload(&values, &[4, 6], DType::F64, &at.device)?;
                x.cross_entropy(&targets, smoothing, Some(2))?.sum(&[])?.item::<f64>()
            };
            let want = 0.5 * (moved(h)? - moved(-h)?) / (2.0 * h);
            prop_assert!((got.float() - want).abs() < 1e-8, "{:?} where differences say {}", got, want);
        }
    }
    Ok(())
}

/// What must come of three rows.
fn wanted(x: &Tensor, labels: &[i64], by: CrossEntropy) -> Result<(Vec<Interval>, Vec<Interval>)> {
    let values: Vec<f64> = download(x)?.iter().map(|x| x.float()).collect();
    let rows = values.chunks(x.shape()[1]).zip(labels);
    let (losses, grads): (Vec<_>, Vec<_>) =
        rows.map(|(row, &label)| cross_entropy(row, Some(label as usize), by)).unzip();
    Ok((losses, grads.concat()))
}

fn rows_of_any_length(at: &At) -> Check {
    for (seed, &n) in (0..).zip(at.shapes(&LENGTHS, &FEW_ROW_LENGTHS)) {
        for dtype in at.floats() {
            for smoothing in [0.0, 0.1] {
                let values = Fill::Tame.values(3 * n, dtype, seed);
                let x = upload(&values, &[3, n], dtype, &at.device)?;
                let labels = [n as i64 - 1, 0, n as i64 / 2];
                let targets = Tensor::from_slice(&labels, [3], &at.device)?;
                let by = CrossEntropy { smoothing, scale: f64::from(-0.37f32), dtype };
                let (losses, grads) = wanted(&x, &labels, by)?;
                let shifted = [vec![Value::Float(f64::NAN)], values].concat();
                let shifted = upload(&shifted, &[3 * n + 1], dtype, &at.device)?.slice(0, 1..3 * n + 1)?;
                let across = x.clone().t()?.contiguous()?.t()?;
                let scale = scale(by.scale, dtype, at)?;
                poison(&at.device, &[3 * n * dtype.size()])?;
                for x in [x.clone(), x.copy()?, shifted.reshape([3, n])?, across] {
                    within(&x.clone().cross_entropy(&targets, smoothing, None)?, &losses)?;
                    let got = x.cross_entropy_with_grad(&targets, smoothing, None, &scale)?;
                    within(&got.0, &losses)?;
                    within(&got.1, &grads)?;
                }
            }
        }
    }
    Ok(())
}

/// Nothing overflows; a class that is masked by -inf has no part, unless it is the label, or smoothed.
fn large_logits_and_masked_classes(at: &At) -> Check {
    const INF: f64 = f64::INFINITY;
    for dtype in at.floats() {
        let new = |x: &[f64]| {
            upload(&x.iter().map(|&x| Value::Float(x)).collect::<Vec<_>>(), &[1, 3], dtype, &at.device)
        };
        let zero = Tensor::from_slice(&[0i64], [1], &at.device)?;
        for (x, smoothing, loss) in [
            ([32_768.0, -32_768.0, 0.0], 0.0, 0.0),
            ([-32_768.0, 0.0, -32_768.0], 0.0, 32_768.0),
            ([0.0, -INF, -INF], 0.0, 0.0),
            ([-INF, 0.0, -INF], 0.0, INF),
            ([0.0, -INF, -INF], 0.5, INF),
            ([-INF; 3], 0.0, f64::NAN),
            ([INF, 0.0, 0.0], 0.0, f64::NAN),
        ] {
            let losses = new(&x)?.cross_entropy(&zero, smoothing, None)?;
            same(&losses, &[Value::Float(loss)])?;
        }
        let (_, grad) =
            new(&[0.0, -INF, 0.0])?.cross_entropy_with_grad(&zero, 0.0, None, &scale(1.0, dtype, at)?)?;
        same(&grad, &[-0.5, 0.0, 0.5].map(Value::Float))?;
    }
    Ok(())
}

fn what_is_ignored_is_not_seen(at: &At) -> Check {
    for dtype in at.floats() {
        for n in [1, 3, 64, 1000, 40_000] {
            let mut values = vec![Value::Float(f64::NAN); 2 * n];
            values[n..].fill(Value::Float(0.0));
            let x = upload(&values, &[2, n], dtype, &at.device)?;
            let targets = Tensor::from_slice(&[-100i64, 0], [2], &at.device)?;
            let (losses, grad) =
                x.cross_entropy_with_grad(&targets, 0.0, Some(-100), &scale(1.0, dtype, at)?)?;
            let losses = download(&losses)?;
            prop_assert!(
                losses[0].is(Value::Float(0.0)) && (losses[1].float() - (n as f64).ln()).abs() < 1e-4
            );
            same(&grad.clone().slice(0, 0..1)?, &vec![Value::Float(0.0); n])?;
            prop_assert!(download(&grad)?[n..].iter().all(|x| x.float().is_finite()));
        }
        let none = Tensor::zeros([0, 5], dtype, &at.device)?;
        let no_targets = Tensor::zeros([0], DType::I64, &at.device)?;
        prop_assert_eq!(none.clone().cross_entropy(&no_targets, 0.0, None)?.numel(), 0);
        let (_, grad) =
            none.clone().cross_entropy_with_grad(&no_targets, 0.0, None, &scale(1.0, dtype, at)?)?;
        same_tensors(&grad, &none)?;
    }
    Ok(())
}

/// An error of kind Shape that names the op and the label: at once on the CPU; on a card by the next call that waits.
fn labels_out_of_range(at: &At) -> Check {
    let x = Tensor::zeros([3, 5], DType::F32, &at.device)?;
    let one = scale(1.0, DType::F32, at)?;
    for bad in [-1i64, 5, i64::MIN, 1 << 40] {
        let targets = Tensor::from_slice(&[0, bad, 4], [3], &at.device)?;
        for with_grad in [false, true] {
            let result = match with_grad {
                true => x.clone().cross_entropy_with_grad(&targets, 0.0, Some(-100), &one).map(|both| both.0),
                false => x.clone().cross_entropy(&targets, 0.0, Some(-100)),
            };
            let late = at.device.synchronize();
            let error = match (at.device.is_cuda(), result, late) {
                (false, Err(error), Ok(())) => error,
                (true, Ok(_), Err(error)) => error,
                (_, result, late) => return Err(fail(format!("{result:?}, then {late:?}"))),
            };
            prop_assert_eq!(error.kind(), ErrorKind::Shape);
            prop_assert!(error.to_string().starts_with("cross_entropy: index "), "{}", error);
        }
    }
    prop_assert_eq!(x.to_vec::<f32>()?, [0.0; 15]);
    Ok(())
}

fn reuses_the_logits(at: &At) -> Check {
    let new = || Tensor::zeros([64, 1000], DType::F16, &at.device);
    let (targets, one) = (Tensor::zeros([64], DType::I64, &at.device)?, scale(1.0, DType::F32, at)?);
    let peak = |x: Tensor, held: bool| -> Result<u64> {
        let kept = held.then(|| x.clone());
        at.device.pool().reset_peaks();
        let before = at.device.stats().live_bytes;
        x.cross_entropy_with_grad(&targets, 0.1, None, &one)?;
        drop(kept);
        Ok(at.device.stats().peak_live_bytes - before)
    };
    prop_assert_eq!(peak(new()?, false)?, 256);
    prop_assert_eq!(peak(new()?, true)?, 256 + 128_000);
    Ok(())
}

fn errors(at: &At) -> Check {
    let new = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &at.device);
    let (x, targets, one) = (new(&[3, 4], DType::F16)?, new(&[3], DType::I64)?, scale(1.0, DType::F32, at)?);
    let x = || x.clone();
    let live = at.device.stats().live_bytes;
    let short = new(&[4], DType::I64)?;
    let message = "cross_entropy: [3, 4] by [4]: must be [rows, classes] by [rows], of at least a class";
    prop_assert_eq!(message_of(x().cross_entropy(&short, 0.0, None))?, message);
    let message = "cross_entropy: the targets are f32, not i64";
    prop_assert_eq!(message_of(x().cross_entropy(&new(&[3], DType::F32)?, 0.0, None))?, message);
    let message = "cross_entropy: a smoothing of 1.5, it must be in [0, 1]";
    prop_assert_eq!(message_of(x().cross_entropy(&targets, 1.5, None))?, message);
    prop_assert_eq!(kind_of(x().cross_entropy(&targets, f32::NAN, None))?, ErrorKind::Value);
    let two = new(&[2], DType::F32)?;
    let message = "cross_entropy: the scale is [2], it must be one element";
    prop_assert_eq!(message_of(x().cross_entropy_with_grad(&targets, 0.0, None, &two))?, message);
    let half = new(&[], DType::F16)?;
    prop_assert_eq!(kind_of(x().cross_entropy_with_grad(&targets, 0.0, None, &half))?, ErrorKind::DType);
    let whole = new(&[3, 4], DType::I64)?;
    prop_assert_eq!(
        message_of(whole.cross_entropy(&targets, 0.0, None))?,
        "cross_entropy: does not take i64"
    );
    let elsewhere = Tensor::zeros([3], DType::I64, &at.fresh()?)?;
    prop_assert_eq!(kind_of(x().cross_entropy(&elsewhere, 0.0, None))?, ErrorKind::Device);
    drop((short, two, half, one));
    prop_assert_eq!(at.device.stats().live_bytes, live - 4);
    Ok(())
}
