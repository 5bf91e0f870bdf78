//! Training of a deep multilayer perceptron, with techniques that save memory.

use taut::{
    Activation, DType, Device, Kind, Result, Tensor, checkpoint, checkpoint_sequential, no_grad,
    optim::{AdamW, Rule},
    save_on_host, scope,
};
use taut_nn::{Builder, Layer, Linear, Module, Optimizer, Parameter, States};

/// The size of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Linear layers, each followed by a ReLU.
    pub layers: usize,
    /// Inputs and outputs of a layer.
    pub width: usize,
    /// Rows of a step.
    pub batch: usize,
}

impl Config {
    /// 16 layers of 4,096 with a batch of 16,384: the work that PyTorch's figures are of.
    pub const CARD: Config = Config { layers: 16, width: 4096, batch: 16_384 };
    /// The same shape for a CPU.
    pub const CPU: Config = Config { layers: 16, width: 256, batch: 1024 };
    /// The same shape for a CPU in a hurry.
    pub const QUICK: Config = Config { layers: 16, width: 128, batch: 512 };

    /// Floating-point operations of the products of a step in which nothing is frozen or run again.
    pub fn flops(&self) -> f64 {
        // Forward, of the weights, and of the inputs, but for those of the first layer.
        let product = 2.0 * (self.width * self.width) as f64 * self.batch as f64;
        (3 * self.layers - 1) as f64 * product
    }
}

/// A way to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The name in tables.
    pub name: &'static str,
    /// Of weights and activations.
    pub dtype: DType,
    /// Whether gradients are wanted at all.
    pub learns: bool,
    /// Parts of the batch, whose gradients are added.
    pub parts: usize,
    /// Checkpointed segments; 0 for none.
    pub segments: usize,
    /// Whether the first half of the layers is frozen.
    pub frozen: bool,
    /// What the optimizer keeps.
    pub states: States,
    /// Whether parameters are changed inside of the backward.
    pub in_backward: bool,
    /// Whether what the forward pass keeps waits in host memory.
    pub saved_on_host: bool,
    /// Whether the states of the optimizer are in host memory.
    pub states_on_host: bool,
    /// What else is done with the outputs of the layers.
    pub outputs: Outputs,
}

/// What happens to the output of each layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// It goes to the next layer by value; the activation is a part of the product.
    Dropped,
    /// A handle of it is held until the step is done, as where names keep it alive.
    Held,
    /// The activation is an op of its own, over the output.
    InPlace,
    /// The activation is an op of its own, with memory of its own: a handle of what it is applied to is held until it is done.
    Beside,
}

const PLAIN: Way = Way {
    name: "f32",
    dtype: DType::F32,
    learns: true,
    parts: 1,
    segments: 0,
    frozen: false,
    states: States::Full,
    in_backward: false,
    saved_on_host: false,
    states_on_host: false,
    outputs: Outputs::Dropped,
};

const BF16: Way = Way { name: "bf16, f32 masters", dtype: DType::BF16, ..PLAIN };

const F16: Way = Way { name: "f16, f32 masters", dtype: DType::F16, ..PLAIN };

const CHECKPOINT: Way = Way { in_backward: true, states: States::Codes, segments: 4, ..BF16 };

impl Way {
    /// Plain f32, and each technique alone.
    pub const EACH: [Way; 18] = [
        PLAIN,
        Way { name: "outputs held to the end of the step", outputs: Outputs::Held, ..PLAIN },
        Way { name: "activations by themselves, in place", outputs: Outputs::InPlace, ..PLAIN },
        Way { name: "activations by themselves, not in place", outputs: Outputs::Beside, ..PLAIN },
        Way { name: "gradients off", learns: false, ..PLAIN },
        Way { name: "4 micro-batches", parts: 4, ..PLAIN },
        Way { name: "checkpoint, 1 segment", segments: 1, ..PLAIN },
        Way { name: "checkpoint, 4 segments", segments: 4, ..PLAIN },
        Way { name: "checkpoint, every layer", segments: usize::MAX, ..PLAIN },
        Way { name: "first half frozen", frozen: true, ..PLAIN },
        Way { name: "8-bit states", states: States::Codes, ..PLAIN },
        Way { name: "update in backward", in_backward: true, ..PLAIN },
        Way { name: "saved tensors on the host", saved_on_host: true, ..PLAIN },
        Way { name: "states on the host", states_on_host: true, ..PLAIN },
        BF16,
        F16,
        Way {
            name: "f16, 8-bit states, update in backward",
            in_backward: true,
            states: States::Codes,
            ..F16
        },
        Way { name: "the same and checkpoint, 4 segments", dtype: DType::F16, ..CHECKPOINT },
    ];

