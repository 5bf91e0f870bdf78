//! Attention where it could go wrong: lengths around tiles, rows that see nothing, views of one tensor, what infinity
//! and NaN reach, and the memory that it takes.

use proptest::prelude::*;
use taut::{Attention, DType, ErrorKind, Result, Sequences, Tensor};
use taut_tests::{
    At, Check, Fill, Heads, Interval, Suite, Value, attention, download, kind_of, message_of, poison, same,
    same_tensors, upload, within,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("attention::lengths_around_tiles", lengths_around_tiles);
    suite.real("attention::rows_of_any_length", rows_of_any_length);
    suite.real("attention::heads_that_share_keys", heads_that_share_keys);
    suite.real("attention::long_sequences", long_sequences);
    suite.real("attention::packed_is_one_after_the_other", packed_is_one_after_the_other);
    suite.real("attention::large_scores_do_no_harm", large_scores_do_no_harm);
    suite.real("attention::what_sees_nothing_is_zero", what_sees_nothing_is_zero);
    suite.real("attention::nan_and_infinity_stay_where_they_are_seen", nan_and_infinity);
    suite.real("attention::repeats", repeats);
    suite.everywhere("attention::parts_of_one_tensor_are_not_copied", parts_of_one_tensor);
    suite.everywhere("attention::reuses_the_queries", reuses_the_queries);
    suite.everywhere("attention::scores_are_never_stored", scores_are_never_stored);
    suite.everywhere("attention::errors", errors);
}

const PLAIN: Attention = Attention { scale: None, causal: false };
const CAUSAL: Attention = Attention { scale: None, causal: true };

/// Random operands, and what must come of them: against the definition, over poisoned memory, and in place.
fn check(at: &At, of: Heads, options: Attention, dtype: DType, seed: u64) -> Check {
    let Heads { heads, kv_heads, len, kv_len, dim } = of;
    let shapes = [[1, heads, len, dim], [1, kv_heads, kv_len, dim], [1, kv_heads, kv_len, dim]];
    let values = |i: usize| Fill::Tame.values(shapes[i].iter().product(), dtype, seed + i as u64);
    let values = [0, 1, 2].map(values);
    let floats = values.each_ref().map(|x| x.iter().map(|x| x.float()).collect::<Vec<_>>());
    let want = attention(of, floats.each_ref().map(Vec::as_slice), options, dtype);
    let operand = |i: usize| upload(&values[i], &shapes[i], dtype, &at.device);
    let [q, k, v] = [operand(0)?, operand(1)?, operand(2)?];
    poison(&at.device, &[heads * len * dim * dtype.size()])?;
    let out = q.clone().attention(&k, &v, options)?;
    within(&out, &want).map_err(|error| taut_tests::fail(format!("{of:?}, {options:?}: {error}")))?;
    same_tensors(&q.copy()?.attention(&k, &v, options)?, &out)?;
    // Heads inside of rows, as a linear layer makes them; in place too.
    let across = q.transpose(1, 2)?.contiguous()?.transpose(1, 2)?;
    same_tensors(&across.attention(&k, &v, options)?, &out)
}

fn heads(len: usize, kv_len: usize, dim: usize) -> Heads {
    Heads { heads: 2, kv_heads: 2, len, kv_len, dim }
}

fn lengths_around_tiles(at: &At) -> Check {
    let lengths = [1, 15, 16, 17, 33, 63, 64, 65, 127, 128, 129, 257];
    for (seed, &len) in (0..).zip(at.shapes(&lengths, &[1, 17, 65, 130])) {
        for &kv_len in at.shapes(&[1, 16, 64, 65, 128, 130, len], &[1, 65, 130]) {
            for (options, dtype) in [PLAIN, CAUSAL].into_iter().zip(at.floats().into_iter().cycle().skip(len))
            {
                check(at, heads(len, kv_len, 8), options, dtype, seed)?;
            }
        }
    }
    Ok(())
}

fn rows_of_any_length(at: &At) -> Check {
    let dims = [1, 2, 7, 8, 24, 31, 32, 33, 48, 63, 64, 65, 80, 96, 127, 128, 129, 160, 255, 256];
    for &dim in at.shapes(&dims, &[7, 32, 63, 80, 128, 160, 256]) {
        for dtype in at.floats() {
            for (len, options) in [(70, PLAIN), (20, CAUSAL), (9, PLAIN)] {
                check(at, heads(len, 67, dim), options, dtype, dim as u64)?;
            }
        }
    }
    Ok(())
}

