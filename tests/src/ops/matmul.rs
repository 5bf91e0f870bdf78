//! Matrix products over batch axes, and products of vectors.

use crate::{Array, Draw, Fill, Grid, Op, Operand, Use, Want, product_error, split, unary};
use crate::{Interval, Value, half_up};
use taut::{Activation, Binary, DType, Tensor};

pub(super) fn ops() -> Vec<Op> {
    vec![
        matmul("matmul", Batch::None).scale(|numel| vec![numel.isqrt() / 2; 2]),
        matmul("matmul, small", Batch::None).scale(|numel| vec![numel.isqrt() / 8; 2]),
        matmul("matmul, batched", Batch::Equal).scale(|numel| vec![numel >> 18, 128, 128]),
        matmul("matmul, broadcast", Batch::Broadcast).scale(|numel| vec![numel >> 20, 1, 512, 128]),
        matmul("matmul, row by matrix", Batch::Row).scale(|numel| vec![numel.isqrt()]),
        matmul("matmul, matrix by column", Batch::Column).scale(|numel| vec![numel.isqrt(); 2]),
        dot().scale(|numel| vec![numel]),
        outer().scale(|numel| vec![numel / 4096]),
        linear("linear"),
        linear("linear_with"),
        addmm(),
        add_linear(),
    ]
}

/// What the operands of a product are.
#[derive(Clone, Copy, PartialEq)]
enum Batch {
    /// Two matrices.
    None,
    /// The same leading axes.
    Equal,
    /// Leading axes that broadcast.
    Broadcast,
    /// A vector on the left.
    Row,
    /// A vector on the right.
    Column,
}

/// The shapes of the two operands of a product of at most some hundred thousand terms.
fn operands(draw: &mut Draw, batch: Batch) -> Option<[Vec<usize>; 2]> {
    let shape = draw.shape.clone();
    let (lead, last) = shape.split_at(shape.len().checked_sub(if batch == Batch::Row { 1 } else { 2 })?);
    let k = *last.last()?;
    let most = (200_000 / draw.numel().max(1)).clamp(1, 70);
    let n = if draw.is_bench() { k } else { draw.below(most + 1) };
    let (a, b) = match batch {
        Batch::None => (last.to_vec(), vec![k, n]),
        Batch::Equal => (shape.clone(), [lead, &[k, n]].concat()),
        Batch::Broadcast if draw.is_bench() => (shape.clone(), vec![8, k, n]),
        Batch::Broadcast => {
            // Either lacks axes or has 1 in places.
            let shrunk = |draw: &mut Draw| {
                let axes = lead.iter().skip(draw.below(lead.len() + 1));
                axes.map(|&extent| if draw.below(3) == 0 { 1 } else { extent }).collect::<Vec<_>>()
            };
            ([&shrunk(draw)[..], last].concat(), [&shrunk(draw)[..], &[k, n]].concat())
        }
        Batch::Row => (vec![k], [lead, &[k, n]].concat()),
        Batch::Column => (shape, vec![k]),
    };
    Some([a, b])
}

fn matmul(name: &'static str, batch: Batch) -> Op {
    Op::new(name, DType::is_float, move |draw| {
        let [a, b] = operands(draw, batch)?;
        let fill = draw.one_of(&[Fill::Wild, Fill::Whole]);
        let terms = terms(&a, &b);
        let make = Use::new(
            [Operand::new(&a, draw.dtype, fill), Operand::new(&b, draw.dtype, fill)],
            |x| {
                let (a, rest) = split(x)?;
                a.matmul(&rest[0])
            },
            |x| product(&x[0], &x[1], &[], x[0].dtype),
        );
        Some(if matches!(batch, Batch::Row | Batch::Column) { make } else { make.flops(2.0 * terms) })
    })
}

/// The number of products that `a` by `b` adds.
fn terms(a: &[usize], b: &[usize]) -> f64 {
    let (shape, k) = shape_of(a, b);
    shape.iter().product::<usize>() as f64 * k as f64
}

/// A matrix of a vector, and where its axes begin.
fn matrix(shape: &[usize], row: bool) -> Vec<usize> {
    match *shape {
        [k] if row => vec![1, k],
        [k] => vec![k, 1],
        _ => shape.to_vec(),
    }
}

