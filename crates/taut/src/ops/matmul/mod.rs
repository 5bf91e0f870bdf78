//! Matrix products over batch axes, products of vectors, and the linear layer: a product with bias and activation fused.

mod backward;
mod factors;
mod grouped;
mod segments;

use crate::{
    Tensor, cpu,
    device::{DeviceKind, SpecRef},
    grad::Tape,
    precision::precision,
    tensor::ViewMut,
};
use backward::Note;
use factors::Factors;
use taut_core::{Activation, Binary, DType, Error, Kept, Layout, Onto, Result, Shape, Unary};
use taut_cuda::launch::{self, matmul::Problem};
use taut_memory::{Kind, Site};

impl Tensor {
    /// The matrix product: `[.., m, k] x [.., k, n] -> [.., m, n]`, floats of one dtype, accumulated in f32 (f64 for
    /// f64) and rounded once. A sum of no terms is 0.
    ///
    /// Leading axes are a batch and broadcast: `[8, 1, m, k] x [3, k, n] -> [8, 3, m, n]`. A vector is a row on the left
    /// and a column on the right, and that axis is dropped: `[k] x [k, n] -> [n]`, `[m, k] x [k] -> [m]`,
    /// `[k] x [k] -> []`. Transposed, sliced and broadcast operands are read where they lie, without a copy.
    ///
    /// In [`tf32`](crate::tf32) factors of f32 may be rounded first.
    ///
    /// Backward keeps both operands: 0 bytes beside them.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let a = Tensor::arange(0.0, 6.0, 1.0, DType::F32, &Device::cpu())?.reshape([2, 3])?;
    /// let b = Tensor::full([3], 1.0, DType::F32, &Device::cpu())?;
    /// assert_eq!(a.clone().matmul(&b)?.to_vec::<f32>()?, [3.0, 12.0]);
    ///
    /// let batch = Tensor::full([4, 3, 5], 1.0, DType::F32, &Device::cpu())?;
    /// assert_eq!(a.matmul(&batch)?.shape()[..], [4, 2, 5]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if one is a scalar, the inner extents differ or the leading axes do not
    /// broadcast; [`DType`](crate::ErrorKind::DType) for integers, bool or different dtypes;
    /// [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn matmul(self, other: &Tensor) -> Result<Tensor> {
        multiply("matmul", &self, self.layout(), other, other.layout(), Epilogue::default())
    }

    /// The inner product of two vectors: `[k] x [k] -> []`. Otherwise as [`matmul`](Self::matmul).
    ///
    /// Backward keeps both operands: 0 bytes beside them.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &Device::cpu())?;
    /// assert_eq!(x.clone().dot(&x)?.item::<f32>()?, 14.0);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) unless both are vectors of one length; as [`matmul`](Self::matmul).
    pub fn dot(self, other: &Tensor) -> Result<Tensor> {
        if self.rank() != 1 || self.shape() != other.shape() {
            let (a, b) = (self.shape(), other.shape());
            return Err(Error::shape(format!("dot: {a} and {b}: must be vectors of one length")));
        }
        multiply("dot", &self, self.layout(), other, other.layout(), Epilogue::default())
    }

    /// All products of an element of `self` by one of `other`: `[m] x [n] -> [m, n]`. All dtypes but bool; integers
    /// wrap.
    ///
    /// Backward keeps both operands: 0 bytes beside them.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1i64, 2], [2], &Device::cpu())?;
    /// let y = Tensor::from_slice(&[3i64, 4, 5], [3], &Device::cpu())?;
    /// assert_eq!(x.outer(&y)?.to_vec::<i64>()?, [3, 4, 5, 6, 8, 10]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) unless both are vectors, [`DType`](crate::ErrorKind::DType) for bool or
    /// different dtypes, [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn outer(self, other: &Tensor) -> Result<Tensor> {
        self.same_device(other, "outer")?;
        self.same_dtype(other, "outer")?;
        if !Binary::Mul.takes(self.dtype()) {
            return Err(Error::dtype(format!("outer: does not take {}", self.dtype())));
        }
        if self.rank() != 1 || other.rank() != 1 {
            let (a, b) = (self.shape(), other.shape());
            return Err(Error::shape(format!("outer: {a} and {b}: must be vectors")));
        }
        let rows = self.numel();
        self.reshape([rows, 1])?.binary(Binary::Mul, other)
    }

    /// `self += a b`, in place, accumulated and added in f32 before it is rounded: `[.., m, n] += [.., m, k] x [.., k, n]`.
    /// `self` is contiguous, of the dtype of `a` and `b` or f32: sums of many 16-bit products keep their precision in f32.
    ///
    /// Backward keeps `a` and `b`: 0 bytes beside them.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::full([64, 2], 1.0, DType::F16, &Device::cpu())?;
    /// let mut gram = Tensor::zeros([2, 2], DType::F32, &Device::cpu())?;
    /// gram.addmm_(&x.clone().t()?, &x)?;
    /// assert_eq!(gram.to_vec::<f32>()?, [64.0; 4]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`matmul`](Self::matmul); [`Shape`](crate::ErrorKind::Shape) if `self` is not contiguous, or not of the shape
    /// of the product; [`Shared`](crate::ErrorKind::Shared) if anyone else holds its storage.
    pub fn addmm_(&mut self, a: &Tensor, b: &Tensor) -> Result<()> {
        let factors = Factors::new("addmm_", a, a.layout(), b, b.layout())?;
        self.same_device(a, "addmm_")?;
        if *self.shape() != factors.shape || !self.is_contiguous() {
            let (shape, want) = (self.shape(), factors.shape);
            return Err(Error::shape(format!("addmm_: the sum is {shape}, it must be a contiguous {want}")));
        }
        if self.dtype() != a.dtype() && self.dtype() != DType::F32 {
            return Err(Error::dtype(format!(
                "addmm_: {} can not hold the sum of {}",
                self.dtype(),
                a.dtype()
            )));
        }
        if self.dtype() != a.dtype() && a.dtype() == DType::F64 {
            return Err(Error::dtype("addmm_: products of f64 are added to f64"));
        }
        let tape = Tape::in_place("addmm", self, [a, b].into_iter())?;
        let note = Note::new(tape, 1, a, b, b.layout(), None, Activation::Identity);
        product(
            "addmm_",
            a,
            b,
            &factors,
            Epilogue { onto: Onto::Add, ..Epilogue::default() },
            self.view_mut("addmm_")?,
        )?;
        note.of(self);
        Ok(())
    }

    /// Adds a linear layer: `self += x w^T + bias` in one kernel, `[.., n] += [.., k] x [n, k] + [n]`: a residual
    /// connection without memory of its own. Sums are f32 (f64 for f64) and rounded once, with what they are added to.
    ///
    /// `self` is contiguous, of the dtype of `x`.
    ///
    /// Backward keeps `x` and the weight: 0 bytes beside them.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let mut x = Tensor::full([5, 3], 1.0, DType::F16, &Device::cpu())?;
    /// let h = Tensor::full([5, 8], 1.0, DType::F16, &Device::cpu())?;
    /// let w = Tensor::full([3, 8], 0.5, DType::F16, &Device::cpu())?;
    /// x.add_linear_(&h, &w, None)?;
    /// assert_eq!(x.cast(DType::F32)?.to_vec::<f32>()?, [5.0; 15]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`linear_with`](Self::linear_with); [`Shape`](crate::ErrorKind::Shape) if `self` is not contiguous, or not of
    /// the shape of the layer's result; [`DType`](crate::ErrorKind::DType) if its dtype is not that of `x`;
    /// [`Shared`](crate::ErrorKind::Shared) if anyone else holds its storage.
    pub fn add_linear_(&mut self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        let op = "add_linear_";
        let transposed = check_layer(op, x, weight, bias)?;
        let factors = Factors::new(op, x, x.layout(), weight, &transposed)?;
        self.same_device(x, op)?;
        self.same_dtype(x, op)?;
        if *self.shape() != factors.shape || !self.is_contiguous() {
            let (shape, want) = (self.shape(), factors.shape);
            return Err(Error::shape(format!("{op}: the sum is {shape}, it must be a contiguous {want}")));
        }
        let tape = Tape::in_place("add_linear", self, [x, weight].into_iter().chain(bias))?;
        let note = Note::new(tape, 1, x, weight, &transposed, bias, Activation::Identity);
        let epilogue = Epilogue { bias, activation: Activation::Identity, onto: Onto::Add };
        product(op, x, weight, &factors, epilogue, self.view_mut(op)?)?;
        note.of(self);
        Ok(())
    }

    /// A linear layer without bias: `x w^T`, `[.., k] x [n, k] -> [.., n]`, the weight stored by outputs. Any strides are
    /// read where they lie.
    ///
    /// Backward keeps the input and the weight: 0 bytes beside them.
    ///
    /// # Errors
    ///
    /// As [`linear_with`](Self::linear_with).
    pub fn linear(self, weight: &Tensor) -> Result<Tensor> {
        self.linear_with(weight, None, Activation::Identity)
    }

    /// A linear layer: `activation(x w^T + bias)` in one kernel, `[.., k] x [n, k] + [n] -> [.., n]`. Bias and activation
    /// are applied in f32 to the sums, which are rounded once. Any strides are read where they lie.
    ///
    /// Backward keeps the input, the weight and the output: 0 bytes beside them.
    ///
    /// ```
    /// use taut::{Activation, DType, Device, Tensor};
    /// let x = Tensor::full([5, 8], 1.0, DType::F16, &Device::cpu())?;
    /// let w = Tensor::full([3, 8], -0.5, DType::F16, &Device::cpu())?;
    /// let b = Tensor::full([3], 2.0, DType::F16, &Device::cpu())?;
    /// let y = x.linear_with(&w, Some(&b), Activation::LeakyRelu { slope: 0.25 })?;
    /// assert_eq!(y.cast(DType::F32)?.to_vec::<f32>()?, [-0.5; 15]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if `self` is a scalar, the weight is not `[n, k]` or the bias not `[n]`;
    /// [`DType`](crate::ErrorKind::DType) for integers, bool or different dtypes; [`Device`](crate::ErrorKind::Device)
    /// if the devices differ.
    pub fn linear_with(
        self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        let transposed = check_layer("linear", &self, weight, bias)?;
        let is_tracked = Tape::of("linear", [&self, weight].into_iter().chain(bias)).is_on();
        if let Some(op) = activation.unary().filter(|op| is_tracked && op.kept() != Some(Kept::Output)) {
            // Its backward needs the sums: they are kept, and the result is another tensor.
            return self.linear_with(weight, bias, Activation::Identity)?.unary(op);
        }
        let epilogue = Epilogue { bias, activation, onto: Onto::Replace };
        multiply("linear", &self, self.layout(), weight, &transposed, epilogue)
    }
}

