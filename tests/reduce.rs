//! Reductions against their definitions.

use proptest::{prelude::*, sample::select};
use taut::{DType, ErrorKind, Reduce, Tensor, f16};
use taut_tests::{
    At, Case, Check, Fill, Grid, Interval, Suite, Value, cases, half_up, kind_of, poison, same, sum_error,
    within,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("reduce::matches_reference", matches_reference);
    suite.real("reduce::whole_sums_are_exact", whole_sums_are_exact);
    suite.real("reduce::mean_does_not_overflow", mean_does_not_overflow);
    suite.real("reduce::long_sums", long_sums);
    suite.real("reduce::argmax_of_ties_and_nan", argmax_of_ties_and_nan);
    suite.real("reduce::nothing_and_scalars", nothing_and_scalars);
    suite.real("reduce::repeats", repeats);
}

/// The axes that the bits of `mask` name; all if there are none.
fn axes(rank: usize, mask: u8) -> Vec<usize> {
    (0..rank).filter(|axis| mask >> axis & 1 == 1).collect()
}

/// For each result, the numbers of the elements that it is made of.
fn groups(shape: &[usize], axes: &[usize]) -> Vec<Vec<usize>> {
    let gone = |axis: &usize| axes.is_empty() || axes.contains(axis);
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !gone(axis)).collect();
    let out = Grid::new(&kept.iter().map(|&axis| shape[axis]).collect::<Vec<_>>());
    let mut groups = vec![Vec::new(); out.index.len()];
    let all = Grid::new(shape);
    for i in 0..all.index.len() {
        let coordinates = all.coordinates(i);
        groups[out.at(&kept.iter().map(|&axis| coordinates[axis]).collect::<Vec<_>>())].push(i);
    }
    groups
}

/// The first of the largest; NaN is larger than all.
fn argmax(values: &[Value]) -> i64 {
    let above = |a: Value, b: Value| match (a, b) {
        (Value::Int(a), Value::Int(b)) => a > b,
        (a, b) => !b.float().is_nan() && (a.float().is_nan() || a.float() > b.float()),
    };
    let best = (0..values.len()).reduce(|best, i| if above(values[i], values[best]) { i } else { best });
    best.map_or(-1, |i| i as i64)
}

/// What a group of values reduces to; `None` for a float result, which is known within an interval.
fn exact(op: Reduce, values: &[Value], dtype: DType) -> Option<Value> {
    match op {
        Reduce::ArgMax => Some(Value::Int(argmax(values))),
        _ if dtype.is_float() => None,
        _ => Some(Value::Int(values.iter().fold(0i64, |sum, x| match x {
            Value::Int(x) => sum.wrapping_add(*x),
            Value::Float(_) => sum,
        }))),
    }
}

fn interval(op: Reduce, values: &[Value], dtype: DType) -> Interval {
    let values: Vec<f64> = values.iter().map(|x| x.float()).collect();
    let sum = sum_error(&values, dtype);
    if op == Reduce::Sum {
        return sum;
    }
    let mean = sum.map(|x| x / values.len() as f64);
    // One more rounding, of the quotient.
    let rounding = half_up(dtype) * mean.low.abs().max(mean.high.abs());
    if mean.low.is_finite() {
        Interval { low: mean.low - rounding, high: mean.high + rounding }
    } else {
        mean
    }
}

