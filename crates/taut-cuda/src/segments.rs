//! The pool's memory on a card without virtual memory: segments, as the driver gives them, at addresses of its choice.

use crate::context::Context;
use cudarc::driver::sys;
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use taut_core::{Error, Result};
use taut_memory::GRANULE_BYTES;

/// The segments of a pool, by the page of the pool that each begins with. Looked at by whoever launches work, so the list is
/// not locked while the driver is asked; the pool changes it for one caller at a time.
#[derive(Debug, Default)]
pub(crate) struct Segments(Mutex<BTreeMap<u64, Segment>>);

#[derive(Clone, Debug)]
struct Segment {
    address: sys::CUdeviceptr,
    /// The page of the pool behind its last one.
    end: u64,
    /// What it lies in.
    context: Arc<Context>,
}

impl Segments {
    /// Asks the driver for one segment.
    pub(crate) fn commit(&self, context: Arc<Context>, pages: Range<u64>) -> Result<()> {
        context.bind()?;
        let (mut address, bytes) = (0, (pages.end - pages.start) * GRANULE_BYTES);
        // SAFETY: `address` is a valid place for an address.
        let code = unsafe { sys::cuMemAlloc_v2(&mut address, bytes as usize) };
        context.check(code, "pool: allocate a segment")?;
        self.lock().insert(pages.start, Segment { address, end: pages.end, context });
        Ok(())
    }

    /// Gives a segment back. No work in flight touches it.
    pub(crate) fn decommit(&self, pages: Range<u64>) -> Result<()> {
        let segment = self.lock().get(&pages.start).filter(|segment| segment.end == pages.end).cloned();
        let Some(Segment { address, context, .. }) = segment else {
            return Err(Error::driver(format!("pool: pages {pages:?} are no segment")));
        };
        context.bind()?;
        // SAFETY: made by `commit`, and given back once: it is taken out of the list right after.
        context.check(unsafe { sys::cuMemFree_v2(address) }, "pool: free a segment")?;
        self.lock().remove(&pages.start);
        Ok(())
    }

    /// Gives all back. No work in flight touches them.
    pub(crate) fn free(&self) -> Result<()> {
        let all: Vec<_> = self.lock().iter().map(|(&start, segment)| start..segment.end).collect();
        all.into_iter().try_for_each(|pages| self.decommit(pages))
    }

    /// Where the byte at this offset of the pool is, if it is in a segment.
    pub(crate) fn address(&self, offset: u64) -> Option<u64> {
        let page = offset / GRANULE_BYTES;
        let segments = self.lock();
        let (start, segment) = segments.range(..=page).next_back()?;
        (page < segment.end).then(|| segment.address + (offset - start * GRANULE_BYTES))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Segment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
