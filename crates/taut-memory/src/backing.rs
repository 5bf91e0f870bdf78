//! Where pages come from.

use crate::{HostBacking, Label, Result};
use std::{env, fmt, ops::Range};

/// The size of one page on every backing of taut, 2 MiB: what CUDA maps at least.
///
/// The same everywhere, so that a plan and a run reserve the same bytes.
pub const GRANULE_BYTES: u64 = 2 << 20;

/// The address range that every backing of taut reserves, 2 TiB, where the system grants it: half for pages, half for
/// second places of pages ([`Backing::alias`]).
pub const SPAN_BYTES: u64 = 2 << 40;

/// Whether the environment asks for memory in [segments](Backing::is_segmented), by `TAUT_SEGMENTS=1`: so that what happens on a
/// card without virtual memory can be seen on any device.
pub fn wants_segments() -> bool {
    env::var_os("TAUT_SEGMENTS").is_some_and(|value| value == "1")
}

/// A queue of device work, by number. At most [`StreamId::COUNT`] on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u8);

impl StreamId {
    /// The stream of a device that ops run on unless they are told otherwise.
    pub const COMPUTE: StreamId = StreamId(0);

    /// The stream of copies from the host.
    pub const UPLOAD: StreamId = StreamId(1);

    /// The stream of copies to the host.
    pub const DOWNLOAD: StreamId = StreamId(2);

    /// Streams that a device can have: ids are below this.
    pub const COUNT: u8 = 64;
}

/// The pages under a [`Pool`](crate::Pool): a reserved range of addresses, and memory put under parts of it.
///
/// Or, where the system can not put memory at an address of its caller's choice, [segments](Self::is_segmented).
///
/// The pool calls `commit`, `decommit`, `alias`, `unalias`, `order` and `close` one at a time, and lets other threads take
/// and give meanwhile what is there. None of them may call it.
pub trait Backing: Send + Sync + fmt::Debug {
    /// The size of one page: a power of two, at least [`ALIGN_BYTES`](crate::ALIGN_BYTES).
    fn granule_bytes(&self) -> u64;

    /// The memory of the device. No pool reserves more, whatever its budget.
    fn capacity_bytes(&self) -> u64;

    /// What the device takes for itself (context and modules). Budgets include it. 0 on the host.
    fn overhead_bytes(&self) -> u64;

    /// The address of offset 0 of the reserved range: a multiple of the page size, not 0. The same from one `commit` to
    /// the next [`close`](Self::close).
    fn base(&self) -> u64;

    /// The length of the reserved range.
    fn span_bytes(&self) -> u64;

    /// Whether the pages of one `commit` are one piece of memory: they are next to each other only, are given back by one
    /// `decommit` of the same range, and are never shown at a second place. [`address`](Self::address) then says where.
    ///
    /// A pool over segments takes its decisions in the same way, by program order alone, so that a plan over segments tells
    /// the exact peak of a run over segments. What it can not do is to make one block of free memory that lies apart:
    ///
    /// - It reserves more. Of two recorded trainings 1.15 and 1.08 of what was requested, where pages take 1.002 and 1.007;
    ///   where lengths vary from step to step, several times as much.
    /// - Where the budget or the device has no more, it waits for the device, gives back segments that are free, the highest
    ///   first and as many as it takes, and makes another.
    /// - A static step changes nothing from some repetition on, which need not be the second.
    fn is_segmented(&self) -> bool {
        false
    }

    /// Where the byte at this offset of the range is: asked for bytes of live blocks, and 0.
    fn address(&self, offset: u64) -> u64 {
        self.base() + offset
    }

    /// Puts memory under these pages (indices of pages from the base), all of them or, with an error, none.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if there is not enough; the pool then gives back what it can
    /// and tries once more. Another kind is a fault of the device.
    fn commit(&self, pages: Range<u64>) -> Result<()>;

    /// Takes the memory away from under committed pages, all of them or, with an error, none.
    ///
    /// May synchronize: no block lies there, but work that was submitted earlier can still be using the pages.
    ///
    /// # Errors
    ///
    /// [`Driver`](crate::ErrorKind::Driver) for a fault of the device.
    fn decommit(&self, pages: Range<u64>) -> Result<()>;

