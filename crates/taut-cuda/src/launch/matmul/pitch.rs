//! Factors that lie on no packs, as those with rows of odd length: brought into the workspace, in rows that begin on packs,
//! where the products gain more by that than it costs.

use super::{
    Way, lately,
    matrix::{self, MEMORY_BYTES, major},
};
use crate::{Card, Operand, Stream, launch::copy::copy};
use taut_core::{DType, Layout, Products, Result, Shape};
use taut_kernels::{Kernel, pack_len};

/// The most workspace that is worth it.
const MOST_BYTES: u64 = 128 << 20;

/// Cycles that a copy takes however small it is, with what comes between two kernels.
const COPY: u64 = 10_000;

/// Where factors begin in the workspace: multiples of so many bytes.
pub(super) const ALIGNED: u64 = 256;

/// A factor, as it is brought into the workspace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pitched {
    /// Each element once, where it lies.
    from: Layout,
    /// The same in the workspace.
    to: Layout,
    /// The factor there, with what is repeated.
    seen: Layout,
}

impl Pitched {
    /// A factor `[.., rows, columns]` in rows, or columns where it lies in these, that begin at multiples of `len` elements.
    fn new(factor: &Layout, len: usize) -> Result<Pitched> {
        let [last, other] = [factor.rank() - 1, factor.rank() - 2];
        let from = factor.distinct();
        let in_columns = factor.strides()[last] != 1 && factor.strides()[other] == 1;
        let along = |layout: Layout| if in_columns { layout.transposed(other, last) } else { Ok(layout) };
        let lying = along(from)?;
        let row = lying.shape()[last];
        let mut dims = lying.shape().to_vec();
        dims[last] = row.next_multiple_of(len);
        let to = along(Layout::contiguous(Shape::new(&dims)?).sliced(last, 0..row)?)?;
        Ok(Pitched { from, to, seen: to.broadcast_to(*factor.shape())? })
    }

    /// Of workspace.
    pub(super) fn bytes(&self, dtype: DType) -> u64 {
        ((self.to.end() * dtype.size()) as u64).next_multiple_of(ALIGNED)
    }

    /// Brings the factor to an address.
    pub(super) fn bring(&self, stream: &Stream, factor: Operand<'_>, address: u64) -> Result<()> {
        let to = Operand { address, layout: &self.to, ..factor };
        copy(stream, Operand { layout: &self.from, ..factor }, to)
    }

    /// By the speed of a copy whose source does not lie on packs.
    fn cycles(&self, dtype: DType, card: &Card) -> u64 {
        COPY + 2 * 2 * self.bytes(dtype) / (u64::from(card.multiprocessors).max(1) * MEMORY_BYTES)
    }
}

/// The products of factors in the workspace, where they should be faster so than in `way`, by the kernel for any strides.
pub(super) fn instead(
    [a, b]: [&Layout; 2],
    dtype: DType,
    card: &Card,
    way: &Way,
) -> Option<(Products, Way, [Option<Pitched>; 2])> {
    let len = pack_len(&[dtype]);
    let Products { m, k, n, a: [a_m, a_k], b: [b_k, b_n], batch } = Products::new(a, b);
    let lies = [major(&batch[0], (m, a_m), (k, a_k), len), major(&batch[1], (n, b_n), (k, b_k), len)];
    let brought = |factor: &Layout, lies: Option<_>| match lies {
        Some(_) => Ok(None),
        None => Pitched::new(factor, len).map(Some),
    };
    let pitched = [brought(a, lies[0]).ok()?, brought(b, lies[1]).ok()?];
    let seen = |i: usize, factor| pitched[i].as_ref().map_or(factor, |pitched| &pitched.seen);
    let products = Products::new(seen(0, a), seen(1, b));
    let other = lately::chosen(&products, dtype, card, None, || matrix::choose(&products, dtype, card));
    let all = || pitched.iter().flatten();
    let bytes: u64 = all().map(|pitched| pitched.bytes(dtype)).sum();
    let cycles = other.cycles + all().map(|pitched| pitched.cycles(dtype, card)).sum::<u64>();
    let is_better =
        !matches!(other.kernel, Kernel::MatmulAny(_)) && bytes <= MOST_BYTES && cycles < way.cycles;
    is_better.then_some((products, other, pitched))
}
