//! Gradients of parameters: one buffer each, of their own dtype, taken when they are whole.

use super::{grad, live};
use proptest::prelude::*;
use taut::{Activation, DType, Error, ErrorKind, Kind, Result, Tensor, checkpoint_sequential};
use taut_tests::{At, Check, fail, kind_of, same_tensors};

/// The second backward adds to the gradient where it is.
pub(super) fn one_buffer_for_a_gradient(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::zeros([256, 256], DType::F32, &device)?.require_grad()?;
    let step = || -> Result<u64> {
        let x = Tensor::zeros([4, 256], DType::F32, &device)?;
        x.linear(&w)?.sum(&[])?.backward()?;
        Ok(live(&device))
    };
    let first = step()?;
    device.pool().reset_peaks();
    prop_assert_eq!(step()?, first);
    // The product is added in the buffer: no second one exists at any time.
    prop_assert!(device.stats().peak_tensor_bytes < first + 256 * 256 * 4);
    prop_assert_eq!(w.grad().map(|g| g.kind()), Some(Kind::Gradients));
    Ok(())
}

/// Updates inside of a backward see each gradient once, whole, and never all of them together.
pub(super) fn updates_as_gradients_come(at: &At) -> Check {
    let device = at.fresh()?;
    let weight = 256 * 256 * 4;
    let weights = || -> Result<Vec<Tensor>> {
        (0..8)
            .map(|i| Tensor::normal([256, 256], 0.0, 0.06, i, DType::F32, &device)?.require_grad())
            .collect()
    };
    // Layers of f16 have weights of f32 that are rounded for them.
    let loss = |weights: &[Tensor], in_parts: bool, dtype: DType| {
        let x = Tensor::normal([16, 256], 0.0, 1.0, 9, dtype, &device)?;
        // The first is used twice: at the start and at the end.
        let layers = weights.iter().chain(&weights[..1]).map(|w| {
            let w = w.clone();
            move |x: Tensor| x.linear_with(&w.clone().cast(dtype)?, None, Activation::Relu)
        });
        let y = match in_parts {
            true => checkpoint_sequential(x, layers.collect(), 3)?,
            false => layers.into_iter().try_fold(x, |x, layer| layer(x))?,
        };
        y.square()?.mean(&[])
    };

    for (dtype, in_parts) in [DType::F32, DType::F16].into_iter().flat_map(|x| [(x, false), (x, true)]) {
        let all = weights()?;
        loss(&all, false, dtype)?.backward()?;
        let plain = all.iter().map(grad).collect::<Result<Vec<_>>>()?;
        let before = loss(&all, false, dtype)?;
        prop_assert_eq!(
            kind_of(before.backward_each(|_, _| Ok(())))?,
            ErrorKind::Grad,
            "a gradient is there"
        );
        drop(all);

        let mut all = weights()?;
        let numbers: Vec<_> = all.iter().map(Tensor::grad_number).collect();
        let loss = loss(&all, in_parts, dtype)?;
        device.pool().reset_peaks();
        let mut seen = vec![0; 8];
        loss.backward_each(|number, grad| {
            let i = numbers.iter().position(|&n| n == Some(number)).unwrap_or(8);
            seen[i] += 1;
            if !device.is_plan() && grad.to_vec::<f32>()? != plain[i] {
                return Err(Error::grad(format!("gradient {i} is another")));
            }
            all[i].sub_(&grad)
        })?;
        prop_assert_eq!(&seen, &[1; 8]);
        prop_assert!(all.iter().all(|w| w.grad().is_none()));
        let gradients = device.stats().peak_by_kind[Kind::Gradients as usize];
        prop_assert!(gradients <= if in_parts { 4 } else { 3 } * weight, "{} bytes of gradients", gradients);
        drop(all);
    }
    Ok(())
}

/// A weight of f32 that is rounded for its product has the gradient that the product has in f32, in one buffer; what uses the
/// rounded weight otherwise adds its own.
pub(super) fn past_what_was_rounded(at: &At) -> Check {
    let device = at.fresh()?;
    let (m, n, k) = (300, 256, 128);
    for dtype in [DType::F16, DType::BF16] {
        let w = Tensor::normal([n, k], 0.0, 1.0, 1, DType::F32, &device)?.require_grad()?;
        let (x, dy) = (
            Tensor::normal([m, k], 0.0, 1.0, 2, dtype, &device)?,
            Tensor::normal([m, n], 0.0, 1.0, 3, dtype, &device)?,
        );
        let forward = |w: &Tensor| x.clone().linear(&w.clone().cast(dtype)?);
        let mut want = Tensor::zeros([n, k], DType::F32, &device)?;
        let same = |want: &Tensor| match (device.is_plan(), w.grad()) {
            (true, Some(_)) => Ok(()),
            (false, Some(grad)) => same_tensors(&grad, want),
            (_, None) => Err(fail("no gradient")),
        };
        for _ in 0..2 {
            let y = forward(&w)?;
            let before = live(&device);
            device.pool().reset_peaks();
            y.backward_with(dy.clone())?;
            // Its first buffer is there from the first time on, and nothing of its size beside it.
            prop_assert!(device.stats().peak_tensor_bytes <= before + (n * k * 4) as u64);
            want.addmm_(&dy.clone().t()?, &x)?;
            same(&want)?;
        }

        w.zero_grad();
        let rounded = w.clone().cast(dtype)?;
        let (product, other) = (x.clone().linear(&rounded)?, rounded.clone().mul_scalar(3.0)?);
        drop(rounded);
        let sum = product.sum(&[])?.add(&other.sum(&[])?)?;
        sum.backward()?;
        let ones = Tensor::full([m, n], 1.0, dtype, &device)?;
        let mut want = Tensor::zeros([n, k], DType::F32, &device)?;
        want.addmm_(&ones.t()?, &x)?;
        // The walk comes to the rounding last.
        same(&want.add(&Tensor::full([n, k], 3.0, DType::F32, &device)?)?)?;
    }
    Ok(())
}
