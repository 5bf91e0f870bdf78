//! Scripts: programs that ask for the same memory each time, whose blocks are placed when all of them are known.
//!
//! A [sketch](Pool::sketch) takes down what a program asks for. What was taken down is placed in one block, the largest
//! first, each in the shortest gap between those that live at the same time: Pisarchyk and Lee, "Efficient memory
//! management for deep neural net inference", 2020. Then the program runs again, in a pool [within](Pool::within) a block
//! of that length.

mod place;

use crate::{
    ALIGN_BYTES, Backing, Block, Error, GRANULE_BYTES, PhantomBacking, Pool, Result, Site, StreamId,
    area::Span, leak, state::Inner,
};
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// What a program asked for, and where that lies in the one block that it needs.
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{Block, HostBacking, Kind, Pool, Result, Site, StreamId};
///
/// fn program(pool: &Pool) -> Result<Block> {
///     let allocate = |bytes| pool.allocate(bytes, StreamId::COMPUTE, Site::new("zeros", Kind::Activations));
///     let (small, large) = (allocate(1000)?, allocate(5000)?);
///     drop(small);
///     let last = allocate(6000)?;
///     drop(large);
///     Ok(last)
/// }
///
/// let sketch = Pool::sketch();
/// program(&sketch)?;
/// let script = sketch.script();
/// assert_eq!(script.bytes(), 11_264); // 5,000 and 6,000, in multiples of 256: the small one takes the place of the last
///
/// let pool = Pool::new(Arc::new(HostBacking::new()?));
/// let block = pool.allocate(script.bytes(), StreamId::COMPUTE, Site::new("graph", Kind::Workspace))?;
/// let start = block.address();
/// assert_eq!(program(&Pool::within(block, &script))?.address(), start);
/// # Ok::<(), taut_memory::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Script {
    lives: Arc<[Life]>,
    offsets: Arc<[u64]>,
    bytes: u64,
}

/// The time of a block, in allocations: it lives from `from` on, and is gone before `to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    bytes: u64,
    from: u32,
    to: u32,
}

/// What a pool does with a script.
pub(crate) enum Scripted {
    /// It is taken down.
    Written(Vec<Life>),
    /// Blocks lie where it says.
    Read(Reading),
}

/// How far a script was read.
pub(crate) struct Reading {
    script: Script,
    next: usize,
    /// The ends of the blocks that live now, by their offsets.
    live: BTreeMap<u64, u64>,
}

impl Script {
    /// The length of the block that the program needs.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Pool {
    /// A pool without memory, which takes down what a program asks it for.
    pub fn sketch() -> Pool {
        let pool = Pool::new(Arc::new(PhantomBacking::new(LONGEST, 0)));
        pool.0.lock().script = Some(Box::new(Scripted::Written(Vec::new())));
        pool
    }

    /// What was asked of a [sketch](Self::sketch) so far; of another pool, nothing. Blocks that live still live to the end.
    pub fn script(&self) -> Script {
        let state = self.0.lock();
        let lives = match state.script.as_deref() {
            Some(Scripted::Written(lives)) => lives.as_slice(),
            _ => &[],
        };
        let (offsets, bytes) = place::place(lives);
        Script { lives: lives.into(), offsets: offsets.into(), bytes }
    }

    /// A pool whose memory is `block`, for the program of `script`: whatever it asks for lies where the script says. What it
    /// did not ask for then is an error, and so is what would lie over a block that it gave back then and holds now.
    ///
    /// The block lives as long as a handle of the pool or a block of it, and is all that its own pool counts. What uses a
    /// block of the pool uses `block`, so that its memory goes to nobody before the work on it is done. Streams are not
    /// ordered within it: the program runs on one.
    pub fn within(block: Block, script: &Script) -> Pool {
        let (base, block) = (block.address(), Arc::new(block));
        let backing = Arc::new(Part { block: block.clone() });
        let mut inner =
            Inner::new(backing, base, Span { bytes: 0, granule_bytes: GRANULE_BYTES, is_segmented: false });
        inner.within = Some(block);
        let pool = Pool::from_inner(inner);
        let reading = Reading { script: script.clone(), next: 0, live: BTreeMap::new() };
        pool.0.lock().script = Some(Box::new(Scripted::Read(reading)));
        leak::note(&pool);
        pool
    }

