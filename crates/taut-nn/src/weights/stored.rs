//! The element types of safetensors.

use std::fmt;
use taut::DType;

/// The type of a tensor's elements in a file, in the order in which the format's own library writes data: large elements
/// first, so that all are aligned. Files know more types than [`DType`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types, reason = "the names are the file's")]
#[non_exhaustive]
pub enum Stored {
    /// Unsigned integers of 64 bits.
    U64,
    /// Signed integers of 64 bits.
    I64,
    /// IEEE floats of 64 bits.
    F64,
    /// Pairs of `F32`: complex numbers.
    C64,
    /// IEEE floats of 32 bits.
    F32,
    /// Unsigned integers of 32 bits.
    U32,
    /// Signed integers of 32 bits.
    I32,
    /// The upper halves of `F32`.
    BF16,
    /// IEEE floats of 16 bits.
    F16,
    /// Unsigned integers of 16 bits.
    U16,
    /// Signed integers of 16 bits.
    I16,
    /// Floats with 5 bits of exponent and 2 of precision, neither infinity nor -0.
    F8_E5M2FNUZ,
    /// Floats with 4 bits of exponent and 3 of precision, neither infinity nor -0.
    F8_E4M3FNUZ,
    /// Powers of two: the scales of a block.
    F8_E8M0,
    /// Floats with 4 bits of exponent and 3 of precision, without infinity.
    F8_E4M3,
    /// Floats with 5 bits of exponent and 2 of precision.
    F8_E5M2,
    /// Signed integers of 8 bits.
    I8,
    /// Unsigned integers of 8 bits.
    U8,
    /// Floats of 6 bits with 3 of exponent, four to three bytes.
    F6_E3M2,
    /// Floats of 6 bits with 2 of exponent, four to three bytes.
    F6_E2M3,
    /// Floats of 4 bits, two to a byte.
    F4,
    /// Bytes, 0 or 1.
    BOOL,
}

impl Stored {
    /// Every type, in declaration order.
    pub const ALL: [Stored; 22] = [
        Stored::U64,
        Stored::I64,
        Stored::F64,
        Stored::C64,
        Stored::F32,
        Stored::U32,
        Stored::I32,
        Stored::BF16,
        Stored::F16,
        Stored::U16,
        Stored::I16,
        Stored::F8_E5M2FNUZ,
        Stored::F8_E4M3FNUZ,
        Stored::F8_E8M0,
        Stored::F8_E4M3,
        Stored::F8_E5M2,
        Stored::I8,
        Stored::U8,
        Stored::F6_E3M2,
        Stored::F6_E2M3,
        Stored::F4,
        Stored::BOOL,
    ];

    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Stored::I64 => "I64",
            Stored::U64 => "U64",
            Stored::F64 => "F64",
            Stored::C64 => "C64",
            Stored::F32 => "F32",
            Stored::U32 => "U32",
            Stored::I32 => "I32",
            Stored::BF16 => "BF16",
            Stored::F16 => "F16",
            Stored::U16 => "U16",
            Stored::I16 => "I16",
            Stored::F8_E5M2FNUZ => "F8_E5M2FNUZ",
            Stored::F8_E4M3FNUZ => "F8_E4M3FNUZ",
            Stored::F8_E8M0 => "F8_E8M0",
            Stored::F8_E4M3 => "F8_E4M3",
            Stored::F8_E5M2 => "F8_E5M2",
            Stored::I8 => "I8",
            Stored::U8 => "U8",
            Stored::F6_E3M2 => "F6_E3M2",
            Stored::F6_E2M3 => "F6_E2M3",
            Stored::F4 => "F4",
            Stored::BOOL => "BOOL",
        }
    }

    /// The type of that name.
    pub fn named(name: &str) -> Option<Stored> {
        Stored::ALL.into_iter().find(|stored| stored.name() == name)
    }

    /// Bits of one element.
    pub const fn bits(self) -> usize {
        match self {
            Stored::I64 | Stored::U64 | Stored::F64 | Stored::C64 => 64,
            Stored::F32 | Stored::U32 | Stored::I32 => 32,
            Stored::BF16 | Stored::F16 | Stored::U16 | Stored::I16 => 16,
            Stored::F8_E5M2FNUZ | Stored::F8_E4M3FNUZ | Stored::F8_E8M0 => 8,
            Stored::F8_E4M3 | Stored::F8_E5M2 | Stored::I8 | Stored::U8 | Stored::BOOL => 8,
            Stored::F6_E3M2 | Stored::F6_E2M3 => 6,
            Stored::F4 => 4,
        }
    }

    /// The dtype with the same elements; `None` where tensors have none.
    pub const fn dtype(self) -> Option<DType> {
        match self {
            Stored::F32 => Some(DType::F32),
            Stored::F16 => Some(DType::F16),
            Stored::BF16 => Some(DType::BF16),
            Stored::F64 => Some(DType::F64),
            Stored::I64 => Some(DType::I64),
            Stored::U32 => Some(DType::U32),
            Stored::U8 => Some(DType::U8),
            Stored::BOOL => Some(DType::Bool),
            _ => None,
        }
    }
}

impl From<DType> for Stored {
    fn from(dtype: DType) -> Stored {
        match dtype {
            DType::F32 => Stored::F32,
            DType::F16 => Stored::F16,
            DType::BF16 => Stored::BF16,
            DType::F64 => Stored::F64,
            DType::I64 => Stored::I64,
            DType::U32 => Stored::U32,
            DType::U8 => Stored::U8,
            DType::Bool => Stored::BOOL,
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_dtypes_go_both_ways() {
        for (i, stored) in Stored::ALL.into_iter().enumerate() {
            assert_eq!(Stored::named(stored.name()), Some(stored));
            assert_eq!(stored.name(), format!("{stored:?}"));
            assert_eq!(stored as usize, i);
            assert!(i == 0 || Stored::ALL[i - 1].bits() >= stored.bits() || stored == Stored::BOOL);
        }
        for dtype in DType::ALL {
            let stored = Stored::from(dtype);
            assert_eq!((stored.dtype(), stored.bits()), (Some(dtype), dtype.size() * 8));
        }
    }
}
