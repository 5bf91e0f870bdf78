//! Comparing tensors with what they should be.

use crate::{Check, Elements, Grid, Value, bytes, download, fail, round};
use taut::Tensor;

/// What a value may be before it is rounded to its dtype.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Interval {
    /// Within `error` of `x`. NaN for NaN, and only the infinity itself for an infinity.
    pub fn around(x: f64, error: f64) -> Interval {
        if x.is_finite() {
            Interval { low: x - error, high: x + error }
        } else {
            Interval { low: x, high: x }
        }
    }

    /// Through a function that never falls.
    pub fn map(self, f: impl Fn(f64) -> f64) -> Interval {
        Interval { low: f(self.low), high: f(self.high) }
    }
}

/// The same bits; any NaN is as good as another.
///
/// # Errors
///
/// A failure that names the first coordinate at which they differ, and both values.
pub fn same(got: &Tensor, want: &[Value]) -> Check {
    compare(got, want, |got, want| got.is(*want))
}

/// The same shape, dtype and bits.
///
/// # Errors
///
/// As [`same`].
pub fn same_tensors(got: &Tensor, want: &Tensor) -> Check {
    if got.shape() != want.shape() || got.dtype() != want.dtype() {
        return Err(fail(format!("got {got:?}, want {want:?}")));
    }
    // Bits that are all the same are compared as they are: most often that is all, and 16 bytes an element are many.
    if bytes(got)? == bytes(want)? { Ok(()) } else { same(got, &download(want)?) }
}

/// Within the intervals, of which both ends are rounded to the dtype: rounding never reorders, so that is half an ulp
/// and no more.
///
/// # Errors
///
/// As [`same`].
pub fn within(got: &Tensor, want: &[Interval]) -> Check {
    let dtype = got.dtype();
    compare(got, want, |got, want| {
        let (x, low, high) = (got.float(), round(want.low, dtype), round(want.high, dtype));
        if low.is_nan() || high.is_nan() { x.is_nan() } else { low <= x && x <= high }
    })
}

/// [`same`] or [`within`].
///
/// # Errors
///
/// As [`same`].
pub fn meets(got: &Tensor, want: &Elements) -> Check {
    match want {
        Elements::Exact(values) => same(got, values),
        Elements::Within(intervals) => within(got, intervals),
    }
}

fn compare<W: std::fmt::Debug>(got: &Tensor, want: &[W], fits: impl Fn(Value, &W) -> bool) -> Check {
    let values = download(got)?;
    if values.len() != want.len() {
        return Err(fail(format!("{got:?} has {} elements, want {}", values.len(), want.len())));
    }
    let bad = |i: &usize| !fits(values[*i], &want[*i]);
    let Some(first) = (0..want.len()).find(bad) else { return Ok(()) };
    let coordinates = Grid::new(got.shape()).coordinates(first);
    let (count, value, wanted) = ((0..want.len()).filter(bad).count(), values[first], &want[first]);
    Err(fail(format!(
        "{got:?} at {coordinates:?}: got {value:?}, want {wanted:?} ({count} of {} differ)",
        want.len()
    )))
}
