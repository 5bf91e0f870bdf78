//! Launches of `random.cu`.

use super::{fill::flat, walk::grid};
use crate::{Arg, Operand, Stream};
use taut_core::{DType, Error, Random, Result};
use taut_kernels::{
    Kernel,
    args::{RANDOM_BLOCKS, THREADS},
};

/// Elements of a block of Philox.
const ELEMENTS: u64 = 4;

/// Fills `dst`, flat and of floats, with numbers that depend on `seed` and the position in `dst` only.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) if `dst` is not flat, [`Driver`](taut_core::ErrorKind::Driver) if the launch
/// fails.
pub fn random(stream: &Stream, dist: Random, seed: u64, dst: Operand<'_>) -> Result<()> {
    let Some((pointer, n)) = flat(dist.name(), &dst)? else { return Ok(()) };
    let grid = grid([n.div_ceil(ELEMENTS * u64::from(RANDOM_BLOCKS * THREADS)), 1], THREADS)?;
    let (offset, scale) = dist.params();
    let limit = limit(dist, dst.dtype);
    let numbers = [Arg::new(&offset), Arg::new(&scale), Arg::new(&limit)];
    let args = [Arg::new(&pointer), Arg::new(&n), Arg::new(&seed), numbers[0], numbers[1], numbers[2]];
    // SAFETY: `random(out, n, seed, offset, scale, limit)`, and the `n` elements from the pointer on are those of `dst`.
    unsafe { stream.launch(Kernel::Random(dist, dst.dtype), grid, args) }
}

/// Fills the flat u32 operand `dst` with the words that [`random`] makes its numbers of.
///
/// # Errors
///
/// As [`random`]; [`DType`](taut_core::ErrorKind::DType) if `dst` is not u32.
pub fn words(stream: &Stream, seed: u64, dst: Operand<'_>) -> Result<()> {
    if dst.dtype != DType::U32 {
        return Err(Error::dtype(format!("words: {} is not u32", dst.dtype)));
    }
    let Some((pointer, n)) = flat("words", &dst)? else { return Ok(()) };
    let grid = grid([n.div_ceil(ELEMENTS * u64::from(THREADS)), 1], THREADS)?;
    let args = [Arg::new(&pointer), Arg::new(&n), Arg::new(&seed)];
    // SAFETY: `random_words(out, n, seed)`, and the `n` elements from the pointer on are those of `dst`.
    unsafe { stream.launch(Kernel::RandomWords, grid, args) }
}

/// What values are cut to before they are rounded to `dtype`: the largest of its values below the upper end of a uniform
/// distribution, so that rounding does not reach it; infinity for others, and where no value is below it.
pub fn limit(dist: Random, dtype: DType) -> f32 {
    match dist {
        Random::Uniform { low, high } if low < high => below(high, dtype),
        _ => f32::INFINITY,
    }
}

/// The largest value of a dtype that is less than `high`.
fn below(high: f32, dtype: DType) -> f32 {
    // Bits of precision, the exponent of the smallest normal value, and the largest value.
    let (precision, smallest, largest) = match dtype {
        DType::F16 => (11, -14, 65_504.0),
        DType::BF16 => (8, -126, f64::from(f32::from_bits(0x7f7f_0000))),
        _ => return high.next_down(),
    };
    let high = f64::from(high);
    if high.is_nan() || high > largest {
        return largest as f32;
    }
    // Values between powers of two 2^e and 2^(e + 1) are 2^(e + 1 - precision) apart.
    let step = |magnitude: f64| {
        let exponent = (magnitude.to_bits() >> 52) as i32 - 1023;
        2f64.powi(exponent.max(smallest) + 1 - precision)
    };
    // Just below a positive power of two they are closer than from it on.
    let step = if high > 0.0 { step(high.next_down()) } else { step(high.abs()) };
    let value = ((high / step).ceil() - 1.0) * step;
    if value < -largest { f32::NEG_INFINITY } else { value as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_next_value_of_the_dtype() {
        for (dtype, high, want) in [
            (DType::F32, 1.0, 1.0 - f32::EPSILON / 2.0),
            (DType::F16, 1.0, 1.0 - 2f32.powi(-11)),
            (DType::BF16, 1.0, 1.0 - 2f32.powi(-8)),
            (DType::F16, 1.5, 1.5 - 2f32.powi(-10)),
            (DType::F16, 1.0001, 1.0),
            (DType::F16, -1.0, -1.0 - 2f32.powi(-10)),
            (DType::F16, -1.0001, -1.0 - 2f32.powi(-10)),
            (DType::F16, 0.0, -(2f32.powi(-24))),
            (DType::F16, 1e9, 65_504.0),
            (DType::F16, 65_504.0, 65_472.0),
            (DType::F16, 3e-8, 0.0),
            (DType::BF16, 256.5, 256.0),
        ] {
            let limit = limit(Random::Uniform { low: -1e6, high }, dtype);
            assert_eq!(limit, want, "{dtype} below {high}");
        }
        assert_eq!(limit(Random::Normal { mean: 0.0, std: 1.0 }, DType::F16), f32::INFINITY);
    }
}
