//! What a [`Mapping`](super::Mapping) asks of the system.
//!
//! The memory is shared, so that a page can be mapped at a second place, though nobody shares it.

use rustix::{
    io::Result,
    mm::{
        Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mprotect,
        mremap_fixed, munmap,
    },
};
use std::ptr;

/// Addresses, without memory.
pub(super) fn reserve(len: usize) -> Result<*mut u8> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new anonymous mapping at an address of the system's choice replaces no other.
    unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), flags) }.map(<*mut _>::cast)
}

/// Lets the pages of a range be shown at second places, from the time they have memory.
///
/// # Safety
///
/// The range is reserved, a multiple of pages, and holds no memory that anyone uses.
pub(super) unsafe fn share(start: *mut u8, len: usize) -> Result<()> {
    // Shared, for such memory alone can be mapped twice. (A named file would do too, but for limits on files.)
    let flags = MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: as the caller says.
    unsafe { mmap_anonymous(start.cast(), len, ProtFlags::empty(), flags)? };
    // A page of ours is one huge page of the system, where it gives those to shared memory. Without them it is as well.
    // SAFETY: as above; the contents stay as they are.
    let _ = unsafe { madvise(start.cast(), len, Advice::LinuxHugepage) };
    Ok(())
}

/// Puts zeroed memory under a range.
///
/// # Safety
///
/// The range is [shared](share), and without memory.
pub(super) unsafe fn commit(start: *mut u8, len: usize) -> Result<()> {
    // SAFETY: as the caller says; it changes no byte.
    unsafe { mprotect(start.cast(), len, MprotectFlags::READ | MprotectFlags::WRITE) }
}

/// Takes the memory away from under a range.
///
/// # Safety
///
/// It was [committed](commit), nobody uses it, and it is [shown](show) nowhere.
pub(super) unsafe fn decommit(start: *mut u8, len: usize) -> Result<()> {
    // SAFETY: as the caller says; nobody looks at the contents, which this drops.
    unsafe { madvise(start.cast(), len, Advice::LinuxRemove)? };
    // Last: where it fails, the pages are still committed, as the caller must then assume.
    // SAFETY: as above.
    unsafe { mprotect(start.cast(), len, MprotectFlags::empty()) }
}

/// Shows the memory under `from` at `to` too.
///
/// # Safety
///
/// `from` was [committed](commit); `to` is reserved, and nobody uses what is there.
pub(super) unsafe fn show(from: *mut u8, to: *mut u8, len: usize) -> Result<()> {
    // From shared memory of length 0 this makes a second mapping, with the access of the first.
    // SAFETY: as the caller says.
    unsafe { mremap_fixed(from.cast(), 0, len, MremapFlags::MAYMOVE, to.cast()) }.map(drop)
}

/// Ends what was [shown](show).
///
/// # Safety
///
/// The range is reserved, and nobody uses what is there.
pub(super) unsafe fn hide(start: *mut u8, len: usize) -> Result<()> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: as the caller says.
    unsafe { mmap_anonymous(start.cast(), len, ProtFlags::empty(), flags) }.map(drop)
}

/// Gives addresses back.
///
/// # Safety
///
/// They are all that was [reserved](reserve) in one call, and nobody uses what is there.
pub(super) unsafe fn free(start: *mut u8, len: usize) {
    // An error is of no use here: the addresses stay taken until the process ends.
    // SAFETY: as the caller says.
    let _ = unsafe { munmap(start.cast(), len) };
}
