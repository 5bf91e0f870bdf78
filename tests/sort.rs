//! Sorts: orders that are special, lengths around tiles and runs, the bits of permutations.

use proptest::prelude::*;
use taut::{DType, ErrorKind, Tensor};
use taut_tests::{At, Check, Fill, Suite, Value, kind_of, message_of, poison, same, sorted, upload};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("sort::lengths_around_tiles", lengths_around_tiles);
    suite.real("sort::special_orders", special_orders);
    suite.real("sort::zeros_and_nan_keep_their_bits", zeros_and_nan_keep_their_bits);
    suite.real("sort::topk_of_long_rows", topk_of_long_rows);
    suite.real("sort::many_rows_and_strided_axes", many_rows_and_strided_axes);
    suite.real("sort::permutations_are_philox", permutations_are_philox);
    suite.real("sort::repeats", repeats);
    suite.everywhere("sort::nothing", nothing);
    suite.everywhere("sort::errors", errors);
}

/// Below, at and above tiles, pairs of tiles, and more.
const LENGTHS: [usize; 13] = [1, 7, 8, 9, 1023, 1024, 1025, 2047, 2048, 2049, 4097, 5000, 100_003];

/// The values in order, and their positions; and the same by another road.
fn check(at: &At, values: &[Value], dtype: DType, descending: bool) -> Check {
    let n = values.len();
    let x = upload(values, &[n], dtype, &at.device)?;
    let order = sorted(values, descending);
    let want: Vec<Value> = order.iter().map(|&i| values[i]).collect();
    let positions: Vec<Value> = order.iter().map(|&i| Value::Int(i as i64)).collect();
    poison(&at.device, &[n * dtype.size(), n * 8, n * 24])?;
    let (got, at_positions) = x.clone().sort(0, descending)?;
    same(&at_positions, &positions)?;
    same(&got, &want)?;
    same(&x.clone().argsort(0, descending)?, &positions)?;
    let numbers = Tensor::arange(0.0, n as f64, 1.0, DType::U32, &at.device)?;
    same(&numbers.sort_by_key(&x, 0, descending)?, &positions)
}

fn lengths_around_tiles(at: &At) -> Check {
    for &n in at.shapes(&LENGTHS, &[9, 1024, 2049]) {
        for dtype in at.dtypes() {
            for (fill, descending) in [(Fill::Any, false), (Fill::Any, true), (Fill::Whole, true)] {
                check(at, &fill.values(n, dtype, n as u64), dtype, descending)
                    .map_err(|error| taut_tests::fail(format!("{n} of {dtype}: {error}")))?;
            }
        }
    }
    Ok(())
}

/// All equal, sorted, in reverse, and sorted but for one.
fn special_orders(at: &At) -> Check {
    for &n in at.shapes(&[2usize, 9, 2048, 2049, 10_000], &[9, 2049]) {
        let float = |x: usize| Value::Float(x as f64);
        let mut nearly: Vec<Value> = (0..n).map(float).collect();
        nearly.swap(0, n - 1);
        let all: [Vec<Value>; 4] =
            [vec![float(3); n], (0..n).map(float).collect(), (0..n).rev().map(float).collect(), nearly];
        for values in all {
            check(at, &values, DType::F32, false)?;
            check(at, &values, DType::F32, true)?;
        }
    }
    Ok(())
}

