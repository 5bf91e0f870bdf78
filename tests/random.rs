//! Random numbers: the bits of the generator, the ranges and moments of the distributions.

use proptest::{prelude::*, sample::select};
use taut::{DType, Device, ErrorKind, Random, Tensor};
use taut_tests::{
    At, Check, Suite, Value, cast, download, kind_of, philox, poison, round, same, shapes, word,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("random::uniform_is_philox", uniform_is_philox);
    suite.real("random::bits_depend_on_the_seed_alone", bits_depend_on_the_seed_alone);
    suite.real("random::distributions", distributions);
    suite.real("random::high_is_excluded", high_is_excluded);
    suite.real("random::bernoulli_compares_words", bernoulli_compares_words);
    suite.real("random::bernoulli_has_its_mean", bernoulli_has_its_mean);
}

/// The generator is the published one, 24 bits of each word.
fn uniform_is_philox(at: &At) -> Check {
    // From the known answers of Random123.
    prop_assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    prop_assert_eq!(
        philox([u32::MAX; 4], [u32::MAX; 2]),
        [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
    );
    at.for_all((any::<u64>(), 0..3000usize), |(seed, n)| {
        poison(&at.device, &[n * 4])?;
        let got = Tensor::uniform([n], 0.0, 1.0, seed, DType::F32, &at.device)?;
        let want = (0..n).map(|i| Value::Float(f64::from(word(seed, i) >> 8) / f64::from(1 << 24)));
        same(&got, &want.collect::<Vec<_>>())
    })
}

/// The largest value of `dtype` below `high`.
fn below(high: f64, dtype: DType) -> f64 {
    // Down by ever larger steps from far less than an ulp: the first that is rounded below is the next below.
    let steps = (0..60).map(|i| high.abs().max(1e-30) * 2f64.powi(i - 60));
    steps.map(|step| round(high - step, dtype)).find(|&x| x < high).unwrap_or(f64::NEG_INFINITY)
}

/// The same bits on the CPU and here, rounded to each dtype, in any shape, and as a part of more.
fn bits_depend_on_the_seed_alone(at: &At) -> Check {
    const ALL: [Random; 5] = [
        Random::ALL[0],
        Random::ALL[1],
        Random::ALL[2],
        Random::Uniform { low: -3.0, high: 0.7 },
        Random::Normal { mean: 1.5, std: 0.3 },
    ];
    let operands = (select(&ALL[..]), select(at.floats()), any::<u64>(), shapes());
    at.for_all(operands, |(distribution, dtype, seed, shape)| {
        let numel: usize = shape.iter().product();
        poison(&at.device, &[numel * dtype.size()])?;
        let got = Tensor::random(&shape, distribution, seed, dtype, &at.device)?;
        let cpu = Device::cpu();
        let more = Tensor::random(&[numel + 5], distribution, seed, DType::F32, &cpu)?;
        let values = download(&more.slice(0, 0..numel)?)?.into_iter().map(Value::float);
        let want = match distribution {
            Random::Uniform { high, .. } => {
                let limit = below(high.into(), dtype);
                values.map(|x| Value::Float(round(x.min(limit), dtype))).collect::<Vec<_>>()
            }
            _ => values.map(|x| Value::Float(round(x, dtype))).collect(),
        };
        prop_assert_eq!(&got.shape()[..], &shape[..]);
        same(&got, &want)
    })
}

/// Moments within five standard errors, and the range.
fn distributions(at: &At) -> Check {
    let n = 1 << 18;
    let values = |distribution, seed| -> Result<Vec<f64>, TestCaseError> {
        let x = Tensor::random(&[n], distribution, seed, DType::F32, &at.device)?;
        Ok(download(&x)?.into_iter().map(Value::float).collect())
    };
    let mean = |values: &[f64], f: &dyn Fn(f64) -> f64| values.iter().map(|&x| f(x)).sum::<f64>() / n as f64;
    let error = 5.0 / (n as f64).sqrt();

    let u = values(Random::Uniform { low: -1.0, high: 3.0 }, 11)?;
    prop_assert!(u.iter().all(|x| (-1.0..3.0).contains(x)));
    // The variance of a width of 4 is 16 / 12, of its squares about the mean 256 / 180.
    prop_assert!((mean(&u, &|x| x) - 1.0).abs() < error * (16f64 / 12.0).sqrt());
    prop_assert!((mean(&u, &|x| (x - 1.0).powi(2)) - 16.0 / 12.0).abs() < error * (256f64 / 180.0).sqrt());

    let z = values(Random::Normal { mean: 2.0, std: 3.0 }, 12)?;
    let z: Vec<f64> = z.into_iter().map(|x| (x - 2.0) / 3.0).collect();
    // The moments of a normal distribution, each with the variance of its estimate.
    for (power, moment, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96f64)] {
        let got = mean(&z, &|x| x.powi(power));
        prop_assert!((got - moment).abs() < error * variance.sqrt(), "moment {power}: {got}, want {moment}");
    }
    let beyond = |limit: f64| z.iter().filter(|x| x.abs() > limit).count() as f64 / n as f64;
    prop_assert!((beyond(1.0) - 0.317_310_5).abs() < error);
    prop_assert!(beyond(3.0) > 0.002 && beyond(3.0) < 0.0034);
    // Neighbours come from one pair of a Box-Muller transform and must not be related.
    let products = z.chunks(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / (n / 2) as f64;
    prop_assert!(products.abs() < error * 2f64.sqrt());
    Ok(())
}

/// `high` is above every value, even where rounding would reach it.
fn high_is_excluded(at: &At) -> Check {
    for dtype in at.floats() {
        let x = Tensor::uniform([1 << 16], -1.0, 1.0, 3, dtype, &at.device)?;
        let outside = download(&x)?.into_iter().find(|x| !(-1.0..1.0).contains(&x.float()));
        prop_assert!(outside.is_none(), "{:?} of {}", outside, dtype);
    }
    let (low, high) = (1.0f32, 1.0f32.next_up());
    let x = Tensor::uniform([1 << 16], low, high, 3, DType::F32, &at.device)?;
    prop_assert!(x.to_vec::<f32>()?.iter().all(|&x| x == low));
    Ok(())
}

/// 1 where the uniform number of the element is below the probability, whatever the dtype.
fn bernoulli_compares_words(at: &At) -> Check {
    let dtypes: Vec<DType> = at.dtypes().into_iter().filter(|&dtype| Random::ALL[2].takes(dtype)).collect();
    prop_assert!(dtypes.contains(&DType::Bool) && dtypes.contains(&DType::U8));
    let probs = select(vec![0.0f32, 1.0, 0.5, 0.1, 0.999_999_9, 1e-7, f32::MIN_POSITIVE]);
    at.for_all((select(dtypes), probs, any::<u64>(), 0..3000usize), |(dtype, prob, seed, n)| {
        poison(&at.device, &[n * dtype.size()])?;
        let got = Tensor::bernoulli([n], prob, seed, dtype, &at.device)?;
        prop_assert_eq!(got.dtype(), dtype);
        let unit = |i| f64::from(word(seed, i) >> 8) / f64::from(1 << 24);
        let want = (0..n).map(|i| cast(Value::Int((unit(i) < f64::from(prob)).into()), dtype));
        same(&got, &want.collect::<Vec<_>>())
    })
}

/// Within five standard errors; never and always; and what is no probability is refused.
fn bernoulli_has_its_mean(at: &At) -> Check {
    let n = 1 << 20;
    let ones = |prob, seed| -> taut::Result<f64> {
        Ok(Tensor::bernoulli([n], prob, seed, DType::Bool, &at.device)?.sum(&[])?.item::<i64>()? as f64)
    };
    for (prob, seed) in [(0.1f32, 1), (0.5, 2), (0.9, 3), (1e-4, 4)] {
        let (p, n) = (f64::from(prob), n as f64);
        let got = ones(prob, seed)?;
        prop_assert!((got - n * p).abs() < 5.0 * (n * p * (1.0 - p)).sqrt(), "{} of {} for {}", got, n, prob);
    }
    prop_assert_eq!((ones(0.0, 5)?, ones(1.0, 6)?), (0.0, n as f64));
    for prob in [-0.1, 1.1, f32::NAN] {
        let refused = Tensor::bernoulli([3], prob, 0, DType::F32, &at.device);
        prop_assert_eq!(kind_of(refused)?, ErrorKind::Value);
    }
    let refused = Tensor::bernoulli([3], 0.5, 0, DType::I64, &at.device);
    prop_assert_eq!(kind_of(refused)?, ErrorKind::DType);
    Ok(())
}
