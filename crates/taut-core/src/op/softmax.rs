/// Softmax along an axis, and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Softmax {
    /// `exp(x) / sum(exp(x))`.
    Plain,
    /// The same over what a mask lets take part, 0 elsewhere.
    Masked,
    /// `x - ln(sum(exp(x)))`.
    Log,
}

impl Softmax {
    /// Every op; `ALL[op as usize] == op`.
    pub const ALL: [Softmax; 3] = [Softmax::Plain, Softmax::Masked, Softmax::Log];

    /// The name of the functor in CUDA.
    pub const fn functor(self) -> &'static str {
        match self {
            Softmax::Plain => "Plain",
            Softmax::Masked => "Masked",
            Softmax::Log => "Log",
        }
    }

    /// Operands of the size of the result.
    pub const fn streams(self) -> usize {
        if matches!(self, Softmax::Masked) { 2 } else { 1 }
    }
}
