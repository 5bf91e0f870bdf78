//! The backward of elementwise unary ops: what it is the derivative of, where there is none, all 16-bit floats, and what
//! is refused. The registry proves the rest.

use proptest::prelude::*;
use taut::{Activation, DType, Element, ErrorKind, Kept, Tensor, Unary, bf16, f16};
use taut_tests::{
    At, Check, Fill, Suite, Value, derivative_elements, download, fail, kind_of, meets, message_of, same,
    upload,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.cpu("unary_backward::is_the_derivative", is_the_derivative);
    suite.real("unary_backward::every_16_bit_float", every_16_bit_float);
    suite.real("unary_backward::kinks_ends_and_nan", kinks_ends_and_nan);
    suite.real("unary_backward::takes_itself", takes_itself);
    suite.everywhere("unary_backward::reuses_the_gradient", reuses_the_gradient);
    suite.everywhere("unary_backward::errors", errors);
}

fn keepers() -> impl Iterator<Item = Unary> {
    let more = [
        Unary::LeakyRelu { slope: -1.5 },
        Unary::Elu { alpha: 0.25 },
        Unary::Elu { alpha: -1.5 },
        Unary::PowScalar { exponent: 2.0 },
        Unary::PowScalar { exponent: 0.5 },
        Unary::PowScalar { exponent: 0.0 },
    ];
    let all =
        Unary::ALL.into_iter().chain(more).chain(Activation::ALL.into_iter().filter_map(Activation::unary));
    all.filter(|op| op.kept().is_some_and(|kept| kept != Kept::Nothing))
}

/// What `op` keeps of this operand.
fn kept(op: Unary, x: &Tensor) -> taut::Result<Tensor> {
    if op.kept() == Some(Kept::Output) { x.clone().unary(op) } else { Ok(x.clone()) }
}

/// By central differences in f64, which err by some h^2; away from kinks, and where roots and logarithms are defined.
fn is_the_derivative(at: &At) -> Check {
    let h = 1e-5;
    let values: Vec<Value> = (0..400).map(|i| Value::Float(0.01 * f64::from(i) - 1.995)).collect();
    let x = upload(&values, &[400], DType::F64, &at.device)?;
    for op in keepers() {
        let positive = matches!(op, Unary::Log | Unary::Sqrt | Unary::Rsqrt | Unary::PowScalar { .. });
        let x = if positive { x.clone().abs()?.add_scalar(0.1)? } else { x.clone() };
        let ahead = x.clone().add_scalar(h)?.unary(op)?;
        let want = ahead.sub(&x.clone().sub_scalar(h)?.unary(op)?)?.mul_scalar(0.5 / h)?;
        let ones = Tensor::full([400], 1.0, DType::F64, &at.device)?;
        let got = ones.unary_backward(op, &kept(op, &x)?)?;
        for ((got, want), x) in download(&got)?.into_iter().zip(download(&want)?).zip(download(&x)?) {
            let (got, want) = (got.float(), want.float());
            let near = (got - want).abs() <= 1e-5 * want.abs().max(1.0);
            prop_assert!(near, "{:?} at {:?}: {} where differences say {}", op, x, got, want);
        }
    }
    Ok(())
}

fn meets_all<T: Element>(at: &At, bits: impl Iterator<Item = T>, dtype: DType) -> Check {
    let bits: Vec<T> = bits.collect();
    let kept = Tensor::from_slice(&bits, [bits.len()], &at.device)?;
    let grads = Fill::Tame.values(bits.len(), dtype, 5);
    let grad = upload(&grads, &[bits.len()], dtype, &at.device)?;
    let pairs: Vec<_> = grads.into_iter().zip(download(&kept)?).collect();
    for op in keepers() {
        meets(&grad.clone().unary_backward(op, &kept)?, &derivative_elements(op, &pairs, dtype))
            .map_err(|error| fail(format!("{op:?}: {error}")))?;
    }
    Ok(())
}

/// And floats from the smallest to the largest, at a distance that meets every exponent 200 times.
fn every_16_bit_float(at: &At) -> Check {
    meets_all(at, (0..=u16::MAX).map(f16::from_bits), DType::F16)?;
    meets_all(at, (0..=u16::MAX).map(bf16::from_bits), DType::BF16)?;
    meets_all(at, (0..=u32::MAX).step_by(40_009).map(f32::from_bits), DType::F32)?;
    let near = (0x3c00_0000u32..0x4200_0000).step_by(3001);
    meets_all(at, near.flat_map(|bits| [bits, bits | 1 << 31]).map(f32::from_bits), DType::F32)
}

