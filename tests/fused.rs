//! Dropout by statistics, and the fused pass beside the ops that it is made of.

use proptest::prelude::*;
use taut::{Activation, DType, Dropout, ErrorKind, Fused, Tensor};
use taut_tests::{At, Check, Suite, download, kind_of, message_of, same_tensors};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("fused::dropout_has_its_mean", dropout_has_its_mean);
    suite.real("fused::the_seed_decides", the_seed_decides);
    suite.real("fused::never_and_always", never_and_always);
    suite.real("fused::views_drop_the_same_elements", views_drop_the_same_elements);
    suite.real("fused::one_pass_is_what_its_parts_are", one_pass_is_what_its_parts_are);
    suite.real("fused::many_rows_are_what_their_elements_are", many_rows_are_what_their_elements_are);
    suite.everywhere("fused::what_does_not_fit", what_does_not_fit);
}

/// The share that is kept, and its mean, within five standard errors; and neighbours are not related.
fn dropout_has_its_mean(at: &At) -> Check {
    let n = 1 << 20;
    let ones = Tensor::full([n], 1.0, DType::F32, &at.device)?;
    for (drop_prob, seed) in [(0.1f32, 1), (0.5, 2), (0.9, 3), (0.001, 4)] {
        let y = ones.clone().dropout(drop_prob, seed)?.to_vec::<f32>()?;
        let p = (f64::from(drop_prob) * 65536.0).round() / 65536.0;
        let (keep, error) = (1.0 - p, 5.0 * (p * (1.0 - p) / n as f64).sqrt());
        let kept = y.iter().filter(|&&y| y != 0.0).count() as f64 / n as f64;
        prop_assert!((kept - keep).abs() < error, "{} kept of {}", kept, keep);
        let mean = y.iter().map(|&y| f64::from(y)).sum::<f64>() / n as f64;
        prop_assert!((mean - 1.0).abs() < error / keep + 1e-6, "a mean of {} for {}", mean, drop_prob);
        for distance in 1..9 {
            let pairs = y.windows(distance + 1).filter(|pair| pair[0] != 0.0 && pair[distance] != 0.0);
            let share = pairs.count() as f64 / (n - distance) as f64;
            // Of both, with the variance of sums of products of neighbours: at most three times that of independent pairs.
            let error = 5.0 * (3.0 * keep * keep * (1.0 - keep * keep) / n as f64).sqrt();
            prop_assert!((share - keep * keep).abs() < error, "{} at a distance of {}", share, distance);
        }
    }
    Ok(())
}

fn the_seed_decides(at: &At) -> Check {
    let x = Tensor::normal([1000], 0.0, 1.0, 1, DType::F32, &at.device)?;
    let y = x.clone().dropout(0.5, 11)?;
    same_tensors(&x.clone().dropout(0.5, 11)?, &y)?;
    let others = [12, 11 | 1 << 32, u64::MAX];
    for seed in others {
        let other = x.clone().dropout(0.5, seed)?;
        let equal = download(&other)?.iter().zip(download(&y)?).filter(|(a, b)| a.is(*b)).count();
        prop_assert!((400..600).contains(&equal), "{} equal for {}", equal, seed);
    }
    Ok(())
}

/// Nothing is dropped of probability 0, NaN and -0 stay; everything of probability 1, NaN too.
fn never_and_always(at: &At) -> Check {
    let values = [1.5f32, f32::NAN, -0.0, f32::INFINITY, -3e38, 1e-45, 0.0, 2.0, 7.0];
    let x = Tensor::from_slice(&values, [9], &at.device)?;
    same_tensors(&x.clone().dropout(0.0, 5)?, &x)?;
    let zeros = x.clone().dropout(1.0, 5)?;
    prop_assert!(zeros.to_vec::<f32>()?.iter().all(|x| x.to_bits() == 0));
    let parts =
        Fused { dropout: Some(Dropout { drop_prob: 1.0, seed: 5 }), residual: Some(&x), ..Fused::default() };
    // The residual stays as it is: also -0.
    same_tensors(&x.clone().fused(parts)?, &x)
}

/// Elements are counted row-major, however they lie.
fn views_drop_the_same_elements(at: &At) -> Check {
    for dtype in at.floats() {
        for shape in [[24, 40], [13, 11], [8, 1000]] {
            let [n, m] = shape;
            let x = Tensor::normal([m + 3, n + 5], 0.0, 1.0, 2, dtype, &at.device)?;
            let view = || x.clone().slice(0, 2..m + 2)?.slice(1, 3..n + 3)?.t();
            let want = view()?.contiguous()?.dropout(0.3, 9)?;
            same_tensors(&view()?.dropout(0.3, 9)?, &want)?;
            // Dense but transposed, by itself and in place.
            let mut own = view()?.t()?.copy()?.t()?;
            same_tensors(&own.clone().dropout(0.3, 9)?, &want)?;
            own.dropout_(0.3, 9)?;
            same_tensors(&own, &want)?;
            let before = at.device.stats().allocations;
            let own = view()?.t()?.copy()?.t()?.dropout(0.3, 9)?;
            prop_assert_eq!(at.device.stats().allocations, before + 1);
            same_tensors(&own, &want)?;
            // In other shapes the same elements.
            let flat = view()?.contiguous()?.reshape([1, m * n])?.dropout(0.3, 9)?;
            same_tensors(&flat.reshape([n, m])?, &want)?;
        }
    }
    Ok(())
}

