//! Softmax where it could go wrong: long rows, values at the ends of their range, rows of which nothing is left.

use proptest::prelude::*;
use taut::{DType, ErrorKind, Result, Tensor, bf16, f16};
use taut_tests::{
    At, Check, FEW_ROW_LENGTHS, Fill, Interval, ROW_LENGTHS, Suite, Value, by_rows, kind_of, log_softmax,
    message_of, poison, round, same, same_tensors, scaled, softmax, upload, within,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("softmax::rows_of_any_length", rows_of_any_length);
    suite.real("softmax::masked_rows_of_any_length", masked_rows_of_any_length);
    suite.real("softmax::packs_of_columns", packs_of_columns);
    suite.real("softmax::columns_beyond_the_cache", columns_beyond_the_cache);
    suite.real("softmax::many_rows", many_rows);
    suite.real("softmax::many_long_rows", many_long_rows);
    suite.real("softmax::ends_of_the_range", ends_of_the_range);
    suite.real("softmax::equal_elements_share_alike", equal_elements_share_alike);
    suite.real("softmax::nan_and_infinity_spoil_their_row", nan_and_infinity_spoil_their_row);
    suite.real("softmax::what_takes_no_part_is_not_seen", what_takes_no_part_is_not_seen);
    suite.real("softmax::one_element_and_none", one_element_and_none);
    suite.real("softmax::repeats", repeats);
    suite.everywhere("softmax::reuses_contiguous_memory", reuses_contiguous_memory);
    suite.everywhere("softmax::errors", errors);
}

/// The same numbers as rows that lie packed, aligned to nothing, and across.
fn views(values: &[Value], n: usize, dtype: DType, at: &At) -> Result<[Tensor; 3]> {
    let rows = values.len() / n;
    let packed = upload(values, &[rows, n], dtype, &at.device)?;
    let shifted = [&[Value::Float(f64::NAN)], values].concat();
    let shifted = upload(&shifted, &[values.len() + 1], dtype, &at.device)?;
    let shifted = shifted.slice(0, 1..values.len() + 1)?.reshape([rows, n])?;
    let across = packed.clone().t()?.contiguous()?.t()?;
    Ok([packed, shifted, across])
}

fn rows_of_any_length(at: &At) -> Check {
    for (seed, &n) in (0..).zip(at.shapes(&ROW_LENGTHS, &FEW_ROW_LENGTHS)) {
        for dtype in at.floats() {
            let shape = [3, n];
            let values = Fill::Tame.values(3 * n, dtype, seed);
            let floats: Vec<f64> = values.iter().map(|x| x.float()).collect();
            let want = by_rows(&shape, 1, &floats, |row, _| softmax(row, f64::NAN, dtype));
            let want_log = by_rows(&shape, 1, &floats, |row, _| log_softmax(row, dtype));
            for x in views(&values, n, dtype, at)? {
                poison(&at.device, &[3 * n * dtype.size()])?;
                within(&x.clone().softmax(1)?, &want)?;
                within(&x.clone().log_softmax(1)?, &want_log)?;
                // In place, and the other axis, along which neighbours lie.
                within(&x.copy()?.softmax(1)?, &want)?;
                within(&x.t()?.copy()?.softmax(0)?.t()?, &want)?;
            }
        }
    }
    Ok(())
}

fn masked_rows_of_any_length(at: &At) -> Check {
    let scale = 0.37;
    for (seed, &n) in (0..).zip(at.shapes(&ROW_LENGTHS, &FEW_ROW_LENGTHS)) {
        for dtype in at.floats() {
            let values = Fill::Tame.values(3 * n, dtype, seed);
            let truth = Fill::Whole.values(3 * n, DType::Bool, seed);
            let pairs: Vec<_> =
                values.iter().zip(&truth).map(|(x, t)| (x.float(), t.float() != 0.0)).collect();
            let want = by_rows(&[3, n], 1, &pairs, |row, _| {
                let x = row.iter().map(|&(x, t)| if t { scaled(x, scale, dtype) } else { f64::NEG_INFINITY });
                softmax(&x.collect::<Vec<_>>(), 0.0, dtype)
            });
            let masks = views(&truth, n, DType::Bool, at)?;
            for (x, mask) in views(&values, n, dtype, at)?.iter().zip(&masks) {
                poison(&at.device, &[3 * n * dtype.size()])?;
                within(&x.clone().softmax_with(1, scale, Some(mask))?, &want)?;
                within(&x.copy()?.softmax_with(1, scale, Some(&masks[0]))?, &want)?;
            }
        }
    }
    Ok(())
}

