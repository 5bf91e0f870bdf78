//! Launches of `sort.cu` and `sort_few.cu`: tiles, then merges or tiles of what they kept, until every row is one run; where few
//! elements of each row are wanted, these of parts of rows first.

use super::walk::grid;
use crate::{Arg, Operand, Param, Stream};
use std::iter::successors;
use taut_core::{DType, Error, Layout, Result};
use taut_kernels::{
    Kernel,
    args::{self, FEW_PART, SORT_TILE, THREADS, WARP, Walk},
};

/// Elements that are sorted at once where there are several passes: enough to fill a card, few enough that the pairs
/// between passes take little memory and stay in its cache.
pub(super) const PART: u64 = 1 << 22;

/// Elements that a block sorts.
pub(super) const TILE: u64 = SORT_TILE as u64;

/// Elements that a warp finds the first ones of, and of rows that it does so with.
const PART_OF_FEW: u64 = FEW_PART as u64;
const FEW_FROM: u64 = 512;

/// Elements of a tile that a thread sorts alone.
const ITEMS: u64 = TILE / THREADS as u64;

// SAFETY: `Sort` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for args::Sort {}

/// The longest row: positions have 32 bits, and one value is left for what is none.
pub const LONGEST: usize = u32::MAX as usize - 1;

/// How a sort runs. A pure function of layout, dtype, axis and the number of elements that are wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What [`sort`] needs beside its operands.
    pub workspace_bytes: u64,
    /// Bytes read and written, workspace included, without the values.
    pub moved_bytes: u64,
    keys: Layout,
    dtype: DType,
    axis: usize,
    rows: Rows,
}

/// Chooses how the first `k` of each row of `keys` along `axis`, in order, are found. The axis exists and has at most
/// [`LONGEST`] elements, of which there are `k`.
pub fn choose(keys: &Layout, dtype: DType, axis: usize, k: usize) -> Choice {
    let n = keys.shape()[axis] as u64;
    let (keys, key_bytes) = (*keys, dtype.size().max(4) as u64);
    let count = (keys.numel() as u64).checked_div(n).unwrap_or(0);
    let few = k as u64 <= u64::from(WARP) && n >= FEW_FROM && dtype.size() > 1;
    let rows = Rows { n, k: k as u64, key_bytes, pairs: false, few };
    let workspace_bytes = rows.workspace_bytes(rows.part(count));
    let between: u64 = rows.passes().map(|pass| (pass.n + pass.out_n) * rows.pair_bytes()).sum();
    Choice { workspace_bytes, moved_bytes: count * between, keys, dtype, axis, rows }
}

/// What comes out of a sort, and in which order. Shapes are those of the keys, with `k` elements on the axis.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outputs<'a> {
    /// What moves along with the keys, of their shape, and where it goes.
    pub values: Option<(Operand<'a>, Operand<'a>)>,
    /// Positions along the axis, i64.
    pub indices: Option<Operand<'a>>,
    /// Largest first.
    pub descending: bool,
}

