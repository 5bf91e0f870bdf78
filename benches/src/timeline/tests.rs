use super::*;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};
use taut::{
    Budget, Kind,
    memory::{Block, PhantomBacking, Pool, Site, StreamId, scope},
};

fn take(pool: &Pool, bytes: u64, op: &'static str, kind: Kind) -> Block {
    pool.allocate(bytes, StreamId::COMPUTE, Site::new(op, kind)).unwrap()
}

/// Weights from before, a saved activation, a spike, and a thousand short lives.
fn recorded(events: usize) -> (Recorded, Pool) {
    let pool = Pool::new(Arc::new(PhantomBacking::new(80 << 30, 1 << 20)));
    pool.set_budget(Budget::Bytes(1 << 30)).unwrap();
    let _weights = [take(&pool, 3000, "linear", Kind::Weights), take(&pool, 4000, "linear", Kind::Weights)];
    let old = take(&pool, 500, "embed", Kind::Activations);
    pool.record(events).unwrap();
    let model = scope("model");
    let kept = take(&pool, 1000, "relu", Kind::Activations);
    kept.set_kind(Kind::Saved);
    drop(old);
    {
        let _layer = scope("\"quoted\" <layer>\n");
        drop(take(&pool, 5 << 20, "matmul", Kind::Workspace));
    }
    for i in 0..1000 {
        drop(take(&pool, 10 + i, "add", Kind::Activations));
    }
    drop(model);
    let timeline = pool.take_timeline().unwrap();
    (Recorded { work: "MLP 2 x 3: in place".into(), device: "plan".into(), timeline }, pool)
}

fn parsed(recorded: &Recorded) -> Vec<Value> {
    let trace: Value = serde_json::from_str(&trace("MLP, plan", &recorded.timeline)).unwrap();
    trace["traceEvents"].as_array().unwrap().clone()
}

#[test]
fn files_are_named_after_the_work() {
    assert_eq!(recorded(9).0.file(), "mlp-2-x-3-in-place-plan.json");
}

/// Each slice begins once and ends once, in the order of time; the counters are the live bytes.
#[test]
fn a_trace_is_whole() {
    for events in [1, 5, 100, 10_000] {
        let (recorded, _) = recorded(events);
        let timeline = &recorded.timeline;
        let (mut open, mut last, mut n_slices) = (BTreeMap::new(), 0.0, 0);
        for event in parsed(&recorded) {
            let phase = event["ph"].as_str().unwrap();
            assert!(event["name"].is_string() && event["pid"] == 1, "{event}");
            if phase == "M" {
                continue;
            }
            let ts = event["ts"].as_f64().unwrap();
            assert!(ts >= last, "{event}");
            last = ts;
            let key = event["id"].as_str().map(str::to_owned);
            match phase {
                "b" => {
                    n_slices += 1;
                    assert!(event["args"]["bytes"].is_u64() && event["args"]["kind"].is_string(), "{event}");
                    assert_eq!(open.insert(key.unwrap(), event["name"].clone()), None);
                }
                "n" => assert!(open.contains_key(&key.unwrap())),
                "e" => assert_eq!(open.remove(&key.unwrap()), Some(event["name"].clone())),
                "C" => assert!(event["args"].as_object().unwrap().values().all(Value::is_u64), "{event}"),
                other => panic!("{other}"),
            }
        }
        assert!(open.is_empty());
        let allocated =
            timeline.events.iter().filter(|e| e.change.loses().is_none() && e.change.gains().is_some());
        assert!(n_slices > allocated.count());
    }
}

#[test]
fn a_trace_says_who_holds_what() {
    let events = parsed(&recorded(10_000).0);
    let slices: Vec<&Value> = events.iter().filter(|event| event["ph"] == "b").collect();
    let of = |op: &str| slices.iter().find(|event| event["name"] == op).unwrap()["args"].clone();
    assert_eq!(of("matmul")["scope"], "model/\"quoted\" <layer>\n");
    assert_eq!((&of("linear")["bytes"], &of("linear")["blocks"]), (&7000.into(), &2.into()));
    assert_eq!(of("embed")["bytes"], 500);
    let most = |name: &str, arg: &str| {
        let of = events.iter().filter(|event| event["name"] == name);
        of.filter_map(|event| event["args"][arg].as_u64()).max()
    };
    assert_eq!(most("live bytes", "workspace"), Some(5 << 20));
    assert_eq!(most("live bytes", "weights"), Some(7000));
    assert_eq!(most("live bytes", "gradients"), None, "a kind without a byte has no track");
    assert_eq!(
        (most("reserved bytes", "reserved"), most("budget bytes", "budget")),
        (Some(6 << 20), Some(1 << 30))
    );
}

