//! Indices that are out of range, and other errors of the ops that take indices.

use proptest::prelude::*;
use std::fmt::Debug;
use taut::{DType, ErrorKind, Result, Tensor};
use taut_tests::{At, Check, Suite, fail, kind_of};

pub(crate) fn trials(suite: &mut Suite) {
    suite.alone(|suite| suite.real("gather::out_of_range", out_of_range));
    suite.everywhere("gather::errors", errors);
    suite.everywhere("gather::nothing", nothing);
    suite.real("gather::long_rows_of_a_table", long_rows_of_a_table);
}

/// The ops that take indices.
const OPS: [&str; 4] = ["gather", "index_select", "scatter_add", "index_add"];

/// One of them on axis 0 of a table `[5, 3]`, with indices for each element or for each slice.
fn call(op: &str, table: &Tensor, index: &Tensor) -> Result<Tensor> {
    let m = index.numel();
    let each = index.clone().reshape([m, 1])?.broadcast_to([m, 3])?;
    let src = Tensor::zeros([m, 3], table.dtype(), table.device())?;
    match op {
        "gather" => table.clone().gather(0, &each),
        "index_select" => table.clone().index_select(0, index),
        "scatter_add" => table.clone().scatter_add(0, &each, &src),
        _ => table.clone().index_add(0, index, &src),
    }
}

/// An error of kind Shape that names the op and the index: at once on the CPU; on a card by the next call that waits, and
/// then the device works on.
fn out_of_range(at: &At) -> Check {
    let table = Tensor::full([5, 3], 1.5, DType::F32, &at.device)?;
    for bad in [-1i64, 5, i64::MIN, i64::MAX, 1 << 40] {
        for place in [0, 6999] {
            let mut index: Vec<i64> = (0..7000).map(|i| i % 5).collect();
            index[place] = bad;
            let index = Tensor::from_slice(&index, [7000], &at.device)?;
            for name in OPS {
                let result = call(name, &table, &index);
                let late = at.device.synchronize();
                let error = match (at.device.is_cuda(), result, late) {
                    (false, Err(error), Ok(())) => error,
                    (true, Ok(_), Err(error)) => error,
                    (_, result, late) => return Err(fail(format!("{name}: {result:?}, then {late:?}"))),
                };
                prop_assert_eq!(error.kind(), ErrorKind::Shape);
                prop_assert!(error.to_string().starts_with(&format!("{name}: index ")), "{}", error);
            }
        }
    }
    if at.device.is_cuda() {
        // Reading a value is a call that waits.
        let index = Tensor::from_slice(&[7i64], [1], &at.device)?;
        let row = table.clone().index_select(0, &index)?;
        let error = row.to_vec::<f32>().err().map(|error| error.to_string());
        prop_assert_eq!(error.as_deref(), Some("index_select: index 7 is out of range"));
    }
    at.device.synchronize()?;
    prop_assert_eq!(table.to_vec::<f32>()?, [1.5; 15]);
    Ok(())
}

fn refused<T: Debug>(result: Result<T>, kind: ErrorKind, message: &str) -> Check {
    match result {
        Err(error) if error.kind() == kind && error.to_string() == message => Ok(()),
        other => Err(fail(format!("got {other:?}, want {kind:?}: {message}"))),
    }
}

