//! Parts of a mapped file on their way to a device, in pieces that leave memory once they are done with.

use std::ops::Range;
use taut::{
    DType, Error, Result,
    memory::{Advice, FileMap},
};

/// The size of a piece: what of the file is in memory at a time, beside what the system reads ahead.
const PIECE_BYTES: usize = 8 << 20;

/// The pieces of a part of a file, first to last. The pages of a piece are given back when the next is asked for, so that
/// streaming a file does not make the process larger.
pub(crate) struct Pieces<'a> {
    map: &'a FileMap,
    /// What was given last, and is done with.
    given: Range<usize>,
    /// What is to come.
    rest: Range<usize>,
    stored: DType,
}

impl<'a> Pieces<'a> {
    /// The pieces of `range`, elements of this dtype; the range must lie within the file.
    pub(crate) fn new(map: &'a FileMap, range: Range<usize>, stored: DType) -> Pieces<'a> {
        Pieces { map, given: range.start..range.start, rest: range, stored }
    }

    fn piece(&self) -> Result<&'a [u8]> {
        self.map.check()?;
        piece(self.map, self.given.clone(), self.stored)
    }
}

/// The bytes in `range`, elements of this dtype.
///
/// # Errors
///
/// [`Corrupt`](taut::ErrorKind::Corrupt), naming the byte, if one is no bool and should be.
pub(crate) fn piece(map: &FileMap, range: Range<usize>, stored: DType) -> Result<&[u8]> {
    let bytes = &map.bytes()[range.clone()];
    if stored == DType::Bool
        && let Some(at) = bytes.iter().position(|&byte| byte > 1)
    {
        return Err(Error::corrupt(format!("byte {} is {}, which is no bool", range.start + at, bytes[at])));
    }
    Ok(bytes)
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<&'a [u8]>;

    fn next(&mut self) -> Option<Result<&'a [u8]>> {
        self.map.advise(self.given.clone(), Advice::DontNeed);
        let end = self.rest.end.min(self.rest.start + PIECE_BYTES);
        self.given = self.rest.start..end;
        self.rest.start = end;
        if self.given.is_empty() {
            return None;
        }
        // What comes after it is read while this one is worked on.
        self.map.advise(end..self.rest.end.min(end + PIECE_BYTES), Advice::WillNeed);
        Some(self.piece())
    }
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        self.map.advise(self.given.clone(), Advice::DontNeed);
    }
}
