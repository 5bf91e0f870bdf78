//! Matrix products against sums in f64.

mod batches;
mod grouped;
mod tf32;
pub(crate) mod whole;

use proptest::{prelude::*, sample::select};
use taut::{Activation, DType, Tensor};
use taut_tests::{
    At, Case, Check, Fill, Geometry, Interval, Suite, Value, half_up, poison, product_error, same_tensors,
    unary, upload, within,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("matmul::matches_reference", matches_reference);
    suite.real("matmul::adds_in_place", adds_in_place);
    suite.real("matmul::linear_is_product_bias_activation", linear_is_product_bias_activation);
    suite.real("matmul::whole_products_are_exact", whole_products_are_exact);
    suite.real("matmul::all_tile_borders", all_tile_borders);
    suite.real("matmul::wide_layers", wide_layers);
    suite.cuda("matmul::large_products", whole::large_products);
    suite.cuda("matmul::large_results", whole::large_results);
    suite.cuda("matmul::few_tiles", whole::few_tiles);
    suite.cuda("matmul::few_rows_along_n", whole::few_rows_along_n);
    suite.real("matmul::products_of_odd_rows", whole::products_of_odd_rows);
    suite.real("matmul::long_dots", whole::long_dots);
    suite.real("matmul::results_on_no_pack", whole::results_on_no_pack);
    suite.real("matmul::batches_at_tile_borders", batches::batches_at_tile_borders);
    suite.real("matmul::batches_in_any_order", batches::batches_in_any_order);
    suite.real("matmul::many_tiny_products", batches::many_tiny_products);
    suite.real("matmul::repeats", repeats);
    suite.everywhere("matmul::nothing_is_copied", nothing_is_copied);
    suite.real("matmul::grouped::all_tile_borders", grouped::all_tile_borders);
    suite.real("matmul::grouped::long_lists", grouped::long_lists);
    suite.cuda("matmul::grouped::large_lists", grouped::large_lists);
    suite.real("matmul::grouped::parts_and_shared_factors", grouped::parts_and_shared_factors);
    suite.real("matmul::grouped::gradients_of_segments", grouped::gradients_of_segments);
    suite.real("matmul::grouped::is_recorded_in_graphs", grouped::is_recorded_in_graphs);
    suite.real("matmul::grouped::plan_equals_measured", grouped::plan_equals_measured);
    suite.everywhere("matmul::grouped::errors", grouped::errors);
    tf32::trials(suite);
}

/// Extents about fragments of 8 and 16 and tiles of 32 to 128.
const EXTENTS: [usize; 22] =
    [1, 2, 3, 0, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 127, 128, 130];

/// `m`, `n`, `k`, with at most so many products that the definition is quick.
fn extents() -> impl Strategy<Value = [usize; 3]> {
    [0; 3].map(|_| select(&EXTENTS[..])).prop_map(|[m, n, k]| {
        let k = k.min(400_000 / (m * n).max(1));
        [m, n, k]
    })
}

/// A matrix of some values, as a view.
fn matrices(shape: [usize; 2], dtype: DType, fill: Fill) -> impl Strategy<Value = Case> {
    let shape = shape.to_vec();
    let choices = proptest::collection::vec([0..60usize, 0..60usize, 0..60usize, 0..60usize], 0..=3);
    (choices, 0..1000u64).prop_map(move |(choices, seed)| Case {
        dtype,
        geometry: Geometry::viewed(&shape, &choices, true),
        fill,
        seed,
    })
}

/// Two matrices that can be multiplied: `[m, k]` and `[k, n]`.
fn factors(dtypes: Vec<DType>, fill: Fill) -> impl Strategy<Value = (Case, Case)> {
    (extents(), select(dtypes)).prop_flat_map(move |([m, n, k], dtype)| {
        (matrices([m, k], dtype, fill), matrices([k, n], dtype, fill))
    })
}

/// `start + a b`, as intervals.
fn products(a: &[Value], b: &[Value], [m, n, k]: [usize; 3], dtype: DType, start: &[Value]) -> Vec<Interval> {
    let at = |i: usize| (i / n, i % n);
    let term = |(row, column): (usize, usize), j: usize| (a[row * k + j].float(), b[j * n + column].float());
    (0..m * n)
        .map(|i| {
            let from = start.get(i).map_or(0.0, |x| x.float());
            product_error((0..k).map(|j| term(at(i), j)), from, dtype)
        })
        .collect()
}