/// Sorts the rows of `keys`; `workspace` is the address of [`Choice::workspace_bytes`], aligned to 256.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) or [`DType`](taut_core::ErrorKind::DType) if the operands are not those of the
/// choice, [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
pub fn sort(
    stream: &Stream,
    choice: &Choice,
    keys: Operand<'_>,
    outputs: Outputs<'_>,
    workspace: u64,
) -> Result<()> {
    let Choice { axis, rows, .. } = *choice;
    let Outputs { values, indices, descending } = outputs;
    let Some(out) = indices.or(values.map(|(_, out)| out)) else { return Ok(()) };
    let expected = |layout: &Layout, n: u64| {
        layout.rank() == choice.keys.rank()
            && layout
                .shape()
                .iter()
                .enumerate()
                .all(|(i, &dim)| dim as u64 == if i == axis { n } else { choice.keys.shape()[i] as u64 })
    };
    let sound = *keys.layout == choice.keys
        && expected(out.layout, rows.k)
        && indices.is_none_or(|indices| indices.dtype == DType::I64)
        && values.is_none_or(|(values, to)| {
            expected(values.layout, rows.n) && to.layout == out.layout && to.dtype == values.dtype
        });
    if !sound || keys.dtype != choice.dtype {
        return Err(Error::shape("sort: the operands are not those that were planned"));
    }
    if out.layout.numel() == 0 {
        return Ok(());
    }

    let source = values.map_or(keys, |(values, _)| values);
    let kept = [keys, source, out].map(|operand| operand.layout.split(&[axis]).0);
    let step = |operand: Operand<'_>| operand.layout.strides()[axis] as u64;
    let pass = args::Sort {
        keys: keys.pointer(),
        key_step: step(keys),
        values: source.pointer(),
        value_step: step(source),
        out_values: values.map_or(0, |(_, to)| to.pointer()),
        out_indices: indices.map_or(0, |indices| indices.pointer()),
        out_step: step(out),
        value_bytes: source.dtype.size() as u32,
        descending: u32::from(descending),
        ..Default::default()
    };
    let count = kept[0].numel() as u64;
    let walk = Walk::wide(&Layout::collapse(kept), 1);
    // The bytes of bools are 0 and 1, and order as those of u8.
    let dtype = if keys.dtype == DType::Bool { DType::U8 } else { keys.dtype };
    let kernel = if rows.few { Kernel::SortFew(dtype) } else { Kernel::Sort(dtype) };
    let part = rows.part(count);
    for first in (0..count).step_by(usize::try_from(part).unwrap_or(usize::MAX)) {
        let pass = args::Sort { first, rows: part.min(count - first), ..pass };
        // SAFETY: the operands are those that the caller vouches for, and the workspace is for `part` rows.
        unsafe { rows.run(stream, kernel, pass, &walk, workspace)? };
    }
    Ok(())
}

/// Rows that are sorted alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rows {
    /// Elements of a row.
    pub(super) n: u64,
    /// How many of them are wanted, at least 1 where anything runs.
    pub(super) k: u64,
    /// 4 or 8.
    pub(super) key_bytes: u64,
    /// Whether pairs of key and position come out, in the workspace.
    pub(super) pairs: bool,
    /// Whether the first pass is that of `sort_few.cu`.
    pub(super) few: bool,
}

/// One launch: rows of `n` elements become rows of `out_n`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pass {
    n: u64,
    out_n: u64,
    /// The runs that are merged; 0 for a pass that sorts tiles.
    run: u64,
    /// The most elements of a run that comes out.
    keep: u64,
    last: bool,
}

impl Pass {
    /// Makes runs of what was `width` elements.
    fn new(n: u64, run: u64, width: u64, keep: u64) -> Pass {
        let whole = n.div_ceil(width).saturating_sub(1);
        Pass { n, out_n: whole * keep + keep.min(n - whole * width), run, keep, last: n <= width }
    }

    fn few(n: u64, k: u64) -> Pass {
        Pass::new(n, 0, PART_OF_FEW, k)
    }

    fn tiles(n: u64, k: u64) -> Pass {
        Pass::new(n, 0, TILE, k.min(TILE))
    }

    fn merge(n: u64, run: u64, k: u64) -> Pass {
        Pass::new(n, run, 2 * run, k.min(2 * run))
    }
}

impl Rows {
    fn passes(&self) -> impl Iterator<Item = Pass> + use<> {
        let k = self.k;
        let first = if self.few { Pass::few(self.n, k) } else { Pass::tiles(self.n, k) };
        successors(Some(first), move |pass| {
            // Where tiles keep half of what they sort or less, sorting again is faster than merging two by two.
            let next = || match k <= TILE / 2 {
                true => Pass::tiles(pass.out_n, k),
                false => Pass::merge(pass.out_n, pass.keep, k),
            };
            (!pass.last).then(next)
        })
    }

    fn pair_bytes(&self) -> u64 {
        self.key_bytes + 4
    }

