//! Sums over packed sequences where they could go wrong: lengths around slices and teams of threads, what NaN reaches, the
//! width of sums, and the memory that they take.

use proptest::prelude::*;
use taut::{DType, ErrorKind, Result, Sequences, Tensor};
use taut_tests::{
    At, Check, Rng, Suite, Value, download, kind_of, message_of, poison, same, same_tensors, upload,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("packed::sums_of_whole_numbers_are_exact", whole_numbers_are_exact);
    suite.real("packed::sums_are_wide", sums_are_wide);
    suite.real("packed::nothing_has_sum_0_and_no_mean", nothing);
    suite.real("packed::nan_and_infinity_stay_where_they_are", nan_and_infinity);
    suite.real("packed::repeats", repeats);
    suite.everywhere("packed::takes_its_result_only", takes_its_result_only);
    suite.planned_card("packed::slices_take_a_workspace", slices_take_a_workspace);
    suite.everywhere("packed::errors", errors);
}

/// Lengths that end within slices and at their borders, one after the other in several orders.
fn patterns() -> Vec<Vec<usize>> {
    let mut long_among_short = vec![3; 700];
    long_among_short[350] = 20_000;
    long_among_short[351] = 0;
    vec![
        (0..70).collect(),
        vec![255, 256, 257, 0, 511, 512, 513, 1],
        vec![257; 40],
        vec![5000],
        vec![0, 9001, 0, 0, 300, 0],
        vec![1; 1000],
        vec![2047, 2048, 2049, 4097],
        long_among_short,
    ]
}

/// In any order of additions.
fn whole_numbers_are_exact(at: &At) -> Check {
    for (seed, lengths) in (0..).zip(patterns()) {
        let sequences = Sequences::new(&lengths, &at.device)?;
        let tokens = sequences.tokens();
        for (width, dtype) in
            [1, 3, 8, 40, 100, 384].into_iter().zip(at.floats().into_iter().cycle().skip(seed))
        {
            let mut rng = Rng(seed as u64);
            // So few are not 0 that every sum is exact in f16 too.
            let mut draw = |_| if rng.below(50) == 0 { rng.below(3) as f64 - 1.0 } else { 0.0 };
            let values: Vec<f64> = (0..tokens * width).map(&mut draw).collect();
            let mut want = vec![0.0; lengths.len() * width];
            let mut start = 0;
            for (want, length) in want.chunks_mut(width).zip(&lengths) {
                for row in values[start * width..].chunks(width).take(*length) {
                    want.iter_mut().zip(row).for_each(|(want, x)| *want += x);
                }
                start += length;
            }
            let floats = |x: &[f64]| x.iter().map(|&x| Value::Float(x)).collect::<Vec<_>>();
            let x = upload(&floats(&values), &[tokens, width], dtype, &at.device)?;
            poison(&at.device, &[want.len() * dtype.size()])?;
            same(&x.clone().sum_packed(&sequences)?, &floats(&want))?;
            // Columns that are no neighbours, and rows apart.
            let across = x.clone().t()?.contiguous()?.t()?;
            same(&across.sum_packed(&sequences)?, &floats(&want))?;
            let apart = Tensor::cat(&[&x, &x], 1)?.slice(1, width..2 * width)?;
            same(&apart.sum_packed(&sequences)?, &floats(&want))?;
        }
    }
    Ok(())
}

fn sums_are_wide(at: &At) -> Check {
    let sequences = Sequences::new(&[1000, 2, 3000], &at.device)?;
    let x = Tensor::full([4002, 8], 60_000.0, DType::F16, &at.device)?;
    same(&x.clone().mean_packed(&sequences)?, &[Value::Float(60_000.0); 3 * 8])?;
    same(&x.sum_packed(&sequences)?, &[Value::Float(f64::INFINITY); 3 * 8])?;
    // In bf16 ones would stop at 256.
    let ones = Tensor::full([4002, 8], 1.0, DType::BF16, &at.device)?.sum_packed(&sequences)?;
    let want = [[1000.0; 8], [2.0; 8], [3008.0; 8]].concat();
    same(&ones, &want.into_iter().map(Value::Float).collect::<Vec<_>>())
}

fn nothing(at: &At) -> Check {
    for dtype in at.floats() {
        let x = Tensor::zeros([0, 3, 2], dtype, &at.device)?;
        let empty = Sequences::new(&[0, 0], &at.device)?;
        poison(&at.device, &[12 * dtype.size()])?;
        same(&x.clone().sum_packed(&empty)?, &[Value::Float(0.0); 12])?;
        same(&x.clone().mean_packed(&empty)?, &[Value::Float(f64::NAN); 12])?;
        let none = x.mean_packed(&Sequences::new(&[], &at.device)?)?;
        prop_assert_eq!(&none.shape()[..], &[0, 3, 2]);
        let narrow = Tensor::zeros([5, 0], dtype, &at.device)?;
        let narrow = narrow.mean_packed(&Sequences::new(&[2, 3], &at.device)?)?;
        prop_assert_eq!(&narrow.shape()[..], &[2, 0]);
        // Among others, of which one is cut into slices.
        let sequences = Sequences::new(&[0, 2, 0, 9000, 0], &at.device)?;
        let y = Tensor::full([9002], 1.0, dtype, &at.device)?.mean_packed(&sequences)?;
        let want = [f64::NAN, 1.0, f64::NAN, 1.0, f64::NAN].map(Value::Float);
        same(&y, &want)?;
    }
    Ok(())
}

