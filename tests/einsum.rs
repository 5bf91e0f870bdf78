//! Sums of products by subscripts: what they are made of, and their shorthands. Their values are the registry's.

use proptest::prelude::*;
use taut::{DType, Tensor};
use taut_tests::{At, Check, Fill, Suite, Value, same, same_tensors, upload};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("einsum::says_the_same_as_other_ops", says_the_same_as_other_ops);
    suite.real("einsum::ellipses_broadcast", ellipses_broadcast);
    suite.real("einsum::integers_are_summed_or_multiplied", integers_are_summed_or_multiplied);
    suite.everywhere("einsum::one_operand_is_viewed", one_operand_is_viewed);
}

fn make(at: &At, shape: &[usize], seed: u64) -> taut::Result<Tensor> {
    upload(&Fill::Tame.values(shape.iter().product(), DType::F32, seed), shape, DType::F32, &at.device)
}

/// To the bit: the same kernels run.
fn says_the_same_as_other_ops(at: &At) -> Check {
    let (a, b, v) = (make(at, &[5, 7], 1)?, make(at, &[7, 6], 2)?, make(at, &[7], 3)?);
    let (x, y) = (make(at, &[3, 5, 7], 4)?, make(at, &[3, 7, 4], 5)?);
    let einsum = Tensor::einsum;
    for (got, want) in [
        (einsum("ij,jk->ik", &[&a, &b])?, a.clone().matmul(&b)?),
        (einsum("ij,jk", &[&a, &b])?, a.clone().matmul(&b)?),
        (einsum("jk,ij->ik", &[&b, &a])?, a.clone().matmul(&b)?),
        (einsum("ij,j->i", &[&a, &v])?, a.clone().matmul(&v)?),
        (einsum("j,jk", &[&v, &b])?, v.clone().matmul(&b)?),
        (einsum("i,i->", &[&v, &v])?, v.clone().dot(&v)?),
        (einsum("i,j->ij", &[&v, &v])?, v.clone().outer(&v)?),
        (einsum(" b i j , b j k -> b i k ", &[&x, &y])?, x.clone().matmul(&y)?),
        (einsum("...ij,...jk->...ik", &[&x, &y])?, x.clone().matmul(&y)?),
        (einsum("...ij,jk->...ik", &[&x, &b])?, x.clone().matmul(&b)?),
        (einsum("...i,ji->...j", &[&x, &a])?, x.clone().linear(&a)?),
        (einsum("ij,ij->ij", &[&a, &a])?, a.clone().mul(&a)?),
        (einsum("bij,j->bij", &[&x, &v])?, x.clone().mul(&v)?),
        (einsum("bij->bj", &[&x])?, x.clone().sum(&[1])?),
        (einsum("bij->", &[&x])?, x.clone().sum(&[])?),
        (einsum("bij->jb", &[&x])?, x.clone().sum(&[1])?.t()?),
        (einsum(",->", &[&v.clone().dot(&v)?, &v.clone().dot(&v)?])?, {
            let square = v.clone().dot(&v)?;
            square.clone().mul(&square)?
        }),
    ] {
        same_tensors(&got, &want)?;
    }
    Ok(())
}

fn ellipses_broadcast(at: &At) -> Check {
    // Of whole numbers, whose sums are the same in any order: other shapes may have other kernels.
    let (x, y) = (make(at, &[2, 1, 5, 7], 1)?.round()?, make(at, &[3, 7, 4], 2)?.round()?);
    same_tensors(&Tensor::einsum("...ij,...jk->...ik", &[&x, &y])?, &x.clone().matmul(&y)?)?;
    same_tensors(&Tensor::einsum("...ij,...jk", &[&x, &y])?, &x.clone().matmul(&y)?)?;
    let (rows, row) = (make(at, &[6, 4], 3)?, make(at, &[1, 4], 4)?);
    same_tensors(&Tensor::einsum("...,...->...", &[&rows, &row])?, &rows.clone().mul(&row)?)?;
    same_tensors(&Tensor::einsum("i...->...i", &[&x])?, &Tensor::einsum("abcd->bcda", &[&x])?)?;
    // Without dots in the result their axes are summed.
    same_tensors(&Tensor::einsum("...j->j", &[&rows])?, &rows.sum(&[0])?)
}

fn integers_are_summed_or_multiplied(at: &At) -> Check {
    let x = Tensor::arange(0.0, 6.0, 1.0, DType::U8, &at.device)?.reshape([2, 3])?;
    let sums = Tensor::einsum("ij->j", &[&x])?;
    prop_assert_eq!(sums.dtype(), DType::I64);
    same(&sums, &[3, 5, 7].map(Value::Int))?;
    let squares = Tensor::einsum("ij,ij->ji", &[&x, &x])?;
    prop_assert_eq!(squares.dtype(), DType::U8);
    same(&squares, &[0, 9, 1, 16, 4, 25].map(Value::Int))
}

fn one_operand_is_viewed(at: &At) -> Check {
    let x = Tensor::zeros([3, 4, 5], DType::Bool, &at.device)?;
    let before = at.device.stats().allocations;
    let y = Tensor::einsum("abc->cab", &[&x])?;
    prop_assert_eq!((&y.shape()[..], y.strides()), (&[5, 3, 4][..], &[1, 20, 5][..]));
    prop_assert_eq!(at.device.stats().allocations, before);
    Ok(())
}
