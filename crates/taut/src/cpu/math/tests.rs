use super::*;
use crate::cpu::vectorized;

/// How far off a result is, in distances of neighbouring f32 at the exact one.
fn ulps(got: f32, want: f64) -> f64 {
    if got.is_nan() && want.is_nan() || got == want as f32 {
        return if got.is_finite() { distance(got, want) } else { 0.0 };
    }
    if got.is_finite() && (want as f32).is_finite() { distance(got, want) } else { f64::INFINITY }
}

fn distance(got: f32, want: f64) -> f64 {
    let exponent = (want.abs().to_bits() >> 52) as i32 - 1023;
    (f64::from(got) - want).abs() / 2f64.powi(exponent.max(-126) - 23)
}

/// Numbers whose bits lie this far apart: 4 million of either sign, subnormal, huge, infinite and NaN.
const STEP: u64 = 1021;

/// Checks `f` within a bound in ulps at all samples, compiled as ops are.
fn check(name: &str, bound: f64, f: impl Fn(&mut [f32]), exact: impl Fn(f64) -> f64) {
    let mut samples =
        (0..1u64 << 32).step_by(STEP as usize).map(|bits| f32::from_bits(bits as u32)).peekable();
    let mut worst = (0.0, 0.0);
    while samples.peek().is_some() {
        let xs: Vec<f32> = samples.by_ref().take(4096).collect();
        let mut got = xs.clone();
        vectorized(|| f(&mut got));
        for (&x, &got) in xs.iter().zip(&got) {
            let error = ulps(got, exact(f64::from(x)));
            if error > worst.0 {
                worst = (error, x);
            }
        }
    }
    println!("{name}: {:.3} ulps at {:e}", worst.0, worst.1);
    assert!(worst.0 <= bound, "{name}: {} ulps at {:e}", worst.0, worst.1);
}

/// One test for each function of an element: `name: bound, exact`.
macro_rules! within {
    ($($name:ident: $bound:expr, $exact:expr;)*) => {$(
        #[test]
        fn $name() {
            let each = |xs: &mut [f32]| xs.iter_mut().for_each(|x| *x = Math::$name(*x));
            check(stringify!($name), $bound, each, $exact);
        }
    )*};
}

within! {
    exp: 1.1, f64::exp;
    exp_m1: 2.0, f64::exp_m1;
    ln: 1.1, f64::ln;
    ln_1p: 2.0, f64::ln_1p;
    sin: 1.4, f64::sin;
    cos: 1.4, f64::cos;
    tanh: 2.0, f64::tanh;
    erf: 1.4, <f64 as Math>::erf;
}

#[test]
fn sin_each() {
    check("sin_each", 1.4, |xs| Math::sin_each(xs), f64::sin);
}

#[test]
fn cos_each() {
    check("cos_each", 1.4, |xs| Math::cos_each(xs), f64::cos);
}
