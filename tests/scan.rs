//! What is special about running sums: slices, memory, nothing. Their values: `src/ops/reduce.rs`.

use proptest::prelude::*;
use taut::{DType, ErrorKind, Scan, Tensor, bf16, f16};
use taut_tests::{At, Check, Interval, Suite, Value, half_up, kind_of, same, same_tensors, within};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("scan::whole_numbers_in_slices", whole_numbers_in_slices);
    suite.real("scan::long_rows", long_rows);
    suite.real("scan::accumulates_beyond_its_dtype", accumulates_beyond_its_dtype);
    suite.real("scan::from_nan_on", from_nan_on);
    suite.real("scan::repeats", repeats);
    suite.everywhere("scan::takes_no_memory_where_it_can", takes_no_memory_where_it_can);
    suite.everywhere("scan::nothing_and_errors", nothing_and_errors);
}

/// Numbers that are counted exactly: every element of long rows, long columns, and axes between.
fn whole_numbers_in_slices(at: &At) -> Check {
    for (shape, axis) in [
        (&[300_007][..], 0),
        (&[3, 70_001], 1),
        (&[70_001, 3], 0),
        (&[20_000, 16], 0),
        (&[1000, 257], 1),
        (&[1000, 257], 0),
        (&[7, 4000, 9], 1),
        (&[4000, 9], 1),
        (&[1500, 520], 0),
        (&[3, 1030, 260], 1),
    ] {
        let numel: usize = shape.iter().product();
        // A remainder that neighbours do not share.
        let values: Vec<u8> = (0..numel).map(|i| (i * 7 % 13) as u8).collect();
        let (n, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let mut want: Vec<i64> = values.iter().map(|&x| x.into()).collect();
        for i in 0..numel {
            if i / inner % n > 0 {
                want[i] += want[i - inner];
            }
        }
        let want: Vec<Value> = want.into_iter().map(Value::Int).collect();
        let x = Tensor::from_slice(&values, shape, &at.device)?;
        for dtype in [DType::U8, DType::U32, DType::I64] {
            let sums = x.clone().cast(dtype)?.cumsum(axis)?;
            same(&sums, &want)
                .map_err(|error| taut_tests::fail(format!("{dtype} {shape:?}, {axis}: {error}")))?;
        }
        // Below 2^24, so exact in f32 too.
        let floats = x.cast(DType::F32)?.cumsum(axis)?;
        same(&floats.cast(DType::I64)?, &want)?;
    }
    let truth = Tensor::from_slice(&[true, false, true, true], [4], &at.device)?;
    prop_assert_eq!(truth.cumsum(0)?.to_vec::<i64>()?, [1, 1, 2, 3]);
    Ok(())
}

/// A million elements: the error is that of chains much shorter than that.
fn long_rows(at: &At) -> Check {
    let n = 1 << 20;
    let x = Tensor::uniform([n], 0.0, 1.0, 5, DType::F32, &at.device)?;
    let mut sum = 0.0;
    let sums = x.to_vec::<f32>()?.into_iter().map(|x| {
        sum += f64::from(x);
        Interval::around(sum, 4096.0 * half_up(DType::F32) * sum)
    });
    let sums: Vec<Interval> = sums.collect();
    within(&x.clone().cumsum(0)?, &sums)?;
    within(&x.reshape([n, 1])?.cumsum(0)?.reshape([n])?, &sums)
}

/// In f32, whatever is stored: sums of ones beyond 2,048 and 256, where f16 and bf16 stop counting; inf where only a
/// result does not fit, and right again after it.
fn accumulates_beyond_its_dtype(at: &At) -> Check {
    for (shape, axis) in [([10_000, 1], 0), ([1, 10_000], 1)] {
        let ones = Tensor::full(shape, 1.0, DType::F16, &at.device)?.cumsum(axis)?.to_vec::<f16>()?;
        prop_assert_eq!(ones[9_999], f16::from_f32(10_000.0));
        let ones = Tensor::full(shape, 1.0, DType::BF16, &at.device)?.cumsum(axis)?.to_vec::<bf16>()?;
        prop_assert_eq!(ones[9_999], bf16::from_f32(10_000.0));
    }
    let [big, less] = [f16::MAX, f16::MIN];
    let x = Tensor::from_slice(&[big, big, less, big, less, less], [6], &at.device)?;
    let inf = f16::INFINITY;
    prop_assert_eq!(x.cumsum(0)?.to_vec::<f16>()?, [big, inf, big, inf, big, f16::ZERO]);
    Ok(())
}

fn from_nan_on(at: &At) -> Check {
    for n in [10usize, 3000, 100_000] {
        for place in [0, n / 3, n - 1] {
            let mut values = vec![0.5f32; n];
            values[place] = f32::NAN;
            let x = Tensor::from_slice(&values, [n], &at.device)?;
            let column = x.clone().reshape([n, 1])?.broadcast_to([n, 2])?.contiguous()?.cumsum(0)?;
            for sums in [x.cumsum(0)?, column.slice(1, 1..2)?.reshape([n])?] {
                let sums = sums.to_vec::<f32>()?;
                prop_assert!((0..n).all(|i| sums[i].is_nan() == (i >= place)), "{} of {}", place, n);
            }
        }
    }
    Ok(())
}

fn repeats(at: &At) -> Check {
    for (shape, axis) in
        [([777, 1031], 0), ([777, 1032], 0), ([777, 1031], 1), ([2, 400_000], 1), ([400_000, 2], 0)]
    {
        let x = Tensor::normal(shape, 0.0, 1.0, 9, DType::F32, &at.device)?;
        let first = x.clone().cumsum(axis)?;
        for _ in 0..3 {
            same_tensors(&x.clone().cumsum(axis)?, &first)?;
        }
        same_tensors(&x.cumsum(axis)?, &first)?;
    }
    Ok(())
}

/// Over the operand where the result fits in its place.
fn takes_no_memory_where_it_can(at: &At) -> Check {
    let peak = |x: Tensor, axis: usize| {
        at.device.pool().reset_peaks();
        let before = at.device.stats().live_bytes;
        let sums = x.cumsum(axis)?;
        let after = at.device.stats();
        drop(sums);
        Ok::<_, taut::Error>(after.peak_tensor_bytes - before)
    };
    let new = |dtype| Tensor::zeros([64, 100], dtype, &at.device);
    prop_assert_eq!(peak(new(DType::F32)?, 1)?, 0);
    prop_assert_eq!(peak(new(DType::F16)?, 0)?, 0);
    prop_assert_eq!(peak(new(DType::I64)?, 0)?, 0);
    // Wider results, another order, or someone who still looks.
    prop_assert_eq!(peak(new(DType::U8)?, 0)?, 64 * 100 * 8);
    prop_assert_eq!(peak(new(DType::F32)?.t()?, 0)?, 64 * 100 * 4);
    let held = new(DType::F32)?;
    prop_assert_eq!(peak(held.clone(), 0)?, 64 * 100 * 4);
    drop(held);
    Ok(())
}

fn nothing_and_errors(at: &At) -> Check {
    for shape in [[0, 3], [3, 0]] {
        for axis in [0, 1] {
            for dtype in at.dtypes() {
                let sums = Tensor::zeros(shape, dtype, &at.device)?.cumsum(axis)?;
                prop_assert_eq!(
                    (&sums.shape()[..], Some(sums.dtype())),
                    (&shape[..], Scan::Sum.output(dtype))
                );
            }
        }
    }
    let x = Tensor::zeros([3, 4], DType::F32, &at.device)?;
    prop_assert_eq!(kind_of(x.clone().cumsum(2))?, ErrorKind::Shape);
    let text = taut_tests::message_of(x.cumsum(2))?;
    prop_assert_eq!(text, "cumsum: axis 2 is not within the rank of [3, 4]");
    let scalar = Tensor::zeros([0usize; 0], DType::F32, &at.device)?;
    prop_assert_eq!(kind_of(scalar.cumsum(0))?, ErrorKind::Shape);
    Ok(())
}
