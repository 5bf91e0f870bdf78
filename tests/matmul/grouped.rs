//! Lists of products: of whole numbers, which f32 has no error for, in all sizes about tiles, however they lie; long lists;
//! what plans say of them, graphs, gradients and errors.

use proptest::prelude::*;
use taut::{DType, Device, ErrorKind, Graphed, Result, Stats, Tensor};
use taut_tests::{At, Check, Fill, Rng, fail, figures, kind_of, message_of, poison, same_tensors, upload};

/// `m`, `n`, `k` about the tiles of the kernels: with one row of tiles and several, even and odd, with half a tile that is
/// empty; results on packs and not; sums that end within a step.
const SIZES: [[usize; 3]; 14] = [
    [1, 264, 64],
    [60, 100, 72],
    [64, 520, 8],
    [65, 257, 200],
    [128, 256, 136],
    [129, 131, 64],
    [200, 776, 64],
    [256, 8, 264],
    [257, 512, 72],
    [320, 300, 40],
    [385, 248, 128],
    [0, 64, 64],
    [64, 64, 0],
    [33, 0, 8],
];

/// A matrix of whole numbers, stored by rows or by columns.
fn whole(at: &At, [rows, columns]: [usize; 2], by_columns: bool, seed: u64, dtype: DType) -> Result<Tensor> {
    let values = Fill::Whole.values(rows * columns, dtype, seed);
    if by_columns {
        upload(&values, &[columns, rows], dtype, &at.device)?.t()
    } else {
        upload(&values, &[rows, columns], dtype, &at.device)
    }
}

/// The factors of such products. `lies` says for each whether they are stored by columns.
fn factors(
    at: &At,
    sizes: &[[usize; 3]],
    lies: impl Fn(usize) -> [bool; 2],
    dtype: DType,
) -> Result<[Vec<Tensor>; 2]> {
    let make = |(i, &[m, n, k]): (usize, &[usize; 3])| {
        let ([a, b], seed) = (lies(i), 2 * i as u64);
        Ok((whole(at, [m, k], a, seed, dtype)?, whole(at, [k, n], b, seed + 1, dtype)?))
    };
    let pairs = sizes.iter().enumerate().map(make).collect::<Result<Vec<_>>>()?;
    let (a, b) = pairs.into_iter().unzip();
    Ok([a, b])
}

/// That a list gives what products of f32 give, rounded.
fn check(at: &At, [a, b]: &[Vec<Tensor>; 2]) -> Check {
    let dtype = a[0].dtype();
    let wide = if dtype == DType::F64 { dtype } else { DType::F32 };
    let want =
        a.iter().zip(b).map(|(a, b)| a.clone().cast(wide)?.matmul(&b.clone().cast(wide)?)?.cast(dtype));
    let want = want.collect::<Result<Vec<_>>>()?;
    let bytes = want.iter().map(|x| x.numel() * dtype.size());
    poison(&at.device, &bytes.chain([4 << 20]).collect::<Vec<_>>())?;
    let got = Tensor::matmul_grouped(a, b)?;
    prop_assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let (a, b) = (&a[i], &b[i]);
        same_tensors(got, want).map_err(|e| fail(format!("product {i}, {a:?} x {b:?}: {e}")))?;
    }
    Ok(())
}

/// All lie alike, or each otherwise.
pub(super) fn all_tile_borders(at: &At) -> Check {
    for dtype in at.floats() {
        for &turned in at.shapes(&[0, 1, 2, 3, 4], &[1, 4]) {
            let lies = |i: usize| if turned < 4 { turned } else { i % 4 };
            let lies = |i: usize| [lies(i) & 1 == 1, lies(i) & 2 == 2];
            check(at, &factors(at, &SIZES, lies, dtype)?)?;
        }
    }
    Ok(())
}

/// More products than a launch holds, of one size or of many.
pub(super) fn long_lists(at: &At) -> Check {
    for &dtype in at.shapes(&[DType::F16, DType::F32], &[DType::F16]) {
        let mut rng = Rng(3);
        let mut size = || [rng.below(70), 8 * rng.below(9), 8 * rng.below(9)];
        let uneven: Vec<[usize; 3]> = (0..200).map(|_| size()).collect();
        check(at, &factors(at, &uneven, |_| [false, true], dtype)?)?;
        check(at, &factors(at, &[[40, 48, 64]; 170], |_| [false, true], dtype)?)?;
        check(at, &factors(at, &[[40, 48, 64]], |_| [false, true], dtype)?)?;
    }
    let none: [Tensor; 0] = [];
    prop_assert_eq!(Tensor::matmul_grouped(&none, &none)?.len(), 0);
    Ok(())
}

