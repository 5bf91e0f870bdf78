//! Bar plots in SVG.

use super::{
    escape,
    svg::{Axis, PARTS, anchor, line, round, text},
};
use crate::{
    figures::Figure,
    table::{amount, is_scaled, percent},
};
use std::fmt::Write;

/// Horizontal bars in one unit: one value each, or several stacked.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// The unit of all values, as in [`Figure::unit`].
    pub unit: String,
    /// The names of the stacked parts, for the legend. Empty: one part, no legend.
    pub parts: Vec<String>,
    /// From top to bottom.
    pub bars: Vec<Bar>,
    /// A line across all bars: its name and value.
    pub limit: Option<(String, f64)>,
}

/// One bar.
#[derive(Clone, Debug, Default)]
pub struct Bar {
    /// What it stands for.
    pub label: String,
    /// Its parts, from the left. None is negative.
    pub values: Vec<f64>,
    /// The least and the greatest of the repetitions.
    pub range: Option<(f64, f64)>,
    /// What the hardware allows for this bar, drawn as a mark.
    pub limit: Option<f64>,
}

/// A label, a bar and the space below.
const ROW: u32 = 42;
/// The height of a bar itself.
const BAR: u32 = 13;
/// The axis with its numbers.
const AXIS: u32 = 22;
/// The name of the limit line.
const LIMIT: u32 = 20;
/// Longer labels would reach the value on a telephone.
const LABEL_CHARS: usize = 38;

impl Plot {
    /// A plot without bars.
    pub fn new(title: impl Into<String>, unit: impl Into<String>) -> Plot {
        Plot { title: title.into(), unit: unit.into(), ..Plot::default() }
    }

    /// With stacked parts of these names.
    pub fn parts<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Plot {
        self.parts = names.into_iter().map(Into::into).collect();
        self
    }

    /// With a line across all bars.
    pub fn limit(mut self, name: impl Into<String>, value: f64) -> Plot {
        self.limit = Some((name.into(), value));
        self
    }

    /// Adds a bar of one value, or of stacked parts.
    pub fn bar(&mut self, label: impl Into<String>, values: &[f64]) {
        self.bars.push(Bar { label: label.into(), values: values.to_vec(), ..Bar::default() });
    }

    /// Adds a bar for a figure: its median, range and limit.
    pub fn figure(&mut self, figure: &Figure) {
        let range = Some((figure.min, figure.max));
        self.bars.push(Bar {
            label: figure.work.clone(),
            values: vec![figure.median],
            range,
            limit: figure.limit,
        });
    }

    /// One bar for each figure, which share a unit. A limit that all share becomes a line.
    pub fn of_figures(title: impl Into<String>, figures: &[&Figure]) -> Plot {
        let mut plot = Plot::new(title, figures.first().map_or("", |figure| &figure.unit));
        figures.iter().for_each(|figure| plot.figure(figure));
        let limits: Vec<_> = figures.iter().map(|figure| figure.limit).collect();
        if let Some(&Some(limit)) =
            limits.first().filter(|first| limits.len() > 1 && limits.iter().all(|l| l == *first))
        {
            plot.limit = Some(("limit".into(), limit));
        }
        plot
    }

    /// The largest number to be shown.
    fn extent(&self) -> f64 {
        let of_bar = |bar: &Bar| {
            let sum: f64 = bar.values.iter().sum();
            sum.max(bar.range.map_or(0.0, |range| range.1)).max(bar.limit.unwrap_or(0.0))
        };
        let limit = self.limit.as_ref().map_or(0.0, |limit| limit.1);
        self.bars.iter().map(of_bar).fold(limit, f64::max)
    }

    /// The plot as a `<figure>`.
    pub(super) fn html(&self) -> String {
        let axis = Axis::to(self.extent());
        let top = if self.limit.is_some() { LIMIT } else { 0 };
        let bottom = top + ROW * self.bars.len() as u32;
        let mut svg = String::new();
        self.grid(&mut svg, &axis, top, bottom);
        for (i, bar) in self.bars.iter().enumerate() {
            self.row(&mut svg, &axis, bar, top + ROW * i as u32);
        }
        if let Some((name, value)) = &self.limit {
            let x = axis.percent(*value);
            line(&mut svg, "limit", (x, top - 4), (x, bottom));
            let name = format!("{name} {}", amount(*value, &self.unit));
            text(&mut svg, "limit-name", x, top - 8, if x > 50.0 { "end" } else { "start" }, &name);
        }
        // Last, so that no line crosses a number.
        for (i, bar) in self.bars.iter().enumerate() {
            self.words(&mut svg, bar, top + ROW * i as u32);
        }
        let title = escape(&self.title);
        format!(
            "<figure class=\"plot\"><figcaption>{caption}</figcaption>{legend}\
             <svg width=\"100%\" height=\"{height}\" role=\"img\" aria-label=\"{title}\">{svg}</svg></figure>\n",
            caption = self.caption(),
            legend = self.legend(),
            height = bottom + AXIS,
        )
    }

