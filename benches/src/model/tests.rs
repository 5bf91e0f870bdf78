use super::*;
use crate::flights::{Rows, WIDTH};
use taut::f16;
use taut_tests::inputs;

fn made_up(n: usize) -> Flights {
    let rows = |n: usize| {
        let row = |i: usize| {
            let mut row = [f16::ZERO; WIDTH];
            row[0] = f16::from_f32((i % 17) as f32 / 8.0 - 1.0);
            row[WIDTH - 1] = f16::ONE;
            row
        };
        let target: Vec<f16> = (0..n).map(|i| row(i)[0]).collect();
        let delay = target.iter().map(|t| 20.0 + 16.0 * t.to_f32()).collect();
        Rows { features: (0..n).flat_map(row).collect(), target, expected: vec![20.0; n], delay }
    };
    Flights { train: rows(n), test: rows(n / 4), mean_delay: 20.0 }
}

const SMALL: Size = Size {
    train_step: 2,
    config: Config { features: 80, segment_rows: 64, iterations: 30 },
    most_minutes: 1.0,
};

#[test]
fn the_job_is_measured_and_told() {
    let flights = made_up(400);
    let mut seen = 0;
    let measured = run(&Device::cpu(), &flights, SMALL, 2, &mut |_, rows| seen += rows).unwrap();
    assert_eq!(seen, 3 * (200 + 100));
    assert_eq!((measured.train_rows, measured.times.len()), (200, 2));
    assert!(measured.errors.random_features < 0.3 && measured.errors.schedule > 5.0, "{:?}", measured.errors);
    assert_eq!(measured.errors.schedule, measured.errors.mean_delay);
    let figures = measured.figures("cpu");
    assert!(figures.iter().all(|figure| figure.group == GROUP && figure.median.is_finite()));
    let rmse = figures.iter().find(|figure| figure.metric == "test RMSE").unwrap();
    assert_eq!(
        (rmse.median, rmse.limit, rmse.unit.as_str()),
        (measured.errors.random_features, Some(1.0), "min")
    );
    let rate = figures.iter().find(|figure| figure.unit == "rows/s").unwrap();
    assert!(rate.min > 0.0 && rate.max >= rate.min);
}

#[test]
fn a_bad_fit_is_an_error() {
    let size = Size { most_minutes: 0.0, ..SMALL };
    let error = run(&Device::cpu(), &made_up(400), size, 0, &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().starts_with("model: the error on the test rows is 0."), "{error}");
}

#[test]
fn a_wrong_plan_is_an_error() {
    let measured = Stats { peak_tensor_bytes: 3, ..Stats::default() };
    assert!(same_peaks(&measured, &Stats { driver_bytes: Some(5), ..measured }).is_ok());
    let error = same_peaks(&Stats::default(), &measured).unwrap_err().to_string();
    assert!(error.contains("planned as [0, 0, 0, 0] and measured as [3, 0, 0, 0]"), "{error}");
}

#[test]
#[ignore = "needs the flights: `cargo xtask setup` fetches them"]
fn the_real_flights_are_predicted() {
    let flights = Flights::read(&inputs::folder().join(inputs::FLIGHTS)).unwrap();
    assert_eq!((flights.train.len(), flights.test.len()), (261_876, 65_470));
    let measured = run(&Device::best(), &flights, Size::QUICK, 0, &mut |_, _| {}).unwrap();
    let errors = measured.errors;
    println!("{measured:#?}");
    // The method's own account in numpy: 12.4, 13.27, 14.59 and 43.88.
    assert!(errors.random_features < 12.9, "{errors:?}");
    assert!((13.1..13.5).contains(&errors.least_squares), "{errors:?}");
    assert!((14.58..14.60).contains(&errors.schedule), "{errors:?}");
    assert!((43.87..43.90).contains(&errors.mean_delay), "{errors:?}");
}