    /// Techniques one after the other, the free ones first.
    pub const STACKED: [Way; 7] = [
        PLAIN,
        BF16,
        Way { name: "+ update in backward", in_backward: true, ..BF16 },
        Way { name: "+ 8-bit states", in_backward: true, states: States::Codes, ..BF16 },
        Way { name: "+ checkpoint, 4 segments", ..CHECKPOINT },
        Way { name: "+ saved tensors on the host", saved_on_host: true, ..CHECKPOINT },
        Way { name: "+ states on the host", saved_on_host: true, states_on_host: true, ..CHECKPOINT },
    ];
}

/// The network and its optimizer, on their device.
#[derive(Debug)]
pub struct Work {
    config: Config,
    way: Way,
    layers: Layers,
    optimizer: Option<Optimizer>,
    inputs: Vec<Tensor>,
}

#[derive(Clone, Debug)]
struct Layers(Vec<Linear>);

impl Module for Layers {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.0.iter().for_each(|layer| layer.visit(f));
    }
}

impl Work {
    /// Makes the weights, the states of the optimizer and the inputs.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](taut::ErrorKind::OutOfMemory) if there is no room for them.
    pub fn new(config: Config, way: Way, device: &Device) -> Result<Work> {
        let (builder, width) = (Builder::random(0, way.dtype, device), config.width);
        let activation = match way.outputs {
            Outputs::Dropped | Outputs::Held => Activation::Relu,
            Outputs::InPlace | Outputs::Beside => Activation::Identity,
        };
        let layer = |i| Ok(Linear::new(&builder.at(i), width, width)?.with_activation(activation));
        let layers = Layers((0..config.layers).map(layer).collect::<Result<_>>()?);
        if way.learns {
            layers.train()?;
        }
        if way.frozen {
            layers.0[..config.layers / 2].iter().for_each(Module::freeze);
        }
        let rule = Rule::AdamW(AdamW::default());
        let optimizer = way.learns.then(|| match way.states_on_host {
            true => Optimizer::on_host(rule, &layers, way.states),
            false => Optimizer::new(rule, &layers, way.states),
        });
        // Gradients of a mean of so many squares are nothing in f16.
        let optimizer = match optimizer.transpose()? {
            Some(optimizer) if way.dtype == DType::F16 => Some(optimizer.with_loss_scale(65_536.0)?),
            optimizer => optimizer,
        };
        let rows = config.batch / way.parts;
        let input = |part| {
            let x = Tensor::normal([rows, width], 0.0, 1.0, 1000 + part, way.dtype, device)?;
            x.with_kind(Kind::Input)
        };
        let inputs = (0..way.parts as u64).map(input).collect::<Result<_>>()?;
        Ok(Work { config, way, layers, optimizer, inputs })
    }

    /// One step: forward, backward, update.
    ///
    /// # Errors
    ///
    /// Those of the ops.
    pub fn step(&mut self) -> Result<()> {
        const LR: f32 = 1e-4;
        let Work { way, layers, optimizer, inputs, .. } = self;
        let mut held = Vec::new();
        for x in &*inputs {
            let mut forward = || {
                let y = layers.forward(x.clone(), *way, &mut held)?;
                y.mean_square(&[])?.mul_scalar(1.0 / inputs.len() as f64)
            };
            let loss = match &optimizer {
                None => no_grad(forward)?,
                Some(_) if way.saved_on_host => save_on_host(forward)?,
                Some(_) => forward()?,
            };
            match optimizer {
                None => {}
                Some(optimizer) if way.in_backward => optimizer.backward(loss, LR)?,
                Some(optimizer) => optimizer.scaled(loss)?.backward()?,
            }
        }
        match optimizer {
            Some(optimizer) if !way.in_backward => optimizer.step(LR),
            _ => Ok(()),
        }
    }

    /// The size.
    pub fn config(&self) -> Config {
        self.config
    }
}

impl Layers {
    /// `held` gets what is to live until the step is done.
    fn forward(&self, x: Tensor, way: Way, held: &mut Vec<Tensor>) -> Result<Tensor> {
        let _scope = scope("network");
        let steps = self.0.iter().cloned().map(|layer| move |x| layer.forward(x));
        match way.segments {
            1 => {
                let layers = self.clone();
                checkpoint(vec![x], move |x| {
                    layers.forward(taut_tests::first(x)?, Way { segments: 0, ..way }, &mut Vec::new())
                })
            }
            0 => self.0.iter().try_fold(x, |x, layer| {
                let y = layer.forward(x)?;
                match way.outputs {
                    Outputs::Dropped => Ok(y),
                    Outputs::Held => {
                        held.push(y.clone());
                        Ok(y)
                    }
                    Outputs::InPlace => y.relu(),
                    // The hold ends with this step.
                    Outputs::Beside => y.clone().relu(),
                }
            }),
            segments => checkpoint_sequential(x, steps.collect(), segments.min(self.0.len())),
        }
    }
}
