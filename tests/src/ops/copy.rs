//! Casts, copies and tensors made from nothing.

use crate::{Draw, Fill, Geometry, Op, Operand, Step, Use, Want, cast, first};
use taut::{DType, Random, Tensor};

pub(super) fn ops() -> Vec<Op> {
    let mut ops = vec![transposed(), full()];
    ops.extend(views());
    ops.extend([DType::F32, DType::F16, DType::BF16, DType::I64, DType::U8].map(casts));
    ops.extend(Random::ALL.map(random));
    ops
}

fn casts(to: DType) -> Op {
    Op::new(
        format!("cast, to {to}"),
        move |from| from != to,
        move |draw| {
            Some(Use::new(
                [draw.operand(Fill::Any)],
                move |x| first(x)?.cast(to),
                move |x| {
                    Want::exact(&x[0].shape, to, x[0].values.iter().map(|&value| cast(value, to)).collect())
                },
            ))
        },
    )
}

fn transposed() -> Op {
    Op::new(
        "contiguous, transposed",
        |_| true,
        |draw| {
            let (a, b) = (draw.axis()?, draw.axis()?);
            // Benches exchange the last two.
            let b = if draw.is_bench() { a - 1 } else { b };
            Some(Use::new(
                [draw.operand(Fill::Any)],
                move |x| first(x)?.transpose(a, b)?.contiguous(),
                move |x| {
                    let grid = crate::Grid::new(&x[0].shape).transpose(a, b);
                    let values = grid.index.iter().map(|&i| x[0].values[i]).collect();
                    Want::exact(&grid.shape, x[0].dtype, values)
                },
            ))
        },
    )
}

/// Copies of views whose elements do not lie in order, each with the shape that benches give it.
fn views() -> Vec<Op> {
    let any = |_: DType| true;
    let half = |dtype: DType| matches!(dtype, DType::F16 | DType::BF16);
    vec![
        view("contiguous, transposed bytes", |dtype| dtype == DType::U8, None, transpose),
        view("cast, transposed to f32", half, Some(DType::F32), transpose),
        view("cast, transposed to f16", |dtype| dtype == DType::F32, Some(DType::F16), transpose),
        view("contiguous, transposed, odd", any, None, transpose).scale(|numel| vec![numel / 4096 + 1, 4095]),
        view("contiguous, channels last", any, None, permute).scale(|numel| vec![numel >> 18, 64, 64, 64]),
        view("cast, pixels to planes", |dtype| dtype == DType::U8, Some(DType::F32), planes)
            .scale(|numel| vec![numel >> 18, 256, 341, 3]),
        view("contiguous, planes to pixels", any, None, permute)
            .scale(|numel| vec![numel >> 18, 3, 256, 341]),
        view("contiguous, small matrices", any, None, transpose).scale(|numel| vec![numel >> 8, 16, 16]),
        view("contiguous, sliced", any, None, slice),
        view("contiguous, one of three", any, None, column).scale(|numel| vec![numel / 3, 3]),
    ]
}

/// How a view is drawn.
type Steps = fn(&mut Draw) -> Option<Vec<Step>>;

/// A copy of a view, cast or not.
fn view(name: &str, takes: fn(DType) -> bool, to: Option<DType>, steps: Steps) -> Op {
    Op::new(name, takes, move |draw| {
        let geometry = Geometry::of(&draw.shape.clone(), steps(draw)?);
        let to = to.unwrap_or(draw.dtype);
        let (note, seen) = (format!("{:?}", geometry.steps), geometry.clone());
        let copy = Use::new(
            [draw.operand(Fill::Any)],
            move |x| seen.view(first(x)?)?.cast(to)?.contiguous(),
            move |x| {
                let grid = geometry.grid();
                let values = grid.index.iter().map(|&i| cast(x[0].values[i], to)).collect();
                Want::exact(&grid.shape, to, values)
            },
        );
        Some(copy.note(note))
    })
}

/// Two axes exchanged, in benches the last two.
fn transpose(draw: &mut Draw) -> Option<Vec<Step>> {
    let (a, b) = (draw.axis()?, draw.axis()?);
    Some(vec![Step::Transpose(a, if draw.is_bench() { a - 1 } else { b })])
}

/// All axes in another order, in benches the second one last.
fn permute(draw: &mut Draw) -> Option<Vec<Step>> {
    let rank = draw.rank();
    let mut swap =
        |axis: usize| Step::Transpose(axis, if draw.is_bench() { axis + 1 } else { draw.below(rank) });
    (rank > 1).then(|| (1..rank.max(2) - 1).map(&mut swap).collect())
}

/// The last axis second.
fn planes(draw: &mut Draw) -> Option<Vec<Step>> {
    let rank = draw.rank();
    (rank > 1).then(|| (1..rank - 1).rev().map(|axis| Step::Transpose(axis, axis + 1)).collect())
}

/// Without some elements at both ends of an axis, in benches one of the last.
fn slice(draw: &mut Draw) -> Option<Vec<Step>> {
    let axis = draw.axis()?;
    let dim = draw.shape[axis];
    let ends = if draw.is_bench() { [1, 1] } else { [draw.below(dim + 1), draw.below(9)] };
    Some(vec![Step::Slice(axis, ends[0]..dim.saturating_sub(ends[1]).max(ends[0]))])
}

/// One index of an axis, in benches of the last.
fn column(draw: &mut Draw) -> Option<Vec<Step>> {
    let axis = draw.axis()?;
    let dim = draw.shape[axis];
    let at = if draw.is_bench() { 1 } else { draw.below(dim.max(1)) };
    (dim > 0).then(|| vec![Step::Slice(axis, at..at + 1)])
}

/// Of a dtype and on a device that its operand only names.
fn full() -> Op {
    Op::new(
        "full",
        |_| true,
        |draw| {
            let (shape, dtype) = (draw.shape.clone(), draw.dtype);
            let value = draw.one_of(&[1.0, 0.0, -2.5, f64::NAN]);
            let bytes = draw.numel() * dtype.size();
            let make = Use::new(
                [Operand::new(&[], dtype, Fill::Whole)],
                {
                    let shape = shape.clone();
                    move |x| Tensor::full(&shape, value, dtype, x[0].device())
                },
                move |_| {
                    let value = cast(crate::Value::Float(value), dtype);
                    Want::exact(&shape, dtype, vec![value; shape.iter().product()])
                },
            );
            Some(make.bytes(bytes).note(value))
        },
    )
}

/// Equal to the CPU's numbers, which `random.rs` compares with an independent generator.
fn random(distribution: Random) -> Op {
    let takes = move |dtype| distribution.takes(dtype);
    Op::new(distribution.name(), takes, move |draw| {
        let (shape, dtype, seed) = (draw.shape.clone(), draw.dtype, draw.below(1 << 20) as u64);
        let bytes = draw.numel() * dtype.size();
        let make = move |device: &taut::Device| Tensor::random(&shape, distribution, seed, dtype, device);
        let on_cpu = make.clone();
        let make = Use::new(
            [Operand::new(&[], dtype, Fill::Whole)],
            move |x| make(x[0].device()),
            move |_| {
                // An error is a result of no shape that any op has.
                let made = on_cpu(&taut::Device::cpu());
                let values = made.as_ref().ok().and_then(|made| crate::download(made).ok());
                let shape = made.map(|made| made.shape().to_vec());
                Want::exact(&shape.unwrap_or_default(), dtype, values.unwrap_or_default())
            },
        );
        Some(make.bytes(bytes))
    })
}
