//! From flights to rows of numbers.

use super::{Flights, Rows, TARGET_MINUTES, WIDTH, join::Flight};
use std::{collections::HashMap, f64::consts::TAU, hash::Hash};
use taut::f16;

/// Columns in use, without the constant.
const COLUMNS: usize = 27;

/// Standard deviations from the mean beyond which a feature is cut off.
const CLIP: f64 = 4.0;

/// Flights for which the overall mean stands in, in the mean of a group: few flights say little.
const SHRINKAGE: f64 = 20.0;

/// Every fifth row is a test row.
const TEST_STEP: usize = 5;

fn is_test(row: usize) -> bool {
    row.is_multiple_of(TEST_STEP)
}

/// The features and targets of all flights, split.
pub(super) fn flights(joined: &[Flight]) -> Flights {
    let taxi = |flight: &Flight| f64::from(flight.arrival_delay - flight.base());
    let train = || joined.iter().enumerate().filter(|&(row, _)| !is_test(row)).map(|(_, flight)| flight);
    let mean_taxi = mean(train().map(taxi));
    let by_destination = Means::new(train().map(|flight| (flight.destination, taxi(flight))), mean_taxi);
    let by_carrier =
        Means::new(train().map(|flight| ((flight.carrier, flight.origin), taxi(flight))), mean_taxi);

    let columns: Vec<[f32; COLUMNS]> = joined
        .iter()
        .map(|flight| {
            let destination = by_destination.get(&flight.destination);
            let carrier = by_carrier.get(&(flight.carrier, flight.origin));
            columns(flight, [destination, carrier]).map(|value| value as f32)
        })
        .collect();
    let scales: [Scale; COLUMNS] = std::array::from_fn(|column| {
        let values =
            || columns.iter().enumerate().filter(|&(row, _)| !is_test(row)).map(|(_, row)| row[column]);
        Scale::new(|| values().map(f64::from).filter(|value| !value.is_nan()))
    });

    let (mut train, mut test) = (Rows::default(), Rows::default());
    let mut mean_delay = 0.0;
    for (row, (flight, columns)) in joined.iter().zip(&columns).enumerate() {
        let rows = if is_test(row) { &mut test } else { &mut train };
        let scaled = columns.iter().zip(&scales).map(|(&value, scale)| scale.apply(f64::from(value)));
        rows.features.extend(scaled.map(f16::from_f64));
        rows.features.extend([f16::ZERO; WIDTH - 1 - COLUMNS]);
        rows.features.push(f16::ONE);
        rows.target.push(f16::from_f64((taxi(flight) - mean_taxi) / TARGET_MINUTES));
        rows.expected.push((f64::from(flight.base()) + mean_taxi) as f32);
        rows.delay.push(flight.arrival_delay);
        mean_delay += if is_test(row) { 0.0 } else { f64::from(flight.arrival_delay) };
    }
    let mean_delay = (mean_delay / train.len() as f64) as f32;
    Flights { train, test, mean_delay }
}

/// What a flight tells, before it is scaled; NaN where it is unknown. `taxi` is the mean taxi time of flights to the
/// same destination, and of flights of the same carrier from the same airport.
fn columns(flight: &Flight, taxi: [f64; 2]) -> [f64; COLUMNS] {
    let weather = &flight.weather;
    let day = f64::from(flight.day);
    let [hour_sin, hour_cos] = wave(f64::from(flight.departure) / 1440.0);
    let [half_day_sin, half_day_cos] = wave(f64::from(flight.departure) / 720.0);
    let [year_sin, year_cos] = wave(day / 365.0);
    let [half_year_sin, half_year_cos] = wave(2.0 * day / 365.0);
    // 2013 began on a Tuesday; any phase serves.
    let [week_sin, week_cos] = wave(day / 7.0);
    // One hour of the table has 1,048 miles per hour.
    let wind = f64::from(weather.wind_speed).min_known(60.0);
    let from = f64::from(weather.wind_degrees).to_radians();
    let temperature = f64::from(weather.temperature);
    let is_from = |code: &[u8; 3]| f64::from(u8::from(flight.origin == *code));
    [
        f64::from(flight.departure_delay),
        f64::from(flight.air_time),
        f64::from(flight.distance),
        f64::from(flight.slack()),
        hour_sin,
        hour_cos,
        half_day_sin,
        half_day_cos,
        year_sin,
        year_cos,
        half_year_sin,
        half_year_cos,
        week_sin,
        week_cos,
        taxi[0],
        taxi[1],
        wind * from.sin(),
        wind * from.cos(),
        wind,
        f64::from(weather.rain).min_known(0.3),
        f64::from(weather.visibility),
        temperature,
        // Aircraft are de-iced; 34 degrees Fahrenheit are 1 degree Celsius.
        -(temperature - 34.0).min_known(0.0),
        f64::from(weather.pressure),
        f64::from(weather.humidity),
        is_from(b"EWR"),
        is_from(b"JFK"),
    ]
}

/// A position on a circle, of which `turn` counts the turns.
fn wave(turn: f64) -> [f64; 2] {
    [(TAU * turn).sin(), (TAU * turn).cos()]
}

/// `f64::min` makes an unknown value known.
trait MinKnown {
    /// The smaller one; NaN stays NaN.
    fn min_known(self, most: f64) -> f64;
}

impl MinKnown for f64 {
    fn min_known(self, most: f64) -> f64 {
        if self > most { most } else { self }
    }
}

/// The mean and the reciprocal of the standard deviation of a column.
struct Scale {
    mean: f64,
    factor: f64,
}

impl Scale {
    fn new<I: Iterator<Item = f64>>(values: impl Fn() -> I) -> Scale {
        let mean = mean(values());
        let deviation = self::mean(values().map(|value| (value - mean).powi(2))).sqrt();
        // A column that never changes says nothing.
        Scale { mean, factor: if deviation > 0.0 { 1.0 / deviation } else { 0.0 } }
    }

    fn apply(&self, value: f64) -> f64 {
        if value.is_nan() { 0.0 } else { ((value - self.mean) * self.factor).clamp(-CLIP, CLIP) }
    }
}

/// 0 for none.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// The means of groups, drawn toward the overall mean.
struct Means<K> {
    groups: HashMap<K, f64>,
    overall: f64,
}

impl<K: Hash + Eq> Means<K> {
    fn new(values: impl Iterator<Item = (K, f64)>, overall: f64) -> Means<K> {
        let mut sums = HashMap::new();
        for (key, value) in values {
            let (sum, count) = sums.entry(key).or_insert((SHRINKAGE * overall, SHRINKAGE));
            *sum += value;
            *count += 1.0;
        }
        Means { groups: sums.into_iter().map(|(key, (sum, count))| (key, sum / count)).collect(), overall }
    }

    fn get(&self, key: &K) -> f64 {
        self.groups.get(key).copied().unwrap_or(self.overall)
    }
}
