//! The figures: one schema for every group, in `latest.json`. `benches/README.md` describes it.

mod criterion;

pub use criterion::criterion;

use crate::atomic;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

/// The version of the schema that this program writes and reads.
pub const SCHEMA: u32 = 1;

/// All figures of one machine at one commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Where it was measured.
    pub machine: Machine,
    /// What was measured: a git commit, with `-dirty` behind it if files differed from it.
    pub commit: String,
    /// When, in UTC: `2026-11-21T04:44:19Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// In the order in which they are shown.
    pub figures: Vec<Figure>,
}

/// Where figures were measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many threads can run at once.
    pub cores: usize,
    /// Bytes of main memory.
    pub memory: u64,
    /// The GPU's name.
    #[serde(default)]
    pub gpu: Option<String>,
    /// The version of the GPU's driver.
    #[serde(default)]
    pub driver: Option<String>,
    /// The newest CUDA version that the driver knows.
    #[serde(default)]
    pub cuda: Option<String>,
    /// The operating system's name and version.
    pub os: String,
}

/// One measured number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// `memory`, `throughput`, `model`, `host`, ...: a section of the page.
    pub group: String,
    /// What was done: a row.
    pub work: String,
    /// `cpu`, `cuda` or `plan`.
    pub device: String,
    /// What was measured: a column.
    pub metric: String,
    /// `bytes`, `s`, `GB/s`, `TFLOP/s`, `rows/s`, `min`, ...; `""` for a pure number.
    pub unit: String,
    /// The middle one of the repetitions.
    pub median: f64,
    /// The least of them.
    pub min: f64,
    /// The greatest of them.
    pub max: f64,
    /// What the hardware allows, measured in the same run, in the same unit.
    pub limit: Option<f64>,
}

impl Figure {
    /// A figure from repeated measurements, which are sorted on the way. NaN if there are none.
    pub fn new(names: [&str; 4], unit: &str, mut samples: Vec<f64>) -> Figure {
        samples.sort_by(f64::total_cmp);
        let at = |index: usize| samples.get(index).copied().unwrap_or(f64::NAN);
        let n = samples.len();
        let median = if n % 2 == 1 { at(n / 2) } else { (at((n / 2).wrapping_sub(1)) + at(n / 2)) / 2.0 };
        let (min, max) = (at(0), at(n.wrapping_sub(1)));
        let [group, work, device, metric] = names.map(str::to_owned);
        Figure { group, work, device, metric, unit: unit.to_owned(), median, min, max, limit: None }
    }

    /// With what the hardware allows, in the same unit.
    pub fn limit(self, limit: f64) -> Figure {
        Figure { limit: Some(limit), ..self }
    }

    /// The median in percent of the limit.
    pub fn percent(&self) -> Option<f64> {
        self.limit.filter(|&limit| limit > 0.0).map(|limit| 100.0 * self.median / limit)
    }

    /// Is more better? Rates are; bytes, times and errors are not.
    pub fn more_is_better(&self) -> bool {
        self.unit.ends_with("/s")
    }

    fn key(&self) -> [&str; 4] {
        [&self.group, &self.work, &self.device, &self.metric]
    }
}

impl Machine {
    /// This machine without its GPU, which the caller fills in.
    pub fn here() -> Machine {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let memory_kib =
            value(&read("/proc/meminfo"), "MemTotal", ':').and_then(|v| v.split(' ').next()?.parse().ok());
        let cpu = value(&read("/proc/cpuinfo"), "model name", ':');
        let os =
            value(&read("/etc/os-release"), "PRETTY_NAME", '=').map(|name| name.trim_matches('"').to_owned());
        Machine {
            cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory_kib.unwrap_or(0_u64) * 1024,
            os: os.unwrap_or_else(|| std::env::consts::OS.into()),
            ..Machine::default()
        }
    }
}

/// The value of the first line that begins with `key`.
fn value(text: &str, key: &str, separator: char) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(separator)?.1.trim().to_owned())
}

