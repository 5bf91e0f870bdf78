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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Block, Kind, PhantomBacking, Site, StreamId};
    use std::{sync::Arc, thread};

    fn pool() -> Pool {
        Pool::new(Arc::new(PhantomBacking::new(1 << 40, 0)))
    }

    fn take(pool: &Pool) -> Block {
        pool.allocate(1000, StreamId::COMPUTE, Site::new("hold", Kind::Activations)).unwrap()
    }

    #[test]
    fn blocks_hold_their_pool_and_no_longer() {
        for n in [1, 3] {
            let pool = pool();
            let inner = Arc::downgrade(&pool.0);
            // More than once from none to some: each time they hold it anew.
            for _ in 0..2 {
                drop((0..n).map(|_| take(&pool)).collect::<Vec<_>>());
                assert_eq!(inner.strong_count(), 1);
            }
            let blocks: Vec<Block> = (0..n).map(|_| take(&pool)).collect();
            drop(pool);
            assert_eq!(inner.strong_count(), 1);
            let other = take(blocks[0].pool());
            drop(blocks);
            assert_eq!((inner.strong_count(), other.pool().stats().live_bytes), (1, 1000));
            let pool = other.pool().clone();
            drop(other);
            assert_eq!((inner.strong_count(), pool.stats().live_bytes), (1, 0));
            drop(pool);
            assert_eq!(inner.strong_count(), 0);
        }
    }

    #[test]
    fn the_last_one_is_the_last_one_of_all_threads() {
        for _ in 0..if cfg!(miri) { 20 } else { 1000 } {
            let pool = pool();
            let inner = Arc::downgrade(&pool.0);
            let blocks = [take(&pool), take(&pool), take(&pool)];
            thread::scope(|scope| {
                scope.spawn(move || drop(pool));
                for block in blocks {
                    scope.spawn(move || drop(block));
                }
            });
            assert_eq!(inner.strong_count(), 0);
        }
    }

    #[test]
    fn a_block_that_is_forgotten_keeps_its_pool() {
        let pool = pool();
        let inner = Arc::downgrade(&pool.0);
        let (kept, block) = (take(&pool), take(&pool));
        // Later: no memory is lost in the test.
        let kept = ManuallyDrop::new(kept);
        drop((block, pool));
        assert_eq!(inner.strong_count(), 1);
        drop(ManuallyDrop::into_inner(kept));
        assert_eq!(inner.strong_count(), 0);
    }
}
