use super::*;
use crate::figures::{Figure, Machine};

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

/// Every element that is opened is closed, in order.
#[test]
fn the_page_is_well_formed() {
    let page = page();
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
