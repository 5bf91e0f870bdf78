use super::*;
use flate2::{Compression, write::GzEncoder};
use std::{fs, io::Write};
use tempfile::TempDir;

const AIRPORTS: &str = "faa,name,lat,lon,alt,tz,dst,tzone\n\
    IAH,Houston,29.9,-95.3,97,-6,A,America/Chicago\n\
    PHX,Phoenix,33.4,-112.0,1135,-7,N,America/Phoenix\n";
const WEATHER: &str = "origin,time_hour,temp,humid,wind_dir,wind_speed,precip,pressure,visib\n\
    EWR,2013-01-01T10:00:00Z,30,50,90,10,0,1012,10\n\
    EWR,2013-07-01T10:00:00Z,80,60,NA,1048.3,0.5,NA,9\n";
const HEADER: &str = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,\
    flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour\n";
const FLIGHTS: &str = "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z\n\
    2013,7,1,610,615,-5,830,819,1,UA,1545,N14228,EWR,PHX,200,2133,6,15,2013-07-01T10:00:00Z\n\
    2013,7,1,NA,615,NA,NA,819,NA,UA,1545,NA,EWR,PHX,NA,2133,6,15,2013-07-01T10:00:00Z\n\
    2013,7,1,2300,2255,5,350,344,8,B6,1,N1,JFK,SJU,190,1598,22,55,2013-07-02T02:00:00Z\n";

fn folder(flights: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let tables = [
        ("flights", format!("{HEADER}{flights}")),
        ("weather", WEATHER.into()),
        ("airports", AIRPORTS.into()),
    ];
    for (name, text) in tables {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        fs::write(home.path().join(format!("{name}.csv.gz")), encoder.finish().unwrap()).unwrap();
    }
    home
}

#[track_caller]
fn refused(home: &TempDir, kind: ErrorKind, parts: &[&str]) {
    let error = Flights::read(home.path()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "`{error}` lacks `{part}`");
    }
}

#[test]
fn the_tables_are_joined() {
    let (flights, counts) = join::join(folder(FLIGHTS).path()).unwrap();
    assert_eq!(counts, Counts { flights: 4, arrived: 3, weather: 2, airports: 2 });
    // 5:15 to 8:19 an hour west; to 8:19 three hours west, where there is no summer time; to 3:44 on the same clock,
    // the next day.
    assert_eq!(flights.iter().map(|f| f.block).collect::<Vec<_>>(), [244.0, 304.0, 289.0]);
    assert_eq!(flights.iter().map(|f| f.day).collect::<Vec<_>>(), [1, 182, 182]);
    assert_eq!(flights[0].slack(), 17.0);
    assert_eq!(flights[0].base(), -15.0);
    assert_eq!(flights[0].weather.temperature, 30.0);
    assert_eq!(flights[1].weather.wind_speed, 1048.3);
    assert!(flights[1].weather.pressure.is_nan() && flights[2].weather.rain.is_nan());
}

#[test]
fn rows_are_split_and_scaled() {
    let flights = FLIGHTS.lines().next().unwrap();
    let lines: String =
        (0..10).map(|i| format!("{}\n", flights.replace(",227,", &format!(",{},", 220 + i)))).collect();
    let (flights, _) = Flights::parse(folder(&lines).path()).unwrap();
    assert_eq!((flights.train.len(), flights.test.len()), (8, 2));
    assert_eq!(flights.mean_delay, 11.0);
    // Rows 1 to 4 and 6 to 9 have air times of 221 to 224 and 226 to 229: mean 225, variance 7.5.
    let air_time =
        |rows: &Rows| rows.features.iter().skip(1).step_by(WIDTH).map(|x| x.to_f64()).collect::<Vec<_>>();
    let expected = |time: f64| (time - 225.0) / 7.5_f64.sqrt();
    for (found, time) in
        air_time(&flights.train).iter().zip([221.0, 222.0, 223.0, 224.0, 226.0, 227.0, 228.0, 229.0])
    {
        assert!((found - expected(time)).abs() < 1e-3);
    }
    assert!((air_time(&flights.test)[0] - expected(220.0)).abs() < 1e-3);
    for row in flights.train.features.chunks(WIDTH).chain(flights.test.features.chunks(WIDTH)) {
        assert_eq!(row[27..], [f16::ZERO, f16::ZERO, f16::ZERO, f16::ZERO, f16::ONE]);
    }
    // What the schedule expects and the target adds is the delay.
    let targets: Vec<f32> = flights.train.target.iter().map(|t| t.to_f32()).collect();
    assert!(flights.train.rmse_of_targets(&targets) < 1e-2);
    assert!(flights.train.rmse_of_schedule() > 1.0);
    assert_eq!(flights.test.rmse_of_constant(14.0), 3.0);
    let half = flights.train.every(2);
    assert_eq!((half.len(), half.target.len(), half.features.len()), (4, 4, 4 * WIDTH));
    assert_eq!(half.features[WIDTH..2 * WIDTH], flights.train.features[2 * WIDTH..3 * WIDTH]);
}

#[test]
fn a_missing_file_names_the_remedy() {
    let home = folder(FLIGHTS);
    fs::remove_file(home.path().join("weather.csv.gz")).unwrap();
    refused(&home, ErrorKind::Driver, &["weather.csv.gz", "`cargo xtask setup` fetches it"]);
}

#[test]
fn too_few_rows_are_refused() {
    refused(&folder(FLIGHTS), ErrorKind::Corrupt, &["flights.csv.gz: 4 rows, there must be 336776"]);
}

#[test]
fn malformed_values_are_named() {
    let bad = |from: &str, to: &str| folder(&FLIGHTS.replacen(from, to, 1));
    refused(&bad(",227,", ",22x,"), ErrorKind::Corrupt, &["line 2: `22x` in column `air_time` is no number"]);
    refused(&bad(",1400,", ",inf,"), ErrorKind::Corrupt, &["`inf` in column `distance` is no number"]);
    refused(&bad(",515,", ",575,"), ErrorKind::Corrupt, &["`575` in column `sched_dep_time` is no time"]);
    refused(&bad("01T10:00:00Z", "01 10"), ErrorKind::Corrupt, &["`2013-01-01 10` in column `time_hour`"]);
    refused(&bad(",EWR,", ",NEWARK,"), ErrorKind::Corrupt, &["`NEWARK` in column `origin`"]);
    refused(&bad("2013,7,", "2013,13,"), ErrorKind::Corrupt, &["line 3: `13` in column `month`"]);
    refused(&bad(",15,2013-07", ",15,5,2013-07"), ErrorKind::Corrupt, &["flights.csv.gz", "damaged"]);
}

#[test]
fn a_damaged_archive_is_refused() {
    let home = folder(FLIGHTS);
    let path = home.path().join("flights.csv.gz");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    refused(&home, ErrorKind::Corrupt, &["flights.csv.gz", "damaged", "remove it"]);
    fs::write(&path, "no archive").unwrap();
    refused(&home, ErrorKind::Corrupt, &["flights.csv.gz", "damaged"]);
}

#[test]
fn a_missing_column_is_named() {
    let home = folder(FLIGHTS);
    fs::copy(home.path().join("airports.csv.gz"), home.path().join("weather.csv.gz")).unwrap();
    refused(&home, ErrorKind::Corrupt, &["weather.csv.gz", "no column `origin`"]);
}
