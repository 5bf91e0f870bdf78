//! The context of one card, shared by everything that speaks to its driver.

use crate::{
    Card,
    driver::{check, is_sticky, version},
    fault::Faults,
    functions::Functions,
};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};
use std::{
    ffi::c_char,
    fmt, ptr,
    sync::{Arc, OnceLock, atomic::AtomicU64},
};
use taut_core::{Error, Result};
use taut_kernels::args::{LARGE_PARAMS, SMALL_PARAMS};

/// A primary context that is retained, with the card's facts and kernels.
pub(crate) struct Context {
    raw: sys::CUcontext,
    device: sys::CUdevice,
    card: Card,
    functions: Functions,
    faults: Faults,
    /// Host memory that is pinned for copies.
    pinned_bytes: AtomicU64,
    /// The first fault after which the context is lost.
    poison: OnceLock<Error>,
}

// SAFETY: a context may be made current on any thread; all else in here is Send and Sync by itself.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Opens card `index`: loads the driver, checks that the card will do, and retains its primary context.
    pub(crate) fn open(index: u32) -> Result<Arc<Context>> {
        crate::driver::load()?;
        let mut count = 0;
        // SAFETY: `count` is a valid place for an int.
        check(unsafe { sys::cuDeviceGetCount(&mut count) }, "cuda: count the cards")?;
        if i64::from(index) >= i64::from(count) {
            return Err(Error::device(format!("cuda: there is no card {index}: the driver sees {count}")));
        }
        let mut device = 0;
        // SAFETY: the index is below the count.
        check(unsafe { sys::cuDeviceGet(&mut device, index as i32) }, "cuda: open the card")?;
        let attribute = |which| attribute(device, which);
        let capability = (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        if capability < (8, 0) {
            let (major, minor) = capability;
            return Err(Error::device(format!(
                "cuda: card {index} has compute capability {major}.{minor}, taut needs 8.0"
            )));
        }
        let maps = attribute(Attribute::CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED)? != 0;

        let mut raw = ptr::null_mut();
        // SAFETY: `device` came from the driver.
        check(unsafe { sys::cuDevicePrimaryCtxRetain(&mut raw, device) }, "cuda: retain the context")?;
        // From here on the guard releases the context if anything fails.
        let guard = Retained(device);
        // SAFETY: the context is retained.
        check(unsafe { sys::cuCtxSetCurrent(raw) }, "cuda: set the context")?;
        let (free, total) = memory()?;
        let card = Card {
            name: name(device)?,
            capability,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            l2_bytes: u64::from(attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?),
            memory_bytes: total,
            context_bytes: total - free,
            maps_memory: maps && !taut_memory::wants_segments(),
            own_kernels: has_own_kernels(capability),
            shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            params_bytes: if version()? >= 12_010 { LARGE_PARAMS } else { SMALL_PARAMS },
        };
        let functions = Functions::new(&card)?;
        // Last: from here on nothing fails, and the context owns it.
        let faults = Faults::new()?;
        std::mem::forget(guard);
        let (pinned_bytes, poison) = (AtomicU64::new(0), OnceLock::new());
        Ok(Arc::new(Context { raw, device, card, functions, faults, pinned_bytes, poison }))
    }

    pub(crate) fn card(&self) -> &Card {
        &self.card
    }

    pub(crate) fn functions(&self) -> &Functions {
        &self.functions
    }

    /// What kernels report.
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Host memory that is pinned for copies: to be counted up and down.
    pub(crate) fn pinned_bytes(&self) -> &AtomicU64 {
        &self.pinned_bytes
    }

    /// The number by which the driver knows the card.
    pub(crate) fn device(&self) -> sys::CUdevice {
        self.device
    }

    /// Makes the context current on this thread, and refuses if it is lost.
    pub(crate) fn bind(&self) -> Result<()> {
        if let Some(fault) = self.poison.get() {
            return Err(Error::driver(format!("the device is lost since an earlier fault: {fault}")));
        }
        let mut current = ptr::null_mut();
        // SAFETY: `current` is a valid place for a handle.
        check(unsafe { sys::cuCtxGetCurrent(&mut current) }, "cuda: get the context")?;
        if current == self.raw {
            return Ok(());
        }
        // SAFETY: the context is retained as long as `self` lives.
        check(unsafe { sys::cuCtxSetCurrent(self.raw) }, "cuda: set the context")
    }

    /// Turns a code into an error, and remembers a fault after which the context is lost.
    pub(crate) fn check(&self, code: CUresult, doing: &str) -> Result<()> {
        let result = check(code, doing);
        if let Err(error) = &result
            && is_sticky(code)
        {
            // The first fault stays.
            let _ = self.poison.set(error.clone());
        }
        result
    }
}

/// Whether there is machine code for cards of this capability alone.
fn has_own_kernels((major, minor): (u32, u32)) -> bool {
    let arch = format!("{major}.{minor}a");
    taut_kernels::modules().iter().any(|module| module.arch == arch)
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.bind().is_ok() {
            // SAFETY: streams and memory hold the context, so that no work is left.
            unsafe { self.faults.free() };
            // Others in this process may hold the same primary context: what is ours in it would stay.
            self.functions.unload();
        }
        drop(Retained(self.device));
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("card", &self.card).finish_non_exhaustive()
    }
}

/// Releases a retained primary context.
struct Retained(sys::CUdevice);

impl Drop for Retained {
    fn drop(&mut self) {
        // SAFETY: retained once by whoever made this.
        unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.0) };
    }
}

/// By which the driver's tools know card `index`.
pub(crate) fn uuid(index: u32) -> Result<[u8; 16]> {
    let (mut device, mut uuid) = (0, sys::CUuuid { bytes: [0; 16] });
    let index = i32::try_from(index).map_err(|_| Error::device(format!("cuda: there is no card {index}")))?;
    // SAFETY: `device` is a valid place for a handle; the driver refuses a number that it does not know.
    check(unsafe { sys::cuDeviceGet(&mut device, index) }, "cuda: open the card")?;
    // SAFETY: `uuid` is a valid place for one, and `device` came from the driver.
    check(unsafe { sys::cuDeviceGetUuid_v2(&mut uuid, device) }, "cuda: ask for the UUID")?;
    Ok(uuid.bytes.map(|byte| byte.to_le_bytes()[0]))
}

/// Free and total memory of the card whose context is current.
pub(crate) fn memory() -> Result<(u64, u64)> {
    let (mut free, mut total) = (0, 0);
    // SAFETY: both are valid places for a size.
    check(unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) }, "cuda: ask for free memory")?;
    Ok((free as u64, total as u64))
}

fn attribute(device: sys::CUdevice, which: Attribute) -> Result<u32> {
    let mut value = 0;
    // SAFETY: `value` is a valid place for an int, and `device` came from the driver.
    check(unsafe { sys::cuDeviceGetAttribute(&mut value, which, device) }, "cuda: ask for an attribute")?;
    Ok(value.unsigned_abs())
}

fn name(device: sys::CUdevice) -> Result<String> {
    let mut bytes = [0u8; 256];
    // SAFETY: the buffer is as long as it says.
    let code =
        unsafe { sys::cuDeviceGetName(bytes.as_mut_ptr().cast::<c_char>(), bytes.len() as i32, device) };
    check(code, "cuda: ask for the name")?;
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}
