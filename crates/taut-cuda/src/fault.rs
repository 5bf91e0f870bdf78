//! What only a kernel sees: it says so in a word of pinned host memory, which the host looks at when it waits.

use crate::{Param, driver::check};
use cudarc::driver::sys;
use std::{
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};
use taut_core::{Error, Index, Result};
use taut_kernels::args;

// SAFETY: `Fault` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for args::Fault {}

/// Bits of an index that a report holds, its sign among them.
const INDEX_BITS: u32 = 56;

/// The word of a card: 0, or the last report, as `raise` in `fault.cuh` makes it.
pub(crate) struct Faults {
    word: *const AtomicU64,
    /// Where kernels see the word.
    address: u64,
}

// SAFETY: the word is shared memory that is accessed by atomic operations only.
unsafe impl Send for Faults {}
// SAFETY: as above.
unsafe impl Sync for Faults {}

impl Faults {
    /// The word of the context that is current.
    pub(crate) fn new() -> Result<Faults> {
        let (mut start, mut address) = (ptr::null_mut(), 0);
        let flags = sys::CU_MEMHOSTALLOC_DEVICEMAP | sys::CU_MEMHOSTALLOC_PORTABLE;
        // SAFETY: `start` is a valid place for a pointer, and a context is current.
        check(unsafe { sys::cuMemHostAlloc(&mut start, size_of::<u64>(), flags) }, "pin host memory")?;
        // SAFETY: the driver gave memory for the word, aligned to a page.
        unsafe { start.cast::<u64>().write(0) };
        // SAFETY: `address` is a valid place for an address, and `start` was allocated as mapped.
        let code = unsafe { sys::cuMemHostGetDevicePointer_v2(&mut address, start, 0) };
        check(code, "map host memory")?;
        Ok(Faults { word: start.cast(), address })
    }

    /// What a kernel of `op` needs to report.
    pub(crate) fn of(&self, op: Index) -> args::Fault {
        args::Fault { word: self.address, code: op as u64 + 1 }
    }

    /// Reports what was raised since the last call, in work that is done.
    pub(crate) fn take(&self) -> Result<()> {
        // SAFETY: the word lives as long as `self`, and is accessed atomically only.
        match unsafe { &*self.word }.swap(0, Ordering::AcqRel) {
            0 => Ok(()),
            report => Err(describe(report)),
        }
    }

    /// Gives the memory back, in the context that is current.
    ///
    /// # Safety
    ///
    /// Neither the host nor a kernel comes to the word again.
    pub(crate) unsafe fn free(&self) {
        // SAFETY: allocated by `new`, and not used after this.
        unsafe { sys::cuMemFreeHost(self.word.cast_mut().cast()) };
    }
}

fn describe(report: u64) -> Error {
    let (code, index) = (report >> INDEX_BITS, ((report << (64 - INDEX_BITS)) as i64) >> (64 - INDEX_BITS));
    let op = usize::try_from(code).ok().and_then(|code| Index::ALL.get(code.wrapping_sub(1)));
    Error::shape(format!("{}: index {index} is out of range", op.map_or("an op", |op| op.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_op_and_index() {
        let report =
            |op: Index, index: i64| (op as u64 + 1) << INDEX_BITS | (index as u64 & ((1 << INDEX_BITS) - 1));
        let text = |op, index| describe(report(op, index)).to_string();
        assert_eq!(text(Index::Gather, 7), "gather: index 7 is out of range");
        assert_eq!(text(Index::IndexAdd, -1), "index_add: index -1 is out of range");
    }
}
