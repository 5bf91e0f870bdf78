//! What Miri has in place of the [system](super): one plain allocation as the addresses, in which bytes without memory are
//! uninitialized.
//!
//! So the sums of addresses, the borrows and the threads of all that stands above are checked on the bytes of blocks: no
//! block is read that has no memory, none is written while another one is borrowed over its bytes, and whoever gets bytes
//! is ordered after those who had them, in the language's sense. Not checked is the system itself, and that pages at two
//! places are one memory: what is shown elsewhere is memory of its own here, which the contract of a block allows, for
//! nobody may know what an earlier block has left. That no byte has two owners through two places is what the models of the
//! pool check.

use rustix::io::{Errno, Result};
use std::{
    alloc::{Layout, alloc, dealloc},
    ptr,
};

pub(super) fn reserve(len: usize) -> Result<*mut u8> {
    let most = usize::try_from(super::MIN_SPAN_BYTES + crate::GRANULE_BYTES).map_err(|_| Errno::NOMEM)?;
    match layout(len) {
        // SAFETY: it is not of length 0.
        Ok(layout) if 0 < len && len <= most => Ok(unsafe { alloc(layout) }),
        _ => Err(Errno::NOMEM),
    }
}

pub(super) unsafe fn share(_start: *mut u8, _len: usize) -> Result<()> {
    Ok(())
}

pub(super) unsafe fn commit(start: *mut u8, len: usize) -> Result<()> {
    // SAFETY: the range was reserved.
    unsafe { start.write_bytes(0, len) };
    Ok(())
}

pub(super) unsafe fn decommit(start: *mut u8, len: usize) -> Result<()> {
    let layout = layout(len)?;
    // SAFETY: it is not of length 0, for no pages are not given back; what is copied is not looked at.
    unsafe {
        let nothing = alloc(layout);
        ptr::copy_nonoverlapping(nothing, start, len);
        dealloc(nothing, layout);
    }
    Ok(())
}

pub(super) unsafe fn show(_from: *mut u8, to: *mut u8, len: usize) -> Result<()> {
    // SAFETY: as the caller says.
    unsafe { commit(to, len) }
}

pub(super) unsafe fn hide(start: *mut u8, len: usize) -> Result<()> {
    // SAFETY: as the caller says.
    unsafe { decommit(start, len) }
}

pub(super) unsafe fn free(start: *mut u8, len: usize) {
    if let Ok(layout) = layout(len) {
        // SAFETY: as it was reserved.
        unsafe { dealloc(start, layout) };
    }
}

fn layout(len: usize) -> Result<Layout> {
    Layout::from_size_align(len, 1).map_err(|_| Errno::NOMEM)
}