    fn legend(&self) -> String {
        if self.parts.is_empty() {
            return String::new();
        }
        let part = |(i, name): (usize, &String)| {
            format!("<li><i class=\"part{}\"></i>{}</li>", i % PARTS, escape(name))
        };
        format!("<ul class=\"legend\">{}</ul>", self.parts.iter().enumerate().map(part).collect::<String>())
    }

    /// Lines at round numbers, and the numbers.
    fn grid(&self, svg: &mut String, axis: &Axis, top: u32, bottom: u32) {
        for tick in axis.ticks() {
            let x = axis.percent(tick);
            line(svg, "grid", (x, top), (x, bottom));
            text(svg, "tick", x, bottom + 16, anchor(x), &round(tick, &self.unit));
        }
    }

    /// The title, with the unit where the axis does not name it.
    fn caption(&self) -> String {
        let title = escape(&self.title);
        match self.unit.as_str() {
            "" => title,
            unit if is_scaled(unit) => title,
            unit => format!("{title} <span>{}</span>", escape(unit)),
        }
    }

    /// The label and the value above a bar.
    fn words(&self, svg: &mut String, bar: &Bar, y: u32) {
        let sum: f64 = bar.values.iter().sum();
        let mut value = amount(sum, &self.unit);
        if let Some(limit) = bar.limit.filter(|&limit| limit > 0.0) {
            value += &format!(" · {}", percent(100.0 * sum / limit));
        }
        text(svg, "label", 0.0, y + 14, "start", &shorten(&bar.label));
        text(svg, "value", 100.0, y + 14, "end", &value);
    }

    /// The bar, its range and its limit.
    fn row(&self, svg: &mut String, axis: &Axis, bar: &Bar, y: u32) {
        let _ = write!(svg, "<g><title>{}: {}</title>", escape(&bar.label), escape(&self.describe(bar)));
        let mut from = 0.0;
        for (i, &value) in bar.values.iter().enumerate() {
            let (x, width) = (axis.percent(from), axis.percent(value));
            let (part, y) = (i % PARTS, y + 20);
            let _ = write!(
                svg,
                "<rect class=\"part{part}\" x=\"{x:.2}%\" y=\"{y}\" width=\"{width:.2}%\" height=\"{BAR}\"/>"
            );
            from += value;
        }
        svg.push_str("</g>");

        let middle = y + 20 + BAR / 2;
        if let Some((min, max)) = bar.range.filter(|(min, max)| axis.percent(max - min) > 0.5) {
            line(svg, "range", (axis.percent(min), middle), (axis.percent(max), middle));
            for x in [min, max].map(|end| axis.percent(end)) {
                line(svg, "range", (x, middle - 3), (x, middle + 3));
            }
        }
        if let Some(limit) = bar.limit.filter(|_| self.limit.is_none()) {
            let x = axis.percent(limit);
            line(svg, "limit", (x, y + 17), (x, y + 23 + BAR));
        }
    }

    /// What the pointer shows over a bar.
    fn describe(&self, bar: &Bar) -> String {
        let mut parts = bar.values.iter().enumerate().map(|(i, &value)| {
            let name = self.parts.get(i).map_or(String::new(), |name| format!("{name} "));
            name + &amount(value, &self.unit)
        });
        let mut text = parts.next().unwrap_or_default();
        parts.for_each(|part| text += &format!(", {part}"));
        if let Some((min, max)) = bar.range {
            text += &format!(" ({} to {})", amount(min, &self.unit), amount(max, &self.unit));
        }
        text
    }
}

fn shorten(label: &str) -> String {
    match label.char_indices().nth(LABEL_CHARS) {
        None => label.to_owned(),
        Some(_) => label.chars().take(LABEL_CHARS - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_limits_are_in_proportion() {
        let mut plot = Plot::new("memory", "bytes").parts(["tensors", "workspace"]).limit("budget", 4e9);
        plot.bar("relu", &[1e9, 0.5e9]);
        let html = plot.html();
        assert!(html.contains("class=\"part0\" x=\"0.00%\" y=\"40\" width=\"25.00%\""), "{html}");
        assert!(html.contains("class=\"part1\" x=\"25.00%\" y=\"40\" width=\"12.50%\""), "{html}");
        assert!(
            html.contains("budget 4.00 GB") && html.contains("tensors 1.00 GB, workspace 500 MB"),
            "{html}"
        );
    }

    #[test]
    fn a_limit_that_all_share_is_a_line() {
        let figure = |work, limit| Figure::new(["g", work, "cuda", "speed"], "GB/s", vec![3.0]).limit(limit);
        let shared = [figure("a", 4.0), figure("b", 4.0)];
        assert!(Plot::of_figures("t", &shared.iter().collect::<Vec<_>>()).limit.is_some());
        let own = [figure("a", 4.0), figure("b", 5.0)];
        let plot = Plot::of_figures("t", &own.iter().collect::<Vec<_>>());
        assert!(plot.limit.is_none() && plot.html().matches("class=\"limit\"").count() == 2);
    }
}