/// 0 and -0 are equal, every NaN is equal to every other, and all come out as they went in.
fn zeros_and_nan_keep_their_bits(at: &At) -> Check {
    let (nan, negative) = (f32::from_bits(0x7fc0_1234), f32::from_bits(0xffff_ffff));
    let x = [nan, -0.0, f32::INFINITY, 0.0, negative, -0.0, f32::NEG_INFINITY];
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let x = Tensor::from_slice(&x, [7], &at.device)?;
    let (values, positions) = x.clone().sort(0, false)?;
    prop_assert_eq!(positions.to_vec::<i64>()?, [6, 1, 3, 5, 2, 0, 4]);
    let want = [f32::NEG_INFINITY, -0.0, 0.0, -0.0, f32::INFINITY, nan, negative];
    prop_assert_eq!(bits(&values.to_vec::<f32>()?), bits(&want));
    let (values, positions) = x.clone().sort(0, true)?;
    prop_assert_eq!(positions.to_vec::<i64>()?, [0, 4, 2, 1, 3, 5, 6]);
    let want = [nan, negative, f32::INFINITY, -0.0, 0.0, -0.0, f32::NEG_INFINITY];
    prop_assert_eq!(bits(&values.to_vec::<f32>()?), bits(&want));
    prop_assert_eq!(x.clone().topk(3, 0, true)?.1.to_vec::<i64>()?, [0, 4, 2]);
    prop_assert_eq!(x.topk(3, 0, false)?.1.to_vec::<i64>()?, [6, 1, 3]);
    Ok(())
}

/// Few, about a tile, and nearly all of one long row; equal values too.
fn topk_of_long_rows(at: &At) -> Check {
    let n = at.shapes(&[100_003], &[5001])[0];
    let counts = [0, 1, 2, 100, 1023, 1024, 1025, 2047, 2048, 2049, 5000, 70_000, n - 1, n];
    for (fill, dtype) in [(Fill::Any, DType::F32), (Fill::Whole, DType::BF16), (Fill::Any, DType::I64)] {
        let values = fill.values(n, dtype, 5);
        let x = upload(&values, &[n], dtype, &at.device)?;
        for largest in [false, true] {
            let order = sorted(&values, largest);
            for &k in at.shapes(&counts, &[0, 100, 2049, n]) {
                poison(&at.device, &[k * dtype.size(), k * 8, n * 24])?;
                let (got, positions) = x.clone().topk(k, 0, largest)?;
                let want: Vec<Value> = order[..k].iter().map(|&i| Value::Int(i as i64)).collect();
                same(&positions, &want).map_err(|error| taut_tests::fail(format!("k {k}: {error}")))?;
                same(&got, &order[..k].iter().map(|&i| values[i]).collect::<Vec<_>>())?;
            }
        }
    }
    Ok(())
}

/// Rows on any axis, of lengths that share a block and that take several, more than are sorted at once.
fn many_rows_and_strided_axes(at: &At) -> Check {
    let all =
        [([3, 700, 9], 1), ([5, 3000, 2], 1), ([2, 3, 4099], 2), ([4, 3, 2500], 0), ([1500, 3000, 1], 1)];
    for &(shape, axis) in at.shapes(&all, &all[..2]) {
        let numel: usize = shape.iter().product();
        let values = Fill::Whole.values(numel, DType::F32, 3);
        let x = upload(&values, &shape, DType::F32, &at.device)?;
        let mut want = vec![Value::Int(0); numel];
        let mut first = Vec::new();
        for line in taut_tests::lines(&shape, axis) {
            let keys: Vec<Value> = line.iter().map(|&i| values[i]).collect();
            let order = sorted(&keys, true);
            first.push(Value::Int(order[0] as i64));
            line.iter().zip(order).for_each(|(&to, from)| want[to] = Value::Int(from as i64));
        }
        same(&x.clone().argsort(axis, true)?, &want)?;
        same(&x.topk(1, axis, true)?.1, &first)?;
    }
    Ok(())
}

/// The positions, in order, of the words of the published generator.
fn permutations_are_philox(at: &At) -> Check {
    for (n, seed) in [(0, 1), (1, 1), (2, 3), (5000, 7), (100_003, 1 << 40)] {
        let word = |i: usize| {
            let counter = [(i / 4) as u32, 0, 0, 0];
            taut_tests::philox(counter, [seed as u32, (seed >> 32) as u32])[i % 4]
        };
        let words: Vec<Value> = (0..n).map(|i| Value::Int(word(i).into())).collect();
        let want: Vec<Value> = sorted(&words, false).into_iter().map(|i| Value::Int(i as i64)).collect();
        poison(&at.device, &[n * 4, n * 8, n * 16])?;
        same(&Tensor::permutation(n, seed, &at.device)?, &want)?;
    }
    Ok(())
}

