//! `cargo xtask bundle`: everything that a GPU machine without Rust needs, in one folder.

use crate::{
    cargo,
    failure::{Failure, Result},
    options::Options,
    parts,
    place::Place,
    setup,
};
use lzma_rust2::{XzOptions, XzWriter};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// The bundle must fit where it is sent.
pub(crate) const LIMIT_BYTES: u64 = 60 << 20;

/// Packs the programs, their data and `run.sh` into `target/bundle/`, which appears whole or not at all.
pub(crate) fn bundle(place: &Place, options: Options) -> Result<()> {
    if let Some(input) = options.value("--data") {
        return parts::pack(place, &input);
    }
    let only = options.value("--only");
    let only = only.as_deref();
    if let Some(only) =
        only.filter(|only| !only.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)))
    {
        return Err(Failure::new("reading the command line", format!("--only {only:?} names no group")));
    }
    let kernels = setup::nvrtc(place)?;
    let inputs = setup::inputs(place)?;
    let build = |arguments: &[&str], name| {
        let mut cargo = cargo::cargo(place, &kernels);
        // The build would choose the card that is here; the bundle runs elsewhere.
        if std::env::var_os("TAUT_ARCHS").is_none() {
            cargo.env("TAUT_ARCHS", "9.0a,ptx8.0");
        }
        cargo::executable(cargo.args(arguments).args(["--profile", "bundle"]), name)
    };

    let mut files: Vec<(PathBuf, String)> = Vec::new();
    if only != Some("test") {
        files.push((build(&["build", "--package", "taut-benches"], "taut-bench")?, "taut-bench.xz".into()));
    }
    if only.is_none_or(|only| only == "test") {
        let arguments = ["test", "--no-run", "--package", "taut-tests", "--test", "taut"];
        files.push((build(&arguments, "taut")?, "taut-test.xz".into()));
    }

    let folder = place.target.join("bundle");
    let doing = format!("packing {}", folder.display());
    for input in &inputs {
        files.extend(data(input).map_err(|e| Failure::io(&doing, &e))?);
    }
    let total_bytes =
        pack(&folder, &files, &script(only), &commit(&place.root)).map_err(|e| Failure::io(&doing, &e))?;
    if total_bytes > LIMIT_BYTES {
        let megabytes = |name: &String| format!("{name} {} MiB", size(&folder.join(name)) >> 20);
        let sizes = files.iter().map(|(_, name)| megabytes(name)).collect::<Vec<_>>();
        let what = format!("it holds {} MiB, and 60 is the limit: {}", total_bytes >> 20, sizes.join(", "));
        let _ = fs::remove_dir_all(&folder);
        return Err(Failure::new(doing, what)
            .remedy("pack less: --only test or --only bench, or fewer architectures in TAUT_ARCHS"));
    }
    println!("{} ({:.1} MiB)", folder.display(), total_bytes as f64 / f64::from(1 << 20));
    Ok(())
}

/// Fills a folder beside the final one and swaps them. Returns the size of all files.
fn pack(folder: &Path, files: &[(PathBuf, String)], script: &str, commit: &str) -> io::Result<u64> {
    let partial = folder.with_extension("partial");
    remove(&partial)?;
    fs::create_dir_all(&partial)?;
    for (from, to) in files {
        let to = partial.join(to);
        fs::create_dir_all(to.parent().unwrap_or(&partial))?;
        match to.extension() {
            Some(xz) if xz == "xz" => compress(from, &to)?,
            _ => fs::copy(from, to).map(drop)?,
        }
    }
    add_script(&partial, script, commit)?;
    remove(folder)?;
    fs::rename(&partial, folder)?;
    let names = files.iter().map(|(_, name)| name.as_str()).chain(["COMMIT", "run.sh"]);
    Ok(names.map(|name| size(&folder.join(name))).sum())
}

/// Puts `run.sh`, and the commit that it tells of, into a folder.
pub(crate) fn add_script(folder: &Path, script: &str, commit: &str) -> io::Result<()> {
    fs::write(folder.join("COMMIT"), format!("{commit}\n"))?;
    fs::write(folder.join("run.sh"), script)?;
    executable(&folder.join("run.sh"))
}

