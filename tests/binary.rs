//! Elementwise binary ops: their names, order and NaN, and what is refused. The registry proves the rest.

use crate::unary::methods_name;
use proptest::prelude::*;
use taut::{Binary, DType, ErrorKind, Tensor};
use taut_tests::{At, Check, Suite, Value, kind_of, message_of, same, upload};

pub(crate) fn trials(suite: &mut Suite) {
    suite.cpu("binary::methods_name_their_ops", methods_name_their_ops);
    suite.real("binary::takes_itself", takes_itself);
    suite.real("binary::order_of_nan_and_zeros", order_of_nan_and_zeros);
    suite.real("binary::scalars_are_of_the_dtype", scalars_are_of_the_dtype);
    suite
        .everywhere("binary::what_can_not_stand_in_place_is_refused", what_can_not_stand_in_place_is_refused);
    suite.everywhere("binary::scalars_take_one_element", scalars_take_one_element);
}

/// Comparisons have no twin in place, and their variants are named through a scalar too.
fn methods_name_their_ops(_: &At) -> Check {
    let ops = Binary::ALL.map(|op| (op.name(), op.functor(), op.output(DType::F32) != Some(DType::Bool)));
    methods_name("binary", "Binary::", &ops)
}

/// Both operands may be views of one storage: nothing is written over while it is read.
fn takes_itself(at: &At) -> Check {
    let x = Tensor::arange(0.0, 12.0, 1.0, DType::F32, &at.device)?.reshape([3, 4])?;
    let square = x.clone().slice(1, 0..3)?;
    let got = square.clone().sub(&square.clone().t()?)?;
    let want = [0, -3, -6, 3, 0, -3, 6, 3, 0].map(|x| Value::Float(f64::from(x)));
    same(&got, &want)?;
    drop((x, square));
    let x = Tensor::full([1000], 1.5, DType::F16, &at.device)?;
    let held = x.clone();
    same(&x.add(&held)?, &[Value::Float(3.0); 1000])
}

/// NaN is unequal to all and in no order, but it is the smallest and the largest; 0 and -0 are equal, and the first wins.
fn order_of_nan_and_zeros(at: &At) -> Check {
    const NAN: f64 = f64::NAN;
    let floats = |x: &[f64]| x.iter().map(|&x| Value::Float(x)).collect::<Vec<_>>();
    let bools = |x: [bool; 6]| x.map(|x| Value::Int(x.into()));
    for dtype in at.floats() {
        let a = upload(&floats(&[NAN, 1.0, NAN, 0.0, -0.0, f64::INFINITY]), &[6], dtype, &at.device)?;
        let b = upload(&floats(&[1.0, NAN, NAN, -0.0, 0.0, f64::INFINITY]), &[6], dtype, &at.device)?;
        let least = floats(&[NAN, NAN, NAN, 0.0, -0.0, f64::INFINITY]);
        same(&a.clone().minimum(&b)?, &least)?;
        same(&a.clone().maximum(&b)?, &least)?;
        let equal = [false, false, false, true, true, true];
        same(&a.clone().eq(&b)?, &bools(equal))?;
        same(&a.clone().ne(&b)?, &bools(equal.map(|x| !x)))?;
        same(&a.clone().le(&b)?, &bools(equal))?;
        same(&a.clone().ge(&b)?, &bools(equal))?;
        same(&a.clone().lt(&b)?, &bools([false; 6]))?;
        same(&a.gt(&b)?, &bools([false; 6]))?;
    }
    Ok(())
}

/// A scalar is converted as a tensor of it would be.
fn scalars_are_of_the_dtype(at: &At) -> Check {
    // 0.1 in f16, and in f32 what is next to it.
    let half = Tensor::full([1], 0.1, DType::F16, &at.device)?;
    prop_assert_eq!(half.eq_scalar(0.1)?.to_vec::<bool>()?, [true]);
    let bytes = Tensor::from_slice(&[254u8, 255], [2], &at.device)?;
    prop_assert_eq!(bytes.clone().lt_scalar(300.0)?.to_vec::<bool>()?, [true, false]);
    prop_assert_eq!(bytes.ge_scalar(254.9)?.to_vec::<bool>()?, [true, true]);
    let bools = Tensor::from_slice(&[false, true], [2], &at.device)?;
    prop_assert_eq!(bools.gt_scalar(0.0)?.to_vec::<bool>()?, [false, true]);
    Ok(())
}

/// A result of bools does not stand over floats, nor a larger one over a smaller; nothing is changed then.
fn what_can_not_stand_in_place_is_refused(at: &At) -> Check {
    let mut x = Tensor::zeros([3], DType::F32, &at.device)?;
    let other = Tensor::zeros([2, 3], DType::F32, &at.device)?;
    let before = at.device.stats();
    prop_assert_eq!(
        message_of(x.binary_(Binary::Lt, &other))?,
        "lt_: the result is bool, f32 has no room for it"
    );
    prop_assert_eq!(message_of(x.maximum_(&other))?, "maximum_: [2, 3] does not broadcast to [3]");
    prop_assert_eq!(message_of(x.clone().and(&x.clone()))?, "and: does not take f32; cast to bool");
    let whole = Tensor::zeros([3], DType::I64, &at.device)?;
    prop_assert_eq!(kind_of(whole.clone().pow(&whole))?, ErrorKind::DType);
    prop_assert_eq!(kind_of(whole.lt(&other))?, ErrorKind::DType);
    let held = x.clone();
    prop_assert_eq!(kind_of(x.pow_(&Tensor::zeros([3], DType::F32, &at.device)?))?, ErrorKind::Shared);
    drop(held);
    prop_assert_eq!(at.device.stats().live_bytes, before.live_bytes);

    // Bools stand over bools.
    let mut bools = Tensor::zeros([3], DType::Bool, &at.device)?;
    let before = at.device.stats();
    let same = bools.copy()?;
    bools.binary_(Binary::Eq, &same)?;
    bools = bools.xor(&same)?.eq(&same)?.not()?;
    drop(same);
    prop_assert_eq!(at.device.stats().live_bytes, before.live_bytes);
    prop_assert_eq!(at.device.stats().allocations, before.allocations + 1);
    drop(bools);
    Ok(())
}

/// For the time of the op, and nothing of it stays.
fn scalars_take_one_element(at: &At) -> Check {
    let x = Tensor::zeros([1000], DType::F32, &at.device)?;
    at.device.pool().reset_peaks();
    let before = at.device.stats().live_bytes;
    let mask = x.clone().lt_scalar(1.0)?;
    prop_assert_eq!(at.device.stats().live_bytes, before + 1000);
    prop_assert_eq!(at.device.stats().peak_live_bytes, before + 1004);
    drop(mask);
    Ok(())
}
