//! Timelines in SVG: stacked bands over time, the line of the reserved bytes, and that of the budget.

use super::{
    escape,
    svg::{Axis, PARTS, anchor, line, round, text},
};
use crate::{
    table::{amount, number},
    timeline::{Band, COLUMNS, Chart, FOLDER, Group, Recorded, Run, Split},
};
use std::{cmp::Reverse, fmt::Write};

/// The name of the peak.
const TOP: u32 = 24;
/// The bands.
const HEIGHT: u32 = 220;
/// The axis with its numbers and its name.
const AXIS: u32 = 38;
/// A band with its name in it is as high at least.
const LABEL: u32 = 16;
/// Columns that a character takes, on a page of full width.
const CHAR: usize = 6;
/// Units of the paths in a pixel.
const FINE: u32 = 10;

/// The colour of a kind, by its number: what is alike in use is not alike in colour.
const OF_KINDS: [usize; 8] = [0, 4, 6, 5, 3, 1, 7, 8];
/// The colour of a scope, by its place.
const OF_SCOPES: [usize; 8] = [0, 1, 3, 4, 5, 7, 8, 6];
/// The colour of what has none.
const GREY: usize = 2;

/// The timelines, each to be opened; the first of those with one title is open.
pub(super) fn html(timelines: &[Recorded]) -> String {
    let (mut html, mut last) = (String::new(), String::new());
    for recorded in timelines {
        let (title, label) = recorded.work.split_once(": ").unwrap_or((&recorded.work, "all of it"));
        let title = format!("{title}, {}", recorded.device);
        let first = last != title;
        if first {
            let _ = writeln!(html, "<h3>{}</h3>", escape(&title));
        }
        html += &details(recorded, label, first);
        last = title;
    }
    html
}

fn details(recorded: &Recorded, label: &str, open: bool) -> String {
    let charts = [("kind", Split::Kind), ("scope", Split::Scope)];
    let charts = charts.map(|(name, split)| (name, Chart::new(&recorded.timeline, split)));
    let [(_, chart), _] = &charts;
    let most = |of: fn(&Run) -> u64| chart.runs.iter().map(of).max().unwrap_or(0) as f64;
    let facts = format!(
        "peak {} live, {} reserved · {} events in {}",
        amount(chart.peak_bytes as f64, "bytes"),
        amount(most(|run| run.reserved_bytes), "bytes"),
        number(recorded.timeline.events.len() as f64),
        amount((chart.time.1 - chart.time.0) as f64 / 1e9, "s"),
    );
    let lost = match recorded.timeline.lost {
        0 => String::new(),
        lost => format!(" Of {} events before these only the sums are known.", number(lost as f64)),
    };
    let figures: String = charts.iter().map(|(name, chart)| figure(name, chart, recorded)).collect();
    let file = format!("{FOLDER}/{}", recorded.file());
    format!(
        "<details{open}><summary><b>{}</b> <span>{}</span></summary>\n{figures}\
         <p class=\"note\">Every event: <a href=\"{file}\">{file}</a>.{lost}</p></details>\n",
        escape(label),
        escape(&facts),
        open = if open { " open" } else { "" },
        file = escape(&file),
    )
}

/// One chart with its legend.
fn figure(name: &str, chart: &Chart, recorded: &Recorded) -> String {
    let budget = budget(chart, recorded);
    let shown = budget.filter(|&bytes| bytes <= 2 * chart.most_bytes());
    let axis = Axis::to(chart.most_bytes().max(shown.unwrap_or(0)) as f64);
    let mut svg = String::new();
    grid(&mut svg, &axis, chart);
    let _ = write!(
        svg,
        "<svg y=\"{TOP}\" width=\"100%\" height=\"{HEIGHT}\" viewBox=\"0 0 {COLUMNS} {}\" preserveAspectRatio=\"none\">",
        HEIGHT * FINE
    );
    for (i, band) in chart.bands.iter().enumerate() {
        area(&mut svg, chart, i, band, &axis);
    }
    steps(&mut svg, "reserved", chart, &axis, |i| chart.runs[i].reserved_bytes);
    if shown.is_some() {
        steps(&mut svg, "limit", chart, &axis, |i| chart.runs[i].budget_bytes);
    }
    svg += "</svg>";
    labels(&mut svg, chart, &axis);
    peak(&mut svg, chart, &axis);
    let _ = write!(svg, "<path class=\"cursor\" d=\"M 0 {TOP} V {}\"/>", TOP + HEIGHT);
    let (title, legend) = (format!("Live bytes by {name}"), legend(chart, budget, shown.is_some()));
    let starts: Vec<String> = chart.runs.iter().map(|run| run.start.to_string()).collect();
    format!(
        "<figure class=\"timeline\"><figcaption>{title}</figcaption>{legend}\
         <div class=\"chart\" data-starts=\"{}\" data-time=\"{} {} {COLUMNS}\">\
         <svg width=\"100%\" height=\"{}\" role=\"img\" aria-label=\"{title}\">{svg}</svg>\
         <div class=\"hover\"></div></div></figure>\n",
        starts.join(" "),
        chart.time.0,
        chart.time.1,
        TOP + HEIGHT + AXIS,
    )
}

