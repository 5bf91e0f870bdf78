//! Elements as elementwise ops compute with them.

use super::{BLOCK, Scalar, binary::Binaries, unary::Unaries};
use bytemuck::Pod;
use half::{bf16, f16};

/// A type in memory that computes in itself, where integers wrap, or if it is a 16-bit float, in f32.
pub(super) trait Word: Pod + Send + Sync {
    /// What it computes in.
    type Work: Pod + Send + Sync + Unaries + Binaries;

    /// A scalar operand.
    fn param(x: f64) -> Self::Work;
    /// A block of at most [`BLOCK`] elements to compute with: itself, or in `scratch`.
    fn wide<'a>(block: &'a [Self], scratch: &'a mut [Self::Work; BLOCK]) -> &'a [Self::Work];
    /// Lets `f` fill a block of at most [`BLOCK`] elements: itself, or `scratch`, which is then narrowed.
    fn fill(block: &mut [Self], scratch: &mut [Self::Work; BLOCK], f: impl FnOnce(&mut [Self::Work]));
}

macro_rules! itself {
    ($($t:ty)*) => {$(
        impl Word for $t {
            type Work = $t;
            fn param(x: f64) -> $t {
                x as $t
            }
            fn wide<'a>(block: &'a [$t], _: &'a mut [$t; BLOCK]) -> &'a [$t] {
                block
            }
            fn fill(block: &mut [$t], _: &mut [$t; BLOCK], f: impl FnOnce(&mut [$t])) {
                f(block);
            }
        }
    )*};
}

itself!(f32 f64 i64 u32 u8);

macro_rules! halves {
    ($($t:ty)*) => {$(
        impl Word for $t {
            type Work = f32;
            fn param(x: f64) -> f32 {
                x as f32
            }
            fn wide<'a>(block: &'a [$t], scratch: &'a mut [f32; BLOCK]) -> &'a [f32] {
                Scalar::wide(block, scratch)
            }
            fn fill(block: &mut [$t], scratch: &mut [f32; BLOCK], f: impl FnOnce(&mut [f32])) {
                Scalar::fill(block, scratch, f);
            }
        }
    )*};
}

halves!(f16 bf16);

/// Evaluates an expression with a type that stands for a run-time dtype; bools are the bytes that they are.
macro_rules! with_word {
    ($dtype:expr, $t:ident => $body:expr) => {{
        use taut_core::DType;
        macro_rules! with {
            ($word:ty) => {{
                type $t = $word;
                $body
            }};
        }
        match $dtype {
            DType::F32 => with!(f32),
            DType::F16 => with!(half::f16),
            DType::BF16 => with!(half::bf16),
            DType::F64 => with!(f64),
            DType::I64 => with!(i64),
            DType::U32 => with!(u32),
            DType::U8 | DType::Bool => with!(u8),
        }
    }};
}
pub(super) use with_word;
