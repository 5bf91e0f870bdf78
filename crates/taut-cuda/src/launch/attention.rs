//! Launches of `attention.cu` and `attention_f32.cu`.

use crate::{Arg, Card, Grid, Operand, Param, Stream};
use taut_core::{DType, Error, Layout, Result};
use taut_kernels::{
    Kernel, Tile, WIDTHS,
    args::{self, Strides},
};

// SAFETY: `Attention` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for args::Attention {}

/// The longest row.
pub const WIDEST: usize = WIDTHS[WIDTHS.len() - 1];

/// The most rows of queries of a sequence, all heads counted that share keys, and the most keys: positions have 31
/// bits.
pub const LONGEST: usize = i32::MAX as usize;

/// Which keys a query sees, and what becomes of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// The factor of scores. Positive, and so is its product with `log2(e)` in f32, which is finite.
    pub scale: f64,
    /// Whether row `i` sees the keys up to `i + kv_len - len` only.
    pub causal: bool,
}

/// Sequences of varying length that lie one after the other along the rows.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// Where each begins, and the end of the last: u32, contiguous, rising.
    pub bounds: Operand<'a>,
    /// The length of the longest.
    pub longest: usize,
}

/// `out = softmax(scale q k^T) v` for every sequence and head; `q` may be `out`, for the op in place. All are
/// `[sequences, heads, rows, dim]`, with as many heads of `k` and `v` as divide those of `q`; any strides. Packed
/// sequences are the rows of a single one.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) if the operands do not fit together or are too long,
/// [`DType`](taut_core::ErrorKind::DType) if their dtypes differ or are no floats of the card,
/// [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
pub fn attention(
    stream: &Stream,
    scores: Scores,
    [q, k, v, out]: [Operand<'_>; 4],
    packed: Option<Packed<'_>>,
) -> Result<()> {
    let dtypes = [q, k, v, out].map(|operand| operand.dtype);
    if dtypes.iter().any(|&dtype| dtype != q.dtype || !dtype.is_float() || dtype == DType::F64) {
        return Err(Error::dtype(format!("attention: {dtypes:?} must be one float dtype of the card")));
    }
    let layouts = [q, k, v, out].map(|operand| *operand.layout);
    let packing = packed.map(|packed| (packed.bounds.layout.numel().saturating_sub(1), packed.longest));
    let Some(choice) = choose(&layouts, q.dtype, scores, packing, stream.card())? else { return Ok(()) };
    let step = choice.per_launch();
    for first in (0..choice.sequences).step_by(step as usize) {
        let sequences = step.min(choice.sequences - first);
        let whole = choice.args;
        // Packed sequences are told apart by their bounds, and all begin with the first row.
        let begin = |operand: Operand<'_>, at: Strides| {
            let elements = if packed.is_some() { 0 } else { first * at.sequence };
            operand.pointer() + elements * operand.dtype.size() as u64
        };
        let args = args::Attention {
            q: begin(q, whole.q_at),
            k: begin(k, whole.k_at),
            v: begin(v, whole.v_at),
            out: begin(out, whole.out_at),
            bounds: packed.map_or(0, |packed| packed.bounds.pointer() + 4 * first),
            ..whole
        };
        // SAFETY: both kernels take an `Attention`. The caller vouches for its operands and the bounds; rows and
        // columns stay within their layouts.
        unsafe { stream.launch(choice.kernel, choice.grid(sequences)?, [Arg::new(&args)])? };
    }
    Ok(())
}

/// How attention runs. A pure function of layouts, dtype, card and the lengths of packed sequences.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Choice {
    kernel: Kernel,
    shared_bytes: u32,
    sequences: u64,
    /// All but the addresses.
    args: args::Attention,
}

