//! The out-of-memory error: who holds what.

use crate::{
    Error, ScopeId, Site,
    owners::{Owner, Owners},
};
use std::fmt;

/// Owners that an error lists.
const LISTED_OWNERS: usize = 10;

/// What an out-of-memory error says.
pub(crate) struct Shortage<'a> {
    pub(crate) site: Site,
    pub(crate) requested_bytes: u64,
    pub(crate) live_bytes: u64,
    pub(crate) reserved_bytes: u64,
    pub(crate) overhead_bytes: u64,
    pub(crate) budget_bytes: u64,
    /// What the driver says nobody uses, where there is one.
    pub(crate) driver_free_bytes: Option<u64>,
    pub(crate) owners: &'a Owners,
    pub(crate) cause: Cause,
}

pub(crate) enum Cause {
    /// Even without any page kept for reuse, the pool would reach these bytes, overhead included.
    Budget { needed_bytes: u64 },
    /// The scope with this path may hold no more.
    Scope { path: String, live_bytes: u64, most_bytes: u64 },
    /// No free range of addresses is long enough.
    Addresses,
    /// The device refused, with this message.
    Device(Error),
}

impl Shortage<'_> {
    pub(crate) fn error(&self) -> Error {
        Error::out_of_memory(self.to_string())
    }
}

impl fmt::Display for Shortage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Site { op, kind } = self.site;
        write!(
            f,
            "{op}: out of memory: {} of {kind}{} requested",
            Size(self.requested_bytes),
            In(ScopeId::current())
        )?;
        write!(f, ", live {}, reserved {}", Size(self.live_bytes), Size(self.reserved_bytes))?;
        write!(f, ", overhead {}, budget {}", Size(self.overhead_bytes), Size(self.budget_bytes))?;
        if let Some(free) = self.driver_free_bytes {
            write!(f, ", driver free {}", Size(free))?;
        }
        match &self.cause {
            Cause::Budget { needed_bytes } => write!(f, "; fits in a budget of {}", Size(*needed_bytes))?,
            Cause::Scope { path, live_bytes, most_bytes } => {
                let (live, most, needed) = (
                    Size(*live_bytes),
                    Size(*most_bytes),
                    Size(live_bytes.saturating_add(self.requested_bytes)),
                );
                write!(f, "; {path} holds {live} of its {most}; fits in a limit of {needed}")?;
            }
            Cause::Addresses => f.write_str("; no free range of addresses is that long")?,
            Cause::Device(error) => write!(f, "; the device refused: {error}")?,
        }
        Largest(self.owners).fmt(f)
    }
}

/// `; largest owners: matmul activations in model 1.00 MiB (1048576 bytes) in 2 blocks, ..`, or nothing.
pub(crate) struct Largest<'a>(pub(crate) &'a Owners);

impl fmt::Display for Largest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, owner) in self.0.largest(LISTED_OWNERS).iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "; largest owners: " } else { ", " }, Owned(owner))?;
        }
        Ok(())
    }
}

/// `matmul activations in model 1.00 MiB (1048576 bytes) in 2 blocks`.
pub(crate) struct Owned<'a>(pub(crate) &'a Owner);

impl fmt::Display for Owned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Owner { scope, site: Site { op, kind }, bytes, blocks } = self.0;
        write!(f, "{op} {kind}{} {} in {}", In(*scope), Size(*bytes), Blocks(*blocks))
    }
}

/// `1 block`, `2 blocks`.
pub(crate) struct Blocks(pub(crate) u64);

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} block{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

/// ` in model/layer3`, or nothing outside of every named scope.
struct In(ScopeId);

impl fmt::Display for In {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.name().is_empty() { Ok(()) } else { write!(f, " in {}", self.0) }
    }
}

/// Bytes for people, then exactly: `1.50 MiB (1572864 bytes)`.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let units = [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|&(bits, _)| bytes >> bits > 0) {
            Some((bits, unit)) => {
                write!(f, "{:.2} {unit} ({bytes} bytes)", bytes as f64 / (1u64 << bits) as f64)
            }
            None => write!(f, "{bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(Size(0).to_string(), "0 bytes");
        assert_eq!(Size(1023).to_string(), "1023 bytes");
        assert_eq!(Size(1024).to_string(), "1.00 KiB (1024 bytes)");
        assert_eq!(Size(3 << 19).to_string(), "1.50 MiB (1572864 bytes)");
        assert_eq!(Size(u64::MAX).to_string(), "16.00 EiB (18446744073709551615 bytes)");
    }
}