fn sizes(a: &Case, b: &Case) -> [usize; 3] {
    [a.geometry.shape[0], b.geometry.shape[1], a.geometry.shape[1]]
}

/// Any dtype, extents and views: transposed, sliced, broadcast; NaN and infinities go where they must.
fn matches_reference(at: &At) -> Check {
    at.for_all(factors(at.floats(), Fill::Wild), |(a, b)| {
        let size = sizes(&a, &b);
        let want = products(&a.values(), &b.values(), size, a.dtype, &[]);
        let (x, y) = (a.upload(&at.device)?, b.upload(&at.device)?);
        poison(&at.device, &[want.len() * a.dtype.size(), 4 << 20])?;
        let got = x.clone().matmul(&y)?;
        prop_assert_eq!(&got.shape()[..], &size[..2]);
        prop_assert_eq!(got.dtype(), a.dtype);
        within(&got, &want)
    })
}

/// `addmm_` into the dtype of the factors and into f32, which rounds nothing to 16 bits.
fn adds_in_place(at: &At) -> Check {
    at.for_all((factors(at.floats(), Fill::Tame), any::<bool>(), 0..9usize), |((a, b), wide, lead)| {
        let [m, n, _] = sizes(&a, &b);
        let dtype = if wide && a.dtype != DType::F64 { DType::F32 } else { a.dtype };
        let start = Fill::Tame.values(m * n + lead, dtype, a.seed);
        let want = products(&a.values(), &b.values(), sizes(&a, &b), a.dtype, &start[lead..]);
        // The sum is contiguous, but need not begin at any border.
        let mut sum = upload(&start, &[m * n + lead], dtype, &at.device)?
            .slice(0, lead..m * n + lead)?
            .reshape([m, n])?;
        poison(&at.device, &[4 << 20])?;
        sum.addmm_(&a.upload(&at.device)?, &b.upload(&at.device)?)?;
        prop_assert_eq!(sum.dtype(), dtype);
        within(&sum, &want)
    })
}

/// `activation(x w^T + bias)`, rounded once.
fn linear_is_product_bias_activation(at: &At) -> Check {
    const ACTIVATIONS: [Activation; 4] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.01 },
        Activation::LeakyRelu { slope: 0.5 },
    ];
    let operands = (extents(), select(at.floats()), select(&ACTIVATIONS[..]), any::<bool>(), 0..3usize)
        .prop_flat_map(|([m, n, k], dtype, activation, with_bias, rank)| {
            let cases = (matrices([m, k], dtype, Fill::Tame), matrices([n, k], dtype, Fill::Tame));
            let bias = matrices([1, n], dtype, Fill::Tame);
            (cases, bias, Just((activation, with_bias, rank)))
        });
    at.for_all(operands, |((x, w), bias, (activation, with_bias, rank))| {
        let (m, k, n) = (x.geometry.shape[0], x.geometry.shape[1], w.geometry.shape[0]);
        let dtype = x.dtype;
        let weight = w.upload(&at.device)?;
        let transposed: Vec<Value> = {
            let values = w.values();
            (0..k * n).map(|i| values[i % n * k + i / n]).collect()
        };
        let added = bias.values();
        let starts = if with_bias { (0..m * n).map(|i| added[i % n]).collect() } else { Vec::new() };
        let sums = products(&x.values(), &transposed, [m, n, k], dtype, &starts);
        let op = activation.unary();
        let want = sums.into_iter().map(|sum| {
            let y = sum.map(|x| op.map_or(x, |op| unary(op, Value::Float(x), DType::F64).float()));
            let rounding = 2.0 * half_up(dtype) * y.low.abs().max(y.high.abs());
            Interval { low: y.low - rounding, high: y.high + rounding }
        });
        let want: Vec<_> = want.collect();

        let input = x.upload(&at.device)?;
        // Leading axes are rows.
        let (input, shape) = match rank {
            0 if m == 1 => (input.reshape([k])?, vec![n]),
            1 => (input.reshape([1, m, 1, k])?, vec![1, m, 1, n]),
            _ => (input, vec![m, n]),
        };
        let bias = bias.upload(&at.device)?.slice(0, 0..1)?.reshape([n])?;
        poison(&at.device, &[want.len() * dtype.size(), 4 << 20])?;
        let got = input.clone().linear_with(&weight, with_bias.then_some(&bias), activation)?;
        prop_assert_eq!(&got.shape()[..], &shape[..]);
        within(&got, &want)?;
        if !with_bias && activation == Activation::Identity {
            same_tensors(&input.linear(&weight)?, &got)?;
        }
        Ok(())
    })
}

