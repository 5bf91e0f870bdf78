//! The products of a program, noted as they come.

use crate::Device;
use std::cell::RefCell;
use taut_core::{DType, Layout, Precision, Result};
use taut_cuda::{
    Card,
    launch::matmul::{Problem, Signature, signature},
};

/// A product: what it is known by, and a problem of that kind.
pub(super) struct Note {
    pub(super) product: Signature,
    pub(super) a: Layout,
    pub(super) b: Layout,
    pub(super) dtype: DType,
    pub(super) out: DType,
    pub(super) precision: Precision,
}

/// What is noted on a thread.
struct Notes {
    device: Device,
    notes: Vec<Note>,
}

thread_local! {
    static NOTES: RefCell<Option<Notes>> = const { RefCell::new(None) };
}

/// The different products that `program` computes on `device` here, in its order.
pub(super) fn of(device: &Device, program: impl FnOnce() -> Result<()>) -> Result<Vec<Note>> {
    /// What was noted before goes on when the program ends or unwinds.
    struct Restore(Option<Notes>);
    impl Drop for Restore {
        fn drop(&mut self) {
            NOTES.set(self.0.take());
        }
    }
    let before = NOTES.replace(Some(Notes { device: device.clone(), notes: Vec::new() }));
    let restore = Restore(before);
    program()?;
    let notes = NOTES.take().map_or_else(Vec::new, |notes| notes.notes);
    drop(restore);
    Ok(notes)
}

/// Notes a product, if someone asked for those of this device.
#[inline]
pub(super) fn note(device: &Device, problem: &Problem<'_>, card: &Card) {
    NOTES.with_borrow_mut(|notes| {
        let Some(Notes { notes, .. }) = notes.as_mut().filter(|notes| notes.device == *device) else {
            return;
        };
        let Some(product) = signature(problem, card) else { return };
        if notes.iter().all(|note| note.product != product) {
            let Problem { a, b, dtype, out, precision } = *problem;
            notes.push(Note { product, a: *a, b: *b, dtype, out, precision });
        }
    });
}
