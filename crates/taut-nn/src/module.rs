//! What a network is made of: named parameters, and the parts that hold them.

use std::{ops::Deref, sync::Arc};
use taut::{Result, Tensor};

/// A learned tensor and its name, as files spell it. It is a tensor wherever one is read.
#[derive(Clone, Debug)]
pub struct Parameter {
    name: Arc<str>,
    tensor: Tensor,
}

impl Parameter {
    /// `tensor` under a name such as `encoder.layer.0.output.dense.weight`.
    pub fn new(name: impl Into<Arc<str>>, tensor: Tensor) -> Parameter {
        Parameter { name: name.into(), tensor }
    }

    /// The name, from the root of the network.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The values.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}

impl Deref for Parameter {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

/// A network or a part of one. It is made by a [`Builder`](crate::Builder), which gives its parameters their names, so
/// that all a module says about itself is which parts it has:
///
/// ```
/// use taut::{DType, Device, Result, Tensor};
/// use taut_nn::{Builder, Layer, LayerNorm, Linear, Module, Parameter};
///
/// struct Residual {
///     norm: LayerNorm,
///     dense: Linear,
/// }
///
/// impl Residual {
///     fn new(builder: &Builder, width: usize) -> Result<Residual> {
///         Ok(Residual {
///             norm: LayerNorm::new(&builder.at("norm"), width)?,
///             dense: Linear::new(&builder.at("dense"), width, width)?,
///         })
///     }
/// }
///
/// impl Module for Residual {
///     fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
///         self.norm.visit(f);
///         self.dense.visit(f);
///     }
/// }
///
/// impl Layer for Residual {
///     fn forward(&self, x: Tensor) -> Result<Tensor> {
///         self.dense.forward(self.norm.forward(x.clone())?)?.add(&x)
///     }
/// }
///
/// let network = Residual::new(&Builder::random(1, DType::F32, &Device::cpu()), 8)?;
/// let names: Vec<_> = network.parameters().iter().map(|parameter| parameter.name()).collect();
/// assert_eq!(names, ["norm.weight", "norm.bias", "dense.weight", "dense.bias"]);
/// # Ok::<(), taut::Error>(())
/// ```
pub trait Module {
    /// Calls `f` with each parameter of this module and of its parts, in order.
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter));

    /// Every parameter, in order.
    fn parameters(&self) -> Vec<&Parameter> {
        let mut all = Vec::new();
        self.visit(&mut |parameter| all.push(parameter));
        all
    }

    /// The bytes of the parameters.
    fn parameter_bytes(&self) -> u64 {
        self.parameters().iter().map(|x| (x.numel() * x.dtype().size()) as u64).sum()
    }
}

/// A module that makes a tensor of a tensor.
pub trait Layer: Module {
    /// Applies the layer. `x` is back in the pool when this returns, unless someone else holds it.
    ///
    /// # Errors
    ///
    /// Those of the ops that the layer is made of.
    fn forward(&self, x: Tensor) -> Result<Tensor>;
}
