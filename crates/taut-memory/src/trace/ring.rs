//! The events as they are kept: a fixed number of them, in memory that is taken once.

use super::{Change, Held, Level, Timeline, TraceBlock, TraceEvent};
use crate::{
    Error, Result, Stats,
    owners::{Owner, Owners},
};
use std::time::Instant;

/// The last events of a pool.
#[derive(Debug)]
pub(crate) struct Ring {
    began: Instant,
    /// No more than `most`. Once they are as many, the oldest one is at `oldest`.
    records: Vec<Record>,
    most: usize,
    oldest: usize,
    lost: u64,
    /// Bytes and blocks of each owner before the oldest event.
    held: Vec<(u64, u64)>,
    start: Level,
    /// After the newest event.
    last: Level,
}

/// An event: one line of the cache.
#[derive(Clone, Copy, Debug)]
struct Record {
    level: Level,
    id: u64,
    bytes: u64,
    event: Event,
}

const _: () = assert!(size_of::<Record>() == 64);

/// What happened to a block, by the numbers of its owners.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Allocate { owner: u32 },
    Free { owner: u32 },
    Kind { from: u32, to: u32 },
    Limits,
}

impl Event {
    /// The owner that has a block more.
    fn gains(self) -> Option<usize> {
        match self {
            Event::Allocate { owner } | Event::Kind { to: owner, .. } => Some(owner as usize),
            Event::Free { .. } | Event::Limits => None,
        }
    }

    /// The owner that has a block less.
    fn loses(self) -> Option<usize> {
        match self {
            Event::Free { owner } | Event::Kind { from: owner, .. } => Some(owner as usize),
            Event::Allocate { .. } | Event::Limits => None,
        }
    }
}

impl Ring {
    /// A ring for so many events, whose memory it takes.
    pub(crate) fn new(most: usize) -> Result<Ring> {
        let mut records = Vec::new();
        records.try_reserve_exact(most).map_err(|_| {
            let bytes = most.saturating_mul(size_of::<Record>());
            Error::out_of_memory(format!("record: the host has no {bytes} bytes for {most} events"))
        })?;
        let (start, last) = (Level::default(), Level::default());
        Ok(Ring { began: Instant::now(), records, most, oldest: 0, lost: 0, held: Vec::new(), start, last })
    }

    /// Begins with the pool as it is now.
    pub(crate) fn begin(&mut self, owners: &Owners, stats: &Stats, budget_bytes: u64) {
        self.held = owners.all().iter().map(|owner| (owner.bytes, owner.blocks)).collect();
        self.began = Instant::now();
        self.start = Level { nanoseconds: 0, ..level(stats, budget_bytes) };
        self.last = self.start;
    }

    /// Adds an event. `Limits` is one only if reserved bytes or the budget are not what they were.
    pub(crate) fn push(&mut self, event: Event, (id, bytes): (u64, u64), stats: &Stats, budget_bytes: u64) {
        let level = Level { nanoseconds: self.nanoseconds(), ..level(stats, budget_bytes) };
        let limits = |level: &Level| (level.reserved_bytes, level.budget_bytes);
        if matches!(event, Event::Limits) && limits(&level) == limits(&self.last) {
            return;
        }
        self.last = level;
        let record = Record { level, id, bytes, event };
        if self.records.len() < self.most {
            self.records.push(record);
            return;
        }
        let oldest = std::mem::replace(&mut self.records[self.oldest], record);
        self.oldest = (self.oldest + 1) % self.most;
        self.lost += 1;
        self.forget(&oldest);
    }

    /// All that is known, in names instead of numbers.
    pub(crate) fn timeline(&self, owners: &Owners, overhead_bytes: u64, capacity_bytes: u64) -> Timeline {
        let list = owners.all();
        let held = |(owner, &(bytes, blocks)): (&Owner, &(u64, u64))| {
            (blocks > 0).then_some(Held { site: owner.site, scope: owner.scope, bytes, blocks })
        };
        let (newer, older) = self.records.split_at(self.oldest);
        Timeline {
            owners: list.iter().zip(&self.held).filter_map(held).collect(),
            start: self.start,
            events: older.iter().chain(newer).map(|record| record.named(list)).collect(),
            lost: self.lost,
            end_nanoseconds: self.nanoseconds(),
            overhead_bytes,
            capacity_bytes,
        }
    }

    /// Moves the start behind an event.
    fn forget(&mut self, record: &Record) {
        self.start = record.level;
        if let Some(owner) = record.event.gains() {
            if self.held.len() <= owner {
                self.held.resize(owner + 1, (0, 0));
            }
            let (bytes, blocks) = &mut self.held[owner];
            (*bytes, *blocks) = (*bytes + record.bytes, *blocks + 1);
        }
        if let Some(owner) = record.event.loses() {
            // It was there at the start, or came with an event before.
            let (bytes, blocks) = &mut self.held[owner];
            (*bytes, *blocks) = (*bytes - record.bytes, *blocks - 1);
        }
    }

    fn nanoseconds(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Record {
    fn named(&self, owners: &[Owner]) -> TraceEvent {
        let Record { level, id, bytes, event } = *self;
        let block = |owner: u32| {
            let Owner { site, scope, .. } = owners[owner as usize];
            TraceBlock { id, bytes, site, scope }
        };
        let change = match event {
            Event::Allocate { owner } => Change::Allocate(block(owner)),
            Event::Free { owner } => Change::Free(block(owner)),
            Event::Kind { from, to } => Change::Kind(block(to), block(from).site.kind),
            Event::Limits => Change::Limits,
        };
        TraceEvent { change, level }
    }
}

fn level(stats: &Stats, budget_bytes: u64) -> Level {
    let Stats { live_bytes, reserved_bytes, .. } = *stats;
    Level { nanoseconds: 0, live_bytes, reserved_bytes, budget_bytes }
}
