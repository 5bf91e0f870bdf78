//! Files that appear whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Writes `bytes` to `path`: to a file beside it first, synced and then renamed, so that an interrupted run
/// leaves the file as it was. Creates the folder.
///
/// # Errors
///
/// Those of the file system, naming the path. The old file is then untouched, and nothing else remains.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let partial = beside(path);
    let written = fs::create_dir_all(folder)
        .and_then(|()| fill(&partial, bytes))
        .and_then(|()| fs::rename(&partial, path));
    if let Err(error) = written {
        // The first error is the one to tell.
        let _ = fs::remove_file(&partial);
        return Err(io::Error::new(error.kind(), format!("writing {}: {error}", path.display())));
    }
    // The rename itself must survive a power cut too; not every file system can be asked.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The temporary name: fixed, so that a killed run's leftover is overwritten by the next.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".partial");
    path.with_file_name(name)
}

fn fill(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_file_is_replaced_and_nothing_stays_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("new/latest.json");
        write(&path, b"first, and longer").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(&home.path().join("new")), ["latest.json"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_leaves_the_old_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("latest.json");
        write(&path, b"old").unwrap();
        std::os::unix::fs::symlink("/dev/full", home.path().join(".latest.json.partial")).unwrap();
        let error = write(&path, b"new").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("latest.json"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(home.path()), ["latest.json"]);
    }
}
