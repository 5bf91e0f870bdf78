//! The pool's memory on a card without virtual memory: segments, as the driver gives them, at addresses of its choice.

use crate::context::Context;
use cudarc::driver::sys;
use std::{collections::BTreeMap, ops::Range, sync::Arc};
use taut_core::{Error, Result};
use taut_memory::GRANULE_BYTES;

/// The segments of a pool.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    /// What the segments lie in, while there are any.
    context: Option<Arc<Context>>,
    /// By the page of the pool that each begins with.
    list: BTreeMap<u64, Segment>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    address: sys::CUdeviceptr,
    /// The page of the pool behind its last one.
    end: u64,
}

impl Segments {
    /// Asks the driver for one segment.
    pub(crate) fn commit(&mut self, context: Arc<Context>, pages: Range<u64>) -> Result<()> {
        context.bind()?;
        let (mut address, bytes) = (0, (pages.end - pages.start) * GRANULE_BYTES);
        // SAFETY: `address` is a valid place for an address.
        let code = unsafe { sys::cuMemAlloc_v2(&mut address, bytes as usize) };
        context.check(code, "pool: allocate a segment")?;
        self.list.insert(pages.start, Segment { address, end: pages.end });
        self.context = Some(context);
        Ok(())
    }

    /// Gives a segment back. No work in flight touches it.
    pub(crate) fn decommit(&mut self, pages: Range<u64>) -> Result<()> {
        let Some(segment) = self.list.get(&pages.start).filter(|segment| segment.end == pages.end) else {
            return Err(Error::driver(format!("pool: pages {pages:?} are no segment")));
        };
        if let Some(context) = &self.context {
            context.bind()?;
            // SAFETY: made by `commit`, and given back once: it is taken out of the list right after.
            context.check(unsafe { sys::cuMemFree_v2(segment.address) }, "pool: free a segment")?;
        }
        self.list.remove(&pages.start);
        if self.list.is_empty() {
            self.context = None;
        }
        Ok(())
    }

    /// Gives all back. No work in flight touches them.
    pub(crate) fn free(&mut self) -> Result<()> {
        while let Some((&start, &Segment { end, .. })) = self.list.first_key_value() {
            self.decommit(start..end)?;
        }
        Ok(())
    }

    /// Where the byte at this offset of the pool is, if it is in a segment.
    pub(crate) fn address(&self, offset: u64) -> Option<u64> {
        let page = offset / GRANULE_BYTES;
        let (start, segment) = self.list.range(..=page).next_back()?;
        (page < segment.end).then(|| segment.address + (offset - start * GRANULE_BYTES))
    }
}