/// Lists that fill a card several times: tiles in pairs, rows of tiles that are alone, sums of very different length.
pub(super) fn large_lists(at: &At) -> Check {
    let all =
        [(64, 2048, 1024, &[512][..]), (30, 1500, 1111, &[64, 2048, 520]), (90, 300, 776, &[136, 1032])];
    for &(count, most_rows, n, lengths) in at.shapes(&all, &[(20, 300, 264, &[72, 136][..])]) {
        let mut rng = Rng(count as u64);
        let sizes: Vec<_> =
            (0..count).map(|i| [1 + rng.below(most_rows), n, lengths[i % lengths.len()]]).collect();
        for &dtype in at.shapes(&[DType::F16, DType::BF16], &[DType::F16]) {
            // The rows of a factor that is stored by columns must begin on packs.
            let even: Vec<_> = sizes.iter().map(|&[m, n, k]| [m.next_multiple_of(8), n / 8 * 8, k]).collect();
            check(at, &factors(at, &sizes, |_| [false, true], dtype)?)?;
            check(at, &factors(at, &even, |_| [true, false], dtype)?)?;
        }
    }
    Ok(())
}

/// Views that begin anywhere, as parts of one matrix, and factors that several products share.
pub(super) fn parts_and_shared_factors(at: &At) -> Check {
    for dtype in at.floats() {
        let rows = whole(at, [400, 130], false, 1, dtype)?.slice(1, 1..129)?;
        let packs = whole(at, [400, 128], false, 2, dtype)?;
        let weight = whole(at, [128, 72], true, 3, dtype)?;
        for matrix in [rows, packs] {
            let a = matrix.split(0, &[130, 1, 0, 200, 69])?;
            let b = vec![weight.clone(); a.len()];
            check(at, &[a, b])?;
        }
        let one = whole(at, [1, 64], false, 4, dtype)?.broadcast_to([90, 64])?;
        let square = whole(at, [64, 64], false, 5, dtype)?;
        check(
            at,
            &[vec![one, square.clone(), square.clone()], vec![square.clone(), square.clone(), square]],
        )?;
    }
    Ok(())
}

/// Gradients of segments: those of one product for each part, of whole numbers.
pub(super) fn gradients_of_segments(at: &At) -> Check {
    let (sizes, k, n) = ([130, 0, 64, 1, 257], 136, 264);
    let rows = sizes.iter().sum();
    for dtype in at.floats() {
        let x = whole(at, [rows, k], false, 1, dtype)?.require_grad()?;
        let weights =
            (0..sizes.len()).map(|i| whole(at, [k, n], i % 2 == 0, 2 + i as u64, dtype)?.require_grad());
        let weights = weights.collect::<Result<Vec<_>>>()?;
        let grad = whole(at, [rows, n], false, 9, dtype)?;
        poison(&at.device, &[4 << 20])?;
        x.clone().matmul_segments(&weights, &sizes)?.backward_with(grad.clone())?;
        let gradient = |x: &Tensor| x.take_grad().ok_or_else(|| fail("no gradient"));
        let got: Vec<Tensor> = [&x].into_iter().chain(&weights).map(gradient).collect::<Result<_, _>>()?;

        let (parts, grads) = (x.detach().split(0, &sizes)?, grad.split(0, &sizes)?);
        let mut of_rows = Vec::new();
        for (i, (part, grad)) in parts.into_iter().zip(grads).enumerate() {
            of_rows.push(grad.clone().matmul(&weights[i].clone().detach().t()?)?);
            same_tensors(&got[i + 1], &part.t()?.matmul(&grad)?)
                .map_err(|e| fail(format!("weight {i}: {e}")))?;
        }
        same_tensors(&got[0], &Tensor::cat(&of_rows, 0)?)?;
    }
    Ok(())
}

/// A graph holds its own list, and gives the same bits.
pub(super) fn is_recorded_in_graphs(at: &At) -> Check {
    let lists = factors(at, &SIZES, |_| [false, true], DType::F16)?;
    let [a, b] = &lists;
    let (want, count) = (Tensor::matmul_grouped(a, b)?, a.len());
    let inputs = a.iter().chain(b).cloned().collect();
    let mut graph = Graphed::new(inputs, |x| Tensor::matmul_grouped(&x[..count], &x[count..]))?;
    for _ in 0..2 {
        for (got, want) in graph.again()?.iter().zip(&want) {
            same_tensors(got, want)?;
        }
    }
    Ok(())
}

