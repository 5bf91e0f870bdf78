use super::*;
use crate::figures::{Figure, Machine};
use std::sync::Arc;
use taut::memory::{Kind, PhantomBacking, Pool, Site, StreamId, scope};

fn report() -> Report {
    let machine =
        Machine { cpu: "made <up> & \"quoted\"".into(), cores: 2, os: "none".into(), ..Machine::default() };
    let figure = |work, device, x: f64| {
        Figure::new(["throughput", work, device, "bandwidth"], "GB/s", vec![x, 0.9 * x, 1.1 * x])
            .limit(5000.0)
    };
    let figures =
        vec![figure("relu", "cuda", 3969.0), figure("a < b", "cuda", 4152.0), figure("relu", "cpu", 21.5)];
    Report { figures, ..Report::new(machine, "0123456789abcdef0123-dirty".into()) }
}

fn page() -> String {
    let section =
        Section::new("throughput", "Throughput", "First.\n\nSecond, with x < y.").with_figures(&report());
    render(&report(), &[section, Section::new("model", "The real job", "")])
}

/// A block in a scope, and another for a moment.
fn timelines() -> Section {
    let pool = Pool::new(Arc::new(PhantomBacking::new(80 << 30, 0)));
    pool.record(10).unwrap();
    let _scope = scope("a < b");
    let take = |kind| pool.allocate(3_000_000, StreamId::COMPUTE, Site::new("relu", kind)).unwrap();
    let _kept = take(Kind::Saved);
    drop(take(Kind::Workspace));
    let timeline = pool.take_timeline().unwrap();
    let recorded =
        |work: &str| Recorded { work: work.into(), device: "plan".into(), timeline: timeline.clone() };
    let timelines = vec![recorded("MLP: in place"), recorded("MLP: f16"), recorded("whole")];
    Section { timelines, ..Section::new("timeline", "Timeline", "") }
}

/// Every element that is opened is closed, in order.
#[test]
fn the_page_is_well_formed() {
    is_well_formed(&page());
    let page = render(&report(), &[timelines()]);
    let (before, script) = page.split_once("<script>").unwrap();
    is_well_formed(&format!("{before}{}", script.split_once("</script>").unwrap().1));
}

fn is_well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(2).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag) {
        let name = tag.split(' ').next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "</{name}>"),
            None if tag.ends_with('/') || name == "meta" => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, [""; 0]);
}

#[test]
fn the_page_needs_nothing_else() {
    let page = page();
    for forbidden in ["http:", "https:", "<script", "src=", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

/// Two charts for each timeline, the first of those with one title open; owners are named without script.
#[test]
fn timelines_are_shown() {
    let page = render(&report(), &[timelines()]);
    assert_eq!((page.matches("class=\"chart\"").count(), page.matches("<details").count()), (6, 3));
    assert_eq!(page.matches("<details open>").count(), 2);
    for wanted in [
        "<h3>MLP, plan</h3>",
        "peak 6.00 MB live, 6.29 MB reserved · 3 events in ",
        "<title>relu · saved in a &lt; b, 3.00 MB at most</title>",
        " 3000000\"",
        "href=\"timeline/mlp-in-place-plan.json\"",
        "</i>workspace 3.00 MB</li>",
        ">peak 6.00 MB</text>",
    ] {
        assert!(page.contains(wanted), "{wanted} is missing");
    }
    assert!(!page.contains("budget"), "there is none");
}

#[test]
fn the_page_shows_what_was_measured() {
    let page = page();
    for wanted in [
        "href=\"#throughput\"",
        "id=\"model\"",
        "3,969 GB/s · 79.4 %",
        "a &lt; b",
        "made &lt;up&gt; &amp; &quot;quoted&quot;",
        "0123456789ab and changes",
        "<p>Second, with x &lt; y.</p>",
        "limit 5,000 GB/s",
        "<td class=\"number\">83.0 %</td>",
    ] {
        assert!(page.contains(wanted), "{wanted} is missing");
    }
    assert_eq!(page.matches("<figure").count(), 1, "one bar alone is no plot");
}