/// Columns that lie side by side, in one matrix and in several, and some of those of a wider one; out of place and in place.
fn packs_of_columns(at: &At) -> Check {
    for (seed, &n) in (0..).zip(at.shapes(&[129, 257, 300, 1100, 4099, 33_000], &[129, 300, 4099])) {
        for dtype in at.floats() {
            for shape in [[1, n, 24], [3, n, 8], [1, n, 144]] {
                let numel = shape.iter().product::<usize>();
                if numel > 1 << 20 {
                    continue;
                }
                let mut values = Fill::Tame.values(numel, dtype, seed);
                // A column of nothing but -inf, and one that NaN spoils.
                (0..n).for_each(|i| values[i * shape[2]] = Value::Float(f64::NEG_INFINITY));
                values[n / 2 * shape[2] + 7] = Value::Float(f64::NAN);
                let floats: Vec<f64> = values.iter().map(|x| x.float()).collect();
                let x = upload(&values, &shape, dtype, &at.device)?;
                let want = by_rows(&shape, 1, &floats, |row, _| softmax(row, f64::NAN, dtype));
                let want_log = by_rows(&shape, 1, &floats, |row, _| log_softmax(row, dtype));
                poison(&at.device, &[numel * dtype.size()])?;
                within(&x.clone().softmax(1)?, &want)?;
                within(&x.clone().log_softmax(1)?, &want_log)?;
                within(&x.copy()?.softmax(1)?, &want)?;
                // Of columns 8.. of a matrix that has 16 more.
                let (beside, width) = (Tensor::zeros([shape[0], n, 8], dtype, &at.device)?, shape[2]);
                let wide = Tensor::cat(&[&beside, &x, &beside], 2)?;
                within(&wide.slice(2, 8..8 + width)?.softmax(1)?, &want)?;
            }
        }
    }
    Ok(())
}

/// Columns that a card's cache does not hold, and their gradients, beside those of rows; out of place and in place.
fn columns_beyond_the_cache(at: &At) -> Check {
    if !at.device.is_cuda() {
        return Ok(());
    }
    for (dtype, apart) in
        [(DType::F16, [1e-6, 0.008]), (DType::BF16, [8e-6, 0.07]), (DType::F32, [2e-8, 1e-5])]
    {
        let new = |seed| Tensor::normal([65_603, 264], 0.0, 1.0, seed, dtype, &at.device);
        let (x, grad) = (new(1)?, new(2)?);
        let turned = |x: &Tensor| x.clone().t()?.contiguous();
        for (log, apart) in [false, true].into_iter().zip(apart) {
            let op = |x: Tensor, axis| if log { x.log_softmax(axis) } else { x.softmax(axis) };
            let back = |grad: Tensor, axis, y: &Tensor| match log {
                true => grad.log_softmax_backward(axis, y),
                false => grad.softmax_backward(axis, y, 1.0),
            };
            let y = op(x.clone(), 0)?;
            let of_rows = op(turned(&x)?, 1)?;
            let gradient = back(grad.clone(), 0, &y)?;
            let gradient_of_rows = back(turned(&grad)?, 1, &turned(&y)?)?;
            for (a, b, apart) in [(&y, of_rows, apart), (&gradient, gradient_of_rows, 8.0 * apart)] {
                let far =
                    a.clone().cast(DType::F32)?.sub(&turned(&b)?.cast(DType::F32)?)?.abs()?.max(&[0, 1])?;
                let far = far.to_vec::<f32>()?[0];
                prop_assert!(far <= apart, "{dtype}, log {log}: {far}");
            }
            same_tensors(&op(x.copy()?, 0)?, &y)?;
            same_tensors(&back(grad.copy()?, 0, &y)?, &gradient)?;
        }
    }
    Ok(())
}

