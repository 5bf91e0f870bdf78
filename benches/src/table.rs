//! Tables of text, for the terminal and for the page, and how numbers are written in both.

use crate::figures::Figure;
use std::fmt;

/// A table whose columns stand left (names) or right (numbers). [`Display`](fmt::Display) aligns it for a
/// terminal.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// The heads of the columns.
    pub columns: Vec<Column>,
    /// As many cells in each as there are columns.
    pub rows: Vec<Vec<String>>,
}

/// The head of a column.
#[derive(Clone, Debug)]
pub struct Column {
    /// What it says.
    pub head: String,
    /// Are its cells numbers, which stand right?
    pub is_number: bool,
}

impl Table {
    /// A table without columns.
    pub fn new(title: impl Into<String>) -> Table {
        Table { title: title.into(), ..Table::default() }
    }

    /// With one more column of names.
    pub fn names(mut self, head: impl Into<String>) -> Table {
        self.columns.push(Column { head: head.into(), is_number: false });
        self
    }

    /// With one more column of numbers.
    pub fn numbers(mut self, head: impl Into<String>) -> Table {
        self.columns.push(Column { head: head.into(), is_number: true });
        self
    }

    /// Adds a row. Missing cells are empty, those beyond the columns are dropped.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
    }

    /// One row for each work and device, one column for each metric, in the order in which they come. A
    /// metric with limits gets a column of percents.
    pub fn of_figures(title: impl Into<String>, figures: &[&Figure]) -> Table {
        let mut works: Vec<(&str, &str)> = Vec::new();
        let mut metrics: Vec<(&str, &str)> = Vec::new();
        for figure in figures {
            push_new(&mut works, (&figure.work, &figure.device));
            push_new(&mut metrics, (&figure.metric, &figure.unit));
        }
        let limited = |metric: (&str, &str)| figures.iter().any(|f| is(f, metric) && f.percent().is_some());

        let mut table = Table::new(title).names("work").names("device");
        for &(metric, unit) in &metrics {
            let head = if is_scaled(unit) || unit.is_empty() {
                metric.to_owned()
            } else {
                format!("{metric}, {unit}")
            };
            table = table.numbers(head);
            if limited((metric, unit)) {
                table = table.numbers("of limit");
            }
        }
        for (work, device) in works {
            let mut cells = vec![work.to_owned(), device.to_owned()];
            for &metric in &metrics {
                let figure = figures.iter().find(|f| f.work == work && f.device == device && is(f, metric));
                cells.push(
                    figure.map_or(String::new(), |f| {
                        if is_scaled(&f.unit) { f.text() } else { number(f.median) }
                    }),
                );
                if limited(metric) {
                    cells.push(figure.and_then(|f| f.percent()).map_or(String::new(), percent));
                }
            }
            table.row(cells);
        }
        table
    }
}

/// [`Table::of_figures`] for each set of metrics that works share, so that no column is mostly empty.
pub fn tables(figures: &[&Figure]) -> Vec<Table> {
    let metrics = |of: &Figure| {
        let mut metrics: Vec<&str> = Vec::new();
        figures.iter().filter(|f| f.work == of.work).for_each(|f| push_new(&mut metrics, f.metric.as_str()));
        metrics
    };
    let mut sets = Vec::new();
    figures.iter().for_each(|f| push_new(&mut sets, metrics(f)));
    let share = |set| figures.iter().copied().filter(|&f| metrics(f) == set).collect::<Vec<_>>();
    sets.into_iter().map(|set| Table::of_figures("", &share(set))).collect()
}