    /// Lets `pages`, which have no memory, show that of committed pages: of the ranges `of`, in order and all together as
    /// many. All of them or, with an error, none. A page can be shown at many places; its memory stays one.
    ///
    /// A byte of it belongs to one block at a time, through whichever place.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) or [`Driver`](crate::ErrorKind::Driver), as for
    /// [`commit`](Self::commit).
    fn alias(&self, pages: Range<u64>, of: &[Range<u64>]) -> Result<()>;

    /// Ends an [`alias`](Self::alias), all of it or, with an error, nothing. The memory stays where it was committed.
    ///
    /// Does not block the host: work that was submitted earlier can still be using the pages, which then stay there for a
    /// while. They are gone before the memory is [taken away](Self::decommit), or shown there again; the pool shows pages
    /// at other places as long as there are any.
    ///
    /// # Errors
    ///
    /// [`Driver`](crate::ErrorKind::Driver) for a fault of the device.
    fn unalias(&self, pages: Range<u64>) -> Result<()>;

    /// Makes all further work on `waiter` wait for all work that was submitted to `after` so far. Does not block the
    /// host, and does nothing where there are no streams.
    ///
    /// # Errors
    ///
    /// [`Driver`](crate::ErrorKind::Driver) for a fault of the device.
    fn order(&self, waiter: StreamId, after: StreamId) -> Result<()>;

    /// What the driver says is in use on the card, by everybody. `None` on the host, on phantom pages, and on a card
    /// that is closed.
    fn driver_bytes(&self) -> Option<u64>;

    /// Gives the reserved addresses back too. No page is committed; the next `commit` reserves addresses anew, perhaps
    /// with another `base`. Nothing where addresses cost nothing.
    ///
    /// # Errors
    ///
    /// [`Driver`](crate::ErrorKind::Driver) for a fault of the device.
    fn close(&self) -> Result<()> {
        Ok(())
    }

    /// What the pool is called where the figures of this process are [shown](crate::publish). `None`: it is not.
    fn label(&self) -> Option<Label> {
        None
    }

    /// The host pages that this backing stands for. A pool takes them over, and uses them in place of `commit`,
    /// `decommit`, `alias` and `unalias`: that is what makes [`Block::host`](crate::Block::host) safe.
    fn host(&self) -> Option<&HostBacking> {
        None
    }

    /// Whether the host can read the memory.
    fn is_host(&self) -> bool {
        self.host().is_some()
    }
}

/// Pages that do not exist: the plan device. Every decision is taken and counted, and nothing is stored.
#[derive(Debug)]
pub struct PhantomBacking {
    capacity_bytes: u64,
    overhead_bytes: u64,
    is_segmented: bool,
}

impl PhantomBacking {
    /// Stands for a device with this much memory, of which the driver takes `overhead_bytes`.
    pub fn new(capacity_bytes: u64, overhead_bytes: u64) -> PhantomBacking {
        PhantomBacking { capacity_bytes, overhead_bytes, is_segmented: false }
    }

    /// Or for one whose memory comes in [segments](Backing::is_segmented).
    pub fn segmented(self, is_segmented: bool) -> PhantomBacking {
        PhantomBacking { is_segmented, ..self }
    }
}

impl Backing for PhantomBacking {
    fn granule_bytes(&self) -> u64 {
        GRANULE_BYTES
    }

    fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    fn overhead_bytes(&self) -> u64 {
        self.overhead_bytes
    }

    fn base(&self) -> u64 {
        // Not 0: the address of a block is never null, here as elsewhere.
        SPAN_BYTES
    }

    fn span_bytes(&self) -> u64 {
        SPAN_BYTES
    }

    fn is_segmented(&self) -> bool {
        self.is_segmented
    }

    fn commit(&self, _pages: Range<u64>) -> Result<()> {
        Ok(())
    }

    fn decommit(&self, _pages: Range<u64>) -> Result<()> {
        Ok(())
    }

    fn alias(&self, _pages: Range<u64>, _of: &[Range<u64>]) -> Result<()> {
        Ok(())
    }

    fn unalias(&self, _pages: Range<u64>) -> Result<()> {
        Ok(())
    }

    fn order(&self, _waiter: StreamId, _after: StreamId) -> Result<()> {
        Ok(())
    }

    fn driver_bytes(&self) -> Option<u64> {
        None
    }
}
