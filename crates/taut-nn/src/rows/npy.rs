//! The header of a `.npy` file: a few bytes of prefix, and a dictionary as Python writes it.

use std::{fmt::Display, path::Path};
use taut::{DType, Error, MAX_RANK, Result, Shape};

const MAGIC: &[u8] = b"\x93NUMPY";

/// What a file says of its array.
#[derive(Debug)]
pub(super) struct Array {
    /// Where the data begins.
    pub(super) start: usize,
    pub(super) dtype: DType,
    pub(super) len: usize,
    pub(super) row_shape: Shape,
}

/// Reads the header of the file at `path`, whose bytes are `file`.
///
/// # Errors
///
/// As [`Rows::npy`](super::Rows::npy).
pub(super) fn read(path: &Path, file: &[u8]) -> Result<Array> {
    let path = path.display();
    let corrupt = |message: String| Error::corrupt(format!("npy: {path}: {message}"));
    let (header, first) = split(file).map_err(corrupt)?;
    let start = first + header.len();
    let given = Parser { text: header, at: 0 }
        .header()
        .map_err(|(at, what)| corrupt(format!("the header, at byte {}: {what}", first + at)))?;

    let descr = given.descr.map(String::from_utf8_lossy);
    let Some(dtype) = descr.as_deref().and_then(dtype) else {
        let descr = descr.as_deref().unwrap_or("a list of fields");
        return Err(Error::dtype(format!("npy: {path}: elements of {descr}{}", why_not(descr))));
    };
    let shape = |why: &dyn Display| Error::shape(format!("npy: {path}: {why}"));
    if given.fortran_order {
        return Err(shape(&"the array is in Fortran order; save it in C order, by numpy.ascontiguousarray"));
    }
    if given.shape.len() > MAX_RANK {
        return Err(shape(&format!("the rank is above {MAX_RANK}")));
    }
    let overflows = || corrupt(format!("the number of elements of {:?} overflows", given.shape));
    let dims = given.shape.iter().map(|&dim| usize::try_from(dim).ok()).collect::<Option<Vec<_>>>();
    let dims = dims.ok_or_else(overflows)?;
    let whole = Shape::new(&dims).map_err(|_| overflows())?;
    let Some((&len, row)) = dims.split_first() else {
        return Err(shape(&"a single value, which has no rows"));
    };
    let (takes, has) = (whole.numel() * dtype.size(), file.len() - start);
    if has != takes {
        let what = if has < takes { "truncated: " } else { "" };
        return Err(corrupt(format!(
            "{what}{whole} of {dtype} takes {takes} bytes from byte {start} on, the file has {has}"
        )));
    }
    Ok(Array { start, dtype, len, row_shape: Shape::new(row)? })
}

/// The dictionary, and the byte at which it begins.
fn split(file: &[u8]) -> Result<(&[u8], usize), String> {
    let has = file.len();
    let truncated = |needed: usize| format!("truncated: {has} bytes, and the header takes {needed}");
    let Some(rest) = file.strip_prefix(MAGIC) else {
        return Err(r"no .npy file: bytes 0 to 6 are not \x93NUMPY".into());
    };
    let Some((&[major, minor], rest)) = rest.split_first_chunk() else { return Err(truncated(8)) };
    let (len, rest) = match (major, minor) {
        (1, 0) => rest.split_first_chunk().map(|(len, rest)| (u16::from_le_bytes(*len).into(), rest)),
        (2 | 3, 0) => rest.split_first_chunk().map(|(len, rest)| (u32::from_le_bytes(*len), rest)),
        _ => return Err(format!("version {major}.{minor} at byte 6, only 1.0, 2.0 and 3.0 are known")),
    }
    .ok_or_else(|| truncated(if major == 1 { 10 } else { 12 }))?;
    let first = has - rest.len();
    let header = usize::try_from(len).ok().and_then(|len| rest.get(..len));
    let header = header.ok_or_else(|| {
        format!("truncated: a header of {len} bytes from byte {first} on, and the file has {has}")
    })?;
    Ok((header, first))
}

/// The dtype that a description names.
fn dtype(descr: &str) -> Option<DType> {
    Some(match descr {
        "<f4" => DType::F32,
        "<f2" => DType::F16,
        "<f8" => DType::F64,
        "<i8" => DType::I64,
        "<u4" => DType::U32,
        "|u1" | "<u1" => DType::U8,
        "|b1" | "<b1" => DType::Bool,
        _ => return None,
    })
}

/// Why a description names none.
fn why_not(descr: &str) -> &'static str {
    match descr.as_bytes() {
        [b'>', ..] => " are big-endian; save them by .astype with a type of '<'",
        [b'|', b'O', ..] => " are Python objects, which are not read",
        _ => ", which no tensor can have",
    }
}

