//! The same for every tensor of a list, in one launch: sizes around packs and chunks, views that begin anywhere, lists longer
//! than a launch holds, and what may not be done.

use proptest::prelude::*;
use taut::{
    DType, Device, ErrorKind, Graphed, Kind, Number, Result, Stats, Tensor,
    memory::{Site, StreamId},
    multi,
};
use taut_tests::{
    At, Check, Fill, Rng, Suite, Value, cast, download, fail, figures, kind_of, message_of, poison, round,
    same, upload,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("multi::scale_matches_reference", scale_matches_reference);
    suite.real("multi::axpy_matches_reference", axpy_matches_reference);
    suite.real("multi::cast_and_zero_match_reference", cast_and_zero_match_reference);
    suite.real("multi::scaled_casts_match_reference", scaled_casts_match_reference);
    suite.real("multi::outside_of_views_is_untouched", outside_of_views_is_untouched);
    suite.real("multi::norm_matches_reference", norm_matches_reference);
    suite.real("multi::norm_is_right_for_any_size_and_not_finite_for_what_is_not", norm_of_extremes);
    suite.real("multi::large_tensors_and_long_lists", large_tensors_and_long_lists);
    suite.real("multi::is_recorded_in_graphs", is_recorded_in_graphs);
    suite.real("multi::plan_equals_measured", plan_equals_measured);
    suite.everywhere("multi::empty_lists_and_tensors", empty_lists_and_tensors);
    suite.everywhere("multi::errors", errors);
}

/// Sizes around packs and chunks.
const SIZES: [usize; 14] = [0, 1, 2, 7, 15, 255, 256, 257, 2047, 2048, 4096, 4101, 9000, 70_001];

/// Values, and the tensor of them: a view that begins `offset` elements into its storage, which nobody else holds.
fn place(
    n: usize,
    offset: usize,
    dtype: DType,
    fill: Fill,
    seed: u64,
    device: &Device,
) -> Result<(Vec<Value>, Tensor)> {
    let values = fill.values(offset + n, dtype, seed);
    let x = upload(&values, &[offset + n], dtype, device)?.slice(0, offset..offset + n)?;
    Ok((values[offset..].to_vec(), x))
}

/// One tensor of each size, each of another dtype and at another offset.
fn list(at: &At, fill: Fill, dtypes: &[DType]) -> Result<Vec<(Vec<Value>, Tensor)>> {
    let offsets = [0, 1, 0, 3, 8, 0, 5];
    let one = |(i, &n): (usize, &usize)| {
        place(n, offsets[i % offsets.len()], dtypes[i % dtypes.len()], fill, i as u64, &at.device)
    };
    SIZES.iter().enumerate().map(one).collect()
}

/// What is computed in.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

fn all_mut(list: &mut [(Vec<Value>, Tensor)]) -> Vec<&mut Tensor> {
    list.iter_mut().map(|(_, x)| x).collect()
}

fn scalar(value: f32, device: &Device) -> Result<Tensor> {
    Tensor::full([0usize; 0], value.into(), DType::F32, device)
}

fn scale_matches_reference(at: &At) -> Check {
    for (factor, shift) in [(0.3f32, 0), (-1.0, 1), (0.0, 2), (f32::INFINITY, 3), (1e-38, 1)] {
        let mut dtypes = at.floats();
        let len = dtypes.len();
        dtypes.rotate_left(shift % len);
        let device_factor = scalar(factor, &at.device)?;
        for number in [Number::Host(factor), Number::Device(&device_factor)] {
            let mut list = list(at, Fill::Any, &dtypes)?;
            multi::scale_(&mut all_mut(&mut list), number)?;
            for (values, x) in &list {
                let dtype = x.dtype();
                let want = values
                    .iter()
                    .map(|v| Value::Float(round(round(v.float() * f64::from(factor), wide(dtype)), dtype)));
                same(x, &want.collect::<Vec<_>>())?;
            }
        }
    }
    Ok(())
}

