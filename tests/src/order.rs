//! What order means: of values, and of the elements along an axis.

use crate::Value;
use std::cmp::Ordering;

/// The order of values of one dtype: NaN is the largest and equal to NaN, 0 and -0 are equal.
pub fn compare(a: Value, b: Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(&b),
        (a, b) => {
            let (a, b) = (a.float(), b.float());
            a.is_nan().cmp(&b.is_nan()).then(a.partial_cmp(&b).unwrap_or(Ordering::Equal))
        }
    }
}

/// The positions of the values in order; those of equals stay in order.
pub fn sorted(values: &[Value], descending: bool) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..values.len()).collect();
    positions.sort_by(|&a, &b| {
        let order = compare(values[a], values[b]);
        if descending { order.reverse() } else { order }
    });
    positions
}

/// The numbers of the elements along an axis, for each position on the other axes in row-major order.
pub fn lines(shape: &[usize], axis: usize) -> Vec<Vec<usize>> {
    let (n, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let outer: usize = shape[..axis].iter().product();
    let line = |i: usize| (0..n).map(|j| (i / inner * n + j) * inner + i % inner).collect();
    (0..outer * inner).map(line).collect()
}
