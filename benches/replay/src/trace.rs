//! The recorded traces: lines `+,id,bytes` and `-,id`, in the order in which they happened, as text or gzip.

use flate2::read::MultiGzDecoder;
use std::{fs, io::Read, path::Path};
use taut_memory::{Error, ErrorKind, Result};

/// One line of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `+,id,bytes`: a block of so many bytes is asked for, to be known by this id until it is freed.
    Allocate {
        /// Its name in the trace.
        id: u64,
        /// Its length, as requested.
        bytes: u64,
    },
    /// `-,id`: the block is given back.
    Free {
        /// The name that it was allocated by.
        id: u64,
    },
}

/// What a line must look like.
const EXPECTED: &str = "expected `+,id,bytes` or `-,id`, with whole numbers below 2^64";

/// The text of a trace in a file, unpacked if it begins as gzip does.
///
/// # Errors
///
/// [`Driver`](ErrorKind::Driver) if the file can not be read, [`Corrupt`](ErrorKind::Corrupt) if it is broken gzip.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|e| Error::driver(format!("replay: reading {shown}: {e}")))?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut text = Vec::new();
    let unpacked = MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text);
    unpacked.map_err(|e| Error::new(ErrorKind::Corrupt, format!("replay: unpacking {shown}: {e}")))?;
    Ok(text)
}

/// The events of a trace, each of them read only when it is asked for. Empty lines are left out.
///
/// ```
/// use taut_replay::{Event, events};
///
/// let mut events = events(b"+,0,4096\n-,0\n+,1\n");
/// assert_eq!(events.next(), Some(Ok((1, Event::Allocate { id: 0, bytes: 4096 }))));
/// assert_eq!(events.next(), Some(Ok((2, Event::Free { id: 0 }))));
/// assert!(events.next().unwrap().unwrap_err().to_string().contains("line 3: `+,1` is no event: expected"));
/// ```
pub fn events(text: &[u8]) -> impl Iterator<Item = Result<(usize, Event)>> + '_ {
    let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).zip(1..);
    lines.filter(|(line, _)| !line.is_empty()).map(|(line, n)| match event(line) {
        Some(event) => Ok((n, event)),
        None => Err(bad(n, &format!("`{}` is no event: {EXPECTED}", String::from_utf8_lossy(line)))),
    })
}

/// What is wrong with line `n` of a trace.
pub(crate) fn bad(n: usize, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("replay: line {n}: {what}"))
}

fn event(line: &[u8]) -> Option<Event> {
    let mut fields = std::str::from_utf8(line).ok()?.split(',');
    let (sign, id) = (fields.next()?, number(fields.next()?)?);
    let event = match sign {
        "+" => Event::Allocate { id, bytes: number(fields.next()?)? },
        "-" => Event::Free { id },
        _ => return None,
    };
    fields.next().is_none().then_some(event)
}

/// Digits only: `parse` alone would take a sign.
fn number(field: &str) -> Option<u64> {
    field.bytes().all(|byte| byte.is_ascii_digit()).then(|| field.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    #[test]
    fn lines_are_checked() {
        let good = [
            ("+,7,0", Event::Allocate { id: 7, bytes: 0 }),
            ("-,18446744073709551615", Event::Free { id: u64::MAX }),
        ];
        for (line, wanted) in good {
            let padded = format!("\r\n {line}\r\n\n");
            assert_eq!(events(padded.as_bytes()).collect::<Result<Vec<_>>>(), Ok(vec![(2, wanted)]));
        }
        for line in [
            "+",
            "+,1",
            "+,1,2,3",
            "-,1,2",
            "-,",
            "*,1,2",
            "+,-1,2",
            "+,1,+2",
            "+,1,18446744073709551616",
            "+,1,\u{ff}",
        ] {
            let error = events(line.as_bytes()).next().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(
                error.to_string().starts_with(&format!("replay: line 1: `{line}` is no event: expected")),
                "{error}"
            );
        }
        assert_eq!(events(b"\xff").count(), 1);
    }

    #[test]
    fn text_and_gzip_are_read_alike() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed) = (folder.path().join("plain"), folder.path().join("packed"));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"+,0,1\n").unwrap();
        let gzip = gzip.finish().unwrap();
        fs::write(&plain, "+,0,1\n").unwrap();
        fs::write(&packed, &gzip).unwrap();
        assert_eq!(read(&plain).unwrap(), read(&packed).unwrap());
        fs::write(&packed, &gzip[..gzip.len() - 5]).unwrap();
        assert_eq!(read(&packed).unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(read(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
