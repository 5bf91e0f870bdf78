//! The last layer of a language model with its loss: `linear_cross_entropy`.

use proptest::prelude::*;
use taut::{DType, Device, Error, Result, Tensor};
use taut_tests::{At, Check, Suite};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("head::in_parts_is_the_head", in_parts_is_the_head);
    suite.everywhere("head::keeps_no_logits", keeps_no_logits);
}

/// Rows, features and classes of a head whose logits of f32 are more than exist at once.
const HEAD: [usize; 3] = [3000, 8, 20_000];

/// The operands of a head: rows, the weight, and targets of which some do not count.
fn head(device: &Device, dtype: DType) -> Result<(Tensor, Tensor, Tensor)> {
    let [rows, k, classes] = HEAD;
    let x = Tensor::normal([rows, k], 0.0, 1.0, 1, DType::F32, device)?.cast(dtype)?.require_grad()?;
    let w = Tensor::normal([classes, k], 0.0, 0.5, 2, DType::F32, device)?.cast(dtype)?.require_grad()?;
    let targets: Vec<i64> = (0..rows as i64).map(|i| if i % 5 == 0 { -100 } else { i * 6 }).collect();
    Ok((x, w, Tensor::from_slice(&targets, [rows], device)?))
}

/// The loss and the gradients are those of a layer, a cross entropy and a mean over the rows that count.
fn in_parts_is_the_head(at: &At) -> Check {
    for dtype in [DType::F32, DType::BF16] {
        let (x, w, targets) = head(&at.device, dtype)?;
        let loss = x.clone().linear_cross_entropy(&w, &targets, 0.1, Some(-100))?;
        let got = loss.item::<f32>()?;
        loss.backward()?;
        let gots = [gradient(&x)?, gradient(&w)?];

        let wide = |x: &Tensor| x.clone().detach().cast(DType::F32)?.require_grad();
        let (x, w) = (wide(&x)?, wide(&w)?);
        let losses = x.clone().linear(&w)?.cross_entropy(&targets, 0.1, Some(-100))?;
        let loss = losses.sum(&[])?.mul_scalar(1.0 / 2400.0)?;
        let want = loss.item::<f32>()?;
        loss.backward()?;
        let unit = if dtype == DType::F32 { 1e-5 } else { 1e-2 };
        prop_assert!((got - want).abs() <= unit * want.abs(), "{}: a loss of {} for {}", dtype, got, want);
        for (got, x) in gots.iter().zip([&x, &w]) {
            let want = gradient(x)?;
            let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
            let off = norm(&mut got.iter().zip(&want).map(|(a, b)| f64::from(a - b)));
            let size = norm(&mut want.iter().map(|&x| x.into()));
            prop_assert!(off <= f64::from(unit) * size, "{}: off by {} of {}", dtype, off, size);
        }
    }
    Ok(())
}

/// The peak is a part of the logits, and what is kept the gradients.
fn keeps_no_logits(at: &At) -> Check {
    let device = at.fresh()?;
    let [rows, k, classes] = HEAD;
    let (x, w, targets) = head(&device, DType::F32)?;
    let before = device.stats().live_bytes;
    device.pool().reset_peaks();
    let loss = x.clone().linear_cross_entropy(&w, &targets, 0.0, Some(-100))?;
    let gradients = (4 * k * (rows + classes)) as u64;
    prop_assert_eq!(device.stats().live_bytes - before, gradients + 4);
    let logits = (4 * rows * classes) as u64;
    let peak = device.stats().peak_tensor_bytes - before - gradients;
    prop_assert!(peak < logits * 3 / 5, "{} bytes of {}", peak, logits);
    loss.backward()?;
    prop_assert_eq!(device.stats().live_bytes - before, gradients);
    Ok(())
}

fn gradient(x: &Tensor) -> Result<Vec<f32>> {
    x.take_grad().ok_or_else(|| Error::grad("there is no gradient"))?.cast(DType::F32)?.to_vec::<f32>()
}