fn heads_that_share_keys(at: &At) -> Check {
    let all = [(8, 1, 100), (3, 5, 5), (4, 40, 70), (64, 1, 9), (2, 65, 64)];
    for &(group, len, kv_len) in at.shapes(&all, &[(8, 1, 100), (4, 40, 70)]) {
        for dtype in at.floats() {
            for options in [PLAIN, CAUSAL] {
                let of = Heads { heads: 2 * group, kv_heads: 2, len, kv_len, dim: 64 };
                check(at, of, options, dtype, group as u64)?;
            }
        }
    }
    Ok(())
}

fn long_sequences(at: &At) -> Check {
    for dtype in at.floats() {
        check(at, Heads { heads: 1, kv_heads: 1, len: 300, kv_len: 1111, dim: 64 }, CAUSAL, dtype, 1)?;
        check(at, Heads { heads: 1, kv_heads: 1, len: 3, kv_len: 9000, dim: 40 }, PLAIN, dtype, 2)?;
    }
    Ok(())
}

/// Each sequence as if it were alone, whatever the lengths of the others; empty ones are none.
fn packed_is_one_after_the_other(at: &At) -> Check {
    for (lengths, dim) in [
        (vec![5, 0, 64, 1, 130, 0], 32),
        (vec![1; 40], 32),
        (vec![200], 64),
        (vec![0, 0, 17], 40),
        ((1..50).collect(), 16),
    ] {
        let sequences = Sequences::new(&lengths, &at.device)?;
        for dtype in at.floats() {
            for options in [PLAIN, CAUSAL] {
                let make =
                    |seed| Tensor::normal([sequences.tokens(), 4, dim], 0.0, 1.0, seed, dtype, &at.device);
                let [q, k, v] = [make(1)?, make(2)?, make(3)?];
                let (k, v) = (k.slice(1, 0..2)?, v.slice(1, 1..3)?);
                poison(&at.device, &[q.numel() * dtype.size()])?;
                let packed = q.clone().attention_packed(&k, &v, &sequences, options)?;
                same_tensors(&q.copy()?.attention_packed(&k, &v, &sequences, options)?, &packed)?;
                let mut start = 0;
                for &len in &lengths {
                    let part = |x: &Tensor| x.clone().slice(0, start..start + len)?.transpose(0, 1);
                    let floats = |x: &Tensor| -> Result<Vec<f64>> {
                        Ok(download(&part(x)?)?.iter().map(|x| x.float()).collect())
                    };
                    let of = Heads { heads: 4, kv_heads: 2, len, kv_len: len, dim };
                    let [q, k, v] = [floats(&q)?, floats(&k)?, floats(&v)?];
                    within(&part(&packed)?, &attention(of, [&q, &k, &v], options, dtype))?;
                    start += len;
                }
            }
        }
    }
    Ok(())
}

/// Scores far beyond what exp takes; equal ones, however large, share alike.
fn large_scores_do_no_harm(at: &At) -> Check {
    for dtype in at.floats() {
        let full = |value: f64, shape: [usize; 4]| Tensor::full(shape, value, dtype, &at.device);
        for value in [0.0, 200.0, -200.0] {
            let (q, k) = (full(value, [1, 2, 70, 32])?, full(200.0, [1, 2, 128, 32])?);
            let v = full(0.5, [1, 2, 128, 32])?;
            let options = Attention { scale: Some(1.0), causal: false };
            near(&q.attention(&k, &v, options)?, 0.5)?;
        }
        // One key is the nearest by far, whatever the others are.
        let (mut keys, mut values) = (vec![-100.0; 150 * 32], vec![7.0; 150 * 32]);
        keys[96 * 32..97 * 32].fill(100.0);
        values[96 * 32..97 * 32].fill(3.0);
        let make = |values: &[f64]| {
            let values: Vec<Value> = values.iter().map(|x| Value::Float(*x)).collect();
            upload(&values, &[1, 1, 150, 32], dtype, &at.device)
        };
        let y = full(100.0, [1, 1, 20, 32])?.attention(&make(&keys)?, &make(&values)?, PLAIN)?;
        near(&y, 3.0)?;
    }
    Ok(())
}

