//! The pool's pages on a card: addresses reserved once, physical pages mapped under them.

use crate::{Gpu, context};
use cudarc::driver::sys;
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};
use taut_core::{Error, Result};
use taut_memory::{Backing, GRANULE_BYTES, SPAN_BYTES, StreamId};

/// CUDA virtual memory as the [`Backing`] of a pool.
#[derive(Debug)]
pub struct CudaBacking {
    gpu: Arc<Gpu>,
    base: u64,
    /// The physical handle under each committed page.
    pages: Mutex<BTreeMap<u64, sys::CUmemGenericAllocationHandle>>,
}

impl CudaBacking {
    /// Reserves addresses; takes no memory of the card.
    pub fn new(gpu: &Arc<Gpu>) -> Result<CudaBacking> {
        let context = gpu.context();
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
        Ok(CudaBacking { gpu: gpu.clone(), base, pages: Mutex::default() })
    }

    fn address(&self, page: u64) -> u64 {
        self.base + page * GRANULE_BYTES
    }

    /// Maps a new physical page.
    fn map(&self, page: u64) -> Result<sys::CUmemGenericAllocationHandle> {
        let context = self.gpu.context();
        let (prop, mut handle) = (properties(context.device()), 0);
        // SAFETY: `handle` and `prop` are valid for the call.
        let code = unsafe { sys::cuMemCreate(&mut handle, GRANULE_BYTES as usize, &prop, 0) };
        context.check(code, "pool: create a page")?;
        // SAFETY: the addresses are reserved and nothing is mapped there.
        let code = unsafe { sys::cuMemMap(self.address(page), GRANULE_BYTES as usize, 0, handle, 0) };
        context.check(code, "pool: map a page").inspect_err(|_| {
            // SAFETY: created above and mapped nowhere.
            unsafe { sys::cuMemRelease(handle) };
        })?;
        Ok(handle)
    }

    fn unmap(&self, page: u64, handle: sys::CUmemGenericAllocationHandle) -> Result<()> {
        // SAFETY: the page is mapped there, and no work in flight touches it.
        let code = unsafe { sys::cuMemUnmap(self.address(page), GRANULE_BYTES as usize) };
        self.gpu.context().check(code, "pool: unmap a page")?;
        // SAFETY: created by `map`, and no longer mapped.
        let code = unsafe { sys::cuMemRelease(handle) };
        self.gpu.context().check(code, "pool: release a page")
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
        self.base
    }

    fn span_bytes(&self) -> u64 {
        SPAN_BYTES
    }

    fn commit(&self, range: Range<u64>) -> Result<()> {
        let context = self.gpu.context();
        context.bind()?;
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = Vec::new();
        let done = range.clone().try_for_each(|page| {
            new.push((page, self.map(page)?));
            Ok(())
        });
        let done = done.and_then(|()| {
            let access = sys::CUmemAccessDesc {
                location: properties(context.device()).location,
                flags: sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
            };
            let bytes = (range.end - range.start) * GRANULE_BYTES;
            // SAFETY: the whole range was mapped above.
            let code = unsafe { sys::cuMemSetAccess(self.address(range.start), bytes as usize, &access, 1) };
            context.check(code, "pool: allow access")
        });
        match done {
            Ok(()) => pages.extend(new),
            // All or nothing: what was mapped goes back, and the first error is the one to report.
            Err(_) => new.into_iter().for_each(|(page, handle)| drop(self.unmap(page, handle))),
        }
        done
    }

    fn decommit(&self, range: Range<u64>) -> Result<()> {
        // Unmapping is not stream-ordered: work in flight may still touch the pages.
        self.gpu.wait()?;
        self.gpu.context().bind()?;
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        for page in range {
            if let Some(handle) = pages.remove(&page) {
                self.unmap(page, handle)?;
            }
        }
        Ok(())
    }

    fn order(&self, waiter: StreamId, after: StreamId) -> Result<()> {
        self.gpu.order(waiter, after)
    }

    fn driver_bytes(&self) -> Option<u64> {
        self.gpu.context().bind().ok()?;
        let (free, total) = context::memory().ok()?;
        Some(total - free)
    }
}

impl Drop for CudaBacking {
    fn drop(&mut self) {
        let pages = std::mem::take(self.pages.get_mut().unwrap_or_else(PoisonError::into_inner));
        // A lost context has nothing to give back to.
        if self.gpu.wait().is_ok() && self.gpu.context().bind().is_ok() {
            for (page, handle) in pages {
                let _ = self.unmap(page, handle);
            }
            // SAFETY: reserved by `new`, and nothing is mapped there any more.
            unsafe { sys::cuMemAddressFree(self.base, SPAN_BYTES as usize) };
        }
    }
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
