//! Roots, powers, exponentials and circular functions.

use crate::Tensor;
use taut_core::{Result, Unary};

impl Tensor {
    /// `e^x`: 0 at -infinity; too large a result is infinity. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the output, which exists anyway:
    /// 0 bytes more.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[f32::NEG_INFINITY, 0.0, 100.0], [3], &Device::cpu())?;
    /// assert_eq!(x.exp()?.to_vec::<f32>()?, [0.0, 1.0, f32::INFINITY]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn exp(self) -> Result<Tensor> {
        self.unary(Unary::Exp)
    }

    /// [`exp`](Self::exp), always in place.
    ///
    /// # Errors
    ///
    /// As [`exp`](Self::exp); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn exp_(&mut self) -> Result<()> {
        self.unary_(Unary::Exp)
    }

    /// The natural logarithm: -infinity of 0 and -0, NaN below. Exact for subnormal numbers too. Shape `[..]
    /// -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the input: the bytes of `self`.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[0.0f32, 1.0, f32::INFINITY], [3], &Device::cpu())?;
    /// assert_eq!(x.log()?.to_vec::<f32>()?, [f32::NEG_INFINITY, 0.0, f32::INFINITY]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn log(self) -> Result<Tensor> {
        self.unary(Unary::Log)
    }

    /// [`log`](Self::log), always in place.
    ///
    /// # Errors
    ///
    /// As [`log`](Self::log); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn log_(&mut self) -> Result<()> {
        self.unary_(Unary::Log)
    }

    /// The square root, rounded as IEEE 754 says: -0 of -0, NaN below. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the output, which exists anyway:
    /// 0 bytes more.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[0.0f32, 4.0, 2.25], [3], &Device::cpu())?;
    /// assert_eq!(x.sqrt()?.to_vec::<f32>()?, [0.0, 2.0, 1.5]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn sqrt(self) -> Result<Tensor> {
        self.unary(Unary::Sqrt)
    }

    /// [`sqrt`](Self::sqrt), always in place.
    ///
    /// # Errors
    ///
    /// As [`sqrt`](Self::sqrt); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn sqrt_(&mut self) -> Result<()> {
        self.unary_(Unary::Sqrt)
    }

    /// `1 / sqrt(x)`: infinity of 0, -infinity of -0, 0 of infinity, NaN below 0. Shape `[..] -> [..]`,
    /// floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the output, which exists anyway:
    /// 0 bytes more.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[0.0f32, 4.0, 0.25], [3], &Device::cpu())?;
    /// assert_eq!(x.rsqrt()?.to_vec::<f32>()?, [f32::INFINITY, 0.5, 2.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn rsqrt(self) -> Result<Tensor> {
        self.unary(Unary::Rsqrt)
    }

    /// [`rsqrt`](Self::rsqrt), always in place.
    ///
    /// # Errors
    ///
    /// As [`rsqrt`](Self::rsqrt); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else
    /// holds this storage. Nothing is changed then.
    pub fn rsqrt_(&mut self) -> Result<()> {
        self.unary_(Unary::Rsqrt)
    }

    /// `x^exponent`, with the special cases of C99: 1 for an exponent of 0 or an `x` of 1, whatever the other
    /// is; NaN for a negative `x` unless the exponent is a whole number. The exponent is converted to the
    /// dtype, to f32 for 16-bit floats. [`square`](Self::square), [`sqrt`](Self::sqrt) and
    /// [`reciprocal`](Self::reciprocal) are faster than their exponents. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the input: the bytes of `self`.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-2.0f32, 0.0, 3.0], [3], &Device::cpu())?;
    /// assert_eq!(x.pow_scalar(3.0)?.to_vec::<f32>()?, [-8.0, 0.0, 27.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn pow_scalar(self, exponent: f64) -> Result<Tensor> {
        self.unary(Unary::PowScalar { exponent })
    }

    /// [`pow_scalar`](Self::pow_scalar), always in place.
    ///
    /// # Errors
    ///
    /// As [`pow_scalar`](Self::pow_scalar); [`Shared`](crate::ErrorKind::Shared), naming the holder, if
    /// anyone else holds this storage. Nothing is changed then.
    pub fn pow_scalar_(&mut self, exponent: f64) -> Result<()> {
        self.unary_(Unary::PowScalar { exponent })
    }

    /// `x * x`. Shape `[..] -> [..]`, all dtypes but bool; integers wrap.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the input: the bytes of `self`.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-3.0f32, 0.5], [2], &Device::cpu())?;
    /// assert_eq!(x.square()?.to_vec::<f32>()?, [9.0, 0.25]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for bool.
    pub fn square(self) -> Result<Tensor> {
        self.unary(Unary::Square)
    }

    /// [`square`](Self::square), always in place.
    ///
    /// # Errors
    ///
    /// As [`square`](Self::square); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else
    /// holds this storage. Nothing is changed then.
    pub fn square_(&mut self) -> Result<()> {
        self.unary_(Unary::Square)
    }

    /// `1 / x`, rounded as IEEE 754 says: infinity of 0, -infinity of -0. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the output, which exists anyway:
    /// 0 bytes more.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[0.0f32, -4.0], [2], &Device::cpu())?;
    /// assert_eq!(x.reciprocal()?.to_vec::<f32>()?, [f32::INFINITY, -0.25]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn reciprocal(self) -> Result<Tensor> {
        self.unary(Unary::Reciprocal)
    }

    /// [`reciprocal`](Self::reciprocal), always in place.
    ///
    /// # Errors
    ///
    /// As [`reciprocal`](Self::reciprocal); [`Shared`](crate::ErrorKind::Shared), naming the holder, if
    /// anyone else holds this storage. Nothing is changed then.
    pub fn reciprocal_(&mut self) -> Result<()> {
        self.unary_(Unary::Reciprocal)
    }

    /// The sine of an angle in radians, exact to a few ulps for every angle; NaN of an infinity, -0 of -0.
    /// Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the input: the bytes of `self`.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[0.0f32, 1e30, f32::INFINITY], [3], &Device::cpu())?;
    /// let y = x.sin()?.to_vec::<f32>()?;
    /// assert!(y[0] == 0.0 && (f64::from(y[1]) - f64::from(1e30f32).sin()).abs() < 1e-6 && y[2].is_nan());
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn sin(self) -> Result<Tensor> {
        self.unary(Unary::Sin)
    }

    /// [`sin`](Self::sin), always in place.
    ///
    /// # Errors
    ///
    /// As [`sin`](Self::sin); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn sin_(&mut self) -> Result<()> {
        self.unary_(Unary::Sin)
    }

    /// The cosine of an angle in radians, as [`sin`](Self::sin). Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the input: the bytes of `self`.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[0.0f32, -0.0], [2], &Device::cpu())?;
    /// assert_eq!(x.cos()?.to_vec::<f32>()?, [1.0, 1.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn cos(self) -> Result<Tensor> {
        self.unary(Unary::Cos)
    }

    /// [`cos`](Self::cos), always in place.
    ///
    /// # Errors
    ///
    /// As [`cos`](Self::cos); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn cos_(&mut self) -> Result<()> {
        self.unary_(Unary::Cos)
    }

    /// The hyperbolic tangent: -1 and 1 at the infinities, -0 of -0. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the output, which exists anyway:
    /// 0 bytes more.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[f32::NEG_INFINITY, 0.0, 20.0], [3], &Device::cpu())?;
    /// assert_eq!(x.tanh()?.to_vec::<f32>()?, [-1.0, 0.0, 1.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn tanh(self) -> Result<Tensor> {
        self.unary(Unary::Tanh)
    }

    /// [`tanh`](Self::tanh), always in place.
    ///
    /// # Errors
    ///
    /// As [`tanh`](Self::tanh); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn tanh_(&mut self) -> Result<()> {
        self.unary_(Unary::Tanh)
    }
}
