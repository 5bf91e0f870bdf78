//! Attention over batches and over packed sequences.

use crate::{Draw, Fill, Grid, Heads, Op, Operand, Use, Want, attention, split};
use taut::{Attention, DType, Sequences};

pub(super) fn ops() -> Vec<Op> {
    let op = |name, causal| Op::new(name, DType::is_float, move |draw| batch(draw, causal)).in_place();
    vec![
        op("attention", false).scale(|numel| vec![(numel >> 20).max(1), 16, 1024, 64]),
        op("attention, causal", true).scale(|numel| vec![(numel >> 20).max(1), 16, 1024, 64]),
        op("attention, short", false).scale(|numel| vec![numel / (12 * 64 * 32), 12, 64, 32]),
        Op::new("attention_packed", DType::is_float, packed)
            .in_place()
            .scale(|numel| vec![numel / (12 * 32), 12, 32]),
    ]
}

/// Some heads and a length of rows, so few that the definition is quick.
fn heads(draw: &mut Draw) -> Option<Heads> {
    let dim = draw.one_of(&[32, 64, 8, 16, 128, 40, 72, 136, 256, 5, 1, 3]);
    let kv_heads = 1 + draw.below(3);
    let heads = kv_heads * (1 + draw.below(3));
    let most = (20_000 / (heads * dim)).min(160);
    let len = (*draw.shape.first()?).min(most);
    let kv_len = draw.shape.last().copied().unwrap_or(len).min(20_000 / (heads * dim)).min(300);
    Some(Heads { heads, kv_heads, len, kv_len, dim })
}

fn options(draw: &mut Draw) -> Attention {
    Attention { scale: draw.one_of(&[None, Some(0.3), Some(4.0)]), causal: draw.below(2) == 1 }
}

fn flops(of: Heads, sequences: usize, causal: bool) -> f64 {
    let all = 4.0 * (sequences * of.heads * of.len) as f64 * (of.kv_len * of.dim) as f64;
    if causal { all / 2.0 } else { all }
}

/// Queries and keys are wild; values are not, because what infinity becomes beside a weight that is nearly 0 is no
/// matter of definition.
fn operands(draw: &mut Draw, q: &[usize], k: &[usize]) -> [Operand; 3] {
    let fill = draw.one_of(&[Fill::Tame, Fill::Wild, Fill::Whole]);
    // One wild element spoils a row, or all rows of a head: most rows must stay what they are.
    let fill = if draw.below(4) == 0 { fill } else { Fill::Tame };
    [
        Operand::new(q, draw.dtype, fill),
        Operand::new(k, draw.dtype, Fill::Tame),
        Operand::new(k, draw.dtype, Fill::Tame),
    ]
}

fn batch(draw: &mut Draw, causal: bool) -> Option<Use> {
    let (sequences, of) = match *draw.shape {
        [batch, heads, len, dim] if draw.is_bench() => {
            (batch, Heads { heads, kv_heads: heads, len, kv_len: len, dim })
        }
        _ => (1 + draw.below(3), heads(draw)?),
    };
    let options = Attention { causal, ..options(draw) };
    let q = [sequences, of.heads, of.len, of.dim];
    let k = [sequences, of.kv_heads, of.kv_len, of.dim];
    let make = Use::new(
        operands(draw, &q, &k),
        move |x| {
            let (q, others) = split(x)?;
            q.attention(&others[0], &others[1], options)
        },
        move |x| {
            let floats = [&x[0], &x[1], &x[2]].map(|x| x.floats());
            let part = |i: usize, sequence: usize| {
                let len = floats[i].len() / sequences;
                &floats[i][sequence * len..][..len]
            };
            let one = |i| attention(of, [0, 1, 2].map(|operand| part(operand, i)), options, x[0].dtype);
            Want::within(&q, x[0].dtype, (0..sequences).flat_map(one).collect())
        },
    );
    Some(make.flops(flops(of, sequences, causal)).note(format!("{of:?}, {options:?}")))
}

fn packed(draw: &mut Draw) -> Option<Use> {
    let (of, lengths) = match *draw.shape {
        [tokens, heads, dim] if draw.is_bench() => {
            // From 1 to 256, as sentences are.
            let lengths = (0..).map(|i: usize| 1 + i.wrapping_mul(0x9e37_79b9) % 256);
            let mut left = tokens;
            let lengths = lengths.map_while(|length| {
                let length = length.min(left);
                left -= length;
                (length > 0).then_some(length)
            });
            (Heads { heads, kv_heads: heads, len: tokens, kv_len: tokens, dim }, lengths.collect())
        }
        _ => {
            let of = heads(draw)?;
            let mut lengths = Vec::new();
            let mut left = of.len;
            while left > 0 || draw.below(3) == 0 {
                let length = draw.below(left + 1);
                lengths.push(length);
                left -= length;
            }
            (Heads { kv_len: of.len, ..of }, lengths)
        }
    };
    let options = options(draw);
    let (q, k) = ([of.len, of.heads, of.dim], [of.len, of.kv_heads, of.dim]);
    let each = |&length: &usize| flops(Heads { len: length, kv_len: length, ..of }, 1, options.causal);
    let (flops, ours) = (lengths.iter().map(each).sum(), lengths.clone());
    let note = if draw.is_bench() { String::new() } else { format!("{of:?}, {lengths:?}, {options:?}") };
    let make = Use::new(
        operands(draw, &q, &k),
        move |x| {
            let (q, others) = split(x)?;
            let sequences = Sequences::new(&lengths, q.device())?;
            q.attention_packed(&others[0], &others[1], &sequences, options)
        },
        move |x| {
            // The rows of a sequence, heads first.
            let part = |operand: usize, rows: &std::ops::Range<usize>| -> Vec<f64> {
                let grid = Grid::new(&x[operand].shape).slice(0, rows.clone()).transpose(0, 1);
                grid.index.iter().map(|&i| x[operand].values[i].float()).collect()
            };
            let mut want = Vec::new();
            let mut start = 0;
            for &length in &ours {
                let rows = start..start + length;
                let [q, k, v] = [0, 1, 2].map(|operand| part(operand, &rows));
                let of = Heads { len: length, kv_len: length, ..of };
                let out = attention(of, [&q, &k, &v], options, x[0].dtype);
                let grid = Grid::new(&[of.heads, length, of.dim]).transpose(0, 1);
                want.extend(grid.index.iter().map(|&i| out[i]));
                start += length;
            }
            Want::within(&x[0].shape, x[0].dtype, want)
        },
    );
    Some(make.flops(flops).note(note))
}
