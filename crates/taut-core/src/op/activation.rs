use super::Unary;

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
    /// [`Unary::Gelu`].
    Gelu,
    /// [`Unary::GeluTanh`].
    GeluTanh,
    /// [`Unary::Silu`].
    Silu,
}

impl Activation {
    /// Every activation, with a usual parameter.
    pub const ALL: [Activation; 6] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.01 },
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
    ];

    /// The code that kernels switch on, and its parameter.
    pub const fn code(self) -> (u32, f32) {
        match self {
            Activation::Identity => (0, 0.0),
            Activation::Relu => (1, 0.0),
            Activation::LeakyRelu { slope } => (2, slope),
            Activation::Gelu => (3, 0.0),
            Activation::GeluTanh => (4, 0.0),
            Activation::Silu => (5, 0.0),
        }
    }

    /// The same op standing alone.
    pub const fn unary(self) -> Option<Unary> {
        match self {
            Activation::Identity => None,
            Activation::Relu => Some(Unary::Relu),
            Activation::LeakyRelu { slope } => Some(Unary::LeakyRelu { slope }),
            Activation::Gelu => Some(Unary::Gelu),
            Activation::GeluTanh => Some(Unary::GeluTanh),
            Activation::Silu => Some(Unary::Silu),
        }
    }
}
