//! The backward of norms: rows of any length, what it is the derivative of, large means, and what is refused.

use proptest::prelude::*;
use taut::{DType, ErrorKind, Norm, Result, Tensor};
use taut_tests::{
    At, Check, FEW_ROW_LENGTHS, Fill, Interval, Suite, Value, by_rows, download, kind_of, message_of,
    norm_backward, norm_weight_backward, poison, same, same_tensors, upload, within,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.cpu("norm_backward::is_the_derivative", is_the_derivative);
    suite.real("norm_backward::rows_of_any_length", rows_of_any_length);
    suite.real("norm_backward::many_long_rows", many_long_rows);
    suite.real("norm_backward::sums_of_many_rows", sums_of_many_rows);
    suite.real("norm_backward::a_large_mean_does_no_harm", a_large_mean_does_no_harm);
    suite.real("norm_backward::what_is_not_finite_stays_in_its_row", what_is_not_finite_stays_in_its_row);
    suite.real("norm_backward::nothing", nothing);
    suite.real("norm_backward::repeats", repeats);
    suite.everywhere("norm_backward::reuses_contiguous_memory", reuses_contiguous_memory);
    suite.everywhere("norm_backward::errors", errors);
}

const NORMS: [Norm; 3] = [Norm::Layer, Norm::Rms, Norm::L2];
const LENGTHS: [usize; 16] =
    [1, 2, 31, 33, 128, 129, 257, 513, 1025, 4096, 8193, 16_384, 16_392, 33_000, 131_072, 131_077];
const EPS: f32 = 1e-5;

/// The norm itself.
fn norm(op: Norm, x: Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    match op {
        Norm::Layer | Norm::AddLayer => x.layer_norm(Some(weight), Some(bias), eps),
        Norm::Rms | Norm::AddRms => x.rms_norm(Some(weight), eps),
        Norm::L2 => x.l2_normalize(1, eps),
    }
}

/// By central differences in f64 of the sum of outputs times gradients: of the input, the weight and the bias. Rows are
/// about as long as 2, the larger of two bounds.
fn is_the_derivative(at: &At) -> Check {
    let h = 1e-5;
    let new = |shape: &[usize], seed| Tensor::normal(shape, 0.3, 1.0, seed, DType::F64, &at.device);
    let (x, grad, weight, bias) = (new(&[5, 6], 1)?, new(&[5, 6], 2)?, new(&[6], 3)?, new(&[6], 4)?);
    for (op, eps) in NORMS.into_iter().flat_map(|op| [(op, EPS), (op, 2.1)]) {
        let weighted = (op != Norm::L2).then_some(&weight);
        let mut pairs = vec![(0, grad.clone().norm_backward(op, 1, &x, weighted, eps)?)];
        if weighted.is_some() {
            let (of_weight, of_bias) = grad.norm_weight_backward(op, &x, eps, DType::F64)?;
            pairs.push((1, of_weight));
            pairs.extend(of_bias.map(|of_bias| (2, of_bias)));
        }
        for (which, got) in pairs {
            for (i, got) in download(&got)?.into_iter().enumerate() {
                let moved = |by: f64| -> Result<f64> {
                    let mut operands = [x.clone(), weight.clone(), bias.clone()];
                    let mut values = download(&operands[which])?;
                    values[i] = Value::Float(values[i].float() + by);
                    operands[which] = upload(&values, operands[which].shape(), DType::F64, &at.device)?;
                    let [x, weight, bias] = operands;
                    norm(op, x, &weight, &bias, eps)?.mul(&grad)?.sum(&[])?.item::<f64>()
                };
                let want = (moved(h)? - moved(-h)?) / (2.0 * h);
                let near = (got.float() - want).abs() < 1e-7;
                prop_assert!(near, "{:?} of operand {}: {:?} where differences say {}", op, which, got, want);
            }
        }
    }
    Ok(())
}

fn floats(x: &Tensor) -> Result<Vec<f64>> {
    Ok(download(x)?.iter().map(|x| x.float()).collect())
}

fn wanted(op: Norm, grad: &Tensor, x: &Tensor, weight: &[f64]) -> Result<Vec<Interval>> {
    let pairs: Vec<_> = floats(grad)?.into_iter().zip(floats(x)?).collect();
    Ok(by_rows(x.shape(), 1, &pairs, |row, _| norm_backward(op, row, EPS, weight, x.dtype())))
}