fn errors(at: &At) -> Check {
    let new = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &at.device);
    let x = || new(&[5, 3], DType::F32);
    let index = |shape: &[usize]| new(shape, DType::I64);
    let shape = |result: Result<Tensor>, message: &str| refused(result, ErrorKind::Shape, message);
    let dtype = |result: Result<Tensor>, message: &str| refused(result, ErrorKind::DType, message);

    shape(x()?.gather(2, &index(&[5, 3])?), "gather: axis 2 is not within the rank of [5, 3]")?;
    let text = "must have one rank, and indices no longer axis but 0";
    shape(x()?.gather(0, &index(&[9, 4])?), &format!("gather: [5, 3] and indices [9, 4]: {text}"))?;
    shape(x()?.gather(0, &index(&[9])?), &format!("gather: [5, 3] and indices [9]: {text}"))?;
    shape(new(&[0, 3], DType::F32)?.gather(0, &index(&[1, 3])?), "gather: axis 0 of [0, 3] has no elements")?;
    shape(
        x()?.index_select(0, &index(&[2, 2])?),
        "index_select: [5, 3] by [2, 2]: the index must have one axis",
    )?;
    shape(
        x()?.index_add(1, &index(&[2])?, &x()?),
        "index_add: the source is [5, 3], with this index it must be [5, 2]",
    )?;
    shape(
        x()?.scatter_add(0, &index(&[2, 3])?, &x()?),
        "scatter_add: the source is [5, 3], with this index it must be [2, 3]",
    )?;
    for name in OPS {
        dtype(call(name, &x()?, &new(&[4], DType::U32)?), &format!("{name}: the index is u32, not i64"))?;
    }
    let half = new(&[5, 3], DType::F16)?;
    dtype(x()?.scatter_add(0, &index(&[5, 3])?, &half), "scatter_add: f32 and f16 differ; cast one")?;
    let truth = new(&[5, 3], DType::Bool)?;
    dtype(truth.clone().scatter_add(0, &index(&[5, 3])?, &truth), "scatter_add: does not take bool")?;
    let other = Tensor::zeros([4], DType::I64, &at.fresh()?)?;
    prop_assert_eq!(kind_of(x()?.index_select(0, &other))?, ErrorKind::Device);
    let other = Tensor::zeros([4, 3], DType::F32, &at.fresh()?)?;
    prop_assert_eq!(kind_of(x()?.index_add(0, &index(&[4])?, &other))?, ErrorKind::Device);
    Ok(())
}

/// No indices, of something and of nothing.
fn nothing(at: &At) -> Check {
    for dtype in at.dtypes().into_iter().filter(|dtype| dtype.is_number()) {
        let new = |shape: &[usize]| Tensor::zeros(shape, dtype, &at.device);
        let index = |shape: &[usize]| Tensor::zeros(shape, DType::I64, &at.device);
        for (table, m) in [(&[5, 3][..], 0), (&[0, 3], 0), (&[5, 0], 0), (&[5, 0], 4)] {
            let some = [m, table[1]];
            let each = new(table)?.gather(0, &index(&some)?)?;
            let slices = new(table)?.index_select(0, &index(&[m])?)?;
            prop_assert_eq!((&each.shape()[..], &slices.shape()[..]), (&some[..], &some[..]));
            let sum = new(table)?.scatter_add(0, &index(&some)?, &new(&some)?)?;
            prop_assert_eq!(&sum.shape()[..], table);
            let sum = new(table)?.index_add(0, &index(&[m])?, &new(&some)?)?;
            prop_assert_eq!(&sum.shape()[..], table);
        }
    }
    Ok(())
}

/// Rows that go in packs, and that do not: an offset, a length or a step that is no multiple of one.
fn long_rows_of_a_table(at: &At) -> Check {
    for dtype in [DType::F32, DType::F16, DType::U8, DType::I64] {
        let numbers = Tensor::arange(0.0, 300.0 * 128.0, 1.0, DType::U32, &at.device)?.cast(dtype)?;
        let table = numbers.reshape([300, 128])?;
        let index = Tensor::permutation(300, 3, &at.device)?;
        let order = index.to_vec::<i64>()?;
        for (from, to) in [(0, 128), (16, 128), (16, 112), (1, 128), (0, 127)] {
            let part = table.clone().slice(1, from..to)?;
            let rows = taut_tests::download(&part)?;
            let width = to - from;
            let want: Vec<_> =
                order.iter().flat_map(|&row| rows[row as usize * width..][..width].iter().copied()).collect();
            taut_tests::same(&part.index_select(0, &index)?, &want)?;
        }
    }
    Ok(())
}
