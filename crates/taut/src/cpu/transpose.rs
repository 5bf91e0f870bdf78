//! Matrices with rows and columns exchanged, tile by tile.

use super::vectorized;
use bytemuck::Pod;

/// Fills `rows`, all of one length, from a matrix whose rows begin `pitch` apart and whose columns lie `step` apart: the
/// other way round than in a row-major matrix, `pitch` is the smaller.
pub(super) fn transpose<T: Pod>(src: &[T], pitch: usize, step: usize, rows: &mut [&mut [T]]) {
    // The edge of a tile is a cache line of 64 bytes: each comes once, and goes whole.
    match (pitch, size_of::<T>()) {
        (1, 1) => tiles::<T, 64>(src, step, rows),
        (1, 2) => tiles::<T, 32>(src, step, rows),
        (1, 4) => tiles::<T, 16>(src, step, rows),
        (1, _) => tiles::<T, 8>(src, step, rows),
        _ => each_tile(8, rows, |rows, row, columns| {
            for (i, row) in (row..).zip(rows) {
                for j in columns.clone() {
                    row[j] = src[i * pitch + j * step];
                }
            }
        }),
    }
}

fn tiles<T: Pod, const EDGE: usize>(src: &[T], step: usize, rows: &mut [&mut [T]]) {
    each_tile(EDGE, rows, |rows, row, columns| {
        if rows.len() < EDGE || columns.len() < EDGE {
            for (i, row) in (row..).zip(rows) {
                for j in columns.clone() {
                    row[j] = src[i + j * step];
                }
            }
            return;
        }
        let src = &src[columns.start * step + row..];
        vectorized(
            #[inline(always)]
            || {
                let mut tile = [[T::zeroed(); EDGE]; EDGE];
                for (j, line) in tile.iter_mut().enumerate() {
                    line.copy_from_slice(&src[j * step..][..EDGE]);
                }
                for (i, row) in rows.iter_mut().enumerate().take(EDGE) {
                    let line = &mut row[columns.start..][..EDGE];
                    for j in 0..EDGE {
                        line[j] = tile[j][i];
                    }
                }
            },
        );
    });
}

/// Calls `f` with the rows of every tile, the number of the first, and the columns. Tiles below each other come one after
/// the other: their lines in `src` do too.
fn each_tile<T>(
    edge: usize,
    rows: &mut [&mut [T]],
    f: impl Fn(&mut [&mut [T]], usize, std::ops::Range<usize>),
) {
    let width = rows.first().map_or(0, |row| row.len());
    for column in (0..width).step_by(edge) {
        for (i, rows) in rows.chunks_mut(edge).enumerate() {
            f(rows, i * edge, column..width.min(column + edge));
        }
    }
}
