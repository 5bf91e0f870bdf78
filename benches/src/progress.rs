//! What a waiting user sees: a bar with the remaining time, or one line a step where nobody watches.

use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{self, IsTerminal},
    time::Duration,
};

/// The progress of one group of work. Dropping it clears the bar.
#[derive(Debug)]
pub struct Progress {
    title: String,
    view: View,
}

#[derive(Debug)]
enum View {
    Bar(ProgressBar),
    /// Standard error is no terminal: the length and the position.
    Lines(u64, u64),
}

impl Progress {
    /// Progress from 0 to `length`, in whatever is worth counting: works, iterations, expected milliseconds.
    pub fn new(title: impl Into<String>, length: u64) -> Progress {
        let title = title.into();
        if !io::stderr().is_terminal() {
            return Progress { title, view: View::Lines(length, 0) };
        }
        let bar = ProgressBar::new(length);
        let style = "{prefix:>12} {bar:28} {percent:>3} %  {eta:>4} left  {wide_msg}";
        // A bad template would only cost the looks.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(title.clone());
        bar.enable_steady_tick(Duration::from_millis(250));
        Progress { title, view: View::Bar(bar) }
    }

    /// Says what is being done from now on.
    pub fn step(&self, what: &str) {
        match &self.view {
            View::Bar(bar) => bar.set_message(what.to_owned()),
            View::Lines(length, position) => eprintln!("{} {position}/{length}: {what}", self.title),
        }
    }

    /// This much more is done.
    pub fn advance(&mut self, by: u64) {
        match &mut self.view {
            View::Bar(bar) => bar.inc(by),
            View::Lines(_, position) => *position += by,
        }
    }

    /// Prints to standard output without tearing the bar: for a table that is ready before the end.
    pub fn print(&self, text: &str) {
        match &self.view {
            View::Bar(bar) => bar.suspend(|| println!("{text}")),
            View::Lines(..) => println!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let View::Bar(bar) = &self.view {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_there_are_lines() {
        if io::stderr().is_terminal() {
            return;
        }
        let mut progress = Progress::new("test", 3);
        progress.step("first");
        progress.advance(2);
        assert!(matches!(progress.view, View::Lines(3, 2)));
    }
}
