/// A question about each element, or each pair of elements, whose answers an op keeps as bits: its derivative is a choice.
/// False where a value is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Predicate {
    /// `x > 0`.
    Positive,
    /// `low <= x` and `x <= high`.
    Within {
        /// Converted to the dtype it computes in.
        low: f64,
        /// Likewise.
        high: f64,
    },
    /// `a <= b`.
    Le,
    /// `a >= b`.
    Ge,
}

impl Predicate {
    /// Every one, with usual parameters; `ALL[predicate.index()]` is `predicate` up to its parameters.
    pub const ALL: [Predicate; 4] =
        [Predicate::Positive, Predicate::Within { low: -1.0, high: 1.0 }, Predicate::Le, Predicate::Ge];

    /// The position in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        match self {
            Predicate::Positive => 0,
            Predicate::Within { .. } => 1,
            Predicate::Le => 2,
            Predicate::Ge => 3,
        }
    }

    /// The functor in CUDA.
    pub const fn functor(self) -> &'static str {
        match self {
            Predicate::Positive => "Positive",
            Predicate::Within { .. } => "Within",
            Predicate::Le => "Le",
            Predicate::Ge => "Ge",
        }
    }

    /// The parameters that the functor gets, 0 where there are none.
    pub const fn params(self) -> [f64; 2] {
        match self {
            Predicate::Within { low, high } => [low, high],
            _ => [0.0, 0.0],
        }
    }

    /// The bytes of the bits of so many elements: element `i` has bit `i % 8` of byte `i / 8`, and bits behind the last are 0.
    pub const fn bytes(numel: usize) -> usize {
        numel.div_ceil(8)
    }
}
