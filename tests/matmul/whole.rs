//! Products of whole numbers in 16 bits, which f32 has no error for, against those of f32: large ones, of few tiles, and of rows
//! on no packs.

use taut::{Activation, DType, Result, Tensor};
use taut_tests::{At, Check, Value, poison, same, same_tensors};

/// Products and gradients that fill the card with the largest tiles and end beside them, in 16 bits: of whole numbers, which f32
/// has no error for, so that the products of f32 are the reference.
pub(super) fn large_products(at: &At) -> Check {
    // Tiles that fill a card of 132 multiprocessors nearly four times, nearly once, and with a rest that is split along k; and
    // results whose rows begin on no pack, or within a word. Of few steps each warpgroup has a tile of its own.
    let all = [
        [4000, 4072, 4088],
        [2048, 2112, 4096],
        [8192, 2112, 4096],
        [4001, 4071, 1032],
        [4001, 4074, 1032],
        [4000, 3000, 392],
        [8200, 1144, 392],
    ];
    at.shapes(&all, &[[257, 266, 72]]).iter().try_for_each(|&size| large_product(at, size))
}

/// Whole numbers from -4 to 4.
fn whole_numbers(at: &At, shape: &[usize], seed: u64) -> taut::Result<Tensor> {
    Tensor::uniform(shape, -3.5, 3.5, seed, DType::F32, &at.device)?.round()
}

/// Likewise products of a long `k` whose few tiles leave most of a card idle: in parts that clusters add up, as
/// many steps to each or not, and ending within a step; alone, in batches, and onto results that begin on any element. And of
/// blocks that share a factor, of which some have no rows or columns.
pub(super) fn few_tiles(at: &At) -> Check {
    let all = [
        [65, 1031, 2056],
        [128, 2112, 1544],
        [130, 257, 4104],
        [129, 130, 1100],
        [257, 264, 3080],
        [100, 1000, 1032],
        [200, 1106, 2056],
        [512, 384, 1536],
        [256, 1031, 4104],
        [384, 1024, 8200],
        [500, 2111, 3080],
        [500, 2112, 1544],
        [16, 11_000, 1208],
        [100, 11_000, 1208],
        [56, 14_328, 904],
        [100, 14_328, 904],
        [120, 4096, 4104],
        [500, 4000, 1032],
    ];
    for &size in at.shapes(&all, &[[65, 136, 1032]]) {
        large_product(at, size)?;
        result_from_any_element(at, size)?;
    }
    Ok(())
}

/// Few rows by a matrix that lies along `n`: as many as kernels are made for and fewer, in parts of `k` that clusters add up and
/// in one, ending within a step, a strip and a pack; in batches, and by some columns of a matrix.
pub(super) fn few_rows_along_n(at: &At) -> Check {
    let all = [
        [1, 1032, 2050],
        [1, 40_000, 70],
        [2, 4096, 333],
        [5, 264, 16_390],
        [8, 520, 8200],
        [9, 5000, 520],
        [16, 264, 4104],
    ];
    for &[m, n, k] in at.shapes(&all, &[[5, 136, 1030]]) {
        large_product(at, [m, n, k])?;
        result_from_any_element(at, [m, n, k])?;
        let (a, b) = (whole_numbers(at, &[3, m, k], 1)?, whole_numbers(at, &[3, k, n], 2)?);
        let one = |x: &Tensor, i: usize| {
            x.clone().slice(0, i..i + 1)?.reshape([x.shape()[1], x.shape()[2]])?.contiguous()
        };
        for &dtype in at.shapes(&[DType::F16, DType::BF16, DType::F32], &[DType::BF16]) {
            let (a, b) = (a.clone().cast(dtype)?, b.clone().cast(dtype)?);
            let many = a.clone().matmul(&b)?;
            for i in 0..3 {
                let whole = one(&a, i)?.matmul(&one(&b, i)?)?;
                same_tensors(&one(&many, i)?, &whole)?;
                // Columns that end within a pack, those of packs in the middle, and those that begin on none.
                for columns in [0..n - 3, 8..n - 8, 3..n] {
                    let cut = one(&b, i)?.slice(1, columns.clone())?;
                    poison(&at.device, &[m * n * dtype.size()])?;
                    same_tensors(&one(&a, i)?.matmul(&cut)?, &whole.clone().slice(1, columns)?)?;
                }
            }
        }
    }
    Ok(())
}

