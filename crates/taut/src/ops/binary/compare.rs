//! Comparisons, of tensors and with scalars, and the logic of bools.

use crate::Tensor;
use taut_core::{Binary, Result};

impl Tensor {
    /// Where `a == b`, as bool, broadcast at the last axes: `[.., n], [n] -> [.., n]`. All dtypes. 0 and -0
    /// are equal; NaN is unequal to everything, itself too.
    ///
    /// The result has a dtype of its own, so that the memory of `self` is only reused if that is bool, too.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1.0f32, 2.0, f32::NAN], [3], &Device::cpu())?;
    /// let b = Tensor::from_slice(&[1.0f32, 3.0, f32::NAN], [3], &Device::cpu())?;
    /// assert_eq!(a.eq(&b)?.to_vec::<bool>()?, [true, false, false]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the shapes do not broadcast, [`DType`](crate::ErrorKind::DType)
    /// if the dtypes differ, [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn eq(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Eq, other)
    }

    /// Where `a != b`, as bool: true where either is NaN. Otherwise as [`eq`](Self::eq).
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu())?;
    /// let b = Tensor::from_slice(&[1.0f32, 3.0], [2], &Device::cpu())?;
    /// assert_eq!(a.ne(&b)?.to_vec::<bool>()?, [false, true]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`eq`](Self::eq).
    pub fn ne(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Ne, other)
    }

    /// Where `a < b`, as bool: false where either is NaN. Otherwise as [`eq`](Self::eq); false is less than
    /// true.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu())?;
    /// let b = Tensor::from_slice(&[1.0f32, 3.0], [2], &Device::cpu())?;
    /// assert_eq!(a.lt(&b)?.to_vec::<bool>()?, [false, true]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`eq`](Self::eq).
    pub fn lt(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Lt, other)
    }

    /// Where `a <= b`, as bool: false where either is NaN. Otherwise as [`eq`](Self::eq).
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu())?;
    /// let b = Tensor::from_slice(&[1.0f32, 3.0], [2], &Device::cpu())?;
    /// assert_eq!(a.le(&b)?.to_vec::<bool>()?, [true, true]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`eq`](Self::eq).
    pub fn le(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Le, other)
    }

    /// Where `a > b`, as bool: false where either is NaN. Otherwise as [`eq`](Self::eq).
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu())?;
    /// let b = Tensor::from_slice(&[1.0f32, 3.0], [2], &Device::cpu())?;
    /// assert_eq!(a.gt(&b)?.to_vec::<bool>()?, [false, false]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`eq`](Self::eq).
    pub fn gt(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Gt, other)
    }

    /// Where `a >= b`, as bool: false where either is NaN. Otherwise as [`eq`](Self::eq).
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu())?;
    /// let b = Tensor::from_slice(&[1.0f32, 3.0], [2], &Device::cpu())?;
    /// assert_eq!(a.ge(&b)?.to_vec::<bool>()?, [true, false]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`eq`](Self::eq).
    pub fn ge(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Ge, other)
    }

    /// Where `x == value`, as bool: [`eq`](Self::eq) with `value` converted to the dtype, as
    /// [`cast`](Self::cast) converts an f64. Floats of 16 bits are compared with a `value` of 16 bits, and
    /// integers with one that saturates and has lost its fraction. Shape `[..] -> [..]`.
    ///
    /// Takes one element more for the time of the op.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1i64, 0, 1], [3], &Device::cpu())?;
    /// assert_eq!(x.eq_scalar(0.0)?.to_vec::<bool>()?, [false, true, false]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the result does not fit.
    pub fn eq_scalar(self, value: f64) -> Result<Tensor> {
        self.compare_scalar(Binary::Eq, "eq_scalar", value)
    }

    /// Where `x != value`, as bool: [`ne`](Self::ne), with the value of [`eq_scalar`](Self::eq_scalar).
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1i64, 0, 1], [3], &Device::cpu())?;
    /// assert_eq!(x.ne_scalar(0.0)?.to_vec::<bool>()?, [true, false, true]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the result does not fit.
    pub fn ne_scalar(self, value: f64) -> Result<Tensor> {
        self.compare_scalar(Binary::Ne, "ne_scalar", value)
    }

    /// Where `x < value`, as bool: [`lt`](Self::lt), with the value of [`eq_scalar`](Self::eq_scalar).
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1i64, 0, 1], [3], &Device::cpu())?;
    /// assert_eq!(x.lt_scalar(0.0)?.to_vec::<bool>()?, [true, false, false]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the result does not fit.
    pub fn lt_scalar(self, value: f64) -> Result<Tensor> {
        self.compare_scalar(Binary::Lt, "lt_scalar", value)
    }

    /// Where `x <= value`, as bool: [`le`](Self::le), with the value of [`eq_scalar`](Self::eq_scalar).
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1i64, 0, 1], [3], &Device::cpu())?;
    /// assert_eq!(x.le_scalar(0.0)?.to_vec::<bool>()?, [true, true, false]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the result does not fit.
    pub fn le_scalar(self, value: f64) -> Result<Tensor> {
        self.compare_scalar(Binary::Le, "le_scalar", value)
    }

    /// Where `x > value`, as bool: [`gt`](Self::gt), with the value of [`eq_scalar`](Self::eq_scalar).
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1i64, 0, 1], [3], &Device::cpu())?;
    /// assert_eq!(x.gt_scalar(0.0)?.to_vec::<bool>()?, [false, false, true]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the result does not fit.
    pub fn gt_scalar(self, value: f64) -> Result<Tensor> {
        self.compare_scalar(Binary::Gt, "gt_scalar", value)
    }

    /// Where `x >= value`, as bool: [`ge`](Self::ge), with the value of [`eq_scalar`](Self::eq_scalar).
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1i64, 0, 1], [3], &Device::cpu())?;
    /// assert_eq!(x.ge_scalar(0.0)?.to_vec::<bool>()?, [false, true, true]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the result does not fit.
    pub fn ge_scalar(self, value: f64) -> Result<Tensor> {
        self.compare_scalar(Binary::Ge, "ge_scalar", value)
    }

    fn compare_scalar(self, op: Binary, name: &'static str, value: f64) -> Result<Tensor> {
        let value = Tensor::filled(name, &[], value, self.dtype(), self.device())?;
        self.binary(op, &value)
    }

    /// Where both are true, bool only, broadcast as [`add`](Self::add) and with its reuse of memory.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let a = Tensor::from_slice(&[true, true, false, false], [4], &Device::cpu())?;
    /// let b = Tensor::from_slice(&[true, false, true, false], [4], &Device::cpu())?;
    /// assert_eq!(a.and(&b)?.to_vec::<bool>()?, [true, false, false, false]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`eq`](Self::eq), and [`DType`](crate::ErrorKind::DType) for numbers.
    pub fn and(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::And, other)
    }

    /// [`and`](Self::and), always in place; `other` broadcasts to the shape of `self`.
    ///
    /// # Errors
    ///
    /// As [`and`](Self::and); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn and_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_(Binary::And, other)
    }

    /// Where either is true, bool only, broadcast as [`add`](Self::add) and with its reuse of memory.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let a = Tensor::from_slice(&[true, true, false, false], [4], &Device::cpu())?;
    /// let b = Tensor::from_slice(&[true, false, true, false], [4], &Device::cpu())?;
    /// assert_eq!(a.or(&b)?.to_vec::<bool>()?, [true, true, true, false]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`eq`](Self::eq), and [`DType`](crate::ErrorKind::DType) for numbers.
    pub fn or(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Or, other)
    }

    /// [`or`](Self::or), always in place; `other` broadcasts to the shape of `self`.
    ///
    /// # Errors
    ///
    /// As [`or`](Self::or); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn or_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_(Binary::Or, other)
    }

    /// Where one is true and the other is not, bool only, broadcast as [`add`](Self::add) and with its reuse
    /// of memory.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let a = Tensor::from_slice(&[true, true, false, false], [4], &Device::cpu())?;
    /// let b = Tensor::from_slice(&[true, false, true, false], [4], &Device::cpu())?;
    /// assert_eq!(a.xor(&b)?.to_vec::<bool>()?, [false, true, true, false]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`eq`](Self::eq), and [`DType`](crate::ErrorKind::DType) for numbers.
    pub fn xor(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Xor, other)
    }

    /// [`xor`](Self::xor), always in place; `other` broadcasts to the shape of `self`.
    ///
    /// # Errors
    ///
    /// As [`xor`](Self::xor); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn xor_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_(Binary::Xor, other)
    }
}
