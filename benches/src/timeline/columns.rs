//! The columns of a chart, filled event by event.

use super::{COLUMNS, Run};
use taut::memory::{Level, Timeline};

/// What is known while a timeline is gone through.
pub(super) struct Columns {
    /// Live bytes of each band.
    pub(super) now: Vec<u64>,
    /// The times of the first and the last event.
    time: (u64, u64),
    overhead_bytes: u64,
    level: Level,
    /// The column that is being filled: its number, the most live bytes in it, and the bands then.
    column: usize,
    most_bytes: u64,
    run: Run,
    done: Vec<Run>,
    /// The most live bytes, and the column.
    peak: (u64, usize),
}

impl Columns {
    /// At the start of a timeline, with these live bytes of each band.
    pub(super) fn new(timeline: &Timeline, now: Vec<u64>, time: (u64, u64)) -> Columns {
        let (level, overhead_bytes) = (timeline.start, timeline.overhead_bytes);
        let most_bytes = level.live_bytes;
        let run = Run { start: 0, bytes: now.clone(), reserved_bytes: 0, budget_bytes: u64::MAX };
        let (done, peak) = (Vec::new(), (most_bytes, 0));
        let mut columns =
            Columns { now, time, overhead_bytes, level, column: 0, most_bytes, run, done, peak };
        columns.limits();
        columns
    }

    /// Goes on to the column of this time: those before it are complete.
    pub(super) fn advance(&mut self, nanoseconds: u64) {
        let (start, end) = self.time;
        let (passed, all) = (nanoseconds.saturating_sub(start), end - start + 1);
        let column = u128::from(passed) * COLUMNS as u128 / u128::from(all);
        while (self.column as u128) < column {
            self.close();
        }
    }

    /// Takes up the state after an event: `now`, and these figures.
    pub(super) fn see(&mut self, level: &Level) {
        self.level = *level;
        if level.live_bytes >= self.most_bytes {
            self.most_bytes = level.live_bytes;
            self.run.bytes.clone_from(&self.now);
        }
        if level.live_bytes > self.peak.0 {
            self.peak = (level.live_bytes, self.column);
        }
        self.limits();
    }

    /// All runs, and the peak with its column.
    pub(super) fn finish(mut self) -> (Vec<Run>, (u64, usize)) {
        while self.column < COLUMNS {
            self.close();
        }
        (self.done, self.peak)
    }

    fn limits(&mut self) {
        let (run, level) = (&mut self.run, &self.level);
        run.reserved_bytes = run.reserved_bytes.max(level.reserved_bytes);
        let budget_bytes = level.budget_bytes.saturating_sub(self.overhead_bytes);
        run.budget_bytes = run.budget_bytes.min(budget_bytes);
    }

    /// Ends the column. The next one begins with what there is now.
    fn close(&mut self) {
        let same = |last: &Run| Run { start: last.start, ..self.run.clone() } == *last;
        if !self.done.last().is_some_and(same) {
            self.done.push(self.run.clone());
        }
        self.column += 1;
        self.most_bytes = self.level.live_bytes;
        let bytes = self.now.clone();
        self.run = Run { start: self.column, bytes, reserved_bytes: 0, budget_bytes: u64::MAX };
        self.limits();
    }
}
