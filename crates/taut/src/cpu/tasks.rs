//! Work in parallel.
//!
//! What is called is `dyn`, once for a task: one copy of the machinery for each type of element, not for each op, is a
//! large part of what this crate takes to compile.

use rayon::prelude::*;

/// Calls `f` with every chunk of `out` and its number.
pub(super) fn each_chunk<D: Send>(out: &mut [D], len: usize, f: &(dyn Fn(usize, &mut [D]) + Sync)) {
    out.par_chunks_mut(len).enumerate().for_each(|(i, out)| f(i, out));
}

/// [`each_chunk`], where every chunk is worth a task of its own: whoever is done takes what others have not begun.
pub(super) fn each_task<D: Send>(out: &mut [D], len: usize, f: &(dyn Fn(usize, &mut [D]) + Sync)) {
    out.par_chunks_mut(len).enumerate().with_max_len(1).for_each(|(i, out)| f(i, out));
}

/// Calls `f` where several calls of the others begin and end without a change of threads.
pub(super) fn within_pool(f: &mut (dyn FnMut() + Send)) {
    rayon::scope(|_| f());
}

/// What `f` makes of every chunk of `out` and its number, in what `scratch` makes, which several calls use, one after
/// the other.
pub(super) fn each_chunk_with<D: Send, S, P: Send>(
    out: &mut [D],
    len: usize,
    scratch: &(dyn Fn() -> S + Sync),
    f: &(dyn Fn(&mut S, usize, &mut [D]) -> P + Sync),
) -> Vec<P> {
    let chunks = out.par_chunks_mut(len).enumerate();
    chunks.map_init(scratch, |scratch, (i, out)| f(scratch, i, out)).collect()
}

/// What `f` makes of the numbers up to `n`.
pub(super) fn each_part<P: Send>(n: usize, f: &(dyn Fn(usize) -> P + Sync)) -> Vec<P> {
    (0..n).into_par_iter().map(f).collect()
}

/// What `f` makes of the numbers up to `n`, in what `scratch` makes, which several calls use, one after the other.
pub(super) fn each_part_with<S, P: Send>(
    n: usize,
    scratch: &(dyn Fn() -> S + Sync),
    f: &(dyn Fn(&mut S, usize) -> P + Sync),
) -> Vec<P> {
    (0..n).into_par_iter().map_init(scratch, f).collect()
}
