//! Elementwise unary ops: their names, all 16-bit floats, floats of all sizes, and the ends of the scale. The registry
//! proves the rest.

use proptest::prelude::*;
use std::{collections::BTreeSet, fs, path::Path};
use taut::{DType, Element, ErrorKind, Tensor, Unary, bf16, f16};
use taut_tests::{At, Check, Suite, Value, download, fail, kind_of, meets, message_of, same, unary_elements};

pub(crate) fn trials(suite: &mut Suite) {
    suite.cpu("unary::methods_name_their_ops", methods_name_their_ops);
    suite.real("unary::every_16_bit_float", every_16_bit_float);
    suite.real("unary::floats_of_all_sizes", floats_of_all_sizes);
    suite.real("unary::ends_and_zeros", ends_and_zeros);
    suite.real("unary::integers", integers);
    suite.everywhere("unary::refused_dtypes", refused_dtypes);
}

/// The folder of ops, which is no part of a bundle.
const OPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/taut/src/ops");

/// A named method is a line that names the op of its name, and so is its twin that is always in place.
fn methods_name_their_ops(_: &At) -> Check {
    let ops = Unary::ALL.map(|op| (op.name(), op.functor(), true));
    methods_name("unary", "Unary::", &ops)
}

/// That the sources of a family have a method for each op, and another in place where there is `true`, whose lines have
/// the variant of that op. Ops are given by name and variant.
pub(crate) fn methods_name(family: &str, road: &str, ops: &[(&str, &str, bool)]) -> Check {
    let folder = Path::new(OPS).join(family);
    if !folder.is_dir() {
        return Ok(());
    }
    let io = |error: std::io::Error| fail(format!("{}: {error}", folder.display()));
    let (mut found, mut method) = (BTreeSet::new(), String::new());
    for file in fs::read_dir(&folder).map_err(io)? {
        for line in fs::read_to_string(file.map_err(io)?.path()).map_err(io)?.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("pub fn ") {
                method = rest.split('(').next().unwrap_or_default().to_owned();
            }
            let Some((call, rest)) = line.split_once(road) else { continue };
            let call = call.trim_end_matches('(');
            if call == format!("self.{family}") || call == format!("self.{family}_") {
                let variant: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
                let suffix = if call.ends_with('_') { "_" } else { "" };
                found.insert((method.clone(), format!("{variant}{suffix}")));
            }
        }
    }
    for &(name, variant, twin) in ops {
        for suffix in ["", "_"].into_iter().take(1 + usize::from(twin)) {
            let line = (format!("{name}{suffix}"), format!("{variant}{suffix}"));
            prop_assert!(found.contains(&line), "no method {} is one line with {}{}", line.0, road, variant);
        }
    }
    Ok(())
}

/// The ops on floats with their usual parameters, and powers of every kind.
fn float_ops() -> impl Iterator<Item = Unary> {
    let powers = [-1.0, 0.5, -2.5, 5.0, 100.0].map(|exponent| Unary::PowScalar { exponent });
    Unary::ALL.into_iter().filter(|op| op.takes(DType::F32)).chain(powers)
}

fn meets_all<T: Element>(at: &At, bits: impl Iterator<Item = T>, dtype: DType) -> Check {
    let bits: Vec<T> = bits.collect();
    let x = Tensor::from_slice(&bits, [bits.len()], &at.device)?;
    let values = download(&x)?;
    for op in float_ops() {
        meets(&x.clone().unary(op)?, &unary_elements(op, &values, dtype))
            .map_err(|error| fail(format!("{op:?}: {error}")))?;
    }
    Ok(())
}

fn every_16_bit_float(at: &At) -> Check {
    meets_all(at, (0..=u16::MAX).map(f16::from_bits), DType::F16)?;
    meets_all(at, (0..=u16::MAX).map(bf16::from_bits), DType::BF16)
}

/// Numbers from the smallest to the largest at a distance that meets every exponent 200 times, and those around 1 closer.
fn floats_of_all_sizes(at: &At) -> Check {
    meets_all(at, (0..=u32::MAX).step_by(40_009).map(f32::from_bits), DType::F32)?;
    let near = (0x3c00_0000u32..0x4200_0000).step_by(3001);
    meets_all(at, near.flat_map(|bits| [bits, bits | 1 << 31]).map(f32::from_bits), DType::F32)?;
    if at.dtypes().contains(&DType::F64) {
        let all = (0..=u64::MAX).step_by((1 << 48) + 12_345_678_901);
        meets_all(at, all.map(f64::from_bits), DType::F64)?;
        let near = (0x3f80_0000_0000_0000u64..0x4050_0000_0000_0000).step_by((1 << 43) + 1_234_567_891);
        meets_all(at, near.flat_map(|bits| [bits, bits | 1 << 63]).map(f64::from_bits), DType::F64)?;
    }
    Ok(())
}

