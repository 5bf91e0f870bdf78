//! Inference of a deep multilayer perceptron, with one memory technique added at a time.

use taut::{Activation, DType, Device, Kind, Result, Tensor, scope};
use taut_nn::{Builder, Layer, Linear};

/// The size of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Linear layers, each followed by a ReLU.
    pub layers: usize,
    /// Inputs and outputs of a layer.
    pub width: usize,
    /// Rows that go through.
    pub batch: usize,
    /// Parts that the batch is cut into by [`Technique::Segments`].
    pub segments: usize,
}

impl Config {
    /// 32 layers of 8,192 with a batch of 8,192: the work that the published figures of PyTorch, candle and burn are of.
    pub const CARD: Config = Config { layers: 32, width: 8192, batch: 8192, segments: 8 };
    /// The same shape for a CPU.
    pub const CPU: Config = Config { layers: 32, width: 1024, batch: 2048, segments: 8 };
    /// The same shape for a CPU in a hurry.
    pub const QUICK: Config = Config { layers: 32, width: 512, batch: 2048, segments: 8 };

    /// Floating-point operations of the products.
    pub fn flops(&self) -> f64 {
        2.0 * (self.layers * self.width * self.width) as f64 * self.batch as f64
    }
}

/// A way to run the work; each keeps what the one before it gained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Technique {
    /// Every intermediate stays until the end, as where gradients are on and nobody needs them. f32.
    Everything,
    /// Each op writes new memory, and its input is dropped when it has been used.
    Dropped,
    /// Each op writes over its input where it can: an operand by value is one that nobody needs any more.
    InPlace,
    /// Product, bias and ReLU are one kernel.
    Fused,
    /// Weights and activations in f16, products accumulated in f32.
    Half,
    /// The batch goes through in parts.
    Segments,
    /// Each part's result goes to the host.
    ToHost,
}

impl Technique {
    /// Every technique, in the order in which they are added.
    pub const ALL: [Technique; 7] = [
        Technique::Everything,
        Technique::Dropped,
        Technique::InPlace,
        Technique::Fused,
        Technique::Half,
        Technique::Segments,
        Technique::ToHost,
    ];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Technique::Everything => "everything kept",
            Technique::Dropped => "dropped at last use",
            Technique::InPlace => "in place",
            Technique::Fused => "fused",
            Technique::Half => "f16",
            Technique::Segments => "batch in segments",
            Technique::ToHost => "outputs to the host",
        }
    }
}

/// The network, on its device.
#[derive(Debug)]
pub struct Work {
    config: Config,
    technique: Technique,
    layers: Vec<Linear>,
}

impl Work {
    /// Makes the weights.
    pub fn new(config: Config, technique: Technique, device: &Device) -> Result<Work> {
        let dtype = if technique >= Technique::Half { DType::F16 } else { DType::F32 };
        let (builder, width) = (Builder::random(0, dtype, device), config.width);
        let layer = |i| Ok(Linear::new(&builder.at(i), width, width)?.with_activation(Activation::Relu));
        let layers = (0..config.layers).map(layer).collect::<Result<_>>()?;
        Ok(Work { config, technique, layers })
    }

    /// Sends one batch through, and returns its outputs: in parts from [`Technique::Segments`] on.
    pub fn run(&self, device: &Device) -> Result<Vec<Tensor>> {
        let host = device.host();
        let parts = self.parts();
        let mut outputs = Vec::with_capacity(parts);
        for part in 0..parts {
            let out = self.forward(self.input(part, device)?)?;
            outputs.push(if self.technique >= Technique::ToHost { out.to(&host)? } else { out });
        }
        Ok(outputs)
    }

    /// Parts that the batch goes through in.
    fn parts(&self) -> usize {
        if self.technique >= Technique::Segments { self.config.segments } else { 1 }
    }

    /// One part of the batch.
    pub fn input(&self, part: usize, device: &Device) -> Result<Tensor> {
        let shape = [self.config.batch / self.parts(), self.config.width];
        let dtype = if self.technique >= Technique::Half { DType::F16 } else { DType::F32 };
        Tensor::normal(shape, 0.0, 1.0, 1000 + part as u64, dtype, device)?.with_kind(Kind::Input)
    }

    /// Sends one part through.
    pub fn forward(&self, x: Tensor) -> Result<Tensor> {
        // What a framework without ownership or scopes would hold until the end.
        let mut kept = Vec::new();
        let mut h = x;
        for layer in &self.layers {
            let _scope = scope("layer");
            if self.technique >= Technique::Fused {
                h = layer.forward(h)?;
                continue;
            }
            let mut step = |out: Tensor| {
                let held = (self.technique < Technique::InPlace).then(|| out.clone());
                if self.technique == Technique::Everything {
                    kept.extend(held.clone());
                }
                (out, held)
            };
            // While `held` lives, the next op finds its input shared and writes elsewhere.
            let (product, _held) = step(h.linear(&layer.weight().tensor())?);
            let biased = match layer.bias() {
                Some(bias) => product.add(&bias.tensor())?,
                None => product,
            };
            drop(_held);
            let (biased, _held) = step(biased);
            h = step(biased.relu()?).0;
        }
        Ok(h)
    }
}