fn rows_of_any_length(at: &At) -> Check {
    for (seed, &n) in (0..).zip(at.shapes(&LENGTHS, &FEW_ROW_LENGTHS)) {
        for dtype in at.floats() {
            let new = |count: usize, seed| -> Result<Tensor> {
                upload(&Fill::Tame.values(count * n, dtype, seed), &[count, n], dtype, &at.device)
            };
            let (x, grad, weight) = (new(3, seed)?, new(3, seed + 50)?, new(1, 100)?.reshape([n])?);
            // Rows aligned to nothing, and across.
            let shifted = |x: &Tensor| -> Result<Tensor> {
                let values = [vec![Value::Float(f64::NAN)], download(x)?].concat();
                upload(&values, &[values.len()], dtype, &at.device)?.slice(0, 1..3 * n + 1)?.reshape([3, n])
            };
            let across = |x: &Tensor| x.clone().t()?.contiguous()?.t();
            for op in NORMS {
                let weighted = (op != Norm::L2).then_some(&weight);
                let factors = if weighted.is_some() { floats(&weight)? } else { vec![1.0; n] };
                let want = wanted(op, &grad, &x, &factors)?;
                let call = |grad: Tensor, x: &Tensor| grad.norm_backward(op, 1, x, weighted, EPS);
                poison(&at.device, &[3 * n * dtype.size()])?;
                within(&call(grad.clone(), &x)?, &want)?;
                within(&call(grad.copy()?, &x)?, &want)?;
                within(&call(grad.copy()?, &shifted(&x)?)?, &want)?;
                within(&call(shifted(&grad)?, &x)?, &want)?;
                within(&call(across(&grad)?, &across(&x)?)?, &want)?;
                if op == Norm::L2 {
                    let columns = grad.clone().t()?.copy()?;
                    within(&columns.norm_backward(op, 0, &x.clone().t()?.copy()?, None, EPS)?.t()?, &want)?;
                }
            }
        }
    }
    Ok(())
}

/// Rows that a card shares among blocks that stay, each more than once.
fn many_long_rows(at: &At) -> Check {
    let all = [(353, 16_384), (177, 32_768), (81, 65_536), (41, 131_072), (83, 98_304), (41, 131_080)];
    for &(times, n) in at.shapes(&all, &[(81, 65_536)]) {
        let times = if at.device.is_cuda() { times } else { 1 };
        for &dtype in at.shapes(&at.floats(), &[DType::F16]) {
            let new = |count: usize, seed| -> Result<Tensor> {
                upload(&Fill::Tame.values(count * n, dtype, seed), &[count, n], dtype, &at.device)
            };
            let (x, grad, weight) = (new(3, 1)?, new(3, 51)?, new(1, 100)?.reshape([n])?);
            let again = |three: Tensor| three.reshape([1, 3, n])?.broadcast_to([times, 3, n]);
            for &op in at.shapes(&NORMS, &NORMS[..1]) {
                let weighted = (op != Norm::L2).then_some(&weight);
                let factors = if weighted.is_some() { floats(&weight)? } else { vec![1.0; n] };
                let want = wanted(op, &grad, &x, &factors)?;
                let (many, grads) = (again(x.clone())?.contiguous()?, again(grad.clone())?.contiguous()?);
                let beside = grads.clone().norm_backward(op, 2, &many, weighted, EPS)?;
                let over = grads.norm_backward(op, 2, &many, weighted, EPS)?;
                same_tensors(&beside, &over)?;
                let three = over.clone().slice(0, 0..1)?.reshape([3, n])?;
                within(&three, &want)?;
                same_tensors(&over, &again(three)?)?;
            }
        }
    }
    Ok(())
}

/// Rows for one slice and for many, columns for a part of a tile and for several; rows that are read once, by one warp and by
/// all of a block.
fn sums_of_many_rows(at: &At) -> Check {
    let all = [
        (1, 40),
        (63, 256),
        (130, 1000),
        (3000, 33),
        (5000, 8),
        (70, 4096),
        (2, 70_000),
        (2200, 600),
        (2150, 1032),
    ];
    for &(rows, n) in at.shapes(&all, &[(63, 256), (130, 1000), (2, 9000), (2150, 72)]) {
        for dtype in at.floats() {
            sums_of(at, rows, n, dtype)?;
        }
    }
    // As many rows as fill half of a card.
    let long: &[usize] = if at.device.is_cuda() { at.shapes(&[2056, 4104, 8200], &[]) } else { &[] };
    long.iter().try_for_each(|&n| sums_of(at, 2113, n, DType::F16))
}

