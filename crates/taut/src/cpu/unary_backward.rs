//! The twin of `unary_backward.cu`.

use super::{
    BLOCK, Scalar, Source,
    binary::each,
    math::Math,
    runs::each_run,
    unary::{Float, minus_abs},
    vectorized, with_float,
};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use taut_core::{Layout, Onto, Result, Unary};

/// `dst = grad * op'(kept)`, all of one shape; without `grad` or `kept`, `dst` is that, whatever its strides. `onto` is of an
/// activation that made `kept`, if the gradient is to be that before it.
pub(crate) fn unary_backward(
    op: Unary,
    onto: Onto,
    grad: Option<View<'_>>,
    kept: Option<View<'_>>,
    dst: ViewMut<'_>,
) -> Result<()> {
    with_float!(dst.dtype, "unary_backward", T => run::<T>(op, onto, grad, kept, dst))
}

fn run<T: Scalar<Acc: Derivatives>>(
    op: Unary,
    onto: Onto,
    grad: Option<View<'_>>,
    kept: Option<View<'_>>,
    mut dst: ViewMut<'_>,
) -> Result<()> {
    let params = op.params().map(T::param);
    let layout = |view: Option<View<'_>>| view.map_or(*dst.layout, |view| *view.layout);
    let layouts = [layout(grad), layout(kept), *dst.layout];
    let [first, second, to] = Layout::collapse_by_last(layouts);
    let grad = grad.map(|grad| Ok(Source::new(grad.data::<T>()?, &first))).transpose()?;
    let kept = kept.map(|kept| Ok(Source::new(kept.data::<T>()?, &second))).transpose()?;
    each_run(dst.data::<T>()?, &to, &|start, run| {
        let (mut narrow, mut other) = ([T::zeroed(); BLOCK], [T::zeroed(); BLOCK]);
        let (mut left, mut right) = ([T::Acc::zeroed(); BLOCK], [T::Acc::zeroed(); BLOCK]);
        let mut out = [T::Acc::zeroed(); BLOCK];
        let grad = grad.as_ref().map(|grad| grad.part(start, run.len()));
        let kept = kept.as_ref().map(|kept| kept.part(start, run.len()));
        for (i, block) in run.chunks_mut(BLOCK).enumerate() {
            let (at, len) = (i * BLOCK, block.len());
            let (narrow, other) = (&mut narrow[..len], &mut other[..len]);
            let grad = match &grad {
                Some(grad) => grad.get(at, other),
                None => {
                    other.copy_from_slice(block);
                    other
                }
            };
            let grad = T::wide(grad, &mut left);
            let kept = match &kept {
                Some(kept) => kept.get(at, narrow),
                None => {
                    narrow.copy_from_slice(block);
                    narrow
                }
            };
            let kept = T::wide(kept, &mut right);
            T::fill(block, &mut out, |out| {
                T::Acc::backward(op, params, grad, kept, out);
                T::Acc::before(onto, kept, out);
            });
        }
    });
    Ok(())
}

/// A type that derivatives are computed in.
trait Derivatives: Sized {
    /// Multiplies a block of gradients by derivatives, in a loop for each op.
    fn backward(op: Unary, params: [Self; 2], grad: &[Self], kept: &[Self], out: &mut [Self]);

    /// Makes of a block of gradients after an activation, which made `kept`, those before it.
    fn before(onto: Onto, kept: &[Self], grad: &mut [Self]);
}

