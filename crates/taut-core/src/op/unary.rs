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

/// What is known of an op without its parameters.
struct Facts {
    /// The position in [`Unary::ALL`].
    index: usize,
    name: &'static str,
    functor: &'static str,
    takes: fn(DType) -> bool,
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

    const fn facts(self) -> Facts {
        const fn facts(
            index: usize,
            name: &'static str,
            functor: &'static str,
            takes: fn(DType) -> bool,
        ) -> Facts {
            Facts { index, name, functor, takes }
        }
        match self {
            Unary::Relu => facts(0, "relu", "Relu", DType::is_float),
            Unary::LeakyRelu { .. } => facts(1, "leaky_relu", "LeakyRelu", DType::is_float),
            Unary::Neg => facts(2, "neg", "Neg", DType::is_signed),
            Unary::AddScalar { .. } => facts(3, "add_scalar", "AddScalar", DType::is_number),
            Unary::MulScalar { .. } => facts(4, "mul_scalar", "MulScalar", DType::is_number),
        }
    }

    /// Whether the op is defined on elements of `dtype`.
    pub fn takes(self, dtype: DType) -> bool {
        (self.facts().takes)(dtype)
    }

    /// The name of the method and in messages.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The name of the functor in CUDA.
    pub const fn functor(self) -> &'static str {
        self.facts().functor
    }

    /// The position in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self.facts().index
    }

    /// The parameter that the functor gets, 0 where there is none.
    pub const fn param(self) -> f64 {
        match self {
            Unary::LeakyRelu { slope } => slope as f64,
            Unary::AddScalar { value } | Unary::MulScalar { value } => value,
            _ => 0.0,
        }
    }
}
