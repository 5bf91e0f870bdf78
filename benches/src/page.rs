//! The page: one HTML file that needs nothing else. Without script it shows all there is; a few lines of it add the numbers
//! under the pointer.

mod plot;
mod svg;
mod timeline;

pub use plot::{Bar, Plot};

use crate::{
    atomic,
    figures::Report,
    table::{Table, amount, tables},
    timeline::Recorded,
};
use std::{fmt::Write, io, path::Path};

/// One group's part of the page.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its anchor: `#memory`.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// What was measured and how to read it, in plain text. An empty line begins a paragraph.
    pub intro: String,
    /// Shown first, side by side where there is room.
    pub plots: Vec<Plot>,
    /// Shown below the plots.
    pub tables: Vec<Table>,
    /// Shown below the tables.
    pub timelines: Vec<Recorded>,
}

impl Section {
    /// A section without plots and tables.
    pub fn new(id: impl Into<String>, title: impl Into<String>, intro: impl Into<String>) -> Section {
        Section { id: id.into(), title: title.into(), intro: intro.into(), ..Section::default() }
    }

    /// With everything that the report has on its group: a plot for each device and metric, and tables.
    pub fn with_figures(mut self, report: &Report) -> Section {
        let figures = report.group(&self.id);
        let mut seen = Vec::new();
        for first in &figures {
            let kind = (&first.device, &first.metric, &first.unit);
            if seen.contains(&kind) {
                continue;
            }
            seen.push(kind);
            let same: Vec<_> =
                figures.iter().copied().filter(|f| (&f.device, &f.metric, &f.unit) == kind).collect();
            if same.len() > 1 {
                self.plots.push(Plot::of_figures(format!("{}, {}", first.metric, first.device), &same));
            }
        }
        self.tables.extend(tables(&figures));
        self
    }

    fn html(&self) -> String {
        let mut html = format!("<section id=\"{}\">\n<h2>{}</h2>\n", escape(&self.id), escape(&self.title));
        for paragraph in self.intro.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
            let _ = writeln!(html, "<p>{}</p>", escape(paragraph.trim()));
        }
        if !self.plots.is_empty() {
            let plots: String = self.plots.iter().map(Plot::html).collect();
            let _ = writeln!(html, "<div class=\"plots\">\n{plots}</div>");
        }
        self.tables.iter().for_each(|t| html += &table(t));
        html + &timeline::html(&self.timelines) + "</section>\n"
    }
}

/// The whole page: what was measured where, then the sections in order.
pub fn render(report: &Report, sections: &[Section]) -> String {
    let links: String =
        sections.iter().map(|s| format!("<a href=\"#{}\">{}</a>", escape(&s.id), escape(&s.title))).collect();
    let body: String = sections.iter().map(Section::html).collect();
    let script = match sections.iter().any(|section| !section.timelines.is_empty()) {
        true => concat!("<script>\n", include_str!("page/timeline.js"), "</script>\n"),
        false => "",
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>taut: what was measured</title>\n<style>\n{style}</style>\n</head>\n<body>\n\
         <header>\n<h1>taut</h1>\n<p class=\"lead\">What <code>cargo xtask bench</code> measured on this machine.</p>\n\
         {facts}<nav>{links}</nav>\n</header>\n<main>\n{body}</main>\n\
         <footer>Numbers are medians; a thin line over a bar is the range of the repetitions. All figures: \
         <code>latest.json</code> beside this page.</footer>\n{script}</body>\n</html>\n",
        style = include_str!("page/style.css"),
        facts = facts(report),
    )
}

/// Renders the page and writes it, whole or not at all.
///
/// # Errors
///
/// Those of [`atomic::write`].
pub fn write(path: &Path, report: &Report, sections: &[Section]) -> io::Result<()> {
    atomic::write(path, render(report, sections).as_bytes())
}

/// The machine and the commit.
fn facts(report: &Report) -> String {
    let machine = &report.machine;
    let driver = match (&machine.driver, &machine.cuda) {
        (Some(driver), Some(cuda)) => Some(format!("{driver}, CUDA {cuda}")),
        (driver, _) => driver.clone(),
    };
    // Twelve digits name a commit; `-dirty` must not be cut off.
    let (commit, dirty) = report.commit.split_once('-').unwrap_or((&report.commit, ""));
    let commit = commit.get(..12).unwrap_or(commit);
    let facts = [
        ("GPU", Some(machine.gpu.clone().unwrap_or_else(|| "none".into()))),
        ("Driver", driver),
        ("CPU", Some(format!("{}, {} cores", machine.cpu, machine.cores))),
        ("Memory", Some(amount(machine.memory as f64, "bytes"))),
        ("System", Some(machine.os.clone())),
        ("Commit", Some(if dirty.is_empty() { commit.into() } else { format!("{commit} and changes") })),
        ("Date", report.date.as_deref().map(|date| date.replace('T', " ").replace('Z', " UTC"))),
    ];
    let mut html = String::from("<dl>\n");
    for (name, value) in facts.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        let _ = writeln!(html, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(value));
    }
    html + "</dl>\n"
}

/// The table, which scrolls sideways where it does not fit.
fn table(table: &Table) -> String {
    let class =
        |i: usize| if table.columns.get(i).is_some_and(|c| c.is_number) { " class=\"number\"" } else { "" };
    let mut html = String::from("<div class=\"scroll\"><table>\n");
    if !table.title.is_empty() {
        let _ = writeln!(html, "<caption>{}</caption>", escape(&table.title));
    }
    html += "<thead><tr>";
    for (i, column) in table.columns.iter().enumerate() {
        let _ = write!(html, "<th{}>{}</th>", class(i), escape(&column.head));
    }
    html += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        html += "<tr>";
        for (i, cell) in row.iter().enumerate() {
            let _ = write!(html, "<td{}>{}</td>", class(i), escape(cell));
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div>\n"
}

/// Text as it must stand in HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