/// `None` if there is nothing to do. `packing` is the number of packed sequences and the length of the longest.
fn choose(
    layouts: &[Layout; 4],
    dtype: DType,
    scores: Scores,
    packing: Option<(usize, usize)>,
    card: &Card,
) -> Result<Option<Choice>> {
    let misfit = || {
        let [q, k, v, out] = layouts.each_ref().map(Layout::shape);
        Error::shape(format!("attention: {q}, {k} and {v} -> {out}"))
    };
    let [q, k, v, out] = layouts;
    let (&[batch, heads, rows, dim], &[kv_batch, kv_heads, kv_rows, kv_dim]) =
        (&q.shape()[..], &k.shape()[..])
    else {
        return Err(misfit());
    };
    if k.shape() != v.shape() || q.shape() != out.shape() || (batch, dim) != (kv_batch, kv_dim) {
        return Err(misfit());
    }
    if out.numel() == 0 {
        return Ok(None);
    }
    let group = heads.checked_div(kv_heads).ok_or_else(misfit)?;
    let (sequences, len, kv_len) =
        packing.map_or((batch, rows, kv_rows), |(count, longest)| (count, longest, longest));
    let too_long = group.checked_mul(rows).is_none_or(|rows| rows > LONGEST) || kv_rows > LONGEST;
    let Some(&width) = WIDTHS.iter().find(|&&width| dim <= width) else { return Err(misfit()) };
    if group * kv_heads != heads || packing.is_some_and(|_| batch != 1) || too_long {
        return Err(misfit());
    }
    let queries = (len * group) as u64;
    let kernel = kernel(dtype, width, queries, (sequences * kv_heads) as u64, scores.causal, card);
    let args = args::Attention {
        q_at: strides(q),
        k_at: strides(k),
        v_at: strides(v),
        out_at: strides(out),
        len: narrow(len)?,
        kv_len: narrow(kv_len)?,
        kv_heads: narrow(kv_heads)?,
        group: narrow(group)?,
        dim: narrow(dim)?,
        tiles: narrow(queries.div_ceil(kernel.rows().into()))?,
        causal: u32::from(scores.causal),
        packs: u32::from(layouts.iter().all(|layout| on_packs(layout, 16 / dtype.size()))),
        scale: (scores.scale * std::f64::consts::LOG2_E) as f32,
        ..args::Attention::default()
    };
    // A second stage hides the way of the next tile of keys, where there is one.
    let stages = if kv_len <= kernel.keys() as usize { 1 } else { 2 };
    let shared_bytes = kernel.shared_bytes() - (2 - stages) * kernel.stage_bytes();
    Ok(Some(Choice { kernel, shared_bytes, sequences: sequences as u64, args }))
}

/// The kernel for so many rows of queries in each of `count` pairs of a sequence and a head.
fn kernel(dtype: DType, width: usize, queries: u64, count: u64, causal: bool, card: &Card) -> Kernel {
    if dtype == DType::F32 {
        let tile = if queries <= 16 { Tile::Small } else { Tile::Medium };
        return Kernel::AttentionF32(tile, width);
    }
    let rows = |tile| u64::from(Kernel::Attention(dtype, tile, width).rows());
    let fills = |tile| count * queries.div_ceil(rows(tile)) >= card.multiprocessors.into();
    // Of 2,048 rows of 64 or 128 on an H200 large tiles take 10 and 15 % less time than medium ones, but of rows of 64
    // that see only a part 6 % more.
    let gains = width < 64 || width < WIDEST && fills(Tile::Large) && (width > 64 || !causal);
    let tile = match queries {
        0..=16 => Tile::Small,
        _ if queries > rows(Tile::Medium) && gains => Tile::Large,
        _ => Tile::Medium,
    };
    Kernel::Attention(dtype, tile, width)
}

impl Choice {
    fn blocks_of_sequence(&self) -> u64 {
        u64::from(self.args.tiles) * u64::from(self.args.kv_heads)
    }

    /// Sequences of one launch at most: as many as have their blocks on one axis of a grid.
    fn per_launch(&self) -> u64 {
        (i32::MAX as u64 / self.blocks_of_sequence().max(1)).max(1)
    }

    fn grid(&self, sequences: u64) -> Result<Grid> {
        let blocks = [narrow(sequences * self.blocks_of_sequence())?, 1, 1];
        Ok(Grid { blocks, threads: self.kernel.threads(), shared_bytes: self.shared_bytes, cluster: 1 })
    }
}

fn strides(layout: &Layout) -> Strides {
    let at = |axis: usize| layout.strides()[axis] as u64;
    Strides { sequence: at(0), head: at(1), row: at(2), col: at(3) }
}

/// Whether all rows are whole packs of `len` elements, and begin at multiples of them.
fn on_packs(layout: &Layout, len: usize) -> bool {
    let axes = layout.shape().iter().zip(layout.strides());
    let mut outer = axes.take(3).filter(|(dim, _)| **dim > 1);
    layout.strides()[3] == 1
        && layout.shape()[3].is_multiple_of(len)
        && layout.offset().is_multiple_of(len)
        && outer.all(|(_, stride)| stride.is_multiple_of(len))
}