/// The least budget, less what the device takes for itself, if there is one.
fn budget(chart: &Chart, recorded: &Recorded) -> Option<u64> {
    let none = recorded.timeline.capacity_bytes.saturating_sub(recorded.timeline.overhead_bytes);
    chart.runs.iter().map(|run| run.budget_bytes).min().filter(|&bytes| bytes < none)
}

fn legend(chart: &Chart, budget: Option<u64>, is_shown: bool) -> String {
    let item = |class: String, text: String| format!("<li><i class=\"{class}\"></i>{}</li>", escape(&text));
    let bytes = |bytes: u64| amount(bytes as f64, "bytes");
    let mut html = String::from("<ul class=\"legend\">");
    // As they lie above each other.
    for group in chart.groups.iter().rev() {
        let class = format!("part{}", colour(group, chart));
        html += &item(class, format!("{} {}", group.name, bytes(group.peak_bytes)));
    }
    let reserved = chart.runs.iter().map(|run| run.reserved_bytes).max().unwrap_or(0);
    html += &item("reserved".into(), format!("reserved {}", bytes(reserved)));
    if let Some(budget) = budget {
        let beyond = if is_shown { "" } else { ", above the plot" };
        html += &item("limit".into(), format!("budget {}{beyond}", bytes(budget)));
    }
    html + "</ul>"
}

/// The class number of a group.
fn colour(group: &Group, chart: &Chart) -> usize {
    let table = if chart.split == Split::Kind { OF_KINDS } else { OF_SCOPES };
    group.colour.map_or(GREY, |i| table[i % table.len()]) % PARTS
}

/// Lines at round numbers of bytes, and the numbers; round times below.
fn grid(svg: &mut String, axis: &Axis, chart: &Chart) {
    let bottom = TOP + HEIGHT;
    for tick in axis.ticks() {
        let y = bottom - height(axis, tick) / FINE;
        line(svg, "grid", (0.0, y), (100.0, y));
        let bytes = escape(&round(tick, "bytes"));
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"0\" dx=\"-8\" y=\"{}\" text-anchor=\"end\">{bytes}</text>",
            y + 4
        );
    }
    let (start, end) = (chart.time.0 as f64 / 1e9, chart.time.1 as f64 / 1e9);
    let step = Axis::to(end - start).step;
    let first = (start / step).ceil();
    for i in 0..=6 {
        let tick = (first + f64::from(i)) * step;
        let x = 100.0 * (tick - start) / (end - start);
        if x <= 100.0 {
            line(svg, "grid", (x, bottom), (x, bottom + 4));
            text(svg, "tick", x, bottom + 17, anchor(x), &round(tick, "s"));
        }
    }
    text(svg, "tick", 100.0, bottom + 33, "end", "time on the host since the recording began");
}

/// The band `i` above those below it. Nothing where it holds nothing.
fn area(svg: &mut String, chart: &Chart, i: usize, band: &Band, axis: &Axis) {
    let y = |bytes: u64| HEIGHT * FINE - height(axis, bytes as f64);
    let edges = |run: usize| {
        let below: u64 = chart.runs[run].bytes[..i].iter().sum();
        (y(below), y(below + chart.runs[run].bytes[i]))
    };
    let (mut path, mut changes) = (String::new(), String::new());
    let mut run = 0;
    while run < chart.runs.len() {
        let first = run;
        while run < chart.runs.len() && chart.runs[run].bytes[i] > 0 {
            run += 1;
        }
        if first == run {
            run += 1;
            continue;
        }
        // There along the top, back along the bottom.
        let _ = write!(path, "M{} {}", chart.runs[first].start, edges(first).0);
        for (top, to) in merged(first..run, |r| edges(r).1, |r| end(chart, r)) {
            let _ = write!(path, "V{top}H{to}");
        }
        for (bottom, to) in merged((first..run).rev(), |r| edges(r).0, |r| chart.runs[r].start) {
            let _ = write!(path, "V{bottom}H{to}");
        }
        path.push('Z');
    }
    let mut last = 0;
    for (run, bytes) in chart.runs.iter().map(|run| run.bytes[i]).enumerate() {
        if bytes != last {
            let _ = write!(changes, "{}{run} {bytes}", if changes.is_empty() { "" } else { " " });
            last = bytes;
        }
    }
    let shade = chart.bands[..i].iter().filter(|other| other.group == band.group).count() % 3;
    let class = colour(&chart.groups[band.group], chart);
    let _ = write!(
        svg,
        "<path class=\"band part{class} shade{shade}\" data-bytes=\"{changes}\" d=\"{path}\"><title>{}</title></path>",
        escape(&name(band, &chart.groups[band.group])),
    );
}

