//! Matrix products, and the linear layer that is one with bias and activation fused.

use crate::{
    Tensor, cpu,
    device::{DeviceKind, SpecRef},
};
use taut_core::{Activation, DType, Error, Layout, Result, Shape};
use taut_cuda::launch::{self, matmul::Problem};
use taut_memory::{Kind, Site};

impl Tensor {
    /// The matrix product: `[m, k] x [k, n] -> [m, n]`, floats of one dtype, accumulated in f32 (f64 for f64) and
    /// rounded once. Transposed and sliced operands are read where they lie.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let a = Tensor::arange(0.0, 6.0, 1.0, DType::F32, &Device::cpu())?.reshape([2, 3])?;
    /// let b = Tensor::full([3, 1], 1.0, DType::F32, &Device::cpu())?;
    /// assert_eq!(a.matmul(&b)?.to_vec::<f32>()?, [3.0, 12.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) unless both have rank 2 and the inner extents agree,
    /// [`DType`](crate::ErrorKind::DType) for integers, bool or different dtypes.
    pub fn matmul(self, other: &Tensor) -> Result<Tensor> {
        let (m, n) = check("matmul", &self, other.layout(), other)?;
        let shape = Shape::new(&[m, n])?;
        let mut out =
            Tensor::allocate(shape, self.dtype(), self.device(), Site::new("matmul", Kind::Activations))?;
        product("matmul", &self, other, other.layout(), Epilogue::default(), &mut out)?;
        Ok(out)
    }

    /// `self += a b`, in place, accumulated and added in f32 before it is rounded: `[m, n] += [m, k] x [k, n]`. `self` is
    /// contiguous, of the dtype of `a` and `b` or f32: sums of many 16-bit products keep their precision in f32.
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
    /// As [`matmul`](Self::matmul); [`Shape`](crate::ErrorKind::Shape) if `self` is not contiguous;
    /// [`Shared`](crate::ErrorKind::Shared) if anyone else holds its storage.
    pub fn addmm_(&mut self, a: &Tensor, b: &Tensor) -> Result<()> {
        let (m, n) = check("addmm_", a, b.layout(), b)?;
        self.same_device(a, "addmm_")?;
        if self.shape()[..] != [m, n] || !self.is_contiguous() {
            let shape = self.shape();
            return Err(Error::shape(format!(
                "addmm_: the sum is {shape}, it must be a contiguous [{m}, {n}]"
            )));
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
        product("addmm_", a, b, b.layout(), Epilogue { accumulate: true, ..Epilogue::default() }, self)
    }

    /// A linear layer without bias: `x w^T`, `[.., k] x [n, k] -> [.., n]`, the weight stored by outputs.
    ///
    /// # Errors
    ///
    /// As [`linear_with`](Self::linear_with).
    pub fn linear(self, weight: &Tensor) -> Result<Tensor> {
        self.linear_with(weight, None, Activation::Identity)
    }

    /// A linear layer: `activation(x w^T + bias)` in one kernel, `[.., k] x [n, k] + [n] -> [.., n]`. Bias and activation
    /// are applied in f32 to the sums, which are rounded once.
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
        let Some((&k, lead)) = self.shape().split_last() else {
            return Err(Error::shape("linear: the input is a scalar, it needs an axis"));
        };
        if weight.rank() != 2 || weight.shape()[1] != k {
            let (x, w) = (self.shape(), weight.shape());
            return Err(Error::shape(format!("linear: {x} and weight {w}: the weight must be [n, {k}]")));
        }
        let (rows, n) = (lead.iter().product::<usize>(), weight.shape()[0]);
        let out_shape = Shape::new(&[lead, &[n]].concat())?;
        if let Some(bias) = bias {
            self.same_device(bias, "linear")?;
            self.same_dtype(bias, "linear")?;
            if bias.shape()[..] != [n] {
                return Err(Error::shape(format!("linear: the bias is {}, it must be [{n}]", bias.shape())));
            }
        }
        let bias = bias.map(|bias| bias.clone().contiguous()).transpose()?;
        let x = self.reshape([rows, k])?;
        let transposed = weight.layout().transposed(0, 1)?;
        check("linear", &x, &transposed, weight)?;
        let site = Site::new("linear", Kind::Activations);
        let mut out = Tensor::allocate(Shape::new(&[rows, n])?, x.dtype(), x.device(), site)?;
        let epilogue = Epilogue { bias: bias.as_ref(), activation, accumulate: false };
        product("linear", &x, weight, &transposed, epilogue, &mut out)?;
        Ok(out.with_shape(out_shape))
    }
}

/// What is done with the sums before they are stored.
#[derive(Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    pub(crate) bias: Option<&'a Tensor>,
    pub(crate) activation: Activation,
    pub(crate) accumulate: bool,
}

/// The extents `m` and `n` of a product of `a` and `b`, of which `b` is seen through a layout.
fn check(op: &str, a: &Tensor, b: &Layout, b_tensor: &Tensor) -> Result<(usize, usize)> {
    a.same_device(b_tensor, op)?;
    a.same_dtype(b_tensor, op)?;
    if !a.dtype().is_float() {
        return Err(Error::dtype(format!("{op}: does not take {}; cast to a float", a.dtype())));
    }
    match (&a.shape()[..], &b.shape()[..]) {
        (&[m, k], &[l, n]) if k == l => Ok((m, n)),
        _ => Err(Error::shape(format!("{op}: {} and {}: must be [m, k] and [k, n]", a.shape(), b.shape()))),
    }
}

/// `out = epilogue(a b)`; where the device is chosen, once for the family.
fn product(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    b_layout: &Layout,
    epilogue: Epilogue<'_>,
    out: &mut Tensor,
) -> Result<()> {
    let device = out.device().clone();
    match device.spec_ref() {
        SpecRef::Cpu => {
            let bytes = cpu::matmul::workspace_bytes(a.layout(), b_layout, a.dtype());
            let mut workspace = device.workspace(bytes, op)?;
            let (a, b) = (a.view()?, b.view()?.through(b_layout));
            let bias = epilogue.bias.map(Tensor::view).transpose()?;
            let dst = out.view_mut(op)?;
            if device.is_plan() {
                return Ok(());
            }
            let finish = cpu::matmul::Finish {
                bias,
                activation: epilogue.activation,
                accumulate: epilogue.accumulate,
            };
            cpu::matmul::matmul(a, b, finish, dst, &mut workspace)
        }
        SpecRef::Cuda(card) => {
            let problem = Problem { a: a.layout(), b: b_layout, dtype: a.dtype(), out: out.dtype() };
            let choice = launch::matmul::choose(&problem, card);
            let workspace = device.workspace(choice.workspace_bytes, op)?;
            let (a, b) = (a.view()?, b.view()?.through(b_layout));
            let bias = epilogue.bias.map(Tensor::view).transpose()?;
            let dst = out.view_mut(op)?;
            let DeviceKind::Cuda { gpu, .. } = device.kind() else { return Ok(()) };
            let stream = gpu.stream(dst.storage.writer())?;
            let epilogue = launch::matmul::Epilogue {
                bias: bias.map(|bias| bias.operand()).transpose()?,
                activation: epilogue.activation,
                accumulate: epilogue.accumulate,
            };
            let (a, b, dst) = (a.operand()?, b.operand()?, dst.operand()?);
            launch::matmul::matmul(&stream, &choice, a, b, epilogue, dst, workspace.address())
        }
    }
}