    /// Of `count` rows, how many are sorted at once.
    pub(super) fn part(&self, count: u64) -> u64 {
        let (alone, between) = match self.few {
            true => (PART_OF_FEW, Pass::few(self.n, self.k).out_n),
            false => (TILE, self.n),
        };
        if self.n <= alone && !self.pairs {
            count.max(1)
        } else {
            (PART / between.max(1)).clamp(1, count.max(1))
        }
    }

    /// The two places that passes write to in turn: the bytes of each, for so many rows.
    fn halves(&self, rows: u64) -> [u64; 2] {
        let mut halves = [0; 2];
        for (i, pass) in self.passes().enumerate().filter(|(_, pass)| !pass.last || self.pairs) {
            let bytes = (rows * pass.out_n * self.pair_bytes()).next_multiple_of(16);
            halves[i % 2] = bytes.max(halves[i % 2]);
        }
        halves
    }

    /// The scratch memory for so many rows.
    pub(super) fn workspace_bytes(&self, rows: u64) -> u64 {
        self.halves(rows).iter().sum()
    }

    /// Runs all passes over the rows of `base`, and returns where the keys and positions are that come out, if pairs do.
    /// `kernel` is that of the first pass.
    ///
    /// # Safety
    ///
    /// `base` and `walk` say what `kernel` reads and the last pass writes, as `sort.cu` requires it; `workspace` starts
    /// [`workspace_bytes`](Self::workspace_bytes) of at least as many rows.
    pub(super) unsafe fn run(
        &self,
        stream: &Stream,
        kernel: Kernel,
        base: args::Sort,
        walk: &Walk<3>,
        workspace: u64,
    ) -> Result<[u64; 2]> {
        let bytes = self.key_bytes as usize;
        let [half, _] = self.halves(base.rows);
        let mut from = [0; 2];
        for (i, pass) in self.passes().enumerate() {
            let start = workspace + if i % 2 == 0 { 0 } else { half };
            let pairs = [start, start + base.rows * pass.out_n * self.key_bytes];
            let to = if pass.last && !self.pairs { [0; 2] } else { pairs };
            let narrow = |n: u64| u32::try_from(n).map_err(|_| Error::shape("sort: a row is too long"));
            let args = args::Sort {
                in_keys: from[0],
                in_order: from[1],
                out_keys: to[0],
                out_order: to[1],
                n: narrow(pass.n)?,
                out_n: narrow(pass.out_n)?,
                run: narrow(pass.run)?,
                keep: narrow(pass.keep)?,
                ..base
            };
            if pass.run > 0 {
                let (runs, chunks) = (pass.n.div_ceil(2 * pass.run), pass.keep.div_ceil(TILE));
                let grid = grid([base.rows * runs * chunks, 1], THREADS)?;
                let (runs, chunks) = (narrow(runs)?, narrow(chunks)?);
                let args = [Arg::new(&args), Arg::new(walk), Arg::new(&runs), Arg::new(&chunks)];
                // SAFETY: `sort_merge(sort, rows, pairs, chunks)` over what the pass before wrote to the other half.
                unsafe { stream.launch(Kernel::SortMerge(bytes), grid, args)? };
            } else if self.few && i == 0 {
                let parts = pass.n.div_ceil(PART_OF_FEW);
                let grid = grid([(base.rows * parts).div_ceil(u64::from(THREADS / WARP)), 1], THREADS)?;
                let parts = narrow(parts)?;
                // SAFETY: `sort_few(sort, rows, parts)`, of the caller's elements.
                unsafe {
                    stream.launch(kernel, grid, [Arg::new(&args), Arg::new(walk), Arg::new(&parts)])?;
                }
            } else {
                let width = pass.n.next_power_of_two().clamp(ITEMS, TILE);
                let blocks = match pass.n <= TILE {
                    true => base.rows.div_ceil(TILE / width),
                    false => base.rows * pass.n.div_ceil(TILE),
                };
                let (grid, width) = (grid([blocks, 1], THREADS)?, narrow(width)?);
                let kernel = if i == 0 { kernel } else { Kernel::SortPairs(bytes) };
                // SAFETY: `sort_tiles(sort, rows, width)`, of the caller's elements or what the pass before wrote.
                unsafe {
                    stream.launch(kernel, grid, [Arg::new(&args), Arg::new(walk), Arg::new(&width)])?;
                }
            }
            from = to;
        }
        Ok(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::Shape;

    fn rows(n: u64, k: u64) -> Rows {
        Rows { n, k, key_bytes: 4, pairs: false, few: false }
    }

    #[test]
    fn passes_end_in_one_run_of_what_is_wanted() {
        for n in [1, 7, 2047, 2048, 2049, 4096, 4097, 5000, 100_003, 1 << 24, LONGEST as u64] {
            for k in [1, 2, 8, 32, 1023, 1024, 1025, 2048, 2049, 3000, 100_000, n] {
                let k = k.min(n);
                let few = k <= 32 && n % 2 == 0;
                let passes: Vec<_> = Rows { few, ..rows(n, k) }.passes().collect();
                let last = passes[passes.len() - 1];
                assert_eq!((last.out_n, last.last), (k, true), "{n} {k} {passes:?}");
                assert!(passes.windows(2).all(|pair| pair[0].out_n == pair[1].n && !pair[0].last));
                assert!(passes.iter().all(|pass| pass.out_n <= pass.n && pass.keep <= k.max(1)));
                assert!(passes.len() <= 23, "{n} {k} {passes:?}");
            }
        }
    }

    #[test]
    fn the_first_of_many_take_tiles_again_and_little_memory() {
        let few = rows(1 << 24, 8);
        assert!(few.passes().all(|pass| pass.run == 0));
        assert_eq!(few.passes().count(), 3);
        assert_eq!(few.workspace_bytes(1), (8 << 13) * 8 + (8 * 32) * 8);
    }

    #[test]
    fn few_of_long_rows_are_found_in_one_pass_over_them() {
        let layout = |dims: &[usize]| Layout::contiguous(Shape::new(dims).unwrap());
        let chosen = |dims: &[usize], dtype, k| {
            let choice = choose(&layout(dims), dtype, dims.len() - 1, k);
            (choice.rows.few, choice.rows.passes().count(), choice.workspace_bytes)
        };
        assert_eq!(chosen(&[1 << 16, 4096], DType::F16, 8), (true, 1, 0));
        assert_eq!(chosen(&[1 << 28], DType::F16, 8), (true, 3, (8 << 16) * 8 + (8 << 8) * 8));
        assert_eq!(chosen(&[64, 1 << 20], DType::I64, 32), (true, 3, (64 * 8192 + 64 * 128) * 12));
        for (dims, dtype, k) in
            [([64, 511], DType::F16, 8), ([64, 4096], DType::F16, 33), ([64, 4096], DType::U8, 8)]
        {
            assert!(!chosen(&dims, dtype, k).0, "{dims:?} {dtype} {k}");
        }
    }

    #[test]
    fn a_row_in_one_tile_takes_no_workspace_and_long_rows_go_in_parts() {
        let layout = |dims: &[usize]| Layout::contiguous(Shape::new(dims).unwrap());
        assert_eq!(choose(&layout(&[1 << 20, 64]), DType::F16, 1, 64).workspace_bytes, 0);
        assert_eq!(choose(&layout(&[4096, 2048]), DType::I64, 1, 2048).workspace_bytes, 0);
        // One merge, over 2^22 elements at a time.
        let choice = choose(&layout(&[4096, 4096]), DType::F32, 1, 4096);
        assert_eq!(choice.workspace_bytes, PART * 8);
        // Two halves from the second merge on.
        assert_eq!(choose(&layout(&[1 << 24]), DType::F32, 0, 1 << 24).workspace_bytes, 2 << 27);
        assert_eq!(choose(&layout(&[3, 0]), DType::F32, 1, 0).workspace_bytes, 0);
    }
}
