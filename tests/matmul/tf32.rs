//! Products of f32 as tf32: on cards that have kernels for it with rounded factors, elsewhere exact.

use super::{factors, products, sizes};
use proptest::prelude::*;
use taut::{Activation, DType, Device, Result, Spec, Tensor, checkpoint, tf32};
use taut_tests::{At, Check, Fill, Interval, Suite, poison, same_tensors, within};

pub(super) fn trials(suite: &mut Suite) {
    suite.real("matmul::tf32_matches_reference", matches_reference);
    suite.real("matmul::tf32_rounds_factors_to_nearest", rounds_factors_to_nearest);
    suite.real("matmul::tf32_is_a_choice", is_a_choice);
    suite.real("matmul::tf32_holds_in_the_backward", holds_in_the_backward);
}

/// Whether the card has kernels of tf32.
fn rounds(device: &Device) -> bool {
    matches!(device.spec(), Spec::Cuda(card) if card.own_kernels && card.capability == (9, 0))
}

/// Any extents and views; NaN and infinities go where they must. Each factor is within 2^-11 of itself, so a product of both
/// is within 2^-10 + 2^-22.
fn matches_reference(at: &At) -> Check {
    at.for_all(factors(vec![DType::F32], Fill::Wild), |(a, b)| {
        let size @ [m, n, k] = sizes(&a, &b);
        let (left, right) = (a.values(), b.values());
        let exact = products(&left, &right, size, DType::F32, &[]);
        let cut = 2f64.powi(-10) + 2f64.powi(-22);
        let want: Vec<Interval> = (0..m * n)
            .map(|i| {
                let term = |j: usize| left[i / n * k + j].float() * right[j * n + i % n].float();
                // An infinity is exact, and has no error to add.
                let error = cut * (0..k).map(|j| term(j).abs()).sum::<f64>();
                let Interval { low, high } = exact[i];
                if error.is_finite() { Interval { low: low - error, high: high + error } } else { exact[i] }
            })
            .collect();
        let (x, y) = (a.upload(&at.device)?, b.upload(&at.device)?);
        poison(&at.device, &[want.len() * 4, 4 << 20])?;
        within(&tf32(|| x.matmul(&y))?, &want)
    })
}

/// Factors that rounding makes whole, and what they are then.
struct Near {
    near: Tensor,
    whole: Tensor,
}

impl Near {
    /// Whole numbers from -4 to 4, each times what is within 2^-13 of 1: nothing else with 11 bits is as near.
    fn new(at: &At, shape: &[usize], seed: u64) -> Result<Near> {
        let whole = Tensor::uniform(shape, -3.5, 3.5, seed, DType::F32, &at.device)?.round()?;
        let off = 2f32.powi(-13);
        let factor = Tensor::uniform(shape, 1.0 - off, 1.0 + off, seed + 100, DType::F32, &at.device)?;
        Ok(Near { near: whole.clone().mul(&factor)?, whole })
    }

    /// What a product sees.
    fn seen(&self, at: &At) -> &Tensor {
        if rounds(&at.device) { &self.whole } else { &self.near }
    }
}

/// `m`, `n`, `k`: tiles that fill a card more than once, and end beside it; rows of the result, and of the factors, that begin on
/// no pack; few tiles of a long `k`.
const SIZES: [[usize; 3]; 5] =
    [[2056, 2120, 1032], [641, 1111, 1236], [1001, 1030, 1237], [258, 1031, 4104], [386, 1031, 3080]];

/// Small, and still faster as tf32 however the factors lie; smaller ones stay exact.
const FEW: [[usize; 3]; 1] = [[386, 776, 1032]];