/// Refuses what is no layer of `x`; the weight as a right factor.
fn check_layer(op: &str, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Layout> {
    let Some(&k) = x.shape().last() else {
        return Err(Error::shape(format!("{op}: the input is a scalar, it needs an axis")));
    };
    if weight.rank() != 2 || weight.shape()[1] != k {
        let (x, w) = (x.shape(), weight.shape());
        return Err(Error::shape(format!("{op}: {x} and weight {w}: the weight must be [n, {k}]")));
    }
    if let Some(bias) = bias {
        let n = weight.shape()[0];
        x.same_device(bias, op)?;
        x.same_dtype(bias, op)?;
        if bias.shape()[..] != [n] {
            return Err(Error::shape(format!("{op}: the bias is {}, it must be [{n}]", bias.shape())));
        }
    }
    weight.layout().transposed(0, 1)
}

/// What is done with the sums before they are stored.
#[derive(Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    bias: Option<&'a Tensor>,
    activation: Activation,
    onto: Onto,
}

/// The product of `a` and `b`, seen through layouts, in new memory.
pub(super) fn multiply(
    op: &'static str,
    a: &Tensor,
    a_layout: &Layout,
    b: &Tensor,
    b_layout: &Layout,
    epilogue: Epilogue<'_>,
) -> Result<Tensor> {
    let factors = Factors::new(op, a, a_layout, b, b_layout)?;
    let Epilogue { bias, activation, .. } = epilogue;
    let tape = Tape::of(op, [a, b].into_iter().chain(bias));
    let note = Note::new(tape, 0, a, b, b_layout, bias, activation);
    let mut out = Tensor::allocate(factors.shape, a.dtype(), a.device(), Site::new(op, Kind::Activations))?;
    product(op, a, b, &factors, epilogue, out.view_mut(op)?)?;
    note.of(&mut out);
    Ok(out)
}

