//! Products of f32 as tf32, for those who ask for them: on cards of 9.0, whose tensor cores take such factors along `k` only.
//! Those that lie otherwise, or on no packs, are brought into the workspace so.

use super::{
    Way, lately,
    matrix::{fastest, in_boxes, is_hopper, majors},
    pitch::{Pitched, gains, seen},
};
use crate::Card;
use taut_core::{DType, Layout, Precision, Products};
use taut_kernels::Major;

/// The most workspace that is worth it: what two factors of 8192 by 8192 take.
const MOST_BYTES: u64 = 512 << 20;

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
    let lies = majors(&Products::new(a, b), DType::F32);
    let brought = |factor, lies, in_columns| match lies {
        Some(Major::K) => Ok(None),
        _ => Pitched::new(factor, in_columns, DType::F32).map(Some),
    };
    let pitched = [brought(a, lies[0], false).ok()?, brought(b, lies[1], true).ok()?];
    let products = seen([a, b], &pitched);
    if !in_boxes(&products, [Major::K; 2]) {
        return None;
    }
    let other = lately::chosen(&products, DType::F32, Precision::Tf32, card, None, || {
        fastest(&products, DType::F32, Precision::Tf32, card).unwrap_or(*way)
    });
    let is_better = gains(&pitched, DType::F32, card, [way, &other], MOST_BYTES);
    is_better.then_some((products, other, pitched))
}
