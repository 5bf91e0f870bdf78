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
    /// The smaller of the two, NaN before all.
    Minimum,
    /// The larger of the two, NaN before all.
    Maximum,
    /// `a^b`, with the special cases of C's `pow`; floats only.
    Pow,
    /// `a == b`.
    Eq,
    /// `a != b`.
    Ne,
    /// `a < b`.
    Lt,
    /// `a <= b`.
    Le,
    /// `a > b`.
    Gt,
    /// `a >= b`.
    Ge,
    /// Both, of bools.
    And,
    /// One or both, of bools.
    Or,
    /// One and not the other, of bools.
    Xor,
}

/// What is known of an op.
struct Facts {
    name: &'static str,
    functor: &'static str,
    output: fn(DType) -> Option<DType>,
}

impl Binary {
    /// Every op; `ALL[op as usize] == op`.
    pub const ALL: [Binary; 16] = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Minimum,
        Binary::Maximum,
        Binary::Pow,
        Binary::Eq,
        Binary::Ne,
        Binary::Lt,
        Binary::Le,
        Binary::Gt,
        Binary::Ge,
        Binary::And,
        Binary::Or,
        Binary::Xor,
    ];

    const fn facts(self) -> Facts {
        const fn facts(
            name: &'static str,
            functor: &'static str,
            output: fn(DType) -> Option<DType>,
        ) -> Facts {
            Facts { name, functor, output }
        }
        let number = |dtype: DType| dtype.is_number().then_some(dtype);
        let float = |dtype: DType| dtype.is_float().then_some(dtype);
        let truth = |dtype: DType| dtype.is_bool().then_some(dtype);
        let question = |_: DType| Some(DType::Bool);
        match self {
            Binary::Add => facts("add", "Add", number),
            Binary::Sub => facts("sub", "Sub", number),
            Binary::Mul => facts("mul", "Mul", number),
            Binary::Div => facts("div", "Div", float),
            Binary::Minimum => facts("minimum", "Minimum", number),
            Binary::Maximum => facts("maximum", "Maximum", number),
            Binary::Pow => facts("pow", "Pow", float),
            Binary::Eq => facts("eq", "Eq", question),
            Binary::Ne => facts("ne", "Ne", question),
            Binary::Lt => facts("lt", "Lt", question),
            Binary::Le => facts("le", "Le", question),
            Binary::Gt => facts("gt", "Gt", question),
            Binary::Ge => facts("ge", "Ge", question),
            Binary::And => facts("and", "And", truth),
            Binary::Or => facts("or", "Or", truth),
            Binary::Xor => facts("xor", "Xor", truth),
        }
    }

    /// The dtype of the result over elements of `dtype`, or `None` where the op is not defined.
    pub fn output(self, dtype: DType) -> Option<DType> {
        (self.facts().output)(dtype)
    }

    /// Whether the op is defined on elements of `dtype`.
    pub fn takes(self, dtype: DType) -> bool {
        self.output(dtype).is_some()
    }

    /// The name of the method and in messages.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The name of the functor in CUDA.
    pub const fn functor(self) -> &'static str {
        self.facts().functor
    }
}
