//! Losses: one number of what a network said and what it should have said.

use taut::{Error, ErrorKind, Result, Tensor};

/// The mean of `(x - target)^2` over all elements: `[..] x [..] -> []`.
///
/// Backward keeps the differences: the bytes of `x`, over which they are written if nobody else holds it.
///
/// ```
/// use taut::{Device, Tensor};
/// let x = Tensor::from_slice(&[1.0f32, 3.0], [2], &Device::cpu())?;
/// let target = Tensor::from_slice(&[1.0f32, 1.0], [2], &Device::cpu())?;
/// assert_eq!(taut_nn::loss::mean_squared(x, &target)?.item::<f32>()?, 2.0);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// [`Shape`](taut::ErrorKind::Shape) if the shapes differ; as [`Tensor::sub`].
pub fn mean_squared(x: Tensor, target: &Tensor) -> Result<Tensor> {
    difference("mean_squared", x, target)?.mean_square(&[])
}

/// The mean over all elements of `d^2 / 2` where `|d| <= delta`, and of `delta (|d| - delta / 2)` elsewhere, for
/// `d = x - target`: as squares near the target, and no steeper than `delta` far from it. `[..] x [..] -> []`.
///
/// Source: Huber, "Robust estimation of a location parameter", 1964.
///
/// Backward keeps three tensors of the size of `x`, and a bit for each element.
///
/// ```
/// use taut::{Device, Tensor};
/// let x = Tensor::from_slice(&[0.5f32, 4.0], [2], &Device::cpu())?;
/// let target = Tensor::from_slice(&[0.0f32, 0.0], [2], &Device::cpu())?;
/// assert_eq!(taut_nn::loss::huber(x, &target, 1.0)?.item::<f32>()?, (0.125 + 3.5) / 2.0);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// [`Shape`](taut::ErrorKind::Shape) if the shapes differ, [`Value`](taut::ErrorKind::Value) unless `delta` is positive; as
/// [`Tensor::sub`].
pub fn huber(x: Tensor, target: &Tensor, delta: f64) -> Result<Tensor> {
    if delta.is_nan() || delta <= 0.0 {
        return Err(Error::new(ErrorKind::Value, format!("huber: a delta of {delta}, it must be positive")));
    }
    // c (|d| - c / 2), where c is what of |d| is below delta.
    let size = difference("huber", x, target)?.abs()?;
    let near = size.clone().clamp(0.0, delta)?;
    size.sub(&near.clone().mul_scalar(0.5)?)?.mul(&near)?.mean(&[])
}

/// The mean of `-y ln p - (1 - y) ln (1 - p)` over all elements, where `p` is the sigmoid of `x` and `y`, the target, is
/// a probability: computed from `x` as it is, so that it stays finite. `[..] x [..] -> []`.
///
/// Backward keeps the softplus of `x` and the target.
///
/// ```
/// use taut::{Device, Tensor};
/// let x = Tensor::from_slice(&[0.0f32, 100.0], [2], &Device::cpu())?;
/// let target = Tensor::from_slice(&[1.0f32, 0.0], [2], &Device::cpu())?;
/// let loss = taut_nn::loss::binary_cross_entropy(x, &target)?.item::<f32>()?;
/// assert!((loss - (2f32.ln() + 100.0) / 2.0).abs() < 1e-5);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// [`Shape`](taut::ErrorKind::Shape) if the shapes differ; as [`Tensor::sub`].
pub fn binary_cross_entropy(x: Tensor, target: &Tensor) -> Result<Tensor> {
    same_shape("binary_cross_entropy", &x, target)?;
    let expected = x.clone().mul(target)?;
    x.softplus()?.sub(&expected)?.mean(&[])
}

fn difference(op: &str, x: Tensor, target: &Tensor) -> Result<Tensor> {
    same_shape(op, &x, target)?;
    x.sub(target)
}

/// A target that is broadcast is a mistake more often than not.
fn same_shape(op: &str, x: &Tensor, target: &Tensor) -> Result<()> {
    if x.shape() != target.shape() {
        let (x, target) = (x.shape(), target.shape());
        return Err(Error::shape(format!("{op}: {x} and the target {target} differ")));
    }
    Ok(())
}