/// In f32, where a step is rounded like an op, the same bits.
fn one_pass_is_what_its_parts_are(at: &At) -> Check {
    let new = |shape: &[usize], seed| Tensor::normal(shape, 0.0, 2.0, seed, DType::F32, &at.device);
    for n in [32, 31, 1, 1027] {
        let (x, residual, bias) = (new(&[3, 5, n], 1)?, new(&[3, 5, n], 2)?, new(&[n], 3)?);
        for activation in Activation::ALL {
            let dropout = Dropout { drop_prob: 0.4, seed: 8 };
            let sum = x.clone().add(&bias)?;
            let active = match activation.unary() {
                Some(op) => sum.unary(op)?,
                None => sum,
            };
            let want = active.clone().dropout(0.4, 8)?.add(&residual)?;
            let parts =
                Fused { bias: Some(&bias), activation, dropout: Some(dropout), residual: Some(&residual) };
            same_tensors(&x.clone().fused(parts)?, &want)?;
            let parts = Fused { bias: Some(&bias), activation, ..Fused::default() };
            same_tensors(&x.clone().fused(parts)?, &active)?;
        }
        same_tensors(&x.clone().fused(Fused::default())?, &x)?;
        let parts = Fused { residual: Some(&residual), ..Fused::default() };
        same_tensors(&x.clone().fused(parts)?, &x.add(&residual)?)?;
    }
    Ok(())
}

/// Of more elements than blocks take at once, in every dtype: in packs the same bits as one element at a time, as those of rows
/// that begin anywhere.
fn many_rows_are_what_their_elements_are(at: &At) -> Check {
    for [m, n] in [[41, 1024], [2050, 24]] {
        for dtype in at.floats() {
            let new = |shape: &[usize], seed| Tensor::normal(shape, 0.0, 2.0, seed, dtype, &at.device);
            let bias = new(&[n], 3)?;
            let [wide, wide_residual] = [new(&[m, n + 1], 1)?, new(&[m, n + 1], 2)?];
            let odd = |wide: &Tensor| wide.clone().slice(1, 1..n + 1);
            let (x, residual) = (odd(&wide)?.contiguous()?, odd(&wide_residual)?.contiguous()?);
            let odd_residual = odd(&wide_residual)?;
            for activation in Activation::ALL {
                for dropout in [None, Some(Dropout { drop_prob: 0.4, seed: 8 })] {
                    for adds in [true, false] {
                        let parts = |residual| Fused {
                            bias: Some(&bias),
                            activation,
                            dropout,
                            residual: if adds { Some(residual) } else { None },
                        };
                        let want = odd(&wide)?.fused(parts(&odd_residual))?;
                        same_tensors(&x.clone().fused(parts(&residual))?, &want)?;
                        same_tensors(&x.copy()?.fused(parts(&residual))?, &want)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn what_does_not_fit(at: &At) -> Check {
    let new = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &at.device);
    let x = new(&[2, 3], DType::F32)?;
    let (two, flat, half) = (new(&[2], DType::F32)?, new(&[6], DType::F32)?, new(&[3], DType::F16)?);
    let none = Fused::default();
    let (bias, residual) = (Fused { bias: Some(&two), ..none }, Fused { residual: Some(&flat), ..none });
    for (parts, message) in [
        (bias, "fused: [2, 3] and bias [2]: it must be [n]"),
        (Fused { bias: Some(&x), ..none }, "fused: [2, 3] and bias [2, 3]: it must be [n]"),
        (residual, "fused: [2, 3] and residual [6] differ"),
        (Fused { bias: Some(&half), ..none }, "fused: f32 and f16 differ; cast one"),
    ] {
        prop_assert_eq!(message_of(x.clone().fused(parts))?, message);
    }
    let scalar = new(&[], DType::F32)?;
    prop_assert_eq!(kind_of(scalar.fused(bias))?, ErrorKind::Shape);
    for drop_prob in [-0.5, 1.5, f32::NAN] {
        prop_assert_eq!(kind_of(x.clone().dropout(drop_prob, 1))?, ErrorKind::Value);
    }
    prop_assert_eq!(
        message_of(new(&[2], DType::I64)?.dropout(0.5, 1))?,
        "dropout: does not take i64; cast to a float"
    );
    let elsewhere = Tensor::zeros([2, 3], DType::F32, &at.fresh()?)?;
    let parts = Fused { residual: Some(&elsewhere), ..none };
    prop_assert_eq!(kind_of(x.clone().fused(parts))?, ErrorKind::Device);

    let mut held = x.clone();
    prop_assert_eq!(kind_of(held.dropout_(0.5, 1))?, ErrorKind::Shared);
    let mut own = new(&[1, 3], DType::F32)?.broadcast_to([4, 3])?;
    prop_assert_eq!(kind_of(own.dropout_(0.5, 1))?, ErrorKind::Shared);
    Ok(())
}
