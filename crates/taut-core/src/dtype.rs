//! Element types.

use bytemuck::{NoUninit, Pod};
use half::{bf16, f16};
use std::fmt;

/// The type of a tensor's elements, known at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float: 11 bits of precision, up to 65,504.
    F16,
    /// The upper half of an `F32`: 8 bits of precision, the range of `F32`.
    BF16,
    /// 64-bit IEEE float. CPU and plan devices only, for checking.
    F64,
    /// 64-bit signed integer: indices.
    I64,
    /// 32-bit unsigned integer.
    U32,
    /// 8-bit unsigned integer.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// Every dtype, in declaration order: `ALL[d as usize] == d`.
    pub const ALL: [DType; 8] =
        [DType::F32, DType::F16, DType::BF16, DType::F64, DType::I64, DType::U32, DType::U8, DType::Bool];

    /// Every dtype that CUDA kernels take: all but `F64`.
    pub const CUDA: [DType; 7] =
        [DType::F32, DType::F16, DType::BF16, DType::I64, DType::U32, DType::U8, DType::Bool];

    /// Every dtype for which [`is_float`](Self::is_float) holds.
    pub const FLOATS: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::F64];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::U8 | DType::Bool => 1,
            DType::F16 | DType::BF16 => 2,
            DType::F32 | DType::U32 => 4,
            DType::F64 | DType::I64 => 8,
        }
    }

    /// The name in messages, and of the type in CUDA sources.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F64 => "f64",
            DType::I64 => "i64",
            DType::U32 => "u32",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }

    /// Whether this is a floating-point type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::BF16 | DType::F64)
    }

    /// Whether there are negative numbers of this type.
    pub const fn is_signed(self) -> bool {
        self.is_float() || matches!(self, DType::I64)
    }

    /// Whether this is a type of numbers: all but `Bool`.
    pub const fn is_number(self) -> bool {
        !self.is_bool()
    }

    /// Whether this is `Bool`.
    pub const fn is_bool(self) -> bool {
        matches!(self, DType::Bool)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A host type that is the element of some [`DType`].
///
/// It appears only where host slices come in or go out; inside, a dtype is a run-time value.
pub trait Element: NoUninit + Send + Sync + fmt::Debug + PartialEq + PartialOrd {
    /// The dtype whose elements have this type.
    const DTYPE: DType;

    /// What stands in memory: the type itself, or for `bool` its byte, which may hold anything.
    type Bits: Pod + Send + Sync;

    /// The values that stand in memory as `bits`.
    fn from_bits(bits: Vec<Self::Bits>) -> Vec<Self>;

    /// The nearest value of this type, for 16-bit floats by way of f32; integers saturate and truncate toward zero, NaN gives 0, and a bool is
    /// `x != 0`.
    fn from_f64(x: f64) -> Self;

    /// The value as an `f64`, exact for every type but large `i64`.
    fn to_f64(self) -> f64;
}

macro_rules! elements {
    ($($t:ty, $dtype:ident, $bits:ty, $from_bits:expr, $from:expr, $to:expr;)*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            type Bits = $bits;
            fn from_bits(bits: Vec<$bits>) -> Vec<Self> {
                ($from_bits)(bits)
            }
            fn from_f64(x: f64) -> Self {
                ($from)(x)
            }
            fn to_f64(self) -> f64 {
                ($to)(self)
            }
        }
    )*};
}

elements! {
    f32, F32, f32, |bits| bits, |x| x as f32, f64::from;
    f16, F16, f16, |bits| bits, |x| f16::from_f32(x as f32), f16::to_f64;
    bf16, BF16, bf16, |bits| bits, |x| bf16::from_f32(x as f32), bf16::to_f64;
    f64, F64, f64, |bits| bits, |x| x, |x| x;
    i64, I64, i64, |bits| bits, |x| x as i64, |x| x as f64;
    u32, U32, u32, |bits| bits, |x| x as u32, f64::from;
    u8, U8, u8, |bits| bits, |x| x as u8, f64::from;
    bool, Bool, u8, |bits: Vec<u8>| bits.into_iter().map(|b| b != 0).collect(), |x| x != 0.0, |x: bool| f64::from(u8::from(x));
}