/// The gradient before `activation`, which made `out`, written over that: the product of `a` and `b` is the gradient after
/// it. `out` is contiguous, of the shape of the product but for leading axes, and no one else's.
fn multiply_over(op: &'static str, out: &mut Tensor, activation: Onto, a: &Tensor, b: &Tensor) -> Result<()> {
    let factors = Factors::new(op, a, a.layout(), b, b.layout())?;
    let epilogue = Epilogue { onto: activation, ..Epilogue::default() };
    if let SpecRef::Cuda(_) = out.device().spec_ref() {
        return product(op, a, b, &factors, epilogue, out.view_mut(op)?);
    }
    // The CPU's products have no such end.
    let site = Site::new(op, Kind::Workspace);
    let mut grad = Tensor::allocate(factors.shape, out.dtype(), out.device(), site)?;
    product(op, a, b, &factors, Epilogue::default(), grad.view_mut(op)?)?;
    let unary = match activation {
        Onto::LeakyRelu { slope } => Unary::LeakyRelu { slope },
        _ => Unary::Relu,
    };
    let grad = grad.reshape(*out.shape())?.unary_backward(unary, out)?;
    out.copy_(&grad)
}

/// The product of two matrices in new memory, of their dtype or f32. Of this nothing is noted.
fn multiply_as(op: &'static str, a: &Tensor, b: &Tensor, dtype: DType) -> Result<Tensor> {
    let shape = Shape::new(&[a.shape()[0], b.shape()[1]])?;
    let mut out = Tensor::allocate(shape, dtype, a.device(), Site::new(op, Kind::Activations))?;
    multiply_to(op, a, b, out.view_mut(op)?)?;
    Ok(out)
}

