//! Files that appear whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};
use taut::{Error, Result};

/// Puts a file with what `write` writes in the place of `path`: written beside it under another name, synced, renamed, and
/// the folder synced. Until then, and if anything fails, the old file is there and nothing else.
///
/// # Errors
///
/// Those of `write`; [`Driver`](taut::ErrorKind::Driver), naming the file, for those of the file system.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let fault = |error: io::Error| failed(path, &error);
    let name = path.file_name().ok_or_else(|| fault(io::Error::from(io::ErrorKind::IsADirectory)))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // New, so that two who save at once do not write to one file.
    let partial = Partial(folder.join(partial_name(name.to_os_string())));
    let mut file = File::create_new(&partial.0).map_err(fault)?;
    write(&mut file)?;
    file.sync_all().map_err(fault)?;
    drop(file);
    fs::rename(&partial.0, path).map_err(fault)?;
    std::mem::forget(partial);
    // The rename itself must survive a power cut too; not every file system can be asked.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The error of a save to `path`.
pub(crate) fn failed(path: &Path, error: &io::Error) -> Error {
    Error::driver(format!("save: {}: {error}; what stood there is unchanged", path.display()))
}

fn partial_name(name: OsString) -> OsString {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut partial = OsString::from(".");
    partial.push(name);
    partial.push(format!(".{}-{}.partial", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    partial
}

/// A file that goes if it is not finished, by a panic too.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // The first error is the one to tell.
        let _ = fs::remove_file(&self.0);
    }
}
