use crate::DType;

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