/// The shape of a product, with the axes of extent 1 that vectors have, and the terms of a sum.
fn shape_of(a: &[usize], b: &[usize]) -> (Vec<usize>, usize) {
    let (a, b) = (matrix(a, true), matrix(b, false));
    let (a_lead, a_last) = a.split_at(a.len() - 2);
    let (b_lead, b_last) = b.split_at(b.len() - 2);
    let rank = a_lead.len().max(b_lead.len());
    let extent =
        |lead: &[usize], axis: usize| (axis + lead.len()).checked_sub(rank).map_or(1, |axis| lead[axis]);
    let lead = (0..rank).map(|axis| match (extent(a_lead, axis), extent(b_lead, axis)) {
        (1, other) => other,
        (one, _) => one,
    });
    (lead.chain([a_last[0], b_last[1]]).collect(), a_last[1])
}

/// `start + a b` by its definition, each sum as an interval.
pub(crate) fn product(a: &Array, b: &Array, start: &[Value], out: DType) -> Want {
    let (shape, k) = shape_of(&a.shape, &b.shape);
    let (lead, last) = shape.split_at(shape.len() - 2);
    let whole = |array: &Array, row: bool, last: [usize; 2]| {
        let grid = Grid { shape: matrix(&array.shape, row), ..Grid::new(&array.shape) };
        grid.broadcast(&[lead, &last].concat()).index
    };
    let (m, n) = (last[0], last[1]);
    let (left, right) = (whole(a, true, [m, k]), whole(b, false, [k, n]));
    let (x, y) = (a.floats(), b.floats());
    let sums = (0..shape.iter().product()).map(|i: usize| {
        let (batch, row, column) = (i / (m * n), i / n % m, i % n);
        let term = |j: usize| (x[left[(batch * m + row) * k + j]], y[right[(batch * k + j) * n + column]]);
        product_error((0..k).map(term), start.get(i).map_or(0.0, |x| x.float()), a.dtype)
    });
    let sums = sums.collect();
    // A vector has no axis of its own in the result.
    let last = [(m, a.shape.len()), (n, b.shape.len())].into_iter().filter(|(_, rank)| *rank > 1);
    let shape: Vec<usize> = lead.iter().copied().chain(last.map(|(extent, _)| extent)).collect();
    Want::within(&shape, out, sums)
}

fn dot() -> Op {
    Op::new("dot", DType::is_float, |draw| {
        let length = draw.numel();
        let operand = Operand::new(&[length], draw.dtype, draw.one_of(&[Fill::Wild, Fill::Tame]));
        let call = |x| {
            let (a, rest) = split(x)?;
            a.dot(&rest[0])
        };
        Some(Use::new([operand.clone(), operand], call, |x| product(&x[0], &x[1], &[], x[0].dtype)))
    })
}

fn outer() -> Op {
    Op::new(
        "outer",
        |dtype| Binary::Mul.takes(dtype),
        |draw| {
            let rows = if draw.is_bench() { draw.numel() } else { draw.numel().min(90) };
            let columns = if draw.is_bench() { 4096 } else { draw.below(90) };
            let operand = |length: usize| Operand::new(&[length], draw.dtype, Fill::Any);
            Some(Use::new(
                [operand(rows), operand(columns)],
                |x| {
                    let (a, rest) = split(x)?;
                    a.outer(&rest[0])
                },
                |x| {
                    let rows = x[0].values.iter();
                    let values = rows.flat_map(|&a| {
                        x[1].values.iter().map(move |&b| crate::binary(Binary::Mul, a, b, x[0].dtype))
                    });
                    Want::exact(&[x[0].values.len(), x[1].values.len()], x[0].dtype, values.collect())
                },
            ))
        },
    )
}

/// `linear`, or `linear_with` a bias or none and an activation.
fn linear(name: &'static str) -> Op {
    let op = Op::new(name, DType::is_float, move |draw| {
        let with = name == "linear_with";
        let k = *draw.shape.last()?;
        let most = (200_000 / draw.numel().max(1)).clamp(1, 70);
        let n = if draw.is_bench() { k } else { draw.below(most + 1) };
        let activations = [Activation::Relu, Activation::Identity, Activation::LeakyRelu { slope: 0.5 }];
        let activation = if with { draw.one_of(&activations) } else { Activation::Identity };
        let mut operands = vec![draw.operand(Fill::Tame), Operand::new(&[n, k], draw.dtype, Fill::Tame)];
        if with && (draw.is_bench() || draw.below(2) == 1) {
            operands.push(Operand::new(&[n], draw.dtype, Fill::Tame));
        }
        let flops = 2.0 * (draw.numel() * n) as f64;
        let make = Use::new(
            operands,
            move |x| {
                let (x, rest) = split(x)?;
                if with { x.linear_with(&rest[0], rest.get(1), activation) } else { x.linear(&rest[0]) }
            },
            move |x| layer(x, activation),
        );
        Some(make.flops(flops).note(format!("{activation:?}")))
    });
    op.scale(|numel| vec![numel.isqrt() / 2; 2])
}

