//! Compressed tables of comma-separated values, read row by row.

use super::corrupt;
use csv::{ByteRecord, Reader};
use flate2::read::GzDecoder;
use std::{
    fmt::Display,
    fs::File,
    io::{BufReader, ErrorKind as IoKind},
    path::{Path, PathBuf},
};
use taut::{Error, ErrorKind, Result};

/// An airport or a carrier: its letters, and spaces behind them.
pub(super) type Code = [u8; 3];

/// A table of which `N` columns are read.
pub(super) struct Table<const N: usize> {
    path: PathBuf,
    reader: Reader<GzDecoder<BufReader<File>>>,
    names: [&'static str; N],
    places: [usize; N],
}

impl<const N: usize> Table<N> {
    /// Opens a table, and finds the columns by their names.
    pub(super) fn open(path: PathBuf, names: [&'static str; N]) -> Result<Table<N>> {
        let file = File::open(&path).map_err(|error| {
            let remedy =
                if error.kind() == IoKind::NotFound { "; `cargo xtask setup` fetches it" } else { "" };
            Error::new(ErrorKind::Driver, format!("flights: {}: {error}{remedy}", path.display()))
        })?;
        let mut reader = Reader::from_reader(GzDecoder::new(BufReader::new(file)));
        let header = reader.byte_headers().map_err(|error| damaged(&path, &error))?;
        let mut places = [0; N];
        for (place, name) in places.iter_mut().zip(names) {
            let found = header.iter().position(|field| field == name.as_bytes());
            *place = found.ok_or_else(|| corrupt(&path, format!("it has no column `{name}`")))?;
        }
        Ok(Table { path, reader, names, places })
    }

    /// Calls `take` with every row, and returns how many there are.
    pub(super) fn rows(mut self, mut take: impl FnMut(Row<'_, N>) -> Result<()>) -> Result<usize> {
        let (mut record, mut count) = (ByteRecord::new(), 0);
        while self.reader.read_byte_record(&mut record).map_err(|error| damaged(&self.path, &error))? {
            take(Row { path: &self.path, names: &self.names, places: &self.places, record: &record })?;
            count += 1;
        }
        Ok(count)
    }
}

fn damaged(path: &Path, error: &csv::Error) -> Error {
    corrupt(path, format!("damaged: {error}; remove it, and `cargo xtask setup` fetches it again"))
}

/// A row. Columns are counted as they were asked for.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, const N: usize> {
    path: &'a Path,
    names: &'a [&'static str; N],
    places: &'a [usize; N],
    record: &'a ByteRecord,
}

impl<'a, const N: usize> Row<'a, N> {
    /// The text of a column.
    pub(super) fn text(&self, column: usize) -> Result<&'a str> {
        let bytes = self.record.get(self.places[column]).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| self.error(column, "not text", String::from_utf8_lossy(bytes)))
    }

    /// The number in a column; NaN if it is missing.
    pub(super) fn number(&self, column: usize) -> Result<f32> {
        match self.text(column)? {
            "" | "NA" => Ok(f32::NAN),
            text => match text.parse::<f32>() {
                Ok(number) if number.is_finite() => Ok(number),
                _ => Err(self.error(column, "no number", text)),
            },
        }
    }

    /// The number in a column that must have one from 0 to `max`.
    pub(super) fn count(&self, column: usize, max: u32) -> Result<u32> {
        let text = self.text(column)?;
        let count = text.parse().ok().filter(|&count| count <= max);
        count.ok_or_else(|| self.error(column, &format!("no number from 0 to {max}"), text))
    }

    /// The time of day in a column, as `1405` for five past two: minutes since midnight.
    pub(super) fn clock(&self, column: usize) -> Result<u32> {
        let time = self.count(column, 2400)?;
        if time % 100 < 60 {
            Ok(time / 100 * 60 + time % 100)
        } else {
            Err(self.error(column, "no time", time))
        }
    }

    /// The hour in a column, as `2013-01-31T23:00:00Z`: 2013013123, which ends with the hour of the day in UTC.
    pub(super) fn hour(&self, column: usize) -> Result<u32> {
        let text = self.text(column)?;
        let digits = text.strip_suffix(":00:00Z").filter(|text| text.len() == 13);
        let digits = digits.map(|text| text.replace(['-', 'T'], ""));
        let hour = digits.and_then(|digits| digits.parse().ok());
        hour.ok_or_else(|| self.error(column, "no hour", text))
    }

    /// The code in a column: one to three letters or digits.
    pub(super) fn code(&self, column: usize) -> Result<Code> {
        let text = self.text(column)?;
        let mut code = *b"   ";
        if text.is_empty()
            || text.len() > code.len()
            || !text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            return Err(self.error(column, "no code of one to three letters", text));
        }
        code[..text.len()].copy_from_slice(text.as_bytes());
        Ok(code)
    }

    fn error(&self, column: usize, what: &str, found: impl Display) -> Error {
        let line = self.record.position().map_or(0, csv::Position::line);
        corrupt(self.path, format!("line {line}: `{found}` in column `{}` is {what}", self.names[column]))
    }
}
