//! Linear systems.

use taut::{Kind, Result, Tensor, scope};

/// Solves `a x = b` for a symmetric positive definite `a`, starting from 0: `[n, n]` and `[n, 1] -> [n, 1]`.
///
/// Nothing is read back to the host: every number of the iteration stays on the device, so this returns while the work
/// is still under way. The rounding of the dtype bounds the accuracy; f32 is right for well-regularized systems. Holds
/// four vectors beside `a` and `b`.
///
/// Source: Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.
///
/// ```
/// use taut::{Device, Tensor};
/// let a = Tensor::from_slice(&[4.0f32, 1.0, 1.0, 3.0], [2, 2], &Device::cpu())?;
/// let b = Tensor::from_slice(&[1.0f32, 2.0], [2, 1], &Device::cpu())?;
/// let x = taut_nn::conjugate_gradients(&a, &b, 2)?.to_vec::<f32>()?;
/// assert!((x[0] - 1.0 / 11.0).abs() < 1e-6 && (x[1] - 7.0 / 11.0).abs() < 1e-6);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// As [`Tensor::matmul`]: shapes that do not fit, dtypes that differ or are no floats.
pub fn conjugate_gradients(a: &Tensor, b: &Tensor, iterations: usize) -> Result<Tensor> {
    let _scope = scope("conjugate_gradients");
    let mut x = b.zeros_like()?;
    let mut residual = b.copy()?;
    let mut direction = b.copy()?;
    let mut square = dot(&residual, &residual)?;
    // An exact solution has a residual of 0, and the smallest normal f32 makes 0 / 0 a step of 0.
    let tiny = f64::from(f32::MIN_POSITIVE);
    for _ in 0..iterations {
        let image = a.clone().matmul(&direction)?;
        let curvature = dot(&direction, &image)?.add_scalar(tiny)?;
        let step = square.clone().div(&curvature)?;
        x.add_(&direction.clone().mul(&step)?)?;
        residual = residual.sub(&image.mul(&step)?)?;
        let next = dot(&residual, &residual)?;
        let turn = next.clone().div(&square.add_scalar(tiny)?)?;
        direction = direction.mul(&turn)?.add(&residual)?;
        square = next;
    }
    x.with_kind(Kind::Output)
}

/// The inner product of two vectors, as a scalar on their device.
fn dot(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.clone().mul(b)?.sum(&[])
}
