//! The timeline of a pool.

use crate::{Kind, ScopeId, Site};
use std::fmt;

/// What happened to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was handed out.
    Allocate,
    /// It was given back.
    Free,
    /// Its kind, this until now, became that of the event's site.
    Kind(Kind),
}

/// One event of the timeline that [`Pool::record`](crate::Pool::record) keeps.
///
/// Shown as a line, with `-` for the root scope: `+ 17 4096 activations relu model/layer3 live 8192 reserved 2097152`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// What happened.
    pub change: Change,
    /// Which block: blocks of a pool are numbered from 0, in the order in which they were handed out.
    pub id: u64,
    /// Its bytes, as requested.
    pub bytes: u64,
    /// Why it exists. The kind is the one after the event.
    pub site: Site,
    /// The scope that it was allocated in.
    pub scope: ScopeId,
    /// Live bytes of the pool after the event.
    pub live_bytes: u64,
    /// Reserved bytes of the pool after the event.
    pub reserved_bytes: u64,
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TraceEvent { id, bytes, site: Site { op, kind }, scope, live_bytes, reserved_bytes, .. } = self;
        match self.change {
            Change::Allocate => write!(f, "+ {id} {bytes} {kind}")?,
            Change::Free => write!(f, "- {id} {bytes} {kind}")?,
            Change::Kind(from) => write!(f, "= {id} {bytes} {from}>{kind}")?,
        }
        let path = if scope.name().is_empty() { "-" } else { scope.name() };
        write!(f, " {op} {path} live {live_bytes} reserved {reserved_bytes}")
    }
}
