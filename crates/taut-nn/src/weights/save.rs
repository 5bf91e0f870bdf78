//! Writing safetensors.

use super::{
    Stored,
    header::{MAX_HEADER_BYTES, PREFIX_BYTES},
    json::METADATA,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::{BufWriter, Write},
    path::Path,
};
use taut::{Error, ErrorKind, Result, Tensor, memory::atomic};

/// Saves tensors, with texts beside them, as a safetensors file: whole or not at all. The file is written under another
/// name in the same folder, synced and renamed; on any error the old file is as it was and nothing else remains.
///
/// Blocks until the tensors are computed. They go through the host in chunks, as [`Tensor::read_chunks`] says, whatever
/// their sizes. Data is ordered by the size of elements and then by name, and begins at a multiple of 8 bytes, so that all is
/// aligned: the file is, byte for byte, that of the format's own library (where there are more than two texts, but for their
/// order). If a tensor is on a plan device nothing is written.
///
/// ```
/// use std::collections::BTreeMap;
/// use taut::{DType, Device, Tensor};
/// use taut_nn::{Weights, save};
///
/// let path = std::env::temp_dir().join(format!("taut-save-{}.safetensors", std::process::id()));
/// let x = Tensor::normal([4, 3], 0.0, 1.0, 1, DType::BF16, &Device::cpu())?;
/// let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
/// save(&path, [("x", &x), ("x.t", &x.clone().t()?)], &metadata)?;
/// let weights = Weights::open(&path)?;
/// assert_eq!(weights.get("x.t")?.shape()[..], [3, 4]);
/// assert_eq!(weights.metadata()["format"], "pt");
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// [`Value`](ErrorKind::Value) if a name stands twice or is `__metadata__`, or the header would be longer than the format
/// allows; [`Driver`](ErrorKind::Driver), naming the file, if it can not be written; whatever failed in the work that is
/// waited for.
pub fn save<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (impl Into<String>, &'a Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let refuse = |why: String| Error::new(ErrorKind::Value, format!("save: {}: {why}", path.display()));
    let mut named = BTreeMap::new();
    for (name, tensor) in tensors {
        let name = name.into();
        if name == METADATA {
            return Err(refuse(format!("{METADATA:?} is no name for a tensor")));
        }
        match named.entry(name) {
            Entry::Occupied(place) => return Err(refuse(format!("the name {:?} stands twice", place.key()))),
            Entry::Vacant(place) => place.insert(tensor),
        };
    }
    let mut sorted: Vec<(String, &Tensor)> = named.into_iter().collect();
    // Stable: names stay in order.
    sorted.sort_by_key(|(_, tensor)| Stored::from(tensor.dtype()));
    let header = header(&sorted, metadata);
    if header.len() > MAX_HEADER_BYTES {
        let len = header.len();
        return Err(refuse(format!("the header takes {len} bytes, at most {MAX_HEADER_BYTES} are allowed")));
    }
    if sorted.iter().any(|(_, tensor)| tensor.device().is_plan()) {
        // The same decisions about memory, and no file of values that do not exist.
        return sorted.iter().try_for_each(|(_, tensor)| tensor.read_chunks(|_| Ok(())));
    }
    atomic::replace(path, |file| {
        let mut file = BufWriter::new(file);
        let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(|error| atomic::failed(path, &error));
        write(&(header.len() as u64).to_le_bytes())?;
        write(header.as_bytes())?;
        for (_, tensor) in &sorted {
            tensor.read_chunks(&mut write)?;
        }
        file.flush().map_err(|error| atomic::failed(path, &error))
    })
}

/// The header, with spaces up to where the data is aligned.
fn header(tensors: &[(String, &Tensor)], metadata: &BTreeMap<String, String>) -> String {
    // Written in this order, which a map of `serde_json` would not keep.
    let text = |text: &str| Value::from(text).to_string();
    let mut parts = Vec::new();
    if !metadata.is_empty() {
        let texts = metadata.iter().map(|(key, value)| format!("{}:{}", text(key), text(value)));
        parts.push(format!("{}:{{{}}}", text(METADATA), texts.collect::<Vec<_>>().join(",")));
    }
    let mut end = 0;
    for (name, tensor) in tensors {
        let (name, stored, shape) =
            (text(name), Stored::from(tensor.dtype()), Value::from(&tensor.shape()[..]));
        let start = end;
        end += tensor.numel() as u64 * tensor.dtype().size() as u64;
        parts
            .push(format!(r#"{name}:{{"dtype":"{stored}","shape":{shape},"data_offsets":[{start},{end}]}}"#));
    }
    let mut header = format!("{{{}}}", parts.join(","));
    let padding = header.len().next_multiple_of(PREFIX_BYTES) - header.len();
    header.extend(std::iter::repeat_n(' ', padding));
    header
}
