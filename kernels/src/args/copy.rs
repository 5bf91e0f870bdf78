//! What the kernels of strided copies are told.

use super::{SECTOR_BYTES, THREADS, TILE_WIDE, Walk, walk::magic};
use std::ops::RangeInclusive;
use taut_core::{Layout, MAX_RANK};

/// A copy between operands that are contiguous along different axes: the source along columns, so that those are
/// neighbours in its rows, the destination along rows. Strides are in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Tiles {
    /// Over tiles: the source, the destination, and the column and the row of the first element.
    pub walk: Walk<4>,
    /// The extent along which the source is contiguous.
    pub columns: u64,
    /// The extent along which the destination is.
    pub rows: u64,
    /// From row to row of the source.
    pub in_row: u64,
    /// From column to column of the destination.
    pub out_column: u64,
    /// The logarithm of the small blocks that lie side by side in a tile.
    pub across: u32,
    /// 1 if the source takes aligned packs.
    pub in_packs: u32,
    /// 1 if the destination does, and its sectors are whole where tiles are wide.
    pub out_packs: u32,
    /// `i / columns` is `mulhi(i, in_magic)`, for elements of a tile that holds all columns.
    pub in_magic: u32,
}

impl Tiles {
    /// Elements of a pack: 16 bytes, or 8 of single bytes.
    pub const fn pack_len(bytes: usize) -> usize {
        if bytes == 1 { 8 } else { 16 / bytes }
    }

    /// The tiles of a copy from the first layout, which has stride 1 on the axis `column`, to the second, which has it on
    /// the last axis. The layouts are collapsed, and their elements have so many bytes.
    pub fn new(layouts: &[Layout; 2], column: usize, bytes: [usize; 2]) -> Tiles {
        let [src, dst] = layouts;
        let row = src.rank() - 1;
        let (columns, rows) = (src.shape()[column], src.shape()[row]);
        let [in_len, out_len] = bytes.map(Tiles::pack_len);
        let across = across(columns.div_ceil(in_len), rows.div_ceil(out_len));
        let (width, height) = (in_len << across, out_len << (THREADS.ilog2() - across));
        let along = |axis: usize, unit: usize| (unit * src.strides()[axis], unit * dst.strides()[axis]);

        // Rows that a tile shares with the next one, if there is one, where columns begin anywhere.
        let has_sectors = across >= TILE_WIDE && rows > height && out_len > 1;
        let shared = if has_sectors { SECTOR_BYTES / bytes[1] } else { out_len };
        // Lines that begin on so many elements.
        let begin_on = |layout: &Layout, axis: usize, len: usize| {
            let mut strides = layout.strides().iter().enumerate().filter(|(other, _)| *other != axis);
            layout.offset().is_multiple_of(len) && strides.all(|(_, stride)| stride.is_multiple_of(len))
        };
        let in_packs = columns.is_multiple_of(in_len) && begin_on(src, column, in_len);
        let out_packs = rows.is_multiple_of(out_len) && begin_on(dst, row, shared);
        // From tile to tile: columns that begin anywhere want rows of the next one to end on whole packs, or on whole sectors.
        let step = if out_packs { height } else { height.saturating_sub(shared).max(1) };

        let mut walk = Walk {
            numel: 1,
            rank: 0,
            bits: 32,
            dim: [1; MAX_RANK],
            magic: [1; MAX_RANK],
            shift: [0; MAX_RANK],
            stride: [[0; MAX_RANK]; 4],
        };
        let mut push = |count: usize, (src, dst): (usize, usize), [column, row]: [usize; 2]| {
            let axis = walk.rank as usize;
            if count == 1 {
                return;
            }
            walk.numel *= count as u64;
            walk.rank += 1;
            walk.dim[axis] = count as u64;
            (walk.magic[axis], walk.shift[axis]) = magic(count as u64, 32);
            [src, dst, column, row]
                .iter()
                .zip(&mut walk.stride)
                .for_each(|(&step, stride)| stride[axis] = step as u64);
        };
        let side = (columns.div_ceil(width), along(column, width), [width, 0]);
        let down = (1 + rows.saturating_sub(height).div_ceil(step), along(row, step), [0, step]);
        // Tiles that run at once should make long stretches of both operands: all along the shorter side first.
        for (count, steps, start) in if side.0 <= down.0 { [side, down] } else { [down, side] } {
            push(count, steps, start);
        }
        for axis in (0..row).rev().filter(|&axis| axis != column) {
            push(src.shape()[axis], along(axis, 1), [0, 0]);
        }
        walk.rank = walk.rank.max(1);

        Tiles {
            walk,
            columns: columns as u64,
            rows: rows as u64,
            in_row: src.strides()[row] as u64,
            out_column: dst.strides()[column] as u64,
            across,
            in_packs: in_packs.into(),
            out_packs: out_packs.into(),
            in_magic: reciprocal(columns.min(width)),
        }
    }
}

/// The logarithm of the small blocks side by side: as many as below each other, unless there are fewer of either.
fn across(columns: usize, rows: usize) -> u32 {
    let most = THREADS.ilog2();
    let log = |count: usize| count.next_power_of_two().ilog2();
    if log(columns) < most / 2 { log(columns) } else { most - log(rows).min(most / 2) }
}

/// `i / divisor` is `mulhi(i, reciprocal)` for a divisor from 2 on, if their product is at most 2^32.
fn reciprocal(divisor: usize) -> u32 {
    (u32::MAX as usize / divisor.max(2) + 1) as u32
}

/// A copy to where elements lie in runs, whatever the order in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Runs {
    /// Over elements, in the order of the destination.
    pub walk: Walk<2>,
    /// Elements of a run.
    pub len: u32,
    /// Packs that a run has a part of, at most.
    pub packs: u32,
    /// Packs of all runs.
    pub units: u32,
    /// `unit / packs` is `(mulhi(unit, magic) + unit) >> shift`.
    pub magic: u32,
    /// See `magic`.
    pub shift: u32,
    /// 1 if there is one run over all axes; otherwise runs are the rows of the inner axis.
    pub is_one: u32,
}

impl Runs {
    /// The runs of a copy in packs of `len`, by a walk of 32 bits over single elements. The destination has stride 1 on
    /// the last axis; if `is_one`, it lies row-major without gaps.
    pub fn new(walk: Walk<2>, dst: &Layout, len: usize, is_one: bool) -> Runs {
        let row = dst.shape().last().copied().unwrap_or(1);
        let run = if is_one { dst.numel() } else { row };
        let outer = &dst.strides()[..dst.rank().saturating_sub(1)];
        // How far into a pack a run begins, at most.
        let skew = match is_one || outer.iter().all(|stride| stride.is_multiple_of(len)) {
            true => dst.offset() % len,
            false => len - 1,
        };
        let packs = (skew + run).div_ceil(len);
        let (magic, shift) = magic(packs as u64, 32);
        Runs {
            walk,
            len: run as u32,
            packs: packs as u32,
            units: (dst.numel() / run * packs) as u32,
            magic: magic as u32,
            shift,
            is_one: is_one.into(),
        }
    }
}

/// Planes of an image that `copy_planes.cu` is made for.
pub const PLANES: RangeInclusive<usize> = 2..=4;

/// A copy between planes and pixels of an element from each. Strides are in elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Planes {
    /// The addresses of the planes of the first image.
    pub plane: [u64; 4],
    /// The address of its pixels.
    pub pixels: u64,
    /// From image to image, in each plane.
    pub plane_step: u64,
    /// From image to image.
    pub pixel_step: u64,
    /// Pixels of an image.
    pub len: u64,
    /// Blocks of an image.
    pub tiles: u64,
}
