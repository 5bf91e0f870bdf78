//! Files that appear whole or not at all.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};
use taut_core::{Error, Result};

/// Puts a file with what `write` writes in the place of `path`: written beside it under another name, synced, renamed, and
/// the folder synced. Until then, and if anything fails, the old file is there and nothing else. What a process that was
/// killed has left goes with the next call for the same `path`.
///
/// # Errors
///
/// Those of `write`; [`Driver`](taut_core::ErrorKind::Driver), naming the file, for those of the file system.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let fault = |error: io::Error| failed(path, &error);
    let name = path.file_name().ok_or_else(|| fault(io::Error::from(io::ErrorKind::IsADirectory)))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sweep(folder, name);
    let (partial, mut file) = create(folder, name).map_err(fault)?;
    write(&mut file)?;
    file.sync_all().map_err(fault)?;
    fs::rename(&partial.0, path).map_err(fault)?;
    std::mem::forget(partial);
    // Its lock goes with it: not before it has its name.
    drop(file);
    // The rename itself must survive a power cut too; not every file system can be asked.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The error of a save to `path`.
pub fn failed(path: &Path, error: &io::Error) -> Error {
    Error::driver(format!("save: {}: {error}; what stood there is unchanged", path.display()))
}

const SUFFIX: &str = ".partial";

/// A new file, so that two who save at once do not write to one, and locked, so that it is known to have a writer.
fn create(folder: &Path, name: &OsStr) -> io::Result<(Partial, File)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let mut partial = prefix(name);
        partial.push(format!("{}-{}{SUFFIX}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let partial = folder.join(partial);
        let file = match File::create_new(&partial) {
            // Of a process of this number, killed long ago.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            file => file?,
        };
        let partial = Partial(partial);
        // Where there are no locks, nothing is swept either.
        let _ = file.lock();
        // Someone may have swept it before it was locked.
        if partial.0.try_exists()? {
            return Ok((partial, file));
        }
    }
}

/// Removes the files of [`create`] that nobody is writing to. What can not be removed does no harm.
fn sweep(folder: &Path, name: &OsStr) {
    let prefix = prefix(name);
    let is_partial = |file: &OsStr| {
        let rest = file.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let number = rest.and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
        number.is_some_and(|number| number.iter().all(|&byte| byte.is_ascii_digit() || byte == b'-'))
    };
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    for file in files.filter(|file| is_partial(&file.file_name())) {
        // A lock ends with its process, however that ends.
        if File::open(file.path()).is_ok_and(|open| open.try_lock().is_ok()) {
            let _ = fs::remove_file(file.path());
        }
    }
}

fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    prefix
}

/// A file that goes if it is not finished, by a panic too.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // The first error is the one to tell.
        let _ = fs::remove_file(&self.0);
    }
}
