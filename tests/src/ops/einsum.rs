//! Sums of products by subscripts.

use crate::{Array, Draw, Fill, Interval, Op, Operand, Use, Want, half_up, sum_error};
use taut::{DType, Tensor};

/// What benches measure, with the extents of letters at a scale of one.
const USUAL: [(&str, &str); 4] = [
    ("einsum, scores of attention", "bqhd,bkhd->bhqk"),
    ("einsum, sums of attention", "bhqk,bkhd->bqhd"),
    ("einsum, inner products", "bi,bi->b"),
    ("einsum, outer products", "bi,bj->bij"),
];

pub(super) fn ops() -> Vec<Op> {
    let usual = USUAL.map(|(name, subscripts)| {
        Op::new(name, DType::is_float, move |draw| {
            let extents = if draw.is_bench() { large(draw, subscripts) } else { small(draw, subscripts) };
            Some(sum_of_products(subscripts.to_owned(), extents, draw.dtype))
        })
    });
    let any = Op::new("einsum", DType::is_float, |draw| {
        // What is measured has its own entries.
        if draw.is_bench() {
            return None;
        }
        let (subscripts, extents) = any(draw);
        Some(sum_of_products(subscripts, extents, draw.dtype))
    });
    usual.into_iter().chain([any]).collect()
}

/// The letters of subscripts, each once.
fn letters(subscripts: &str) -> Vec<char> {
    let mut letters: Vec<char> = subscripts.chars().filter(char::is_ascii_alphabetic).collect();
    letters.sort_unstable();
    letters.dedup();
    letters
}

/// Extents for a bench: 16 heads of 64, or vectors of 64 and 1024.
fn large(draw: &Draw, subscripts: &str) -> Vec<(char, usize)> {
    let attention = subscripts.contains('h');
    let batch = if attention { draw.numel() >> 22 } else { draw.numel() >> 12 };
    let extent = |letter| match letter {
        'b' => batch,
        'h' => 16,
        'd' => 64,
        'q' | 'k' => 1024,
        _ => 64,
    };
    letters(subscripts).into_iter().map(|letter| (letter, extent(letter))).collect()
}

fn small(draw: &mut Draw, subscripts: &str) -> Vec<(char, usize)> {
    letters(subscripts).into_iter().map(|letter| (letter, draw.below(11))).collect()
}

/// Subscripts of one or two operands: the first has the drawn shape, if that is small, the second some of its letters and
/// some of its own, the result some of both, all in any order.
fn any(draw: &mut Draw) -> (String, Vec<(char, usize)>) {
    let shuffled = |draw: &mut Draw, mut letters: Vec<char>| {
        (1..letters.len()).rev().for_each(|i| letters.swap(i, draw.below(i + 1)));
        letters
    };
    let some = |draw: &mut Draw, letters: &[char]| -> Vec<char> {
        letters.iter().copied().filter(|_| draw.below(2) == 0).collect()
    };
    let mut extents: Vec<(char, usize)> =
        ('a'..).zip(draw.shape.iter().map(|&extent| extent.min(12))).collect();
    let first: Vec<char> = extents.iter().map(|(letter, _)| *letter).collect();
    let mut text: String = shuffled(draw, first.clone()).into_iter().collect();
    let mut all = first.clone();
    if draw.below(4) > 0 {
        let own: Vec<char> = ['X', 'Y'].into_iter().take(draw.below(3)).collect();
        extents.extend(own.iter().map(|&letter| (letter, draw.below(9))));
        let second = [some(draw, &first), own.clone()].concat();
        text.extend([','].into_iter().chain(shuffled(draw, second)));
        all.extend(own);
    }
    let output = some(draw, &all);
    text.push_str("->");
    text.extend(shuffled(draw, output));
    (text, extents)
}

