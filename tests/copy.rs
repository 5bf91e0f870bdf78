//! Casts between all dtypes, and copies of all views.

use proptest::{collection::vec, prelude::*, sample::select};
use taut::{DType, Tensor};
use taut_tests::{At, Case, Check, Fill, Geometry, Step, Suite, cases, cast, poison, same, same_tensors};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("copy::casts_match_reference", casts_match_reference);
    suite.real("copy::contiguous_keeps_values", contiguous_keeps_values);
    suite.real("copy::tiles_meet_at_their_borders", tiles_meet_at_their_borders);
    suite.real("copy::planes_become_pixels_and_pixels_planes", planes_become_pixels_and_pixels_planes);
}

/// Every pair of dtypes, over any view.
fn casts_match_reference(at: &At) -> Check {
    let operands = (select(at.dtypes()), select(at.dtypes()))
        .prop_flat_map(|(from, to)| (Just(to), cases(from, Fill::Any, true)));
    at.for_all(operands, |(to, case)| {
        let want: Vec<_> = case.values().into_iter().map(|x| cast(x, to)).collect();
        let x = case.upload(&at.device)?;
        poison(&at.device, &[want.len() * to.size()])?;
        let got = x.clone().cast(to)?;
        prop_assert_eq!(got.dtype(), to);
        prop_assert_eq!(got.shape(), x.shape());
        same(&got, &want)?;
        same(&x, &case.values())
    })
}

/// `contiguous` copies only what is not, and `copy` always.
fn contiguous_keeps_values(at: &At) -> Check {
    let operands = select(at.dtypes()).prop_flat_map(|dtype| cases(dtype, Fill::Any, true));
    at.for_all(operands, |case| {
        let x = case.upload(&at.device)?;
        poison(&at.device, &[x.numel() * case.dtype.size()])?;
        let before = at.device.stats().allocations;
        let flat = x.clone().contiguous()?;
        prop_assert_eq!(at.device.stats().allocations - before, u64::from(!x.is_contiguous()));
        prop_assert!(flat.is_contiguous());
        same(&flat, &case.values())?;

        let copy = x.copy()?;
        prop_assert!(copy.is_contiguous());
        drop((x, flat));
        same_tensors(&copy, &case.upload(&at.device)?)
    })
}

/// Matrices as large as a few tiles of a kernel, between other axes, transposed, cut out and off any alignment; cast or
/// not, and joined to others, so that the destination is a part too.
fn tiles_meet_at_their_borders(at: &At) -> Check {
    let moves = [
        (DType::U8, DType::U8),
        (DType::F16, DType::F16),
        (DType::F32, DType::F32),
        (DType::I64, DType::I64),
        (DType::F32, DType::BF16),
        (DType::F16, DType::F32),
        (DType::BF16, DType::F16),
        (DType::U8, DType::F32),
        (DType::Bool, DType::F16),
    ];
    let long = || select(vec![3usize, 16, 31, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 512, 1025]);
    let short = vec(select(vec![2usize, 1, 3, 4, 8]), 0..=3);
    let choices = vec(0..60usize, 16);
    let operands = (select(moves.to_vec()), (long(), long()), short, choices, 0..1000u64);
    at.for_some(4, operands, |((from, to), (rows, columns), short, choices, seed)| {
        let (geometry, axis) = cut_and_permuted(rows, columns, &short, &choices);
        let case = Case { dtype: from, geometry, fill: Fill::Any, seed };
        let values = case.values();
        let want: Vec<_> = values.iter().map(|&x| cast(x, to)).collect();
        let x = case.upload(&at.device)?;
        poison(&at.device, &[want.len() * to.size()])?;
        same(&x.clone().cast(to)?.contiguous()?, &want)?;

        let both = taut::Tensor::cat(&[&x, &x], axis)?;
        let dim = x.shape()[axis];
        for half in [0..dim, dim..2 * dim] {
            same(&both.clone().slice(axis, half)?, &values)?;
        }
        let twice = x.clone().flip(&[axis])?.flip(&[axis])?;
        same(&twice, &values)
    })
}

/// A view of a matrix between up to three other axes, and one of its axes.
fn cut_and_permuted(rows: usize, columns: usize, short: &[usize], choices: &[usize]) -> (Geometry, usize) {
    let mut choice = choices.iter().copied().cycle();
    let mut below = |n: usize| choice.next().unwrap_or(0) % n;
    let mut shape = vec![rows, columns];
    for &dim in short {
        if shape.iter().product::<usize>() * dim <= 70_000 {
            shape.insert(below(shape.len() + 1), dim);
        }
    }
    if shape.iter().product::<usize>() > 70_000 {
        shape.iter_mut().for_each(|dim| *dim = (*dim).min(260));
    }
    let rank = shape.len();
    let swaps: Vec<_> = (0..rank).map(|axis| (axis, below(rank))).collect();
    let mut dims = shape.clone();
    let mut slices = Vec::new();
    for (axis, dim) in dims.iter_mut().enumerate() {
        let (before, after) = ([0, 0, 1, 8][below(4)], [0, 0, 7, 2][below(4)]);
        slices.push(Step::Slice(axis, before..before + *dim));
        *dim += before + after;
    }
    let start = [0, 16, 1, 4][below(4)];
    let numel = dims.iter().product::<usize>();
    let mut steps = vec![Step::Slice(0, start..start + numel), Step::Reshape(dims)];
    steps.extend(slices);
    steps.extend(swaps.into_iter().map(|(a, b)| Step::Transpose(a, b)));
    (Geometry::of(&[start + numel], steps), below(rank))
}

/// Images of few colours, both ways, cast or not: of whole packs and not, one or many.
fn planes_become_pixels_and_pixels_planes(at: &At) -> Check {
    let pairs = [
        (DType::U8, DType::F32),
        (DType::U8, DType::BF16),
        (DType::F16, DType::F16),
        (DType::F32, DType::F32),
        (DType::I64, DType::I64),
        (DType::F32, DType::F16),
        (DType::Bool, DType::Bool),
    ];
    for (images, colours, len) in
        [(1, 3, 5003), (3, 3, 4112), (2, 2, 2064), (3, 4, 6160), (2, 3, 4111), (1, 4, 33)]
    {
        let count = images * colours * len;
        // Small numbers, which all dtypes but bools hold, with no period that an extent divides.
        let whole: Vec<i64> = (0..count as i64).map(|i| i % 101).collect();
        let whole = Tensor::from_slice(&whole, [count], &at.device)?;
        for (from, to) in pairs {
            let x = whole.clone().cast(from)?;
            for planes in [true, false] {
                let shape = if planes { [images, colours, len] } else { [images, len, colours] };
                let x = x.clone().reshape(shape)?;
                let host: Vec<i64> = x.clone().cast(DType::I64)?.to_vec()?;
                poison(&at.device, &[count * to.size()])?;
                let got = x.transpose(1, 2)?.cast(to)?.contiguous()?;
                let got: Vec<i64> = got.cast(DType::I64)?.to_vec()?;
                let [_, down, across] = shape;
                let want = (0..count).map(|i| {
                    let (image, row, column) = (i / (down * across), i / down % across, i % down);
                    host[image * down * across + column * across + row]
                });
                prop_assert!(got.into_iter().eq(want), "{from} to {to}, {shape:?}");
            }
        }
    }
    Ok(())
}
