//! Sums at places: many at one, the same bits in every run, and where they are written.

use proptest::prelude::*;
use taut::{DType, Result, Tensor};
use taut_tests::{At, Check, Interval, Rng, Suite, bytes, half_up, same, within};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("scatter::long_runs", long_runs);
    suite.real("scatter::wide_rows", wide_rows);
    suite.real("scatter::repeats", repeats);
    suite.real("scatter::sums_are_wide", sums_are_wide);
    suite.real("scatter::onto_an_axis_of_one_element", onto_an_axis_of_one_element);
    suite.everywhere("scatter::writes_over_what_no_one_holds", writes_over_what_no_one_holds);
}

/// Runs that end within chunks, at their borders, and after many; as elements and as slices.
fn long_runs(at: &At) -> Check {
    let (m, places, width) = (70_001, 37, 5);
    let mut rng = Rng(11);
    // Where all go to one place, to a few, to each in turn, to one but for a few, and in runs of a chunk.
    let patterns: [fn(usize, &mut Rng) -> usize; 6] = [
        |_, _| 7,
        |_, rng| rng.below(3),
        |i, _| i % 37,
        |_, rng| if rng.below(1000) == 0 { rng.below(37) } else { 36 },
        |i, _| i / 32 % 37,
        |_, rng| rng.below(37),
    ];
    for pattern in patterns {
        let to: Vec<usize> = (0..m).map(|i| pattern(i, &mut rng)).collect();
        let index: Vec<i64> = to.iter().map(|&place| place as i64).collect();
        let src: Vec<i64> = (0..m * width).map(|_| rng.below(2001) as i64 - 1000).collect();
        let mut want = vec![5i64; places * width];
        for (i, &value) in src.iter().enumerate() {
            want[to[i / width] * width + i % width] += value;
        }
        let index = Tensor::from_slice(&index, [m], &at.device)?;
        let src = Tensor::from_slice(&src, [m, width], &at.device)?;
        let new = |dtype| Tensor::full([places, width], 5.0, dtype, &at.device);
        let got = new(DType::I64)?.index_add(0, &index, &src)?;
        prop_assert_eq!(&got.to_vec::<i64>()?, &want);
        let each = index.clone().reshape([m, 1])?.broadcast_to([m, width])?;
        prop_assert_eq!(&new(DType::I64)?.scatter_add(0, &each, &src)?.to_vec::<i64>()?, &want);
        let each = each.contiguous()?;
        prop_assert_eq!(&new(DType::I64)?.scatter_add(0, &each, &src)?.to_vec::<i64>()?, &want);
        // Whole numbers that f32 can count, whatever the order.
        let floats = src.clone().cast(DType::F32)?;
        let got = new(DType::F32)?.index_add(0, &index, &floats)?;
        prop_assert_eq!(&got.cast(DType::I64)?.to_vec::<i64>()?, &want);
        // Along the last axis.
        let got = new(DType::F32)?.t()?.contiguous()?.index_add(1, &index, &floats.t()?)?;
        prop_assert_eq!(&got.t()?.cast(DType::I64)?.to_vec::<i64>()?, &want);
        let got = new(DType::I64)?.t()?.contiguous()?.scatter_add(1, &each.t()?, &src.t()?)?;
        prop_assert_eq!(&got.t()?.to_vec::<i64>()?, &want);
    }
    Ok(())
}

/// Rows in packs, at places of which many are named by nothing: in place, beside what someone holds, and of a part of a
/// wider source.
fn wide_rows(at: &At) -> Check {
    let (m, places, width) = (5003, 611, 272);
    let mut rng = Rng(12);
    let patterns: [fn(usize, &mut Rng) -> usize; 5] = [
        |_, _| 610,
        |_, rng| rng.below(611),
        |i, _| i / 40 % 611,
        |_, rng| if rng.below(100) == 0 { rng.below(611) } else { 0 },
        |i, _| 1 + i % 2 * 300,
    ];
    for (number, pattern) in patterns.into_iter().enumerate() {
        let to: Vec<usize> = (0..m).map(|i| pattern(i, &mut rng)).collect();
        let index: Vec<i64> = to.iter().map(|&place| place as i64).collect();
        let index = Tensor::from_slice(&index, [m], &at.device)?;
        // Sums that each dtype holds: of u8 they wrap, as the wanted ones do.
        let src: Vec<i64> = (0..m * width).map(|_| rng.below(3) as i64 - 1).collect();
        let mut want: Vec<i64> = (0..places * width).map(|i| (i % 100) as i64).collect();
        let from = Tensor::from_slice(&want, [places, width], &at.device)?;
        for (i, &value) in src.iter().enumerate() {
            want[to[i / width] * width + i % width] += value;
        }
        let src = Tensor::from_slice(&src, [m, width], &at.device)?;
        for dtype in [DType::I64, DType::U32, DType::U8, DType::F32, DType::F16] {
            // A sum of one in 8 sources of f16 may need more bits than it has.
            if dtype == DType::F16 && number != 1 && number != 2 {
                continue;
            }
            let (from, src) = (from.clone().cast(dtype)?, src.clone().cast(DType::I64)?.cast(dtype)?);
            let to_i64 = |x: Tensor| -> Result<Vec<i64>> { x.cast(DType::I64)?.to_vec() };
            let mask = match dtype {
                DType::U32 => u32::MAX.into(),
                DType::U8 => u8::MAX.into(),
                _ => -1i64,
            };
            let want: Vec<i64> = want.iter().map(|want| want & mask).collect();
            let held = from.clone().index_add(0, &index, &src)?;
            prop_assert!(to_i64(held.clone())? == want, "{dtype}, pattern {number}, beside what is held");
            let over = from.clone().copy()?.index_add(0, &index, &src)?;
            prop_assert_eq!(bytes(&over)?, bytes(&held)?, "{}, pattern {}, in place", dtype, number);
            let wide = Tensor::cat(&[&src, &src], 1)?;
            for start in [0, 16, 7] {
                let part = wide.clone().slice(1, start..start + width)?;
                let moved = from.clone().index_add(0, &index, &part)?;
                let same = from.clone().index_add(0, &index, &part.contiguous()?)?;
                prop_assert_eq!(bytes(&moved)?, bytes(&same)?, "{} from {}", dtype, start);
            }
        }
    }
    Ok(())
}

