//! Casts, copies and tensors made from nothing.

use crate::{Fill, Op, Operand, Use, Want, cast, first};
use taut::{DType, Random, Tensor};

pub(super) fn ops() -> Vec<Op> {
    let mut ops = vec![transposed(), full()];
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
