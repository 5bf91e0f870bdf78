//! Generated tensors: a geometry with a dtype and values.

use crate::{Geometry, Value, cast, geometry, round, upload};
use proptest::prelude::*;
use std::fmt;
use taut::{DType, Device, Result, Spec, Tensor, bf16, f16};

/// Which values a tensor has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// Any bits, and the values at which kinds of numbers meet: NaN, 0 and -0, infinities, subnormals, extremes.
    Any,
    /// Floats in `[-2, 2]`; integers as `Any`.
    Tame,
    /// As `Tame`, but one float in 64 is NaN or infinite.
    Wild,
    /// Whole numbers from -3 to 3, from 0 for unsigned integers: short sums of their products are exact in f32.
    Whole,
    /// Whole numbers from 0 up to below this, which is not 0: indices.
    Below(usize),
}

/// Numbers without a pattern, the same for the same seed: splitmix64.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// In `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Fill {
    /// A value of `dtype`.
    pub fn draw(self, dtype: DType, rng: &mut Rng) -> Value {
        match self {
            Fill::Whole => {
                let signed = dtype.is_float() || dtype == DType::I64;
                let x = rng.below(7) as i64 - if signed { 3 } else { 0 };
                cast(Value::Int(x), dtype)
            }
            Fill::Below(n) => cast(Value::Int(rng.below(n) as i64), dtype),
            Fill::Wild if dtype.is_float() && rng.below(64) == 0 => {
                Value::Float([f64::NAN, f64::INFINITY, f64::NEG_INFINITY][rng.below(3)])
            }
            Fill::Tame | Fill::Wild if dtype.is_float() => Value::Float(round(rng.unit() * 4.0 - 2.0, dtype)),
            _ if dtype.is_float() => match rng.below(4) {
                0 => special(dtype, rng),
                1 => Value::Float(round(rng.unit() * 4.0 - 2.0, dtype)),
                _ => bits(dtype, rng.bits()),
            },
            _ => match rng.below(4) {
                0 => cast(Value::Int([0, 1, -1, i64::MAX, i64::MIN, 255, 256, 1 << 31][rng.below(8)]), dtype),
                1 => cast(Value::Int(rng.below(300) as i64 - 100), dtype),
                _ => cast(Value::Int(rng.bits() as i64), dtype),
            },
        }
    }

    /// `n` values of `dtype`.
    pub fn values(self, n: usize, dtype: DType, seed: u64) -> Vec<Value> {
        let mut rng = Rng(seed);
        (0..n).map(|_| self.draw(dtype, &mut rng)).collect()
    }
}

/// The float that has these bits.
fn bits(dtype: DType, bits: u64) -> Value {
    Value::Float(match dtype {
        DType::F16 => f16::from_bits(bits as u16).into(),
        DType::BF16 => bf16::from_bits(bits as u16).into(),
        DType::F32 => f32::from_bits(bits as u32).into(),
        _ => f64::from_bits(bits),
    })
}

/// Where kinds of numbers meet, and the borders of the integers that floats are cast to.
fn special(dtype: DType, rng: &mut Rng) -> Value {
    // The exponent bits, and the bits of infinity.
    let (sign, infinity) = match dtype {
        DType::F16 => (1 << 15, 0x7c00),
        DType::BF16 => (1 << 15, 0x7f80),
        DType::F32 => (1 << 31, 0x7f80_0000),
        _ => (1 << 63, 0x7ff0_0000_0000_0000),
    };
    let normal = match dtype {
        DType::F16 => 1 << 10,
        DType::BF16 => 1 << 7,
        DType::F32 => 1 << 23,
        _ => 1 << 52,
    };
    let near = [0u64, 1, 2, normal - 1, normal, infinity - 1, infinity, infinity + 1];
    match rng.below(3) {
        0 => Value::Float(round(
            [255.0, 255.5, 256.0, 4294967295.0, 9.3e18, -0.75, -1.0, 0.5][rng.below(8)],
            dtype,
        )),
        // A hair beside the middle between two 16-bit floats, where rounding twice goes wrong.
        1 if dtype == DType::F64 => Value::Float((1.0 + 2f64.powi(-11)) * (1.0 + f64::EPSILON * 2.0)),
        _ => bits(dtype, near[rng.below(8)] | if rng.below(2) == 0 { 0 } else { sign }),
    }
}

/// A generated tensor.
#[derive(Clone)]
pub struct Case {
    /// Of the elements.
    pub dtype: DType,
    /// Shape and view.
    pub geometry: Geometry,
    /// Which values it has.
    pub fill: Fill,
    /// What they are drawn from.
    pub seed: u64,
}

impl Case {
    /// The values of the contiguous tensor under the view.
    pub fn base_values(&self) -> Vec<Value> {
        self.fill.values(self.geometry.base_numel(), self.dtype, self.seed)
    }

    /// The values of the view, row-major.
    pub fn values(&self) -> Vec<Value> {
        let base = self.base_values();
        self.geometry.grid().index.into_iter().map(|i| base[i]).collect()
    }

    /// The tensor, as the only holder of its storage.
    ///
    /// # Errors
    ///
    /// As `Tensor::from_slice`.
    pub fn upload(&self, device: &Device) -> Result<Tensor> {
        self.geometry.view(upload(&self.base_values(), &self.geometry.base, self.dtype, device)?)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { dtype, geometry, fill, seed } = self;
        write!(f, "{dtype} {geometry:?}, {fill:?} values of {seed}")?;
        // Where the elements lie is a fact that needs no memory.
        if let Ok(x) = self.upload(&Device::plan(Spec::cpu())) {
            write!(f, ", strides {:?}, offset {}", x.strides(), x.layout().offset())?;
        }
        Ok(())
    }
}

/// Tensors of any shape, as any view, of one dtype.
pub fn cases(dtype: DType, fill: Fill, broadcasts: bool) -> impl Strategy<Value = Case> {
    (geometry(broadcasts), 0..1000u64).prop_map(move |(geometry, seed)| Case { dtype, geometry, fill, seed })
}
