/// What becomes of the rows of each packed sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// Their sum; 0 of none.
    Sum,
    /// Their sum over their number; NaN of none.
    Mean,
}

impl Packed {
    /// Both.
    pub const ALL: [Packed; 2] = [Packed::Sum, Packed::Mean];

    /// The name of the method and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Packed::Sum => "sum_packed",
            Packed::Mean => "mean_packed",
        }
    }
}
