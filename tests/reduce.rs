//! What is special about reductions: overflow, ties, nothing, and slices. Their values: `src/ops/reduce.rs`.

use proptest::prelude::*;
use taut::{DType, ErrorKind, Reduce, Tensor, bf16, f16};
use taut_tests::{
    At, Check, Elements, Fill, Interval, Suite, Value, half_up, kind_of, message_of, ops, same, upload,
    within,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("reduce::methods_name_their_ops", methods_name_their_ops);
    suite.real("reduce::large_in_slices", large_in_slices);
    suite.real("reduce::sum_and_mean_far_beyond_f16", sum_and_mean_far_beyond_f16);
    suite.real("reduce::long_sums", long_sums);
    suite.real("reduce::norms_of_any_size", norms_of_any_size);
    suite.real("reduce::variance_far_from_zero", variance_far_from_zero);
    suite.real("reduce::logsumexp_at_the_ends", logsumexp_at_the_ends);
    suite.real("reduce::places_of_ties_and_nan", places_of_ties_and_nan);
    suite.real("reduce::signs_of_zero", signs_of_zero);
    suite.real("reduce::nothing_and_scalars", nothing_and_scalars);
    suite.real("reduce::repeats", repeats);
    suite.everywhere("reduce::errors", errors);
}

/// A named method does what the op of its name does.
fn methods_name_their_ops(at: &At) -> Check {
    let x = Tensor::from_slice(&[-2.5f32, -0.0, 0.25, 1.5, 3.0, 1.5], [2, 3], &at.device)?;
    let b = Tensor::from_slice(&[true, false, true, true, true, true], [2, 3], &at.device)?;
    let (f, b) = (|| x.clone(), || b.clone());
    let pairs = [
        (f().sum(&[1])?, f().reduce(Reduce::Sum, &[1])?),
        (f().mean(&[1])?, f().reduce(Reduce::Mean, &[1])?),
        (f().prod(&[1])?, f().reduce(Reduce::Prod, &[1])?),
        (f().max(&[1])?, f().reduce(Reduce::Max, &[1])?),
        (f().min(&[1])?, f().reduce(Reduce::Min, &[1])?),
        (f().argmax(1)?, f().reduce(Reduce::ArgMax, &[1])?),
        (f().argmin(1)?, f().reduce(Reduce::ArgMin, &[1])?),
        (b().any(&[1])?, b().reduce(Reduce::Any, &[1])?),
        (b().all(&[1])?, b().reduce(Reduce::All, &[1])?),
        (f().norm(&[1])?, f().reduce(Reduce::Norm, &[1])?),
        (f().var(&[1], 1)?, f().reduce(Reduce::Var { correction: 1 }, &[1])?),
        (f().std(&[1], 0)?, f().reduce(Reduce::Std { correction: 0 }, &[1])?),
        (f().logsumexp(&[1])?, f().reduce(Reduce::LogSumExp, &[1])?),
        (f().mean_square(&[1])?, f().reduce(Reduce::MeanSquare, &[1])?),
    ];
    prop_assert_eq!(pairs.len(), Reduce::ALL.len());
    pairs.iter().try_for_each(|(method, op)| taut_tests::same_tensors(method, op))
}

