//! `cargo xtask bundle --data minilm`: what no bundle has room for, in parts that travel one after the other.

use crate::{
    bundle::{self, LIMIT_BYTES},
    failure::{FREE_SPACE, Failure, Result},
    fetch,
    place::Place,
    setup,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The file of an input that is packed in parts and left out of bundles: the weights of MiniLM, 87 MiB of f32.
pub(crate) const LARGE: [(&str, &str); 1] = [("minilm", "model.safetensors")];

/// Packs the large file of `input` into `target/bundle-data/1/`, `2/`, .., each with the `run.sh` that joins them.
pub(crate) fn pack(place: &Place, input: &str) -> Result<()> {
    let Some((_, file)) = LARGE.iter().find(|(name, _)| *name == input) else {
        return Err(Failure::new("reading the command line", format!("--data knows no `{input}`"))
            .remedy(format!("it knows {}", LARGE.map(|(name, _)| name).join(", "))));
    };
    let source = setup::input(place, input)?;
    let folder = place.target.join("bundle-data");
    let doing = format!("packing {}", folder.display());
    let io = |e: io::Error| Failure::io(&doing, &e);
    bundle::remove(&folder).map_err(io)?;
    // Where the joined file belongs, under the folder of the inputs.
    let version = source.file_name().unwrap_or_default().to_string_lossy();
    let n = split(&source.join(file), &folder, &format!("parts/{version}/{file}"), &doing)?;
    for i in 1..=n {
        let part = folder.join(i.to_string());
        bundle::add_script(&part, &bundle::script(None), &bundle::commit(&place.root)).map_err(io)?;
        println!("{} ({:.1} MiB)", part.display(), size(&part).map_err(io)? as f64 / f64::from(1 << 20));
    }
    Ok(())
}

/// Lets `split.py` split a file, and returns the number of parts.
fn split(file: &Path, folder: &Path, name: &str, doing: &str) -> Result<usize> {
    let mut script = Command::new("python3");
    script
        .arg("-I")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/split.py"))
        .args([file, folder])
        .args([name, &LIMIT_BYTES.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = fetch::python(&mut script, doing)?;
    let says = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    match output.status.code() {
        Some(0) => String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .map_err(|e| Failure::new(doing, format!("split.py printed no number of parts: {e}"))),
        Some(4) => Err(Failure::new(doing, format!("the disk is full: {says}")).remedy(FREE_SPACE)),
        _ => Err(Failure::new(doing, says)),
    }
}

/// The bytes of all files under a folder.
fn size(folder: &Path) -> io::Result<u64> {
    Ok(bundle::files(folder)?.iter().map(|file: &PathBuf| fs::metadata(file).map_or(0, |m| m.len())).sum())
}
