//! A chain of linear layers.

use crate::{Builder, Layer, Linear, Module, Parameter};
use taut::{Activation, Result, Tensor};

/// Linear layers one after the other.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// Layers from `widths[0]` inputs to the last width, named by their numbers; all but the last apply `activation`.
    ///
    /// # Errors
    ///
    /// As [`Linear::new`].
    pub fn new(builder: &Builder<'_>, widths: &[usize], activation: Activation) -> Result<Mlp> {
        let last = widths.len().saturating_sub(2);
        let layer = |(i, pair): (usize, &[usize])| {
            let activation = if i == last { Activation::Identity } else { activation };
            Ok(Linear::new(&builder.at(i), pair[0], pair[1])?.with_activation(activation))
        };
        Ok(Mlp { layers: widths.windows(2).enumerate().map(layer).collect::<Result<_>>()? })
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[Linear] {
        &self.layers
    }
}

impl Module for Mlp {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.layers.iter().for_each(|layer| layer.visit(f));
    }
}

impl Layer for Mlp {
    /// `[.., inputs] -> [.., outputs]`. At most two activations exist at a time.
    ///
    /// # Errors
    ///
    /// As [`Linear::forward`].
    fn forward(&self, x: Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(x, |x, layer| layer.forward(x))
    }
}
