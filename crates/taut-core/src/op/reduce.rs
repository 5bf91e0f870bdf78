use crate::DType;

/// Reductions over axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// The sum; 0 for no elements.
    Sum,
    /// The sum over the number of elements; NaN for none.
    Mean,
    /// The product; 1 for no elements.
    Prod,
    /// The largest element; NaN counts as largest, and 0 as larger than -0.
    Max,
    /// The smallest element; NaN counts as smallest, and -0 as smaller than 0.
    Min,
    /// The position of the largest element, the first of equals; NaN counts as largest, and 0 and -0 are equal.
    ArgMax,
    /// The position of the smallest element, the first of equals; NaN counts as smallest, and 0 and -0 are equal.
    ArgMin,
    /// Whether any element is true.
    Any,
    /// Whether all elements are true.
    All,
    /// The root of the sum of squares; 0 for no elements.
    Norm,
    /// The sum of squares over the number of elements; NaN for none.
    MeanSquare,
    /// The sum of squared distances from the mean, over the number of elements less `correction`, at least 0.
    Var {
        /// 0 for all that there is, 1 for a sample of it.
        correction: usize,
    },
    /// The root of [`Var`](Self::Var).
    Std {
        /// As of `Var`.
        correction: usize,
    },
    /// The logarithm of the sum of exponentials; -inf for no elements.
    LogSumExp,
}

/// What is known of an op without its parameters.
struct Facts {
    /// The position in [`Reduce::ALL`].
    index: usize,
    name: &'static str,
    functor: &'static str,
    output: fn(DType) -> Option<DType>,
}

impl Reduce {
    /// Every op, with a usual parameter; `ALL[op.index()]` is `op` up to its parameter.
    pub const ALL: [Reduce; 14] = [
        Reduce::Sum,
        Reduce::Mean,
        Reduce::Prod,
        Reduce::Max,
        Reduce::Min,
        Reduce::ArgMax,
        Reduce::ArgMin,
        Reduce::Any,
        Reduce::All,
        Reduce::Norm,
        Reduce::Var { correction: 1 },
        Reduce::Std { correction: 1 },
        Reduce::LogSumExp,
        Reduce::MeanSquare,
    ];

    const fn facts(self) -> Facts {
        const fn facts(
            index: usize,
            name: &'static str,
            functor: &'static str,
            output: fn(DType) -> Option<DType>,
        ) -> Facts {
            Facts { index, name, functor, output }
        }
        match self {
            Reduce::Sum => facts(0, "sum", "Sum", total),
            Reduce::Mean => facts(1, "mean", "Mean", float),
            Reduce::Prod => facts(2, "prod", "Prod", total),
            Reduce::Max => facts(3, "max", "Max", number),
            Reduce::Min => facts(4, "min", "Min", number),
            Reduce::ArgMax => facts(5, "argmax", "ArgMax", |_| Some(DType::I64)),
            Reduce::ArgMin => facts(6, "argmin", "ArgMin", |_| Some(DType::I64)),
            Reduce::Any => facts(7, "any", "Any", truth),
            Reduce::All => facts(8, "all", "All", truth),
            Reduce::Norm => facts(9, "norm", "Norm", float),
            Reduce::Var { .. } => facts(10, "var", "Var", float),
            Reduce::Std { .. } => facts(11, "std", "Std", float),
            Reduce::LogSumExp => facts(12, "logsumexp", "LogSumExp", float),
            Reduce::MeanSquare => facts(13, "mean_square", "MeanSquare", float),
        }
    }

    /// The dtype of the result over elements of `dtype`, or `None` where the op is not defined.
    pub fn output(self, dtype: DType) -> Option<DType> {
        (self.facts().output)(dtype)
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

    /// Whether the op has no result over no elements.
    pub const fn needs_elements(self) -> bool {
        matches!(self, Reduce::Max | Reduce::Min | Reduce::ArgMax | Reduce::ArgMin)
    }

    /// Whether the result is a position, counted row-major over the reduced axes.
    pub const fn is_position(self) -> bool {
        matches!(self, Reduce::ArgMax | Reduce::ArgMin)
    }

    /// What is divided by at the end, over `n` elements: their number for a mean; for a variance, which is kept as a mean,
    /// the part of them that counts; otherwise 1.
    pub fn divisor(self, n: usize) -> f64 {
        match self {
            Reduce::Mean | Reduce::MeanSquare => n as f64,
            Reduce::Var { correction } | Reduce::Std { correction } => {
                n.saturating_sub(correction) as f64 / n as f64
            }
            _ => 1.0,
        }
    }
}

/// Sums and products of floats keep their dtype; others are counted in i64.
fn total(dtype: DType) -> Option<DType> {
    Some(if dtype.is_float() { dtype } else { DType::I64 })
}

fn float(dtype: DType) -> Option<DType> {
    dtype.is_float().then_some(dtype)
}

fn number(dtype: DType) -> Option<DType> {
    dtype.is_number().then_some(dtype)
}

fn truth(dtype: DType) -> Option<DType> {
    (dtype == DType::Bool).then_some(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_by_index_and_no_two_names_are_one() {
        for (index, op) in Reduce::ALL.into_iter().enumerate() {
            assert_eq!(op.index(), index);
            assert!(Reduce::ALL[..index].iter().all(|other| other.name() != op.name()), "{op:?}");
        }
    }

    #[test]
    fn a_divisor_is_never_negative() {
        let var = |correction| Reduce::Var { correction };
        assert_eq!((var(1).divisor(5), var(0).divisor(5), var(7).divisor(5)), (0.8, 1.0, 0.0));
        assert!(var(1).divisor(0).is_nan());
        assert_eq!((Reduce::Mean.divisor(5), Reduce::Sum.divisor(5)), (5.0, 1.0));
    }
}
