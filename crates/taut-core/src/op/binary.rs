use crate::DType;

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
