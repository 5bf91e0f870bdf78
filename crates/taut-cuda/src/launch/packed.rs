//! Launches of `packed.cu`: each sequence as a whole, or long ones in slices with a second pass.

use super::walk::{by_stride_of_last, grid};
use crate::{Arg, Operand, Param, Stream, operand};
use taut_core::{DType, Error, Layout, Packed, Result};
use taut_kernels::{
    Kernel, PackedPart,
    args::{self, THREADS, Walk},
    pack_len,
};
use taut_memory::Block;

// SAFETY: `Packed` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for args::Packed {}

const BLOCK: u64 = THREADS as u64;
const WARP: u64 = 32;

/// Blocks that fill the largest card. No fact of the card at hand: the order of additions would be one too.
const BLOCKS: u64 = 1024;

/// Rows that a thread takes at least, where it shares a sequence with others.
const ROWS: u64 = 4;

/// Rows of a slice at least.
const LEAST_CUT: u64 = 256;

/// What is known of packed sequences on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// How many there are.
    pub count: usize,
    /// The length of the longest.
    pub longest: usize,
    /// The length of all together.
    pub tokens: usize,
}

/// How rows are added up. A pure function of layout, dtype and lengths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What [`packed`] needs beside its operands.
    pub workspace_bytes: u64,
    src: Layout,
    dtype: DType,
    lengths: Lengths,
    /// A row of the input and of the output.
    columns: [Layout; 2],
    /// Elements in a unit: in a pack, or 1.
    len: usize,
    team: Team,
    /// Rows of a slice.
    cut: u64,
    is_cut: bool,
}

/// How a block is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Team {
    /// Threads side by side on units of a row.
    side: u64,
    /// Threads that share the rows of a unit.
    sharing: u64,
    /// Blocks side by side.
    tiles: u64,
}

/// Chooses how the rows of sequences are added up. `src` has an axis of rows and at least one element in each.
pub fn choose(src: &Layout, dtype: DType, lengths: Lengths) -> Choice {
    let row = src.split(&[0]).0;
    let columns = by_stride_of_last([row, Layout::contiguous(*row.shape())]);
    let packs = pack_len(&[dtype]);
    let len = if on_packs(&columns, src.strides()[0], packs) { packs } else { 1 };
    let [count, longest, tokens] = [lengths.count, lengths.longest, lengths.tokens].map(|n| n as u64);
    let units = (row.numel() / len) as u64;
    let side = side(units, len);
    let tiles = units.div_ceil(side);

    // A sequence that takes longer by itself than all of them take the card must be shared.
    let work = tokens * tiles;
    let is_cut = longest > LEAST_CUT && longest * BLOCKS > work;
    let cut = if is_cut { (work / (4 * BLOCKS)).next_power_of_two().max(LEAST_CUT) } else { longest.max(1) };
    let is_cut = is_cut && longest > cut;
    let cut = if is_cut { cut } else { longest.max(1) };
    let usual = (tokens / count.max(1)).min(cut);
    let team = Team { side, sharing: sharing(usual, side), tiles };
    let workspace_bytes = if is_cut { 2 * cells(tokens, cut) * row.numel() as u64 * 4 } else { 0 };
    Choice { workspace_bytes, src: *src, dtype, lengths, columns, len, team, cut, is_cut }
}

