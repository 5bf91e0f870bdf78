//! Norms where they could go wrong: squares beyond f16, large means, rows of one number, long rows.

use proptest::prelude::*;
use taut::{DType, ErrorKind, Result, Tensor, f16};
use taut_tests::{
    Affine, At, Check, FEW_ROW_LENGTHS, Fill, Interval, ROW_LENGTHS, Suite, Value, added, by_rows, download,
    kind_of, layer_norm, message_of, poison, round, same, same_tensors, scale_norm, upload, within,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("norm::rows_of_any_length", rows_of_any_length);
    suite.real("norm::sums_of_any_length", sums_of_any_length);
    suite.real("norm::many_rows", many_rows);
    suite.real("norm::many_long_rows", many_long_rows);
    suite.real("norm::squares_beyond_f16", squares_beyond_f16);
    suite.real("norm::rows_of_one_number_are_the_bias", rows_of_one_number_are_the_bias);
    suite.real("norm::a_large_mean_does_no_harm", a_large_mean_does_no_harm);
    suite.real("norm::an_outlier_does_no_harm", an_outlier_does_no_harm);
    suite.real("norm::nan_and_infinity_stay_in_their_row", nan_and_infinity_stay_in_their_row);
    suite.real("norm::one_element_and_none", one_element_and_none);
    suite.real("norm::weights_may_be_views", weights_may_be_views);
    suite.real("norm::repeats", repeats);
    suite.everywhere("norm::reuses_contiguous_memory", reuses_contiguous_memory);
    suite.everywhere("norm::errors", errors);
}

const EPS: f32 = 1e-5;

/// Numbers along a row as a tensor and for the definition.
struct Along {
    tensors: [Tensor; 2],
    affine: Vec<Affine>,
}

fn along(n: usize, dtype: DType, at: &At) -> Result<Along> {
    let [weight, bias] = [100, 101].map(|seed| Fill::Tame.values(n, dtype, seed));
    let affine = weight.iter().zip(&bias).map(|(w, b)| (w.float(), b.float())).collect();
    let tensors = [upload(&weight, &[n], dtype, &at.device)?, upload(&bias, &[n], dtype, &at.device)?];
    Ok(Along { tensors, affine })
}

/// The same rows aligned to nothing.
fn shifted(values: &[Value], n: usize, dtype: DType, at: &At) -> Result<Tensor> {
    let all = [&[Value::Float(f64::NAN)], values].concat();
    let all = upload(&all, &[all.len()], dtype, &at.device)?;
    all.slice(0, 1..values.len() + 1)?.reshape([values.len() / n, n])
}

fn rows_of_any_length(at: &At) -> Check {
    for (seed, &n) in (0..).zip(at.shapes(&ROW_LENGTHS, &FEW_ROW_LENGTHS)) {
        for dtype in at.floats() {
            let values = Fill::Tame.values(3 * n, dtype, seed);
            let floats: Vec<f64> = values.iter().map(|x| x.float()).collect();
            let Along { tensors: [weight, bias], affine } = along(n, dtype, at)?;
            let one = vec![(1.0, 0.0); n];
            let want = |f: &dyn Fn(&[f64]) -> Vec<Interval>| by_rows(&[3, n], 1, &floats, |row, _| f(row));
            let layer = want(&|row| layer_norm(row, EPS, &affine, dtype));
            let rms = want(&|row| scale_norm(row, EPS, true, &affine, dtype));
            let l2 = want(&|row| scale_norm(row, EPS, false, &one, dtype));
            let packed = upload(&values, &[3, n], dtype, &at.device)?;
            let across = packed.clone().t()?.contiguous()?.t()?;
            for x in [packed, shifted(&values, n, dtype, at)?, across] {
                poison(&at.device, &[3 * n * dtype.size()])?;
                within(&x.clone().layer_norm(Some(&weight), Some(&bias), EPS)?, &layer)?;
                within(&x.clone().rms_norm(Some(&weight), EPS)?, &rms)?;
                within(&x.clone().l2_normalize(1, EPS)?, &l2)?;
                within(&x.copy()?.layer_norm(Some(&weight), Some(&bias), EPS)?, &layer)?;
                within(&x.t()?.copy()?.l2_normalize(0, EPS)?.t()?, &l2)?;
            }
        }
    }
    Ok(())
}

