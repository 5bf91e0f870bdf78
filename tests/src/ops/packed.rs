//! Sums and means over packed sequences.

use crate::{Array, Draw, Fill, Interval, Op, Use, Want, first, half_up, sum_error};
use taut::{DType, Sequences};

pub(super) fn ops() -> Vec<Op> {
    // As a model of sentences makes them, and much more than fills a card in few sequences.
    let usual = |_| vec![256 * 128, 384];
    let long = |numel| vec![numel / 384, 384];
    vec![
        packed("mean_packed", true, |rows| vec![128; rows / 128]).scale(usual),
        packed("sum_packed", false, |rows| vec![128; rows / 128]).scale(usual),
        packed("mean_packed, long", true, |rows| vec![rows / 2, rows / 4, rows - rows / 2 - rows / 4])
            .scale(long),
        packed("mean_packed, mixed", true, |rows| {
            let short = rows / 2 / 64;
            [vec![64; short / 2], vec![rows - short * 64], vec![64; short - short / 2]].concat()
        })
        .scale(long),
    ]
}

/// `usual` are the lengths of a bench over so many rows.
fn packed(name: &'static str, mean: bool, usual: fn(usize) -> Vec<usize>) -> Op {
    Op::new(name, DType::is_float, move |draw| {
        let rows = *draw.shape.first()?;
        let lengths = if draw.is_bench() { usual(rows) } else { lengths(draw, rows) };
        let fill = draw.one_of(&[Fill::Tame, Fill::Wild, Fill::Whole]);
        let (note, ours) =
            (if draw.is_bench() { String::new() } else { format!("{lengths:?}") }, lengths.clone());
        let make = Use::new(
            [draw.operand(fill)],
            move |x| {
                let x = first(x)?;
                let sequences = Sequences::new(&lengths, x.device())?;
                if mean { x.mean_packed(&sequences) } else { x.sum_packed(&sequences) }
            },
            move |x| define(&x[0], &ours, mean),
        );
        Some(make.note(note))
    })
}

/// Some lengths of so many rows together; any of them may be 0.
fn lengths(draw: &mut Draw, rows: usize) -> Vec<usize> {
    let (mut lengths, mut left) = (Vec::new(), rows);
    while left > 0 || draw.below(3) == 0 {
        let length = draw.below(left + 1);
        lengths.push(length);
        left -= length;
    }
    lengths
}

fn define(x: &Array, lengths: &[usize], mean: bool) -> Want {
    let (floats, width) = (x.floats(), x.shape[1..].iter().product::<usize>());
    let (mut want, mut start) = (Vec::new(), 0);
    for &length in lengths {
        let rows = start..start + length;
        want.extend((0..width).map(|column| {
            let rows: Vec<f64> = rows.clone().map(|row| floats[row * width + column]).collect();
            total(&rows, mean, x.dtype)
        }));
        start += length;
    }
    Want::within(&[&[lengths.len()], &x.shape[1..]].concat(), x.dtype, want)
}

fn total(x: &[f64], mean: bool, dtype: DType) -> Interval {
    // Sums of whole numbers that f32 can count have no error at all.
    let counts = x.iter().all(|x| x.fract() == 0.0) && x.iter().map(|x| x.abs()).sum::<f64>() <= 16_777_216.0;
    let sum = if counts { Interval::around(x.iter().sum(), 0.0) } else { sum_error(x, dtype) };
    if !mean {
        return sum;
    }
    let mean = sum.map(|sum| sum / x.len() as f64);
    // One more rounding, of the quotient.
    let error = half_up(dtype) * mean.low.abs().max(mean.high.abs());
    if mean.low.is_finite() { Interval { low: mean.low - error, high: mean.high + error } } else { mean }
}