fn sums_of(at: &At, rows: usize, n: usize, dtype: DType) -> Check {
    let new = |seed| -> Result<Tensor> {
        upload(&Fill::Tame.values(rows * n, dtype, seed), &[rows, n], dtype, &at.device)
    };
    let (x, grad) = (new(1)?, new(2)?);
    for op in [Norm::Layer, Norm::Rms] {
        let [weight, bias] = norm_weight_backward(op, &floats(&grad)?, &floats(&x)?, n, EPS, dtype);
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let across = x.clone().t()?.contiguous()?.t()?;
        for (x, to) in [(&x, dtype), (&x, wide), (&across, wide)] {
            poison(&at.device, &[n * to.size(); 2])?;
            let got = grad.norm_weight_backward(op, x, EPS, to)?;
            within(&got.0, &weight)?;
            prop_assert_eq!(got.1.is_some(), op == Norm::Layer);
            got.1.map_or(Ok(()), |got| within(&got, &bias))?;
        }
    }
    Ok(())
}

/// Noise around 10,000 and a million: the error is one of the noise, not of the mean.
fn a_large_mean_does_no_harm(at: &At) -> Check {
    for n in [64, 1000, 4096, 20_001, 70_000] {
        for mean in [1e4, -1e6] {
            let x = Tensor::normal([3, n], 0.0, 1.0, 7, DType::F32, &at.device)?.add_scalar(mean)?;
            let grad = Tensor::normal([3, n], 1.0, 1.0, 8, DType::F32, &at.device)?;
            let want = wanted(Norm::Layer, &grad, &x, &vec![1.0; n])?;
            within(&grad.clone().norm_backward(Norm::Layer, 1, &x, None, EPS)?, &want)?;
            let [weight, _] =
                norm_weight_backward(Norm::Layer, &floats(&grad)?, &floats(&x)?, n, EPS, DType::F32);
            within(&grad.norm_weight_backward(Norm::AddLayer, &x, EPS, DType::F32)?.0, &weight)?;
        }
    }
    Ok(())
}

/// In the input or in the gradient, wherever it stands.
fn what_is_not_finite_stays_in_its_row(at: &At) -> Check {
    for dtype in at.floats() {
        for n in [3, 64, 1000, 4096, 40_000] {
            for (bad, place) in [(f64::NAN, n / 2), (f64::INFINITY, 0), (f64::NEG_INFINITY, n - 1)] {
                let mut values: Vec<Value> = (0..2 * n).map(|i| Value::Float((i % 3) as f64 - 0.5)).collect();
                let fine = upload(&values, &[2, n], dtype, &at.device)?;
                values[place] = Value::Float(bad);
                let spoiled = upload(&values, &[2, n], dtype, &at.device)?;
                for op in NORMS {
                    for (grad, x) in [(&fine, &spoiled), (&spoiled, &fine)] {
                        let y = floats(&grad.clone().norm_backward(op, 1, x, None, EPS)?)?;
                        prop_assert!(
                            y[..n].iter().all(|y| !y.is_finite()),
                            "{} {:?} {} at {}",
                            dtype,
                            op,
                            bad,
                            place
                        );
                        prop_assert!(
                            y[n..].iter().all(|y| y.is_finite()),
                            "{} {:?} {} at {}",
                            dtype,
                            op,
                            bad,
                            place
                        );
                    }
                }
            }
        }
    }
    Ok(())
}

/// Without rows sums are 0, and without columns there are none.
fn nothing(at: &At) -> Check {
    for dtype in at.floats() {
        for shape in [[4, 0], [0, 4]] {
            let none = Tensor::zeros(shape, dtype, &at.device)?;
            for op in NORMS {
                same_tensors(&none.clone().norm_backward(op, 1, &none, None, EPS)?, &none)?;
            }
            let (weight, bias) = none.norm_weight_backward(Norm::Layer, &none, EPS, dtype)?;
            same(&weight, &vec![Value::Float(0.0); shape[1]])?;
            same(&bias.unwrap_or(none), &vec![Value::Float(0.0); shape[1]])?;
        }
    }
    Ok(())
}

