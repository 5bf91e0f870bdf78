//! Sorts and what is made of them.

use crate::{Fill, Op, Operand, Use, Value, Want, download, first, lines, sorted};
use taut::{DType, Device, Tensor};

pub(super) fn ops() -> Vec<Op> {
    vec![
        sort(),
        sort().named("sort, one row").scale(|numel| vec![numel]),
        argsort(),
        sort_by_key(),
        topk(),
        topk().named("topk, one row").scale(|numel| vec![numel]),
        permutation(),
    ]
}

/// Few values that are often equal, or all that there are.
const FILLS: [Fill; 2] = [Fill::Any, Fill::Whole];

/// For each result along an axis, in row-major order of the result: the element that it is, and its position.
fn ordered(values: &[Value], shape: &[usize], axis: usize, k: usize, descending: bool) -> Vec<(usize, i64)> {
    let mut shape_out = shape.to_vec();
    shape_out[axis] = k;
    let mut out = vec![(0, 0); shape_out.iter().product()];
    for (line, line_out) in lines(shape, axis).iter().zip(lines(&shape_out, axis)) {
        let keys: Vec<Value> = line.iter().map(|&i| values[i]).collect();
        for (to, position) in line_out.into_iter().zip(sorted(&keys, descending)) {
            out[to] = (line[position], position as i64);
        }
    }
    out
}

/// Values and positions, of this number of elements on the axis.
fn wants(keys: &[Value], x: &crate::Array, axis: usize, k: usize, descending: bool) -> [Want; 2] {
    let order = ordered(keys, &x.shape, axis, k, descending);
    let mut shape = x.shape.clone();
    shape[axis] = k;
    let values = order.iter().map(|&(from, _)| x.values[from]).collect();
    let positions = order.iter().map(|&(_, position)| Value::Int(position)).collect();
    [Want::exact(&shape, x.dtype, values), Want::exact(&shape, DType::I64, positions)]
}

fn sort() -> Op {
    Op::new(
        "sort",
        |_| true,
        |draw| {
            let (axis, descending, fill) = (draw.axis()?, draw.below(2) == 1, draw.one_of(&FILLS));
            let make = Use::several(
                [draw.operand(fill)],
                move |x| first(x)?.sort(axis, descending).map(|(values, positions)| vec![values, positions]),
                move |x| wants(&x[0].values, &x[0], axis, x[0].shape[axis], descending).into(),
            );
            Some(make.note(format!("axis {axis}, descending {descending}")))
        },
    )
}

fn argsort() -> Op {
    Op::new(
        "argsort",
        |_| true,
        |draw| {
            let (axis, descending, fill) = (draw.axis()?, draw.below(2) == 1, draw.one_of(&FILLS));
            let make = Use::new(
                [draw.operand(fill)],
                move |x| first(x)?.argsort(axis, descending),
                move |x| {
                    let [_, positions] = wants(&x[0].values, &x[0], axis, x[0].shape[axis], descending);
                    positions
                },
            );
            Some(make.note(format!("axis {axis}, descending {descending}")))
        },
    )
}

fn sort_by_key() -> Op {
    Op::new(
        "sort_by_key",
        |_| true,
        |draw| {
            let (axis, descending, fill) = (draw.axis()?, draw.below(2) == 1, draw.one_of(&FILLS));
            let dtype = draw.one_of(&[DType::F32, DType::I64, DType::BF16, DType::Bool, DType::U32]);
            let keys = Operand::new(&draw.shape, dtype, fill);
            let make = Use::new(
                [draw.operand(Fill::Any), keys],
                move |x| x[0].clone().sort_by_key(&x[1], axis, descending),
                move |x| {
                    let [values, _] = wants(&x[1].values, &x[0], axis, x[0].shape[axis], descending);
                    values
                },
            );
            Some(make.note(format!("axis {axis}, descending {descending}")))
        },
    )
}

fn topk() -> Op {
    Op::new(
        "topk",
        |_| true,
        |draw| {
            let (axis, largest, fill) = (draw.axis()?, draw.below(2) == 0, draw.one_of(&FILLS));
            let n = draw.shape[axis];
            let k = if draw.is_bench() { 8 } else { draw.below(n + 1) };
            let make = Use::several(
                [draw.operand(fill)],
                move |x| first(x)?.topk(k, axis, largest).map(|(values, positions)| vec![values, positions]),
                move |x| wants(&x[0].values, &x[0], axis, k, largest).into(),
            );
            Some(make.note(format!("k {k}, axis {axis}, largest {largest}")))
        },
    )
}

/// Of a device that its operand only names; equal to the CPU's numbers, which `sort.rs` compares with an independent
/// generator.
fn permutation() -> Op {
    let op = Op::new(
        "permutation",
        |dtype| dtype == DType::I64,
        |draw| {
            let (n, seed) = (draw.numel(), draw.below(1 << 20) as u64);
            let make = Use::new(
                [Operand::new(&[], DType::I64, Fill::Whole)],
                move |x| Tensor::permutation(n, seed, x[0].device()),
                move |_| {
                    let made = Tensor::permutation(n, seed, &Device::cpu()).and_then(|made| download(&made));
                    Want::exact(&[n], DType::I64, made.unwrap_or_default())
                },
            );
            Some(make.bytes(8 * n).note(format!("seed {seed}")))
        },
    );
    op.scale(|numel| vec![numel])
}