/// All elements, as exact as weights that are rounded to the dtype are, and sums of some hundred of them in order.
fn near(x: &Tensor, want: f64) -> Check {
    let error = if matches!(x.dtype(), DType::F32 | DType::F64) { 1e-5 } else { 2f64.powi(-8) };
    let low = want * (1.0 - error);
    within(x, &vec![Interval { low, high: 2.0 * want - low }; x.numel()])
}

fn what_sees_nothing_is_zero(at: &At) -> Check {
    for dtype in at.floats() {
        for (heads, len) in [(1, 5), (3, 100), (1, 200)] {
            let q = Tensor::full([2, heads, len, 16], 1.0, dtype, &at.device)?;
            let none = Tensor::zeros([2, 1, 0, 16], dtype, &at.device)?;
            let zeros = vec![Value::Float(0.0); q.numel()];
            for options in [PLAIN, CAUSAL] {
                poison(&at.device, &[q.numel() * dtype.size()])?;
                same(&q.clone().attention(&none, &none, options)?, &zeros)?;
                same(&q.copy()?.attention(&none, &none, options)?, &zeros)?;
            }
            // The last three queries see one key, two and three.
            let three = Tensor::full([2, 1, 3, 16], 1.0, dtype, &at.device)?;
            let y = q.attention(&three, &three, CAUSAL)?;
            same(&y.clone().slice(2, 0..len - 3)?, &vec![Value::Float(0.0); 2 * heads * (len - 3) * 16])?;
            same(&y.slice(2, len - 3..len)?, &vec![Value::Float(1.0); 2 * heads * 3 * 16])?;
            // Keys at which every score is -inf count for nothing.
            let q = Tensor::full([2, 1, 4, 16], 1.0, dtype, &at.device)?;
            let far = Tensor::full([2, 1, 3, 16], f64::NEG_INFINITY, dtype, &at.device)?;
            same(&q.attention(&far, &three, PLAIN)?, &vec![Value::Float(0.0); 2 * 4 * 16])?;
        }
        for shape in [[0, 2, 3, 8], [2, 2, 0, 8], [2, 2, 3, 0], [2, 0, 3, 8]] {
            let x = Tensor::zeros(shape, dtype, &at.device)?;
            same_tensors(&x.clone().attention(&x, &x, CAUSAL)?, &x)?;
        }
        let (nothing, x) = (Sequences::new(&[], &at.device)?, Tensor::zeros([0, 2, 8], dtype, &at.device)?);
        same_tensors(&x.clone().attention_packed(&x, &x, &nothing, PLAIN)?, &x)?;
    }
    Ok(())
}

/// Of a query: its row. Of a key: the rows that see it. Of a value: its column, there.
fn nan_and_infinity(at: &At) -> Check {
    let (len, dim) = (150, 32);
    for dtype in at.floats() {
        for bad in [f64::NAN, f64::INFINITY] {
            for key in [0, 40, 70, 149] {
                let ones = || vec![1.0; len * dim];
                let spoilt = |col: usize| {
                    let mut values = ones();
                    values[key * dim + col] = bad;
                    values
                };
                let run = |q: Vec<f64>, k: Vec<f64>, v: Vec<f64>, options| -> Result<Vec<Value>> {
                    let make = |x: Vec<f64>| {
                        let values: Vec<Value> = x.into_iter().map(Value::Float).collect();
                        upload(&values, &[1, 1, len, dim], dtype, &at.device)
                    };
                    download(&make(q)?.attention(&make(k)?, &make(v)?, options)?)
                };
                let is = |out: &[Value], spoils: &dyn Fn(usize, usize) -> Option<f64>| -> Check {
                    for (i, x) in out.iter().enumerate() {
                        let (row, col) = (i / dim, i % dim);
                        let want = spoils(row, col);
                        let is = match want {
                            Some(bad) => x.is(Value::Float(bad)),
                            None => (x.float() - 1.0).abs() < 1e-5,
                        };
                        prop_assert!(
                            is,
                            "{} {} {}: {:?}, not {:?} at {} {}",
                            dtype,
                            bad,
                            key,
                            x,
                            want,
                            row,
                            col
                        );
                    }
                    Ok(())
                };
                for options in [PLAIN, CAUSAL] {
                    let sees = |row: usize| !options.causal || row >= key;
                    let out = run(spoilt(3), ones(), ones(), options)?;
                    is(&out, &|row, _| (row == key).then_some(f64::NAN))?;
                    let out = run(ones(), spoilt(3), ones(), options)?;
                    is(&out, &|row, _| sees(row).then_some(f64::NAN))?;
                    let out = run(ones(), ones(), spoilt(3), options)?;
                    is(&out, &|row, col| (sees(row) && col == 3).then_some(bad))?;
                }
            }
        }
    }
    Ok(())
}