fn narrow<N: TryInto<u32>>(n: N) -> Result<u32> {
    n.try_into().map_err(|_| Error::shape("attention: too many rows or heads for a launch"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::Shape;

    const PLAIN: Scores = Scores { scale: 1.0, causal: false };

    fn layout(dims: &[usize]) -> Layout {
        Layout::contiguous(Shape::new(dims).unwrap())
    }

    fn chosen(q: Layout, k: Layout, packing: Option<(usize, usize)>) -> Choice {
        choose(&[q, k, k, q], DType::F16, PLAIN, packing, &Card::h200()).unwrap().unwrap()
    }

    #[test]
    fn tiles_grow_with_the_rows_that_share_keys() {
        let kernel = |q: &[usize], k: &[usize]| chosen(layout(q), layout(k), None).kernel;
        let of = |tile, width| Kernel::Attention(DType::F16, tile, width);
        assert_eq!(kernel(&[256, 12, 16, 32], &[256, 12, 16, 32]), of(Tile::Small, 32));
        assert_eq!(kernel(&[256, 12, 32, 32], &[256, 12, 32, 32]), of(Tile::Medium, 32));
        assert_eq!(kernel(&[256, 12, 64, 32], &[256, 12, 64, 32]), of(Tile::Large, 32));
        assert_eq!(kernel(&[256, 12, 64, 40], &[256, 12, 64, 40]), of(Tile::Medium, 64));
        assert_eq!(kernel(&[8, 16, 2048, 128], &[8, 16, 2048, 128]), of(Tile::Large, 128));
        // One query of 64 heads that share keys is 64 rows; few blocks are the smaller ones.
        assert_eq!(kernel(&[9, 64, 1, 64], &[9, 1, 5000, 64]), of(Tile::Medium, 64));
        assert_eq!(kernel(&[1, 4, 512, 64], &[1, 4, 512, 64]), of(Tile::Medium, 64));
        assert_eq!(kernel(&[8, 16, 2048, 256], &[8, 16, 2048, 256]), of(Tile::Medium, 256));
    }

    #[test]
    fn one_tile_of_keys_takes_one_stage() {
        let bytes = |len: usize| {
            let both = layout(&[256, 12, len, 32]);
            chosen(both, both, None).shared_bytes
        };
        assert_eq!((bytes(64), bytes(65)), (64 * 64 + 8192, 64 * 64 + 2 * 8192));
    }

    #[test]
    fn every_block_fits_where_the_least_shared_memory_is() {
        // 99 KiB: cards of 8.6, 8.9 and 12.0.
        for kernel in Kernel::all() {
            assert!(kernel.rows() == 0 || kernel.shared_bytes() <= 99 << 10, "{kernel:?}");
        }
    }

    #[test]
    fn packed_sequences_are_rows_of_one() {
        let tokens = layout(&[1, 4, 100, 32]);
        let choice = chosen(tokens, tokens, Some((3, 60)));
        assert_eq!((choice.sequences, choice.args.len, choice.args.tiles), (3, 60, 1));
        assert_eq!(choice.grid(3).unwrap().blocks, [12, 1, 1]);
        assert_eq!(choice.args.packs, 1);
    }

    #[test]
    fn rows_that_are_no_packs_are_read_by_elements() {
        let fused = layout(&[2, 5, 3 * 4 * 32]);
        let part = |offset: usize| {
            let part = fused.sliced(2, offset..offset + 128).unwrap();
            let heads = part.reshaped(Shape::new(&[2, 5, 4, 32]).unwrap()).unwrap().unwrap();
            heads.transposed(1, 2).unwrap()
        };
        let packs = |q, k| chosen(q, k, None).args.packs;
        assert_eq!((packs(part(0), part(128)), packs(part(0), part(130))), (1, 0));
        assert_eq!(packs(layout(&[1, 2, 3, 36]), layout(&[1, 2, 3, 36])), 0);
    }

    #[test]
    fn many_sequences_take_several_launches() {
        let many = layout(&[1 << 20, 4096, 1, 1]);
        let choice = chosen(many, many, None);
        assert_eq!(choice.per_launch(), (1 << 31) / 4096 - 1);
        assert!(choice.grid(choice.per_launch()).is_ok());
    }

    #[test]
    fn nothing_and_misfits() {
        let (some, none) = (layout(&[2, 3, 4, 8]), layout(&[2, 3, 0, 8]));
        let run = |layouts: [Layout; 4]| choose(&layouts, DType::F16, PLAIN, None, &Card::h200());
        assert_eq!(run([none, some, some, none]), Ok(None));
        assert!(run([some, none, none, some]).unwrap().is_some());
        assert!(run([some, layout(&[2, 2, 4, 8]), layout(&[2, 2, 4, 8]), some]).is_err());
        assert!(run([some, some, none, some]).is_err());
        let wide = layout(&[1, 1, 1, WIDEST + 1]);
        assert!(run([wide; 4]).is_err());
    }
}
