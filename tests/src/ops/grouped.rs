//! Lists of matrix products.

use super::matmul::product;
use crate::{Array, Draw, Elements, Fill, Op, Operand, Use, Want, split};
use taut::{DType, Tensor};

pub(super) fn ops() -> Vec<Op> {
    let scale = |numel: usize| vec![numel.isqrt() / 8; 2];
    vec![grouped().scale(scale), segments().scale(scale)]
}

/// Extents about packs and small tiles; in benches that of the shape.
fn extent(draw: &mut Draw) -> usize {
    if draw.is_bench() { draw.shape[0] } else { draw.one_of(&[8, 1, 0, 3, 16, 17, 40, 64, 65]) }
}

fn grouped() -> Op {
    Op::new("matmul_grouped", DType::is_float, |draw| {
        let count = if draw.is_bench() { 8 } else { 1 + draw.below(4) };
        let fill = draw.one_of(&[Fill::Wild, Fill::Whole]);
        let sizes: Vec<[usize; 3]> = (0..count).map(|_| [0; 3].map(|_| extent(draw))).collect();
        let dtype = draw.dtype;
        // All first factors, and then all second ones.
        let a = sizes.iter().map(|&[m, _, k]| Operand::new(&[m, k], dtype, fill));
        let b = sizes.iter().map(|&[_, n, k]| Operand::new(&[k, n], dtype, fill));
        let make = Use::several(
            a.chain(b).collect::<Vec<_>>(),
            move |x| Tensor::matmul_grouped(&x[..count], &x[count..]),
            move |x| x[..count].iter().zip(&x[count..]).map(|(a, b)| product(a, b, &[], dtype)).collect(),
        );
        Some(make.flops(sizes.iter().map(|[m, n, k]| 2.0 * (m * n * k) as f64).sum()))
    })
}

fn segments() -> Op {
    Op::new("matmul_segments", DType::is_float, |draw| {
        let count = if draw.is_bench() { 8 } else { 1 + draw.below(4) };
        let fill = draw.one_of(&[Fill::Wild, Fill::Whole]);
        let (k, n, dtype) = (extent(draw), extent(draw), draw.dtype);
        let sizes: Vec<usize> = (0..count).map(|_| extent(draw)).collect();
        let rows: usize = sizes.iter().sum();
        let weights = (0..count).map(|_| Operand::new(&[k, n], dtype, fill));
        let of = sizes.clone();
        let make = Use::new(
            [Operand::new(&[rows, k], dtype, fill)].into_iter().chain(weights).collect::<Vec<_>>(),
            move |x| {
                let (x, weights) = split(x)?;
                x.matmul_segments(&weights, &of)
            },
            {
                let sizes = sizes.clone();
                move |x| by_parts(x, &sizes, [k, n])
            },
        );
        Some(make.flops(2.0 * (rows * n * k) as f64).note(format!("{sizes:?}")))
    })
}

/// The products of parts of the rows, one below the other.
fn by_parts(x: &[Array], sizes: &[usize], [k, n]: [usize; 2]) -> Want {
    let (dtype, mut start, mut sums) = (x[0].dtype, 0, Vec::new());
    for (&size, weight) in sizes.iter().zip(&x[1..]) {
        let values = x[0].values[start * k..(start + size) * k].to_vec();
        start += size;
        let part = Array { shape: vec![size, k], dtype, values };
        if let Elements::Within(intervals) = product(&part, weight, &[], dtype).elements {
            sums.extend(intervals);
        }
    }
    Want::within(&[start, n], dtype, sums)
}
