//! How blocks hold their pool: all that one lock counts, by one handle.
//!
//! To count a handle for each of them would take as long as to lock the pool, and threads with areas of their own would
//! wait for that count. So a block has a copy of a handle that nobody counts; under the lock, where blocks are counted
//! anyway, the first one counts a handle for all, and the last one has it.
#![allow(unsafe_code)]

use crate::Pool;
use std::{
    mem::{self, ManuallyDrop},
    ops::Deref,
    ptr,
};

/// How many blocks there are.
#[derive(Default)]
pub(crate) struct Hold(u64);

/// The handle of a block. Forgetting it keeps the pool, and does no other harm.
pub(crate) struct Held(ManuallyDrop<Pool>);

impl Hold {
    /// The handle of a new block.
    #[inline]
    pub(crate) fn take(&mut self, pool: &Pool) -> Held {
        if self.0 == 0 {
            mem::forget(pool.clone());
        }
        self.0 += 1;
        // SAFETY: a second `Pool` of the same bits is as good as one that is counted while there is one of those, and this
        // one is not dropped. The one that was forgotten is there until `Held::end`.
        Held(ManuallyDrop::new(unsafe { ptr::read(pool) }))
    }

    /// Takes away the block of a handle. Returns whether it was the last: then its handle [ends](Held::end).
    #[inline]
    pub(crate) fn give(&mut self) -> bool {
        self.0 -= 1;
        self.0 == 0
    }
}

impl Held {
    /// Drops the handle that was counted, and with it maybe the pool: nothing of that is locked.
    ///
    /// # Safety
    ///
    /// [`Hold::give`] was called once for each handle that the same one [gave](Hold::take) until then, and the last time, for
    /// this one, it returned `true`. This one is used no more.
    pub(crate) unsafe fn end(&mut self) {
        // SAFETY: no handle is left that needs it. Those of other blocks have others.
        unsafe { ManuallyDrop::drop(&mut self.0) }
    }
}

impl Deref for Held {
    type Target = Pool;

    #[inline]
    fn deref(&self) -> &Pool {
        &self.0
    }
}
