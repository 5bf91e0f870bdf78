//! Pools within a block of another pool: what a program whose addresses must not change runs in.

use crate::{
    ALIGN_BYTES, Backing, Block, Error, GRANULE_BYTES, PhantomBacking, Pool, Result, StreamId, arena::Arena,
    leak, pool::Inner,
};
use std::{ops::Range, sync::Arc};

impl Pool {
    /// A pool without memory, in which a program finds out how long a block it needs for a pool [within](Self::within) it:
    /// its blocks lie where they will lie there.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use taut_memory::{Block, HostBacking, Kind, Pool, Result, Site, StreamId};
    ///
    /// fn program(pool: &Pool) -> Result<Vec<Block>> {
    ///     let allocate = |bytes| pool.allocate(bytes, StreamId::COMPUTE, Site::new("zeros", Kind::Activations));
    ///     drop(allocate(5000)?);
    ///     Ok(vec![allocate(3000)?, allocate(1000)?])
    /// }
    ///
    /// let sketch = Pool::sketch();
    /// program(&sketch)?;
    /// assert_eq!(sketch.extent_bytes(), 5120); // 5,000 and what the next block begins at a multiple of
    ///
    /// let pool = Pool::new(Arc::new(HostBacking::new()?));
    /// let block = pool.allocate(sketch.extent_bytes(), StreamId::COMPUTE, Site::new("graph", Kind::Workspace))?;
    /// let start = block.address();
    /// let blocks = program(&Pool::within(block))?;
    /// assert_eq!([blocks[0].address() - start, blocks[1].address() - start], [0, 3072]);
    /// # Ok::<(), taut_memory::Error>(())
    /// ```
    pub fn sketch() -> Pool {
        let backing = Arc::new(PhantomBacking::new(LONGEST, 0));
        let base = backing.base();
        Pool(Arc::new(Inner::new(backing, base, GRANULE_BYTES, Arena::whole(LONGEST))))
    }

    /// A pool whose memory is `block`, which lives as long as a handle of the pool or a block of it. Nothing is counted in
    /// the pool that `block` came from but `block` itself.
    ///
    /// What uses a block of the pool uses `block`, so that its memory goes to nobody before the work on it is done.
    pub fn within(block: Block) -> Pool {
        let (base, bytes, block) = (block.address(), block.bytes(), Arc::new(block));
        let arena = Arena::whole(bytes / ALIGN_BYTES * ALIGN_BYTES);
        let backing = Arc::new(Part { block: block.clone() });
        let mut inner = Inner::new(backing, base, GRANULE_BYTES, arena);
        inner.within = Some(block);
        let pool = Pool(Arc::new(inner));
        pool.0.lock().stats.reserve(bytes);
        leak::note(&pool);
        pool
    }

    /// Where the block ended that reached furthest, from the beginning of the pool's addresses.
    pub fn extent_bytes(&self) -> u64 {
        self.0.lock().arena.extent_bytes()
    }
}

/// More than any device has.
const LONGEST: u64 = 1 << 46;

/// A block, as what a pool takes its memory from: all of it is there from the start.
#[derive(Debug)]
struct Part {
    block: Arc<Block>,
}

impl Backing for Part {
    fn granule_bytes(&self) -> u64 {
        GRANULE_BYTES
    }

    fn capacity_bytes(&self) -> u64 {
        self.block.bytes()
    }

    fn overhead_bytes(&self) -> u64 {
        0
    }

    fn base(&self) -> u64 {
        self.block.address()
    }

    fn span_bytes(&self) -> u64 {
        self.block.bytes()
    }

    fn commit(&self, _pages: Range<u64>) -> Result<()> {
        Ok(())
    }

    fn decommit(&self, _pages: Range<u64>) -> Result<()> {
        Ok(())
    }

    fn alias(&self, _pages: Range<u64>, _of: &[Range<u64>]) -> Result<()> {
        Err(Error::out_of_memory("no page of a block can be shown again"))
    }

    fn unalias(&self, _pages: Range<u64>) -> Result<()> {
        Ok(())
    }

    fn order(&self, waiter: StreamId, after: StreamId) -> Result<()> {
        self.block.pool().0.backing.order(waiter, after)
    }

    fn driver_bytes(&self) -> Option<u64> {
        None
    }

    fn is_host(&self) -> bool {
        self.block.region.is_some()
    }
}