fn nan_and_infinity(at: &At) -> Check {
    let lengths = [5, 3000, 1, 40];
    let sequences = Sequences::new(&lengths, &at.device)?;
    let (tokens, width) = (sequences.tokens(), 24);
    for dtype in at.floats() {
        for (bad, row, sequence) in [(f64::NAN, 4, 0), (f64::INFINITY, 2999, 1), (f64::NEG_INFINITY, 3005, 2)]
        {
            let mut values = vec![Value::Float(1.0); tokens * width];
            values[row * width + 7] = Value::Float(bad);
            let mut want = vec![Value::Float(1.0); lengths.len() * width];
            want[sequence * width + 7] = Value::Float(bad);
            let x = upload(&values, &[tokens, width], dtype, &at.device)?;
            same(&x.mean_packed(&sequences)?, &want)?;
        }
    }
    Ok(())
}

/// The same bits in five runs, and those of each sequence alone where none is cut.
fn repeats(at: &At) -> Check {
    for dtype in at.floats() {
        for lengths in [vec![20_000, 7, 300], vec![100, 0, 100, 50]] {
            let sequences = Sequences::new(&lengths, &at.device)?;
            let x = Tensor::normal([sequences.tokens(), 40], 0.0, 1.0, 3, dtype, &at.device)?;
            let first = x.clone().mean_packed(&sequences)?;
            for _ in 0..4 {
                same_tensors(&x.clone().mean_packed(&sequences)?, &first)?;
            }
            prop_assert!(download(&first)?.iter().any(|x| x.float() != 0.0));
        }
    }
    Ok(())
}

fn peak(at: &At, call: impl FnOnce() -> Result<Tensor>) -> Result<u64> {
    at.device.pool().reset_peaks();
    let before = at.device.stats().live_bytes;
    call()?;
    Ok(at.device.stats().peak_live_bytes - before)
}

/// Parts of a tensor are not copied, and what was given for good is gone.
fn takes_its_result_only(at: &At) -> Check {
    let sequences = Sequences::new(&[40, 0, 60], &at.device)?;
    let wide = Tensor::zeros([100, 3 * 64], DType::F16, &at.device)?;
    let part = wide.clone().slice(1, 64..128)?;
    prop_assert_eq!(peak(at, || part.mean_packed(&sequences))?, 3 * 64 * 2);
    let before = at.device.stats().live_bytes;
    let means = wide.mean_packed(&sequences)?;
    prop_assert_eq!(before - at.device.stats().live_bytes, (100 - 3) * 192 * 2);
    drop(means);
    Ok(())
}

fn slices_take_a_workspace(at: &At) -> Check {
    let x = Tensor::zeros([100_000, 384], DType::F16, &at.device)?;
    let input = x.numel() as u64 * 2;
    let bytes = peak(at, || x.mean_packed(&Sequences::new(&[99_990, 10], &at.device)?))?;
    prop_assert!(bytes > 2 * 384 * 2 + 12 && bytes * 32 <= input + 384 * 64, "{} bytes", bytes);
    Ok(())
}

fn errors(at: &At) -> Check {
    let sequences = Sequences::new(&[3, 4], &at.device)?;
    let live = at.device.stats().live_bytes;
    let new = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &at.device);
    prop_assert_eq!(
        message_of(new(&[6, 2], DType::F32)?.mean_packed(&sequences))?,
        "mean_packed: [6, 2] must be [tokens, ..]: the sequences have 7 tokens"
    );
    prop_assert_eq!(kind_of(new(&[], DType::F32)?.sum_packed(&sequences))?, ErrorKind::Shape);
    prop_assert_eq!(
        message_of(new(&[7, 2], DType::I64)?.sum_packed(&sequences))?,
        "sum_packed: does not take i64"
    );
    prop_assert_eq!(kind_of(new(&[7, 2], DType::Bool)?.mean_packed(&sequences))?, ErrorKind::DType);
    let far = Sequences::new(&[3, 4], &at.fresh()?)?;
    prop_assert_eq!(kind_of(new(&[7, 2], DType::F32)?.mean_packed(&far))?, ErrorKind::Device);
    prop_assert_eq!(at.device.stats().live_bytes, live);
    Ok(())
}