/// Shapes that a card cuts into slices, and the CPU into tasks: for every op, long rows, long columns, and the axes of a
/// permuted tensor that are neither.
fn large_in_slices(at: &At) -> Check {
    for op in ops::all().iter().filter(|op| Reduce::ALL.iter().any(|reduce| reduce.name() == op.method())) {
        // Products of as many floats as this leave f32.
        let dtypes = at.dtypes().into_iter().filter(|&dtype| op.takes(dtype));
        for dtype in dtypes.filter(|&dtype| op.method() != "prod" || !dtype.is_float()) {
            let all = [(1, &[150_001][..]), (2, &[20_011, 9]), (3, &[3, 66_000]), (4, &[40, 50, 70])];
            let few = [(1, &[70_001][..]), (4, &[20, 50, 30])];
            for &(seed, shape) in at.shapes(&all, &few) {
                let Some(subject) = op.draw(shape, dtype, seed) else { continue };
                let operand = &subject.operands[0];
                // NaN would be all that comes out.
                let fill = if operand.fill == Fill::Any || operand.fill == Fill::Wild {
                    Fill::Tame
                } else {
                    operand.fill
                };
                let values = fill.values(shape.iter().product(), dtype, seed);
                let mut x = upload(&values, shape, dtype, &at.device)?;
                let mut array = taut_tests::Array { shape: shape.to_vec(), dtype, values };
                if shape.len() == 3 {
                    x = x.transpose(0, 2)?;
                    let grid = taut_tests::Grid::new(shape).transpose(0, 2);
                    let values = grid.index.iter().map(|&i| array.values[i]).collect();
                    array = taut_tests::Array { shape: grid.shape, dtype, values };
                }
                // Its axes are those of the shape drawn for.
                let Some(subject) = op.draw(&array.shape, dtype, seed) else { continue };
                let (got, want) = ((subject.call)(vec![x])?, (subject.define)(&[array]));
                let check = match &want[0].elements {
                    Elements::Exact(values) => same(&got[0], values),
                    Elements::Within(intervals) => within(&got[0], intervals),
                };
                check.map_err(|error| {
                    taut_tests::fail(format!("{} of {dtype} {shape:?}, {}: {error}", op.name, subject.note))
                })?;
            }
        }
    }
    Ok(())
}

