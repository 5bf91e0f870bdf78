/// The half of a matrix that stays when the other becomes 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triangle {
    /// The diagonal and what is below it.
    Lower,
    /// The diagonal and what is above it.
    Upper,
}

impl Triangle {
    /// Both.
    pub const ALL: [Triangle; 2] = [Triangle::Lower, Triangle::Upper];

    /// The name of the method and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Triangle::Lower => "tril",
            Triangle::Upper => "triu",
        }
    }
}