/// With workspaces and without, of all lists and their gradients.
pub(super) fn plan_equals_measured(at: &At) -> Check {
    let program = |device: &Device| -> Result<Stats> {
        for dtype in [DType::F16, DType::F32] {
            let new =
                |rows: usize, columns: usize| Tensor::zeros([rows, columns], dtype, device)?.require_grad();
            let a = (0..100).map(|i| new(i * 7, 64 + i % 3)).collect::<Result<Vec<_>>>()?;
            let b = (0..100).map(|i| new(64 + i % 3, 8 * i)).collect::<Result<Vec<_>>>()?;
            let c = Tensor::matmul_grouped(&a, &b)?;
            c[99].clone().square()?.sum(&[])?.backward()?;
            let sizes: Vec<usize> = (0..20).map(|i| i * 5).collect();
            let weights = (0..20).map(|_| new(72, 136)).collect::<Result<Vec<_>>>()?;
            new(950, 72)?.matmul_segments(&weights, &sizes)?.square()?.sum(&[])?.backward()?;
        }
        Ok(figures(device))
    };
    let (real, plan) = (at.fresh()?, Device::plan(at.device.spec()));
    prop_assert_eq!(program(&real)?, program(&plan)?);
    Ok(())
}

/// They name the product or the weight, and leave nothing.
pub(super) fn errors(at: &At) -> Check {
    let new = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &at.device);
    let (a, b, half) = (new(&[3, 4], DType::F32)?, new(&[4, 5], DType::F32)?, new(&[4, 5], DType::F16)?);
    let (row, whole) = (new(&[4], DType::F32)?, new(&[3, 4], DType::I64)?);
    let elsewhere = Tensor::zeros([4, 5], DType::F32, &at.fresh()?)?;
    let live = at.device.stats().live_bytes;
    let list = |a: &[&Tensor], b: &[&Tensor]| Tensor::matmul_grouped(a, b).map(drop);
    let parts = |x: &Tensor, weights: &[&Tensor], sizes: &[usize]| {
        x.clone().matmul_segments(weights, sizes).map(drop)
    };
    for (result, kind, message) in [
        (list(&[&a, &a], &[&b]), ErrorKind::Shape, "matmul_grouped: 2 matrices by 1: must be as many"),
        (
            list(&[&a, &a], &[&b, &a]),
            ErrorKind::Shape,
            "matmul_grouped: product 1: [3, 4] and [3, 4]: must be",
        ),
        (
            list(&[&row], &[&b]),
            ErrorKind::Shape,
            "matmul_grouped: product 0: [4] and [4, 5]: must be [m, k] and",
        ),
        (list(&[&a, &a], &[&b, &half]), ErrorKind::DType, "matmul_grouped: product 1: f32 and f16 differ"),
        (
            list(&[&a, &whole], &[&b, &whole]),
            ErrorKind::DType,
            "matmul_grouped: product 1: does not take i64",
        ),
        (list(&[&a, &a], &[&b, &elsewhere]), ErrorKind::Device, "matmul_grouped: product 1: "),
        (list(&[&a, &elsewhere], &[&b, &b]), ErrorKind::Device, "matmul_grouped: product 1: "),
        (
            parts(&row, &[&b], &[4]),
            ErrorKind::Shape,
            "matmul_segments: the input is [4], it must be [rows, k]",
        ),
        (parts(&a, &[], &[]), ErrorKind::Shape, "matmul_segments: [3, 4] by no weights"),
        (
            parts(&a, &[&b, &b], &[3]),
            ErrorKind::Shape,
            "matmul_segments: [3]: must be 2 sizes that add up to",
        ),
        (
            parts(&a, &[&b, &b], &[3, 1]),
            ErrorKind::Shape,
            "matmul_segments: [3, 1]: must be 2 sizes that add up",
        ),
        (
            parts(&a, &[&b, &a], &[1, 2]),
            ErrorKind::Shape,
            "matmul_segments: weight 1: [3, 4]: must be [4, 5]",
        ),
        (parts(&a, &[&b, &half], &[1, 2]), ErrorKind::DType, "matmul_segments: weight 1: f32 and f16 differ"),
        (parts(&whole, &[&whole], &[3]), ErrorKind::DType, "matmul_segments: does not take i64"),
        (parts(&a, &[&elsewhere], &[3]), ErrorKind::Device, "matmul_segments: weight 0: "),
    ] {
        let (found, said) = (kind_of(result.clone())?, message_of(result)?);
        prop_assert_eq!(found, kind, "{}", &said);
        prop_assert!(said.starts_with(message), "{} is not {}", said, message);
    }
    prop_assert_eq!(at.device.stats().live_bytes, live);
    Ok(())
}