pub(crate) fn large_product(at: &At, [m, n, k]: [usize; 3]) -> Check {
    let whole = |shape: &[usize], seed| whole_numbers(at, shape, seed);
    let (a, b, c, bias) = (whole(&[m, k], 1)?, whole(&[k, n], 2)?, whole(&[m, n], 3)?, whole(&[n], 4)?);
    let sums = a.clone().matmul(&b)?;
    for &dtype in at.shapes(&[DType::F16, DType::BF16], &[DType::BF16]) {
        let half = |x: &Tensor| x.clone().cast(dtype);
        let turned = |x: &Tensor| half(x)?.t()?.contiguous()?.t();
        for (a, b) in [
            (half(&a)?, half(&b)?),
            (turned(&a)?, half(&b)?),
            (half(&a)?, turned(&b)?),
            (turned(&a)?, turned(&b)?),
        ] {
            poison(&at.device, &[m * n * dtype.size()])?;
            same_tensors(&a.matmul(&b)?, &half(&sums)?)?;
        }
        let weight = turned(&b)?.t()?;
        let layer = half(&a)?.linear_with(&weight, Some(&half(&bias)?), Activation::Relu)?;
        same_tensors(&layer, &half(&sums.clone().add(&bias)?.relu()?)?)?;
        let mut sum = half(&c)?;
        sum.add_linear_(&half(&a)?, &weight, None)?;
        let joined = sums.clone().add(&c)?;
        same_tensors(&sum, &half(&joined)?)?;
        let mut wide = c.copy()?;
        wide.addmm_(&half(&a)?, &half(&b)?)?;
        same_tensors(&wide, &joined)?;

        // The gradient before a relu, over its output.
        let x = half(&c)?.require_grad()?;
        let y = x.clone().relu()?.matmul(&half(&b)?.t()?)?;
        y.mul(&half(&a)?)?.sum(&[])?.backward()?;
        let grad = sums.clone().mul(&c.clone().gt_scalar(0.0)?.cast(DType::F32)?)?.add_scalar(0.0)?;
        same_tensors(&x.grad().expect("x has a gradient"), &half(&grad)?)?;
    }
    Ok(())
}

/// Rows that lie on no packs, and are many enough to be brought there: whole numbers, as above, with one factor or both, in
/// rows or columns or far apart, in batches, with a common factor, with a bias.
pub(super) fn products_of_odd_rows(at: &At) -> Check {
    let whole = |shape: &[usize], seed| whole_numbers(at, shape, seed);
    let all = [[1001, 1111, 1237], [1024, 1111, 1240], [1001, 1112, 1240], [1000, 1112, 1237]];
    for &[m, n, k] in at.shapes(&all, &[[257, 131, 69]]) {
        let (a, b, bias) = (whole(&[m, k], 1)?, whole(&[k, n], 2)?, whole(&[n], 3)?);
        let (many_a, many_b) = (whole(&[3, m, k], 4)?, whole(&[3, k, n], 5)?);
        let common = |a: Tensor| a.reshape([1, m, k])?.broadcast_to([3, m, k]);
        let sums = a.clone().matmul(&b)?;
        for dtype in [DType::F16, DType::BF16] {
            let half = |x: &Tensor| x.clone().cast(dtype);
            let turned = |x: &Tensor| half(x)?.t()?.contiguous()?.t();
            let apart = |x: &Tensor| {
                let thrice = half(x)?.reshape([m, k, 1])?.broadcast_to([m, k, 3])?.contiguous()?;
                thrice.slice(2, 1..2)?.reshape([m, k])
            };
            for (a, b) in [
                (half(&a)?, half(&b)?),
                (turned(&a)?, half(&b)?),
                (half(&a)?, turned(&b)?),
                (apart(&a)?, turned(&b)?),
            ] {
                poison(&at.device, &[m * n * dtype.size()])?;
                same_tensors(&a.matmul(&b)?, &half(&sums)?)?;
            }
            let layer = half(&a)?.linear_with(&turned(&b)?.t()?, Some(&half(&bias)?), Activation::Relu)?;
            same_tensors(&layer, &half(&sums.clone().add(&bias)?.relu()?)?)?;
            let want = half(&many_a.clone().matmul(&many_b)?)?;
            same_tensors(&half(&many_a)?.matmul(&half(&many_b)?)?, &want)?;
            let want = half(&common(a.clone())?.matmul(&many_b)?)?;
            same_tensors(&common(half(&a)?)?.matmul(&half(&many_b)?)?, &want)?;
        }
    }
    Ok(())
}

/// Factors on packs whose results begin on none, or on an element that no pack begins with: whole numbers, as above, with bias
/// and activation, onto what is there in 16 bits and in f32, as a gradient, in batches, and in parts of a long `k`.
pub(super) fn results_on_no_pack(at: &At) -> Check {
    let all = [[641, 1111, 136], [193, 1106, 72], [130, 257, 264], [70, 65, 4104], [257, 264, 72]];
    at.shapes(&all, &[[130, 257, 72]]).iter().try_for_each(|&size| result_from_any_element(at, size))
}

/// The same of large tiles, of which each block has several: of one step, of two, and of so many that what results join comes
/// by way of stages.
pub(super) fn large_results(at: &At) -> Check {
    let all = [64, 72, 136, 328].map(|k| [4104, 4072, k]);
    at.shapes(&all, &[[264, 520, 72]]).iter().try_for_each(|&size| result_from_any_element(at, size))
}