/// To the bit: what intervals do not tell apart, 0 and -0; and limits, where formulas would give NaN.
fn ends_and_zeros(at: &At) -> Check {
    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;
    // At -infinity, -0, 0 and infinity.
    let table: [(Unary, [f64; 4]); 26] = [
        (Unary::Relu, [0.0, -0.0, 0.0, INF]),
        (Unary::Neg, [INF, 0.0, -0.0, -INF]),
        (Unary::Exp, [0.0, 1.0, 1.0, INF]),
        (Unary::Log, [NAN, -INF, -INF, INF]),
        (Unary::Sqrt, [NAN, -0.0, 0.0, INF]),
        (Unary::Rsqrt, [NAN, -INF, INF, 0.0]),
        (Unary::Abs, [INF, 0.0, 0.0, INF]),
        (Unary::Sin, [NAN, -0.0, 0.0, NAN]),
        (Unary::Cos, [NAN, 1.0, 1.0, NAN]),
        (Unary::Tanh, [-1.0, -0.0, 0.0, 1.0]),
        (Unary::Sigmoid, [0.0, 0.5, 0.5, 1.0]),
        (Unary::Silu, [-0.0, -0.0, 0.0, INF]),
        (Unary::Gelu, [0.0, -0.0, 0.0, INF]),
        (Unary::GeluTanh, [-0.0, -0.0, 0.0, INF]),
        (Unary::Elu { alpha: 1.5 }, [-1.5, -0.0, 0.0, INF]),
        (Unary::Reciprocal, [-0.0, -INF, INF, 0.0]),
        (Unary::Clamp { low: -2.0, high: 2.0 }, [-2.0, -0.0, 0.0, 2.0]),
        (Unary::PowScalar { exponent: 3.0 }, [-INF, -0.0, 0.0, INF]),
        (Unary::PowScalar { exponent: -1.0 }, [-0.0, -INF, INF, 0.0]),
        (Unary::PowScalar { exponent: 0.5 }, [INF, 0.0, 0.0, INF]),
        (Unary::PowScalar { exponent: 0.0 }, [1.0; 4]),
        (Unary::Square, [INF, 0.0, 0.0, INF]),
        (Unary::Sign, [-1.0, -0.0, 0.0, 1.0]),
        (Unary::Floor, [-INF, -0.0, 0.0, INF]),
        (Unary::Ceil, [-INF, -0.0, 0.0, INF]),
        (Unary::Round, [-INF, -0.0, 0.0, INF]),
    ];
    for dtype in at.floats() {
        let ends = [-INF, -0.0, 0.0, INF].map(Value::Float);
        let x = taut_tests::upload(&ends, &[4], dtype, &at.device)?;
        for (op, want) in table {
            let mut got = x.clone().unary(op)?;
            if op == Unary::Gelu {
                // What is left of x Phi(x) at the lower end rounds to a zero of either sign.
                let ends = download(&got)?;
                prop_assert!(
                    [0.0, -0.0].map(Value::Float).iter().any(|&zero| ends[0].is(zero)),
                    "{:?}",
                    ends
                );
                got = got.slice(0, 1..4)?;
            }
            let want = &want.map(Value::Float)[4 - got.numel()..];
            same(&got, want).map_err(|error| fail(format!("{op:?}: {error}")))?;
        }
        // Not the logarithm of 2, which is one of its neighbours in f32.
        let soft = download(&x.unary(Unary::Softplus)?)?;
        prop_assert!(soft[0].is(Value::Float(0.0)) && soft[3].is(Value::Float(INF)), "{:?}", soft);
    }
    let halves = Tensor::from_slice(&[-2.5f32, -1.5, -0.5, -0.4, 0.5, 1.5, 2.5], [7], &at.device)?;
    let want = [-2.0, -2.0, -0.0, -0.0, 0.0, 2.0, 2.0].map(Value::Float);
    same(&halves.clone().round()?, &want)?;
    same(&halves.ceil()?, &[-2.0, -1.0, -0.0, -0.0, 1.0, 2.0, 3.0].map(Value::Float))
}

fn integers(at: &At) -> Check {
    let x = Tensor::from_slice(&[i64::MIN, -3, 0, 5, i64::MAX], [5], &at.device)?;
    prop_assert_eq!(x.clone().abs()?.to_vec::<i64>()?, [i64::MIN, 3, 0, 5, i64::MAX]);
    prop_assert_eq!(x.clone().sign()?.to_vec::<i64>()?, [-1, -1, 0, 1, 1]);
    prop_assert_eq!(x.clone().clamp(f64::NEG_INFINITY, 4.9)?.to_vec::<i64>()?, [i64::MIN, -3, 0, 4, 4]);
    prop_assert_eq!(x.square()?.to_vec::<i64>()?, [0, 9, 0, 25, 1]);
    let x = Tensor::from_slice(&[0u8, 7, 255], [3], &at.device)?;
    prop_assert_eq!(x.clone().clamp(-5.0, 300.0)?.to_vec::<u8>()?, [0, 7, 255]);
    prop_assert_eq!(x.clone().sign()?.to_vec::<u8>()?, [0, 1, 1]);
    prop_assert_eq!(x.square()?.to_vec::<u8>()?, [0, 49, 1]);
    Ok(())
}

/// Each names the op and the dtype, and leaves the operand.
fn refused_dtypes(at: &At) -> Check {
    for dtype in at.dtypes() {
        for op in Unary::ALL.into_iter().filter(|op| !op.takes(dtype)) {
            let mut x = Tensor::zeros([3], dtype, &at.device)?;
            prop_assert_eq!(kind_of(x.clone().unary(op))?, ErrorKind::DType);
            let message = message_of(x.unary_(op))?;
            prop_assert_eq!(message, format!("{}_: does not take {}", op.name(), dtype));
        }
    }
    Ok(())
}
