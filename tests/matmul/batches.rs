//! Products of batches.

use super::whole_product;
use proptest::prelude::*;
use taut::{DType, Tensor};
use taut_tests::{At, Case, Check, Fill, Geometry, Interval, poison, same_tensors, upload, within};

/// Batches of products just off tiles, transposed or not, from any element on, with a common factor or without: exact.
pub(super) fn batches_at_tile_borders(at: &At) -> Check {
    for dtype in at.floats() {
        let all = [
            [3, 65, 67, 33],
            [2, 129, 130, 70],
            [5, 1, 37, 65],
            [4, 33, 1, 130],
            [2, 300, 9, 600],
            [3, 2, 2, 3000],
        ];
        for &[count, m, n, k] in at.shapes(&all, &[[3, 65, 67, 33], [2, 130, 9, 72]]) {
            for &turned in at.shapes(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], &[0, 6, 15]) {
                let bit = |i: usize| turned >> i & 1 == 1;
                let matrices = |shape: [usize; 3], turn: bool, lead: usize, seed| {
                    // Transposed within each matrix, and from an element that no pack begins with.
                    let steps = [[3, 1, 2, 0], [0, 0, lead, 0]];
                    let geometry = Geometry::viewed(&shape, &steps[usize::from(!turn)..], false);
                    Case { dtype, geometry, fill: Fill::Whole, seed }
                };
                let a = matrices([count, m, k], bit(0), usize::from(bit(2)), 1);
                let b = matrices([if bit(3) { 1 } else { count }, k, n], bit(1), 0, 2);
                let (left, right) = (a.values(), b.values());
                let want: Vec<Interval> = (0..count)
                    .flat_map(|i| {
                        let right = if bit(3) { &right[..] } else { &right[i * k * n..][..k * n] };
                        whole_product(&left[i * m * k..][..m * k], right, [m, n, k])
                    })
                    .collect();
                let (x, y) = (a.upload(&at.device)?, b.upload(&at.device)?);
                poison(&at.device, &[want.len() * dtype.size(), 4 << 20])?;
                let got = x.matmul(&y)?;
                within(&got, &want).map_err(|e| TestCaseError::fail(format!("{a:?} x {b:?}: {e}")))?;
            }
        }
    }
    Ok(())
}

/// Batch axes of any strides: heads that lie between the rows of a sequence, broadcast, sliced.
pub(super) fn batches_in_any_order(at: &At) -> Check {
    for dtype in at.floats() {
        let make = |shape: &[usize], seed| {
            let values = Fill::Whole.values(shape.iter().product(), dtype, seed);
            upload(&values, shape, dtype, &at.device)
        };
        // Batch, sequence, heads, width.
        let (q, k) = (make(&[2, 17, 3, 8], 1)?.transpose(1, 2)?, make(&[2, 19, 3, 8], 2)?.transpose(1, 2)?);
        let sliced = make(&[4, 3, 17, 9], 3)?.slice(0, 1..3)?.slice(3, 1..9)?;
        let one = make(&[3, 1, 8], 4)?.broadcast_to([2, 3, 5, 8])?;
        let half = make(&[2, 1, 8, 19], 5)?;
        for (a, b) in [
            (&q, k.clone().t()?),
            (&sliced, k.clone().t()?),
            (&one, k.t()?),
            (&q, half.clone()),
            (&sliced, half.clone().slice(0, 0..1)?),
            (&one, half.slice(2, 0..8)?),
        ] {
            // The same products, one after the other.
            let got = a.clone().matmul(&b)?;
            let b = b.clone().broadcast_to([2, 3, b.shape()[2], b.shape()[3]])?;
            for (i, j) in (0..2).flat_map(|i| (0..3).map(move |j| (i, j))) {
                let part = |x: &Tensor| -> taut::Result<Tensor> {
                    let shape = [x.shape()[2], x.shape()[3]];
                    x.clone().slice(0, i..i + 1)?.slice(1, j..j + 1)?.contiguous()?.reshape(shape)
                };
                same_tensors(&part(&got)?, &part(a)?.matmul(&part(&b)?)?)?;
            }
        }
    }
    Ok(())
}

/// More products than a grid has layers.
pub(super) fn many_tiny_products(at: &At) -> Check {
    const COUNT: usize = 70_000;
    for &dtype in at.shapes(&[DType::F32, DType::F16], &[DType::F16]) {
        for &[m, n, k] in at.shapes(&[[2, 2, 3], [1, 3, 2], [3, 1, 2], [1, 1, 5]], &[[2, 2, 3]]) {
            let a = Fill::Whole.values(COUNT * m * k, dtype, 1);
            let b = Fill::Whole.values(COUNT * k * n, dtype, 2);
            let want: Vec<Interval> = a
                .chunks(m * k)
                .zip(b.chunks(k * n))
                .flat_map(|(a, b)| whole_product(a, b, [m, n, k]))
                .collect();
            let (x, y) = (
                upload(&a, &[COUNT / 100, 100, m, k], dtype, &at.device)?,
                upload(&b, &[COUNT / 100, 100, k, n], dtype, &at.device)?,
            );
            poison(&at.device, &[want.len() * dtype.size()])?;
            within(&x.clone().matmul(&y)?, &want)?;
            // Of two axes that are none, so that launches end within them.
            let turned = |x: Tensor| x.transpose(0, 1);
            let got = turned(x)?.matmul(&turned(y)?)?;
            within(&turned(got)?, &want)?;
        }
    }
    Ok(())
}