/// Products of small whole numbers have no error at all before they are rounded to the dtype of the result.
fn whole_products_are_exact(at: &At) -> Check {
    at.for_all(factors(at.floats(), Fill::Whole), |(a, b)| {
        let want = products(&a.values(), &b.values(), sizes(&a, &b), a.dtype, &[]);
        let want: Vec<_> = want.into_iter().map(|x| x.map(f64::round)).collect();
        within(&a.upload(&at.device)?.matmul(&b.upload(&at.device)?)?, &want)
    })
}

/// Sizes just off the largest tiles, transposed or not, exact.
fn all_tile_borders(at: &At) -> Check {
    for dtype in at.floats() {
        // The last ones lie on 16 bytes, as kernels of the largest tiles want it, and are large enough for them.
        let all = [
            [257, 259, 1025],
            [128, 256, 64],
            [1, 1031, 2050],
            [600, 1, 333],
            [129, 130, 4],
            [2056, 1544, 72],
            [1160, 520, 264],
            [520, 648, 136],
            [72, 136, 2056],
        ];
        let few = [[257, 131, 69], [128, 256, 64], [1, 264, 130], [72, 136, 328]];
        for &[m, n, k] in at.shapes(&all, &few) {
            for turned in [0, 1, 2, 3] {
                let matrix = |shape: [usize; 2], turn: bool, seed| {
                    let steps: &[[usize; 4]] = if turn { &[[3, 0, 1, 0]] } else { &[] };
                    Case { dtype, geometry: Geometry::viewed(&shape, steps, false), fill: Fill::Whole, seed }
                };
                let (a, b) = (matrix([m, k], turned & 1 == 1, 1), matrix([k, n], turned & 2 == 2, 2));
                let (x, y) = (a.upload(&at.device)?, b.upload(&at.device)?);
                poison(&at.device, &[m * n * dtype.size(), 4 << 20])?;
                let got = x.matmul(&y)?;
                let whole = whole_product(&a.values(), &b.values(), [m, n, k]);
                within(&got, &whole).map_err(|e| TestCaseError::fail(format!("{a:?} x {b:?}: {e}")))?;
            }
        }
    }
    Ok(())
}

/// Layers of many outputs, or of few rows or columns and a long `k`: `m`, `n`, `k`.
const LAYERS: [[usize; 3]; 10] = [
    [3, 1031, 40],
    [300, 520, 8],
    [16, 24, 4104],
    [5, 3000, 520],
    [17, 1031, 2056],
    [16, 9000, 72],
    [33, 520, 776],
    [64, 37, 8200],
    [100, 130, 104],
    [2000, 9, 264],
];

const FEW_LAYERS: [[usize; 3]; 3] = [[3, 1031, 40], [16, 24, 520], [100, 130, 104]];

/// Bias and activation in every tile of a layer, exact, and rounded once.
fn wide_layers(at: &At) -> Check {
    for dtype in at.floats() {
        for &[m, n, k] in at.shapes(&LAYERS, &FEW_LAYERS) {
            let matrix = |shape: [usize; 2], seed| Case {
                dtype,
                geometry: Geometry::plain(&shape),
                fill: Fill::Whole,
                seed,
            };
            let (x, w) = (matrix([m, k], 1), matrix([n, k], 2));
            let bias: Vec<Value> = (0..n).map(|i| Value::Float((i % 200) as f64 - 100.0)).collect();
            let values = w.values();
            let transposed = w.geometry.grid().transpose(0, 1).index;
            let transposed: Vec<Value> = transposed.into_iter().map(|i| values[i]).collect();
            let want =
                whole_product(&x.values(), &transposed, [m, n, k]).into_iter().zip(bias.iter().cycle());
            let want: Vec<_> = want.map(|(sum, bias)| sum.map(|x| (x + bias.float()).max(0.0))).collect();
            let bias = upload(&bias, &[n], dtype, &at.device)?;
            poison(&at.device, &[m * n * dtype.size(), 4 << 20])?;
            let got =
                x.upload(&at.device)?.linear_with(&w.upload(&at.device)?, Some(&bias), Activation::Relu)?;
            within(&got, &want).map_err(|e| TestCaseError::fail(format!("{dtype} {m} x {n} x {k}: {e}")))?;
        }
    }
    Ok(())
}