fn sum_of_products(subscripts: String, extents: Vec<(char, usize)>, dtype: DType) -> Use {
    let extent =
        |letter: char| extents.iter().find(|(other, _)| *other == letter).map_or(1, |(_, extent)| *extent);
    let (inputs, output) = subscripts.split_once("->").unwrap_or((&subscripts, ""));
    let inputs: Vec<&str> = inputs.split(',').collect();
    let shape = |term: &str| term.chars().map(extent).collect::<Vec<_>>();
    let operands: Vec<Operand> =
        inputs.iter().map(|term| Operand::new(&shape(term), dtype, Fill::Tame)).collect();
    let flops = 2.0 * extents.iter().map(|(_, extent)| *extent as f64).product::<f64>();
    // With summed letters of both it is a product of matrices.
    let is_product = matches!(inputs[..], [a, b] if a.chars().any(|c| b.contains(c) && !output.contains(c)))
        && inputs
            .iter()
            .any(|term| term.chars().any(|c| output.contains(c) && !inputs.iter().all(|t| t.contains(c))));
    let define = {
        let (inputs, output) =
            (inputs.iter().map(|&term| term.to_owned()).collect::<Vec<_>>(), output.to_owned());
        let extents = extents.clone();
        move |x: &[Array]| definition(&inputs, &output, &extents, x)
    };
    let note = format!("{subscripts:?}");
    let call = move |x: Vec<Tensor>| Tensor::einsum(&subscripts, &x.iter().collect::<Vec<_>>());
    let make = Use::new(operands, call, define).note(note);
    if is_product { make.flops(flops) } else { make }
}

/// The sum over all letters that the result lacks, of products of elements.
fn definition(inputs: &[String], output: &str, extents: &[(char, usize)], x: &[Array]) -> Want {
    let dtype = x[0].dtype;
    // The number of an element of an operand, or of the result, at coordinates of all letters.
    let index = |term: &str, at: &[usize]| {
        term.chars().fold(0, |i, letter| {
            let axis = extents.iter().position(|(other, _)| *other == letter).unwrap_or(0);
            i * extents[axis].1 + at[axis]
        })
    };
    let shape: Vec<usize> = output
        .chars()
        .filter_map(|c| extents.iter().find(|(other, _)| *other == c))
        .map(|(_, n)| *n)
        .collect();
    let used = |letter: char| inputs.iter().any(|term| term.contains(letter));
    let mut terms = vec![Vec::new(); shape.iter().product()];
    let values: Vec<Vec<f64>> = x.iter().map(Array::floats).collect();
    let total: usize = extents.iter().filter(|(letter, _)| used(*letter)).map(|(_, n)| *n).product();
    let mut at = vec![0; extents.len()];
    for _ in 0..total {
        let product =
            inputs.iter().zip(&values).map(|(term, values)| values[index(term, &at)]).product::<f64>();
        terms[index(output, &at)].push(product);
        // The next coordinates, as a clock.
        for axis in (0..extents.len()).filter(|&axis| used(extents[axis].0)) {
            at[axis] += 1;
            if at[axis] < extents[axis].1 {
                break;
            }
            at[axis] = 0;
        }
    }
    // A letter of one operand alone that is summed is summed first, and rounded to the dtype.
    let alone = inputs.len() == 2
        && inputs.iter().any(|term| {
            term.chars()
                .any(|c| !output.contains(c) && inputs.iter().filter(|other| other.contains(c)).count() == 1)
        });
    let rounded = if alone { 4.0 * unit(dtype) } else { 0.0 };
    let sums = terms.into_iter().map(|terms| {
        let magnitude: f64 = terms.iter().map(|x| x.abs()).sum();
        let sum = sum_error(&terms, dtype);
        // A product is one more operation on each term, and tensor cores cut off where others round.
        let error = (rounded + 4.0 * (terms.len() + 2) as f64 * half_up(dtype)) * magnitude;
        let least = if alone { terms.len() as f64 * 2f64.powi(-24) } else { 0.0 };
        Interval { low: sum.low - error - least, high: sum.high + error + least }
    });
    Want::within(&shape, dtype, sums.collect())
}

/// Half an ulp of 1.
fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => half_up(dtype),
    }
}