/// In place too, where the sum takes the place of what other threads still read.
fn sums_of_any_length(at: &At) -> Check {
    for (seed, &n) in (0..).zip(at.shapes(&ROW_LENGTHS, &FEW_ROW_LENGTHS)) {
        for dtype in at.floats() {
            let [a, b] = [seed, seed + 50].map(|seed| Fill::Tame.values(3 * n, dtype, seed));
            let sum: Vec<f64> = a.iter().zip(&b).map(|(a, b)| added(a.float(), b.float(), dtype)).collect();
            let Along { tensors: [weight, bias], affine } = along(n, dtype, at)?;
            let want = |f: &dyn Fn(&[f64]) -> Vec<Interval>| by_rows(&[3, n], 1, &sum, |row, _| f(row));
            let layer = want(&|row| layer_norm(row, EPS, &affine, dtype));
            let rms = want(&|row| scale_norm(row, EPS, true, &affine, dtype));
            let sum: Vec<Value> = sum.into_iter().map(Value::Float).collect();
            let residual = upload(&b, &[3, n], dtype, &at.device)?;
            let odd = shifted(&b, n, dtype, at)?;
            let packed = upload(&a, &[3, n], dtype, &at.device)?;
            for x in [packed.clone(), packed.t()?.contiguous()?.t()?] {
                for residual in [&residual, &odd] {
                    poison(&at.device, &[3 * n * dtype.size(); 2])?;
                    for x in [x.clone(), x.copy()?] {
                        let got = x.add_layer_norm(residual, Some(&weight), Some(&bias), EPS)?;
                        within(&got.0, &layer)?;
                        same(&got.1, &sum)?;
                    }
                    for x in [x.clone(), x.copy()?] {
                        let got = x.add_rms_norm(residual, Some(&weight), EPS)?;
                        within(&got.0, &rms)?;
                        same(&got.1, &sum)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Of each length more rows than a card has at once, three of them again and again.
fn many_rows(at: &At) -> Check {
    for &(times, n) in at.shapes(&[(700, 64), (370, 384), (180, 1000), (47, 4096)], &[(700, 64), (180, 1000)])
    {
        for dtype in at.floats() {
            let values = Fill::Tame.values(3 * n, dtype, 1);
            let floats: Vec<f64> = values.iter().map(|x| x.float()).collect();
            let Along { tensors: [weight, bias], affine } = along(n, dtype, at)?;
            let want = |f: &dyn Fn(&[f64]) -> Vec<Interval>| by_rows(&[3, n], 1, &floats, |row, _| f(row));
            let layer = want(&|row| layer_norm(row, EPS, &affine, dtype));
            let rms = want(&|row| scale_norm(row, EPS, true, &affine, dtype));
            let again = |three: Tensor| three.reshape([1, 3, n])?.broadcast_to([times, 3, n]);
            let x = again(upload(&values, &[3, n], dtype, &at.device)?)?.contiguous()?;
            let none = Tensor::zeros([times, 3, n], dtype, &at.device)?;
            for (got, want) in [
                (x.clone().layer_norm(Some(&weight), Some(&bias), EPS)?, &layer),
                (x.clone().add_layer_norm(&none, Some(&weight), Some(&bias), EPS)?.0, &layer),
                (x.rms_norm(Some(&weight), EPS)?, &rms),
            ] {
                let three = got.clone().slice(0, 0..1)?.reshape([3, n])?;
                within(&three, want)?;
                same_tensors(&got, &again(three)?)?;
            }
        }
    }
    Ok(())
}

/// Rows that a card shares among blocks that stay, each more than once; with weights of the same dtype, of f32 and without.
fn many_long_rows(at: &At) -> Check {
    let all = [(353, 16_384), (177, 32_768), (81, 65_536), (41, 131_072), (83, 98_304), (41, 131_080)];
    for &(times, n) in at.shapes(&all, &[(81, 65_536)]) {
        let times = if at.device.is_cuda() { times } else { 1 };
        for &dtype in at.shapes(&at.floats(), &[DType::F16]) {
            let values = Fill::Tame.values(3 * n, dtype, 1);
            let floats: Vec<f64> = values.iter().map(|x| x.float()).collect();
            let Along { tensors: [weight, bias], affine } = along(n, dtype, at)?;
            let wider = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
            let [wide_weight, wide_bias] = [weight.clone().cast(wider)?, bias.clone().cast(wider)?];
            let want = |f: &dyn Fn(&[f64]) -> Vec<Interval>| by_rows(&[3, n], 1, &floats, |row, _| f(row));
            let layer = want(&|row| layer_norm(row, EPS, &affine, dtype));
            let rms = want(&|row| scale_norm(row, EPS, true, &affine, dtype));
            let l2 = want(&|row| scale_norm(row, EPS, false, &vec![(1.0, 0.0); n], dtype));
            let again = |three: Tensor| three.reshape([1, 3, n])?.broadcast_to([times, 3, n]);
            let x = again(upload(&values, &[3, n], dtype, &at.device)?)?.contiguous()?;
            for (got, want) in [
                (x.clone().layer_norm(Some(&weight), Some(&bias), EPS)?, &layer),
                (x.clone().layer_norm(Some(&wide_weight), Some(&wide_bias), EPS)?, &layer),
                (x.clone().rms_norm(Some(&wide_weight), EPS)?, &rms),
                (x.clone().l2_normalize(2, EPS)?, &l2),
                (x.rms_norm(Some(&weight), EPS)?, &rms),
            ] {
                let three = got.clone().slice(0, 0..1)?.reshape([3, n])?;
                within(&three, want)?;
                same_tensors(&got, &again(three)?)?;
            }
        }
    }
    Ok(())
}

/// 60,000 squared is beyond f16 by far, and so is the sum of a row.
fn squares_beyond_f16(at: &At) -> Check {
    for n in [2, 64, 1000, 4096, 40_000] {
        let large = Tensor::full([2, n], 60_000.0, DType::F16, &at.device)?;
        prop_assert_eq!(large.clone().rms_norm(None, EPS)?.to_vec::<f16>()?, vec![f16::ONE; 2 * n]);
        let part = f16::from_f64(1.0 / (n as f64).sqrt());
        let l2 = large.clone().l2_normalize(1, EPS)?.to_vec::<f16>()?;
        prop_assert!(l2.iter().all(|x| (x.to_f32() / part.to_f32() - 1.0).abs() < 1e-3));
        let signs: Vec<f16> = (0..2 * n).map(|i| if i % 2 == 0 { f16::ONE } else { f16::NEG_ONE }).collect();
        let mixed = large.mul(&Tensor::from_slice(&signs, [2, n], &at.device)?)?;
        prop_assert_eq!(&mixed.clone().layer_norm(None, None, EPS)?.to_vec::<f16>()?, &signs);
        let (norm, sum) = mixed.clone().add_layer_norm(&mixed.clone().mul_scalar(-0.5)?, None, None, EPS)?;
        prop_assert_eq!(norm.to_vec::<f16>()?, signs);
        same_tensors(&sum, &mixed.mul_scalar(0.5)?)?;
    }
    Ok(())
}

/// Without variance nothing is left of a row but the bias, however large its number is: no error is made larger by a
/// division by almost nothing.
fn rows_of_one_number_are_the_bias(at: &At) -> Check {
    for dtype in at.floats() {
        for n in [1, 3, 64, 777, 4096, 20_001, 70_000] {
            for value in [0.0, 0.1, -60_000.0, 65_504.0, 1e-7] {
                let x = Tensor::full([2, n], value, dtype, &at.device)?;
                let bias = Tensor::full([n], 0.25, dtype, &at.device)?;
                let y = x.clone().layer_norm(None, Some(&bias), 1e-12)?;
                same(&y, &vec![Value::Float(0.25); 2 * n])?;
                let zeros = Tensor::zeros([2, n], dtype, &at.device)?;
                same(
                    &x.add_layer_norm(&zeros, None, Some(&bias), 1e-12)?.0,
                    &vec![Value::Float(0.25); 2 * n],
                )?;
            }
            // Nothing is divided by 0.
            let zeros = Tensor::zeros([2, n], dtype, &at.device)?;
            same(&zeros.clone().rms_norm(None, EPS)?, &vec![Value::Float(0.0); 2 * n])?;
            same(&zeros.l2_normalize(1, EPS)?, &vec![Value::Float(0.0); 2 * n])?;
        }
    }
    Ok(())
}

/// Noise around 10,000 and a million: the error is one of the noise, not of the mean.
fn a_large_mean_does_no_harm(at: &At) -> Check {
    for n in [64, 1000, 4096, 20_001, 70_000] {
        for mean in [1e4, -1e6] {
            let x = Tensor::normal([3, n], 0.0, 1.0, 7, DType::F32, &at.device)?.add_scalar(mean)?;
            let values: Vec<f64> = download(&x)?.iter().map(|x| x.float()).collect();
            let one = vec![(1.0, 0.0); n];
            let want = by_rows(&[3, n], 1, &values, |row, _| layer_norm(row, EPS, &one, DType::F32));
            within(&x.clone().layer_norm(None, None, EPS)?, &want)?;
            within(&x.t()?.contiguous()?.t()?.layer_norm(None, None, EPS)?, &want)?;
        }
    }
    Ok(())
}

/// One element far from the others, first or last: from the first, distances are counted.
fn an_outlier_does_no_harm(at: &At) -> Check {
    for n in [64, 1000, 4096, 20_001, 70_000] {
        for place in [0, n / 2, n - 1] {
            let mut values = Fill::Tame.values(n, DType::F32, 3);
            values[place] = Value::Float(1e5);
            let floats: Vec<f64> = values.iter().map(|x| x.float()).collect();
            let want = layer_norm(&floats, EPS, &vec![(1.0, 0.0); n], DType::F32);
            within(&upload(&values, &[n], DType::F32, &at.device)?.layer_norm(None, None, EPS)?, &want)?;
        }
    }
    Ok(())
}

fn nan_and_infinity_stay_in_their_row(at: &At) -> Check {
    for dtype in at.floats() {
        for n in [3, 64, 1000, 4096, 40_000] {
            for (bad, place) in [(f64::NAN, n / 2), (f64::INFINITY, 0), (f64::NEG_INFINITY, n - 1)] {
                let mut values: Vec<Value> =
                    (0..2 * n).map(|i| Value::Float(round((i % 3) as f64 - 0.5, dtype))).collect();
                values[place] = Value::Float(bad);
                let x = upload(&values, &[2, n], dtype, &at.device)?;
                let zeros = Tensor::zeros([2, n], dtype, &at.device)?;
                let nan = vec![Value::Float(f64::NAN); n];
                let layer = x.clone().layer_norm(None, None, EPS)?;
                let add = x.clone().add_layer_norm(&zeros, None, None, EPS)?.0;
                for y in [&layer, &add] {
                    same(&y.clone().slice(0, 0..1)?, &nan)?;
                    let rest = download(&y.clone().slice(0, 1..2)?)?;
                    prop_assert!(
                        rest.iter().all(|x| x.float().is_finite()),
                        "{} {} at {}",
                        dtype,
                        bad,
                        place
                    );
                }
                let (rms, l2) = (x.clone().rms_norm(None, EPS)?, x.l2_normalize(1, EPS)?);
                for y in [rms, l2] {
                    let first = download(&y.clone().slice(0, 0..1)?)?;
                    let right = |(i, x): (usize, &Value)| {
                        if bad.is_nan() || i == place { x.float().is_nan() } else { x.float() == 0.0 }
                    };
                    prop_assert!(first.iter().enumerate().all(right), "{} {} at {}", dtype, bad, place);
                    let rest = download(&y.slice(0, 1..2)?)?;
                    prop_assert!(
                        rest.iter().all(|x| x.float().is_finite()),
                        "{} {} at {}",
                        dtype,
                        bad,
                        place
                    );
                }
            }
        }
    }
    Ok(())
}

fn one_element_and_none(at: &At) -> Check {
    for dtype in at.floats() {
        let x = upload(&[-3.0, 0.0, 2.0].map(Value::Float), &[3, 1], dtype, &at.device)?;
        same(&x.clone().layer_norm(None, None, EPS)?, &[Value::Float(0.0); 3])?;
        same(&x.clone().rms_norm(None, 0.0)?.slice(0, 2..3)?, &[Value::Float(1.0)])?;
        same(&x.l2_normalize(1, EPS)?, &[-1.0, 0.0, 1.0].map(Value::Float))?;
        for shape in [[4, 0], [0, 4]] {
            let none = Tensor::zeros(shape, dtype, &at.device)?;
            let weight = Tensor::zeros([shape[1]], dtype, &at.device)?;
            same_tensors(&none.clone().layer_norm(Some(&weight), Some(&weight), EPS)?, &none)?;
            same_tensors(&none.clone().rms_norm(Some(&weight), EPS)?, &none)?;
            same_tensors(&none.clone().l2_normalize(0, EPS)?, &none)?;
            let (norm, sum) = none.clone().add_rms_norm(&none, None, EPS)?;
            same_tensors(&norm, &none)?;
            same_tensors(&sum, &none)?;
        }
    }
    Ok(())
}

/// Weights that begin on no pack, and that are repeated.
fn weights_may_be_views(at: &At) -> Check {
    for dtype in at.floats() {
        let x = Tensor::normal([4, 64], 0.0, 1.0, 3, dtype, &at.device)?;
        let all = Tensor::normal([80], 0.0, 1.0, 4, dtype, &at.device)?;
        for start in [0, 1, 8, 13] {
            let weight = all.clone().slice(0, start..start + 64)?;
            let got = x.clone().layer_norm(Some(&weight), Some(&weight), EPS)?;
            let want = x.clone().layer_norm(None, None, EPS)?;
            let want = want.cast(DType::F32)?.mul(&weight.clone().cast(DType::F32)?)?;
            let want = want.add(&weight.cast(DType::F32)?)?;
            let error =
                download(&got)?.into_iter().zip(download(&want)?).map(|(a, b)| (a.float() - b.float()).abs());
            let most = if dtype == DType::BF16 { 0.1 } else { 0.02 };
            prop_assert!(error.fold(0.0, f64::max) < most);
        }
        let one = all.slice(0, 5..6)?.broadcast_to([64])?;
        let got = x.clone().rms_norm(Some(&one), EPS)?;
        same_tensors(&got, &x.rms_norm(Some(&one.contiguous()?), EPS)?)?;
    }
    Ok(())
}

/// The same bits every time, in place or not.
fn repeats(at: &At) -> Check {
    for shape in [[333, 1031], [3, 70_000], [2048, 64]] {
        let x = Tensor::normal(shape, 5.0, 3.0, 9, DType::F32, &at.device)?;
        let first = x.clone().layer_norm(None, None, EPS)?;
        let (norm, sum) = x.clone().add_layer_norm(&x, None, None, EPS)?;
        for _ in 0..3 {
            same_tensors(&x.clone().layer_norm(None, None, EPS)?, &first)?;
            let again = x.copy()?.add_layer_norm(&x, None, None, EPS)?;
            same_tensors(&again.0, &norm)?;
            same_tensors(&again.1, &sum)?;
        }
        same_tensors(&x.copy()?.layer_norm(None, None, EPS)?, &first)?;
    }
    Ok(())
}

fn reuses_contiguous_memory(at: &At) -> Check {
    let new = || Tensor::zeros([64, 1000], DType::F32, &at.device);
    let (residual, bytes) = (new()?, 256_000);
    let peak = |f: &dyn Fn(Tensor) -> Result<()>, x: Tensor| -> Result<u64> {
        at.device.pool().reset_peaks();
        let before = at.device.stats().live_bytes;
        f(x)?;
        Ok(at.device.stats().peak_live_bytes - before)
    };
    prop_assert_eq!(peak(&|x| x.layer_norm(None, None, EPS).map(drop), new()?)?, 0);
    prop_assert_eq!(peak(&|x| x.rms_norm(None, EPS).map(drop), new()?)?, 0);
    prop_assert_eq!(peak(&|x| x.l2_normalize(0, EPS).map(drop), new()?)?, 0);
    prop_assert_eq!(peak(&|x| x.clone().rms_norm(None, EPS).map(drop), new()?)?, bytes);
    // One result of two takes new memory.
    prop_assert_eq!(peak(&|x| x.add_rms_norm(&residual, None, EPS).map(drop), new()?)?, bytes);
    prop_assert_eq!(peak(&|x| x.clone().add_rms_norm(&residual, None, EPS).map(drop), new()?)?, 2 * bytes);
    Ok(())
}

fn errors(at: &At) -> Check {
    let new = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &at.device);
    let x = new(&[3, 4], DType::F16)?;
    let x = || x.clone();
    let live = at.device.stats().live_bytes;
    let wrong = new(&[3], DType::F16)?;
    let message = "layer_norm: [3, 4] and the weight [3]: it must be [4]";
    prop_assert_eq!(message_of(x().layer_norm(Some(&wrong), None, EPS))?, message);
    let message = "layer_norm: [3, 4] and the bias [3]: it must be [4]";
    prop_assert_eq!(message_of(x().layer_norm(None, Some(&wrong), EPS))?, message);
    let other = new(&[4], DType::BF16)?;
    let message = "rms_norm: f16 and the weight bf16 differ; cast one";
    prop_assert_eq!(message_of(x().rms_norm(Some(&other), EPS))?, message);
    let (weight, bias) = (new(&[4], DType::F16)?, new(&[4], DType::F32)?);
    let message = "layer_norm: f16 and f32 differ; cast one";
    prop_assert_eq!(message_of(x().layer_norm(Some(&weight), Some(&bias), EPS))?, message);
    prop_assert_eq!(
        message_of(x().l2_normalize(2, EPS))?,
        "l2_normalize: axis 2 is not within the rank of [3, 4]"
    );
    let message = "rms_norm: the input is a scalar, it needs an axis";
    prop_assert_eq!(message_of(new(&[], DType::F32)?.rms_norm(None, EPS))?, message);
    prop_assert_eq!(message_of(new(&[4], DType::U8)?.rms_norm(None, EPS))?, "rms_norm: does not take u8");
    let message = "add_rms_norm: [3, 4] and the residual [4] differ";
    prop_assert_eq!(message_of(x().add_rms_norm(&weight, None, EPS))?, message);
    let wide = new(&[3, 4], DType::F32)?;
    prop_assert_eq!(kind_of(x().add_layer_norm(&wide, None, None, EPS))?, ErrorKind::DType);
    let elsewhere = Tensor::zeros([4], DType::F16, &at.fresh()?)?;
    prop_assert_eq!(kind_of(x().rms_norm(Some(&elsewhere), EPS))?, ErrorKind::Device);
    drop((wrong, other, weight, bias, wide));
    prop_assert_eq!(at.device.stats().live_bytes, live);
    Ok(())
}
