use crate::{DType, Predicate};

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
    /// `e^x`.
    Exp,
    /// The natural logarithm.
    Log,
    /// The square root, rounded as IEEE 754 says.
    Sqrt,
    /// `1 / sqrt(x)`.
    Rsqrt,
    /// `|x|`.
    Abs,
    /// The sine of an angle in radians.
    Sin,
    /// The cosine of an angle in radians.
    Cos,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x * sigmoid(x)`.
    Silu,
    /// `x` times the probability that a standard normal variable is below `x`.
    Gelu,
    /// The approximation of [`Gelu`](Self::Gelu) by a hyperbolic tangent.
    GeluTanh,
    /// `x` where `x > 0`, `alpha * (e^x - 1)` elsewhere.
    Elu {
        /// What values far below 0 go to, negated.
        alpha: f32,
    },
    /// `ln(1 + e^x)`.
    Softplus,
    /// `1 / x`, rounded as IEEE 754 says.
    Reciprocal,
    /// `min(max(x, low), high)`.
    Clamp {
        /// Converted to the dtype it computes in.
        low: f64,
        /// Converted to the dtype it computes in; below `low` it wins.
        high: f64,
    },
    /// `x^exponent`, with the special cases of C's `pow`.
    PowScalar {
        /// Converted to the dtype it computes in: `f32` for 16-bit floats.
        exponent: f64,
    },
    /// `x * x`.
    Square,
    /// -1, 0 or 1 by the sign; of floats, 0, -0 and NaN stay.
    Sign,
    /// The largest whole number that is not above `x`.
    Floor,
    /// The smallest whole number that is not below `x`.
    Ceil,
    /// The nearest whole number; of two, the even one.
    Round,
    /// The other bool.
    Not,
}

/// What the derivative of an elementwise op is computed from, beside the gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: the op is linear, and so is its backward.
    Nothing,
    /// What the op was given.
    Input,
    /// What the op made of it.
    Output,
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
    /// Every op, with usual parameters; `ALL[op.index()]` is `op` up to its parameters.
    pub const ALL: [Unary; 28] = [
        Unary::Relu,
        Unary::LeakyRelu { slope: 0.01 },
        Unary::Neg,
        Unary::AddScalar { value: 3.0 },
        Unary::MulScalar { value: 3.0 },
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Rsqrt,
        Unary::Abs,
        Unary::Sin,
        Unary::Cos,
        Unary::Tanh,
        Unary::Sigmoid,
        Unary::Silu,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Elu { alpha: 1.0 },
        Unary::Softplus,
        Unary::Reciprocal,
        Unary::Clamp { low: -1.0, high: 1.0 },
        Unary::PowScalar { exponent: 3.0 },
        Unary::Square,
        Unary::Sign,
        Unary::Floor,
        Unary::Ceil,
        Unary::Round,
        Unary::Not,
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
            Unary::Exp => facts(5, "exp", "Exp", DType::is_float),
            Unary::Log => facts(6, "log", "Log", DType::is_float),
            Unary::Sqrt => facts(7, "sqrt", "Sqrt", DType::is_float),
            Unary::Rsqrt => facts(8, "rsqrt", "Rsqrt", DType::is_float),
            Unary::Abs => facts(9, "abs", "Abs", DType::is_signed),
            Unary::Sin => facts(10, "sin", "Sin", DType::is_float),
            Unary::Cos => facts(11, "cos", "Cos", DType::is_float),
            Unary::Tanh => facts(12, "tanh", "Tanh", DType::is_float),
            Unary::Sigmoid => facts(13, "sigmoid", "Sigmoid", DType::is_float),
            Unary::Silu => facts(14, "silu", "Silu", DType::is_float),
            Unary::Gelu => facts(15, "gelu", "Gelu", DType::is_float),
            Unary::GeluTanh => facts(16, "gelu_tanh", "GeluTanh", DType::is_float),
            Unary::Elu { .. } => facts(17, "elu", "Elu", DType::is_float),
            Unary::Softplus => facts(18, "softplus", "Softplus", DType::is_float),
            Unary::Reciprocal => facts(19, "reciprocal", "Reciprocal", DType::is_float),
            Unary::Clamp { .. } => facts(20, "clamp", "Clamp", DType::is_number),
            Unary::PowScalar { .. } => facts(21, "pow_scalar", "PowScalar", DType::is_float),
            Unary::Square => facts(22, "square", "Square", DType::is_number),
            Unary::Sign => facts(23, "sign", "Sign", DType::is_number),
            Unary::Floor => facts(24, "floor", "Floor", DType::is_float),
            Unary::Ceil => facts(25, "ceil", "Ceil", DType::is_float),
            Unary::Round => facts(26, "round", "Round", DType::is_float),
            Unary::Not => facts(27, "not", "Not", DType::is_bool),
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

    /// What its backward takes beside the gradient; `None` for an op that has no backward, since its result does not change
    /// with its operand.
    pub fn kept(self) -> Option<Kept> {
        match self {
            Unary::Neg | Unary::AddScalar { .. } | Unary::MulScalar { .. } => Some(Kept::Nothing),
            Unary::Relu
            | Unary::Exp
            | Unary::Sqrt
            | Unary::Rsqrt
            | Unary::Tanh
            | Unary::Sigmoid
            | Unary::Softplus
            | Unary::Reciprocal => Some(Kept::Output),
            // Where the sign of the output says that of the input.
            Unary::LeakyRelu { slope: factor } | Unary::Elu { alpha: factor } if factor >= 0.0 => {
                Some(Kept::Output)
            }
            Unary::LeakyRelu { .. }
            | Unary::Elu { .. }
            | Unary::Log
            | Unary::Abs
            | Unary::Sin
            | Unary::Cos
            | Unary::Silu
            | Unary::Gelu
            | Unary::GeluTanh
            | Unary::Clamp { .. }
            | Unary::PowScalar { .. }
            | Unary::Square => Some(Kept::Input),
            Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Not => None,
        }
    }

    /// Where the derivative is one of two factors, and what is [kept](Self::kept) is the operand: the question that says
    /// which, and the factor where the answer is no; it is 1 where it is yes. An op keeps the bits of the answers in place of the
    /// operand.
    pub fn choice(self) -> Option<(Predicate, f32)> {
        match self {
            Unary::LeakyRelu { slope } if self.kept() == Some(Kept::Input) => {
                Some((Predicate::Positive, slope))
            }
            Unary::Clamp { low, high } => Some((Predicate::Within { low, high }, 0.0)),
            _ => None,
        }
    }

    /// The parameters that the functor gets, 0 where there are none.
    pub const fn params(self) -> [f64; 2] {
        match self {
            Unary::LeakyRelu { slope: first } | Unary::Elu { alpha: first } => [first as f64, 0.0],
            Unary::AddScalar { value: first }
            | Unary::MulScalar { value: first }
            | Unary::PowScalar { exponent: first } => [first, 0.0],
            Unary::Clamp { low, high } => [low, high],
            _ => [0.0, 0.0],
        }
    }
}
