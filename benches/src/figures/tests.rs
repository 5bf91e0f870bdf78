use super::*;

fn figure(group: &str, work: &str, samples: &[f64]) -> Figure {
    Figure::new([group, work, "cpu", "speed"], "GB/s", samples.to_vec())
}

fn report(figures: Vec<Figure>) -> Report {
    let machine =
        Machine { cpu: "made up".into(), cores: 2, memory: 1 << 34, os: "none".into(), ..Machine::default() };
    Report { figures, ..Report::new(machine, "abc".into()) }
}

#[test]
fn repetitions_become_a_median_and_its_range() {
    let odd = figure("g", "w", &[3.0, 1.0, 2.0]).limit(4.0);
    assert_eq!((odd.min, odd.median, odd.max, odd.percent()), (1.0, 2.0, 3.0, Some(50.0)));
    let even = figure("g", "w", &[4.0, 1.0, 2.0, 3.0]);
    assert_eq!((even.min, even.median, even.max, even.percent()), (1.0, 2.5, 4.0, None));
    assert!(figure("g", "w", &[]).median.is_nan());
}

#[test]
fn the_file_has_the_documented_names() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("latest.json");
    let written = report(vec![figure("g", "w", &[1.0]).limit(2.0), figure("g", "v", &[1.5])]);
    written.write(&path).unwrap();
    assert_eq!(Report::read(&path).unwrap(), written);

    let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["commit", "date", "figures", "machine", "schema"]);
    assert_eq!(keys(&json["machine"]), ["cores", "cpu", "cuda", "driver", "gpu", "memory", "os"]);
    let names = ["device", "group", "limit", "max", "median", "metric", "min", "unit", "work"];
    assert_eq!(keys(&json["figures"][0]), names);
    assert_eq!(json["figures"][1]["limit"], serde_json::Value::Null);
}

#[test]
fn what_is_no_report_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("latest.json");
    fs::write(&path, "{\"schema\": 1,").unwrap();
    let error = Report::read(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("latest.json"), "{error}");

    let later = Report { schema: 2, ..report(Vec::new()) };
    fs::write(&path, serde_json::to_vec(&later).unwrap()).unwrap();
    assert!(Report::read(&path).unwrap_err().to_string().contains("schema is 2"));
    assert_eq!(Report::read(&home.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn what_json_can_not_hold_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("latest.json");
    let error = report(vec![figure("g", "relu", &[f64::INFINITY])]).write(&path).unwrap_err();
    assert!(error.to_string().contains("g / relu / cpu / speed"), "{error}");
    assert!(!path.exists());
}

#[test]
fn other_groups_are_kept_of_the_same_machine_and_commit_only() {
    let old = report(vec![figure("memory", "a", &[1.0]), figure("model", "b", &[1.0])]);
    let new = || report(vec![figure("memory", "c", &[2.0])]);
    let works = |report: &Report| report.figures.iter().map(|f| f.work.clone()).collect::<Vec<_>>();

    let mut merged = new();
    merged.keep(old.clone());
    assert_eq!((works(&merged), merged.groups()), (vec!["c".into(), "b".into()], vec!["memory", "model"]));

    let mut other_commit = new();
    other_commit.keep(Report { commit: "def".into(), ..old.clone() });
    assert_eq!(works(&other_commit), ["c"]);

    let mut other_machine = new();
    other_machine.keep(Report { machine: Machine { cores: 3, ..old.machine.clone() }, ..old });
    assert_eq!(works(&other_machine), ["c"]);
}

#[test]
fn changes_know_which_way_is_up() {
    let time = |seconds: f64| Figure { unit: "s".into(), ..figure("g", "time", &[seconds]) };
    let old = report(vec![figure("g", "speed", &[1.0, 1.1, 1.2]), time(2.0), figure("g", "gone", &[1.0])]);
    let new = report(vec![figure("g", "new", &[1.0]), figure("g", "speed", &[1.15, 1.3, 1.5]), time(1.0)]);
    let changes = new.compare(&old);
    assert_eq!(changes.iter().map(|c| c.new.work.as_str()).collect::<Vec<_>>(), ["speed", "time"]);
    assert!(changes[0].is_better() && !changes[0].is_clear());
    assert!(changes[1].is_better() && changes[1].is_clear() && changes[1].ratio() == 0.5);
}

#[test]
fn dates_are_right() {
    assert_eq!(utc(0), "1970-01-01T00:00:00Z");
    assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
    assert_eq!(utc(1_795_236_259), "2026-11-21T04:44:19Z");
    assert_eq!(utc(4_107_542_399), "2100-02-28T23:59:59Z");
    assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
}

#[test]
fn this_machine_can_be_described() {
    let machine = Machine::here();
    assert!(machine.cores > 0 && !machine.cpu.is_empty() && !machine.os.is_empty());
}
