//! The group `layers`: what goes along with the product of a layer, beside the product alone; and the backward of a layer.

use crate::{Bench, figures::Figure, page::Section, products::rest, timer::Timer};
use std::time::Duration;
use taut::{Activation, DType, Device, Result, Tensor, no_grad};

/// The name of the group.
pub const GROUP: &str = "layers";

/// How much longer than the product alone a layer should take at most.
const MOST: f64 = 1.02;

/// Rows, inputs and outputs.
fn extents(bench: &Bench) -> [usize; 3] {
    match (bench.device.is_cuda(), bench.quick) {
        (true, _) => [8192, 4096, 4096],
        (false, false) => [512, 512, 512],
        (false, true) => [256, 256, 256],
    }
}

/// A layer with its operands, and gradients of the weight and the bias that are added to.
struct Layer {
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    /// What a residual is added to; the gradient of the output.
    other: Tensor,
}

impl Layer {
    fn new([rows, inputs, outputs]: [usize; 3], device: &Device) -> Result<Layer> {
        let normal = |shape: &[usize], std, seed| Tensor::normal(shape, 0.0, std, seed, DType::F16, device);
        let std = (2.0 / inputs as f32).sqrt();
        Ok(Layer {
            x: normal(&[rows, inputs], 1.0, 1)?.require_grad()?,
            // In f32, as is its gradient; the layer multiplies by what it is in f16.
            weight: normal(&[outputs, inputs], std, 2)?.cast(DType::F32)?.require_grad()?,
            bias: normal(&[outputs], 1.0, 3)?.cast(DType::F32)?.require_grad()?,
            other: normal(&[rows, outputs], 1.0, 4)?,
        })
    }

    /// Forward, and the time of the backward: of the activation, to the input, to the weight and the bias.
    fn backward(&self, timer: &Timer) -> Result<Duration> {
        let (weight, bias) = (self.weight.clone().cast(DType::F16)?, self.bias.clone().cast(DType::F16)?);
        let y = self.x.clone().linear_with(&weight, Some(&bias), Activation::Relu)?;
        drop((weight, bias));
        let grad = self.other.clone();
        let elapsed = timer.time(|| y.backward_with(grad))?;
        self.x.zero_grad();
        Ok(elapsed)
    }
}

/// What a layer does beside its product.
const EPILOGUES: [(&str, Option<Activation>); 5] = [
    ("bias", Some(Activation::Identity)),
    ("bias, relu", Some(Activation::Relu)),
    ("bias, leaky relu", Some(Activation::LeakyRelu { slope: 0.01 })),
    ("bias, gelu", Some(Activation::Gelu)),
    ("bias, added to a residual", None),
];

/// Measures them.
///
/// # Errors
///
/// Those of the ops.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let (device, extents) = (bench.device.fresh()?, extents(bench));
    let [rows, inputs, outputs] = extents;
    let work = |what: &str| format!("{rows} x {outputs} x {inputs}, f16: {what}");
    let (repetitions, calls) = if device.is_cuda() { (7, 16) } else { (3, 1) };
    bench.group(GROUP, EPILOGUES.len() + 2, |bench, progress| {
        let timer = Timer::new(&device)?;
        let mut layer = Layer::new(extents, &device)?;
        let [weight, bias] = [&layer.weight, &layer.bias].map(|x| x.clone().detach().cast(DType::F16));
        let (x, weight, bias) = (layer.x.clone().detach(), weight?, bias?);
        let mut step = |what: &str, limit: Option<f64>, once: &mut dyn FnMut() -> Result<Duration>| {
            let work = work(what);
            progress.step(&work);
            let mut seconds = Vec::new();
            for _ in 0..=repetitions {
                let elapsed = once()?;
                seconds.push(elapsed.as_secs_f64());
                rest(&device, elapsed);
            }
            let figure = Figure::new([GROUP, &work, bench.device_name(), "time"], "s", seconds.split_off(1));
            let median = figure.median;
            bench.add([limit.into_iter().fold(figure, Figure::limit)]);
            progress.advance(1);
            Ok::<_, taut::Error>(median)
        };
        let many = |once: &mut dyn FnMut() -> Result<()>| {
            let elapsed = timer.time(|| (0..calls).try_for_each(|_| no_grad(&mut *once)))?;
            Ok(elapsed / calls)
        };
        let alone = step("product", None, &mut || many(&mut || x.clone().linear(&weight).map(drop)))?;
        for (what, activation) in EPILOGUES {
            step(what, Some(MOST * alone), &mut || match activation {
                Some(activation) => {
                    many(&mut || x.clone().linear_with(&weight, Some(&bias), activation).map(drop))
                }
                None => many(&mut || layer.other.add_linear_(&x, &weight, Some(&bias))),
            })?;
        }
        layer.other = Tensor::normal([rows, outputs], 0.0, 1.0, 4, DType::F16, &device)?;
        step("backward of bias, relu", None, &mut || layer.backward(&timer))?;
        Ok(())
    })
}

/// This group's part of the page.
pub fn section(bench: &Bench) -> Section {
    let intro = "A layer beside its product alone, which takes at most 2 % less: what goes along is applied to the sums before they \
        are rounded. Backward is that of a layer of f16 whose weight and bias are f32: of the activation, to the input, and to \
        the weight and the bias, whose gradients are added to in f32.";
    Section::new(GROUP, "Layers", intro).with_figures(&bench.report)
}
