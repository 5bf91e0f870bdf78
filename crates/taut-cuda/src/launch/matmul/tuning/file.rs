//! Tables as files: text, a line for each way, which a person can read.

use super::{Lie, Origin, Pick, Signature, Tuning};
use std::{collections::HashMap, fmt, fs, io::Write, path::Path, str::FromStr};
use taut_core::{DType, Error, Precision, Result};
use taut_kernels::Kernel;
use taut_memory::atomic;

const FIRST: &str = "taut tuning 2";

const LEGEND: &str = "\
# dtypes of factors and results, count, m x n x k, how the factors lie: kernel, parts of k and blocks that share each, [first row of the tail, its parts]";

/// Factors of f32, in that precision.
const TF32: &str = "tf32";

/// A file is of some KiB; what is larger is none.
const MOST_BYTES: u64 = 16 << 20;

impl Tuning {
    /// The table of a file that [`write`](Self::write) wrote. Whether it is of a card is [another question](Self::check).
    ///
    /// # Errors
    ///
    /// [`Driver`](taut_core::ErrorKind::Driver) if the file can not be read, [`Corrupt`](taut_core::ErrorKind::Corrupt),
    /// naming file and line, if it is damaged.
    pub fn read(path: impl AsRef<Path>) -> Result<Tuning> {
        let path = path.as_ref();
        let fault = |error| Error::driver(format!("tuning: {}: {error}", path.display()));
        let bytes = fs::metadata(path).map_err(fault)?.len();
        if bytes > MOST_BYTES {
            return Err(Error::corrupt(format!("tuning: {}: {bytes} bytes are no table", path.display())));
        }
        let text = String::from_utf8(fs::read(path).map_err(fault)?);
        let text = text.map_err(|error| {
            let line =
                error.as_bytes()[..error.utf8_error().valid_up_to()].split(|&byte| byte == b'\n').count();
            Error::corrupt(format!("tuning: {}: line {line}: no text", path.display()))
        })?;
        Tuning::parse(&text)
            .map_err(|error| Error::new(error.kind(), format!("tuning: {}: {error}", path.display())))
    }

    /// Writes the table to a file: whole, or not at all.
    ///
    /// # Errors
    ///
    /// [`Driver`](taut_core::ErrorKind::Driver), naming the file, if it can not be written; what stood there is unchanged.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        atomic::replace(path, |file| {
            file.write_all(self.to_string().as_bytes()).map_err(|error| atomic::failed(path, &error))
        })
    }

    /// The table of a text as [`Display`](fmt::Display) writes it. Empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](taut_core::ErrorKind::Corrupt), naming the line.
    pub fn parse(text: &str) -> Result<Tuning> {
        let kernels: HashMap<String, Kernel> = Kernel::all()
            .into_iter()
            .filter(|kernel| kernel.is_matmul())
            .map(|kernel| (format!("{kernel:?}"), kernel))
            .collect();
        let mut lines = Lines::new(text);
        lines.first()?;
        let origin = match lines.field("card")? {
            "" => None,
            card => Some(Origin {
                card: one_line(card),
                capability: lines.parsed("capability", |text| numbers(text, "."))?,
                multiprocessors: lines.parsed("multiprocessors", number)?,
                driver: one_line(lines.field("driver")?),
                kernels: one_line(lines.field("kernels")?),
            }),
        };
        let count: usize = lines.parsed("ways", number)?;
        let mut tuning = Tuning { origin, ..Tuning::default() };
        while let Some(line) = lines.next() {
            let (signature, pick) =
                entry(line, &kernels).ok_or_else(|| lines.damaged(&format!("{line:?} is no way")))?;
            if tuning.picks.insert(signature, pick).is_some() {
                return Err(lines.damaged("these products stand there twice"));
            }
        }
        // Each line is whole, so that what is missing are lines.
        if tuning.len() != count || !text.ends_with('\n') {
            let has = tuning.len();
            return Err(
                lines.damaged(&format!("the end is missing: {count} ways were written, here are {has}"))
            );
        }
        Ok(tuning)
    }
}

