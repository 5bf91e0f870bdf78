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
    exp: 1.0, f64::exp;
    exp_m1: 1.6, f64::exp_m1;
    ln: 1.0, f64::ln;
    ln_1p: 1.2, f64::ln_1p;
    tanh: 1.4, f64::tanh;
}

#[test]
fn sin_each() {
    check("sin_each", 1.6, Math::sin_each, f64::sin);
}

#[test]
fn cos_each() {
    check("cos_each", 1.6, Math::cos_each, f64::cos);
}

#[test]
fn pow() {
    // Every exponent between two numbers of the grid, so that all magnitudes of the result come up.
    let mut worst = (0.0, 0.0, 0.0);
    let bits = |start: u64, step| (start..0x7f80_0000).step_by(step).map(|bits| f32::from_bits(bits as u32));
    for x in bits(1, 1_300_021) {
        for y in bits(0x3000_0000, 900_007).take_while(|&y| y < 200.0 / x.log2().abs().max(1e-9)) {
            for y in [y, -y] {
                let mut got = [x];
                vectorized(|| got.iter_mut().for_each(|x| *x = Math::pow(*x, y)));
                let error = ulps(got[0], f64::from(x).powf(f64::from(y)));
                if error > worst.0 {
                    worst = (error, x, y);
                }
            }
        }
    }
    println!("pow: {worst:?}");
    assert!(worst.0 <= 0.52, "{worst:?}");
}

/// Numbers that functions treat apart.
const SPECIAL: [f32; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    3.0,
    -3.0,
    2.5,
    -2.5,
    1e-45,
    -1e-45,
    1e-38,
    -1e-8,
    16_777_215.0,
    -16_777_217.0,
    33_554_432.0,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

/// Whether two numbers are the same, with the sign of zeros.
fn same(a: f32, b: f32) -> bool {
    a.is_nan() && b.is_nan() || a.to_bits() == b.to_bits()
}

fn one(f: impl Fn(&mut [f32]), mut x: f32) -> f32 {
    f(std::slice::from_mut(&mut x));
    x
}

/// As in the standard library, where that is exact.
#[test]
fn special_values() {
    let close = |a: f32, b: f32| same(a, b) || b.is_finite() && b != 0.0 && ulps(a, f64::from(b)) <= 2.5;
    for x in SPECIAL {
        for (name, got, want) in [
            ("exp", Math::exp(x), x.exp()),
            ("exp_m1", Math::exp_m1(x), x.exp_m1()),
            ("ln", Math::ln(x), x.ln()),
            ("ln_1p", Math::ln_1p(x), x.ln_1p()),
            ("sin", one(Math::sin_each, x), x.sin()),
            ("cos", one(Math::cos_each, x), x.cos()),
            ("tanh", Math::tanh(x), x.tanh()),
        ] {
            assert!(close(got, want), "{name}({x:e}) is {got:e}, not {want:e}");
        }
        for y in SPECIAL {
            let (got, want) = (Math::pow(x, y), x.powf(y));
            assert!(close(got, want), "{x:e}^{y:e} is {got:e}, not {want:e}");
        }
    }
}

/// The same bits in a vector and alone, at the edge of the moderate angles too.
#[test]
fn far_angles_do_not_disturb_their_neighbours() {
    let mut xs: Vec<f32> = (0..1000).map(|i| i as f32 * 0.37 - 100.0).collect();
    xs.splice(300..302, [1e30, -f32::INFINITY]);
    xs.extend([MODERATE, -MODERATE, MODERATE * 1.000001]);
    let (mut sin, mut cos) = (xs.clone(), xs.clone());
    vectorized(|| Math::sin_each(&mut sin));
    vectorized(|| Math::cos_each(&mut cos));
    for ((&x, sin), cos) in xs.iter().zip(sin).zip(cos) {
        assert!(same(sin, one(Math::sin_each, x)) && same(cos, one(Math::cos_each, x)), "{x:e}");
        let (exact_sin, exact_cos) = f64::from(x).sin_cos();
        assert!(ulps(sin, exact_sin) < 1.6 && ulps(cos, exact_cos) < 1.6, "{x:e}: {sin:e} {cos:e}");
    }
}
