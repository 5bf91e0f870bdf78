//! What plots are made of. All lengths across are percentages and all others pixels, so that a plot fits any width and
//! its text keeps its size.

use super::escape;
use crate::table::{amount, is_scaled, number};
use std::fmt::Write;

/// How many colours there are for parts.
pub(super) const PARTS: usize = 9;

/// A scale from 0 to a round number.
pub(super) struct Axis {
    pub(super) step: f64,
    steps: u32,
}

impl Axis {
    /// Four or five round steps that hold `extent`.
    pub(super) fn to(extent: f64) -> Axis {
        let extent = if extent.is_finite() && extent > 0.0 { extent } else { 1.0 };
        let power = 10_f64.powf((extent / 5.0).log10().floor());
        let enough = |factor: &f64| extent / (factor * power) <= 5.000_001;
        let step = power * [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(enough).unwrap_or(10.0);
        Axis { step, steps: ((extent / step) - 1e-6).ceil().max(1.0) as u32 }
    }

    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> {
        (0..=self.steps).map(|i| f64::from(i) * self.step)
    }

    /// Where a value lies, in percent of the width.
    pub(super) fn percent(&self, value: f64) -> f64 {
        (100.0 * value / (self.step * f64::from(self.steps))).clamp(0.0, 100.0)
    }
}

/// How text at this place keeps within the plot.
pub(super) fn anchor(x: f64) -> &'static str {
    match x {
        x if x < 8.0 => "start",
        x if x > 92.0 => "end",
        _ => "middle",
    }
}

pub(super) fn line(svg: &mut String, class: &str, from: (f64, u32), to: (f64, u32)) {
    let _ = write!(
        svg,
        "<line class=\"{class}\" x1=\"{:.2}%\" y1=\"{}\" x2=\"{:.2}%\" y2=\"{}\"/>",
        from.0, from.1, to.0, to.1
    );
}

pub(super) fn text(svg: &mut String, class: &str, x: f64, y: u32, anchor: &str, text: &str) {
    let text = escape(text);
    let _ =
        write!(svg, "<text class=\"{class}\" x=\"{x:.2}%\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>");
}

/// A round number: without the zeros that only measured values need, and without a unit that a caption has.
pub(super) fn round(value: f64, unit: &str) -> String {
    if !is_scaled(unit) {
        return number(value);
    }
    let text = amount(value, unit);
    match text.split_once(' ') {
        Some((digits, unit)) if digits.contains('.') => {
            format!("{} {unit}", digits.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (extent, step, steps) in
            [(4233.0, 1000.0, 5), (1.0, 0.2, 5), (9.9, 2.0, 5), (0.0, 0.2, 5), (12.0, 2.5, 5)]
        {
            let axis = Axis::to(extent);
            assert!(
                (axis.step - step).abs() < 1e-9 * step && axis.steps == steps,
                "{extent}: {} {}",
                axis.step,
                axis.steps
            );
            assert!(axis.percent(extent) <= 100.0);
        }
    }
}
