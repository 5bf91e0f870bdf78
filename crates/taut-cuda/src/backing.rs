//! The pool's pages on a card: addresses reserved once, physical pages mapped under them, some at several places. Where the
//! card can not do that, [`Segments`].
//!
//! What one grid writes through one place is seen by the next through another: the driver's condition for mapping a page
//! twice is that no two places are used for the same bytes at once. A byte belongs to one block at a time, whoever has it
//! next is ordered after those who had it, and blocks are aligned to 256 bytes, so that no two share a cache line.

use crate::{
    Event, Gpu,
    context::{self, Context},
    leaving::{Leaving, Mark},
    segments::Segments,
};
use cudarc::driver::sys;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use taut_core::{Error, Result};
use taut_memory::{Backing, GRANULE_BYTES, Label, SPAN_BYTES, StreamId};

/// CUDA virtual memory as the [`Backing`] of a pool; [segments](Backing::is_segmented) where the card
/// [maps](crate::Card::maps_memory) no memory.
#[derive(Debug)]
pub struct CudaBacking {
    gpu: Arc<Gpu>,
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    Mapped {
        /// Where the addresses begin that were reserved last.
        base: AtomicU64,
        /// `None` from a [`close`](Backing::close) to the next page.
        reserved: Mutex<Option<Reserved>>,
    },
    Segments(Segments),
}

/// Addresses, and the pages under them.
#[derive(Debug)]
struct Reserved {
    context: Arc<Context>,
    base: u64,
    /// The physical handle under each committed page.
    pages: BTreeMap<u64, sys::CUmemGenericAllocationHandle>,
    /// Where pages are mapped a second time. They belong to the handles above, and are unmapped before those go.
    aliases: BTreeSet<u64>,
    /// Those of them that no view needs any more.
    leaving: Leaving<Vec<Event>>,
}

impl Mark for Vec<Event> {
    fn is_reached(&self) -> Result<bool> {
        self.iter().try_fold(true, |all, event| Ok(all && event.is_done()?))
    }

    fn wait(&self) -> Result<()> {
        self.iter().try_for_each(Event::synchronize)
    }
}

impl CudaBacking {
    /// Reserves addresses, where they can be; takes no memory of the card.
    ///
    /// # Errors
    ///
    /// [`Device`](taut_core::ErrorKind::Device) if the driver's pages are not those of taut,
    /// [`Driver`](taut_core::ErrorKind::Driver) if it refuses.
    pub fn new(gpu: &Arc<Gpu>) -> Result<CudaBacking> {
        let memory = if gpu.card().maps_memory {
            let reserved = Reserved::new(&gpu.context()?)?;
            Memory::Mapped { base: AtomicU64::new(reserved.base), reserved: Mutex::new(Some(reserved)) }
        } else {
            Memory::Segments(Segments::default())
        };
        Ok(CudaBacking { gpu: gpu.clone(), memory })
    }
}

impl Reserved {
    fn new(context: &Arc<Context>) -> Result<Reserved> {
        context.bind()?;
        let (prop, mut granule, mut base) = (properties(context.device()), 0, 0);
        let option = sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_MINIMUM;
        // SAFETY: `granule` and `prop` are valid for the call.
        let code = unsafe { sys::cuMemGetAllocationGranularity(&mut granule, &prop, option) };
        context.check(code, "pool: ask for the granularity")?;
        if !GRANULE_BYTES.is_multiple_of(granule as u64) {
            return Err(Error::device(format!("pool: the driver's granule is {granule} bytes, not 2 MiB")));
        }
        // SAFETY: `base` is a valid place for an address.
        let code = unsafe { sys::cuMemAddressReserve(&mut base, SPAN_BYTES as usize, 0, 0, 0) };
        context.check(code, "pool: reserve addresses")?;
        let (pages, aliases, leaving) = (BTreeMap::new(), BTreeSet::new(), Leaving::new());
        Ok(Reserved { context: context.clone(), base, pages, aliases, leaving })
    }

    fn address(&self, page: u64) -> u64 {
        self.base + page * GRANULE_BYTES
    }