impl fmt::Display for Tuning {
    /// The text of a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST}")?;
        match &self.origin {
            None => writeln!(f, "card:")?,
            Some(Origin { card, capability: (major, minor), multiprocessors, driver, kernels }) => {
                writeln!(f, "card: {}\ncapability: {major}.{minor}", one_line(card))?;
                writeln!(f, "multiprocessors: {multiprocessors}\ndriver: {}", one_line(driver))?;
                writeln!(f, "kernels: {}", one_line(kernels))?;
            }
        }
        writeln!(f, "ways: {}\n\n{LEGEND}", self.len())?;
        self.iter().try_for_each(|(signature, pick)| writeln!(f, "{signature}: {pick}"))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signature { dtype, precision, out, count, m, n, k, lies: [a, b] } = self;
        let factors = match (dtype, precision) {
            (DType::F32, Precision::Tf32) => TF32,
            _ => dtype.name(),
        };
        write!(f, "{factors} {out}, {count}, {m} x {n} x {k}, {} {}", a.name(), b.name())
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} {}", self.kernel, self.parts, self.cluster)?;
        self.tail.map_or(Ok(()), |(first, parts)| write!(f, ", {first} {parts}"))
    }
}

/// A name in the field of a line, where other spaces would be lost.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The lines that say something.
struct Lines<'a> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    /// The number of the last one, from 1 on.
    number: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Lines<'a> {
        Lines { lines: text.lines().enumerate(), number: 0 }
    }

    fn damaged(&self, what: &str) -> Error {
        Error::corrupt(format!("line {}: {what}", self.number.max(1)))
    }

    fn first(&mut self) -> Result<()> {
        match self.next() {
            Some(FIRST) => Ok(()),
            other => Err(self.damaged(&format!("{:?}, where {FIRST:?} must stand", other.unwrap_or("")))),
        }
    }

    /// What stands behind `name:` in the next line.
    fn field(&mut self, name: &str) -> Result<&'a str> {
        let line = self.next().unwrap_or("");
        let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
        value.map(str::trim).ok_or_else(|| self.damaged(&format!("{line:?}, where {name:?} must stand")))
    }

    fn parsed<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        let text = self.field(name)?;
        parse(text).ok_or_else(|| self.damaged(&format!("{name}: {text:?} is none")))
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (number, line) =
            self.lines.find(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))?;
        self.number = number + 1;
        Some(line)
    }
}

fn entry(line: &str, kernels: &HashMap<String, Kernel>) -> Option<(Signature, Pick)> {
    let (products, way) = line.split_once(": ")?;
    let [dtypes, count, extents, lies] = list(products, ", ")?;
    let (factors, out) = dtypes.split_once(' ')?;
    let (dtype, precision) = match factors {
        TF32 => (DType::F32, Precision::Tf32),
        _ => (dtype_of(factors)?, Precision::Exact),
    };
    let [m, n, k] = list(extents, " x ")?;
    let (a, b) = lies.split_once(' ')?;
    let signature = Signature {
        dtype,
        precision,
        out: dtype_of(out)?,
        count: number(count)?,
        m: number(m)?,
        n: number(n)?,
        k: number(k)?,
        lies: [lie_of(a)?, lie_of(b)?],
    };
    // The names of kernels have commas, too.
    let (name, rest) = way.split_at(way.rfind(')')? + 1);
    let mut rest = rest.strip_prefix(", ")?.split(", ");
    let (parts, cluster) = numbers(rest.next()?, " ")?;
    let pick = Pick {
        kernel: *kernels.get(name)?,
        parts,
        cluster,
        tail: match rest.next() {
            Some(tail) => Some(numbers(tail, " ")?),
            None => None,
        },
    };
    rest.next().is_none().then_some((signature, pick))
}

fn list<'a, const N: usize>(text: &'a str, between: &str) -> Option<[&'a str; N]> {
    text.split(between).collect::<Vec<_>>().try_into().ok()
}

fn numbers<T: FromStr>(text: &str, between: &str) -> Option<(T, T)> {
    let (a, b) = text.split_once(between)?;
    Some((number(a)?, number(b)?))
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    // Signs are no digits.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn dtype_of(name: &str) -> Option<DType> {
    DType::ALL.into_iter().find(|dtype| dtype.name() == name)
}

fn lie_of(name: &str) -> Option<Lie> {
    Lie::ALL.into_iter().find(|lie| lie.name() == name)
}