/// The product of two matrices, written to `dst`, which is contiguous and apart from both. Of this nothing is noted.
pub(super) fn multiply_to(op: &'static str, a: &Tensor, b: &Tensor, dst: ViewMut<'_>) -> Result<()> {
    let factors = Factors::new(op, a, a.layout(), b, b.layout())?;
    product(op, a, b, &factors, Epilogue::default(), dst)
}

/// `dst = epilogue(a b)`; where the device is chosen, once for the family.
fn product(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    factors: &Factors,
    epilogue: Epilogue<'_>,
    dst: ViewMut<'_>,
) -> Result<()> {
    let device = a.device();
    match device.spec_ref() {
        SpecRef::Cpu => {
            let choice = cpu::matmul::choose(&factors.a, &factors.b, a.dtype());
            let mut workspace = device.workspace(choice.workspace_bytes, op)?;
            let (a, b) = (a.view()?.through(&factors.a), b.view()?.through(&factors.b));
            let bias = epilogue.bias.map(Tensor::view).transpose()?;
            if device.is_plan() {
                return Ok(());
            }
            let (activation, accumulate) = (epilogue.activation, epilogue.onto == Onto::Add);
            let finish = cpu::matmul::Finish { bias, activation, accumulate };
            cpu::matmul::matmul(&choice, a, b, finish, dst, &mut workspace)
        }
        SpecRef::Cuda(card) => {
            let problem = Problem {
                a: &factors.a,
                b: &factors.b,
                dtype: a.dtype(),
                out: dst.dtype,
                precision: precision(),
            };
            let choice = device.choose(&problem, card);
            let workspace = device.workspace(choice.workspace_bytes, op)?;
            let (a, b) = (a.view()?.through(&factors.a), b.view()?.through(&factors.b));
            let bias = epilogue.bias.map(Tensor::view).transpose()?;
            let DeviceKind::Cuda { gpu, .. } = device.kind() else { return Ok(()) };
            let stream = gpu.stream(dst.storage.writer())?;
            let epilogue = launch::matmul::Epilogue {
                bias: bias.map(|bias| bias.operand()).transpose()?,
                activation: epilogue.activation,
                onto: epilogue.onto,
            };
            let (a, b, dst) = (a.operand()?, b.operand()?, dst.operand()?);
            launch::matmul::matmul(&stream, &choice, a, b, epilogue, dst, &workspace)
        }
    }
}