/// Programs shrink to an eighth: most of them is machine code for the GPU, which repeats itself far apart.
fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let mut options = XzOptions::with_preset(1);
    options.lzma_options.dict_size = 64 << 20;
    let mut packed = XzWriter::new(fs::File::create(to)?, options)?;
    io::copy(&mut fs::File::open(from)?, &mut packed)?;
    packed.finish().map(drop)
}

/// The files of an input and their places in the bundle, without those that no bundle has room for.
fn data(input: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let above = input.parent().unwrap_or(input);
    let small = |file: &PathBuf| !parts::LARGE.iter().any(|(_, large)| file.ends_with(large));
    let place = |file: PathBuf| {
        let inside = file.strip_prefix(above).unwrap_or(&file).to_string_lossy().into_owned();
        (file, format!("data/{inside}"))
    };
    Ok(files(input)?.into_iter().filter(small).map(place).collect())
}

/// All files under a folder, in the order of their paths.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => found.extend(files(&entry.path())?),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    Ok(found)
}

/// `run.sh`, which measures one group only if the bundle is made for one.
pub(crate) fn script(only: Option<&str>) -> String {
    let script = include_str!("../run.sh");
    match only {
        None | Some("test" | "bench") => script.to_owned(),
        Some(group) => script
            .replace("\"${OUT:-./out}\" \"$@\"", &format!("\"${{OUT:-./out}}\" --only '{group}' \"$@\"")),
    }
}

/// The commit that is packed, marked if the files differ from it.
pub(crate) fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return "unknown".into() };
    match git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty()) {
        true => commit,
        false => format!("{commit}-dirty"),
    }
}

pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    if folder.exists() { fs::remove_dir_all(folder) } else { Ok(()) }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[cfg(unix)]
fn executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn executable(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lzma_rust2::XzReader;
    use std::io::Read;

    #[test]
    fn a_group_reaches_the_bench_program() {
        assert_eq!(script(None), script(Some("test")));
        assert!(script(Some("memory")).contains("--only 'memory' \"$@\""));
    }

    #[test]
    fn large_files_of_an_input_stay_out() {
        let home = tempfile::tempdir().unwrap();
        let input = home.path().join("minilm-0.1.0");
        fs::create_dir_all(input.join("1_Pooling")).unwrap();
        for name in ["model.safetensors", "config.json", "1_Pooling/config.json"] {
            fs::write(input.join(name), "").unwrap();
        }
        let places: Vec<_> = data(&input).unwrap().into_iter().map(|(_, place)| place).collect();
        assert_eq!(places, ["data/minilm-0.1.0/1_Pooling/config.json", "data/minilm-0.1.0/config.json"]);
    }

    #[test]
    fn packing_replaces_the_bundle_and_leaves_nothing_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("bundle");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("stale"), "").unwrap();
        fs::write(home.path().join("program"), "12345").unwrap();
        let files = [(home.path().join("program"), "deep/taut-bench".to_owned())];
        let total_bytes = pack(&folder, &files, "#!/bin/sh\n", "abc").unwrap();
        assert_eq!(total_bytes, 5 + 4 + 10);
        assert!(!folder.join("stale").exists() && !home.path().join("bundle.partial").exists());
        assert_eq!(fs::read_to_string(folder.join("COMMIT")).unwrap(), "abc\n");
        assert_eq!(fs::read_to_string(folder.join("deep/taut-bench")).unwrap(), "12345");
    }

    #[test]
    fn programs_come_out_as_they_were() {
        let home = tempfile::tempdir().unwrap();
        let (program, folder) = (home.path().join("program"), home.path().join("bundle"));
        let code: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        fs::write(&program, code.repeat(2)).unwrap();
        let total_bytes = pack(&folder, &[(program, "taut-test.xz".to_owned())], "", "abc").unwrap();
        assert!(
            total_bytes < code.len() as u64 * 5 / 4,
            "what comes twice is packed once: {total_bytes} bytes"
        );
        let mut packed = XzReader::new(fs::File::open(folder.join("taut-test.xz")).unwrap(), false);
        let mut unpacked = Vec::new();
        packed.read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == code.repeat(2));
    }
}
