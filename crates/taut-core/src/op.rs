//! The ops, by family. A variant here and its functor in CUDA have the same name.

use crate::DType;

/// Elementwise ops of one operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `max(x, 0)`.
    Relu,
    /// `x` where `x >= 0`, `slope * x` elsewhere.
    LeakyRelu {
        /// The factor of negative values.
        slope: f32,
    },
    /// `-x`.
    Neg,
    /// `x + value`.
    AddScalar {
        /// Converted to the dtype it computes in: `f32` for 16-bit floats.
        value: f64,
    },
    /// `x * value`.
    MulScalar {
        /// Converted to the dtype it computes in: `f32` for 16-bit floats.
        value: f64,
    },
}

impl Unary {
    /// Every op, with a usual parameter; `ALL[op.index()]` is `op` up to its parameter.
    pub const ALL: [Unary; 5] = [
        Unary::Relu,
        Unary::LeakyRelu { slope: 0.01 },
        Unary::Neg,
        Unary::AddScalar { value: 3.0 },
        Unary::MulScalar { value: 3.0 },
    ];

    /// Whether the op is defined on elements of `dtype`.
    pub const fn takes(self, dtype: DType) -> bool {
        match self {
            Unary::Relu | Unary::LeakyRelu { .. } => dtype.is_float(),
            Unary::Neg => dtype.is_float() || matches!(dtype, DType::I64),
            Unary::AddScalar { .. } | Unary::MulScalar { .. } => !matches!(dtype, DType::Bool),
        }
    }

    /// The name of the method and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Unary::Relu => "relu",
            Unary::LeakyRelu { .. } => "leaky_relu",
            Unary::Neg => "neg",
            Unary::AddScalar { .. } => "add_scalar",
            Unary::MulScalar { .. } => "mul_scalar",
        }
    }

    /// The name of the functor in CUDA.
    pub const fn functor(self) -> &'static str {
        match self {
            Unary::Relu => "Relu",
            Unary::LeakyRelu { .. } => "LeakyRelu",
            Unary::Neg => "Neg",
            Unary::AddScalar { .. } => "AddScalar",
            Unary::MulScalar { .. } => "MulScalar",
        }
    }

    /// The position in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        match self {
            Unary::Relu => 0,
            Unary::LeakyRelu { .. } => 1,
            Unary::Neg => 2,
            Unary::AddScalar { .. } => 3,
            Unary::MulScalar { .. } => 4,
        }
    }

    /// The parameter that the functor gets, 0 where there is none.
    pub const fn param(self) -> f64 {
        match self {
            Unary::LeakyRelu { slope } => slope as f64,
            Unary::AddScalar { value } | Unary::MulScalar { value } => value,
            Unary::Relu | Unary::Neg => 0.0,
        }
    }
}

/// Elementwise ops of two operands, with broadcasting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`, floats only.
    Div,
}

impl Binary {
    /// Every op; `ALL[op as usize] == op`.
    pub const ALL: [Binary; 4] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div];

    /// Whether the op is defined on elements of `dtype`.
    pub const fn takes(self, dtype: DType) -> bool {
        match self {
            Binary::Add | Binary::Sub | Binary::Mul => !matches!(dtype, DType::Bool),
            Binary::Div => dtype.is_float(),
        }
    }

    /// The name of the method and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
        }
    }

    /// The name of the functor in CUDA.
    pub const fn functor(self) -> &'static str {
        match self {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
        }
    }
}

/// Reductions over axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// The sum; 0 for no elements.
    Sum,
    /// The sum over the number of elements; NaN for none.
    Mean,
    /// The position of the largest element, the first of equals; NaN counts as largest.
    ArgMax,
}

impl Reduce {
    /// Every op; `ALL[op as usize] == op`.
    pub const ALL: [Reduce; 3] = [Reduce::Sum, Reduce::Mean, Reduce::ArgMax];

    /// The dtype of the result over elements of `dtype`, or `None` where the op is not defined.
    pub const fn output(self, dtype: DType) -> Option<DType> {
        match self {
            Reduce::Sum if dtype.is_float() => Some(dtype),
            Reduce::Sum => Some(DType::I64),
            Reduce::Mean if dtype.is_float() => Some(dtype),
            Reduce::Mean => None,
            Reduce::ArgMax => Some(DType::I64),
        }
    }

    /// The name of the method and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Reduce::Sum => "sum",
            Reduce::Mean => "mean",
            Reduce::ArgMax => "argmax",
        }
    }

    /// The name of the functor in CUDA.
    pub const fn functor(self) -> &'static str {
        match self {
            Reduce::Sum => "Sum",
            Reduce::Mean => "Mean",
            Reduce::ArgMax => "ArgMax",
        }
    }
}

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

/// What a fused linear layer applies to its sums before they are rounded and stored.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// [`Unary::Relu`].
    Relu,
    /// [`Unary::LeakyRelu`].
    LeakyRelu {
        /// The factor of negative values.
        slope: f32,
    },
}

impl Activation {
    /// Every activation, with a usual parameter.
    pub const ALL: [Activation; 3] =
        [Activation::Identity, Activation::Relu, Activation::LeakyRelu { slope: 0.01 }];

    /// The code that kernels switch on, and its parameter.
    pub const fn code(self) -> (u32, f32) {
        match self {
            Activation::Identity => (0, 0.0),
            Activation::Relu => (1, 0.0),
            Activation::LeakyRelu { slope } => (2, slope),
        }
    }

    /// The same op standing alone.
    pub const fn unary(self) -> Option<Unary> {
        match self {
            Activation::Identity => None,
            Activation::Relu => Some(Unary::Relu),
            Activation::LeakyRelu { slope } => Some(Unary::LeakyRelu { slope }),
        }
    }
}
