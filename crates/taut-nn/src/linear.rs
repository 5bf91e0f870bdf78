//! The linear layer.

use taut::{Activation, DType, Device, Kind, Result, Tensor, scope};

/// `activation(x w^T + b)`, in one kernel.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    activation: Activation,
}

impl Linear {
    /// A layer over existing tensors: weight `[outputs, inputs]`, bias `[outputs]`.
    pub fn new(weight: Tensor, bias: Option<Tensor>, activation: Activation) -> Linear {
        Linear { weight, bias, activation }
    }

    /// A layer with random weights, normal with variance `2 / inputs` so that activations keep their size under ReLU,
    /// and a bias of zeros.
    ///
    /// Source: He et al., "Delving deep into rectifiers", 2015.
    ///
    /// # Errors
    ///
    /// As [`Tensor::normal`].
    pub fn random(
        inputs: usize,
        outputs: usize,
        activation: Activation,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Linear> {
        let _scope = scope("linear");
        let std = (2.0 / inputs.max(1) as f32).sqrt();
        let weight = Tensor::normal([outputs, inputs], 0.0, std, seed, dtype, device)?;
        let bias = Tensor::zeros([outputs], dtype, device)?;
        Ok(Linear::new(weight.with_kind(Kind::Weights)?, Some(bias.with_kind(Kind::Weights)?), activation))
    }

    /// The weight, `[outputs, inputs]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, `[outputs]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// What is applied to the sums.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// `[.., inputs] -> [.., outputs]`. `x` is back in the pool when this returns, unless someone else holds it.
    ///
    /// # Errors
    ///
    /// As [`Tensor::linear_with`].
    pub fn forward(&self, x: Tensor) -> Result<Tensor> {
        x.linear_with(&self.weight, self.bias.as_ref(), self.activation)
    }
}
