/// Distributions that a tensor can be filled from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Random {
    /// Uniform in `[low, high)`.
    Uniform {
        /// The smallest value.
        low: f32,
        /// Above every value.
        high: f32,
    },
    /// Normal with this mean and standard deviation.
    Normal {
        /// The mean.
        mean: f32,
        /// The standard deviation.
        std: f32,
    },
}

impl Random {
    /// Every distribution, in its standard form.
    pub const ALL: [Random; 2] =
        [Random::Uniform { low: 0.0, high: 1.0 }, Random::Normal { mean: 0.0, std: 1.0 }];

    /// The name of the method and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Random::Uniform { .. } => "uniform",
            Random::Normal { .. } => "normal",
        }
    }

    /// The name of the functor in CUDA.
    pub const fn functor(self) -> &'static str {
        match self {
            Random::Uniform { .. } => "Uniform",
            Random::Normal { .. } => "Normal",
        }
    }

    /// The position in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        match self {
            Random::Uniform { .. } => 0,
            Random::Normal { .. } => 1,
        }
    }

    /// The two parameters of the functor: offset and scale.
    pub const fn params(self) -> (f32, f32) {
        match self {
            Random::Uniform { low, high } => (low, high - low),
            Random::Normal { mean, std } => (mean, std),
        }
    }
}
