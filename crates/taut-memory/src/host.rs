//! Host pages.
//!
//! A [`Mapping`] is one reservation of addresses, without memory under it until pages are committed. Its pool owns it
//! alone, and hands each block a [`Region`] of it, which is the block's alone. What it asks of the system stands in
//! `system.rs`, and what Miri has in its place in `plain.rs`.
#![allow(unsafe_code)]

#[cfg(miri)]
#[path = "host/plain.rs"]
mod system;
#[cfg(not(miri))]
mod system;

use crate::{Backing, Error, GRANULE_BYTES, Label, Result, SPAN_BYTES, StreamId};
use std::{
    fs,
    ops::Range,
    ptr::NonNull,
    slice,
    sync::{Mutex, PoisonError},
};

/// The least address range that is worth having, and all that Miri has.
pub(crate) const MIN_SPAN_BYTES: u64 = 1 << 30;

/// Memory of the host, for the CPU device.
///
/// Serves the first [`Pool`](crate::Pool) that is made over it; a second one gets errors.
#[derive(Debug)]
pub struct HostBacking {
    capacity_bytes: u64,
    base: u64,
    span_bytes: u64,
    is_segmented: bool,
    /// Until a pool takes it.
    mapping: Mutex<Option<Mapping>>,
}

impl HostBacking {
    /// Reserves addresses, and no memory. Where the system limits the addresses of a process, the reserved range is
    /// shorter than [`SPAN_BYTES`].
    ///
    /// # Errors
    ///
    /// [`Driver`](crate::ErrorKind::Driver) if the system grants not even 1 GiB of addresses, or does not say how
    /// much memory it has.
    pub fn new() -> Result<HostBacking> {
        let capacity_bytes = physical_bytes()?;
        let mut span_bytes = SPAN_BYTES;
        let mapping = loop {
            match Mapping::reserve(span_bytes) {
                Ok(mapping) => break mapping,
                Err(_) if span_bytes > MIN_SPAN_BYTES => span_bytes /= 2,
                Err(error) => return Err(Error::driver(format!("host: reserving addresses: {error}"))),
            }
        };
        let base = mapping.base.as_ptr() as u64;
        Ok(HostBacking {
            capacity_bytes,
            base,
            span_bytes,
            is_segmented: false,
            mapping: Mutex::new(Some(mapping)),
        })
    }

    /// The same in [segments](Backing::is_segmented), as on a card without virtual memory.
    pub fn segmented(self, is_segmented: bool) -> HostBacking {
        HostBacking { is_segmented, ..self }
    }