/// The same bits in five runs, with many collisions.
fn repeats(at: &At) -> Check {
    let src = Tensor::normal([40_000, 3], 0.0, 1.0, 1, DType::F32, &at.device)?;
    let index = Tensor::uniform([40_000, 3], 0.0, 11.0, 2, DType::F32, &at.device)?.cast(DType::I64)?;
    let rows = index.clone().slice(1, 0..1)?.reshape([40_000])?;
    let each = || -> Result<Vec<f32>> {
        let zeros = Tensor::zeros([11, 3], DType::F32, &at.device)?;
        zeros.scatter_add(0, &index, &src)?.to_vec()
    };
    let slices = || -> Result<Vec<f32>> {
        Tensor::zeros([11, 3], DType::F32, &at.device)?.index_add(0, &rows, &src)?.to_vec()
    };
    let first = (each()?, slices()?);
    for _ in 0..4 {
        prop_assert_eq!(&(each()?, slices()?), &first);
    }
    Ok(())
}

/// Sums of 16-bit floats are rounded once: 1 is not lost in 4096 ones, nor in the middle of them.
fn sums_are_wide(at: &At) -> Check {
    let n = 5000;
    let index = Tensor::zeros([n], DType::I64, &at.device)?;
    for dtype in [DType::F16, DType::BF16] {
        let ones = Tensor::full([n], 1.0, dtype, &at.device)?;
        let got = Tensor::zeros([1], dtype, &at.device)?.scatter_add(0, &index, &ones)?;
        let want = taut_tests::round(5000.0, dtype);
        same(&got, &[taut_tests::Value::Float(want)])?;
    }
    // A long sum in f32 errs by chains of a few additions where a card adds by chunks, by all of them elsewhere.
    let src = Tensor::uniform([1 << 18], 0.0, 1.0, 5, DType::F32, &at.device)?;
    let exact: f64 = src.to_vec::<f32>()?.into_iter().map(f64::from).sum();
    let index = Tensor::zeros([1 << 18], DType::I64, &at.device)?;
    let got = Tensor::zeros([1], DType::F32, &at.device)?.scatter_add(0, &index, &src)?;
    let error = f64::from(1 << 18) * half_up(DType::F32) * exact;
    within(&got, &[Interval::around(exact, error)])
}

/// Onto a tensor that someone else holds too, whose elements lie in a row and whose last axis, of one element, has a stride that
/// a new tensor has not.
fn onto_an_axis_of_one_element(at: &At) -> Check {
    let index = Tensor::from_slice(&[4i64, 0, 4], [3], &at.device)?;
    let src = Tensor::full([2, 3, 1], 1.0, DType::F32, &at.device)?;
    let x = Tensor::zeros([2, 1, 5], DType::F32, &at.device)?.transpose(1, 2)?;
    let y = x.clone().index_add(1, &index, &src)?;
    prop_assert_eq!(y.to_vec::<f32>()?, [[1.0, 0.0, 0.0, 0.0, 2.0]; 2].concat());
    prop_assert_eq!(x.to_vec::<f32>()?, [0.0; 10]);
    Ok(())
}

/// Over the operand where no one else holds it, otherwise in new memory, and the operand stays.
fn writes_over_what_no_one_holds(at: &At) -> Check {
    let index = Tensor::zeros([4], DType::I64, &at.device)?;
    let src = Tensor::full([4, 8], 1.0, DType::F32, &at.device)?;
    let x = Tensor::zeros([2, 8], DType::F32, &at.device)?;
    at.device.pool().reset_peaks();
    let before = at.device.stats().live_bytes;
    let x = x.index_add(0, &index, &src)?;
    prop_assert_eq!(at.device.stats().peak_tensor_bytes, before);
    let y = x.clone().index_add(0, &index, &src)?;
    prop_assert_eq!(at.device.stats().live_bytes, before + 64);
    if !at.device.is_plan() {
        prop_assert_eq!(x.to_vec::<f32>()?, [[4.0; 8], [0.0; 8]].concat());
        prop_assert_eq!(y.to_vec::<f32>()?, [[8.0; 8], [0.0; 8]].concat());
    }
    Ok(())
}
