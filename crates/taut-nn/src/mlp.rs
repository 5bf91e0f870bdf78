//! A chain of linear layers.

use crate::Linear;
use taut::{Activation, DType, Device, Result, Tensor};

/// Linear layers one after the other.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// Layers from `widths[0]` inputs to the last width, with random weights; all but the last apply `activation`.
    ///
    /// # Errors
    ///
    /// As [`Linear::random`].
    pub fn new(
        widths: &[usize],
        activation: Activation,
        dtype: DType,
        seed: u64,
        device: &Device,
    ) -> Result<Mlp> {
        let last = widths.len().saturating_sub(2);
        let layer = |(i, pair): (usize, &[usize])| {
            let activation = if i == last { Activation::Identity } else { activation };
            Linear::random(pair[0], pair[1], activation, seed.wrapping_add(i as u64), dtype, device)
        };
        Ok(Mlp { layers: widths.windows(2).enumerate().map(layer).collect::<Result<_>>()? })
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[Linear] {
        &self.layers
    }

    /// `[.., inputs] -> [.., outputs]`. At most two activations exist at a time.
    ///
    /// # Errors
    ///
    /// As [`Linear::forward`].
    pub fn forward(&self, x: Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(x, |h, layer| layer.forward(h))
    }
}
