//! The header of a safetensors file: read as a file that means harm, then checked whole, so that whatever is read later
//! lies where it says.

use super::{
    Stored,
    json::{self, Given, Parsed},
};
use std::{collections::BTreeMap, ops::Range, path::Path};
use taut::{Error, Result, Shape};

/// Bytes before the header: its length.
pub(super) const PREFIX_BYTES: usize = 8;
/// The longest header, as in the format's own library.
pub(super) const MAX_HEADER_BYTES: usize = 100_000_000;

/// What a header says of one tensor.
#[derive(Clone, Debug)]
pub(super) struct Info {
    pub(super) name: String,
    pub(super) stored: Stored,
    pub(super) shape: Shape,
    /// Where its bytes are in the file.
    pub(super) range: Range<usize>,
}

/// A checked header.
#[derive(Debug)]
pub(super) struct Header {
    /// In the order of the data.
    pub(super) tensors: Vec<Info>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Reads the header of the file at `path`, whose bytes are `file`.
///
/// # Errors
///
/// [`Corrupt`](taut::ErrorKind::Corrupt), naming the file, the tensor if it is about one, and the byte.
pub(super) fn read(path: &Path, file: &[u8]) -> Result<Header> {
    let path = path.display();
    let corrupt = |message: String| Error::corrupt(format!("weights: {path}: {message}"));
    let (text, start) = split(file).map_err(corrupt)?;
    let Parsed { tensors, metadata } = json::parse(text, PREFIX_BYTES).map_err(corrupt)?;

    let data = start..file.len();
    let infos = tensors.into_iter().map(|(name, given)| match check(&given, &data) {
        Ok((shape, range)) => Ok(Info { name, stored: given.stored, shape, range }),
        Err(message) => Err(corrupt(format!("tensor {name:?}: {message}"))),
    });
    let mut tensors = infos.collect::<Result<Vec<Info>>>()?;
    // Stable, so that tensors without bytes are in the order of their names.
    tensors.sort_by_key(|info| (info.range.start, info.range.end));
    covers(&tensors, data).map_err(corrupt)?;
    Ok(Header { tensors, metadata })
}

/// The text of the header, and where the data begins.
fn split(file: &[u8]) -> Result<(&str, usize), String> {
    let has = file.len();
    let Some((prefix, rest)) = file.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(format!("truncated: {has} bytes, and the length of the header takes {PREFIX_BYTES}"));
    };
    let len = u64::from_le_bytes(*prefix);
    if len > MAX_HEADER_BYTES as u64 {
        return Err(format!(
            "bytes 0 to 8 give the header a length of {len} bytes, at most {MAX_HEADER_BYTES} are allowed"
        ));
    }
    // Below the limit, so it fits.
    let len = len as usize;
    let Some(text) = rest.get(..len) else {
        return Err(format!("truncated: a header of {len} bytes from byte 8 on, and the file has {has}"));
    };
    let text = str::from_utf8(text)
        .map_err(|e| format!("the header is not UTF-8 at byte {}", PREFIX_BYTES + e.valid_up_to()))?;
    if !text.starts_with('{') {
        return Err("the header is no object: byte 8 is not '{'".into());
    }
    Ok((text, PREFIX_BYTES + len))
}

/// The shape, and the range in the file, which has the length that the shape takes.
fn check(given: &Given, data: &Range<usize>) -> Result<(Shape, Range<usize>), String> {
    let &Given { stored, ref shape, offsets } = given;
    let range = place(offsets, data)?;
    let at = range.start;
    let overflows = || format!("the number of elements of {shape:?} overflows; its data is at byte {at}");
    let dims = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect::<Option<Vec<_>>>();
    let shape = dims.and_then(|dims| Shape::new(&dims).ok()).ok_or_else(overflows)?;
    // A shape that exists can be counted in bytes, but not always in bits.
    let bits = shape.numel().checked_mul(stored.bits()).ok_or_else(overflows)?;
    if !bits.is_multiple_of(8) {
        return Err(format!(
            "{shape} of {stored} takes {bits} bits, no whole bytes; its data is at byte {at}"
        ));
    }
    if range.len() != bits / 8 {
        let ([from, to], bytes) = (offsets, bits / 8);
        return Err(format!(
            "{shape} of {stored} takes {bytes} bytes, data_offsets [{from}, {to}] give {}, at byte {at}",
            range.len()
        ));
    }
    Ok((shape, range))
}

/// Where offsets from the start of the data lie in the file.
fn place([from, to]: [u64; 2], data: &Range<usize>) -> Result<Range<usize>, String> {
    let (start, len) = (data.start, data.len());
    if from > to {
        return Err(format!(
            "data_offsets [{from}, {to}] end before they begin; the data is at byte {start}"
        ));
    }
    if to > len as u64 {
        return Err(format!(
            "truncated: data_offsets [{from}, {to}], and the data has {len} bytes, at byte {start}"
        ));
    }
    // Both are at most `len`.
    Ok(start + from as usize..start + to as usize)
}

/// That the tensors, in order, are all of the data: no byte twice, none left out.
fn covers(infos: &[Info], data: Range<usize>) -> Result<(), String> {
    let mut end = data.start;
    for (i, info) in infos.iter().enumerate() {
        let (name, start) = (&info.name, info.range.start);
        if start < end {
            let before = infos[..i].iter().rfind(|info| info.range.end == end).map_or("", |info| &info.name);
            return Err(format!(
                "tensor {name:?}: begins at byte {start}, within {before:?}, which ends at {end}"
            ));
        }
        if start > end {
            return Err(format!(
                "tensor {name:?}: begins at byte {start}, and nobody owns those from {end} on"
            ));
        }
        end = info.range.end;
    }
    if end < data.end {
        return Err(format!("{} bytes after the last tensor, from byte {end} on", data.end - end));
    }
    Ok(())
}
