//! Launches of `copy.cu`, `copy_tiles.cu`, `copy_planes.cu` and `copy_runs.cu`.

mod planes;
#[cfg(test)]
mod tests;

pub use planes::stack;

use self::planes::Form;
use super::walk::{Choice, Way, check_shapes, choose, each_part, grid};
use crate::{Arg, Operand, Param, Stream};
use taut_core::{DType, Layout, Result};
use taut_kernels::{
    Access, Kernel, Moved,
    args::{Runs, THREADS, Tiles, WALK_LIMIT, Walk},
};

// SAFETY: `Tiles` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for Tiles {}
// SAFETY: as above.
unsafe impl Param for Runs {}

/// `dst = src`, converted to the dtype of `dst`. Shapes are equal; the two do not overlap.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) if the shapes differ, [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn copy(stream: &Stream, src: Operand<'_>, dst: Operand<'_>) -> Result<()> {
    let operands = [src, dst];
    check_shapes("copy", &operands)?;
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    match road(&operands) {
        Road::Walk(choice) => walk(stream, &operands, &choice),
        Road::Tiles { moved, layouts, column } => {
            let tiles = Tiles::new(&layouts, column, moved.bytes());
            let [src, dst] = [src.pointer(), dst.pointer()];
            let args = [Arg::new(&src), Arg::new(&dst), Arg::new(&tiles)];
            // SAFETY: `copy_tiles(in, out, tiles)`; tiles are cut to the extents of both operands.
            unsafe { stream.launch(Kernel::CopyTiles(moved), grid([tiles.walk.numel, 1], THREADS)?, args) }
        }
        Road::Planes { moved, layouts, form } => {
            let start = |i: usize| operands[i].address + (layouts[i].offset() * moved.bytes()[i]) as u64;
            form.launch(stream, moved, [start(0), start(1)])
        }
        Road::Runs { moved, layouts } => each_part(&layouts, WALK_LIMIT, &mut |layouts| {
            let start = |i: usize| operands[i].address + (layouts[i].offset() * moved.bytes()[i]) as u64;
            gather(stream, moved, [start(0), start(1)], Walk::new(layouts, 1), &layouts[1])
        }),
    }
}

/// Launches `copy_runs` from and to the addresses of the first elements. The walk is over elements, in the order of `dst`,
/// of which [`has_runs`] is true.
pub(super) fn gather(
    stream: &Stream,
    moved: Moved,
    [src, dst]: [u64; 2],
    walk: Walk<2>,
    dst_layout: &Layout,
) -> Result<()> {
    let runs = runs(walk, dst_layout, moved);
    let grid = grid([u64::from(runs.units).div_ceil(THREADS.into()), 1], THREADS)?;
    let args = [Arg::new(&src), Arg::new(&dst), Arg::new(&runs)];
    // SAFETY: `copy_runs(in, out, runs)`; it walks within the layouts that the walk was made of.
    unsafe { stream.launch(Kernel::CopyRuns(moved), grid, args) }
}