/// `activation(x w^T + bias)`, rounded once.
fn layer(x: &[Array], activation: Activation) -> Want {
    let grid = Grid::new(&x[1].shape).transpose(0, 1);
    let weight = Array {
        values: grid.index.iter().map(|&i| x[1].values[i]).collect(),
        shape: grid.shape,
        dtype: x[1].dtype,
    };
    let n = x[1].shape[0];
    let rows: usize = x[0].shape.iter().rev().skip(1).product();
    let starts: Vec<Value> =
        x.get(2).map_or(Vec::new(), |bias| (0..rows * n).map(|i| bias.values[i % n]).collect());
    let mut want = product(&x[0], &weight, &starts, x[0].dtype);
    if let (crate::Elements::Within(sums), Some(op)) = (&mut want.elements, activation.unary()) {
        for sum in sums {
            let y = sum.map(|x| unary(op, Value::Float(x), DType::F64).float());
            let rounding = 2.0 * half_up(x[0].dtype) * y.low.abs().max(y.high.abs());
            *sum = Interval { low: y.low - rounding, high: y.high + rounding };
        }
    }
    want
}

/// The copy beneath is not part of the op.
fn add_linear() -> Op {
    let op = Op::new("add_linear_", DType::is_float, |draw| {
        let k = *draw.shape.last()?;
        let most = (200_000 / draw.numel().max(1)).clamp(1, 70);
        let n = if draw.is_bench() { k } else { draw.below(most + 1) };
        let shape = [&draw.shape[..draw.shape.len() - 1], &[n]].concat();
        let mut operands = vec![
            draw.operand(Fill::Tame),
            Operand::new(&[n, k], draw.dtype, Fill::Tame),
            Operand::new(&shape, draw.dtype, Fill::Tame),
        ];
        if draw.is_bench() || draw.below(2) == 1 {
            operands.push(Operand::new(&[n], draw.dtype, Fill::Tame));
        }
        let flops = 2.0 * (draw.numel() * n) as f64;
        let make = Use::new(
            operands,
            |x| {
                let mut sum: Tensor = x[2].copy()?;
                sum.add_linear_(&x[0], &x[1], x.get(3))?;
                Ok(sum)
            },
            |x| {
                // The bias as one more term: the weight of an input that is 1.
                let longer = |x: &Array, last: &dyn Fn(usize) -> Value| {
                    let (k, dims) = (x.shape.last().copied().unwrap_or(0), x.shape.len());
                    let rows: usize = x.shape[..dims - 1].iter().product();
                    let row = |i: usize| [&x.values[i * k..][..k], &[last(i)]].concat();
                    let shape = [&x.shape[..dims - 1], &[k + 1]].concat();
                    Array { values: (0..rows).flat_map(row).collect(), shape, dtype: x.dtype }
                };
                let bias = |i: usize| x.get(3).map_or(Value::Float(0.0), |bias| bias.values[i]);
                let (input, weight) = (longer(&x[0], &|_| Value::Float(1.0)), longer(&x[1], &bias));
                let grid = Grid::new(&weight.shape).transpose(0, 1);
                let values = grid.index.iter().map(|&i| weight.values[i]).collect();
                let weight = Array { values, shape: grid.shape, dtype: weight.dtype };
                product(&input, &weight, &x[2].values, x[0].dtype)
            },
        );
        Some(make.flops(flops))
    });
    op.scale(|numel| vec![numel.isqrt() / 2; 2])
}

/// Into the dtype of the factors, or into f32. The copy beneath is not part of the op.
fn addmm() -> Op {
    let op = Op::new("addmm_", DType::is_float, |draw| {
        let [a, b] = operands(draw, if draw.is_bench() { Batch::None } else { Batch::Equal })?;
        let (shape, _) = shape_of(&a, &b);
        let wide = draw.below(2) == 1 && draw.dtype != DType::F64;
        let out = if wide { DType::F32 } else { draw.dtype };
        let make = Use::new(
            [
                Operand::new(&a, draw.dtype, Fill::Tame),
                Operand::new(&b, draw.dtype, Fill::Tame),
                Operand::new(&shape, out, Fill::Tame),
            ],
            |x| {
                let mut sum: Tensor = x[2].copy()?;
                sum.addmm_(&x[0], &x[1])?;
                Ok(sum)
            },
            move |x| product(&x[0], &x[1], &x[2].values, out),
        );
        Some(make.flops(2.0 * terms(&a, &b)))
    });
    op.scale(|numel| vec![numel.isqrt() / 2; 2])
}