/// `dst = op` of the rows of each sequence: `[tokens, ..rest]` to `[count, ..rest]`, which is flat. `bounds` are where each
/// sequence begins, and the end of the last; `workspace` has [`Choice::workspace_bytes`].
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) or [`DType`](taut_core::ErrorKind::DType) if the operands are not those of the
/// choice, or there are too many for a launch, [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
pub fn packed(
    stream: &Stream,
    op: Packed,
    choice: &Choice,
    [src, bounds, dst]: [Operand<'_>; 3],
    workspace: &Block,
) -> Result<()> {
    let Choice { dtype, lengths, columns, team, cut, is_cut, .. } = *choice;
    let width = columns[0].numel();
    if *src.layout != choice.src || [src.dtype, dst.dtype, bounds.dtype] != [dtype, dtype, DType::U32] {
        return Err(Error::dtype(format!("{}: the operands are not those that were planned", op.name())));
    }
    let is_flat = |layout: &Layout, numel: usize| layout.flat().is_some_and(|range| range.len() == numel);
    if !is_flat(dst.layout, lengths.count * width) || !is_flat(bounds.layout, lengths.count + 1) {
        return Err(Error::shape(format!(
            "{}: {} and the bounds {} are not for {} sequences",
            op.name(),
            dst.layout.shape(),
            bounds.layout.shape(),
            lengths.count
        )));
    }
    let [count, tokens] = [lengths.count, lengths.tokens].map(|n| n as u64);
    let cells = cells(tokens, cut);
    let slots = if is_cut { count + tokens / cut } else { count };
    let narrow = |n: u64| {
        u32::try_from(n).map_err(|_| Error::shape(format!("{}: too many sequences or columns", op.name())))
    };
    let whole = args::Packed {
        src: Operand { layout: &columns[0], ..src }.pointer(),
        out: dst.pointer(),
        partials: operand::workspace(op.name(), workspace, choice.workspace_bytes)?,
        bounds: bounds.pointer(),
        row_step: choice.src.strides()[0] as u64,
        out_step: width as u64,
        slots,
        cells,
        count: narrow(count)?,
        cut: narrow(cut)?,
        mean: u32::from(op == Packed::Mean),
        ..args::Packed::default()
    };
    let launch = |part, team: Team, n: u64, len| {
        let Team { side, sharing, tiles } = team;
        let [side_arg, sharing_arg, tiles_arg] = [narrow(side)?, narrow(sharing)?, narrow(tiles)?];
        let args = args::Packed { side: side_arg, sharing: sharing_arg, tiles: tiles_arg, ..whole };
        let walk = Walk::wide(&columns, len);
        let blocks = n.div_ceil(BLOCK / (side * sharing)) * tiles;
        // SAFETY: both kernels take `(Packed, Walk<2>)`. The caller vouches for the bounds, which end with the rows; columns
        // stay within their layouts, and the workspace holds two rows of sums for each cell.
        unsafe {
            stream.launch(
                Kernel::Packed(dtype, part),
                grid([blocks, 1], THREADS)?,
                [Arg::new(&args), Arg::new(&walk)],
            )
        }
    };
    let part = if choice.len > 1 { PackedPart::RowsPacked } else { PackedPart::Rows };
    launch(part, team, slots, choice.len)?;
    if !is_cut {
        return Ok(());
    }
    let side = side(width as u64, 1);
    let slices = (lengths.longest as u64).div_ceil(cut);
    let team = Team { side, sharing: sharing(slices, side), tiles: (width as u64).div_ceil(side) };
    launch(PackedPart::Join, team, cells, 1)
}

/// Runs of `cut` rows that the rows begin. The sums of slices stand in two rows for each.
fn cells(tokens: u64, cut: u64) -> u64 {
    tokens / cut + 1
}

/// Threads side by side on units of `len` elements: a power of two of which few are left over, down to 128 bytes.
fn side(units: u64, len: usize) -> u64 {
    let least = if len > 1 { 8 } else { WARP };
    let mut side = units.max(1).next_power_of_two().min(WARP);
    while side > least && (units.div_ceil(side) * side - units) * 8 > units {
        side /= 2;
    }
    side
}

/// Threads that share `rows` rows.
fn sharing(rows: u64, side: u64) -> u64 {
    (rows / ROWS).max(1).next_power_of_two().min(BLOCK / side)
}

/// Whether all rows lie in whole packs of `len` elements.
fn on_packs(columns: &[Layout; 2], row_step: usize, len: usize) -> bool {
    let on_packs = |layout: &Layout| {
        let Some((&inner, outer)) = layout.strides().split_last() else { return false };
        inner == 1
            && layout.offset().is_multiple_of(len)
            && outer.iter().all(|stride| stride.is_multiple_of(len))
    };
    row_step.is_multiple_of(len)
        && columns[0].shape().last().is_some_and(|dim| dim.is_multiple_of(len))
        && columns.iter().all(on_packs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::Shape;

    fn chosen(dims: &[usize], lengths: &[usize]) -> Choice {
        let tokens = lengths.iter().sum();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let layout = Layout::contiguous(Shape::new(&[&[tokens], dims].concat()).unwrap());
        choose(&layout, DType::F16, Lengths { count: lengths.len(), longest, tokens })
    }

    #[test]
    fn sentences_take_one_pass() {
        let choice = chosen(&[384], &[128; 256]);
        assert_eq!((choice.len, choice.is_cut, choice.workspace_bytes), (8, false, 0));
        assert_eq!(choice.team, Team { side: 16, sharing: 16, tiles: 3 });
        // Short ones share a block.
        assert_eq!(chosen(&[384], &[6; 5000]).team.sharing, 1);
        assert_eq!(chosen(&[], &[1000; 5000]).team, Team { side: 1, sharing: 256, tiles: 1 });
    }

    #[test]
    fn what_would_hold_up_the_card_is_cut() {
        let few = chosen(&[384], &[100_000; 4]);
        assert!(few.is_cut);
        assert_eq!((few.cut, few.workspace_bytes), (512, 2 * (400_000 / 512 + 1) * 384 * 4));
        // One that is long among many that are short; as many long ones fill the card.
        let mut lengths = vec![10; 20_000];
        lengths[70] = 50_000;
        assert!(chosen(&[384], &lengths).is_cut);
        assert!(!chosen(&[384], &[2000; 2000]).is_cut);
        assert!(!chosen(&[384], &[256; 1]).is_cut && chosen(&[384], &[257; 1]).is_cut);
    }

    #[test]
    fn sums_of_slices_take_a_part_of_the_input() {
        for tokens in [257, 1000, 10_000, 1 << 20, 1 << 24] {
            for width in [8, 100, 384, 4096] {
                let choice = chosen(&[width], &[tokens]);
                let input = (tokens * width * 2) as u64;
                assert!(choice.workspace_bytes * 32 <= input + 64 * 4 * width as u64, "{tokens} {width}");
            }
        }
    }

    #[test]
    fn no_two_sums_have_one_place() {
        // As `partial_row` of the kernel says.
        for lengths in [vec![700, 3, 0, 300, 1, 256, 900, 0], vec![513; 9], vec![1, 2, 5000, 1, 257, 257]] {
            let choice = chosen(&[384], &lengths);
            let (mut begin, mut places) = (0, Vec::new());
            for length in lengths.into_iter().map(|length| length as u64) {
                let slices = if length > choice.cut { length.div_ceil(choice.cut) } else { 0 };
                places.extend((0..slices).map(|i| 2 * (begin / choice.cut + i) + u64::from(i == 0)));
                begin += length;
            }
            let n = places.len();
            assert!(choice.is_cut && places.iter().all(|&place| place < 2 * cells(begin, choice.cut)));
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), n);
        }
    }

    #[test]
    fn rows_that_are_no_packs_go_by_elements() {
        let lengths = Lengths { count: 2, longest: 5, tokens: 10 };
        let wide = Layout::contiguous(Shape::new(&[10, 3, 64]).unwrap());
        let len = |layout: &Layout| choose(layout, DType::F16, lengths).len;
        let part = |from, to| wide.sliced(2, from..to).unwrap();
        assert_eq!([len(&wide), len(&part(8, 40)), len(&part(4, 36)), len(&part(0, 36))], [8, 8, 1, 1]);
        assert_eq!(len(&wide.transposed(1, 2).unwrap()), 1);
    }
}
