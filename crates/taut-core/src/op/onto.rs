use crate::Unary;

/// What becomes of the result of a product where memory holds something already.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Onto {
    /// It is written over.
    #[default]
    Replace,
    /// It is added to.
    Add,
    /// It is what [`Unary::Relu`] made: the result is the gradient of that, and the gradient of its operand is written
    /// over it.
    Relu,
    /// As [`Relu`](Self::Relu), of [`Unary::LeakyRelu`] with a slope that is not negative.
    LeakyRelu {
        /// The factor of negative values.
        slope: f32,
    },
}

impl Onto {
    /// What gives the gradient before `activation` where memory holds what that made, if there is one.
    pub fn before(activation: Unary) -> Option<Onto> {
        match activation {
            Unary::Relu => Some(Onto::Relu),
            Unary::LeakyRelu { slope } => Some(Onto::LeakyRelu { slope }),
            _ => None,
        }
    }

    /// The code that kernels switch on, and its parameter.
    pub const fn code(self) -> (u32, f32) {
        match self {
            Onto::Replace => (0, 0.0),
            Onto::Add => (1, 0.0),
            Onto::Relu => (2, 0.0),
            Onto::LeakyRelu { slope } => (3, slope),
        }
    }
}
