use crate::DType;

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
    /// 1 with probability `prob`, 0 otherwise.
    Bernoulli {
        /// The probability of 1, in `[0, 1]`, in steps of 2^-24.
        prob: f32,
    },
}

impl Random {
    /// Every distribution, in its standard form.
    pub const ALL: [Random; 3] = [
        Random::Uniform { low: 0.0, high: 1.0 },
        Random::Normal { mean: 0.0, std: 1.0 },
        Random::Bernoulli { prob: 0.5 },
    ];

    /// Whether there are such numbers of `dtype`: floats; zeros and ones of `U8` and `Bool` too.
    pub const fn takes(self, dtype: DType) -> bool {
        dtype.is_float() || matches!((self, dtype), (Random::Bernoulli { .. }, DType::U8 | DType::Bool))
    }

    /// The name of the method and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Random::Uniform { .. } => "uniform",
            Random::Normal { .. } => "normal",
            Random::Bernoulli { .. } => "bernoulli",
        }
    }

    /// The name of the functor in CUDA.
    pub const fn functor(self) -> &'static str {
        match self {
            Random::Uniform { .. } => "Uniform",
            Random::Normal { .. } => "Normal",
            Random::Bernoulli { .. } => "Bernoulli",
        }
    }

    /// The position in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        match self {
            Random::Uniform { .. } => 0,
            Random::Normal { .. } => 1,
            Random::Bernoulli { .. } => 2,
        }
    }

    /// The two parameters of the functor: offset and scale, or the probability.
    pub const fn params(self) -> (f32, f32) {
        match self {
            Random::Uniform { low, high } => (low, high - low),
            Random::Normal { mean, std } => (mean, std),
            Random::Bernoulli { prob } => (prob, 0.0),
        }
    }
}