    /// Creates a physical page and maps it.
    fn create(&self, page: u64) -> Result<sys::CUmemGenericAllocationHandle> {
        let (prop, mut handle) = (properties(self.context.device()), 0);
        // SAFETY: `handle` and `prop` are valid for the call.
        let code = unsafe { sys::cuMemCreate(&mut handle, GRANULE_BYTES as usize, &prop, 0) };
        self.context.check(code, "pool: create a page")?;
        self.map(page, handle).inspect_err(|_| {
            // SAFETY: created above and mapped nowhere.
            unsafe { sys::cuMemRelease(handle) };
        })?;
        Ok(handle)
    }

    /// Maps a physical page where nothing is mapped.
    fn map(&self, page: u64, handle: sys::CUmemGenericAllocationHandle) -> Result<()> {
        // SAFETY: the addresses are reserved and nothing is mapped there; the handle lives.
        let code = unsafe { sys::cuMemMap(self.address(page), GRANULE_BYTES as usize, 0, handle, 0) };
        self.context.check(code, "pool: map a page")
    }

    fn unmap(&self, page: u64) -> Result<()> {
        // SAFETY: a page is mapped there, and no work in flight touches it.
        let code = unsafe { sys::cuMemUnmap(self.address(page), GRANULE_BYTES as usize) };
        self.context.check(code, "pool: unmap a page")
    }

    /// Unmaps a page and gives it back.
    fn destroy(&self, page: u64, handle: sys::CUmemGenericAllocationHandle) -> Result<()> {
        self.unmap(page)?;
        // SAFETY: made by `create`, and no longer mapped: what showed it elsewhere has ended before.
        let code = unsafe { sys::cuMemRelease(handle) };
        self.context.check(code, "pool: release a page")
    }

    /// Lets kernels read and write these pages, all of which are mapped.
    fn allow(&self, pages: &Range<u64>) -> Result<()> {
        let access = sys::CUmemAccessDesc {
            location: properties(self.context.device()).location,
            flags: sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
        };
        let bytes = (pages.end - pages.start) * GRANULE_BYTES;
        // SAFETY: the caller has mapped the whole range.
        let code = unsafe { sys::cuMemSetAccess(self.address(pages.start), bytes as usize, &access, 1) };
        self.context.check(code, "pool: allow access")
    }

    fn commit(&mut self, range: Range<u64>) -> Result<()> {
        self.context.bind()?;
        let mut new = Vec::new();
        let done = range.clone().try_for_each(|page| {
            new.push((page, self.create(page)?));
            Ok(())
        });
        let done = done.and_then(|()| self.allow(&range));
        match done {
            Ok(()) => self.pages.extend(new),
            // All or nothing: what was mapped goes back, and the first error is the one to report.
            Err(_) => new.into_iter().for_each(|(page, handle)| drop(self.destroy(page, handle))),
        }
        done
    }

    /// The card is idle.
    fn decommit(&mut self, range: Range<u64>) -> Result<()> {
        self.context.bind()?;
        let left = self.leaving.take_all();
        self.hide(left)?;
        for page in range {
            if let Some(handle) = self.pages.remove(&page) {
                self.destroy(page, handle)?;
            }
        }
        Ok(())
    }

    fn alias(&mut self, gpu: &Gpu, range: Range<u64>, of: &[Range<u64>]) -> Result<()> {
        self.context.bind()?;
        let left = self.leaving.take(&range, || gpu.mark())?;
        self.hide(left)?;
        let mut new = Vec::new();
        let done = range.clone().zip(of.iter().cloned().flatten()).try_for_each(|(page, of)| {
            let handle = self.pages.get(&of).copied();
            let handle = handle.ok_or_else(|| Error::driver(format!("pool: page {of} has no memory")))?;
            self.map(page, handle)?;
            new.push(page);
            Ok(())
        });
        let done = done.and_then(|()| self.allow(&range));
        match done {
            Ok(()) => self.aliases.extend(new),
            Err(_) => new.into_iter().for_each(|page| drop(self.unmap(page))),
        }
        done
    }

    /// Unmaps places that nothing uses.
    fn hide(&mut self, places: Vec<Range<u64>>) -> Result<()> {
        for page in places.into_iter().flatten() {
            if self.aliases.remove(&page) {
                self.unmap(page)?;
            }
        }
        Ok(())
    }

