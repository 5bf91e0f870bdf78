//! Arithmetic with scalars, signs, bounds and rounding.

use crate::Tensor;
use taut_core::{Error, Result, Unary};

impl Tensor {
    /// `-x`. Shape `[..] -> [..]`, floats and i64, which wraps.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps nothing: 0 bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1i64, -2], [2], &Device::cpu())?;
    /// assert_eq!(x.neg()?.to_vec::<i64>()?, [-1, 2]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for unsigned integers and bool.
    pub fn neg(self) -> Result<Tensor> {
        self.unary(Unary::Neg)
    }

    /// [`neg`](Self::neg), always in place.
    ///
    /// # Errors
    ///
    /// As [`neg`](Self::neg); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn neg_(&mut self) -> Result<()> {
        self.unary_(Unary::Neg)
    }

    /// `x + value`. Shape `[..] -> [..]`, all dtypes but bool; `value` is converted to the dtype (to f32 for
    /// 16-bit floats), and integers wrap.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps nothing: 0 bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.5f32, -2.0], [2], &Device::cpu())?;
    /// assert_eq!(x.add_scalar(2.0)?.to_vec::<f32>()?, [3.5, 0.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for bool.
    pub fn add_scalar(self, value: f64) -> Result<Tensor> {
        self.unary(Unary::AddScalar { value })
    }

    /// [`add_scalar`](Self::add_scalar), always in place.
    ///
    /// # Errors
    ///
    /// As [`add_scalar`](Self::add_scalar); [`Shared`](crate::ErrorKind::Shared), naming the holder, if
    /// anyone else holds this storage. Nothing is changed then.
    pub fn add_scalar_(&mut self, value: f64) -> Result<()> {
        self.unary_(Unary::AddScalar { value })
    }

    /// `x - value`: [`add_scalar`](Self::add_scalar) of `-value`. Backward keeps nothing: 0 bytes.
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for unsigned integers and bool: they have no `-value`.
    pub fn sub_scalar(self, value: f64) -> Result<Tensor> {
        if !self.dtype().is_signed() {
            return Err(Error::dtype(format!("sub_scalar: {} has no negative values", self.dtype())));
        }
        self.unary(Unary::AddScalar { value: -value })
    }

    /// `x * value`. Shape `[..] -> [..]`, all dtypes but bool; `value` is converted as in
    /// [`add_scalar`](Self::add_scalar), and integers wrap.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps nothing: 0 bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.5f32, -2.0], [2], &Device::cpu())?;
    /// assert_eq!(x.mul_scalar(2.0)?.to_vec::<f32>()?, [3.0, -4.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for bool.
    pub fn mul_scalar(self, value: f64) -> Result<Tensor> {
        self.unary(Unary::MulScalar { value })
    }

    /// [`mul_scalar`](Self::mul_scalar), always in place.
    ///
    /// # Errors
    ///
    /// As [`mul_scalar`](Self::mul_scalar); [`Shared`](crate::ErrorKind::Shared), naming the holder, if
    /// anyone else holds this storage. Nothing is changed then.
    pub fn mul_scalar_(&mut self, value: f64) -> Result<()> {
        self.unary_(Unary::MulScalar { value })
    }

    /// `|x|`: 0 of -0. Shape `[..] -> [..]`, floats and i64, whose smallest number stays as it is.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the input: the bytes of `self`.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1.5f32, -0.0, 2.0], [3], &Device::cpu())?;
    /// assert_eq!(x.abs()?.to_vec::<f32>()?, [1.5, 0.0, 2.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for unsigned integers and bool.
    pub fn abs(self) -> Result<Tensor> {
        self.unary(Unary::Abs)
    }

    /// [`abs`](Self::abs), always in place.
    ///
    /// # Errors
    ///
    /// As [`abs`](Self::abs); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn abs_(&mut self) -> Result<()> {
        self.unary_(Unary::Abs)
    }

    /// -1, 0 or 1 by the sign; NaN stays NaN, and -0 stays -0. Shape `[..] -> [..]`, all dtypes but bool.
    ///
    /// Reuses the memory of `self` when no one else holds it. The derivative is 0 wherever there is one, so
    /// there is no backward.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-7i64, 0, 300], [3], &Device::cpu())?;
    /// assert_eq!(x.sign()?.to_vec::<i64>()?, [-1, 0, 1]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for bool.
    pub fn sign(self) -> Result<Tensor> {
        self.unary(Unary::Sign)
    }

    /// [`sign`](Self::sign), always in place.
    ///
    /// # Errors
    ///
    /// As [`sign`](Self::sign); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn sign_(&mut self) -> Result<()> {
        self.unary_(Unary::Sign)
    }

    /// `min(max(x, low), high)`: `high` where `low > high`. NaN stays NaN, and a bound that is NaN makes all
    /// NaN; an infinity is no bound. Shape `[..] -> [..]`, all dtypes but bool; bounds are converted to the
    /// dtype (to f32 for 16-bit floats), so that integers saturate and lose their fractions.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps a bit for each element:
    /// `ceil(numel / 8)` bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-2.0f32, 0.5, f32::INFINITY], [3], &Device::cpu())?;
    /// assert_eq!(x.clamp(-1.0, 1.0)?.to_vec::<f32>()?, [-1.0, 0.5, 1.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for bool.
    pub fn clamp(self, low: f64, high: f64) -> Result<Tensor> {
        self.unary(Unary::Clamp { low, high })
    }

    /// [`clamp`](Self::clamp), always in place.
    ///
    /// # Errors
    ///
    /// As [`clamp`](Self::clamp); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else
    /// holds this storage. Nothing is changed then.
    pub fn clamp_(&mut self, low: f64, high: f64) -> Result<()> {
        self.unary_(Unary::Clamp { low, high })
    }

    /// The largest whole number that is not above `x`; infinities and -0 stay. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. The derivative is 0 wherever there is one, so
    /// there is no backward.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1.5f32, 1.5], [2], &Device::cpu())?;
    /// assert_eq!(x.floor()?.to_vec::<f32>()?, [-2.0, 1.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn floor(self) -> Result<Tensor> {
        self.unary(Unary::Floor)
    }

    /// [`floor`](Self::floor), always in place.
    ///
    /// # Errors
    ///
    /// As [`floor`](Self::floor); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else
    /// holds this storage. Nothing is changed then.
    pub fn floor_(&mut self) -> Result<()> {
        self.unary_(Unary::Floor)
    }

    /// The smallest whole number that is not below `x`: -0 between -1 and 0. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. The derivative is 0 wherever there is one, so
    /// there is no backward.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1.5f32, 1.5], [2], &Device::cpu())?;
    /// assert_eq!(x.ceil()?.to_vec::<f32>()?, [-1.0, 2.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn ceil(self) -> Result<Tensor> {
        self.unary(Unary::Ceil)
    }

    /// [`ceil`](Self::ceil), always in place.
    ///
    /// # Errors
    ///
    /// As [`ceil`](Self::ceil); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn ceil_(&mut self) -> Result<()> {
        self.unary_(Unary::Ceil)
    }

    /// The nearest whole number, of two the even one; the sign stays, that of 0 too. Shape `[..] -> [..]`,
    /// floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. The derivative is 0 wherever there is one, so
    /// there is no backward.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[0.5f32, 1.5, -2.6], [3], &Device::cpu())?;
    /// assert_eq!(x.round()?.to_vec::<f32>()?, [0.0, 2.0, -3.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn round(self) -> Result<Tensor> {
        self.unary(Unary::Round)
    }

    /// [`round`](Self::round), always in place.
    ///
    /// # Errors
    ///
    /// As [`round`](Self::round); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else
    /// holds this storage. Nothing is changed then.
    pub fn round_(&mut self) -> Result<()> {
        self.unary_(Unary::Round)
    }

    /// The other bool. Shape `[..] -> [..]`, bool only.
    ///
    /// Reuses the memory of `self` when no one else holds it.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[true, false], [2], &Device::cpu())?;
    /// assert_eq!(x.not()?.to_vec::<bool>()?, [false, true]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for numbers.
    pub fn not(self) -> Result<Tensor> {
        self.unary(Unary::Not)
    }

    /// [`not`](Self::not), always in place.
    ///
    /// # Errors
    ///
    /// As [`not`](Self::not); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn not_(&mut self) -> Result<()> {
        self.unary_(Unary::Not)
    }
}