pub(crate) fn result_from_any_element(at: &At, [m, n, k]: [usize; 3]) -> Check {
    let whole = |shape: &[usize], seed| whole_numbers(at, shape, seed);
    let (a, w, bias) = (whole(&[m, k], 1)?, whole(&[n, k], 2)?, whole(&[n], 3)?);
    let (many_a, many_w) = (whole(&[3, m, k], 4)?, whole(&[3, n, k], 5)?);
    let sums = a.clone().matmul(&w.clone().t()?)?;
    let many = many_a.clone().matmul(&many_w.clone().t()?)?;
    let all = [(DType::F16, 0), (DType::F16, 1), (DType::BF16, 3)];
    for &(dtype, lead) in at.shapes(&all, &all[1..2]) {
        let half = |x: &Tensor| x.clone().cast(dtype);
        let (x, weight) = (half(&a)?, half(&w)?);
        for activation in at.shapes(&[0.0, 0.5, 1.5], &[0.5]).iter().map(|&slope| match slope {
            0.0 => Activation::Relu,
            _ => Activation::LeakyRelu { slope },
        }) {
            let layer = x.clone().linear_with(&weight, Some(&half(&bias)?), activation)?;
            let op = activation.unary().expect("it is an op");
            same_tensors(&layer, &half(&sums.clone().add(&bias)?.unary(op)?)?)?;
        }
        same_tensors(&half(&many_a)?.matmul(&half(&many_w)?.t()?)?, &half(&many)?)?;

        let beneath = |shape: &[usize], dtype| {
            let numel: usize = shape.iter().product();
            whole(&[lead + numel], 6)?.cast(dtype)?.slice(0, lead..lead + numel)?.reshape(shape)
        };
        let joined = sums.clone().add(&beneath(&[m, n], DType::F32)?)?;
        for out in [dtype, DType::F32] {
            let mut sum = beneath(&[m, n], out)?;
            sum.addmm_(&x, &weight.clone().t()?)?;
            same_tensors(&sum, &joined.clone().cast(out)?)?;
            let mut sum = beneath(&[3, m, n], out)?;
            sum.addmm_(&half(&many_a)?, &half(&many_w)?.t()?)?;
            same_tensors(&sum, &many.clone().add(&beneath(&[3, m, n], DType::F32)?)?.cast(out)?)?;
        }
        let mut sum = beneath(&[m, n], dtype)?;
        sum.add_linear_(&x, &weight, Some(&half(&bias)?))?;
        same_tensors(&sum, &half(&joined.add(&bias)?)?)?;

        // The gradient before a relu, over its output.
        let before = beneath(&[m, n], dtype)?.require_grad()?;
        let y = before.clone().relu()?.matmul(&weight)?;
        y.mul(&x)?.sum(&[])?.backward()?;
        let passes = beneath(&[m, n], DType::F32)?.gt_scalar(0.0)?.cast(DType::F32)?;
        let grad = sums.clone().mul(&passes)?.add_scalar(0.0)?;
        same_tensors(&before.grad().expect("it has a gradient"), &half(&grad)?)?;
    }
    Ok(())
}

/// Vectors, and a few rows by one, as long as many blocks take, on packs and off them: whole numbers, whose sums are exact in
/// whatever order.
pub(crate) fn long_dots(at: &At) -> Check {
    for &n in at.shapes(&[1, 40, 2049, 65_536, 300_007], &[40, 65_536]) {
        for dtype in [DType::F16, DType::BF16, DType::F32] {
            for &start in at.shapes(&[0, 8, 1], &[0, 1]) {
                let numbers = |rows: usize, period: usize| -> Result<(Tensor, Vec<f64>)> {
                    let x: Vec<f32> =
                        (0..rows * (n + start)).map(|i| (i % period) as f32 - (period / 2) as f32).collect();
                    let host = x.iter().map(|&x| f64::from(x)).collect();
                    let x = Tensor::from_slice(&x, [rows, n + start], &at.device)?.cast(dtype)?;
                    Ok((x.slice(1, start..start + n)?, host))
                };
                let (x, by) = numbers(1, 7)?;
                for rows in [1, 2, 3, 5] {
                    let (a, host) = numbers(rows, 5)?;
                    let want: Vec<Value> = (0..rows)
                        .map(|row| {
                            let first = row * (n + start) + start;
                            let sum = (0..n).fold(0.0, |sum, i| sum + host[first + i] * by[start + i]);
                            Value::Float(taut_tests::round(sum, dtype))
                        })
                        .collect();
                    same(&a.clone().matmul(&x.clone().t()?)?, &want)?;
                    if rows == 1 {
                        same(&a.reshape([n])?.dot(&x.clone().reshape([n])?)?, &want)?;
                    }
                }
            }
        }
    }
    Ok(())
}