    /// Gives pages and addresses back. No work in flight touches them.
    fn free(mut self) -> Result<()> {
        self.context.bind()?;
        for page in std::mem::take(&mut self.aliases) {
            self.unmap(page)?;
        }
        for (page, handle) in std::mem::take(&mut self.pages) {
            self.destroy(page, handle)?;
        }
        // SAFETY: reserved by `new`, and nothing is mapped there any more.
        let code = unsafe { sys::cuMemAddressFree(self.base, SPAN_BYTES as usize) };
        self.context.check(code, "pool: give addresses back")
    }
}

impl Backing for CudaBacking {
    fn granule_bytes(&self) -> u64 {
        GRANULE_BYTES
    }

    fn capacity_bytes(&self) -> u64 {
        self.gpu.card().memory_bytes
    }

    fn overhead_bytes(&self) -> u64 {
        self.gpu.card().context_bytes
    }

    fn base(&self) -> u64 {
        match &self.memory {
            Memory::Mapped { base, .. } => base.load(Ordering::Relaxed),
            // That of no byte: each segment has an address of its own.
            Memory::Segments(_) => GRANULE_BYTES,
        }
    }

    fn span_bytes(&self) -> u64 {
        SPAN_BYTES
    }

    fn is_segmented(&self) -> bool {
        matches!(self.memory, Memory::Segments(_))
    }

    fn address(&self, offset: u64) -> u64 {
        match &self.memory {
            Memory::Mapped { base, .. } => base.load(Ordering::Relaxed) + offset,
            Memory::Segments(segments) => segments.address(offset).unwrap_or(self.base()),
        }
    }

    fn commit(&self, range: Range<u64>) -> Result<()> {
        match &self.memory {
            Memory::Mapped { base, reserved } => {
                let mut reserved = lock(reserved);
                let reserved = match reserved.take() {
                    Some(open) => reserved.insert(open),
                    None => {
                        let new = Reserved::new(&self.gpu.context()?)?;
                        base.store(new.base, Ordering::Relaxed);
                        reserved.insert(new)
                    }
                };
                reserved.commit(range)
            }
            Memory::Segments(segments) => segments.commit(self.gpu.context()?, range),
        }
    }

    fn decommit(&self, range: Range<u64>) -> Result<()> {
        // Unmapping is not stream-ordered: work in flight may still touch the pages.
        self.gpu.wait()?;
        match &self.memory {
            Memory::Mapped { reserved, .. } => {
                lock(reserved).as_mut().map_or(Ok(()), |reserved| reserved.decommit(range))
            }
            Memory::Segments(segments) => segments.decommit(range),
        }
    }

    fn alias(&self, range: Range<u64>, of: &[Range<u64>]) -> Result<()> {
        let refused = || Err(Error::driver("pool: no page is committed that can be mapped twice"));
        let Memory::Mapped { reserved, .. } = &self.memory else { return refused() };
        lock(reserved).as_mut().map_or_else(refused, |reserved| reserved.alias(&self.gpu, range, of))
    }

    fn unalias(&self, range: Range<u64>) -> Result<()> {
        if let Memory::Mapped { reserved, .. } = &self.memory {
            lock(reserved).iter_mut().for_each(|reserved| reserved.leaving.end(range.clone()));
        }
        Ok(())
    }

    fn order(&self, waiter: StreamId, after: StreamId) -> Result<()> {
        self.gpu.order(waiter, after)
    }

    fn driver_bytes(&self) -> Option<u64> {
        self.gpu.opened()?.bind().ok()?;
        let (free, total) = context::memory().ok()?;
        Some(total - free)
    }

    fn close(&self) -> Result<()> {
        self.gpu.wait()?;
        match &self.memory {
            Memory::Mapped { reserved, .. } => lock(reserved).take().map_or(Ok(()), Reserved::free),
            Memory::Segments(segments) => segments.free(),
        }
    }

    fn label(&self) -> Option<Label> {
        Some(Label { name: self.gpu.to_string(), uuid: self.gpu.uuid() })
    }
}

impl Drop for CudaBacking {
    fn drop(&mut self) {
        // A lost context has nothing to give back to.
        let _ = self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plain memory of one card.
fn properties(device: sys::CUdevice) -> sys::CUmemAllocationProp {
    sys::CUmemAllocationProp {
        type_: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
        location: sys::CUmemLocation {
            type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE,
            id: device,
        },
        win32HandleMetaData: std::ptr::null_mut(),
        allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
            compressionType: 0,
            gpuDirectRDMACapable: 0,
            usage: 0,
            reserved: [0; 4],
        },
    }
}
