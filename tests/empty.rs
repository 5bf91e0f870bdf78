//! Tensors of no element, and of rank 0, through every op.

use proptest::prelude::*;
use taut::{Activation, Binary, DType, Kind, Reduce, Tensor, Unary};
use taut_tests::{At, Check, Suite, Value, binary_elements, meets, same, unary_elements, upload};

pub(crate) fn trials(suite: &mut Suite) {
    suite.everywhere("empty::passes_every_op", passes_every_op);
    suite.everywhere("empty::takes_no_memory", takes_no_memory);
    suite.real("empty::scalars_pass_every_op", scalars_pass_every_op);
}

fn passes_every_op(at: &At) -> Check {
    for shape in [&[0][..], &[0, 3], &[2, 0, 3], &[5, 0]] {
        for dtype in at.dtypes() {
            let new = || Tensor::zeros(shape, dtype, &at.device);
            let pass = |result: taut::Result<Tensor>| -> Check {
                let x = result?;
                prop_assert_eq!(x.numel(), 0);
                prop_assert_eq!(taut_tests::download(&x)?.len(), 0);
                Ok(())
            };
            for op in Unary::ALL.into_iter().filter(|op| op.takes(dtype)) {
                pass(new()?.unary(op))?;
                let x = new()?;
                pass(x.clone().unary(op))?;
                drop(x);
                new()?.unary_(op)?;
            }
            for op in Binary::ALL.into_iter().filter(|op| op.takes(dtype)) {
                pass(new()?.binary(op, &new()?))?;
                pass(new()?.binary(op, &Tensor::zeros([1], dtype, &at.device)?))?;
                if op.output(dtype) == Some(dtype) {
                    new()?.binary_(op, &Tensor::zeros([0usize; 0], dtype, &at.device)?)?;
                }
            }
            for to in at.dtypes() {
                pass(new()?.cast(to))?;
            }
            pass(new()?.copy())?;
            pass(new()?.contiguous())?;
            pass(new()?.slice(0, 0..0))?;
            pass(new()?.reshape([7, 0, 1]))?;
            pass(new()?.transpose(0, shape.len() - 1)?.contiguous())?;
            pass(new()?.to(&at.device.host()))?;
            pass(Tensor::full(shape, 1.0, dtype, &at.device))?;
            prop_assert_eq!(new()?.sum(&[])?.rank(), 0);
            if dtype.is_float() {
                pass(Tensor::normal(shape, 0.0, 1.0, 1, dtype, &at.device))?;
            }
        }
    }
    for dtype in at.floats() {
        let new = |m: usize, n: usize| Tensor::zeros([m, n], dtype, &at.device);
        for [m, n, k] in [[0, 4, 3], [2, 0, 3], [2, 4, 0]] {
            let y = new(m, k)?.matmul(&new(k, n)?)?;
            prop_assert_eq!(&y.shape()[..], &[m, n]);
            if k == 0 && !at.device.is_plan() {
                same(&y, &[Value::Float(0.0); 8])?;
            }
        }
        let mut sum = new(0, 4)?;
        sum.addmm_(&new(0, 3)?, &new(3, 4)?)?;
        let bias = Tensor::zeros([4], dtype, &at.device)?;
        let y = new(0, 3)?.linear_with(&new(4, 3)?, Some(&bias), Activation::Relu)?;
        prop_assert_eq!(&y.shape()[..], &[0, 4]);
    }
    Ok(())
}

fn takes_no_memory(at: &At) -> Check {
    let x = Tensor::zeros([0, 1 << 20], DType::F32, &at.device)?;
    let y = x.clone().add_scalar(1.0)?.with_kind(Kind::Weights)?;
    let stats = at.device.stats();
    prop_assert_eq!((stats.peak_live_bytes, stats.peak_reserved_bytes), (0, 0));
    drop((x, y));
    Ok(())
}

fn scalars_pass_every_op(at: &At) -> Check {
    let none = [0usize; 0];
    for dtype in at.dtypes() {
        let (one, two) = (Value::Int(1), Value::Int(2));
        let value = |value| taut_tests::cast(value, dtype);
        let x = upload(&[value(one)], &none, dtype, &at.device)?;
        for op in Unary::ALL.into_iter().filter(|op| op.takes(dtype)) {
            meets(&x.clone().unary(op)?, &unary_elements(op, &[value(one)], dtype))?;
        }
        for op in Binary::ALL.into_iter().filter(|op| op.takes(dtype)) {
            let want = |b, n| binary_elements(op, &vec![(value(one), value(b)); n], dtype);
            meets(&x.clone().binary(op, &x)?, &want(one, 1))?;
            // With a scalar on the left the result has the shape of the right.
            let row = upload(&[value(two); 3], &[3], dtype, &at.device)?;
            meets(&x.clone().binary(op, &row)?, &want(two, 3))?;
        }
        for op in Reduce::ALL {
            let Some(out) = op.output(dtype) else { continue };
            let want = match op {
                Reduce::ArgMax | Reduce::ArgMin => Value::Int(0),
                // Of a sample of one.
                Reduce::Var { .. } | Reduce::Std { .. } => Value::Float(f64::NAN),
                _ => taut_tests::cast(value(one), out),
            };
            same(&x.clone().reduce(op, &[])?, &[want])?;
        }
        same(&x.clone().reshape([1, 1])?.broadcast_to([2, 2])?, &[value(one); 4])?;
        same(&x.clone().contiguous()?.copy()?, &[value(one)])?;
    }
    Ok(())
}
