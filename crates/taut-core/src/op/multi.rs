use crate::DType;

/// What is done to every tensor of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multi {
    /// `x = a x`.
    Scale,
    /// `y = y + a x`.
    Axpy,
    /// `x = 0`.
    Zero,
    /// `y = a x`, of another dtype.
    Cast,
    /// The norm of all.
    Norm,
}

impl Multi {
    /// Every op; `ALL[op as usize] == op`.
    pub const ALL: [Multi; 5] = [Multi::Scale, Multi::Axpy, Multi::Zero, Multi::Cast, Multi::Norm];

    /// The name of the function and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Multi::Scale => "scale_",
            Multi::Axpy => "axpy_",
            Multi::Zero => "zero_",
            Multi::Cast => "cast_",
            Multi::Norm => "norm",
        }
    }

    /// Whether it is made for what is written, or read alone, and what else is read, of these dtypes. [`Zero`](Self::Zero) takes
    /// any.
    pub fn takes(self, own: DType, other: DType) -> bool {
        let floats = own.is_float() && other.is_float();
        match self {
            Multi::Zero => own == other,
            Multi::Scale | Multi::Norm => floats && own == other,
            // What is added to is as wide as what is added at least.
            Multi::Axpy => {
                floats && (own == other || own == DType::F64 || own == DType::F32 && other != DType::F64)
            }
            Multi::Cast => floats,
        }
    }
}