fn check(at: &At, op: Reduce, case: &Case, mask: u8) -> Check {
    let axes = axes(case.geometry.shape.len(), mask);
    let (values, x) = (case.values(), case.upload(&at.device)?);
    let reduced = axes.iter().map(|&axis| x.shape()[axis]);
    let empty =
        if axes.is_empty() { x.shape().contains(&0) } else { reduced.clone().any(|extent| extent == 0) };
    if op == Reduce::ArgMax && empty {
        prop_assert_eq!(kind_of(x.reduce(op, &axes))?, ErrorKind::Shape);
        return Ok(());
    }
    let groups = groups(x.shape(), &axes);
    let groups: Vec<Vec<Value>> =
        groups.into_iter().map(|g| g.into_iter().map(|i| values[i]).collect()).collect();
    let dtype = op.output(case.dtype).unwrap_or(case.dtype);
    // The result, then whatever scratch memory follows it.
    poison(&at.device, &[groups.len() * dtype.size(), 1 << 20])?;
    let got = x.clone().reduce(op, &axes)?;
    prop_assert_eq!(got.dtype(), dtype);
    let kept = (0..x.rank()).filter(|axis| !axes.is_empty() && !axes.contains(axis));
    prop_assert_eq!(&got.shape()[..], &kept.map(|axis| x.shape()[axis]).collect::<Vec<_>>()[..]);
    match groups.iter().map(|g| exact(op, g, case.dtype)).collect::<Option<Vec<Value>>>() {
        Some(want) => same(&got, &want),
        None => within(&got, &groups.iter().map(|g| interval(op, g, case.dtype)).collect::<Vec<_>>()),
    }
}

fn pairs(at: &At) -> Vec<(Reduce, DType)> {
    let all = Reduce::ALL.iter().flat_map(|&op| at.dtypes().into_iter().map(move |dtype| (op, dtype)));
    all.filter(|(op, dtype)| op.output(*dtype).is_some()).collect()
}

/// Any op over any axes of any view, with NaN and infinities among the values.
fn matches_reference(at: &At) -> Check {
    // argmax takes all bits; sums of the largest floats overflow in some orders and not in others.
    let fill = |op| if op == Reduce::ArgMax { Fill::Any } else { Fill::Wild };
    let operands =
        select(pairs(at)).prop_flat_map(move |(op, dtype)| (Just(op), cases(dtype, fill(op), true), 0..32u8));
    at.for_all(operands, |(op, case, mask)| check(at, op, &case, mask))
}

/// Sums of whole numbers that f32 can count have no error at all before they are rounded to their dtype.
fn whole_sums_are_exact(at: &At) -> Check {
    let operands = select(at.floats()).prop_flat_map(|dtype| (cases(dtype, Fill::Whole, true), 0..32u8));
    at.for_all(operands, |(case, mask)| {
        let axes = axes(case.geometry.shape.len(), mask);
        let values = case.values();
        let sum = |group: Vec<usize>| group.into_iter().map(|i| values[i].float()).sum::<f64>();
        let want: Vec<_> = groups(&case.geometry.shape, &axes).into_iter().map(sum).collect();
        let want: Vec<_> = want.into_iter().map(|x| Interval { low: x, high: x }).collect();
        within(&case.upload(&at.device)?.sum(&axes)?, &want)
    })
}

/// A sum far beyond the range of f16, whose mean is not. In f32, and no chain of additions is so long that it shows.
fn mean_does_not_overflow(at: &At) -> Check {
    let x = Tensor::full([1 << 20], 60000.0, DType::F16, &at.device)?;
    prop_assert_eq!(x.clone().mean(&[])?.item::<f16>()?, f16::from_f32(60000.0));
    prop_assert_eq!(
        x.clone().reshape([1 << 10, 1 << 10])?.mean(&[0])?.to_vec::<f16>()?,
        [f16::from_f32(60000.0); 1 << 10]
    );
    prop_assert_eq!(x.sum(&[])?.item::<f16>()?, f16::INFINITY);
    Ok(())
}

