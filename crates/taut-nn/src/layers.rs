//! Layers that are one op each, and chains of layers.

use crate::{Builder, Init, Layer, Module, Parameter};
use taut::{Result, Tensor, scope, seed};

/// A table of vectors, looked up by number.
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Parameter,
}

impl Embedding {
    /// `count` vectors of `width`: the parameter `weight`, `[count, width]`. Drawn at random, normal with variance 1.
    ///
    /// # Errors
    ///
    /// As [`Builder::parameter`].
    pub fn new(builder: &Builder<'_>, count: usize, width: usize) -> Result<Embedding> {
        let _scope = scope("embedding");
        Ok(Embedding { weight: builder.parameter("weight", [count, width], Init::Normal { std: 1.0 })? })
    }

    /// The table, `[count, width]`.
    pub fn weight(&self) -> &Parameter {
        &self.weight
    }
}

impl Module for Embedding {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        f(&self.weight);
    }
}

impl Layer for Embedding {
    /// The vectors of the numbers `x`, i64: `[n] -> [n, width]`.
    ///
    /// # Errors
    ///
    /// As [`Tensor::index_select`].
    fn forward(&self, x: Tensor) -> Result<Tensor> {
        self.weight.tensor().index_select(0, &x)
    }
}

/// Layer normalization over the last axis.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Parameter,
    bias: Parameter,
    eps: f32,
}

impl LayerNorm {
    /// Rows of `width`, with parameters `weight` and `bias` of that length: 1 and 0 unless a file says otherwise. `eps`
    /// is 1e-5.
    ///
    /// # Errors
    ///
    /// As [`Builder::parameter`].
    pub fn new(builder: &Builder<'_>, width: usize) -> Result<LayerNorm> {
        let _scope = scope("layer_norm");
        let weight = builder.parameter("weight", [width], Init::Ones)?;
        Ok(LayerNorm { weight, bias: builder.parameter("bias", [width], Init::Zeros)?, eps: 1e-5 })
    }

    /// The layer with another `eps`.
    pub fn with_eps(self, eps: f32) -> LayerNorm {
        LayerNorm { eps, ..self }
    }

    /// The norm of `x + residual`, which takes one pass.
    ///
    /// # Errors
    ///
    /// As [`Tensor::add_layer_norm`].
    pub fn forward_sum(&self, x: Tensor, residual: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.tensor(), self.bias.tensor());
        let (norm, _) = x.add_layer_norm(residual, Some(&weight), Some(&bias), self.eps)?;
        Ok(norm)
    }
}

impl Module for LayerNorm {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        f(&self.weight);
        f(&self.bias);
    }
}

impl Layer for LayerNorm {
    /// `[.., width] -> [.., width]`.
    ///
    /// # Errors
    ///
    /// As [`Tensor::layer_norm`].
    fn forward(&self, x: Tensor) -> Result<Tensor> {
        x.layer_norm(Some(&self.weight.tensor()), Some(&self.bias.tensor()), self.eps)
    }
}

/// Dropout: in training each element is 0 with a probability, and the others are scaled so that the mean stays. A new one
/// is in [`eval`](Self::eval), where it does nothing at all.
///
/// Each application draws its seed from [`taut::seed`], so that no two drop the same elements, and a [`taut::checkpoint`] that is
/// run again drops those that it did.
#[derive(Debug)]
pub struct Dropout {
    drop_prob: f32,
    training: bool,
}

impl Dropout {
    /// A layer that does nothing until it [trains](Self::train).
    pub fn new(drop_prob: f32) -> Dropout {
        Dropout { drop_prob, training: false }
    }

    /// Drops elements from here on.
    pub fn train(&mut self) {
        self.training = true;
    }

    /// Does nothing from here on.
    pub fn eval(&mut self) {
        self.training = false;
    }
}

impl Module for Dropout {
    fn visit<'a>(&'a self, _: &mut dyn FnMut(&'a Parameter)) {}
}

impl Layer for Dropout {
    /// `[..] -> [..]`; `x` itself in `eval`.
    ///
    /// # Errors
    ///
    /// As [`Tensor::dropout`].
    fn forward(&self, x: Tensor) -> Result<Tensor> {
        if self.training { x.dropout(self.drop_prob, seed::next()) } else { Ok(x) }
    }
}

/// Layers one after the other.
///
/// ```
/// use taut::{Activation, DType, Device, Tensor};
/// use taut_nn::{Builder, Layer, LayerNorm, Linear, Module, Sequential};
///
/// let builder = Builder::random(1, DType::F32, &Device::cpu());
/// let network = Sequential::new()
///     .then(&builder, |b| Ok(Linear::new(b, 16, 32)?.with_activation(Activation::Relu)))?
///     .then(&builder, |b| LayerNorm::new(b, 32))?
///     .then(&builder, |b| Linear::new(b, 32, 4))?;
/// assert_eq!(network.parameters()[2].name(), "1.weight");
/// let x = Tensor::zeros([8, 16], DType::F32, &Device::cpu())?;
/// assert_eq!(network.forward(x)?.shape()[..], [8, 4]);
/// # Ok::<(), taut::Error>(())
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<Box<dyn Layer + Send + Sync>>,
}

impl Sequential {
    /// No layer yet: it gives back what it gets.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// With the layer that `build` makes behind the others. Its parameters are named by its number, from 0 on.
    ///
    /// # Errors
    ///
    /// Whatever `build` returns.
    pub fn then<'b, L: Layer + Send + Sync + 'static>(
        mut self,
        builder: &Builder<'b>,
        build: impl FnOnce(&Builder<'b>) -> Result<L>,
    ) -> Result<Sequential> {
        self.layers.push(Box::new(build(&builder.at(self.layers.len()))?));
        Ok(self)
    }

    /// How many layers there are.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Module for Sequential {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.layers.iter().for_each(|layer| layer.visit(f));
    }
}

impl Layer for Sequential {
    fn forward(&self, x: Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(x, |x, layer| layer.forward(x))
    }
}
