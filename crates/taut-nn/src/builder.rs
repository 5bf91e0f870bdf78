//! Where the parameters of a network come from.

use crate::{Parameter, Weights};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use taut::{DType, Device, Kind, Result, Shape, Tensor};

/// What a parameter is filled with where no file says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// 0 everywhere.
    Zeros,
    /// 1 everywhere.
    Ones,
    /// Normal numbers around 0.
    Normal {
        /// The standard deviation.
        std: f32,
    },
}

/// Gives a network its parameters, by their names: drawn at random, or [read from a file](Weights::build). A part of a
/// network asks under a name of its own, [`at`](Self::at) which the whole puts it.
#[derive(Clone, Debug)]
pub struct Builder<'a> {
    source: Source<'a>,
    path: String,
    dtype: DType,
    device: Device,
}

#[derive(Clone)]
enum Source<'a> {
    /// Of the next seed.
    Random(Arc<Mutex<u64>>),
    File(&'a Weights),
    /// Notes what is asked for.
    Wanted(Arc<Mutex<Vec<(String, Shape)>>>),
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Random(_) => f.write_str("random"),
            Source::File(weights) => weights.fmt(f),
            Source::Wanted(_) => f.write_str("names"),
        }
    }
}

impl<'a> Builder<'a> {
    /// Draws every parameter, each with a seed of its own that follows from `seed` and the order in which they are asked
    /// for.
    pub fn random(seed: u64, dtype: DType, device: &Device) -> Builder<'static> {
        Builder::from(Source::Random(Arc::new(Mutex::new(seed))), dtype, device)
    }

    /// Reads every parameter from a file.
    pub(crate) fn file(weights: &'a Weights, dtype: DType, device: &Device) -> Builder<'a> {
        Builder::from(Source::File(weights), dtype, device)
    }

    /// The names and shapes that `build` asks for. Takes no memory.
    pub(crate) fn wanted<M>(
        dtype: DType,
        device: &Device,
        build: impl Fn(&Builder<'_>) -> Result<M>,
    ) -> Result<Vec<(String, Shape)>> {
        let wanted = Arc::new(Mutex::new(Vec::new()));
        build(&Builder::from(Source::Wanted(wanted.clone()), dtype, &Device::plan(device.spec())))?;
        let mut wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut wanted))
    }

    fn from<'s>(source: Source<'s>, dtype: DType, device: &Device) -> Builder<'s> {
        Builder { source, path: String::new(), dtype, device: device.clone() }
    }

    /// The builder of a part: its names are behind `name` and a dot.
    pub fn at(&self, name: impl fmt::Display) -> Builder<'a> {
        Builder { path: self.join(name), ..self.clone() }
    }

    /// The dtype of the parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A parameter of this part, of [`Kind::Weights`]: from the file, or as `init` says.
    ///
    /// # Errors
    ///
    /// [`Value`](taut::ErrorKind::Value) if the file has no such tensor, [`Shape`](taut::ErrorKind::Shape) if it has
    /// another shape; as [`Entry::load`](crate::Entry::load) and [`Tensor::normal`].
    pub fn parameter(&self, name: &str, shape: impl AsRef<[usize]>, init: Init) -> Result<Parameter> {
        let (name, shape) = (self.join(name), Shape::new(shape.as_ref())?);
        let tensor = match &self.source {
            Source::File(weights) => {
                let entry = weights.get(&name)?;
                if *entry.shape() != shape {
                    let found = entry.shape();
                    return Err(taut::Error::shape(format!("weights: {name:?} is {found}, not {shape}")));
                }
                entry.load(self.dtype, &self.device)?
            }
            Source::Random(seed) => {
                let mut seed = seed.lock().unwrap_or_else(PoisonError::into_inner);
                let drawn = self.draw(shape, init, *seed)?;
                *seed = seed.wrapping_add(1);
                drawn
            }
            Source::Wanted(wanted) => {
                let mut wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
                wanted.push((name.clone(), shape));
                self.draw(shape, Init::Zeros, 0)?
            }
        };
        Ok(Parameter::new(name, tensor.with_kind(Kind::Weights)?))
    }

    fn draw(&self, shape: Shape, init: Init, seed: u64) -> Result<Tensor> {
        match init {
            Init::Zeros => Tensor::zeros(shape, self.dtype, &self.device),
            Init::Ones => Tensor::full(shape, 1.0, self.dtype, &self.device),
            Init::Normal { std } => Tensor::normal(shape, 0.0, std, seed, self.dtype, &self.device),
        }
    }

    fn join(&self, name: impl fmt::Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }
}