/// Millions of elements into one: the error is that of chains of a few thousand additions, not of millions.
fn long_sums(at: &At) -> Check {
    let n = (1 << 22) + 3;
    let x = Tensor::uniform([n], 0.0, 1.0, 5, DType::F32, &at.device)?;
    let exact: f64 = x.to_vec::<f32>()?.into_iter().map(f64::from).sum();
    let want = Interval::around(exact, 4096.0 * half_up(DType::F32) * exact);
    within(&x.clone().sum(&[])?, &[want])?;
    within(&x.slice(0, 1..n)?.sum(&[0])?, &[Interval { low: want.low - 1.0, high: want.high }])?;

    let bytes = Tensor::full([n], 255.0, DType::U8, &at.device)?;
    prop_assert_eq!(bytes.clone().sum(&[])?.item::<i64>()?, 255 * n as i64);
    // The same numbers as rows: many results, each over a long stride.
    let columns = bytes.slice(0, 0..1 << 22)?.reshape([1 << 14, 1 << 8])?.sum(&[0])?;
    prop_assert_eq!(columns.to_vec::<i64>()?, vec![255 << 14; 1 << 8]);
    Ok(())
}

/// The first of equals, wherever work is divided; NaN before everything, and the first NaN of several.
fn argmax_of_ties_and_nan(at: &At) -> Check {
    for n in [1usize, 2, 31, 33, 1023, 1025, 100_000] {
        let ties = Tensor::full([n], 1.0, DType::F32, &at.device)?;
        prop_assert_eq!(ties.argmax(0)?.item::<i64>()?, 0);
        for place in [0, n / 2, n - 1] {
            let mut values = vec![f32::NEG_INFINITY; n];
            values[place..].fill(2.0);
            let x = Tensor::from_slice(&values, [n], &at.device)?;
            prop_assert_eq!(x.argmax(0)?.item::<i64>()?, place as i64, "ties of {} from {}", n, place);
            values.fill(f32::INFINITY);
            values[place] = f32::NAN;
            values[n - 1] = f32::NAN;
            let x = Tensor::from_slice(&values, [n], &at.device)?;
            prop_assert_eq!(x.argmax(0)?.item::<i64>()?, place as i64, "NaN of {} at {}", n, place);
        }
    }
    // 0 and -0 are equal.
    let zeros = Tensor::from_slice(&[-0.0f32, 0.0], [2], &at.device)?;
    prop_assert_eq!(zeros.argmax(0)?.item::<i64>()?, 0);
    Ok(())
}

/// The sum of nothing is 0 and its mean NaN; a scalar is reduced over no axis.
fn nothing_and_scalars(at: &At) -> Check {
    let none = Tensor::zeros([3, 0, 2], DType::F16, &at.device)?;
    same(&none.clone().sum(&[1])?, &[Value::Float(0.0); 6])?;
    same(&none.clone().mean(&[1])?, &[Value::Float(f64::NAN); 6])?;
    same(&none.clone().sum(&[])?, &[Value::Float(0.0)])?;
    same(&none.clone().sum(&[0])?, &[])?;
    same(&none.argmax(0)?, &[])?;
    let none = Tensor::zeros([0], DType::Bool, &at.device)?;
    same(&none.sum(&[])?, &[Value::Int(0)])?;

    let one = Tensor::full([0usize; 0], 7.5, DType::F32, &at.device)?;
    same(&one.clone().sum(&[])?, &[Value::Float(7.5)])?;
    same(&one.clone().mean(&[])?, &[Value::Float(7.5)])?;
    same(&one.clone().reduce(Reduce::ArgMax, &[])?, &[Value::Int(0)])?;
    prop_assert_eq!(kind_of(one.argmax(0))?, ErrorKind::Shape);
    Ok(())
}

/// The same bits every time: the order of additions is a fact of the shape.
fn repeats(at: &At) -> Check {
    let x = Tensor::normal([777, 1031], 0.0, 1.0, 9, DType::F32, &at.device)?;
    for axes in [&[][..], &[0], &[1]] {
        let first = x.clone().sum(axes)?.to_vec::<f32>()?;
        for _ in 0..4 {
            prop_assert_eq!(&x.clone().sum(axes)?.to_vec::<f32>()?, &first);
        }
    }
    Ok(())
}