fn axpy_matches_reference(at: &At) -> Check {
    let mut pairs = vec![
        (DType::F32, DType::F32),
        (DType::F32, DType::F16),
        (DType::F32, DType::BF16),
        (DType::F16, DType::F16),
        (DType::BF16, DType::BF16),
    ];
    if at.floats().contains(&DType::F64) {
        pairs.extend(DType::FLOATS.map(|x| (DType::F64, x)));
    }
    for (round_of, factor) in [0.7f32, -2.0, 1.0].into_iter().enumerate() {
        pairs.rotate_left(1);
        let (own, other): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
        let mut y = list(at, Fill::Any, &own)?;
        let offset = |i: usize| [0, 0, 1, 3, 0][(i + round_of) % 5];
        let x = SIZES.iter().enumerate().map(|(i, &n)| {
            place(n, offset(i), other[i % other.len()], Fill::Wild, 100 + i as u64, &at.device)
        });
        let x = x.collect::<Result<Vec<_>>>()?;
        let number = scalar(factor, &at.device)?;
        multi::axpy_(&mut all_mut(&mut y), &number, &x.iter().map(|(_, x)| x).collect::<Vec<_>>())?;
        for ((before, y), (x, _)) in y.iter().zip(&x) {
            let (dtype, wide) = (y.dtype(), wide(y.dtype()));
            let want = before.iter().zip(x).map(|(y, x)| {
                let product = round(x.float() * f64::from(factor), wide);
                Value::Float(round(round(y.float() + product, wide), dtype))
            });
            same(y, &want.collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

fn cast_and_zero_match_reference(at: &At) -> Check {
    let floats = at.floats();
    let pairs: Vec<_> = floats.iter().flat_map(|&to| floats.iter().map(move |&from| (to, from))).collect();
    for shift in 0..pairs.len().div_ceil(SIZES.len()) + 1 {
        let of = |i: usize| pairs[(i + shift * SIZES.len()) % pairs.len()];
        let y = SIZES.iter().enumerate();
        let y = y.map(|(i, &n)| place(n, [0, 1, 0][i % 3], of(i).0, Fill::Any, 7, &at.device));
        let mut y = y.collect::<Result<Vec<_>>>()?;
        let x = SIZES.iter().enumerate();
        let x = x.map(|(i, &n)| place(n, [0, 0, 2][i % 3], of(i).1, Fill::Any, i as u64, &at.device));
        let x = x.collect::<Result<Vec<_>>>()?;
        multi::cast_(&mut all_mut(&mut y), &x.iter().map(|(_, x)| x).collect::<Vec<_>>())?;
        for ((_, y), (values, _)) in y.iter().zip(&x) {
            same(y, &values.iter().map(|&v| cast(v, y.dtype())).collect::<Vec<_>>())?;
        }
    }
    let mut list = list(at, Fill::Any, &at.dtypes())?;
    multi::zero_(&mut all_mut(&mut list))?;
    for (_, x) in &list {
        let zero = cast(Value::Int(0), x.dtype());
        same(x, &vec![zero; x.numel()])?;
    }
    Ok(())
}

fn scaled_casts_match_reference(at: &At) -> Check {
    let device = &at.device;
    for (to, from) in at.floats().iter().flat_map(|&to| at.floats().into_iter().map(move |from| (to, from))) {
        for factor in [0.3f32, -2.0, 1.0, f32::NAN] {
            let number = upload(&[Value::Float(factor.into())], &[], DType::F32, device)?;
            let of = |i: usize, dtype| place(SIZES[i], [1, 0, 3][i % 3], dtype, Fill::Any, i as u64, device);
            let mut y = (0..SIZES.len()).map(|i| of(i, to)).collect::<Result<Vec<_>>>()?;
            let x = (0..SIZES.len()).map(|i| of(i, from)).collect::<Result<Vec<_>>>()?;
            let sources = x.iter().map(|(_, x)| x).collect::<Vec<_>>();
            if factor < 0.0 {
                multi::scaled_(&mut all_mut(&mut y), factor, &sources)?;
            } else {
                multi::scaled_(&mut all_mut(&mut y), &number, &sources)?;
            }
            for ((_, y), (values, _)) in y.iter().zip(&x) {
                let product = |v: &Value| round(v.float() * f64::from(factor), wide(from));
                let want = values.iter().map(|v| cast(Value::Float(product(v)), to));
                same(y, &want.collect::<Vec<_>>())?;
            }
        }
    }
    Ok(())
}

/// No byte beside a view is changed, in front of it or behind.
fn outside_of_views_is_untouched(at: &At) -> Check {
    for dtype in [DType::F16, DType::F32] {
        for (offset, n) in [(1, 1), (3, 4093), (0, 255), (7, 8200), (8, 4097)] {
            let device = at.fresh()?;
            let whole = offset + n + 5;
            let mut want = Fill::Tame.values(whole, dtype, 3);
            let mut x = upload(&want, &[whole], dtype, &device)?.slice(0, offset..offset + n)?;
            multi::scale_(&mut [&mut x], 0.5)?;
            if n % 2 == 1 {
                multi::zero_(&mut [&mut x])?;
            }
            for value in &mut want[offset..offset + n] {
                *value = Value::Float(if n % 2 == 1 { 0.0 } else { round(value.float() * 0.5, dtype) });
            }
            // Nothing else is in the pool, so that the next block of this size has the place of the last.
            drop(x);
            let bytes = (whole * dtype.size()) as u64;
            let block = device.pool().allocate(bytes, StreamId::COMPUTE, Site::new("test", Kind::Input))?;
            same(&Tensor::from_block(block, [whole], dtype, &device)?, &want)?;
        }
    }
    Ok(())
}

/// Within 2^-18, as documented; in f64 where that is computed in.
fn is_norm(got: &Tensor, want: f64) -> Check {
    let got = f64::from(got.item::<f32>()?);
    let fits = (got - want).abs() <= want * 2f64.powi(-18) || got == want;
    if fits { Ok(()) } else { Err(fail(format!("norm is {got:e}, want {want:e}"))) }
}

fn root_of_squares<'a>(values: impl Iterator<Item = &'a Value>) -> f64 {
    values.map(|v| v.float() * v.float()).sum::<f64>().sqrt()
}

fn norm_matches_reference(at: &At) -> Check {
    let mut dtypes = at.floats();
    for _ in 0..dtypes.len() {
        dtypes.rotate_left(1);
        let list = list(at, Fill::Tame, &dtypes)?;
        let tensors: Vec<&Tensor> = list.iter().map(|(_, x)| x).collect();
        let want = root_of_squares(list.iter().flat_map(|(values, _)| values));
        poison(&at.device, &[4, 12, 1200])?;
        let got = multi::norm(&tensors)?;
        prop_assert_eq!((got.dtype(), got.rank()), (DType::F32, 0));
        is_norm(&got, want)?;
        for _ in 0..3 {
            prop_assert_eq!(multi::norm(&tensors)?.item::<f32>()?.to_bits(), got.item::<f32>()?.to_bits());
        }
        for (values, x) in &list {
            is_norm(&multi::norm(&[x])?, root_of_squares(values.iter()))?;
        }
    }
    Ok(())
}

fn norm_of_extremes(at: &At) -> Check {
    for dtype in at.floats() {
        let large = if dtype == DType::F16 { 6e4 } else { 1e30 };
        let small = if dtype == DType::F16 { 1e-6 } else { 1e-30 };
        for (value, n) in [(large, 10_001), (small, 10_001), (1.0, 100_000)] {
            let x = Tensor::full([n], value, dtype, &at.device)?;
            let value = download(&x.clone().slice(0, 0..1)?)?[0].float();
            is_norm(&multi::norm(&[&x])?, value * (n as f64).sqrt())?;
        }
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for position in [0, 4095, 70_000] {
                let mut values = vec![Value::Float(1.0); 70_001];
                values[position] = Value::Float(bad);
                let x = upload(&values, &[70_001], dtype, &at.device)?;
                let ones = Tensor::full([3], 1.0, dtype, &at.device)?;
                let got = multi::norm(&[&ones, &x, &ones])?.item::<f32>()?;
                prop_assert!(
                    if bad.is_nan() { got.is_nan() } else { got == f32::INFINITY },
                    "{} gives {}",
                    bad,
                    got
                );
            }
        }
    }
    Ok(())
}

/// Chunks of several tensors share a launch, and lists are longer than a launch holds.
fn large_tensors_and_long_lists(at: &At) -> Check {
    for count in [89, 90, 300, 1500, 4100] {
        let mut rng = Rng(count as u64);
        let mut list = (0..count)
            .map(|i| {
                let n = if i == count / 2 { 300_000 } else { rng.below(40) };
                place(n, rng.below(3), DType::F32, Fill::Whole, rng.bits(), &at.device)
            })
            .collect::<Result<Vec<_>>>()?;
        let other = list.iter().map(|(_, x)| x.copy()).collect::<Result<Vec<_>>>()?;
        multi::axpy_(&mut all_mut(&mut list), 2.0, &other.iter().collect::<Vec<_>>())?;
        for (values, x) in &list {
            same(x, &values.iter().map(|v| Value::Float(3.0 * v.float())).collect::<Vec<_>>())?;
        }
        let tensors: Vec<&Tensor> = list.iter().map(|(_, x)| x).collect();
        is_norm(&multi::norm(&tensors)?, 3.0 * root_of_squares(list.iter().flat_map(|(values, _)| values)))?;
    }
    Ok(())
}

/// What a graph made itself it may change, by what the device has computed.
fn is_recorded_in_graphs(at: &At) -> Check {
    let new = |value: f64| Tensor::full([5000], value, DType::F32, &at.device);
    let function = |x: &[Tensor]| {
        let (mut a, mut b) = (x[0].copy()?, x[0].copy()?.slice(0, 1..5000)?);
        let norm = multi::norm(&[&a, &b])?;
        multi::scale_(&mut [&mut a, &mut b], &norm)?;
        multi::axpy_(&mut [&mut a], 1.0, &[&x[0]])?;
        Ok(vec![a, b, norm])
    };
    let mut graph = Graphed::new(vec![new(1.0)?], function)?;
    for value in [1.0, 2.0, 0.5] {
        let want = function(&[new(value)?])?;
        let got = graph.replay(&[&new(value)?])?;
        for (got, want) in got.iter().zip(&want) {
            same(got, &download(want)?)?;
        }
    }
    let outside = new(1.0)?;
    let held = std::sync::Mutex::new(outside);
    let writes = |x: &[Tensor]| {
        let mut held = held.lock().map_err(|_| taut::Error::device("poisoned"))?;
        multi::zero_(&mut [&mut *held])?;
        Ok(vec![x[0].copy()?])
    };
    prop_assert_eq!(kind_of(Graphed::new(vec![new(1.0)?], writes).map(drop))?, ErrorKind::Graph);
    Ok(())
}

fn plan_equals_measured(at: &At) -> Check {
    let program = |device: &Device| -> Result<Stats> {
        let new = |n: usize| Tensor::full([n], 1.0, DType::F32, device);
        let mut list = (0..200).map(|i| new(i * i)).collect::<Result<Vec<_>>>()?;
        let other = (0..200).map(|i| new(i * i)).collect::<Result<Vec<_>>>()?;
        multi::norm(&list.iter().collect::<Vec<_>>())?;
        multi::axpy_(&mut list.iter_mut().collect::<Vec<_>>(), 1.0, &other.iter().collect::<Vec<_>>())?;
        multi::zero_(&mut list.iter_mut().collect::<Vec<_>>())?;
        Ok(figures(device))
    };
    let (real, plan) = (at.fresh()?, Device::plan(at.device.spec()));
    prop_assert_eq!(program(&real)?, program(&plan)?);
    Ok(())
}

fn empty_lists_and_tensors(at: &At) -> Check {
    multi::scale_(&mut [], 2.0)?;
    multi::axpy_(&mut [], 2.0, &[])?;
    multi::zero_(&mut [])?;
    multi::cast_(&mut [], &[])?;
    prop_assert_eq!(kind_of(multi::norm(&[]))?, ErrorKind::Value);
    let mut x = Tensor::zeros([0, 3], DType::F16, &at.device)?;
    let y = Tensor::zeros([0, 3], DType::F16, &at.device)?;
    multi::scale_(&mut [&mut x], 2.0)?;
    multi::axpy_(&mut [&mut x], 2.0, &[&y])?;
    multi::cast_(&mut [&mut x], &[&y])?;
    multi::zero_(&mut [&mut x])?;
    poison(&at.device, &[4])?;
    let norm = multi::norm(&[&x, &y])?;
    prop_assert!(at.device.is_plan() || norm.item::<f32>()? == 0.0);
    Ok(())
}

/// Each names the op and the tensor, and changes nothing.
fn errors(at: &At) -> Check {
    let new = |shape: &[usize], dtype| Tensor::full(shape, 1.0, dtype, &at.device);
    let (mut a, mut b) = (new(&[4, 5], DType::F32)?, new(&[3], DType::F32)?);
    let live = at.device.stats().live_bytes;
    let check = |result: Result<()>, kind: ErrorKind, message: &str| -> Check {
        let (found, said) = (kind_of(result.clone())?, message_of(result)?);
        prop_assert_eq!(found, kind, "{}", &said);
        prop_assert!(said.starts_with(message), "{} is not {}", said, message);
        Ok(())
    };
    let held = b.clone();
    let shared = multi::scale_(&mut [&mut a, &mut b], 2.0);
    check(shared, ErrorKind::Shared, "scale_: tensor 1: the storage is also held by a handle")?;
    drop(held);
    let mut turned = new(&[4, 5], DType::F32)?.t()?;
    let result = multi::scale_(&mut [&mut a, &mut turned], 2.0);
    check(result, ErrorKind::Shape, "scale_: tensor 1: [5, 4] is not contiguous")?;
    let mut whole = new(&[2], DType::I64)?;
    check(
        multi::scale_(&mut [&mut a, &mut whole], 2.0),
        ErrorKind::DType,
        "scale_: tensor 1: does not take i64",
    )?;
    check(multi::norm(&[&whole]).map(drop), ErrorKind::DType, "norm: tensor 0: does not take i64")?;
    let halves = new(&[3], DType::F16)?;
    let mut narrow = new(&[3], DType::F16)?;
    let result = multi::axpy_(&mut [&mut narrow], 2.0, &[&b]);
    check(result, ErrorKind::DType, "axpy_: tensor 0: does not take f32 beside f16")?;
    let result = multi::axpy_(&mut [&mut a], 2.0, &[&halves]);
    check(result, ErrorKind::Shape, "axpy_: tensor 0: [4, 5] and [3] differ")?;
    check(multi::axpy_(&mut [&mut a], 2.0, &[]), ErrorKind::Shape, "axpy_: 1 tensors and 0 to read")?;
    check(
        multi::cast_(&mut [&mut a], &[&halves]),
        ErrorKind::Shape,
        "cast_: tensor 0: [4, 5] and [3] differ",
    )?;
    let two = new(&[2], DType::F32)?;
    check(
        multi::scale_(&mut [&mut a], &two),
        ErrorKind::Shape,
        "scale_: the factor is [2], not one element",
    )?;
    let half = new(&[1], DType::F16)?;
    check(multi::scale_(&mut [&mut a], &half), ErrorKind::DType, "scale_: the factor is f16, not f32")?;
    let far = Tensor::zeros([3], DType::F32, &at.fresh()?)?;
    let result = multi::axpy_(&mut [&mut b], 2.0, &[&far]);
    check(result, ErrorKind::Device, "axpy_: tensor 0: it is on")?;
    check(multi::scale_(&mut [&mut a], &far), ErrorKind::Device, "scale_: the factor is on")?;
    if !at.device.is_plan() {
        prop_assert!(a.to_vec::<f32>()?.iter().chain(&b.to_vec::<f32>()?).all(|&x| x == 1.0));
    }
    drop((turned, whole, halves, narrow, two, half));
    prop_assert_eq!(at.device.stats().live_bytes, live);
    Ok(())
}
