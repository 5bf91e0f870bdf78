//! The three tables as one: each flight with the weather at its hour and the clock at both of its ends.

use super::{
    Counts,
    table::{Code, Row, Table},
};
use std::{collections::HashMap, path::Path};
use taut::Result;

/// A flight that arrived. Times in minutes; NaN where a number is missing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flight {
    /// 1 to 365.
    pub(super) day: u32,
    /// Scheduled, since midnight in New York.
    pub(super) departure: u32,
    pub(super) departure_delay: f32,
    pub(super) arrival_delay: f32,
    pub(super) air_time: f32,
    /// Scheduled, from gate to gate.
    pub(super) block: f32,
    /// Miles.
    pub(super) distance: f32,
    pub(super) carrier: Code,
    pub(super) origin: Code,
    pub(super) destination: Code,
    pub(super) weather: Weather,
}

impl Flight {
    /// What the schedule leaves for taxiing.
    pub(super) fn slack(&self) -> f32 {
        self.block - self.air_time
    }

    /// The arrival delay if taxiing took no time.
    pub(super) fn base(&self) -> f32 {
        self.departure_delay - self.slack()
    }
}

/// The weather at an airport in an hour, in the units of the table: degrees Fahrenheit, miles per hour, inches, miles,
/// millibars, and percent. The wind comes from `wind_degrees`. NaN where a number is missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weather {
    pub(super) temperature: f32,
    pub(super) humidity: f32,
    pub(super) wind_degrees: f32,
    pub(super) wind_speed: f32,
    pub(super) rain: f32,
    pub(super) pressure: f32,
    pub(super) visibility: f32,
}

impl Weather {
    const UNKNOWN: Weather = Weather {
        temperature: f32::NAN,
        humidity: f32::NAN,
        wind_degrees: f32::NAN,
        wind_speed: f32::NAN,
        rain: f32::NAN,
        pressure: f32::NAN,
        visibility: f32::NAN,
    };
}

/// The weather by airport and hour.
type Hours = HashMap<(Code, u32), Weather>;

/// The clock of an airport.
#[derive(Clone, Copy)]
struct Clock {
    /// Hours from UTC in winter.
    winter: f32,
    /// Whether summer adds an hour, at the time when it does in New York.
    has_summer: bool,
}

/// The destinations that the table of airports lacks are in Puerto Rico and on the Virgin Islands: Atlantic time.
const ATLANTIC: Clock = Clock { winter: -4.0, has_summer: false };

/// Reads the tables in `folder`.
pub(super) fn join(folder: &Path) -> Result<(Vec<Flight>, Counts)> {
    let (clocks, airports) = clocks(folder)?;
    let (weather, weather_rows) = weather(folder)?;
    let columns = [
        "month",
        "day",
        "hour",
        "sched_dep_time",
        "sched_arr_time",
        "dep_delay",
        "arr_delay",
        "air_time",
        "distance",
        "carrier",
        "origin",
        "dest",
        "time_hour",
    ];
    let mut joined = Vec::new();
    let flights = Table::open(folder.join("flights.csv.gz"), columns)?.rows(|row| {
        joined.extend(flight(row, &clocks, &weather)?);
        Ok(())
    })?;
    let counts = Counts { flights, arrived: joined.len(), weather: weather_rows, airports };
    Ok((joined, counts))
}

/// The flight of a row, if it arrived.
fn flight(row: Row<'_, 13>, clocks: &HashMap<Code, Clock>, weather: &Hours) -> Result<Option<Flight>> {
    let (departure_delay, arrival_delay, air_time) = (row.number(5)?, row.number(6)?, row.number(7)?);
    if departure_delay.is_nan() || arrival_delay.is_nan() || air_time.is_nan() {
        return Ok(None);
    }
    let (departure, arrival) = (row.clock(3)?, row.clock(4)?);
    let (origin, destination, hour) = (row.code(10)?, row.code(11)?, row.hour(12)?);
    // New York is four hours behind UTC in summer and five in winter.
    let behind = (hour % 100 + 24 - row.count(2, 23)?) % 24;
    let clock = clocks.get(&destination).unwrap_or(&ATLANTIC);
    let ahead = clock.winter + f32::from(u8::from(behind == 4 && clock.has_summer)) + behind as f32;
    Ok(Some(Flight {
        day: day_of_year(row.count(0, 12)?, row.count(1, 31)?),
        departure,
        departure_delay,
        arrival_delay,
        air_time,
        block: (arrival as f32 - departure as f32 - 60.0 * ahead).rem_euclid(1440.0),
        distance: row.number(8)?,
        carrier: row.code(9)?,
        origin,
        destination,
        weather: weather.get(&(origin, hour)).copied().unwrap_or(Weather::UNKNOWN),
    }))
}

/// The day of a year that is no leap year, from 1 on.
fn day_of_year(month: u32, day: u32) -> u32 {
    const LENGTHS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    LENGTHS.iter().take(month.saturating_sub(1) as usize).sum::<u32>() + day
}

/// The clocks of the airports, and how many rows there are.
fn clocks(folder: &Path) -> Result<(HashMap<Code, Clock>, usize)> {
    let mut clocks = HashMap::new();
    let rows = Table::open(folder.join("airports.csv.gz"), ["faa", "tz", "dst"])?.rows(|row| {
        clocks.insert(row.code(0)?, Clock { winter: row.number(1)?, has_summer: row.text(2)? == "A" });
        Ok(())
    })?;
    Ok((clocks, rows))
}

/// The weather by airport and hour, and how many rows there are.
fn weather(folder: &Path) -> Result<(Hours, usize)> {
    let columns =
        ["origin", "time_hour", "temp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"];
    let mut hours = HashMap::new();
    let rows = Table::open(folder.join("weather.csv.gz"), columns)?.rows(|row| {
        let weather = Weather {
            temperature: row.number(2)?,
            humidity: row.number(3)?,
            wind_degrees: row.number(4)?,
            wind_speed: row.number(5)?,
            rain: row.number(6)?,
            pressure: row.number(7)?,
            visibility: row.number(8)?,
        };
        hours.insert((row.code(0)?, row.hour(1)?), weather);
        Ok(())
    })?;
    Ok((hours, rows))
}
