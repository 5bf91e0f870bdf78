//! Elements as the definitions see them, and their way to a tensor and back.

use std::fmt;
use taut::{DType, Device, Result, Tensor, bf16, f16};

/// An element of any dtype, exactly: f64 holds every float dtype, i64 every integer dtype and bool.
#[derive(Clone, Copy, PartialEq)]
pub enum Value {
    /// Of a float dtype.
    Float(f64),
    /// Of an integer dtype, or a bool as 0 or 1.
    Int(i64),
}

impl Value {
    /// As an f64; exact but for large i64.
    pub fn float(self) -> f64 {
        match self {
            Value::Float(x) => x,
            Value::Int(x) => x as f64,
        }
    }

    /// Whether both are NaN, or have the same bits: 0 and -0 differ.
    pub fn is(self, other: Value) -> bool {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => (a.is_nan() && b.is_nan()) || a.to_bits() == b.to_bits(),
            (Value::Int(a), Value::Int(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Float(x) => write!(f, "{x:e}"),
            Value::Int(x) => write!(f, "{x}"),
        }
    }
}

/// `x` rounded to the nearest value of a float dtype, ties to even; beyond the largest, to infinity.
pub fn round(x: f64, dtype: DType) -> f64 {
    // Bits of precision, the exponent of the smallest normal number, and the largest number.
    let (precision, least, largest) = match dtype {
        DType::F16 => (11, -14, 65504.0),
        DType::BF16 => (8, -126, f64::from(bf16::MAX)),
        DType::F32 => (24, -126, f64::from(f32::MAX)),
        _ => return x,
    };
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let exponent = ((x.to_bits() >> 52 & 0x7ff) as i64 - 1023).max(least);
    let ulp = f64::from_bits(((exponent - (precision - 1) + 1023) as u64) << 52);
    let y = (x / ulp).round_ties_even() * ulp;
    if y.abs() > largest { f64::INFINITY.copysign(x) } else { y }
}

/// A value in another dtype, as `Tensor::cast` documents it.
pub fn cast(value: Value, dtype: DType) -> Value {
    match (value, dtype) {
        (Value::Float(x), DType::I64) => Value::Int(x as i64),
        (Value::Float(x), DType::U32) => Value::Int((x as u32).into()),
        (Value::Float(x), DType::U8) => Value::Int((x as u8).into()),
        (Value::Float(x), DType::Bool) => Value::Int((x != 0.0).into()),
        (Value::Float(x), DType::F64) => Value::Float(x),
        (Value::Float(x), _) => Value::Float(round(round(x, DType::F32), dtype)),
        (Value::Int(x), DType::I64) => Value::Int(x),
        (Value::Int(x), DType::U32) => Value::Int((x as u32).into()),
        (Value::Int(x), DType::U8) => Value::Int((x as u8).into()),
        (Value::Int(x), DType::Bool) => Value::Int((x != 0).into()),
        (Value::Int(x), DType::F64) => Value::Float(x as f64),
        (Value::Int(x), _) => Value::Float(round((x as f32).into(), dtype)),
    }
}

fn int(value: Value) -> i64 {
    match value {
        Value::Float(x) => x as i64,
        Value::Int(x) => x,
    }
}

/// A contiguous tensor of these values, which must be values of `dtype`.
///
/// # Errors
///
/// As `Tensor::from_slice`.
pub fn upload(values: &[Value], shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    macro_rules! from {
        ($convert:expr) => {
            Tensor::from_slice(
                &values.iter().map(|&value| $convert(value)).collect::<Vec<_>>(),
                shape,
                device,
            )
        };
    }
    match dtype {
        DType::F32 => from!(|v: Value| v.float() as f32),
        // By way of f32, which is exact here: conversions from f64 are not in doubt when inputs are made.
        DType::F16 => from!(|v: Value| f16::from_f32(v.float() as f32)),
        DType::BF16 => from!(|v: Value| bf16::from_f32(v.float() as f32)),
        DType::F64 => from!(Value::float),
        DType::I64 => from!(int),
        DType::U32 => from!(|v| int(v) as u32),
        DType::U8 => from!(|v| int(v) as u8),
        DType::Bool => from!(|v| int(v) != 0),
    }
}

/// The values of a tensor, row-major.
///
/// # Errors
///
/// As `Tensor::to_vec`.
pub fn download(x: &Tensor) -> Result<Vec<Value>> {
    macro_rules! to {
        ($t:ty, $convert:expr) => {
            x.to_vec::<$t>()?.into_iter().map($convert).collect()
        };
    }
    Ok(match x.dtype() {
        DType::F32 => to!(f32, |x| Value::Float(x.into())),
        DType::F16 => to!(f16, |x| Value::Float(x.into())),
        DType::BF16 => to!(bf16, |x| Value::Float(x.into())),
        DType::F64 => to!(f64, Value::Float),
        DType::I64 => to!(i64, Value::Int),
        DType::U32 => to!(u32, |x| Value::Int(x.into())),
        DType::U8 => to!(u8, |x| Value::Int(x.into())),
        DType::Bool => to!(bool, |x| Value::Int(x.into())),
    })
}

/// The bytes of the elements, row-major: what a file of them holds.
///
/// # Errors
///
/// As `Tensor::read_chunks`.
pub fn bytes(x: &Tensor) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    x.read_chunks(|chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(bytes)
}