/// The same bits every time, in place or not.
fn repeats(at: &At) -> Check {
    for shape in [[333, 1031], [3, 70_000], [2048, 64]] {
        let x = Tensor::normal(shape, 5.0, 3.0, 9, DType::F32, &at.device)?;
        let grad = Tensor::normal(shape, 0.0, 3.0, 8, DType::F32, &at.device)?;
        let first = grad.clone().norm_backward(Norm::Layer, 1, &x, None, EPS)?;
        let weight = grad.norm_weight_backward(Norm::Rms, &x, EPS, DType::F32)?.0;
        for _ in 0..3 {
            same_tensors(&grad.clone().norm_backward(Norm::Layer, 1, &x, None, EPS)?, &first)?;
            same_tensors(&grad.norm_weight_backward(Norm::Rms, &x, EPS, DType::F32)?.0, &weight)?;
        }
        same_tensors(&grad.norm_backward(Norm::Layer, 1, &x, None, EPS)?, &first)?;
    }
    Ok(())
}

fn reuses_contiguous_memory(at: &At) -> Check {
    let new = || Tensor::zeros([64, 1000], DType::F32, &at.device);
    let x = new()?;
    let peak = |f: &dyn Fn(Tensor) -> Result<()>, grad: Tensor| -> Result<u64> {
        at.device.pool().reset_peaks();
        let before = at.device.stats().live_bytes;
        f(grad)?;
        Ok(at.device.stats().peak_tensor_bytes - before)
    };
    for op in NORMS {
        prop_assert_eq!(peak(&|grad| grad.norm_backward(op, 1, &x, None, EPS).map(drop), new()?)?, 0);
        prop_assert_eq!(
            peak(&|grad| grad.clone().norm_backward(op, 1, &x, None, EPS).map(drop), new()?)?,
            256_000
        );
    }
    let sums = |grad: Tensor| grad.norm_weight_backward(Norm::Layer, &x, EPS, DType::F32).map(drop);
    prop_assert_eq!(peak(&sums, new()?)?, 8000);
    Ok(())
}

fn errors(at: &At) -> Check {
    let new = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &at.device);
    let x = new(&[3, 4], DType::F16)?;
    let x = || x.clone();
    let live = at.device.stats().live_bytes;
    let (short, wide) = (new(&[3], DType::F16)?, new(&[3, 4], DType::F32)?);
    let message = "norm_backward: the gradient [3] and the input [3, 4] differ";
    prop_assert_eq!(message_of(short.clone().norm_backward(Norm::Rms, 1, &x(), None, EPS))?, message);
    let message = "norm_backward: f16 and f32 differ; cast one";
    prop_assert_eq!(message_of(x().norm_backward(Norm::Rms, 1, &wide, None, EPS))?, message);
    let message = "norm_backward: [3, 4] and the weight [3]: it must be [4]";
    prop_assert_eq!(message_of(x().norm_backward(Norm::Rms, 1, &x(), Some(&short), EPS))?, message);
    let message = "norm_backward: rms_norm is over the last axis of [3, 4], not 0";
    prop_assert_eq!(message_of(x().norm_backward(Norm::Rms, 0, &x(), None, EPS))?, message);
    let message = "norm_backward: axis 2 is not within the rank of [3, 4]";
    prop_assert_eq!(message_of(x().norm_backward(Norm::L2, 2, &x(), None, EPS))?, message);
    let message = "norm_backward: l2_normalize has no weight";
    prop_assert_eq!(message_of(x().norm_backward(Norm::L2, 1, &x(), Some(&short), EPS))?, message);
    let message = "norm_weight_backward: l2_normalize has no weight";
    prop_assert_eq!(message_of(x().norm_weight_backward(Norm::L2, &x(), EPS, DType::F32))?, message);
    let message = "norm_weight_backward: of gradients of f16 no sums of bf16 are made";
    prop_assert_eq!(message_of(x().norm_weight_backward(Norm::Rms, &x(), EPS, DType::BF16))?, message);
    let whole = new(&[4], DType::U8)?;
    let message = "norm_backward: does not take u8";
    prop_assert_eq!(message_of(whole.clone().norm_backward(Norm::Rms, 0, &whole, None, EPS))?, message);
    let scalar = new(&[], DType::F32)?;
    let message = "norm_weight_backward: the input is a scalar, it needs an axis";
    prop_assert_eq!(message_of(scalar.norm_weight_backward(Norm::Rms, &scalar, EPS, DType::F32))?, message);
    let elsewhere = Tensor::zeros([3, 4], DType::F16, &at.fresh()?)?;
    prop_assert_eq!(kind_of(x().norm_backward(Norm::Rms, 1, &elsewhere, None, EPS))?, ErrorKind::Device);
    drop((short, wide, whole, scalar));
    prop_assert_eq!(at.device.stats().live_bytes, live);
    Ok(())
}