impl Report {
    /// A report of this commit and this moment, without figures.
    pub fn new(machine: Machine, commit: String) -> Report {
        Report { schema: SCHEMA, machine, commit, date: Some(now()), figures: Vec::new() }
    }

    /// Reads a report.
    ///
    /// # Errors
    ///
    /// Those of the file system, and [`InvalidData`](io::ErrorKind::InvalidData) for a file that is no report
    /// or one of a later schema; both name the path.
    pub fn read(path: &Path) -> io::Result<Report> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("reading {}: {e}", path.display()));
        let invalid = |what: String| named(io::Error::new(io::ErrorKind::InvalidData, what));
        let bytes = fs::read(path).map_err(named)?;
        let report: Report = serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?;
        match report.schema {
            SCHEMA => Ok(report),
            other => Err(invalid(format!("its schema is {other}, and this program knows {SCHEMA}"))),
        }
    }

    /// Writes the report, whole or not at all.
    ///
    /// # Errors
    ///
    /// Those of the file system, and [`InvalidData`](io::ErrorKind::InvalidData) for a figure that is not
    /// finite, which JSON can not hold.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let finite =
            |f: &Figure| [f.median, f.min, f.max, f.limit.unwrap_or(0.0)].iter().all(|x| x.is_finite());
        if let Some(bad) = self.figures.iter().find(|figure| !finite(figure)) {
            let what =
                format!("{} is not finite: {} {} {}", bad.key().join(" / "), bad.median, bad.min, bad.max);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        atomic::write(path, &json)
    }

    /// The figures of one group, in order.
    pub fn group(&self, group: &str) -> Vec<&Figure> {
        self.figures.iter().filter(|figure| figure.group == group).collect()
    }

    /// The names of the groups, in order.
    pub fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if !groups.contains(&figure.group.as_str()) {
                groups.push(&figure.group);
            }
        }
        groups
    }

    /// Adds the figures that `old` has of other groups, if it is of the same machine and commit.
    pub fn keep(&mut self, old: Report) {
        if old.machine != self.machine || old.commit != self.commit {
            return;
        }
        let measured: Vec<String> = self.groups().into_iter().map(str::to_owned).collect();
        self.figures.extend(old.figures.into_iter().filter(|figure| !measured.contains(&figure.group)));
    }

    /// Pairs of figures that both reports have, in this report's order, with what changed since `old`.
    pub fn compare<'a>(&'a self, old: &'a Report) -> Vec<Change<'a>> {
        let before =
            |new: &Figure| old.figures.iter().find(|old| old.key() == new.key() && old.unit == new.unit);
        self.figures.iter().filter_map(|new| Some(Change { old: before(new)?, new })).collect()
    }
}

/// The same figure in two reports.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Before.
    pub old: &'a Figure,
    /// After.
    pub new: &'a Figure,
}

impl Change<'_> {
    /// The new median over the old one.
    pub fn ratio(&self) -> f64 {
        self.new.median / self.old.median
    }

    /// Is the change larger than what either report saw between its own repetitions?
    pub fn is_clear(&self) -> bool {
        self.new.min > self.old.max || self.new.max < self.old.min
    }

    /// Did it get better? Says nothing about how [clear](Change::is_clear) that is.
    pub fn is_better(&self) -> bool {
        (self.new.median > self.old.median) == self.new.more_is_better() && self.new.median != self.old.median
    }
}

/// The commit that is measured: `TAUT_COMMIT`, else what git says in this folder, else `unknown`.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    if let Some(commit) = std::env::var("TAUT_COMMIT").ok().filter(|commit| !commit.is_empty()) {
        return commit;
    }
    match git(&["rev-parse", "HEAD"]) {
        None => "unknown".into(),
        Some(commit) if git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty()) => commit,
        Some(commit) => format!("{commit}-dirty"),
    }
}

/// Now, in UTC, to the second.
fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    utc(seconds)
}

/// Seconds since 1970 as `2026-11-21T04:44:19Z`.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March end with the leap day; 719,468 days lie between 0000-03-01 and 1970-01-01.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests;
