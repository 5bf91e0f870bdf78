//! What was chosen lately: a network asks for the same products again and again, and the model of all ways takes most of
//! the host's time of a product.

use super::{Pick, Way};
use crate::Card;
use std::cell::RefCell;
use taut_core::{DType, Precision, Products};

/// Choices that a thread keeps.
const SLOTS: usize = 64;

/// All that a choice depends on.
#[derive(PartialEq)]
struct Asked {
    products: Products,
    dtype: DType,
    precision: Precision,
    capability: (u32, u32),
    multiprocessors: u32,
    shared_bytes: u32,
    own_kernels: bool,
    pick: Option<Pick>,
}

thread_local! {
    static CHOSEN: RefCell<Vec<Option<(Asked, Way)>>> = RefCell::new((0..SLOTS).map(|_| None).collect());
}

/// What `choose` says, which depends on the arguments alone.
pub(super) fn chosen(
    products: &Products,
    dtype: DType,
    precision: Precision,
    card: &Card,
    pick: Option<Pick>,
    choose: impl FnOnce() -> Way,
) -> Way {
    let Card { capability, multiprocessors, shared_bytes, own_kernels, .. } = *card;
    let asked = Asked {
        products: *products,
        dtype,
        precision,
        capability,
        multiprocessors,
        shared_bytes,
        own_kernels,
        pick,
    };
    CHOSEN.with_borrow_mut(|chosen| {
        // What was picked for a product, and what it is as tf32, stand beside what the model says of it.
        let beside = usize::from(pick.is_some()) + 2 * usize::from(precision == Precision::Tf32);
        let slot = &mut chosen[slot(products) ^ beside];
        if let Some((_, way)) = slot.as_ref().filter(|(old, _)| *old == asked) {
            return *way;
        }
        let way = choose();
        *slot = Some((asked, way));
        way
    })
}

/// The place of a choice, which another one may take.
fn slot(products: &Products) -> usize {
    let mixed = [products.m, products.n, products.k].into_iter().fold(0u64, |mixed, n| {
        // The golden ratio of 64 bits spreads what differs in a few bits.
        (mixed ^ n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
    });
    mixed as usize % SLOTS
}