/// However many events there are, the peaks are exact, and what stands in a column was live at one moment.
#[test]
fn peaks_are_exact() {
    for events in [1, 5, 10_000] {
        let timeline = recorded(events).0.timeline;
        let states: Vec<u64> = [timeline.start]
            .into_iter()
            .chain(timeline.events.iter().map(|e| e.level))
            .map(|l| l.live_bytes)
            .collect();
        for split in [Split::Kind, Split::Scope] {
            let chart = Chart::new(&timeline, split);
            let sums: Vec<u64> = chart.runs.iter().map(|run| run.bytes.iter().sum()).collect();
            assert_eq!(chart.peak_bytes, *states.iter().max().unwrap());
            assert_eq!(chart.peak_bytes, *sums.iter().max().unwrap());
            assert!(sums.iter().all(|sum| states.contains(sum)), "{sums:?}");
            let at_peak = chart.runs.iter().rposition(|run| run.start <= chart.peak_column).unwrap();
            assert_eq!(sums[at_peak], chart.peak_bytes);
            assert!(chart.runs.is_sorted_by_key(|run| run.start) && chart.runs.len() <= COLUMNS);
            let budget: Vec<u64> = chart.runs.iter().map(|run| run.budget_bytes).collect();
            assert!(budget.iter().all(|&bytes| bytes == (1 << 30) - (1 << 20)));
        }
    }
}

#[test]
fn bands_have_owners() {
    let (recorded, pool) = recorded(10_000);
    let chart = Chart::new(&recorded.timeline, Split::Kind);
    let groups: Vec<(&str, u64)> = chart.groups.iter().map(|g| (g.name.as_str(), g.peak_bytes)).collect();
    let activations = 1500;
    assert_eq!(
        groups,
        [("weights", 7000), ("saved", 1000), ("activations", activations), ("workspace", 5 << 20)]
    );
    let owner = chart.bands.iter().find(|band| band.owner.is_some_and(|owner| owner.op == "add")).unwrap();
    assert_eq!((owner.peak_bytes, owner.owner.unwrap().scope.name()), (1009, "model"));
    let last = chart.runs.last().unwrap();
    assert!(
        last.bytes.iter().sum::<u64>() >= 8000 && last.reserved_bytes == pool.stats().peak_reserved_bytes
    );

    let chart = Chart::new(&recorded.timeline, Split::Scope);
    let names: Vec<&str> = chart.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["outside of scopes", "model", "model/\"quoted\" <layer>\n"]);
}

/// Small owners share a band, small scopes a colour, and nothing is lost.
#[test]
fn many_owners_are_few_bands() {
    const SCOPES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    const OPS: [&str; 5] = ["add", "mul", "sum", "exp", "log"];
    let pool = Pool::new(Arc::new(PhantomBacking::new(80 << 30, 0)));
    pool.record(1000).unwrap();
    let mut live = Vec::new();
    for (i, name) in SCOPES.into_iter().enumerate() {
        let _scope = scope(name);
        live.extend(OPS.map(|op| take(&pool, 1 << i, op, Kind::Saved)));
    }
    let timeline = pool.take_timeline().unwrap();
    let chart = Chart::new(&timeline, Split::Scope);
    assert_eq!(chart.groups.len(), 8);
    assert_eq!(chart.groups.last().unwrap().name, "other scopes");
    assert!(chart.bands.len() < 40);
    assert_eq!(chart.runs.last().unwrap().bytes.iter().sum::<u64>(), pool.stats().live_bytes);
    assert_eq!(chart.groups.iter().map(|group| group.peak_bytes).sum::<u64>(), pool.stats().live_bytes);
}

#[test]
fn nothing_is_a_chart_too() {
    let pool = Pool::new(Arc::new(PhantomBacking::new(80 << 30, 0)));
    pool.record(10).unwrap();
    drop(take(&pool, 0, "zeros", Kind::Input));
    let timeline = pool.take_timeline().unwrap();
    for split in [Split::Kind, Split::Scope] {
        let chart = Chart::new(&timeline, split);
        assert_eq!((chart.groups.len(), chart.bands.len(), chart.runs.len()), (0, 0, 1));
    }
}

#[test]
fn an_earlier_run_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let (recorded, _) = recorded(10);
    write(folder.path(), std::slice::from_ref(&recorded)).unwrap();
    let path = folder.path().join(FOLDER).join(recorded.file());
    assert!(fs::read_to_string(&path).unwrap().starts_with("{\"displayTimeUnit\":\"ns\""));
    write(folder.path(), &[]).unwrap();
    assert!(!path.exists());
}