    /// The pages, for the pool that asks first.
    pub(crate) fn take(&self) -> Option<Mapping> {
        self.mapping.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Backing for HostBacking {
    fn granule_bytes(&self) -> u64 {
        GRANULE_BYTES
    }

    fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    fn overhead_bytes(&self) -> u64 {
        0
    }

    fn base(&self) -> u64 {
        self.base
    }

    fn span_bytes(&self) -> u64 {
        self.span_bytes
    }

    fn is_segmented(&self) -> bool {
        self.is_segmented
    }

    /// Always an error: only the pool that owns the pages changes them, and not by this road.
    fn commit(&self, _pages: Range<u64>) -> Result<()> {
        Err(not_the_owner())
    }

    /// Always an error: only the pool that owns the pages changes them, and not by this road.
    fn decommit(&self, _pages: Range<u64>) -> Result<()> {
        Err(not_the_owner())
    }

    /// Always an error: only the pool that owns the pages changes them, and not by this road.
    fn alias(&self, _pages: Range<u64>, _of: &[Range<u64>]) -> Result<()> {
        Err(not_the_owner())
    }

    /// Always an error: only the pool that owns the pages changes them, and not by this road.
    fn unalias(&self, _pages: Range<u64>) -> Result<()> {
        Err(not_the_owner())
    }

    fn order(&self, _waiter: StreamId, _after: StreamId) -> Result<()> {
        Ok(())
    }

    fn driver_bytes(&self) -> Option<u64> {
        None
    }

    fn label(&self) -> Option<Label> {
        Some(Label { name: "cpu".into(), uuid: None })
    }

    fn host(&self) -> Option<&HostBacking> {
        Some(self)
    }
}

fn not_the_owner() -> Error {
    Error::device("host: these pages belong to the first pool that was made over them")
}

/// What `/proc/meminfo` calls `MemTotal`.
fn physical_bytes() -> Result<u64> {
    const PATH: &str = "/proc/meminfo";
    let text = fs::read_to_string(PATH).map_err(|e| Error::driver(format!("host: reading {PATH}: {e}")))?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
    kib.and_then(|n| n.checked_mul(1024)).ok_or_else(|| Error::driver(format!("host: no MemTotal in {PATH}")))
}

/// A reserved range of addresses. Pages of it are readable and writable while they are committed.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// What the system gave: up to one page longer than the span, to align the base.
    whole: *mut u8,
    whole_len: usize,
    base: NonNull<u8>,
    span: usize,
}

// SAFETY: a `Mapping` is only a range of addresses. Its methods take system calls, which any thread may make.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method reads or writes memory that a `Region` can see.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn reserve(span_bytes: u64) -> rustix::io::Result<Mapping> {
        let granule = usize::try_from(GRANULE_BYTES).map_err(|_| rustix::io::Errno::NOMEM)?;
        let span = usize::try_from(span_bytes).map_err(|_| rustix::io::Errno::NOMEM)?;
        let whole_len = span + granule;
        let whole = system::reserve(whole_len)?;
        let base = whole.wrapping_add(whole.align_offset(granule));
        let base = NonNull::new(base).ok_or(rustix::io::Errno::NOMEM)?;
        let mapping = Mapping { whole, whole_len, base, span };
        // SAFETY: the range lies in what was reserved above, which nobody has seen yet.
        unsafe { system::share(base.as_ptr(), span / 2)? };
        Ok(mapping)
    }

    /// Puts zeroed memory under `pages`.
    pub(crate) fn commit(&self, pages: Range<u64>) -> Result<()> {
        let (start, len) = self.bytes_of(&pages)?;
        // SAFETY: the range lies in this mapping, and has no memory. Making pages accessible takes nothing from any `Region`.
        unsafe { system::commit(start, len) }
            .map_err(|e| Error::out_of_memory(format!("host: committing {len} bytes: {e}")))
    }

    /// Takes the memory away from under `pages`. The pool sees to it that no [`Region`] lies there, here or in an alias.
    pub(crate) fn decommit(&self, pages: Range<u64>) -> Result<()> {
        let (start, len) = self.bytes_of(&pages)?;
        // SAFETY: the range lies in this mapping, and holds no live block: the arena gives free pages only, and a
        // `Region` is made for live blocks only. The contents, which this drops, belong to nobody.
        unsafe { system::decommit(start, len) }
            .map_err(|e| Error::driver(format!("host: decommitting {len} bytes: {e}")))
    }

    /// Shows the committed pages `of` at `pages` too, in order.
    pub(crate) fn alias(&self, pages: Range<u64>, of: &[Range<u64>]) -> Result<()> {
        let mut next = pages.start;
        for part in of {
            let place = next..next + (part.end - part.start);
            next = place.end;
            let ((start, len), (from, _)) = (self.bytes_of(&place)?, self.bytes_of(part)?);
            // SAFETY: both ranges lie in this mapping. The new one is in the half where no page is committed, and no view
            // is there that has a block: no `Region` lies in it.
            let shown = unsafe { system::show(from, start, len) };
            if let Err(error) = shown {
                // What was mapped may stay where this fails as well: nobody is handed it.
                let _ = self.unalias(pages.start..place.start);
                return Err(Error::out_of_memory(format!("host: showing {len} bytes again: {error}")));
            }
        }
        Ok(())
    }

    /// Ends an alias, in which the pool sees to it that no [`Region`] lies.
    pub(crate) fn unalias(&self, pages: Range<u64>) -> Result<()> {
        let (start, len) = self.bytes_of(&pages)?;
        if len == 0 {
            return Ok(());
        }
        // SAFETY: the range lies in this mapping and holds no live block, and what is mapped in its place has no memory.
        unsafe { system::hide(start, len) }
            .map_err(|e| Error::driver(format!("host: ending an alias of {len} bytes: {e}")))
    }

    /// The memory of a new block. The pool makes one for each live block, over committed pages, and live blocks do
    /// not overlap. `None` if it is not within the mapping.
    pub(crate) fn region(&self, offset: u64, bytes: u64) -> Option<Region> {
        let (offset, len) = (usize::try_from(offset).ok()?, usize::try_from(bytes).ok()?);
        if offset.checked_add(len)? > self.span {
            return None;
        }
        // SAFETY: `offset <= span`, so the result is within the mapping, or at its end when `len` is 0.
        let start = unsafe { self.base.add(offset) };
        Some(Region { start, len })
    }

    fn bytes_of(&self, pages: &Range<u64>) -> Result<(*mut u8, usize)> {
        let offset = |page: u64| usize::try_from(page.checked_mul(GRANULE_BYTES)?).ok();
        match (offset(pages.start), offset(pages.end)) {
            (Some(start), Some(end)) if start <= end && end <= self.span => {
                // SAFETY: `start <= span`, within the mapping.
                Ok((unsafe { self.base.add(start) }.as_ptr(), end - start))
            }
            _ => Err(Error::driver(format!("host: pages {pages:?} lie outside of the reserved range"))),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `whole` and `whole_len` are what was reserved. No `Region` is left: each lives in a block, and blocks
        // keep their pool, which owns this mapping.
        unsafe { system::free(self.whole, self.whole_len) };
    }
}

/// The bytes of one live block: initialized (zeros, or what an earlier block left), and nobody else's.
#[derive(Debug)]
pub(crate) struct Region {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a `Region` owns its bytes as a `Box<[u8]>` does; they are not tied to a thread.
unsafe impl Send for Region {}
// SAFETY: a shared `Region` is only read.
unsafe impl Sync for Region {}

impl Region {
    /// The memory of a block that lies in the block of this region, which a pool within it makes as
    /// [`Mapping::region`] does. That pool owns the block, and nobody comes to its bytes but by way of the parts.
    pub(crate) fn part(&self, offset: u64, bytes: u64) -> Option<Region> {
        let (offset, len) = (usize::try_from(offset).ok()?, usize::try_from(bytes).ok()?);
        if offset.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: `offset <= len`: the result is within the region, or at its end.
        let start = unsafe { self.start.add(offset) };
        Some(Region { start, len })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is not null, and `len` bytes from it are committed while the block lives (`Mapping::region`)
        // and overlap no other region, in memory neither where a page has a second place; the system hands out zeroed
        // pages, so they are initialized. Writes need `&mut self`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` is the only access to the only region over these bytes.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}
