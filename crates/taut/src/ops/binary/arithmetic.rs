//! Arithmetic, minima and maxima of two tensors.

use crate::Tensor;
use taut_core::{Binary, Result};

impl Tensor {
    /// `a + b`, broadcast at the last axes: `[.., n] + [n] -> [.., n]`. All dtypes but bool; integers wrap.
    ///
    /// Reuses the memory of `self` when no one else holds it and it has the shape of the result. `other` is
    /// only read. Backward keeps nothing: 0 bytes.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::zeros([2, 3], DType::F32, &Device::cpu())?;
    /// let row = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &Device::cpu())?;
    /// assert_eq!(x.add(&row)?.to_vec::<f32>()?, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the shapes do not broadcast, [`DType`](crate::ErrorKind::DType)
    /// if the dtypes differ or are bool, [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn add(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Add, other)
    }

    /// `self += other`, always in place; `other` broadcasts to the shape of `self`.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn add_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_(Binary::Add, other)
    }

    /// `a - b`; otherwise as [`add`](Self::add). Backward keeps nothing: 0 bytes.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn sub(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Sub, other)
    }

    /// `self -= other`, always in place; `other` broadcasts to the shape of `self`.
    ///
    /// # Errors
    ///
    /// As [`add_`](Self::add_).
    pub fn sub_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_(Binary::Sub, other)
    }

    /// `a * b`; otherwise as [`add`](Self::add). Backward keeps both operands: their bytes.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn mul(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Mul, other)
    }

    /// `self *= other`, always in place; `other` broadcasts to the shape of `self`.
    ///
    /// # Errors
    ///
    /// As [`add_`](Self::add_).
    pub fn mul_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_(Binary::Mul, other)
    }

    /// `a / b`, floats only, rounded as IEEE 754 says; otherwise as [`add`](Self::add). Backward keeps the
    /// output, which exists anyway, and `other`: its bytes.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add), and [`DType`](crate::ErrorKind::DType) for integers.
    pub fn div(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Div, other)
    }

    /// `self /= other`, always in place; `other` broadcasts to the shape of `self`.
    ///
    /// # Errors
    ///
    /// As [`add_`](Self::add_), and [`DType`](crate::ErrorKind::DType) for integers.
    pub fn div_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_(Binary::Div, other)
    }

    /// The smaller of the two. NaN if either is; of equals, 0 and -0 too, that of `self`. Otherwise as
    /// [`add`](Self::add). Backward keeps a bit for each element of the result: `ceil(numel / 8)` bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1.0f32, 5.0, f32::NAN], [3], &Device::cpu())?;
    /// let b = Tensor::from_slice(&[3.0f32], [1], &Device::cpu())?;
    /// assert_eq!(a.slice(0, 0..2)?.minimum(&b)?.to_vec::<f32>()?, [1.0, 3.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn minimum(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Minimum, other)
    }

    /// [`minimum`](Self::minimum), always in place; `other` broadcasts to the shape of `self`.
    ///
    /// # Errors
    ///
    /// As [`add_`](Self::add_).
    pub fn minimum_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_(Binary::Minimum, other)
    }

    /// The larger of the two. NaN if either is; of equals, 0 and -0 too, that of `self`. Otherwise as
    /// [`add`](Self::add). Backward keeps a bit for each element of the result: `ceil(numel / 8)` bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1.0f32, 5.0], [2], &Device::cpu())?;
    /// let b = Tensor::from_slice(&[3.0f32], [1], &Device::cpu())?;
    /// assert_eq!(a.maximum(&b)?.to_vec::<f32>()?, [3.0, 5.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn maximum(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Maximum, other)
    }

    /// [`maximum`](Self::maximum), always in place; `other` broadcasts to the shape of `self`.
    ///
    /// # Errors
    ///
    /// As [`add_`](Self::add_).
    pub fn maximum_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_(Binary::Maximum, other)
    }

    /// `a^b`, floats only, with the special cases of C99: 1 for an exponent of 0 or a base of 1, whatever the
    /// other is; NaN for a negative base unless the exponent is a whole number. Otherwise as
    /// [`add`](Self::add). Backward keeps both operands: their bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let a = Tensor::from_slice(&[2.0f32, -2.0, f32::NAN], [3], &Device::cpu())?;
    /// let b = Tensor::from_slice(&[3.0f32, 2.0, 0.0], [3], &Device::cpu())?;
    /// assert_eq!(a.pow(&b)?.to_vec::<f32>()?, [8.0, 4.0, 1.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add), and [`DType`](crate::ErrorKind::DType) for integers.
    pub fn pow(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Pow, other)
    }

    /// [`pow`](Self::pow), always in place; `other` broadcasts to the shape of `self`.
    ///
    /// # Errors
    ///
    /// As [`add_`](Self::add_).
    pub fn pow_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_(Binary::Pow, other)
    }
}
