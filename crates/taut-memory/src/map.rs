//! Files as memory, and memory that processes share.
#![allow(unsafe_code)]

use crate::{Error, Result};
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create},
    mm::{self, MapFlags, ProtFlags, madvise, mmap, munmap},
};
use std::{
    ffi::c_void,
    fmt,
    fs::File,
    io::Write,
    ops::Range,
    path::{Path, PathBuf},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU64, Ordering},
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

/// Words of this process's that others may see, in an anonymous file that is gone with its last user.
pub(crate) struct OwnWords {
    words: Words,
    /// Open, so that others find it.
    _file: File,
}

/// Words of another process.
#[derive(Debug)]
pub(crate) struct SeenWords(Words);

/// A shared mapping of so many words, which can not become shorter.
#[derive(Debug)]
struct Words {
    start: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the words are accessed by atomic operations only, from any thread.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl OwnWords {
    /// `len` words of 0, in a file that others find by `name` among those that this process has open.
    ///
    /// # Errors
    ///
    /// [`Driver`](crate::ErrorKind::Driver) if the system refuses.
    pub(crate) fn create(name: &str, len: usize) -> Result<OwnWords> {
        let fault =
            |what: &str, error: &dyn fmt::Display| Error::driver(format!("map: {what} {name}: {error}"));
        let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
        let mut file = File::from(file.map_err(|e| fault("making", &e))?);
        // Written and not only made long, so that too little memory is an error here.
        file.write_all(&vec![0; 8 * len]).map_err(|e| fault("filling", &e))?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(|e| fault("sealing", &e))?;
        let words =
            Words::map(&file, len, ProtFlags::READ | ProtFlags::WRITE).map_err(|e| fault("mapping", &e))?;
        Ok(OwnWords { words, _file: file })
    }

    /// Word number `index`.
    ///
    /// # Panics
    ///
    /// If there is no such word.
    pub(crate) fn get(&self, index: usize) -> &AtomicU64 {
        &self.words.all()[index]
    }
}

impl SeenWords {
    /// The first `len` words of a file that another process [created](OwnWords::create). `None` if the file is gone,
    /// shorter, or none of those.
    ///
    /// # Errors
    ///
    /// [`Driver`](crate::ErrorKind::Driver) if the system does not map it.
    pub(crate) fn open(path: &Path, len: usize) -> Result<Option<SeenWords>> {
        // Only what can not be cut off may be mapped: looking at what is gone would end this process.
        let Ok(file) = File::open(path) else { return Ok(None) };
        let sealed = fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        if !sealed || !file.metadata().is_ok_and(|facts| facts.len() >= 8 * len as u64) {
            return Ok(None);
        }
        let words = Words::map(&file, len, ProtFlags::READ)
            .map_err(|e| Error::driver(format!("map: mapping {}: {e}", path.display())))?;
        Ok(Some(SeenWords(words)))
    }

    /// Word number `index`, as it is now.
    ///
    /// # Panics
    ///
    /// If there is no such word.
    pub(crate) fn load(&self, index: usize) -> u64 {
        // Relaxed is the one order that memory which can not be written to allows.
        self.0.all()[index].load(Ordering::Relaxed)
    }
}

impl Words {
    /// Maps a file that is sealed at this length or more.
    fn map(file: &File, len: usize, access: ProtFlags) -> rustix::io::Result<Words> {
        // SAFETY: a new mapping at an address of the system's choice replaces no other.
        let start = unsafe { mmap(ptr::null_mut(), 8 * len, access, MapFlags::SHARED, file, 0)? };
        Ok(Words { start: NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)?, len })
    }

    fn all(&self) -> &[AtomicU64] {
        // SAFETY: `start` is aligned to a page, and from it `len` words are mapped while `self` lives, initialized by the
        // system or a writer; the file is sealed, so they stay. All access to them is atomic; where they are mapped to
        // be read only, `SeenWords::load` makes relaxed loads and nothing else.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are what `mmap` gave and took, and slices of it borrow `self`.
        // An error is of no use here: the addresses stay taken until the process ends.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), 8 * self.len) };
    }
}
