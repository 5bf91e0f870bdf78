//! Files as memory: with `host.rs` the only module of this crate with `unsafe`.
#![allow(unsafe_code)]

use crate::{Error, Result};
use rustix::mm::{self, MapFlags, ProtFlags, madvise, mmap, munmap};
use std::{
    ffi::c_void,
    fmt,
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    ptr::{self, NonNull},
    slice,
};

/// A file, mapped to be read: its bytes are memory that the system fills when they are looked at, and may take away
/// whenever it needs room.
///
/// ```
/// use taut_memory::{Advice, FileMap};
///
/// let path = std::env::temp_dir().join(format!("taut-map-{}", std::process::id()));
/// std::fs::write(&path, b"some weights")?;
/// let map = FileMap::open(&path)?;
/// assert_eq!(map.bytes(), b"some weights");
/// map.advise(0..map.len(), Advice::DontNeed); // read again when it is looked at again
/// assert_eq!(&map.bytes()[5..], b"weights");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileMap {
    /// Dangling for an empty file, which can not be mapped.
    start: NonNull<u8>,
    len: usize,
    file: File,
    path: PathBuf,
}

/// How a part of a [`FileMap`] will be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// From its start to its end: the system reads further ahead.
    Sequential,
    /// Soon: the system starts to read.
    WillNeed,
    /// Not soon: its pages no longer count as memory of this process.
    DontNeed,
}

// SAFETY: a `FileMap` is a file and a range of addresses that is only read; neither is tied to a thread.
unsafe impl Send for FileMap {}
// SAFETY: as above; no method writes to the memory.
unsafe impl Sync for FileMap {}

impl FileMap {
    /// Maps a file as it is now: what is appended later is not seen. Reads nothing yet.
    ///
    /// **No one may write to the file or shorten it while it is mapped**, which no system call can prevent. Bytes
    /// that are overwritten may or may not be seen. Looking at what was cut off ends the process with `SIGBUS`;
    /// [`check`](Self::check) turns that into an error where it happened before the call. A file that is replaced, as
    /// by a rename, is another file: the map keeps the old one. So replace files, as every function of taut that
    /// saves does, and do not map what others may change.
    ///
    /// # Errors
    ///
    /// [`Driver`](crate::ErrorKind::Driver), naming the file, if it can not be opened or mapped, or is not a file.
    pub fn open(path: impl AsRef<Path>) -> Result<FileMap> {
        let path = path.as_ref();
        let fault = |what: &str, error: &dyn fmt::Display| {
            Error::driver(format!("map: {what} {}: {error}", path.display()))
        };
        // Before it is opened, which would wait for the writer of a pipe.
        if !path.metadata().map_err(|e| fault("opening", &e))?.is_file() {
            return Err(fault("mapping", &"it is not a regular file"));
        }
        let file = File::open(path).map_err(|e| fault("opening", &e))?;
        let facts = file.metadata().map_err(|e| fault("measuring", &e))?;
        let len = usize::try_from(facts.len()).map_err(|e| fault("mapping", &e))?;
        let start = if len == 0 {
            NonNull::dangling()
        } else {
            // SAFETY: a new mapping at an address of the system's choice replaces no other.
            let start = unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, &file, 0) }
                .map_err(|e| fault("mapping", &e))?;
            NonNull::new(start.cast()).ok_or_else(|| fault("mapping", &"the address is null"))?
        };
        Ok(FileMap { start, len, file, path: path.to_path_buf() })
    }

    /// The file's name, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length in bytes, when it was mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the file was empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file's bytes; see [`open`](Self::open) for what others must not do to them.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is not null and aligned for bytes, and from it `len` bytes are mapped to be read while `self`
        // lives; `len` is the length of a file, which is within `isize`. That nobody writes to the file is what `open`
        // demands.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Whether the file is still as long as it was mapped: looking at what is gone would end the process.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if it is shorter now, [`Driver`](crate::ErrorKind::Driver) if the system
    /// does not say.
    pub fn check(&self) -> Result<()> {
        let path = self.path.display();
        let facts = self.file.metadata().map_err(|e| Error::driver(format!("map: measuring {path}: {e}")))?;
        if facts.len() < self.len as u64 {
            return Err(Error::corrupt(format!(
                "map: {path} was cut from {} to {} bytes while it was mapped",
                self.len,
                facts.len()
            )));
        }
        Ok(())
    }

    /// Says how the pages that `range` touches will be used. Changes no byte, and nothing if the system does not want to
    /// know; what lies beyond the file is left out.
    pub fn advise(&self, range: Range<usize>, advice: Advice) {
        let advice = match advice {
            Advice::Sequential => mm::Advice::Sequential,
            Advice::WillNeed => mm::Advice::WillNeed,
            Advice::DontNeed => mm::Advice::LinuxDontNeed,
        };
        let page = rustix::param::page_size();
        let (start, end) = (range.start / page * page, range.end.min(self.len));
        if start < end {
            let address: *mut c_void = self.start.as_ptr().wrapping_add(start).cast();
            // SAFETY: whole pages of this mapping, from the one with `start` to the one with the byte before `end`. It is
            // private and never written to, so that pages that are dropped come back as they were.
            // An error is of no use here: advice is all it is.
            let _ = unsafe { madvise(address, end - start, advice) };
        }
    }
}

impl Drop for FileMap {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: `start` and `len` are what `mmap` took and gave, and slices of it borrow `self`.
            // An error is of no use here: the addresses stay taken until the process ends.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}

impl fmt::Debug for FileMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileMap({}, {} bytes)", self.path.display(), self.len)
    }
}