fn walk(stream: &Stream, operands: &[Operand<'_>; 2], choice: &Choice<2>) -> Result<()> {
    let kernel = Kernel::Copy(operands[0].dtype, operands[1].dtype, choice.access);
    choice.each(operands, |grid, [src, dst], way| {
        let [src, dst] = [Arg::new(&src), Arg::new(&dst)];
        // SAFETY: `copy_packed(in, out, n)` and `copy_walk(in, out, walk)`; both pointers are of operands that the caller
        // vouches for, walked within their layouts.
        unsafe {
            match way {
                Way::Packed(n) => stream.launch(kernel, grid, [src, dst, Arg::new(n)]),
                Way::Walk(walk) => stream.launch(kernel, grid, [src, dst, Arg::new(walk)]),
            }
        }
    })
}

/// Packs of a row from which on its ends do not count.
const LONG_ROW: usize = 32;

/// Rows of a matrix from which on tiles are worth it: fewer are so many streams, which whole packs can be gathered from.
const TILE_ROWS: usize = 8;

/// How a copy is made.
#[derive(Debug)]
enum Road {
    /// In the order of the destination, in packs along both operands or one element at a time.
    Walk(Choice<2>),
    /// By way of tiles: the source is contiguous along the axis `column`, the destination along the last.
    Tiles { moved: Moved, layouts: [Layout; 2], column: usize },
    /// Between a few planes and pixels that have an element of each.
    Planes { moved: Moved, layouts: [Layout; 2], form: Form },
    /// In packs of the destination, whose elements are gathered.
    Runs { moved: Moved, layouts: [Layout; 2] },
}

/// Chooses the road for operands of one shape, none of them empty. Pure, from layouts and dtypes.
fn road(operands: &[Operand<'_>; 2]) -> Road {
    let choice = choose(operands);
    let Some(moved) = moved(operands[0].dtype, operands[1].dtype).filter(|_| choice.access != Access::Packed)
    else {
        return Road::Walk(choice);
    };
    let (moved, layouts) = in_units(&Layout::collapse_by_last(*choice.layouts()), moved);
    if let Some(form) = planes::form(&layouts, moved) {
        return Road::Planes { moved, layouts, form };
    }
    // Before packs along rows: rows of one pack each may be the elements of a matrix that is transposed.
    if let Some(column) = column(&layouts, moved) {
        return Road::Tiles { moved, layouts, column };
    }
    if choice.access == Access::Strided && has_runs(&layouts[1], moved) {
        return Road::Runs { moved, layouts };
    }
    Road::Walk(choice)
}

/// What becomes of elements on the way, if `copy_tiles` and `copy_runs` are made for it.
fn moved(from: DType, to: DType) -> Option<Moved> {
    let moved = match (from, to) {
        _ if from == to => Moved::Bits(from.size()),
        (DType::Bool, _) => Moved::Cast(DType::U8, to), // a bool is a byte, 0 or 1
        _ => Moved::Cast(from, to),
    };
    Moved::all().find(|&other| other == moved)
}

/// The layouts in the widest units, of up to 16 bytes, that lie together in both: their elements, if nothing wider does
/// or they are converted.
fn in_units(layouts: &[Layout; 2], moved: Moved) -> (Moved, [Layout; 2]) {
    let Moved::Bits(bytes) = moved else { return (moved, *layouts) };
    let wider = [16, 8, 4, 2].into_iter().filter(|&unit| unit > bytes).find_map(|unit| {
        let [src, dst] = layouts.each_ref().map(|layout| layout.in_units(unit / bytes));
        Some((Moved::Bits(unit), Layout::collapse_by_last([src?, dst?])))
    });
    wider.unwrap_or((moved, *layouts))
}

/// The axis along which the source is contiguous, if that is not the last, along which the destination is, and both are
/// long enough for tiles.
fn column(layouts: &[Layout; 2], moved: Moved) -> Option<usize> {
    let [src, dst] = layouts.each_ref().map(|layout| layout.strides());
    let row = dst.len().checked_sub(1).filter(|&row| dst[row] == 1 && src[row] > 1)?;
    let column = src[..row].iter().position(|&stride| stride == 1)?;
    let shape = layouts[0].shape();
    let [in_len, out_len] = moved.bytes().map(Tiles::pack_len);
    // A quarter of a tile at least has something in it.
    let fills = shape[column] * shape[row] * 4 >= in_len * out_len * THREADS as usize;
    (shape[row] >= TILE_ROWS && fills).then_some(column)
}

fn runs(walk: Walk<2>, dst: &Layout, moved: Moved) -> Runs {
    let len = run_len(moved);
    let row = dst.shape().last().copied().unwrap_or(1);
    // Rows that are long have little to lose at their ends, and need less arithmetic.
    let is_one = dst.rank() > 1 && row < LONG_ROW * len && dst.flat().is_some();
    Runs::new(walk, dst, len, is_one)
}

/// Elements of a pack of `copy_runs`.
fn run_len(moved: Moved) -> usize {
    16 / moved.bytes()[1]
}

/// Whether a destination, collapsed, lies in runs that fill packs: in one, or in rows of two packs or more, of which there
/// are then fewer than elements.
pub(super) fn has_runs(dst: &Layout, moved: Moved) -> bool {
    let len = run_len(moved);
    let row = dst.shape().last().copied().unwrap_or(1);
    len > 1 && dst.strides().last() == Some(&1) && (row >= 2 * len || dst.flat().is_some())
}