/// What stands in the dictionary.
struct Given<'a> {
    /// `None` for a list: a record.
    descr: Option<&'a [u8]>,
    fortran_order: bool,
    /// At most one more than [`MAX_RANK`] of them.
    shape: Vec<u64>,
}

/// What was expected, and where.
type Fault = (usize, &'static str);

/// A reader of the few literals of Python that the format uses. It never goes back, and keeps nothing that is longer than
/// what it read.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    /// `{'descr': .., 'fortran_order': .., 'shape': ..}` in any order, and space.
    fn header(mut self) -> Result<Given<'a>, Fault> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b'{', "a dictionary must begin with '{'")?;
        while !self.takes(b'}') {
            let start = self.at;
            let key = self.text()?;
            self.expect(b':', "a key must be followed by ':'")?;
            let again = match key {
                b"descr" => descr.replace(self.descr()?).is_some(),
                b"fortran_order" => fortran_order.replace(self.truth()?).is_some(),
                b"shape" => shape.replace(self.numbers()?).is_some(),
                _ => return Err((start, "this key is none of the format")),
            };
            if again {
                return Err((start, "this key stands twice"));
            }
            if !self.takes(b',') {
                self.expect(b'}', "an entry must be followed by ',' or '}'")?;
                break;
            }
        }
        self.skip();
        if self.at < self.text.len() {
            return Err((self.at, "something follows the dictionary"));
        }
        let missing = |what| (0, what);
        Ok(Given {
            descr: descr.ok_or(missing("'descr' is missing"))?,
            fortran_order: fortran_order.ok_or(missing("'fortran_order' is missing"))?,
            shape: shape.ok_or(missing("'shape' is missing"))?,
        })
    }

    /// A text, or a list, of which only the balance of brackets is looked at.
    fn descr(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        if !self.takes(b'[') {
            return self.text().map(Some);
        }
        let mut depth = 1;
        while depth > 0 {
            self.skip();
            match self.text.get(self.at) {
                Some(b'\'' | b'"') => {
                    self.text()?;
                    continue;
                }
                Some(b'[') => depth += 1,
                Some(b']') => depth -= 1,
                Some(_) => {}
                None => return Err((self.at, "a list does not end")),
            }
            self.at += 1;
        }
        Ok(None)
    }

    fn truth(&mut self) -> Result<bool, Fault> {
        self.skip();
        for (word, value) in [("True", true), ("False", false)] {
            if self.text[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err((self.at, "'fortran_order' must be True or False"))
    }

    /// `()`, `(3,)`, `(3, 4)`, `(3, 4,)`; Python 2 wrote an `L` behind a number.
    fn numbers(&mut self) -> Result<Vec<u64>, Fault> {
        self.expect(b'(', "'shape' must be a tuple")?;
        let mut numbers = Vec::new();
        while !self.takes(b')') {
            numbers.push(self.number()?);
            let count = numbers.len();
            // One more than can be is enough to refuse it.
            numbers.truncate(MAX_RANK + 1);
            if !self.takes(b',') {
                self.expect(b')', "a number must be followed by ',' or ')'")?;
                if count == 1 {
                    return Err((self.at, "a tuple of one needs a comma"));
                }
                break;
            }
        }
        Ok(numbers)
    }

    fn number(&mut self) -> Result<u64, Fault> {
        self.skip();
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let text = str::from_utf8(&self.text[self.at..][..digits]).unwrap_or_default();
        let number =
            text.parse().map_err(|_| (self.at, "a whole number from 0 to 2^64 - 1 must stand here"))?;
        self.at += digits;
        self.at += usize::from(self.text.get(self.at) == Some(&b'L'));
        Ok(number)
    }

    /// A text in quotes of either kind. The format needs no escapes, so they are refused.
    fn text(&mut self) -> Result<&'a [u8], Fault> {
        self.skip();
        let quote = match self.text.get(self.at) {
            Some(&quote @ (b'\'' | b'"')) => quote,
            _ => return Err((self.at, "a text in quotes must stand here")),
        };
        let start = self.at + 1;
        let len = self.text[start..].iter().position(|&byte| byte == quote || byte == b'\\');
        match len.map(|len| (start + len, self.text[start + len])) {
            Some((end, byte)) if byte == quote => {
                self.at = end + 1;
                Ok(&self.text[start..end])
            }
            Some((end, _)) => Err((end, "a text with a backslash")),
            None => Err((self.at, "a text does not end")),
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Fault> {
        if self.takes(byte) { Ok(()) } else { Err((self.at, what)) }
    }

    /// Steps over `byte`, if it is next.
    fn takes(&mut self, byte: u8) -> bool {
        self.skip();
        let is = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(is);
        is
    }

    fn skip(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    }
}
