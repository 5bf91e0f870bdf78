//! A program on host pages and on phantom pages at once, against a model that is too simple to be wrong.

use crate::recorder::Recorder;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};
use taut_memory::{
    Backing, Block, Budget, Error, ErrorKind, GRANULE_BYTES, Kind, Pool, SPAN_BYTES, Site, Stats, StreamId,
    scope,
};

const OVERHEAD_BYTES: u64 = 3 << 20;
pub(crate) const BUDGET_BYTES: u64 = 61 << 20;

/// Numbers name live blocks, taken modulo how many there are.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Allocate { bytes: u64, stream: u8, kind: Kind, scope: Option<&'static str> },
    Free(usize),
    UsedBy(usize, u8),
    SetKind(usize, Kind),
    SetBudget(u64),
    Release,
    ResetPeaks,
}

/// The same program on two backings.
pub(crate) struct Twins {
    host: Pool,
    host_base: u64,
    phantom: Pool,
    recorder: Arc<Recorder>,
    live: Vec<Twin>,
    /// Freed bytes whose pages are still there, and the streams that used them. Later entries cover earlier ones.
    used: Vec<(Range<u64>, u64)>,
    stats: Stats,
    born: u8,
    /// Streams that the last step waited for, and whether it was refused.
    waits: usize,
    is_refused: bool,
}

struct Twin {
    host: Block,
    phantom: Block,
    /// The memory under it, in order: offsets of the places where its pages were committed.
    memory: Vec<Range<u64>>,
    streams: u64,
    /// Written to all of its bytes that are looked at.
    mark: u8,
}

impl Twin {
    /// Its bytes on the host are those that were written when it was born.
    fn check(&self) {
        let bytes = self.host.host().expect("host pages");
        assert!(watched(bytes.len()).all(|i| bytes[i] == self.mark), "somebody else wrote here");
    }
}

/// Both ends in full, and one byte in 64 KiB between.
fn watched(len: usize) -> impl Iterator<Item = usize> {
    (0..len.min(300))
        .chain((300..len.saturating_sub(300)).step_by(1 << 16))
        .chain(len.saturating_sub(300)..len)
}

impl Twins {
    fn new(is_segmented: bool) -> Twins {
        let [pages, recorder] = Recorder::twins(OVERHEAD_BYTES, is_segmented);
        let recorder = Arc::new(recorder);
        let phantom = Pool::new(recorder.clone());
        let host_base = pages.base();
        let host = Pool::new(Arc::new(pages));
        for pool in [&host, &phantom] {
            pool.set_budget(Budget::Bytes(BUDGET_BYTES)).expect("nothing is in use");
        }
        let (live, used) = (Vec::new(), Vec::new());
        let stats = Stats::default();
        let (waits, is_refused) = (0, false);
        Twins { host, host_base, phantom, recorder, live, used, stats, born: 0, waits, is_refused }
    }

    /// Runs a program over pages, or over pages that come in segments, and frees what it leaves. What the pool did in each step: which step it was, and whether it took or gave
    /// pages, made calls, waited for streams, refused.
    pub(crate) fn run(steps: impl IntoIterator<Item = Step>, is_segmented: bool) -> Vec<u16> {
        let mut twins = Twins::new(is_segmented);
        let done = steps.into_iter().map(|step| {
            let (name, before) = (name(&step), twins.counts());
            (twins.waits, twins.is_refused) = (0, false);
            twins.step(step);
            twins.check();
            let after = twins.counts();
            let changes = after.iter().zip(before).map(|(after, before)| after.abs_diff(before));
            let shrank = u16::from(after[0] < before[0]);
            let some = changes.chain([twins.waits]).fold(name, |all, n| all << 1 | n.min(1) as u16);
            some << 2 | shrank << 1 | u16::from(twins.is_refused)
        });
        let done = done.collect();
        while !twins.live.is_empty() {
            twins.free(0);
            twins.check();
        }
        let reserved_bytes = twins.stats.reserved_bytes;
        assert_eq!(twins.phantom.release().expect("no fault"), reserved_bytes);
        assert_eq!(twins.host.release().expect("no fault"), reserved_bytes);
        twins.check();
        assert_eq!(twins.phantom.stats().reserved_bytes, 0);
        done
    }

    /// Committed pages, calls that commit, and calls that show pages elsewhere.
    fn counts(&self) -> [usize; 3] {
        let log = self.recorder.log();
        [log.committed.len(), log.commits, log.aliases]
    }