/// 2^24 values of 60,000 in f16: their sum is 1e12, right in f32 until it is rounded, so inf in f16. Their mean is right,
/// and so are both in bf16, which has the range.
fn sum_and_mean_far_beyond_f16(at: &At) -> Check {
    let n = 1 << 24;
    let x = Tensor::full([n], 60_000.0, DType::F16, &at.device)?;
    let six = f16::from_f32(60_000.0);
    prop_assert_eq!(x.clone().mean(&[])?.item::<f16>()?, six);
    prop_assert_eq!(x.clone().sum(&[])?.item::<f16>()?, f16::INFINITY);
    let table = x.reshape([1 << 12, 1 << 12])?;
    for axis in [0, 1] {
        prop_assert_eq!(table.clone().mean(&[axis])?.to_vec::<f16>()?, [six; 1 << 12]);
        prop_assert_eq!(table.clone().sum(&[axis])?.to_vec::<f16>()?, [f16::INFINITY; 1 << 12]);
    }
    drop(table);
    let x = Tensor::full([n], 60_000.0, DType::BF16, &at.device)?;
    let near = bf16::from_f32(60_000.0);
    prop_assert_eq!(x.clone().mean(&[])?.item::<bf16>()?, near);
    prop_assert_eq!(x.sum(&[])?.item::<bf16>()?, bf16::from_f32(near.to_f32() * n as f32));
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

/// Squares that leave f16, f32 or f64, at either end, beside others.
fn norms_of_any_size(at: &At) -> Check {
    let x = Tensor::full([3, 4096], 300.0, DType::F16, &at.device)?;
    prop_assert_eq!(x.clone().norm(&[1])?.to_vec::<f16>()?, [f16::from_f32(19_200.0); 3]);
    prop_assert_eq!(x.t()?.norm(&[0])?.to_vec::<f16>()?, [f16::from_f32(19_200.0); 3]);

    // 3, 4 and 12 make 13; exactly so with powers of two beside them.
    for (exponent, dtype) in
        [(0, DType::F32), (120, DType::F32), (-130, DType::F32), (100, DType::BF16), (-120, DType::BF16)]
            .into_iter()
            .chain(
                (at.floats().contains(&DType::F64))
                    .then_some([(1000, DType::F64), (-1000, DType::F64)])
                    .into_iter()
                    .flatten(),
            )
    {
        let scale = 2f64.powi(exponent);
        for n in [3, 1000, 40_000] {
            let mut values = vec![Value::Float(0.0); n];
            (values[0], values[n / 2], values[n - 1]) =
                (Value::Float(3.0 * scale), Value::Float(-4.0 * scale), Value::Float(12.0 * scale));
            let x = upload(&values, &[n], dtype, &at.device)?;
            same(&x.clone().norm(&[0])?, &[Value::Float(13.0 * scale)])?;
            same(&x.broadcast_to([2, n])?.norm(&[1])?, &[Value::Float(13.0 * scale); 2])?;
        }
    }
    let norm =
        |values: &[f32]| Tensor::from_slice(values, [values.len()], &at.device)?.norm(&[])?.item::<f32>();
    prop_assert_eq!(norm(&[f32::MAX])?, f32::MAX);
    prop_assert_eq!(norm(&[f32::MAX, f32::MAX])?, f32::INFINITY);
    prop_assert_eq!(norm(&[1e30, 1.0, 1e-30])?, 1e30);
    prop_assert_eq!(norm(&[1.0, 1e-30])?, 1.0);
    prop_assert_eq!(norm(&[f32::from_bits(1)])?, f32::from_bits(1));
    prop_assert_eq!(norm(&[f32::NEG_INFINITY, 1e30])?, f32::INFINITY);
    prop_assert!(norm(&[1e30, f32::NAN, f32::INFINITY])?.is_nan());
    prop_assert_eq!(norm(&[-0.0, 0.0])?.to_bits(), 0);
    Ok(())
}

/// A mean 10,000 times the deviation: the difference of mean square and squared mean would be off by 6. What is joined is
/// counted from the first element, so that the error is that of sums of squares.
fn variance_far_from_zero(at: &At) -> Check {
    let shape = [96, 4096];
    for offset in [1e4, -3e5] {
        let x = Tensor::normal(shape, 0.0, 1.0, 7, DType::F32, &at.device)?.add_scalar(offset)?;
        let values: Vec<f64> = x.to_vec::<f32>()?.into_iter().map(f64::from).collect();
        let var = |values: Vec<f64>| {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let var = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
            Interval::around(var, 4.0 * n * half_up(DType::F32) * var)
        };
        let rows: Vec<_> = values.chunks(4096).map(|row| var(row.to_vec())).collect();
        within(&x.clone().var(&[1], 1)?, &rows)?;
        let stds: Vec<_> = rows.iter().map(|row| row.map(f64::sqrt)).collect();
        within(&x.clone().std(&[1], 1)?, &stds)?;
        let columns = (0..4096).map(|column| var(values[column..].iter().copied().step_by(4096).collect()));
        within(&x.clone().var(&[0], 1)?, &columns.collect::<Vec<_>>())?;
        within(&x.var(&[], 1)?, &[var(values)])?;
    }
    // Means that cancel in no order: half of the elements far on one side, half on the other.
    let halves: Vec<f32> = (0..100_000).map(|i| if i < 50_000 { -1e5 } else { 1e5 }).collect();
    let x = Tensor::from_slice(&halves, [100_000], &at.device)?;
    within(&x.var(&[], 0)?, &[Interval::around(1e10, 1e10 * 1e-4)])
}

/// The largest and the smallest numbers of f16 and f32, and infinities.
fn logsumexp_at_the_ends(at: &At) -> Check {
    for n in [2usize, 1000] {
        // ln 1000 is 7, and neighbours are 32 apart.
        for value in [f16::MAX, f16::MIN] {
            let x = Tensor::full([3, n], value.to_f64(), DType::F16, &at.device)?;
            prop_assert_eq!(x.clone().logsumexp(&[1])?.to_vec::<f16>()?, [value; 3]);
            prop_assert_eq!(x.t()?.contiguous()?.logsumexp(&[0])?.to_vec::<f16>()?, [value; 3]);
        }
        let mut mixed = vec![f16::MIN; n];
        mixed[n - 1] = f16::MAX;
        let x = Tensor::from_slice(&mixed, [n], &at.device)?;
        prop_assert_eq!(x.logsumexp(&[])?.item::<f16>()?, f16::MAX);

        let of = |values: &[f32]| {
            let mut row = vec![f32::NEG_INFINITY; n];
            row[n - values.len()..].copy_from_slice(values);
            let x = Tensor::from_slice(&row, [n], &at.device)?;
            let column = Tensor::from_slice(&row, [n, 1], &at.device)?.broadcast_to([n, 2])?;
            let (row, column) =
                (x.logsumexp(&[])?.item::<f32>()?, column.logsumexp(&[0])?.to_vec::<f32>()?[1]);
            Ok::<_, taut::Error>((row, column))
        };
        let minus = f32::NEG_INFINITY;
        prop_assert_eq!(of(&[])?, (minus, minus));
        prop_assert_eq!(of(&[-500.0])?, (-500.0, -500.0));
        prop_assert_eq!(of(&[f32::MAX])?, (f32::MAX, f32::MAX));
        prop_assert_eq!(of(&[f32::INFINITY, minus])?, (f32::INFINITY, f32::INFINITY));
        prop_assert_eq!(of(&[f32::INFINITY, f32::INFINITY])?, (f32::INFINITY, f32::INFINITY));
        for values in [&[f32::NAN][..], &[f32::NAN, f32::INFINITY], &[minus, f32::NAN], &[f32::NAN, 1.0]] {
            let (row, column) = of(values)?;
            prop_assert!(row.is_nan() && column.is_nan(), "{:?} of {}", values, n);
        }
    }
    Ok(())
}

/// The first of equals, wherever work is divided; NaN before everything, and the first NaN of several.
fn places_of_ties_and_nan(at: &At) -> Check {
    for (op, worst, best, past) in [
        (Reduce::ArgMax, f32::NEG_INFINITY, 2.0, f32::INFINITY),
        (Reduce::ArgMin, f32::INFINITY, -2.0, f32::NEG_INFINITY),
    ] {
        for &n in at.shapes(&[1usize, 2, 31, 33, 1023, 1025, 100_000], &[33, 1025]) {
            for fill in [1.0, worst, past] {
                let ties = Tensor::full([n], fill.into(), DType::F32, &at.device)?;
                prop_assert_eq!(ties.clone().reduce(op, &[0])?.item::<i64>()?, 0);
                let columns = ties.reshape([n, 1])?.broadcast_to([n, 3])?.contiguous()?.reduce(op, &[0])?;
                prop_assert_eq!(columns.to_vec::<i64>()?, [0; 3]);
            }
            for place in [0, n / 2, n - 1] {
                let mut values = vec![worst; n];
                values[place..].fill(best);
                let place_of = |values: &[f32]| {
                    let x = Tensor::from_slice(values, [n], &at.device)?;
                    let columns = x.clone().reshape([n, 1])?.broadcast_to([n, 3])?.contiguous()?;
                    let (row, column) = (x.reduce(op, &[0])?, columns.reduce(op, &[0])?);
                    Ok::<_, taut::Error>((row.item::<i64>()?, column.to_vec::<i64>()?[2]))
                };
                let want = (place as i64, place as i64);
                prop_assert_eq!(place_of(&values)?, want, "{:?}: ties of {} from {}", op, n, place);
                values.fill(past);
                values[place] = f32::NAN;
                values[n - 1] = -f32::NAN;
                prop_assert_eq!(place_of(&values)?, want, "{:?}: NaN of {} at {}", op, n, place);
            }
        }
    }
    Ok(())
}

/// Positions take 0 and -0 as equal; the largest of them is 0, the smallest -0, wherever they stand.
fn signs_of_zero(at: &At) -> Check {
    for dtype in at.floats() {
        for values in [[0.0, -0.0], [-0.0, 0.0]] {
            let values = values.map(Value::Float);
            let x = upload(&values, &[2], dtype, &at.device)?;
            same(&x.clone().max(&[])?, &[Value::Float(0.0)])?;
            same(&x.clone().min(&[])?, &[Value::Float(-0.0)])?;
            same(&x.clone().argmax(0)?, &[Value::Int(0)])?;
            same(&x.clone().argmin(0)?, &[Value::Int(0)])?;
            let columns = x.reshape([2, 1])?.broadcast_to([2, 5])?.contiguous()?;
            same(&columns.clone().max(&[0])?, &[Value::Float(0.0); 5])?;
            same(&columns.clone().argmin(0)?, &[Value::Int(0); 5])?;
        }
    }
    Ok(())
}

/// What each op makes of nothing, and of a scalar, which is reduced over no axis.
fn nothing_and_scalars(at: &At) -> Check {
    let none = Tensor::zeros([3, 0, 2], DType::F16, &at.device)?;
    let nan = f64::NAN;
    for (op, want) in [
        (Reduce::Sum, 0.0),
        (Reduce::Mean, nan),
        (Reduce::Prod, 1.0),
        (Reduce::Norm, 0.0),
        (Reduce::MeanSquare, nan),
        (Reduce::Var { correction: 0 }, nan),
        (Reduce::Std { correction: 1 }, nan),
        (Reduce::LogSumExp, f64::NEG_INFINITY),
    ] {
        same(&none.clone().reduce(op, &[1])?, &[Value::Float(want); 6])?;
        same(&none.clone().reduce(op, &[0, 1])?, &[Value::Float(want); 2])?;
        same(&none.clone().reduce(op, &[])?, &[Value::Float(want)])?;
        same(&none.clone().reduce(op, &[0])?, &[])?;
    }
    for op in [Reduce::Max, Reduce::Min, Reduce::ArgMax, Reduce::ArgMin] {
        same(&none.clone().reduce(op, &[0])?, &[])?;
    }
    let none = Tensor::zeros([0, 2], DType::Bool, &at.device)?;
    for (op, want) in [(Reduce::Any, 0), (Reduce::All, 1), (Reduce::Sum, 0), (Reduce::Prod, 1)] {
        same(&none.clone().reduce(op, &[0])?, &[Value::Int(want); 2])?;
        same(&none.clone().reduce(op, &[])?, &[Value::Int(want)])?;
    }

    let one = Tensor::full([0usize; 0], 7.5, DType::F32, &at.device)?;
    for (op, want) in [
        (Reduce::Sum, 7.5),
        (Reduce::Mean, 7.5),
        (Reduce::Prod, 7.5),
        (Reduce::Max, 7.5),
        (Reduce::Min, 7.5),
        (Reduce::Norm, 7.5),
        (Reduce::MeanSquare, 56.25),
        (Reduce::Var { correction: 0 }, 0.0),
        (Reduce::Std { correction: 0 }, 0.0),
        (Reduce::Var { correction: 1 }, nan),
        (Reduce::LogSumExp, 7.5),
    ] {
        same(&one.clone().reduce(op, &[])?, &[Value::Float(want)])?;
    }
    same(&one.clone().reduce(Reduce::ArgMax, &[])?, &[Value::Int(0)])?;
    prop_assert_eq!(kind_of(one.argmax(0))?, ErrorKind::Shape);
    Ok(())
}

/// The same bits every time: the order of additions is a fact of the shape.
fn repeats(at: &At) -> Check {
    let shape = at.shapes(&[[777, 1031]], &[[77, 1031]])[0];
    let x = Tensor::normal(shape, 0.0, 1.0, 9, DType::F32, &at.device)?;
    for op in Reduce::ALL.into_iter().filter(|op| op.output(DType::F32).is_some()) {
        for axes in [&[][..], &[0], &[1]] {
            let first = x.clone().reduce(op, axes)?;
            for _ in 0..3 {
                taut_tests::same_tensors(&x.clone().reduce(op, axes)?, &first)?;
            }
        }
    }
    Ok(())
}

fn errors(at: &At) -> Check {
    let x = || Tensor::zeros([3, 0], DType::F32, &at.device);
    prop_assert_eq!(message_of(x()?.max(&[1]))?, "max: axis 1 of [3, 0] is empty");
    prop_assert_eq!(message_of(x()?.min(&[]))?, "min: axis 1 of [3, 0] is empty");
    prop_assert_eq!(message_of(x()?.argmin(1))?, "argmin: axis 1 of [3, 0] is empty");
    prop_assert_eq!(message_of(x()?.var(&[2], 1))?, "var: axis 2 is not within the rank of [3, 0]");
    prop_assert_eq!(message_of(x()?.norm(&[0, 0]))?, "norm: axis 0 stands twice in [0, 0]");
    prop_assert_eq!(message_of(x()?.any(&[0]))?, "any: does not take f32");
    prop_assert_eq!(message_of(x()?.all(&[]))?, "all: does not take f32");
    let ints = || Tensor::zeros([2], DType::I64, &at.device);
    for op in [Reduce::Norm, Reduce::Var { correction: 0 }, Reduce::Std { correction: 0 }, Reduce::LogSumExp]
    {
        prop_assert_eq!(kind_of(ints()?.reduce(op, &[]))?, ErrorKind::DType);
    }
    let truth = Tensor::zeros([2], DType::Bool, &at.device)?;
    prop_assert_eq!(message_of(truth.clone().max(&[]))?, "max: does not take bool");
    prop_assert_eq!(message_of(truth.min(&[]))?, "min: does not take bool");
    Ok(())
}
