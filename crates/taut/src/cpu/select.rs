//! The twin of `select.cu`.

use super::{BLOCK, Source, runs::each_run, vectorized};
use crate::tensor::{View, ViewMut};
use bytemuck::Pod;
use taut_core::{Layout, Result};

/// `dst = mask ? a : b`, all of one shape. One of `a` and `b` may be missing: `dst` is it, whatever its strides.
pub(crate) fn select(
    mask: View<'_>,
    a: Option<View<'_>>,
    b: Option<View<'_>>,
    dst: ViewMut<'_>,
) -> Result<()> {
    match dst.dtype.size() {
        1 => run::<u8>(mask, a, b, dst),
        2 => run::<u16>(mask, a, b, dst),
        4 => run::<u32>(mask, a, b, dst),
        _ => run::<u64>(mask, a, b, dst),
    }
}

fn run<T: Pod + Send + Sync>(
    mask: View<'_>,
    a: Option<View<'_>>,
    b: Option<View<'_>>,
    mut dst: ViewMut<'_>,
) -> Result<()> {
    let to = *dst.layout;
    let of = |view: Option<View<'_>>| view.map_or(to, |view| *view.layout);
    let [masked, first, second, to] = Layout::collapse_by_last([*mask.layout, of(a), of(b), to]);
    let mask = Source::new(mask.data::<u8>()?, &masked);
    let a = a.map(|a| Ok(Source::new(a.data::<T>()?, &first))).transpose()?;
    let b = b.map(|b| Ok(Source::new(b.data::<T>()?, &second))).transpose()?;
    each_run(dst.data::<T>()?, &to, &|start, run| {
        let (mut bools, mut old) = ([0; BLOCK], [T::zeroed(); BLOCK]);
        let (mut first, mut second) = ([T::zeroed(); BLOCK], [T::zeroed(); BLOCK]);
        let mask = mask.part(start, run.len());
        let [a, b] = [&a, &b].map(|x| x.as_ref().map(|x| x.part(start, run.len())));
        for (i, block) in run.chunks_mut(BLOCK).enumerate() {
            let (at, len) = (i * BLOCK, block.len());
            let mask = mask.get(at, &mut bools[..len]);
            let old = &mut old[..len];
            if a.is_none() || b.is_none() {
                old.copy_from_slice(block);
            }
            let a = a.as_ref().map_or(&*old, |a| a.get(at, &mut first[..len]));
            let b = b.as_ref().map_or(&*old, |b| b.get(at, &mut second[..len]));
            vectorized(
                #[inline(always)]
                || {
                    for (x, (&m, (&a, &b))) in block.iter_mut().zip(mask.iter().zip(a.iter().zip(b))) {
                        *x = if m != 0 { a } else { b };
                    }
                },
            );
        }
    });
    Ok(())
}
