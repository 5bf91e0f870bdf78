//! How exactly products of f32 are computed: a setting of the thread, like that of gradients.

use std::cell::Cell;
use taut_core::Precision;

thread_local! {
    static PRECISION: Cell<Precision> = const { Cell::new(Precision::Exact) };
}

/// Calls `f`, in which this thread's products of f32 may be computed on tensor cores, from factors that are rounded to 11 bits
/// (tf32): [`matmul`](crate::Tensor::matmul), [`linear`](crate::Tensor::linear),
/// [`addmm_`](crate::Tensor::addmm_), [`einsum`](crate::Tensor::einsum) and all that is made of them, as are losses over
/// classes. Their gradients are computed as they were, wherever `backward` is called, and so is what a
/// [`checkpoint`](crate::checkpoint) runs again. Sums, bias and activation are of f32 as ever. Without it products are exact
/// but for the rounding of f32.
///
/// Rounding to nearest changes a factor by at most 2^-11 of itself, and so a product of two by at most 2^-10 + 2^-22: that much of
/// the sum of magnitudes is the error of a sum, beside that of f32. NaN and infinities stay what they are. Values from
/// (2 - 2^-11) 2^127 on become infinite, and those below 2^-126 in magnitude may lose more bits, or be zero.
///
/// Cards of compute capability 9.0 have kernels for it. They take factors that are contiguous along the axis that is summed
/// over, as those of a linear layer are; others are brought into the workspace so, of up to 512 MiB, which plans know of.
/// Where that would not be faster, as for vectors and tiny matrices, and on all other devices, products are exact: on the CPU
/// nothing changes.
///
/// ```
/// use taut::{DType, Device, Tensor, tf32};
/// let x = Tensor::normal([64, 256], 0.0, 1.0, 1, DType::F32, &Device::cpu())?;
/// let w = Tensor::normal([32, 256], 0.0, 0.1, 2, DType::F32, &Device::cpu())?.require_grad()?;
/// let loss = tf32(|| x.linear(&w)?.square()?.mean(&[]))?;
/// loss.backward()?;
/// assert!(w.grad().is_some());
/// # Ok::<(), taut::Error>(())
/// ```
pub fn tf32<R>(f: impl FnOnce() -> R) -> R {
    with_precision(Precision::Tf32, f)
}

/// Calls `f` with this precision, whatever it was before; as before when it returns, or panics.
pub(crate) fn with_precision<R>(precision: Precision, f: impl FnOnce() -> R) -> R {
    struct Restore(Precision);
    impl Drop for Restore {
        fn drop(&mut self) {
            PRECISION.set(self.0);
        }
    }
    let _restore = Restore(PRECISION.replace(precision));
    f()
}

/// That of this thread's products.
pub(crate) fn precision() -> Precision {
    PRECISION.get()
}
