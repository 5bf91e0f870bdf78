//! What a network is made of: named parameters, and the parts that hold them.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
};
use taut::{DType, Error, Result, Shape, Tensor, no_grad};

/// A learned tensor and its name, as files spell it. A clone is the same parameter: it sees every change, and layers that
/// share one have tied weights.
#[derive(Clone)]
pub struct Parameter {
    name: Arc<str>,
    tensor: Arc<RwLock<Tensor>>,
}

impl Parameter {
    /// `tensor` under a name such as `encoder.layer.0.output.dense.weight`.
    pub fn new(name: impl Into<Arc<str>>, tensor: Tensor) -> Parameter {
        Parameter { name: name.into(), tensor: Arc::new(RwLock::new(tensor)) }
    }

    /// The name, from the root of the network.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The values as they are now. An [`update`](Self::update) is refused as long as this handle is held.
    pub fn tensor(&self) -> Tensor {
        self.tensor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The extents.
    pub fn shape(&self) -> Shape {
        *self.tensor().shape()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.tensor().dtype()
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.tensor().numel()
    }

    /// The tensor, to be changed in place. Nobody else sees or changes it meanwhile.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Tensor> {
        self.tensor.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who holds the tensor beside this parameter, in words, if anyone does.
    pub(crate) fn shared_with(&self) -> Option<String> {
        self.write().shared_with()
    }

    /// Whether it learns: whether [`backward`](Tensor::backward) finds its gradient.
    pub fn is_trained(&self) -> bool {
        self.tensor().is_tracked()
    }

    /// Lets it learn, from the next forward pass on.
    ///
    /// # Errors
    ///
    /// [`DType`](taut::ErrorKind::DType) unless it is a float.
    pub fn train(&self) -> Result<()> {
        let mut tensor = self.write();
        *tensor = tensor.clone().require_grad()?;
        Ok(())
    }

    /// Keeps it as it is: from the next forward pass on nothing is kept for its gradient, and nothing computed.
    pub fn freeze(&self) {
        let mut tensor = self.write();
        *tensor = tensor.clone().detach();
    }

    /// The gradient that has been found, if any; the next one starts from nothing.
    pub fn take_grad(&self) -> Option<Tensor> {
        self.tensor().take_grad()
    }

    /// Calls `f` with the tensor, in [`no_grad`], to change it in place.
    ///
    /// # Errors
    ///
    /// Those of `f`: [`Shared`](taut::ErrorKind::Shared) if anyone holds the tensor, or a graph that no backward has
    /// been through.
    pub fn update<R>(&self, f: impl FnOnce(&mut Tensor) -> Result<R>) -> Result<R> {
        let mut tensor = self.write();
        no_grad(|| f(&mut tensor))
            .map_err(|error| Error::new(error.kind(), format!("{error} (of the parameter {:?})", self.name)))
    }
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parameter({:?}, {:?})", self.name, self.tensor())
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

    /// Lets every parameter [learn](Parameter::train).
    ///
    /// # Errors
    ///
    /// As [`Parameter::train`].
    fn train(&self) -> Result<()> {
        self.parameters().into_iter().try_for_each(Parameter::train)
    }

    /// [Freezes](Parameter::freeze) every parameter.
    fn freeze(&self) {
        self.parameters().into_iter().for_each(Parameter::freeze);
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