/// Of each length more rows than a card has at once, three of them again and again.
fn many_rows(at: &At) -> Check {
    let all = [(700, 64), (370, 384), (180, 1000), (47, 4096), (50, 66_008)];
    for &(times, n) in at.shapes(&all, &[(700, 64), (180, 1000)]) {
        for dtype in at.floats() {
            let values = Fill::Tame.values(3 * n, dtype, 1);
            let floats: Vec<f64> = values.iter().map(|x| x.float()).collect();
            let want = by_rows(&[3, n], 1, &floats, |row, _| softmax(row, f64::NAN, dtype));
            let want_log = by_rows(&[3, n], 1, &floats, |row, _| log_softmax(row, dtype));
            let again = |three: Tensor| three.reshape([1, 3, n])?.broadcast_to([times, 3, n]);
            let x = again(upload(&values, &[3, n], dtype, &at.device)?)?.contiguous()?;
            let mask = Tensor::full([1], 1.0, DType::Bool, &at.device)?;
            for (got, want) in [
                (x.clone().softmax(2)?, &want),
                (x.clone().softmax_with(2, 1.0, Some(&mask))?, &want),
                (x.log_softmax(2)?, &want_log),
            ] {
                let three = got.clone().slice(0, 0..1)?.reshape([3, n])?;
                within(&three, want)?;
                same_tensors(&got, &again(three)?)?;
            }
        }
    }
    Ok(())
}

/// Rows that a card shares among blocks that stay, each more than once: some of whose elements are far from zero, and one that
/// infinity spoils, one that NaN does and one of nothing but -inf.
fn many_long_rows(at: &At) -> Check {
    const FAR: f64 = 300.0;
    let all = [(41, 65_536), (21, 131_072), (42, 98_304), (21, 131_080)];
    for &(times, n) in at.shapes(&all, &all[..1]) {
        let times = if at.device.is_cuda() { times } else { 1 };
        for &dtype in at.shapes(&at.floats(), &[DType::F16]) {
            let mut values = Fill::Tame.values(6 * n, dtype, 1);
            for (i, value) in values.iter_mut().enumerate() {
                let x = match (i / n, i % n) {
                    (1, _) => round(value.float() + FAR, dtype),
                    (2, j) if j == n - 3 => f64::INFINITY,
                    (3, j) if j == n / 2 => f64::NAN,
                    (4, _) => f64::NEG_INFINITY,
                    (5, j) if j != n - 1 => f64::NEG_INFINITY,
                    _ => continue,
                };
                *value = Value::Float(x);
            }
            let floats: Vec<f64> = values.iter().map(|x| x.float()).collect();
            let want = |f: &dyn Fn(&[f64]) -> Vec<Interval>| by_rows(&[6, n], 1, &floats, |row, _| f(row));
            let plain = want(&|row| softmax(row, f64::NAN, dtype));
            let log = want(&|row| log_softmax(row, dtype));
            let scale = 0.37;
            let less = want(&|row| {
                let row: Vec<f64> = row.iter().map(|&x| scaled(x, scale, dtype)).collect();
                softmax(&row, 0.0, dtype)
            });
            let again = |six: Tensor| six.reshape([1, 6, n])?.broadcast_to([times, 6, n]);
            let x = again(upload(&values, &[6, n], dtype, &at.device)?)?.contiguous()?;
            for (got, want) in [
                (x.clone().softmax(2)?, &plain),
                (x.copy()?.softmax(2)?, &plain),
                (x.clone().log_softmax(2)?, &log),
                (x.softmax_with(2, scale, None)?, &less),
            ] {
                let six = got.clone().slice(0, 0..1)?.reshape([6, n])?;
                within(&six, want)?;
                same_tensors(&got, &again(six)?)?;
            }
        }
    }
    Ok(())
}

fn floats(at: &At, values: &[f64], shape: &[usize], dtype: DType) -> Result<Tensor> {
    let values: Vec<Value> = values.iter().map(|&x| Value::Float(round(x, dtype))).collect();
    upload(&values, shape, dtype, &at.device)
}

/// The smallest and the largest number there is, in one row.
fn ends_of_the_range(at: &At) -> Check {
    for dtype in at.floats() {
        let most = match dtype {
            DType::F16 => 65504.0,
            DType::BF16 => f64::from(bf16::MAX),
            DType::F32 => f64::from(f32::MAX),
            _ => f64::MAX,
        };
        let x = floats(at, &[-most, most, 0.0, -most, -most, -most], &[2, 3], dtype)?;
        let third =
            Value::Float(round(if dtype == DType::F64 { 1.0 / 3.0 } else { f64::from(1f32 / 3.0) }, dtype));
        let [zero, one] = [0.0, 1.0].map(Value::Float);
        same(&x.clone().softmax(1)?, &[zero, one, zero, third, third, third])?;
        let y = x.log_softmax(1)?;
        // The distance of both ends is beyond the range itself.
        same(&y.slice(0, 0..1)?, &[-most - most, 0.0, -most].map(|x| Value::Float(round(x, dtype))))?;
    }
    Ok(())
}