    fn allocate(&mut self, bytes: u64, stream: u8, kind: Kind, name: Option<&'static str>) {
        let _scope = name.map(scope);
        let before = self.phantom.stats();
        let site = Site::new(if bytes.is_multiple_of(2) { "even" } else { "odd" }, kind);
        let [host, phantom] =
            [&self.host, &self.phantom].map(|pool| pool.allocate(bytes, StreamId(stream), site));
        let orders = std::mem::take(&mut self.recorder.log().orders);
        self.forget_decommitted();
        let (mut host, phantom) = match (host, phantom) {
            (Ok(host), Ok(phantom)) => (host, phantom),
            (Err(host), Err(phantom)) => {
                self.is_refused = true;
                return self.refused(bytes, &before, &host, &phantom);
            }
            (host, phantom) => panic!("host {host:?}, phantom {phantom:?}"),
        };
        self.born = self.born.wrapping_add(1);
        let mark = self.born;
        let slice = host.host_mut().expect("host pages");
        assert_eq!(slice.len() as u64, bytes);
        watched(slice.len()).for_each(|i| slice[i] = mark);
        assert_eq!(phantom.host(), None);

        let memory = self.recorder.memory(&phantom);
        let waits = orders.iter().fold(1 << stream, |mask, &(_, after)| mask | 1u64 << after);
        for part in &memory {
            let touches = |other: &Range<u64>| other.start < part.end && part.start < other.end;
            assert!(!self.live.iter().flat_map(|twin| &twin.memory).any(touches), "an overlap");
            let users = self.used.iter().filter(|(used, _)| touches(used)).fold(0, |mask, (_, s)| mask | s);
            assert_eq!(users & !waits, 0, "reused without waiting");
            forget(&mut self.used, part);
        }
        let twin = Twin { host, phantom, memory, streams: 1 << stream, mark };
        assert!(orders.iter().all(|&(waiter, after)| waiter == stream && after != stream));
        assert!(orders.windows(2).all(|pair| pair[0].1 < pair[1].1), "a stream is waited for twice");

        self.waits = orders.len();
        self.stats.allocations += 1;
        self.stats.live_by_kind[kind as usize] += bytes;
        self.live.push(twin);
    }

    /// An error is the same on both, deserved, and changes nothing but the pages kept for reuse.
    fn refused(&self, bytes: u64, before: &Stats, host: &Error, phantom: &Error) {
        assert_eq!(host.to_string(), phantom.to_string());
        assert_eq!(host.kind(), ErrorKind::OutOfMemory);
        let after = self.phantom.stats();
        assert!(after.reserved_bytes <= before.reserved_bytes);
        assert_eq!(Stats { reserved_bytes: before.reserved_bytes, ..after }, *before);

        let pages = self.live_pages().saturating_add(bytes.div_ceil(GRANULE_BYTES));
        let needed = pages.saturating_mul(GRANULE_BYTES).saturating_add(OVERHEAD_BYTES);
        assert!(needed > self.phantom.budget_bytes(), "{needed} bytes would have been enough");
    }

    fn free(&mut self, i: usize) {
        let twin = self.live.swap_remove(i);
        self.stats.live_by_kind[twin.phantom.kind() as usize] -= twin.phantom.bytes();
        self.used.extend(twin.memory.iter().map(|part| (part.clone(), twin.streams)));
        twin.check();
    }

    fn forget_decommitted(&mut self) {
        for pages in std::mem::take(&mut self.recorder.log().decommits) {
            forget(&mut self.used, &(pages.start * GRANULE_BYTES..pages.end * GRANULE_BYTES));
        }
    }

    fn pages(&self) -> BTreeSet<u64> {
        self.live.iter().flat_map(|twin| &twin.memory).map(|part| part.start / GRANULE_BYTES).collect()
    }

    /// Pages that can not go: those under live blocks, and what came with them.
    fn live_pages(&self) -> u64 {
        let pages = self.pages();
        let segments = self.recorder.log().segments.clone();
        let held = segments.iter().filter(|segment| pages.range((*segment).clone()).next().is_some());
        if self.recorder.is_segmented() {
            return held.map(|segment| segment.end - segment.start).sum();
        }
        pages.len() as u64
    }

    fn check(&mut self) {
        let got = self.phantom.stats();
        assert_eq!(got, self.host.stats());
        assert_eq!(self.phantom.budget_bytes(), self.host.budget_bytes());
        for twin in &self.live {
            assert_eq!(twin.phantom.address() - SPAN_BYTES, twin.host.address() - self.host_base);
        }

        let want = &mut self.stats;
        want.live_bytes = want.live_by_kind.iter().sum();
        want.workspace_bytes = want.live_by_kind[Kind::Workspace as usize];
        want.tensor_bytes = want.live_bytes - want.workspace_bytes;
        want.reserved_bytes = self.recorder.log().committed.len() as u64 * GRANULE_BYTES;
        want.peak_live_bytes = want.peak_live_bytes.max(want.live_bytes);
        want.peak_workspace_bytes = want.peak_workspace_bytes.max(want.workspace_bytes);
        want.peak_tensor_bytes = want.peak_tensor_bytes.max(want.tensor_bytes);
        want.peak_reserved_bytes = want.peak_reserved_bytes.max(want.reserved_bytes);
        for kind in Kind::ALL.map(|kind| kind as usize) {
            want.peak_by_kind[kind] = want.peak_by_kind[kind].max(want.live_by_kind[kind]);
        }
        assert_eq!(got, *want);
        self.check_owners();
        assert!(got.reserved_bytes + OVERHEAD_BYTES <= self.phantom.budget_bytes());
        assert!(self.pages().is_subset(&self.recorder.log().committed), "a live block without memory");
    }