/// The same bits every time, in place or not.
fn repeats(at: &At) -> Check {
    for (len, dim) in [(64, 32), (300, 64), (200, 128), (70, 256)] {
        for dtype in at.floats() {
            let make = |seed| Tensor::normal([2, 3, len, dim], 0.0, 1.0, seed, dtype, &at.device);
            let [q, k, v] = [make(1)?, make(2)?, make(3)?];
            let first = q.clone().attention(&k, &v, CAUSAL)?;
            for _ in 0..3 {
                same_tensors(&q.clone().attention(&k, &v, CAUSAL)?, &first)?;
            }
            same_tensors(&q.copy()?.attention(&k, &v, CAUSAL)?, &first)?;
        }
    }
    Ok(())
}

/// The bytes that a call takes at most, over what was there before.
fn peak(at: &At, call: impl FnOnce() -> Result<Tensor>) -> Result<u64> {
    at.device.pool().reset_peaks();
    let before = at.device.stats().live_bytes;
    call()?;
    Ok(at.device.stats().peak_live_bytes - before)
}

fn parts_of_one_tensor(at: &At) -> Check {
    let qkv = Tensor::normal([100, 3 * 4 * 32], 0.0, 1.0, 1, DType::F16, &at.device)?;
    let part = |i: usize| qkv.clone().slice(1, i * 128..(i + 1) * 128)?.reshape([100, 4, 32]);
    let sequences = Sequences::new(&[40, 60], &at.device)?;
    let [q, k, v] = [part(0)?, part(1)?, part(2)?];
    let bytes = peak(at, || q.clone().attention_packed(&k, &v, &sequences, PLAIN))?;
    prop_assert_eq!(bytes, 100 * 4 * 32 * 2);
    if !at.device.is_plan() {
        let copies = [q.clone().contiguous()?, k.clone().contiguous()?, v.clone().contiguous()?];
        let apart = copies[0].clone().attention_packed(&copies[1], &copies[2], &sequences, PLAIN)?;
        same_tensors(&q.attention_packed(&k, &v, &sequences, PLAIN)?, &apart)?;
    }
    Ok(())
}

fn reuses_the_queries(at: &At) -> Check {
    let new = |shape: &[usize]| Tensor::zeros(shape, DType::F16, &at.device);
    let (k, v) = (new(&[2, 3, 70, 64])?, new(&[2, 3, 70, 64])?);
    let whole = 2 * 3 * 50 * 64 * 2;
    let q = new(&[2, 3, 50, 64])?;
    prop_assert_eq!(peak(at, || q.attention(&k, &v, PLAIN))?, 0);
    // Heads inside of rows, as they come from a linear layer.
    let q = new(&[2, 50, 3, 64])?.transpose(1, 2)?;
    prop_assert_eq!(peak(at, || q.attention(&k, &v, PLAIN))?, 0);
    let q = new(&[2, 3, 50, 64])?;
    prop_assert_eq!(peak(at, || q.clone().attention(&k, &v, PLAIN))?, whole);
    // In another order, or a part of something.
    let q = new(&[3, 2, 50, 64])?.transpose(0, 1)?;
    prop_assert_eq!(peak(at, || q.attention(&k, &v, PLAIN))?, whole);
    let q = new(&[2, 3, 51, 64])?.slice(2, 0..50)?;
    prop_assert_eq!(peak(at, || q.attention(&k, &v, PLAIN))?, whole);

    let sequences = Sequences::new(&[30, 20], &at.device)?;
    let k = new(&[50, 1, 64])?;
    let q = new(&[50, 3, 64])?;
    prop_assert_eq!(peak(at, || q.attention_packed(&k, &k, &sequences, CAUSAL))?, 0);
    let q = new(&[3, 50, 64])?.transpose(0, 1)?;
    prop_assert_eq!(peak(at, || q.attention_packed(&k, &k, &sequences, CAUSAL))?, 50 * 3 * 64 * 2);
    Ok(())
}

