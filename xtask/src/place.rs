//! Where things are.

use std::path::{Path, PathBuf};

/// The folders that xtask reads and writes.
pub(crate) struct Place {
    /// The workspace.
    pub(crate) root: PathBuf,
    /// Everything that xtask makes lies under this one: `target/`, also where Cargo builds elsewhere.
    pub(crate) target: PathBuf,
    /// The pinned downloads. Tests have pins of their own.
    pub(crate) requirements: PathBuf,
}

impl Place {
    /// The places of this checkout, or those that the environment names.
    pub(crate) fn find() -> Place {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = xtask.parent().unwrap_or(xtask).to_owned();
        let target = folder("TAUT_TARGET").unwrap_or_else(|| root.join("target"));
        let requirements = folder("TAUT_REQUIREMENTS").unwrap_or_else(|| xtask.join("requirements"));
        Place { root, target, requirements }
    }

    /// The folder of the real inputs, which programs are told of as `--data` or `TAUT_DATA`.
    pub(crate) fn data(&self) -> PathBuf {
        self.target.join("data")
    }
}

/// The folder that an environment variable names, absolute because children run elsewhere.
fn folder(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty())?;
    std::path::absolute(path).ok()
}
