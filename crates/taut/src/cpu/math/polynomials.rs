//! Minimax polynomials, fitted with 50 digits by the exchange of Remez. The highest power comes first.
#![expect(
    clippy::excessive_precision,
    clippy::unreadable_literal,
    reason = "coefficients as they were computed"
)]

/// `(e^r - 1 - r - r^2 / 2) / r^3`, where `|r| <= ln(2) / 2`.
pub(super) const EXP: [f32; 5] = [1.9900447e-4, 1.3926929e-3, 8.333299e-3, 4.166655e-2, 1.6666667e-1];
/// `(ln(1 + f) - f + f^2 / 2) / f^3`, where `1 + f` is from `sqrt(1/2)` to `sqrt(2)`.
pub(super) const LN: [f32; 9] = [
    7.332555e-2,
    -1.1659941e-1,
    1.1634659e-1,
    -1.23966984e-1,
    1.4251156e-1,
    -1.6669151e-1,
    2.0000689e-1,
    -2.499998e-1,
    3.333333e-1,
];
/// `(sin(r) / r - 1) / r^2` in `r^2`, where `|r| <= pi / 4`.
pub(super) const SIN: [f32; 4] = [2.7246938e-6, -1.9840064e-4, 8.333332e-3, -1.6666667e-1];
/// `(cos(r) - 1 + r^2 / 2) / r^4` in `r^2`.
pub(super) const COS: [f32; 3] = [2.4545514e-5, -1.3888292e-3, 4.1666664e-2];
/// `(tanh(x) / x - 1) / x^2` in `x^2`, up to 0.625.
pub(super) const TANH: [f32; 6] =
    [2.2989416e-3, -8.350008e-3, 2.1770995e-2, -5.395955e-2, 1.3333306e-1, -3.3333334e-1];
/// `log2(m) / s` in `s^2`, where `s = (m - 1) / (m + 1)` and `m` is from `sqrt(1/2)` to `sqrt(2)`.
pub(super) const LOG2_64: [f64; 7] = [
    0.24298125080851898593,
    0.26143881633401696944,
    0.32061655737253356063,
    0.41219839962853766627,
    0.57707801726189183126,
    0.96179669392429815534,
    2.8853900817779273215,
];
/// `2^r`, where `|r| <= 1/2`.
pub(super) const EXP2_64: [f64; 8] = [
    0.000015316719115871569132,
    0.00015469997251571551677,
    0.0013333421549003181578,
    0.0096180247725479069628,
    0.05550410977442441775,
    0.24022651219832893516,
    0.69314718053462102877,
    1.0,
];