    /// Lets the program of a pool [within](Self::within) a block begin again.
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared), saying who holds what, while a block lives.
    pub fn rewind(&self) -> Result<()> {
        let mut state = self.0.lock();
        if let Some(holders) = state.owners.holders() {
            return Err(Error::shared(format!("graph: its pool still holds {holders}")));
        }
        if let Some(Scripted::Read(reading)) = state.script.as_deref_mut() {
            reading.next = 0;
        }
        Ok(())
    }
}

/// More than any device has.
const LONGEST: u64 = 1 << 46;

impl Scripted {
    /// Where the next block lies, if the script says so.
    pub(crate) fn next(&mut self, bytes: u64, block: u64, site: Site) -> Option<Result<u64>> {
        match self {
            Scripted::Written(_) => None,
            Scripted::Read(reading) => Some(reading.next(bytes, block, site)),
        }
    }

    /// Takes down that a block was handed out.
    pub(crate) fn allocated(&mut self, bytes: u64) {
        if let Scripted::Written(lives) = self {
            let from = lives.len() as u32;
            lives.push(Life { bytes, from, to: u32::MAX });
        }
    }

    /// Takes down that block `id` of the pool, at `offset`, was given back.
    pub(crate) fn freed(&mut self, id: u64, offset: u64, bytes: u64) {
        match self {
            Scripted::Written(lives) => {
                let now = lives.len() as u32;
                if let Some(life) = usize::try_from(id).ok().and_then(|id| lives.get_mut(id)) {
                    life.to = now;
                }
            }
            Scripted::Read(reading) if bytes > 0 => drop(reading.live.remove(&offset)),
            Scripted::Read(_) => {}
        }
    }
}

impl Reading {
    fn next(&mut self, bytes: u64, block: u64, site: Site) -> Result<u64> {
        let other = |what: String| {
            let (n, op) = (self.next, site.op);
            Error::graph(format!("{op}: not as when it was planned: {what}, as block {n} of the function"))
        };
        let (life, offset) = match (self.script.lives.get(self.next), self.script.offsets.get(self.next)) {
            (Some(life), Some(&offset)) => (*life, offset),
            _ => return Err(other(format!("{bytes} bytes more are wanted"))),
        };
        if life.bytes != bytes {
            return Err(other(format!("{bytes} bytes are wanted, not {}", life.bytes)));
        }
        if offset + bytes > block {
            return Err(other(format!("the pool has {block} bytes, and byte {} is wanted", offset + bytes)));
        }
        if bytes > 0 {
            let below = self.live.range(..offset + bytes).next_back();
            if below.is_some_and(|(_, &end)| end > offset) {
                return Err(other("a block is held that was given back".into()));
            }
            self.live.insert(offset, offset + bytes);
        }
        self.next += 1;
        Ok(offset)
    }
}

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
        0
    }

    fn commit(&self, _pages: Range<u64>) -> Result<()> {
        Err(no_pages())
    }

    fn decommit(&self, _pages: Range<u64>) -> Result<()> {
        Err(no_pages())
    }

    fn alias(&self, _pages: Range<u64>, _of: &[Range<u64>]) -> Result<()> {
        Err(no_pages())
    }

    fn unalias(&self, _pages: Range<u64>) -> Result<()> {
        Err(no_pages())
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

fn no_pages() -> Error {
    Error::device("a pool within a block has no pages")
}

/// Bytes with what lies before the next block.
fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGN_BYTES)
}
