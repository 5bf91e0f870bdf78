use crate::DType;

/// What runs along an axis, each result made of its element and all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The sum so far.
    Sum,
}

impl Scan {
    /// Every op; `ALL[op as usize] == op`.
    pub const ALL: [Scan; 1] = [Scan::Sum];

    /// The dtype of the result over elements of `dtype`, or `None` where the op is not defined.
    pub const fn output(self, dtype: DType) -> Option<DType> {
        match self {
            Scan::Sum if dtype.is_float() => Some(dtype),
            Scan::Sum => Some(DType::I64),
        }
    }

    /// The name of the method and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Scan::Sum => "cumsum",
        }
    }

    /// The name of the functor in CUDA.
    pub const fn functor(self) -> &'static str {
        match self {
            Scan::Sum => "RunningSum",
        }
    }
}
