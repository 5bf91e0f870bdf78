//! Factors that lie on no packs, as those with rows of odd length: brought into the workspace, in rows that begin on packs,
//! where the products gain more by that than it costs.

use super::{
    Way, lately,
    matrix::{self, MEMORY_BYTES, majors},
};
use crate::{Card, Operand, Stream, launch::copy::copy};
use taut_core::{DType, Layout, Precision, Products, Result, Shape};
use taut_kernels::{Kernel, pack_len};

/// The most workspace that is worth it.
const MOST_BYTES: u64 = 128 << 20;

/// Cycles that a copy takes however small it is, with what comes between two kernels.
const COPY: u64 = 11_000;

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
    /// A factor `[.., rows, columns]` in rows, or in columns, that begin on packs.
    pub(super) fn new(factor: &Layout, in_columns: bool, dtype: DType) -> Result<Pitched> {
        let [last, other] = [factor.rank() - 1, factor.rank() - 2];
        let from = factor.distinct();
        let along = |layout: Layout| if in_columns { layout.transposed(other, last) } else { Ok(layout) };
        let lying = along(from)?;
        let row = lying.shape()[last];
        let mut dims = lying.shape().to_vec();
        dims[last] = row.next_multiple_of(pack_len(&[dtype]));
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
    let lies = majors(&Products::new(a, b), dtype);
    let brought = |factor: &Layout, lies: Option<_>| match lies {
        Some(_) => Ok(None),
        None => Pitched::new(factor, lies_in_columns(factor), dtype).map(Some),
    };
    let pitched = [brought(a, lies[0]).ok()?, brought(b, lies[1]).ok()?];
    let products = seen([a, b], &pitched);
    let choose = || matrix::choose(&products, dtype, card);
    let other = lately::chosen(&products, dtype, Precision::Exact, card, None, choose);
    let is_better = !matches!(other.kernel, Kernel::MatmulAny(_))
        && gains(&pitched, dtype, card, [way, &other], MOST_BYTES);
    is_better.then_some((products, other, pitched))
}

/// The products of the factors where they are brought to.
pub(super) fn seen(factors: [&Layout; 2], pitched: &[Option<Pitched>; 2]) -> Products {
    let seen = |i: usize| pitched[i].as_ref().map_or(factors[i], |pitched| &pitched.seen);
    Products::new(seen(0), seen(1))
}

/// Whether the second way is faster with all that it takes to bring its factors, into no more than so many bytes.
pub(super) fn gains(
    pitched: &[Option<Pitched>; 2],
    dtype: DType,
    card: &Card,
    [way, other]: [&Way; 2],
    most_bytes: u64,
) -> bool {
    let all = || pitched.iter().flatten();
    let bytes: u64 = all().map(|pitched| pitched.bytes(dtype)).sum();
    let cycles = other.cycles + all().map(|pitched| pitched.cycles(dtype, card)).sum::<u64>();
    bytes <= most_bytes && cycles < way.cycles
}

/// Whether columns of a matrix are contiguous, and rows are not.
fn lies_in_columns(factor: &Layout) -> bool {
    let [last, other] = [factor.rank() - 1, factor.rank() - 2];
    factor.strides()[last] != 1 && factor.strides()[other] == 1
}