fn repeats(at: &At) -> Check {
    let x = Tensor::normal([3, 50_000], 0.0, 1.0, 3, DType::F16, &at.device)?;
    let first = x.clone().argsort(1, false)?.to_vec::<i64>()?;
    for _ in 0..4 {
        prop_assert_eq!(&x.clone().argsort(1, false)?.to_vec::<i64>()?, &first);
    }
    Ok(())
}

/// No rows, rows of nothing, and nothing of rows.
fn nothing(at: &At) -> Check {
    for dtype in at.dtypes() {
        let new = |shape: &[usize]| Tensor::zeros(shape, dtype, &at.device);
        for (shape, axis) in [(&[0][..], 0), (&[3, 0], 1), (&[3, 0], 0), (&[0, 5000], 1), (&[2, 0, 3], 2)] {
            let (values, positions) = new(shape)?.sort(axis, false)?;
            prop_assert_eq!((&values.shape()[..], &positions.shape()[..]), (shape, shape));
            prop_assert_eq!(new(shape)?.argsort(axis, true)?.to_vec::<i64>()?.len(), 0);
            let keys = Tensor::zeros(shape, DType::F16, &at.device)?;
            prop_assert_eq!(new(shape)?.sort_by_key(&keys, axis, true)?.dtype(), dtype);
            prop_assert_eq!(new(shape)?.topk(0, axis, true)?.0.shape()[axis], 0);
        }
        let (values, positions) = new(&[4, 5000])?.topk(0, 1, false)?;
        prop_assert_eq!((&values.shape()[..], &positions.shape()[..]), (&[4, 0][..], &[4, 0][..]));
    }
    prop_assert_eq!(Tensor::permutation(0, 1, &at.device)?.numel(), 0);
    Ok(())
}

fn errors(at: &At) -> Check {
    let x = || Tensor::zeros([3, 4], DType::F32, &at.device);
    let refused = |result: Result<Tensor, taut::Error>, message: &str| -> Check {
        prop_assert_eq!(message_of(result)?, message);
        Ok(())
    };
    let message = "axis 2 is not within the rank of [3, 4]";
    refused(x()?.sort(2, false).map(|x| x.0), &format!("sort: {message}"))?;
    refused(x()?.argsort(2, false), &format!("argsort: {message}"))?;
    refused(x()?.topk(1, 2, true).map(|x| x.0), &format!("topk: {message}"))?;
    refused(x()?.sort_by_key(&x()?, 2, true), &format!("sort_by_key: {message}"))?;
    refused(x()?.topk(5, 1, true).map(|x| x.0), "topk: axis 1 of [3, 4] has no 5 elements")?;
    let keys = x()?.t()?;
    refused(x()?.sort_by_key(&keys, 1, true), "sort_by_key: [3, 4] and keys [4, 3] differ")?;
    let other = Tensor::zeros([3, 4], DType::F32, &at.fresh()?)?;
    prop_assert_eq!(kind_of(x()?.sort_by_key(&other, 1, true))?, ErrorKind::Device);
    // An axis of 2^32 elements that takes no memory.
    let long = Tensor::zeros([1], DType::U8, &at.device)?.broadcast_to([1 << 32])?;
    let live = at.device.stats().live_bytes;
    prop_assert_eq!(kind_of(long.clone().topk(1, 0, true))?, ErrorKind::Shape);
    prop_assert_eq!(kind_of(Tensor::permutation(1 << 32, 1, &at.device))?, ErrorKind::Shape);
    prop_assert_eq!(at.device.stats().live_bytes, live);
    Ok(())
}