macro_rules! floats {
    ($($t:ident)*) => {$(
        impl Derivatives for $t {
            fn backward(op: Unary, [first, second]: [$t; 2], grad: &[$t], kept: &[$t], out: &mut [$t]) {
                match op {
                    Unary::Relu => each(grad, kept, out, |g, y| if y <= 0.0 { 0.0 } else { g }),
                    Unary::LeakyRelu { .. } => {
                        each(grad, kept, out, |g, k| if k > 0.0 { g } else { g * first });
                    }
                    Unary::Exp => each(grad, kept, out, |g, y| g * y),
                    Unary::Log => each(grad, kept, out, |g, x| g / x),
                    Unary::Sqrt => each(grad, kept, out, |g, y| g / (y + y)),
                    Unary::Rsqrt => each(grad, kept, out, |g, y| g * (-0.5 * y) * y * y),
                    Unary::Abs => {
                        each(grad, kept, out, |g, x| if x > 0.0 { g } else if x < 0.0 { -g } else { x * g });
                    }
                    Unary::Sin => whole(grad, kept, out, <$t as Math>::cos_each),
                    Unary::Cos => {
                        whole(grad, kept, out, #[inline(always)] |x| {
                            <$t as Math>::sin_each(x);
                            x.iter_mut().for_each(|x| *x = -*x);
                        });
                    }
                    Unary::Tanh => each(grad, kept, out, |g, y| g * ((1.0 - y) * (1.0 + y))),
                    Unary::Sigmoid => each(grad, kept, out, |g, y| g * ((1.0 - y) * y)),
                    Unary::Silu => each(grad, kept, out, #[inline(always)] |g, x| g * silu(x)),
                    Unary::Gelu => each(grad, kept, out, #[inline(always)] |g, x| g * gelu(x)),
                    Unary::GeluTanh => each(grad, kept, out, #[inline(always)] |g, x| g * gelu_tanh(x)),
                    Unary::Elu { .. } if first >= 0.0 => {
                        each(grad, kept, out, |g, y| if y <= 0.0 { g * (y + first) } else { g });
                    }
                    Unary::Elu { .. } => {
                        each(grad, kept, out, #[inline(always)] |g, x| {
                            if x <= 0.0 { g * (first * <$t as Math>::exp(x)) } else { g }
                        });
                    }
                    Unary::Softplus => {
                        each(grad, kept, out, #[inline(always)] |g, y| g * -<$t as Math>::exp_m1(-y));
                    }
                    Unary::Reciprocal => each(grad, kept, out, |g, y| -g * y * y),
                    Unary::Clamp { .. } => {
                        each(grad, kept, out, |g, x| if first <= x && x <= second { g } else { 0.0 });
                    }
                    Unary::PowScalar { .. } if first == 0.0 => out.fill(0.0),
                    Unary::PowScalar { .. } if first == 2.0 => each(grad, kept, out, |g, x| g * (2.0 * x)),
                    Unary::PowScalar { .. } if first == 3.0 => each(grad, kept, out, |g, x| g * (3.0 * (x * x))),
                    Unary::PowScalar { .. } => {
                        each(grad, kept, out, #[inline(always)] |g, x| {
                            g * (first * <$t as Math>::pow(x, first - 1.0))
                        });
                    }
                    Unary::Square => each(grad, kept, out, |g, x| g * (x + x)),
                    // Linear, or without a backward: refused before they come here.
                    _ => {}
                }
            }

            fn before(onto: Onto, kept: &[$t], grad: &mut [$t]) {
                let pairs = grad.iter_mut().zip(kept);
                match onto {
                    Onto::Relu => pairs.filter(|(_, y)| **y <= 0.0).for_each(|(g, _)| *g = 0.0),
                    Onto::LeakyRelu { slope } => {
                        let slope = <$t>::from(slope);
                        pairs.for_each(|(g, y)| *g = if *y > 0.0 { *g } else { *g * slope });
                    }
                    Onto::Replace | Onto::Add => {}
                }
            }
        }
    )*};
}

floats!(f32 f64);

/// Gradients times what `f` makes of a block as a whole.
fn whole<F: Float>(grad: &[F], kept: &[F], out: &mut [F], f: impl Fn(&mut [F])) {
    out.copy_from_slice(kept);
    vectorized(
        #[inline(always)]
        || {
            f(out);
            for (out, &grad) in out.iter_mut().zip(grad) {
                *out = grad * *out;
            }
        },
    );
}

/// Within what counts, so that infinity times 0 is not asked for. NaN stays.
#[inline(always)]
fn within<F: Float>(x: F, most: F) -> F {
    let y = if x < -most { -most } else { x };
    if y > most { most } else { y }
}

/// `sigmoid(u)`, and its derivative times `factor`: from one exponential.
#[inline(always)]
fn sigmoid_and_slope<F: Float>(u: F, factor: F) -> F {
    let one = F::from(1.0);
    let e = F::exp(minus_abs(u));
    let r = one / (one + e);
    let small = e * r;
    (if u < F::from(0.0) { small } else { r }) + factor * (small * r)
}

/// `s + x s (1 - s)`, where `s` is `sigmoid(x)`.
#[inline(always)]
fn silu<F: Float>(x: F) -> F {
    let u = within(x, F::from(1024.0));
    sigmoid_and_slope(u, u)
}

/// `s + x s (1 - s) u'`, where `s` is `sigmoid(u)`.
#[inline(always)]
fn gelu_tanh<F: Float>(x: F) -> F {
    let v = within(x, F::from(32.0));
    let cubic = v * v * F::CUBE;
    sigmoid_and_slope(v * (cubic + F::LINE), v * (F::from(3.0) * cubic + F::LINE))
}

/// `Phi(x) + x phi(x)` is `h = Q(t) - t phi(t)` for `x = -t`, where `Q` is `1 - Phi`, and `1 - h` for `x = t`.
#[inline(always)]
fn gelu<F: Float>(x: F) -> F {
    let t = -within(minus_abs(x), F::END);
    let [over, under, gauss] = F::beyond(t);
    let h = gauss * (over / under - t * F::DENSITY) * F::UNIT;
    if x < F::from(0.0) { h } else { F::from(1.0) - h }
}