fn is(figure: &Figure, (metric, unit): (&str, &str)) -> bool {
    figure.metric == metric && figure.unit == unit
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |i: usize| {
            let cells = self.rows.iter().map(|row| row[i].chars().count());
            cells.chain([self.columns[i].head.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for ((cell, &width), column) in cells.zip(&widths).zip(&self.columns) {
                line +=
                    &if column.is_number { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
            }
            line.trim_end().to_owned()
        };
        if !self.title.is_empty() {
            writeln!(f, "{}", self.title)?;
        }
        writeln!(f, "{}", line(&mut self.columns.iter().map(|column| column.head.as_str())))?;
        let rules: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
        writeln!(f, "{}", line(&mut rules.iter().map(String::as_str)))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", line(&mut row.iter().map(String::as_str))))
    }
}

impl Figure {
    /// The median with its unit: `4.73 GB`, `48.3 ms`, `4,233 GB/s`.
    pub fn text(&self) -> String {
        amount(self.median, &self.unit)
    }
}

/// A number with its unit. Bytes and seconds get the prefix that suits them.
pub fn amount(x: f64, unit: &str) -> String {
    match unit {
        "bytes" => scaled(x, &[(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")]),
        "s" => scaled(x, &[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")]),
        "" => number(x),
        unit => format!("{} {unit}", number(x)),
    }
}

/// Does [`amount`] choose a prefix for this unit, so that a whole column can not share it?
pub(crate) fn is_scaled(unit: &str) -> bool {
    matches!(unit, "bytes" | "s")
}

/// In the first unit that is not too large, or in the last, with three digits.
fn scaled(x: f64, units: &[(f64, &str)]) -> String {
    let fits = |&&(scale, _): &&(f64, &str)| x.abs() >= scale * 0.9995;
    match units.iter().find(fits).or(units.last()) {
        Some(_) if x == 0.0 => {
            format!("0 {}", units.iter().find(|unit| unit.0 == 1.0).map_or("", |unit| unit.1))
        }
        Some((scale, name)) => format!("{} {name}", digits(x / scale, 3)),
        None => digits(x, 3),
    }
}

/// A number with four digits, and commas between thousands: `0.9713`, `14.37`, `4,233`. Whole numbers are not
/// rounded.
pub fn number(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e15 { digits(x, 1) } else { digits(x, 4) }
}

/// A percentage: `94.2 %`.
pub fn percent(x: f64) -> String {
    format!("{x:.1} %")
}

/// A number with at least `n` significant digits if it has them; whole digits are never dropped.
fn digits(x: f64, n: usize) -> String {
    if !x.is_finite() {
        return "–".into();
    }
    // The exponent after rounding: 0.9999 with three digits is 1.00.
    let rounded = format!("{x:.*e}", n - 1);
    let magnitude: i32 = rounded.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let decimals = usize::try_from(n as i32 - 1 - magnitude).unwrap_or(0).min(12);
    let text = format!("{x:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (x, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (327_346.0, "327,346"),
            (-1234.5, "-1,234"),
            (4232.7, "4,233"),
            (14.3712, "14.37"),
            (0.000_123_456, "0.0001235"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(number(x), text);
        }
    }

    #[test]
    fn amounts_choose_their_prefix() {
        for (x, unit, text) in [
            (0.0, "bytes", "0 B"),
            (512.0, "bytes", "512 B"),
            (4.73e9, "bytes", "4.73 GB"),
            (552e6, "bytes", "552 MB"),
            (999.9e6, "bytes", "1.00 GB"),
            (0.0483, "s", "48.3 ms"),
            (3.3e-6, "s", "3.30 µs"),
            (95.2, "s", "95.2 s"),
            (0.0, "s", "0 s"),
            (4233.0, "GB/s", "4,233 GB/s"),
            (1.0, "", "1"),
        ] {
            assert_eq!(amount(x, unit), text);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new("speed").names("work").numbers("µs");
        table.row(["relu", "12.5"]);
        table.row(["leaky_relu", "7"]);
        assert_eq!(
            table.to_string(),
            "speed\nwork          µs\n──────────  ────\nrelu        12.5\nleaky_relu     7\n"
        );
    }

    #[test]
    fn figures_become_rows_and_metrics_columns() {
        let figure = |work, device, metric, unit, x| Figure::new(["g", work, device, metric], unit, vec![x]);
        let figures = [
            figure("relu", "cpu", "time", "s", 0.25),
            figure("relu", "cpu", "speed", "GB/s", 20.0).limit(25.0),
            figure("relu", "cuda", "speed", "GB/s", 4000.0),
        ];
        let table = Table::of_figures("t", &figures.iter().collect::<Vec<_>>());
        let heads: Vec<_> = table.columns.iter().map(|column| column.head.as_str()).collect();
        assert_eq!(heads, ["work", "device", "time", "speed, GB/s", "of limit"]);
        assert_eq!(table.rows[0], ["relu", "cpu", "250 ms", "20", "80.0 %"]);
        assert_eq!(table.rows[1], ["relu", "cuda", "", "4,000", ""]);
    }

    #[test]
    fn works_with_other_metrics_get_a_table_of_their_own() {
        let figure = |work, metric| Figure::new(["g", work, "cpu", metric], "GB/s", vec![1.0]);
        let figures = [figure("relu", "copy"), figure("add", "copy"), figure("matmul", "product")];
        let tables = tables(&figures.iter().collect::<Vec<_>>());
        assert_eq!(tables.iter().map(|table| table.rows.len()).collect::<Vec<_>>(), [2, 1]);
    }
}
