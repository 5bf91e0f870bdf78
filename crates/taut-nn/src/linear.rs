//! The linear layer.

use crate::{Builder, Init, Layer, Module, Parameter};
use taut::{Activation, Error, Kind, Result, Tensor, scope};

/// `activation(x w^T + b)`, in one kernel.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Parameter,
    bias: Option<Parameter>,
    activation: Activation,
}

impl Linear {
    /// A layer with parameters `weight` `[outputs, inputs]` and `bias` `[outputs]`. Drawn at random, the weight is normal
    /// with variance `2 / inputs`, so that activations keep their size under ReLU, and the bias 0.
    ///
    /// Source: He et al., "Delving deep into rectifiers", 2015.
    ///
    /// # Errors
    ///
    /// As [`Builder::parameter`].
    pub fn new(builder: &Builder<'_>, inputs: usize, outputs: usize) -> Result<Linear> {
        let bias = builder.parameter("bias", [outputs], Init::Zeros)?;
        Ok(Linear { bias: Some(bias), ..Linear::without_bias(builder, inputs, outputs)? })
    }

    /// [`new`](Self::new), without the bias.
    ///
    /// # Errors
    ///
    /// As [`Builder::parameter`].
    pub fn without_bias(builder: &Builder<'_>, inputs: usize, outputs: usize) -> Result<Linear> {
        let _scope = scope("linear");
        let std = (2.0 / inputs.max(1) as f32).sqrt();
        let weight = builder.parameter("weight", [outputs, inputs], Init::Normal { std })?;
        Ok(Linear { weight, bias: None, activation: Activation::Identity })
    }

    /// The layer with `activation` on the sums.
    pub fn with_activation(self, activation: Activation) -> Linear {
        Linear { activation, ..self }
    }

    /// Adds what the layer makes of `x` to `sum`, in one kernel and without memory of its own: a residual connection. `x`
    /// is back in the pool when this returns, unless someone else holds it. Without the activation.
    ///
    /// # Errors
    ///
    /// As [`Tensor::add_linear_`].
    pub fn add_to(&self, sum: &mut Tensor, x: Tensor) -> Result<()> {
        sum.add_linear_(&x, &self.weight.tensor(), self.bias.as_ref().map(Parameter::tensor).as_ref())
    }

    /// The weight, `[outputs, inputs]`.
    pub fn weight(&self) -> &Parameter {
        &self.weight
    }

    /// The bias, `[outputs]`.
    pub fn bias(&self) -> Option<&Parameter> {
        self.bias.as_ref()
    }

    /// What is applied to the sums.
    pub fn activation(&self) -> Activation {
        self.activation
    }
}

impl Module for Linear {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        f(&self.weight);
        self.bias.iter().for_each(f);
    }
}

impl Layer for Linear {
    /// `[.., inputs] -> [.., outputs]`.
    ///
    /// # Errors
    ///
    /// As [`Tensor::linear_with`].
    fn forward(&self, x: Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(Parameter::tensor);
        x.linear_with(&self.weight.tensor(), bias.as_ref(), self.activation)
    }
}

/// Several linear layers of one input as one product: their weights lie one after the other in one tensor, of which the
/// parameters are parts. Without activation.
#[derive(Clone, Debug)]
pub struct FusedLinear {
    weight: Tensor,
    bias: Tensor,
    parts: Vec<[Parameter; 2]>,
}

impl FusedLinear {
    /// Layers of `outputs` each, under these names. While they are put together their weights exist twice.
    ///
    /// # Errors
    ///
    /// As [`Builder::parameter`] and [`Tensor::cat`].
    pub fn new(builder: &Builder<'_>, names: &[&str], inputs: usize, outputs: usize) -> Result<FusedLinear> {
        let _scope = scope("linear");
        let std = (2.0 / inputs.max(1) as f32).sqrt();
        let weight = |name| builder.at(name).parameter("weight", [outputs, inputs], Init::Normal { std });
        let bias = |name| builder.at(name).parameter("bias", [outputs], Init::Zeros);
        let (weight, weights) = join(names.iter().map(weight).collect::<Result<_>>()?)?;
        let (bias, biases) = join(names.iter().map(bias).collect::<Result<_>>()?)?;
        Ok(FusedLinear { weight, bias, parts: weights.into_iter().zip(biases).map(<[_; 2]>::from).collect() })
    }
}

/// One tensor of all, along the first axis, and the parameters as parts of it.
fn join(parameters: Vec<Parameter>) -> Result<(Tensor, Vec<Parameter>)> {
    let tensors: Vec<Tensor> = parameters.iter().map(|parameter| parameter.tensor().detach()).collect();
    let whole = Tensor::cat(&tensors, 0)?.with_kind(Kind::Weights)?;
    let mut start = 0;
    let part = |parameter: &Parameter| {
        let rows = start..start + parameter.shape()[0];
        start = rows.end;
        Ok(Parameter::new(parameter.name(), whole.clone().slice(0, rows)?))
    };
    let parts = parameters.iter().map(part).collect::<Result<_>>()?;
    Ok((whole, parts))
}

impl Module for FusedLinear {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.parts.iter().flatten().for_each(f);
    }
}

impl Layer for FusedLinear {
    /// `[.., inputs] -> [.., layers * outputs]`.
    ///
    /// # Errors
    ///
    /// As [`Tensor::linear_with`]; [`Grad`](taut::ErrorKind::Grad) if a parameter [learns](Parameter::train).
    fn forward(&self, x: Tensor) -> Result<Tensor> {
        if self.parts.iter().flatten().any(Parameter::is_trained) {
            return Err(Error::grad(
                "FusedLinear: its parameters are parts of one tensor, which does not learn yet",
            ));
        }
        x.linear_with(&self.weight, Some(&self.bias), Activation::Identity)
    }
}