/// Rows of one number, however large, give each element the same share, exactly where that is a power of two.
fn equal_elements_share_alike(at: &At) -> Check {
    for n in [2, 64, 1024, 4096, 65_536] {
        for value in [65504.0, -65504.0, 1e4, 0.0] {
            let x = Tensor::full([2, n], value, DType::F16, &at.device)?;
            prop_assert_eq!(x.softmax(1)?.to_vec::<f16>()?, vec![f16::from_f64(1.0 / n as f64); 2 * n]);
            let x = Tensor::full([n, 3], value * 1e33, DType::F32, &at.device)?;
            prop_assert_eq!(x.softmax(0)?.to_vec::<f32>()?, vec![1.0 / n as f32; 3 * n]);
        }
    }
    Ok(())
}

/// Wherever in the row it stands; the next row does not notice. Of nothing but -inf nothing is left.
fn nan_and_infinity_spoil_their_row(at: &At) -> Check {
    for dtype in at.floats() {
        for n in [3, 64, 1000, 1024, 40_000] {
            for bad in [f64::NAN, f64::INFINITY] {
                for place in [0, n / 2, n - 1] {
                    let mut values = vec![1.0; 2 * n];
                    values[place] = bad;
                    let x = floats(at, &values, &[2, n], dtype)?;
                    let even = Value::Float(round(1.0 / n as f64, dtype));
                    for (y, fine) in [
                        (x.clone().softmax(1)?, Some(even)),
                        (x.clone().softmax_with(1, 1.0, None)?, Some(even)),
                        (x.clone().log_softmax(1)?, None),
                    ] {
                        same(&y.clone().slice(0, 0..1)?, &vec![Value::Float(f64::NAN); n])?;
                        let rest = taut_tests::download(&y.slice(0, 1..2)?)?;
                        let is_fine = |x: &Value| match fine {
                            Some(Value::Float(y)) => (x.float() - y).abs() <= 0.01 * y,
                            _ => x.float().is_finite(),
                        };
                        prop_assert!(
                            rest.iter().all(is_fine),
                            "{} beside {} at {} of {}",
                            dtype,
                            bad,
                            place,
                            n
                        );
                    }
                }
            }
            let none = Tensor::full([2, n], f64::NEG_INFINITY, dtype, &at.device)?;
            same(&none.clone().softmax(1)?, &vec![Value::Float(f64::NAN); 2 * n])?;
            same(&none.clone().log_softmax(1)?, &vec![Value::Float(f64::NAN); 2 * n])?;
            same(&none.softmax_with(1, 1.0, None)?, &vec![Value::Float(0.0); 2 * n])?;
        }
    }
    Ok(())
}

/// NaN that a mask leaves out does no harm; rows of nothing are 0; one element that takes part is 1.
fn what_takes_no_part_is_not_seen(at: &At) -> Check {
    for dtype in at.floats() {
        for n in [1, 3, 64, 1000, 1024, 40_000] {
            let mut values = vec![f64::NAN; 3 * n];
            let mut truth = vec![false; 3 * n];
            (values[n / 2], truth[n / 2]) = (-7.0, true);
            (values[n + n / 2], truth[n + n / 2]) = (f64::NEG_INFINITY, true);
            let mut want = vec![Value::Float(0.0); 3 * n];
            want[n / 2] = Value::Float(1.0);
            let x = floats(at, &values, &[3, n], dtype)?;
            let mask = Tensor::from_slice(&truth, [3, n], &at.device)?;
            same(&x.clone().softmax_with(1, 3.0, Some(&mask))?, &want)?;
            let across = x.t()?.contiguous()?.softmax_with(0, 3.0, Some(&mask.clone().t()?))?;
            same(&across.t()?, &want)?;
            // A mask that is broadcast along the row, over it.
            let column = mask.slice(1, n / 2..n / 2 + 1)?;
            let ones = Tensor::full([3, n], 5.0, dtype, &at.device)?.softmax_with(1, 1.0, Some(&column))?;
            let sums = ones.cast(DType::F32)?.sum(&[1])?.to_vec::<f32>()?;
            prop_assert!((sums[0] - 1.0).abs() < 0.02 && (sums[1] - 1.0).abs() < 0.02 && sums[2] == 0.0);
        }
    }
    Ok(())
}

