//! Elementwise binary ops, with broadcasting, against their definitions.

use proptest::{collection::vec, prelude::*, sample::select};
use taut::{Binary, DType, Tensor};
use taut_tests::{
    At, Case, Check, Fill, Geometry, Grid, Suite, Value, binary, geometry, poison, same, same_tensors,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("binary::matches_reference", matches_reference);
    suite.real("binary::methods_name_their_ops", methods_name_their_ops);
    suite.real("binary::takes_itself", takes_itself);
}

fn pairs(at: &At) -> Vec<(Binary, DType)> {
    let all = Binary::ALL.iter().flat_map(|&op| at.dtypes().into_iter().map(move |dtype| (op, dtype)));
    all.filter(|(op, dtype)| op.takes(*dtype)).collect()
}

/// What an operand of a broadcast looks like: leading axes gone, others 1.
fn shrunk(shape: &[usize], gone: usize, ones: u8) -> Vec<usize> {
    let axes = shape.iter().enumerate().skip(gone);
    axes.map(|(axis, &extent)| if ones >> axis & 1 == 1 { 1 } else { extent }).collect()
}

/// Two geometries that broadcast, and the shape of the result.
fn operands() -> impl Strategy<Value = (Geometry, Geometry, Vec<usize>)> {
    // Most often one operand is whole.
    let less = || (prop_oneof![4 => Just(0), 1 => 0..3usize], prop_oneof![2 => Just(0u8), 1 => 0..32u8]);
    let choices = || vec([0..60usize, 0..60usize, 0..60usize, 0..60usize], 0..=3);
    (geometry(false), less(), less(), choices(), choices()).prop_map(|(whole, a, b, first, second)| {
        let (a, b) = (shrunk(&whole.shape, a.0, a.1), shrunk(&whole.shape, b.0, b.1));
        let rank = a.len().max(b.len());
        let extent =
            |shape: &[usize], back: usize| shape.len().checked_sub(back).map_or(1, |axis| shape[axis]);
        let out = (1..=rank).rev().map(|back| match (extent(&a, back), extent(&b, back)) {
            (1, other) => other,
            (one, _) => one,
        });
        let out = out.collect();
        (Geometry::viewed(&a, &first, true), Geometry::viewed(&b, &second, true), out)
    })
}

/// The values of a case, repeated to a shape.
fn repeated(case: &Case, shape: &[usize]) -> Vec<Value> {
    let values = case.values();
    Grid::new(&case.geometry.shape).broadcast(shape).index.into_iter().map(|i| values[i]).collect()
}

/// The same bits as the definition, whatever the views; in place too, where the result has the shape of the first.
fn matches_reference(at: &At) -> Check {
    at.for_all((select(pairs(at)), operands(), 0..1000u64), |((op, dtype), (a, b, shape), seed)| {
        let a = Case { dtype, geometry: a, fill: Fill::Any, seed };
        let b = Case { dtype, geometry: b, fill: Fill::Any, seed: seed + 1000 };
        let (left, right) = (repeated(&a, &shape), repeated(&b, &shape));
        let want: Vec<_> = left.iter().zip(&right).map(|(&a, &b)| binary(op, a, b, dtype)).collect();

        let (mut x, y) = (a.upload(&at.device)?, b.upload(&at.device)?);
        poison(&at.device, &[want.len() * dtype.size()])?;
        let got = x.clone().binary(op, &y)?;
        prop_assert_eq!(&got.shape()[..], &shape[..]);
        same(&got, &want)?;
        same(&x, &a.values())?;
        same(&y, &b.values())?;

        if x.shape() == got.shape() && !x.layout().overlaps() {
            x.binary_(op, &y)?;
            same_tensors(&x, &got)?;
        }
        same_tensors(&a.upload(&at.device)?.binary(op, &y)?, &got)
    })
}

/// A named method does what the op of its name does.
fn methods_name_their_ops(at: &At) -> Check {
    let a = Tensor::from_slice(&[6.0f32, -1.0, 0.0], [3], &at.device)?;
    let b = Tensor::from_slice(&[1.5f32, 4.0, 0.0], [3], &at.device)?;
    let results = [
        (a.clone().add(&b)?, Binary::Add, [7.5f32, 3.0, 0.0]),
        (a.clone().sub(&b)?, Binary::Sub, [4.5, -5.0, 0.0]),
        (a.clone().mul(&b)?, Binary::Mul, [9.0, -4.0, 0.0]),
        (a.clone().div(&b)?, Binary::Div, [4.0, -0.25, f32::NAN]),
    ];
    for (got, op, want) in results {
        same(&got, &want.map(|x| Value::Float(x.into())))?;
        same_tensors(&got, &a.clone().binary(op, &b)?)?;
    }
    let mut sum = a.copy()?;
    sum.add_(&b)?;
    same_tensors(&sum, &a.add(&b)?)
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