/// At -infinity, 0, infinity and NaN of what is kept, for a gradient of 2.
fn kinks_ends_and_nan(at: &At) -> Check {
    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;
    let table: [(Unary, [f64; 4]); 15] = [
        (Unary::Relu, [0.0, 0.0, 2.0, 2.0]),
        (Unary::LeakyRelu { slope: 0.5 }, [1.0, 1.0, 2.0, 1.0]),
        (Unary::LeakyRelu { slope: -0.5 }, [-1.0, -1.0, 2.0, -1.0]),
        (Unary::Abs, [-2.0, 0.0, 2.0, NAN]),
        (Unary::Log, [-0.0, INF, 0.0, NAN]),
        (Unary::Exp, [-INF, 0.0, INF, NAN]),
        (Unary::Silu, [0.0, 1.0, 2.0, NAN]),
        (Unary::Gelu, [0.0, 1.0, 2.0, NAN]),
        (Unary::GeluTanh, [0.0, 1.0, 2.0, NAN]),
        (Unary::Elu { alpha: -1.5 }, [-0.0, -3.0, 2.0, 2.0]),
        (Unary::Elu { alpha: 1.5 }, [-INF, 3.0, 2.0, 2.0]),
        (Unary::Clamp { low: 0.0, high: 1.0 }, [0.0, 2.0, 0.0, 0.0]),
        (Unary::Clamp { low: -1.0, high: 0.0 }, [0.0, 2.0, 0.0, 0.0]),
        (Unary::PowScalar { exponent: 0.0 }, [0.0; 4]),
        (Unary::PowScalar { exponent: 1.0 }, [2.0; 4]),
    ];
    for dtype in at.floats() {
        let ends = upload(&[-INF, 0.0, INF, NAN].map(Value::Float), &[4], dtype, &at.device)?;
        let grad = Tensor::full([4], 2.0, dtype, &at.device)?;
        for (op, want) in table {
            // As numbers: where it is nothing, the sign of nothing does not matter.
            let zero = Tensor::zeros([4], dtype, &at.device)?;
            let got = grad.clone().unary_backward(op, &ends)?.add(&zero)?;
            same(&got, &want.map(|x| Value::Float(x + 0.0)))
                .map_err(|error| fail(format!("{op:?}: {error}")))?;
        }
    }
    Ok(())
}

/// The gradient and what is kept may be one tensor.
fn takes_itself(at: &At) -> Check {
    let x = Tensor::full([1000], 3.0, DType::F16, &at.device)?;
    let kept = x.clone();
    same(&x.unary_backward(Unary::Square, &kept)?, &[Value::Float(18.0); 1000])
}

/// Whatever its order in memory, but not a part of something larger; what is kept stays.
fn reuses_the_gradient(at: &At) -> Check {
    let new = || Tensor::full([64, 1000], 1.0, DType::F32, &at.device);
    let kept = new()?;
    let peak = |grad: Tensor, kept: &Tensor| -> taut::Result<u64> {
        at.device.pool().reset_peaks();
        let before = at.device.stats().live_bytes;
        grad.unary_backward(Unary::Gelu, kept)?;
        Ok(at.device.stats().peak_live_bytes - before)
    };
    prop_assert_eq!(peak(new()?, &kept)?, 0);
    prop_assert_eq!(peak(new()?.t()?, &kept.clone().t()?)?, 0);
    let held = new()?;
    prop_assert_eq!(peak(held.clone(), &kept)?, 256_000);
    prop_assert_eq!(peak(held.slice(0, 0..32)?, &kept.slice(0, 0..32)?)?, 128_000);
    Ok(())
}

fn errors(at: &At) -> Check {
    let new = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &at.device);
    let (grad, kept) = (new(&[3, 4], DType::F32)?, new(&[4], DType::F32)?);
    let live = at.device.stats().live_bytes;
    let message = "unary_backward: the gradient [3, 4] and what relu kept, [4], differ";
    prop_assert_eq!(message_of(grad.clone().unary_backward(Unary::Relu, &kept))?, message);
    let half = new(&[3, 4], DType::F16)?;
    let message = "unary_backward: f32 and f16 differ; cast one";
    prop_assert_eq!(message_of(grad.clone().unary_backward(Unary::Relu, &half))?, message);
    let message = "unary_backward: floor has no backward: its result does not change with its operand";
    prop_assert_eq!(message_of(grad.clone().unary_backward(Unary::Floor, &grad))?, message);
    prop_assert_eq!(kind_of(grad.clone().unary_backward(Unary::Floor, &grad))?, ErrorKind::Grad);
    let message = "unary_backward: neg is linear: its backward takes the gradient alone";
    prop_assert_eq!(message_of(grad.clone().unary_backward(Unary::Neg, &grad))?, message);
    let whole = new(&[3], DType::I64)?;
    let message = "unary_backward: does not take i64";
    prop_assert_eq!(message_of(whole.clone().unary_backward(Unary::Abs, &whole))?, message);
    let elsewhere = Tensor::zeros([3, 4], DType::F32, &at.fresh()?)?;
    prop_assert_eq!(kind_of(grad.unary_backward(Unary::Relu, &elsewhere))?, ErrorKind::Device);
    drop((half, whole));
    prop_assert_eq!(at.device.stats().live_bytes, live - 48);
    Ok(())
}