fn one_element_and_none(at: &At) -> Check {
    for dtype in at.floats() {
        let x = floats(at, &[-3.0, 0.0, 65504.0, f64::NEG_INFINITY], &[4, 1], dtype)?;
        let nan = f64::NAN;
        same(&x.clone().softmax(1)?, &[1.0, 1.0, 1.0, nan].map(Value::Float))?;
        same(&x.log_softmax(1)?, &[0.0, 0.0, 0.0, nan].map(Value::Float))?;
        for (shape, axis) in [([4, 0], 1), ([0, 4], 1), ([0, 4], 0), ([4, 0], 0)] {
            let mask = Tensor::full(shape, 1.0, DType::Bool, &at.device)?;
            let none = Tensor::zeros(shape, dtype, &at.device)?;
            same_tensors(&none.clone().softmax(axis)?, &none)?;
            same_tensors(&none.clone().log_softmax(axis)?, &none)?;
            same_tensors(&none.clone().softmax_with(axis, 2.0, Some(&mask))?, &none)?;
        }
    }
    Ok(())
}

/// The same bits every time, in place or not.
fn repeats(at: &At) -> Check {
    for shape in [[333, 1031], [3, 70_000], [2048, 64]] {
        let x = Tensor::normal(shape, 0.0, 3.0, 9, DType::F32, &at.device)?;
        for axis in [0, 1] {
            let first = x.clone().softmax(axis)?;
            for _ in 0..3 {
                same_tensors(&x.clone().softmax(axis)?, &first)?;
            }
            same_tensors(&x.copy()?.softmax(axis)?, &first)?;
        }
    }
    Ok(())
}

fn reuses_contiguous_memory(at: &At) -> Check {
    let new = || Tensor::zeros([64, 1000], DType::F32, &at.device);
    let mask = Tensor::full([1000], 1.0, DType::Bool, &at.device)?;
    let peak = |f: &dyn Fn(Tensor) -> Result<Tensor>, x: Tensor| -> Result<u64> {
        at.device.pool().reset_peaks();
        let before = at.device.stats().live_bytes;
        f(x)?;
        Ok(at.device.stats().peak_live_bytes - before)
    };
    for axis in [0, 1] {
        prop_assert_eq!(peak(&|x| x.softmax(axis), new()?)?, 0);
        prop_assert_eq!(peak(&|x| x.log_softmax(axis), new()?)?, 0);
        prop_assert_eq!(peak(&|x| x.softmax_with(axis, 0.5, None), new()?)?, 0);
    }
    prop_assert_eq!(peak(&|x| x.softmax_with(1, 0.5, Some(&mask)), new()?)?, 0);
    // Someone else holds it; or it lies across, and the result does not.
    prop_assert_eq!(peak(&|x| x.clone().softmax(1), new()?)?, 256_000);
    prop_assert_eq!(peak(&|x| x.t()?.softmax(1), new()?)?, 256_000);
    Ok(())
}

fn errors(at: &At) -> Check {
    let x = Tensor::zeros([3, 4], DType::F32, &at.device)?;
    let x = || x.clone();
    let live = at.device.stats().live_bytes;
    prop_assert_eq!(message_of(x().softmax(2))?, "softmax: axis 2 is not within the rank of [3, 4]");
    prop_assert_eq!(message_of(x().log_softmax(9))?, "log_softmax: axis 9 is not within the rank of [3, 4]");
    let mask = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &at.device);
    let with = |mask: Tensor| x().softmax_with(1, 1.0, Some(&mask));
    let wrong = "softmax_with: the mask [3] does not broadcast to [3, 4]";
    prop_assert_eq!(message_of(with(mask(&[3], DType::Bool)?))?, wrong);
    let larger = "softmax_with: the mask [2, 3, 4] does not broadcast to [3, 4]";
    prop_assert_eq!(message_of(with(mask(&[2, 3, 4], DType::Bool)?))?, larger);
    prop_assert_eq!(
        message_of(with(mask(&[4], DType::U8)?))?,
        "softmax_with: the mask is u8, it must be bool"
    );
    let whole = Tensor::zeros([3], DType::I64, &at.device)?;
    prop_assert_eq!(message_of(whole.clone().softmax(0))?, "softmax: does not take i64");
    prop_assert_eq!(kind_of(whole.softmax(1))?, ErrorKind::Shape);
    let elsewhere = Tensor::zeros([4], DType::Bool, &at.fresh()?)?;
    prop_assert_eq!(kind_of(x().softmax_with(1, 1.0, Some(&elsewhere)))?, ErrorKind::Device);
    prop_assert_eq!(at.device.stats().live_bytes, live);
    Ok(())
}
