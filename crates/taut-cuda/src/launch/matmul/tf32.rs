//! Products of f32 as tf32, for those who ask for them: on cards of 9.0, whose tensor cores take such factors along `k` only.
//! Those that lie otherwise, or on no packs, are brought into the workspace so.

use super::{
    Way, lately,
    matrix::{fastest, in_boxes, is_hopper, major},
    pitch::Pitched,
};
use crate::Card;
use taut_core::{DType, Layout, Precision, Products};
use taut_kernels::{Kernel, Major, Tile, pack_len};

/// The most workspace that is worth it: what two factors of 8192 by 8192 take.
const MOST_BYTES: u64 = 512 << 20;

const ALONG_K: [Major; 2] = [Major::K; 2];

/// The products as tf32, with the factors that are brought into the workspace, where they should be faster so than in `way`,
/// which is exact.
pub(super) fn instead(
    [a, b]: [&Layout; 2],
    card: &Card,
    way: &Way,
) -> Option<(Products, Way, [Option<Pitched>; 2])> {
    if !is_hopper(card) {
        return None;
    }
    let len = pack_len(&[DType::F32]);
    let Products { m, k, n, a: [a_m, a_k], b: [b_k, b_n], batch } = Products::new(a, b);
    let lies = [major(&batch[0], (m, a_m), (k, a_k), len), major(&batch[1], (n, b_n), (k, b_k), len)];
    let brought = |factor, lies, in_columns| match lies {
        Some(Major::K) => Ok(None),
        _ => Pitched::new(factor, in_columns, len).map(Some),
    };
    let pitched = [brought(a, lies[0], false).ok()?, brought(b, lies[1], true).ok()?];
    let seen = |i: usize, factor| pitched[i].as_ref().map_or(factor, |pitched| &pitched.seen);
    let products = Products::new(seen(0, a), seen(1, b));
    if !in_boxes(&products, ALONG_K) {
        return None;
    }
    let other = lately::chosen(&products, DType::F32, Precision::Tf32, card, || {
        let whole = Tile::ALL.map(|tile| Kernel::MatmulWgmma(DType::F32, ALONG_K, tile));
        let parts = Tile::ALL.map(|tile| Kernel::MatmulParts(DType::F32, ALONG_K, tile));
        fastest(whole.into_iter().chain(parts), &products, DType::F32, card).unwrap_or(*way)
    });
    let all = || pitched.iter().flatten();
    let bytes: u64 = all().map(|pitched| pitched.bytes(DType::F32)).sum();
    let cycles = other.cycles + all().map(|pitched| pitched.cycles(DType::F32, card)).sum::<u64>();
    (bytes <= MOST_BYTES && cycles < way.cycles).then_some((products, other, pitched))
}
