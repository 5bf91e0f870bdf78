//! Compiled images on disk, by the hash of what they were made from.

use crate::{Result, kernel::Kernel};
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// One image, `STEM.image`, with its symbols in the order of [`Kernel::all`], `STEM.symbols`, and the assembler's log, `STEM.log`.
#[derive(Clone)]
pub(crate) struct Entry {
    stem: PathBuf,
    file: &'static str,
    arch: String,
}

impl Entry {
    pub(crate) fn new(folder: &Path, key: String, file: &'static str, arch: String) -> Entry {
        Entry::at(folder.join(key), file, arch)
    }

    pub(crate) fn at(stem: PathBuf, file: &'static str, arch: String) -> Entry {
        Entry { stem, file, arch }
    }

    pub(crate) fn stem(&self) -> &Path {
        &self.stem
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.stem.with_extension(extension)
    }

    pub(crate) fn exists(&self) -> bool {
        self.path("image").exists()
    }

    /// The image comes last and all at once: where it is, the entry is whole.
    pub(crate) fn write(&self, image: &[u8], symbols: &[String], log: &str) -> Result<()> {
        fs::write(self.path("symbols"), symbols.join("\n"))?;
        fs::write(self.path("log"), log)?;
        fs::write(self.path("part"), image)?;
        Ok(fs::rename(self.path("part"), self.path("image"))?)
    }
}

/// Removes what earlier builds left.
pub(crate) fn remove_all_but(folder: &Path, entries: &[Entry]) -> Result<()> {
    let keep: HashSet<_> = entries.iter().filter_map(|entry| entry.stem.file_name()).collect();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if path.file_stem().is_none_or(|stem| !keep.contains(stem)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The Rust source that embeds the entries. Images are aligned as the driver likes to read them.
pub(crate) fn source(entries: &[Entry]) -> Result<String> {
    let kernels = Kernel::all();
    let mut images = String::from("#[repr(C, align(16))]\nstruct Aligned<const N: usize>([u8; N]);\n\n");
    let mut modules = String::from("static MODULES: &[Module] = &[\n");
    for (index, entry) in entries.iter().enumerate() {
        let path = entry.path("image");
        let bytes = fs::metadata(&path)?.len();
        images += &format!("static IMAGE_{index}: Aligned<{bytes}> = Aligned(*include_bytes!({path:?}));\n");
        let symbols = fs::read_to_string(entry.path("symbols"))?;
        // Symbols stand in the order of the file's kernels; slots are not part of an entry, because a new kernel
        // elsewhere moves them.
        let slots = kernels.iter().enumerate().filter(|(_, kernel)| kernel.file() == entry.file);
        let symbols = slots.zip(symbols.lines());
        let symbols: String = symbols.map(|((slot, _), symbol)| format!("({slot}, {symbol:?}), ")).collect();
        let (file, arch) = (entry.file, &entry.arch);
        modules += &format!(
            "    Module {{ file: {file:?}, arch: {arch:?}, image: &IMAGE_{index}.0, symbols: &[{symbols}] }},\n"
        );
    }
    Ok(format!("{images}\n{modules}];\nstatic MISSING: Option<&str> = None;\n"))
}
