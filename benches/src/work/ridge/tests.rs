use super::*;
use taut::{ErrorKind, Spec};

/// 300 and 70 rows of a target that is not linear in them.
struct Rows {
    train: Vec<f16>,
    target: Vec<f16>,
    test: Vec<f16>,
    truth: Vec<f32>,
}

const CONFIG: Config = Config { features: 96, segment_rows: 64, iterations: 60 };

impl Rows {
    fn new() -> Rows {
        let rows = |n: usize, seed| {
            let host = Device::cpu().fresh().unwrap();
            let mut x = Tensor::normal([n, WIDTH], 0.0, 1.0, seed, DType::F16, &host)
                .unwrap()
                .to_vec::<f16>()
                .unwrap();
            x.chunks_mut(WIDTH).for_each(|row| row[WIDTH - 1] = f16::ONE);
            x
        };
        let truth = |x: &[f16]| -> Vec<f32> {
            x.chunks(WIDTH).map(|row| row[0].to_f32().max(0.0) - 0.5 * row[1].to_f32()).collect()
        };
        let (train, test) = (rows(300, 1), rows(70, 2));
        let target = truth(&train).into_iter().map(f16::from_f32).collect();
        Rows { target, truth: truth(&test), train, test }
    }

    fn data(&self) -> Data<'_> {
        Data { train: &self.train, target: &self.target, test: &self.test }
    }

    fn error(&self, predictions: &[f32]) -> f32 {
        let square = |(a, b): (&f32, &f32)| (a - b).powi(2);
        (self.truth.iter().zip(predictions).map(square).sum::<f32>() / self.truth.len() as f32).sqrt()
    }
}

fn run(device: &Device, rows: &Rows, technique: Technique) -> Outcome {
    random_features(device, &rows.data(), &CONFIG, technique, &mut |_, _| {}).unwrap()
}

#[test]
fn every_technique_predicts_the_same() {
    let rows = Rows::new();
    let all = Technique::ALL.map(|technique| {
        let device = Device::cpu().fresh().unwrap();
        run(&device, &rows, technique).predictions
    });
    assert!(rows.error(&all[0]) < 0.1, "{}", rows.error(&all[0]));
    for (technique, predictions) in Technique::ALL.iter().zip(&all) {
        assert_eq!(predictions.len(), rows.truth.len());
        // The same sums in f32; f16 rounds each feature by 2^-11.
        let tolerance = if *technique < Technique::Half { 1e-4 } else { 1e-2 };
        for (row, (a, b)) in predictions.iter().zip(&all[0]).enumerate() {
            assert!((a - b).abs() < tolerance, "{}, row {row}: {a} and {b}", technique.name());
        }
    }
}

#[test]
fn plans_are_right_to_the_byte() {
    let rows = Rows::new();
    for technique in Technique::ALL {
        let device = Device::cpu().fresh().unwrap();
        run(&device, &rows, technique);
        let plan = Device::plan(device.spec());
        run(&plan, &rows, technique);
        assert_eq!(plan.stats(), device.stats(), "{}", technique.name());
        assert_eq!(device.stats().live_bytes, 0, "{}", technique.name());
    }
}

#[test]
fn techniques_save_what_they_say() {
    let (rows, m) = (vec![f16::ZERO; 4096 * WIDTH], 256);
    let data = Data { train: &rows, target: &rows[..4096], test: &rows[..1024 * WIDTH] };
    let config = Config { features: m, segment_rows: 512, iterations: 2 };
    for spec in [Spec::cpu(), Spec::h200()] {
        let peak = |technique| {
            let device = Device::plan(spec.clone());
            random_features(&device, &data, &config, technique, &mut |_, _| {}).unwrap();
            device.stats().peak_tensor_bytes
        };
        let features = |rows: usize, bytes: usize| (rows * m * bytes) as u64;
        let sums = features(m, 4);
        let near = |technique: Technique, expected: u64| {
            let found = peak(technique);
            // Beside it: the rows themselves, the weights and a few vectors.
            let slack = 4096 * WIDTH as u64 * 8;
            assert!(
                found >= expected && found < expected + slack,
                "{}: {found}, {expected}",
                technique.name()
            );
        };
        near(Technique::Everything, sums + features(4096 + 1024, 8));
        near(Technique::Dropped, sums + features(4096, 8));
        near(Technique::InPlace, sums + features(4096, 4));
        near(Technique::Half, sums + features(4096, 2));
        near(Technique::Segments, sums + features(512, 2));
        assert_eq!(peak(Technique::Fused), peak(Technique::InPlace));
        assert_eq!(peak(Technique::ToHost), peak(Technique::Segments));
    }
}

#[test]
fn progress_counts_every_row_once() {
    let rows = Rows::new();
    for technique in [Technique::Everything, Technique::ToHost] {
        let (mut fit, mut predict, mut solved) = (0, 0, false);
        let mut watch = |stage, n| match stage {
            Stage::Fit => fit += n,
            Stage::Solve => solved = true,
            Stage::Predict => predict += n,
        };
        let plan = Device::plan(Spec::cpu());
        random_features(&plan, &rows.data(), &CONFIG, technique, &mut watch).unwrap();
        assert_eq!((fit, predict, solved), (300, 70, true));
    }
}

#[test]
fn least_squares_finds_a_linear_target() {
    let mut rows = Rows::new();
    rows.target = rows.train.chunks(WIDTH).map(|row| row[0]).collect();
    rows.truth = rows.test.chunks(WIDTH).map(|row| row[0].to_f32()).collect();
    let device = Device::cpu().fresh().unwrap();
    let outcome = least_squares(&device, &rows.data(), 128).unwrap();
    // Off by lambda.
    assert!(rows.error(&outcome.predictions) < 2e-3, "{}", rows.error(&outcome.predictions));
}

#[test]
fn the_diagonal_is_one() {
    let device = Device::cpu().fresh().unwrap();
    let mut found = diagonal(3, 2.0, &device).unwrap();
    assert_eq!(found.to_vec::<f32>().unwrap(), [2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0]);
    let one = Tensor::full([3, 3], 1.0, DType::F32, &device).unwrap();
    found.addmm_(&one, &one).unwrap();
    assert_eq!(found.to_vec::<f32>().unwrap(), [5.0, 3.0, 3.0, 3.0, 5.0, 3.0, 3.0, 3.0, 5.0]);
}

#[test]
fn the_first_weights_pass_the_row_on() {
    let weights = random_weights(80).unwrap();
    let row = |row: usize| &weights[row * WIDTH..][..WIDTH];
    for i in 0..WIDTH {
        let unit = |value: f32| (0..WIDTH).map(|j| if i == j { value } else { 0.0 }).collect::<Vec<_>>();
        assert_eq!(row(i).iter().map(|x| x.to_f32()).collect::<Vec<_>>(), unit(1.0));
        assert_eq!(row(WIDTH + i).iter().map(|x| x.to_f32()).collect::<Vec<_>>(), unit(-1.0));
    }
    assert!(row(2 * WIDTH).iter().all(|x| *x != f16::ZERO));
}

#[test]
fn rows_without_targets_are_refused() {
    let rows = Rows::new();
    let data = Data { target: &rows.target[1..], ..rows.data() };
    let error = random_features(&Device::plan(Spec::cpu()), &data, &CONFIG, Technique::Half, &mut |_, _| {});
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert_eq!(error.to_string(), "ridge: 9600 numbers are not 299 rows of 32");
}