/// The ops of bands that have room for their names: where a band is thickest over the width of a word.
fn labels(svg: &mut String, chart: &Chart, axis: &Axis) {
    for (i, band) in chart.bands.iter().enumerate() {
        let Some(owner) = band.owner else { continue };
        // Of each column, the height of the band's lower and upper edge.
        let mut edges: Vec<(u32, u32)> = Vec::with_capacity(COLUMNS);
        for (run, Run { bytes, .. }) in chart.runs.iter().enumerate() {
            let below: u64 = bytes[..i].iter().sum();
            let edge = (height(axis, below as f64), height(axis, (below + bytes[i]) as f64));
            edges.resize(end(chart, run), edge);
        }
        // Room that is there from the first to the last column of a word.
        let room = |window: &[(u32, u32)]| {
            let low = window.iter().map(|edge| edge.0).max().unwrap_or(0);
            let high = window.iter().map(|edge| edge.1).min().unwrap_or(0);
            (high.saturating_sub(low), low)
        };
        let words = match chart.split {
            Split::Kind if owner.scope.name().is_empty() => owner.op.to_owned(),
            Split::Kind => format!("{} in {}", owner.op, owner.scope),
            Split::Scope => format!("{} · {}", owner.op, owner.kind),
        };
        let word = CHAR * words.chars().count();
        // Of equal places the one nearest to the middle.
        let middle = COLUMNS.saturating_sub(word) / 2;
        let best = edges
            .windows(word)
            .enumerate()
            .max_by_key(|(from, window)| (room(window).0, Reverse(from.abs_diff(middle))));
        if let Some((from, (thick, low))) = best.map(|(from, window)| (from, room(window)))
            && thick >= LABEL * FINE
        {
            let x = 100.0 * (from + word / 2) as f64 / COLUMNS as f64;
            let y = TOP + HEIGHT - (low + thick / 2) / FINE + 4;
            text(svg, "inside", x, y, "middle", &words);
        }
    }
}

/// `linear · weights in model/layer3, 4.20 MB at most`.
fn name(band: &Band, group: &Group) -> String {
    let peak = amount(band.peak_bytes as f64, "bytes");
    let Some(owner) = band.owner else { return format!("small ones of {}, {peak} at most", group.name) };
    let scope = if owner.scope.name().is_empty() { String::new() } else { format!(" in {}", owner.scope) };
    format!("{} · {}{scope}, {peak} at most", owner.op, owner.kind)
}

/// A line through what each run has of something.
fn steps(svg: &mut String, class: &str, chart: &Chart, axis: &Axis, bytes: impl Fn(usize) -> u64) {
    let y = |run: usize| HEIGHT * FINE - height(axis, bytes(run) as f64);
    let mut path = format!("M0 {}", y(0));
    for (y, to) in merged(0..chart.runs.len(), y, |run| end(chart, run)) {
        let _ = write!(path, "V{y}H{to}");
    }
    let changes: Vec<String> = (0..chart.runs.len())
        .filter(|&run| run == 0 || bytes(run) != bytes(run - 1))
        .map(|run| format!("{run} {}", bytes(run)))
        .collect();
    let _ = write!(svg, "<path class=\"{class}\" data-bytes=\"{}\" d=\"{path}\"/>", changes.join(" "));
}

/// Heights of neighbouring runs, with where they end: equal ones are one.
fn merged(
    runs: impl Iterator<Item = usize>,
    height: impl Fn(usize) -> u32,
    end: impl Fn(usize) -> usize,
) -> Vec<(u32, usize)> {
    let mut merged: Vec<(u32, usize)> = Vec::new();
    for run in runs {
        match merged.last_mut() {
            Some((last, to)) if *last == height(run) => *to = end(run),
            _ => merged.push((height(run), end(run))),
        }
    }
    merged
}

/// The column behind a run.
fn end(chart: &Chart, run: usize) -> usize {
    chart.runs.get(run + 1).map_or(COLUMNS, |next| next.start)
}

/// A dot on the highest moment, and how much that was: above the reserved bytes, if that is near.
fn peak(svg: &mut String, chart: &Chart, axis: &Axis) {
    let x = 100.0 * (chart.peak_column as f64 + 0.5) / COLUMNS as f64;
    let y = |bytes: u64| TOP + HEIGHT - height(axis, bytes as f64) / FINE;
    let dot = y(chart.peak_bytes);
    let _ = write!(svg, "<circle class=\"peak\" cx=\"{x:.2}%\" cy=\"{dot}\" r=\"3\"/>");
    let words = format!("peak {}", amount(chart.peak_bytes as f64, "bytes"));
    let room = CHAR * 2 * words.len();
    let near = |run: &usize| {
        let (from, to) = (chart.runs[*run].start, end(chart, *run));
        from < chart.peak_column + room && to + room > chart.peak_column
    };
    let reserved = (0..chart.runs.len()).filter(near).map(|run| chart.runs[run].reserved_bytes).max();
    let line = y(reserved.unwrap_or(0)).min(dot);
    let above = if dot - line <= 2 * TOP { line } else { dot };
    text(svg, "value", x, above.saturating_sub(8).max(12), anchor(x), &words);
}

/// Of a number of bytes above the ground, in units of the paths.
fn height(axis: &Axis, bytes: f64) -> u32 {
    (axis.percent(bytes) / 100.0 * f64::from(HEIGHT * FINE)).round() as u32
}
