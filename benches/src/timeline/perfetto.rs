//! A timeline in the Trace Event Format, which Perfetto and Chrome open: the counters of the pool, and one slice for each
//! block.
//!
//! Source: "Trace Event Format", Google, the document to which Perfetto's documentation links.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use taut::{
    Kind,
    memory::{Change, Held, Level, Timeline, TraceBlock},
};

/// The trace, one event a line. Its times are in microseconds, as the format wants them.
pub fn trace(title: &str, timeline: &Timeline) -> String {
    let mut events = vec![json!({ "ph": "M", "name": "process_name", "pid": 1, "args": { "name": title } })];
    let mut counters = Counters::new(timeline);
    counters.write(&timeline.start, &mut events);
    let mut slices = Slices::at_start(timeline, &mut events);
    for event in &timeline.events {
        counters.change(&event.change);
        slices.change(&event.change, event.level.nanoseconds, &mut events);
        counters.write(&event.level, &mut events);
    }
    slices.end(timeline.end_nanoseconds, &mut events);
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    format!("{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{}\n]}}\n", lines.join(",\n"))
}

/// The track of the budget.
const BUDGET: &str = "budget bytes";

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// The tracks of numbers. A number is written when it changes.
struct Counters {
    live: [u64; 8],
    /// Kinds that ever held a byte: the others have no track.
    shown: BTreeSet<Kind>,
    /// A budget of as much is none, and has no track.
    capacity_bytes: u64,
    written: BTreeMap<&'static str, Value>,
}

impl Counters {
    fn new(timeline: &Timeline) -> Counters {
        let mut live = [0; 8];
        timeline.owners.iter().for_each(|held| live[held.site.kind as usize] += held.bytes);
        let held = timeline.owners.iter().map(|held| (held.site.kind, held.bytes));
        let gained = timeline.events.iter().filter_map(|event| event.change.gains());
        let all = held.chain(gained.map(|block| (block.site.kind, block.bytes)));
        let shown = all.filter(|&(_, bytes)| bytes > 0).map(|(kind, _)| kind).collect();
        Counters { live, shown, capacity_bytes: timeline.capacity_bytes, written: BTreeMap::new() }
    }

    fn change(&mut self, change: &Change) {
        if let Some(block) = change.gains() {
            self.live[block.site.kind as usize] += block.bytes;
        }
        if let Some(block) = change.loses() {
            self.live[block.site.kind as usize] -= block.bytes;
        }
    }

    fn write(&mut self, level: &Level, events: &mut Vec<Value>) {
        let kinds = self.shown.iter().map(|&kind| (kind.name().to_owned(), json!(self.live[kind as usize])));
        let live = Value::Object(kinds.collect());
        let tracks = [
            ("live bytes", live),
            ("reserved bytes", json!({ "reserved": level.reserved_bytes })),
            (BUDGET, json!({ "budget": level.budget_bytes })),
        ];
        for (name, args) in tracks {
            let last = self.written.get(name);
            let is_none = name == BUDGET && last.is_none() && level.budget_bytes >= self.capacity_bytes;
            if last != Some(&args) && !is_none {
                let ts = microseconds(level.nanoseconds);
                events.push(json!({ "ph": "C", "name": name, "pid": 1, "ts": ts, "args": args }));
                self.written.insert(name, args);
            }
        }
    }
}

/// The slices that are open: their names, by the block's number, or that of what was there before.
struct Slices {
    open: BTreeMap<String, &'static str>,
}

impl Slices {
    /// Opens a slice for each block that was there at the start: one for each that is freed later, and for those that are
    /// not, which have no number, one together for each owner.
    fn at_start(timeline: &Timeline, events: &mut Vec<Value>) -> Slices {
        let mut slices = Slices { open: BTreeMap::new() };
        let mut rest: Vec<Held> = timeline.owners.clone();
        let mut allocated = BTreeSet::new();
        for event in &timeline.events {
            // A number comes again after a reset, but then it was allocated before.
            let old = event.change.loses().filter(|block| !allocated.contains(&block.id));
            let same = |held: &&mut Held, block: &TraceBlock| {
                (held.site, held.scope) == (block.site, block.scope) && held.blocks > 0
            };
            if let Some(block) = old {
                if let Some(held) = rest.iter_mut().find(|held| same(held, &block)) {
                    (held.bytes, held.blocks) = (held.bytes - block.bytes, held.blocks - 1);
                }
                slices.begin(block.id.to_string(), &block, 1, timeline.start.nanoseconds, events);
            }
            allocated.extend(event.change.gains().or(old).map(|block| block.id));
        }
        for (i, held) in rest.iter().enumerate().filter(|(_, held)| held.blocks > 0) {
            let Held { site, scope, bytes, blocks } = *held;
            let block = TraceBlock { id: 0, bytes, site, scope };
            slices.begin(format!("older-{i}"), &block, blocks, timeline.start.nanoseconds, events);
        }
        slices
    }

    fn change(&mut self, change: &Change, nanoseconds: u64, events: &mut Vec<Value>) {
        match change {
            Change::Allocate(block) => self.begin(block.id.to_string(), block, 1, nanoseconds, events),
            Change::Free(block) => self.finish(&block.id.to_string(), nanoseconds, events),
            Change::Kind(block, from) => {
                let mut event = slice("n", &block.id.to_string(), block.site.op, nanoseconds);
                event["args"] = json!({ "from": from.name(), "kind": block.site.kind.name() });
                events.push(event);
            }
            Change::Limits => {}
        }
    }

    fn end(&mut self, nanoseconds: u64, events: &mut Vec<Value>) {
        let open: Vec<String> = self.open.keys().cloned().collect();
        open.iter().for_each(|id| self.finish(id, nanoseconds, events));
    }

    fn begin(
        &mut self,
        id: String,
        block: &TraceBlock,
        blocks: u64,
        nanoseconds: u64,
        events: &mut Vec<Value>,
    ) {
        let TraceBlock { site, scope, bytes, .. } = block;
        let mut event = slice("b", &id, site.op, nanoseconds);
        event["args"] =
            json!({ "scope": scope.name(), "kind": site.kind.name(), "bytes": bytes, "blocks": blocks });
        events.push(event);
        self.open.insert(id, site.op);
    }

    fn finish(&mut self, id: &str, nanoseconds: u64, events: &mut Vec<Value>) {
        if let Some(op) = self.open.remove(id) {
            events.push(slice("e", id, op, nanoseconds));
        }
    }
}

/// An event of the slice with this id.
fn slice(phase: &str, id: &str, op: &str, nanoseconds: u64) -> Value {
    json!({
        "ph": phase, "cat": "block", "id": id, "name": op, "pid": 1, "tid": 1, "ts": microseconds(nanoseconds)
    })
}