fn scores_are_never_stored(at: &At) -> Check {
    let x = Tensor::zeros([1, 1, 2000, 8], DType::F32, &at.device)?;
    prop_assert_eq!(peak(at, || x.clone().attention(&x, &x, PLAIN))?, 2000 * 8 * 4);
    Ok(())
}

fn errors(at: &At) -> Check {
    let new = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &at.device);
    let (q, k) = (new(&[2, 4, 5, 8])?, new(&[2, 2, 7, 8])?);
    let sequences = Sequences::new(&[3, 4], &at.device)?;
    let live = at.device.stats().live_bytes;
    let run = |q: &Tensor, k: &Tensor, v: &Tensor| message_of(q.clone().attention(k, v, PLAIN));
    let two = "k and v must have one shape, and as many axes as q";
    prop_assert_eq!(
        run(&q, &k, &q)?,
        format!("attention: q [2, 4, 5, 8], k [2, 2, 7, 8] and v [2, 4, 5, 8]: {two}")
    );
    let three = new(&[2, 7, 8])?;
    prop_assert!(run(&q, &three, &three)?.ends_with(two));
    prop_assert!(run(&three, &three, &three)?.ends_with("must be [batch, heads, len, dim]"));
    let batch = new(&[3, 2, 7, 8])?;
    prop_assert!(run(&q, &batch, &batch)?.ends_with("the batches differ"));
    let heads = new(&[2, 3, 7, 8])?;
    prop_assert!(run(&q, &heads, &heads)?.ends_with("the heads of q must be a multiple of those of k"));
    let none = new(&[2, 0, 7, 8])?;
    prop_assert!(run(&q, &none, &none)?.ends_with("the heads of q must be a multiple of those of k"));
    let narrow = new(&[2, 2, 7, 6])?;
    prop_assert!(run(&q, &narrow, &narrow)?.ends_with("rows must have one length, at most 256"));
    let wide = new(&[1, 1, 1, 257])?;
    prop_assert!(run(&wide, &wide, &wide)?.ends_with("rows must have one length, at most 256"));
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, f32::MAX, 1e-40] {
        let options = Attention { scale: Some(scale), causal: false };
        let result = q.clone().attention(&k, &k, options);
        prop_assert_eq!(kind_of(result)?, ErrorKind::Value, "{}", scale);
    }
    let half = k.clone().cast(DType::F16)?;
    prop_assert_eq!(kind_of(q.clone().attention(&k, &half, PLAIN))?, ErrorKind::DType);
    let whole = Tensor::zeros([2, 4, 5, 8], DType::I64, &at.device)?;
    prop_assert_eq!(run(&whole, &whole, &whole)?, "attention: does not take i64");
    let elsewhere = Tensor::zeros([2, 2, 7, 8], DType::F32, &at.fresh()?)?;
    prop_assert_eq!(kind_of(q.clone().attention(&elsewhere, &k, PLAIN))?, ErrorKind::Device);

    let tokens = new(&[7, 2, 8])?;
    let packed =
        |q: &Tensor, k: &Tensor, s: &Sequences| message_of(q.clone().attention_packed(k, k, s, PLAIN));
    prop_assert_eq!(
        packed(&tokens, &tokens, &Sequences::new(&[3, 3], &at.device)?)?,
        "attention_packed: q [7, 2, 8], k [7, 2, 8] and v [7, 2, 8]: the sequences have 6 tokens"
    );
    prop_assert!(packed(&q, &q, &sequences)?.ends_with("must be [tokens, heads, dim]"));
    let far = Sequences::new(&[3, 4], &at.fresh()?)?;
    prop_assert_eq!(
        kind_of(tokens.clone().attention_packed(&tokens, &tokens, &far, PLAIN))?,
        ErrorKind::Device
    );
    prop_assert_eq!(kind_of(Sequences::new(&[1 << 31, 1 << 31], &at.device))?, ErrorKind::Shape);
    drop((three, batch, heads, none, narrow, wide, half, whole, tokens));
    prop_assert_eq!(at.device.stats().live_bytes, live);
    Ok(())
}
