//! The activation functions of layers.

use crate::Tensor;
use taut_core::{Result, Unary};

impl Tensor {
    /// `max(x, 0)`. NaN stays NaN, and -0 stays -0. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the output, which exists anyway:
    /// 0 bytes more.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1.0f32, 2.0], [2], &Device::cpu())?;
    /// assert_eq!(x.relu()?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn relu(self) -> Result<Tensor> {
        self.unary(Unary::Relu)
    }

    /// [`relu`](Self::relu), always in place.
    ///
    /// # Errors
    ///
    /// As [`relu`](Self::relu); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn relu_(&mut self) -> Result<()> {
        self.unary_(Unary::Relu)
    }

    /// `x` where `x >= 0`, `slope * x` elsewhere. NaN stays NaN. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the output, which exists anyway:
    /// 0 bytes more. With a negative slope it keeps a bit for each element: `ceil(numel / 8)` bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-2.0f32, 2.0], [2], &Device::cpu())?;
    /// assert_eq!(x.leaky_relu(0.25)?.to_vec::<f32>()?, [-0.5, 2.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn leaky_relu(self, slope: f32) -> Result<Tensor> {
        self.unary(Unary::LeakyRelu { slope })
    }

    /// [`leaky_relu`](Self::leaky_relu), always in place.
    ///
    /// # Errors
    ///
    /// As [`leaky_relu`](Self::leaky_relu); [`Shared`](crate::ErrorKind::Shared), naming the holder, if
    /// anyone else holds this storage. Nothing is changed then.
    pub fn leaky_relu_(&mut self, slope: f32) -> Result<()> {
        self.unary_(Unary::LeakyRelu { slope })
    }

    /// `x` where `x > 0`, `alpha (e^x - 1)` elsewhere: `-alpha` far below 0. Exact near 0, and -0 stays -0
    /// where `alpha > 0`. Shape `[..] -> [..]`, floats.
    ///
    /// Source: Clevert et al., "Fast and accurate deep network learning by exponential linear units", 2015.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the output, which exists anyway:
    /// 0 bytes more. With a negative `alpha` it keeps the input: the bytes of `self`.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[f32::NEG_INFINITY, 0.0, 3.0], [3], &Device::cpu())?;
    /// assert_eq!(x.elu(1.5)?.to_vec::<f32>()?, [-1.5, 0.0, 3.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn elu(self, alpha: f32) -> Result<Tensor> {
        self.unary(Unary::Elu { alpha })
    }

    /// [`elu`](Self::elu), always in place.
    ///
    /// # Errors
    ///
    /// As [`elu`](Self::elu); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn elu_(&mut self, alpha: f32) -> Result<()> {
        self.unary_(Unary::Elu { alpha })
    }

    /// `1 / (1 + e^-x)`: 0 at -infinity, 1 at infinity, and as exact where it is small as where it is large.
    /// Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the output, which exists anyway:
    /// 0 bytes more.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[f32::NEG_INFINITY, 0.0, 40.0], [3], &Device::cpu())?;
    /// assert_eq!(x.sigmoid()?.to_vec::<f32>()?, [0.0, 0.5, 1.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn sigmoid(self) -> Result<Tensor> {
        self.unary(Unary::Sigmoid)
    }

    /// [`sigmoid`](Self::sigmoid), always in place.
    ///
    /// # Errors
    ///
    /// As [`sigmoid`](Self::sigmoid); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else
    /// holds this storage. Nothing is changed then.
    pub fn sigmoid_(&mut self) -> Result<()> {
        self.unary_(Unary::Sigmoid)
    }

    /// `x sigmoid(x)`, also called swish; -0 at -infinity. Shape `[..] -> [..]`, floats.
    ///
    /// Source: Elfwing et al., "Sigmoid-weighted linear units for neural network function approximation",
    /// 2017.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the input: the bytes of `self`.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[f32::NEG_INFINITY, 0.0, 40.0], [3], &Device::cpu())?;
    /// assert_eq!(x.silu()?.to_vec::<f32>()?, [0.0, 0.0, 40.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn silu(self) -> Result<Tensor> {
        self.unary(Unary::Silu)
    }

    /// [`silu`](Self::silu), always in place.
    ///
    /// # Errors
    ///
    /// As [`silu`](Self::silu); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn silu_(&mut self) -> Result<()> {
        self.unary_(Unary::Silu)
    }

    /// `x` times the probability that a standard normal variable is below `x`, exact to a few ulps however
    /// small; 0 at -infinity. Shape `[..] -> [..]`, floats.
    ///
    /// Source: Hendrycks and Gimpel, "Gaussian error linear units", 2016.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the input: the bytes of `self`.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1.0f32, 0.0, 1.0], [3], &Device::cpu())?;
    /// let y = x.gelu()?.to_vec::<f32>()?;
    /// assert!(y.iter().zip([-0.15865526, 0.0, 0.8413447]).all(|(y, want)| (y - want).abs() < 1e-6));
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn gelu(self) -> Result<Tensor> {
        self.unary(Unary::Gelu)
    }

    /// [`gelu`](Self::gelu), always in place.
    ///
    /// # Errors
    ///
    /// As [`gelu`](Self::gelu); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn gelu_(&mut self) -> Result<()> {
        self.unary_(Unary::Gelu)
    }

    /// The usual approximation of [`gelu`](Self::gelu): `x (1 + tanh(u)) / 2`, where `u` is `sqrt(2 / pi) (x
    /// + 0.044715 x^3)`; -0 at -infinity. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the input: the bytes of `self`.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1.0f32, 0.0, 1.0], [3], &Device::cpu())?;
    /// let y = x.gelu_tanh()?.to_vec::<f32>()?;
    /// assert!(y.iter().zip([-0.15880801, 0.0, 0.841192]).all(|(y, want)| (y - want).abs() < 1e-6));
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn gelu_tanh(self) -> Result<Tensor> {
        self.unary(Unary::GeluTanh)
    }

    /// [`gelu_tanh`](Self::gelu_tanh), always in place.
    ///
    /// # Errors
    ///
    /// As [`gelu_tanh`](Self::gelu_tanh); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone
    /// else holds this storage. Nothing is changed then.
    pub fn gelu_tanh_(&mut self) -> Result<()> {
        self.unary_(Unary::GeluTanh)
    }

    /// `ln(1 + e^x)`: `x` far above 0 without overflow, `e^x` far below. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the output, which exists anyway:
    /// 0 bytes more.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[f32::NEG_INFINITY, 200.0], [2], &Device::cpu())?;
    /// assert_eq!(x.softplus()?.to_vec::<f32>()?, [0.0, 200.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn softplus(self) -> Result<Tensor> {
        self.unary(Unary::Softplus)
    }

    /// [`softplus`](Self::softplus), always in place.
    ///
    /// # Errors
    ///
    /// As [`softplus`](Self::softplus); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone
    /// else holds this storage. Nothing is changed then.
    pub fn softplus_(&mut self) -> Result<()> {
        self.unary_(Unary::Softplus)
    }
}
