//! Passages of Shakespeare with the vectors that `golden/minilm.py` computed for them, in f64, by other code.

use std::{
    fs, io,
    path::{Path, PathBuf},
};
use taut::f16;

/// A text, and what is known of it.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Some lines of a work, with a space between them.
    pub text: String,
    /// How many tokens it has, those at its ends among them, at most 256.
    pub n_tokens: usize,
    /// 32-bit FNV-1a of their numbers, each as four little-endian bytes.
    pub checksum: u32,
    /// The vector that all-MiniLM-L6-v2 makes of it.
    pub embedding: Vec<f32>,
}

/// The checksum of tokens, as in [`Passage`].
pub fn checksum(ids: &[u32]) -> u32 {
    let bytes = ids.iter().flat_map(|id| id.to_le_bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The folder of an input, `NAME-VERSION`, below that of all inputs.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), with what fetches it, if it is not there.
pub fn input(data: &Path, name: &str) -> io::Result<PathBuf> {
    let prefix = format!("{name}-");
    let entries = fs::read_dir(data).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&prefix)))
        .collect();
    folders.sort();
    folders.pop().ok_or_else(|| {
        let message = format!("{}: no folder {prefix}*; `cargo xtask setup {name}` makes it", data.display());
        io::Error::new(io::ErrorKind::NotFound, message)
    })
}

/// The 1,200 passages, with from 2 to 256 tokens each, out of the works below `data`.
///
/// # Errors
///
/// If the works can not be read, or are not those that the vectors were made for.
pub fn passages(data: &Path) -> io::Result<Vec<Passage>> {
    let folder = input(data, "shakespeare")?;
    let mut works: Vec<PathBuf> = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .filter(|path| path.as_ref().is_ok_and(|path| path.to_string_lossy().ends_with("_gut.txt")))
        .collect::<io::Result<_>>()?;
    works.sort();
    let works = works.iter().map(fs::read_to_string).collect::<io::Result<Vec<_>>>()?;
    let works: Vec<Vec<&str>> = works.iter().map(|work| work.split('\n').collect()).collect();
    let passage = |record: &[u8]| {
        let (head, embedding) = record.split_at(HEAD);
        let [work, first, n, n_tokens, checksum] = std::array::from_fn(|i| number(&head[4 * i..]));
        let [work, first, n, n_tokens] = [work, first, n, n_tokens].map(|x| x as usize);
        let lines = works.get(work).and_then(|work| work.get(first..first + n))?;
        let halves = embedding.chunks_exact(2).map(|bytes| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32());
        Some(Passage { text: lines.join(" "), n_tokens, checksum, embedding: halves.collect() })
    };
    let (head, records) = GOLDEN.split_at(MAGIC.len() + 8);
    let (count, width) = (number(&head[MAGIC.len()..]) as usize, number(&head[MAGIC.len() + 4..]) as usize);
    let all: Option<Vec<Passage>> = records.chunks_exact(HEAD + 2 * width).map(passage).collect();
    match all {
        Some(all) if head.starts_with(MAGIC) && all.len() == count => Ok(all),
        _ => Err(io::Error::other(format!("{}: not the works of golden/minilm.bin", folder.display()))),
    }
}

const GOLDEN: &[u8] = include_bytes!("../golden/minilm.bin");
const MAGIC: &[u8] = b"tautmini";
/// Five numbers before each vector.
const HEAD: usize = 20;

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[i]))
}