/// In every order of the factors, with every end, in batches and in parts of `k`: the bits of the exact product of the rounded
/// factors, which are whole numbers here. Elsewhere those of the factors as they are.
fn rounds_factors_to_nearest(at: &At) -> Check {
    // The largest are there to fill a card.
    let sizes = if rounds(&at.device) { &SIZES[..] } else { &SIZES[1..] };
    for &[m, n, k] in at.shapes(sizes, &FEW) {
        let (a, w) = (Near::new(at, &[m, k], 1)?, Near::new(at, &[n, k], 2)?);
        let turned = |x: &Tensor| x.clone().t()?.contiguous()?.t();
        let b = w.near.clone().t()?;
        // As they lie, since on the CPU that decides on the order of the sum.
        for &turn in at.shapes(&[0, 1, 2, 3], &[3]) {
            let left = |x: &Tensor| if turn & 1 == 1 { turned(x) } else { Ok(x.clone()) };
            let right = |x: &Tensor| if turn & 2 == 2 { x.clone().t()?.contiguous() } else { x.clone().t() };
            let want = left(a.seen(at))?.matmul(&right(w.seen(at))?)?;
            let (x, y) = (left(&a.near)?, right(&w.near)?);
            poison(&at.device, &[m * n * 4])?;
            same_tensors(&tf32(|| x.matmul(&y))?, &want)?;
        }

        let whole =
            |shape: &[usize], seed| Tensor::uniform(shape, -3.5, 3.5, seed, DType::F32, &at.device)?.round();
        let bias = whole(&[n], 3)?;
        for activation in [Activation::Identity, Activation::Relu, Activation::LeakyRelu { slope: 0.5 }] {
            let layer = |a: &Tensor, w: &Tensor| a.clone().linear_with(w, Some(&bias), activation);
            let want = layer(a.seen(at), w.seen(at))?;
            same_tensors(&tf32(|| layer(&a.near, &w.near))?, &want)?;
        }
        // Onto what begins on a pack, or on none.
        for lead in [0, 1] {
            let onto = |a: &Tensor, w: &Tensor| {
                let mut sum = whole(&[lead + m * n], 4)?.slice(0, lead..lead + m * n)?.reshape([m, n])?;
                sum.add_linear_(a, w, Some(&bias))?;
                sum.addmm_(a, &w.clone().t()?)?;
                Ok::<Tensor, taut::Error>(sum)
            };
            let want = onto(a.seen(at), w.seen(at))?;
            same_tensors(&tf32(|| onto(&a.near, &w.near))?, &want)?;
        }
        // The gradient before an activation, over its output.
        let before = |a: &Tensor, w: &Tensor| {
            let x = whole(&[m, n], 5)?.require_grad()?;
            let y = x.clone().relu()?.matmul(w)?;
            y.mul(a)?.sum(&[])?.backward()?;
            x.grad().ok_or_else(|| taut::Error::shape("x has no gradient"))
        };
        let want = before(a.seen(at), w.seen(at))?;
        same_tensors(&tf32(|| before(&a.near, &w.near))?, &want)?;

        let many = Near::new(at, &[3, m, k], 6)?;
        let want = many.seen(at).clone().matmul(&w.seen(at).clone().t()?)?;
        same_tensors(&tf32(|| many.near.clone().matmul(&b))?, &want)?;
        let common = |x: &Tensor| x.clone().reshape([1, n, k])?.broadcast_to([3, n, k]);
        let want = common(w.seen(at))?.matmul(&many.seen(at).clone().t()?)?;
        same_tensors(&tf32(|| common(&w.near)?.matmul(&many.near.clone().t()?))?, &want)?;
    }
    Ok(())
}

fn random(at: &At, shape: &[usize], seed: u64) -> Result<Tensor> {
    Tensor::normal(shape, 0.0, 1.0, seed, DType::F32, &at.device)
}

/// It holds for the call, on this thread, and for f32: the bits of all else are as without it.
fn is_a_choice(at: &At) -> Check {
    let (a, b) = (random(at, &[600, 700], 1)?, random(at, &[700, 800], 2)?);
    let product = || a.clone().matmul(&b);
    let exact = product()?;
    let chosen = tf32(product)?;
    prop_assert_eq!(same_tensors(&chosen, &exact).is_err(), rounds(&at.device));
    same_tensors(&product()?, &exact)?;
    let (elsewhere, here) = tf32(|| std::thread::scope(|scope| (scope.spawn(product).join(), product())));
    same_tensors(&elsewhere.expect("the thread ends")?, &exact)?;
    same_tensors(&here?, &chosen)?;
    // A panic ends it too.
    let panicked = std::panic::catch_unwind(|| tf32(|| std::panic::resume_unwind(Box::new(()))));
    prop_assert!(panicked.is_err());
    same_tensors(&product()?, &exact)?;

    let halves = [a.clone().cast(DType::F16)?, b.clone().cast(DType::F16)?];
    let product = || halves[0].clone().matmul(&halves[1]);
    same_tensors(&tf32(product)?, &product()?)?;
    let [row, column] = [a.clone().slice(0, 0..1)?, b.clone().slice(1, 0..1)?];
    let vectors = || Ok::<_, taut::Error>([row.clone().matmul(&b)?, a.clone().matmul(&column)?]);
    let (with, without) = (tf32(vectors)?, vectors()?);
    with.iter().zip(&without).try_for_each(|(with, without)| same_tensors(with, without))
}

/// Gradients are computed as what they are of, wherever `backward` is called; a checkpoint runs again as it ran.
fn holds_in_the_backward(at: &At) -> Check {
    let (x, w) = (random(at, &[600, 704], 3)?, random(at, &[800, 704], 4)?);
    let forward = |checkpointed: bool| {
        let (x, w) = (x.clone().require_grad()?, w.clone().require_grad()?);
        let layer = |x: &Tensor, w: &Tensor| x.clone().linear_with(w, None, Activation::Relu)?.square();
        let y = if checkpointed {
            let weight = w.clone();
            checkpoint(vec![x.clone()], move |x| layer(&x[0], &weight))?
        } else {
            layer(&x, &w)?
        };
        Ok::<_, taut::Error>((y.sum(&[])?, x, w))
    };
    let grads = |(loss, x, w): (Tensor, Tensor, Tensor), inside: bool| {
        if inside {
            tf32(|| loss.backward())?
        } else {
            loss.backward()?
        }
        let grad = |x: &Tensor| x.take_grad().ok_or_else(|| taut::Error::shape("it has no gradient"));
        Ok::<_, taut::Error>([grad(&x)?, grad(&w)?])
    };
    let (exact, chosen) = (grads(forward(false)?, false)?, grads(tf32(|| forward(false))?, true)?);
    let same = |some: &[Tensor; 2], others: &[Tensor; 2]| -> Check {
        some.iter().zip(others).try_for_each(|(some, other)| same_tensors(some, other))
    };
    prop_assert_eq!(same(&chosen, &exact).is_err(), rounds(&at.device));
    for checkpointed in [false, true] {
        same(&grads(tf32(|| forward(checkpointed))?, false)?, &chosen)?;
        same(&grads(forward(checkpointed)?, true)?, &exact)?;
    }
    Ok(())
}