/// The product of matrices of whole numbers, without error: sums of fewer than 2^20 products of [`Fill::Whole`] are exact in f32.
fn whole_product(a: &[Value], b: &[Value], [m, n, k]: [usize; 3]) -> Vec<Interval> {
    let numbers = |x: &[Value]| x.iter().map(|x| x.float() as f32).collect::<Vec<_>>();
    let (a, b) = (numbers(a), numbers(b));
    let mut out = vec![0f32; m * n];
    for (row, out) in out.chunks_mut(n).enumerate() {
        for (j, b) in b.chunks(n).enumerate() {
            let a = a[row * k + j];
            out.iter_mut().zip(b).for_each(|(x, b)| *x += a * b);
        }
    }
    out.into_iter().map(|x| Interval { low: x.into(), high: x.into() }).collect()
}

/// No operand is copied, whatever its strides: at most the result is new.
fn nothing_is_copied(at: &At) -> Check {
    let make = |shape: &[usize]| Tensor::zeros(shape, DType::F16, &at.device);
    let new = |call: &dyn Fn() -> taut::Result<Tensor>| -> Result<u64, TestCaseError> {
        at.device.pool().reset_peaks();
        let before = at.device.stats().live_bytes;
        let out = call()?;
        let tensors = at.device.stats().peak_tensor_bytes - before;
        Ok(tensors - (out.numel() * 2) as u64)
    };
    let x = make(&[20, 30, 40])?;
    let (weight, bias) = (make(&[50, 40])?, make(&[1])?.broadcast_to([50])?);
    for x in [x.clone(), x.clone().transpose(0, 1)?, x.clone().slice(2, 0..40)?.slice(1, 3..9)?] {
        prop_assert_eq!(new(&|| x.clone().linear(&weight))?, 0);
        prop_assert_eq!(new(&|| x.clone().linear_with(&weight, Some(&bias), Activation::Relu))?, 0);
        prop_assert_eq!(new(&|| x.clone().t()?.matmul(&x))?, 0);
    }
    let (q, k) = (make(&[4, 70, 2, 8])?, make(&[4, 60, 2, 8])?);
    let einsum = |subscripts: &'static str, a: &Tensor, b: &Tensor| {
        let (a, b) = (a.clone(), b.clone());
        new(&move || Tensor::einsum(subscripts, &[&a, &b]))
    };
    prop_assert_eq!(einsum("bqhd,bkhd->bhqk", &q, &k)?, 0);
    prop_assert_eq!(einsum("bqhd,bkhd->kqbh", &q, &k)?, 0);
    prop_assert_eq!(einsum("xyhd,zhd->xyz", &q, &make(&[9, 2, 8])?)?, 0);
    prop_assert_eq!(einsum("xyhd,hz->xyzd", &q, &make(&[2, 9])?)?, 0);
    prop_assert_eq!(einsum("ij,kjl->ilk", &make(&[5, 6])?, &make(&[7, 6, 8])?)?, 0);
    // Summed axes that lie in two orders: one operand is copied, the smaller.
    prop_assert_eq!(einsum("ijk,kjl->il", &x, &make(&[40, 30, 3])?)?, 40 * 30 * 3 * 2);
    Ok(())
}

/// The same bits every time.
fn repeats(at: &At) -> Check {
    for dtype in [DType::F32, DType::F16] {
        let k = at.shapes(&[2000], &[200])[0];
        let a = Tensor::normal([300, k], 0.0, 1.0, 1, dtype, &at.device)?;
        let first = a.clone().matmul(&a.clone().t()?)?;
        for _ in 0..3 {
            same_tensors(&a.clone().matmul(&a.clone().t()?)?, &first)?;
        }
    }
    Ok(())
}
