//! The twin of `triangle.cu`.

use super::{
    Source,
    runs::{each_row, each_run},
};
use crate::tensor::{View, ViewMut};
use bytemuck::Pod;
use std::ops::Range;
use taut_core::{Layout, Result, Triangle};
use taut_cuda::launch::triangle::Sides;

/// `dst = src` on one side of the diagonal and 0 on the other; without `src`, over `dst` itself. Whatever the strides.
pub(crate) fn triangle(keep: Triangle, diagonal: i64, src: Option<View<'_>>, dst: ViewMut<'_>) -> Result<()> {
    match dst.dtype.size() {
        1 => run::<u8>(keep, diagonal, src, dst),
        2 => run::<u16>(keep, diagonal, src, dst),
        4 => run::<u32>(keep, diagonal, src, dst),
        _ => run::<u64>(keep, diagonal, src, dst),
    }
}

fn run<T: Pod + Send + Sync>(
    keep: Triangle,
    diagonal: i64,
    src: Option<View<'_>>,
    mut dst: ViewMut<'_>,
) -> Result<()> {
    let Some(sides) = Sides::new(keep, diagonal, dst.layout)? else { return Ok(()) };
    let from = src.map_or(*dst.layout, |src| *src.layout);
    let [from, distance, to] = Layout::collapse_by_last([from, sides.layout, *dst.layout]);
    let source = src.map(|src| Ok(Source::new(src.data::<T>()?, &from))).transpose()?;
    let last = |extents: &[usize]| extents.last().copied().unwrap_or(1);
    let (along, len) = (sides.step(last(distance.strides())), last(to.shape()));
    each_run(dst.data::<T>()?, &to, &|first, run| {
        each_row(first, run, len, |row, column, out| {
            let limit = sides.limit_from(distance.row_position(row)).saturating_sub(along * column as i64);
            let stays = part(along, limit, out.len());
            out[..stays.start].fill(T::zeroed());
            if let Some(source) = &source {
                source.read(row * len + column + stays.start, &mut out[stays.clone()]);
            }
            out[stays.end..].fill(T::zeroed());
        });
    });
    Ok(())
}

/// Which of `n` elements stay: those where `along * i >= limit`.
fn part(along: i64, limit: i64, n: usize) -> Range<usize> {
    let count = |x: i64| usize::try_from(x).unwrap_or(0).min(n);
    match along {
        1 => count(limit)..n,
        -1 => 0..count(limit.saturating_neg().saturating_add(1)),
        _ if limit <= 0 => 0..n,
        _ => 0..0,
    }
}
