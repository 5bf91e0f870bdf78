//! What a user reads when something fails: what was being done, what failed, what to do.

use std::{fmt, io};

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    doing: String,
    what: String,
    remedies: Vec<String>,
    status: u8,
}

impl Failure {
    /// `what` failed while `doing` (a phrase like "fetching the flights").
    pub(crate) fn new(doing: impl Into<String>, what: impl Into<String>) -> Failure {
        Failure { doing: doing.into(), what: what.into(), remedies: Vec::new(), status: 1 }
    }

    /// An error of the operating system. A full disk gets its remedy here.
    pub(crate) fn io(doing: impl Into<String>, error: &io::Error) -> Failure {
        let failure = Failure::new(doing, error.to_string());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                failure.remedy(FREE_SPACE)
            }
            _ => failure,
        }
    }

    /// Adds what to do about it.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Failure {
        self.remedies.push(remedy.into());
        self
    }

    /// Adds another way out.
    pub(crate) fn or(self, remedy: &str) -> Failure {
        self.remedy(format!("or {remedy}"))
    }

    /// A program that has said itself what is wrong ended with this status: it becomes ours.
    pub(crate) fn with_status(mut self, status: Option<i32>) -> Failure {
        self.status = status.and_then(|code| u8::try_from(code).ok()).filter(|&code| code != 0).unwrap_or(1);
        self
    }

    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

/// What to do about a full disk.
pub(crate) const FREE_SPACE: &str =
    "free some space (about 1 GB is enough to fetch everything) and run the same command again";

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {} failed: {}", self.doing, self.what.trim_end())?;
        self.remedies.iter().try_for_each(|remedy| writeln!(f, "  {remedy}"))
    }
}