    /// The ledger names the largest owners, with what each of them holds.
    fn check_owners(&self) {
        let mut owners: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for twin in &self.live {
            let (Site { op, kind }, path) = (twin.phantom.site(), twin.phantom.scope().name());
            let at = if path.is_empty() { String::new() } else { format!(" in {path}") };
            let (bytes, blocks) = owners.entry(format!("{op} {kind}{at} ")).or_default();
            (*bytes, *blocks) = (*bytes + twin.phantom.bytes(), *blocks + 1);
        }
        let holders = self.phantom.holders();
        assert_eq!(holders, self.host.holders());
        let listed = holders.as_deref().and_then(|text| text.split_once("; largest owners: "));
        let listed: Vec<&str> = listed.map_or(Vec::new(), |(_, list)| list.split(", ").collect());
        owners.retain(|_, (bytes, _)| *bytes > 0);
        assert_eq!(listed.len(), owners.len().min(10));
        let mut sizes: Vec<u64> = owners.values().map(|&(bytes, _)| bytes).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        for (entry, bytes) in listed.iter().zip(sizes) {
            let ends =
                |blocks| format!("{bytes} bytes{} in {blocks} block", if bytes < 1024 { "" } else { ")" });
            let is = |(name, &(held, blocks)): (&String, &(u64, u64))| {
                held == bytes && entry.starts_with(name.as_str()) && entry.contains(&ends(blocks))
            };
            assert!(owners.iter().any(is), "{entry:?} is not in {owners:?}");
        }
    }

    fn step(&mut self, step: Step) {
        let n = self.live.len();
        match step {
            Step::Allocate { bytes, stream, kind, scope } => self.allocate(bytes, stream, kind, scope),
            Step::Free(index) if n > 0 => self.free(index % n),
            Step::UsedBy(index, stream) if n > 0 => {
                let twin = &mut self.live[index % n];
                twin.host.used_by(StreamId(stream));
                twin.phantom.used_by(StreamId(stream));
                twin.streams |= 1 << stream;
            }
            Step::SetKind(index, kind) if n > 0 => {
                let twin = &mut self.live[index % n];
                self.stats.live_by_kind[twin.phantom.kind() as usize] -= twin.phantom.bytes();
                self.stats.live_by_kind[kind as usize] += twin.phantom.bytes();
                twin.host.set_kind(kind);
                twin.phantom.set_kind(kind);
            }
            Step::SetBudget(bytes) => {
                let fits = self.live_pages() * GRANULE_BYTES + OVERHEAD_BYTES <= bytes;
                for pool in [&self.host, &self.phantom] {
                    assert_eq!(pool.set_budget(Budget::Bytes(bytes)).is_ok(), fits);
                }
            }
            Step::Release => {
                let idle = self.stats.reserved_bytes - self.live_pages() * GRANULE_BYTES;
                assert_eq!(self.host.release().expect("no fault"), idle);
                assert_eq!(self.phantom.release().expect("no fault"), idle);
            }
            Step::ResetPeaks => {
                self.host.reset_peaks();
                self.phantom.reset_peaks();
                let Stats { live_bytes, tensor_bytes, workspace_bytes, reserved_bytes, live_by_kind, .. } =
                    self.stats;
                self.stats.peak_live_bytes = live_bytes;
                self.stats.peak_tensor_bytes = tensor_bytes;
                self.stats.peak_workspace_bytes = workspace_bytes;
                self.stats.peak_reserved_bytes = reserved_bytes;
                self.stats.peak_by_kind = live_by_kind;
            }
            Step::Free(_) | Step::UsedBy(..) | Step::SetKind(..) => {}
        }
        self.forget_decommitted();
    }
}

/// Takes `range` out of the freed bytes.
fn forget(used: &mut Vec<(Range<u64>, u64)>, range: &Range<u64>) {
    let rests = |(used, streams): (Range<u64>, u64)| {
        let below = used.start..used.end.min(range.start);
        let above = used.start.max(range.end)..used.end;
        [(below, streams), (above, streams)]
    };
    *used = used.drain(..).flat_map(rests).filter(|(part, _)| !part.is_empty()).collect();
}

fn name(step: &Step) -> u16 {
    match step {
        Step::Allocate { .. } => 0,
        Step::Free(_) => 1,
        Step::UsedBy(..) => 2,
        Step::SetKind(..) => 3,
        Step::SetBudget(_) => 4,
        Step::Release => 5,
        Step::ResetPeaks => 6,
    }
}
