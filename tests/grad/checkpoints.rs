//! Checkpoints.

use super::{grad, live};
use proptest::prelude::*;
use taut::{Activation, DType, ErrorKind, Result, Tensor, checkpoint, checkpoint_sequential, no_grad, seed};
use taut_tests::{At, Check, kind_of};

/// One layer with dropout: a step of the networks below.
fn step(x: Tensor, w: &Tensor) -> Result<Tensor> {
    x.linear_with(w, None, Activation::Relu)?.dropout(0.25, seed::next())
}

/// The gradients of nine layers that share a weight, by some way to run them.
fn nine(at: &At, run: impl Fn(Tensor, &Tensor) -> Result<Tensor>) -> Result<[Vec<f32>; 2]> {
    seed::set(5);
    let w = Tensor::normal([32, 32], 0.0, 0.2, 1, DType::F32, &at.device)?.require_grad()?;
    let x = Tensor::normal([16, 32], 0.0, 1.0, 2, DType::F32, &at.device)?.require_grad()?;
    run(x.clone(), &w)?.sum(&[])?.backward()?;
    Ok([grad(&w)?, grad(&x)?])
}

/// With checkpoints of any length, within each other or not, gradients are the same to the bit, dropout included.
pub(super) fn give_the_same(at: &At) -> Check {
    let plain = nine(at, |x, w| (0..9).try_fold(x, |x, _| step(x, w)))?;
    prop_assert!(plain[1].iter().any(|&g| g != 0.0));
    for segments in [1, 3, 4, 9] {
        let some = nine(at, |x, w| {
            let steps = (0..9).map(|_| {
                let w = w.clone();
                move |x| step(x, &w)
            });
            checkpoint_sequential(x, steps.collect(), segments)
        })?;
        prop_assert!(some == plain, "{} segments", segments);
    }
    let nested = nine(at, |x, w| {
        let w = w.clone();
        checkpoint(vec![x], move |x| {
            let steps = (0..9).map(|_| {
                let w = w.clone();
                move |x| step(x, &w)
            });
            checkpoint_sequential(taut_tests::first(x)?, steps.collect(), 3)
        })
    })?;
    prop_assert!(nested == plain, "nested");
    Ok(())
}

/// A checkpoint keeps its input alone, and what it runs again is gone when it is done with.
pub(super) fn keep_their_inputs(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::zeros([64, 64], DType::F32, &device)?.require_grad()?;
    let (one, weight) = (512 * 64 * 4, 64 * 64 * 4);
    let x = Tensor::zeros([512, 64], DType::F32, &device)?;
    let steps = (0..16).map(|_| {
        let w = w.clone();
        move |x: Tensor| x.linear_with(&w, None, Activation::Relu)
    });
    // The inputs need no gradient: the weight in the function does.
    let y = checkpoint_sequential(x, steps.collect(), 4)?;
    prop_assert!(y.is_tracked());
    prop_assert_eq!(live(&device), weight + (4 + 4) * one, "four inputs, and all of the last segment");
    let ones = Tensor::zeros([512, 64], DType::F32, &device)?;
    y.backward_with(ones)?;
    prop_assert_eq!(live(&device), 2 * weight);
    prop_assert!(w.grad().is_some());

    let none = no_grad(|| {
        checkpoint(vec![Tensor::zeros([2], DType::F32, &device)?], |x| taut_tests::first(x)?.exp())
    })?;
    prop_assert!(!none.is_tracked());
    let f = |x: Tensor| x.exp();
    let x = Tensor::zeros([2], DType::F32, &device)?;
    prop_assert_eq!(kind_of(checkpoint_sequential(x, vec![f], 2))?, ErrorKind::Value);
    Ok(())
}
