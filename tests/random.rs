//! Random numbers: the bits of the generator, the ranges and moments of the distributions.

use proptest::{prelude::*, sample::select};
use taut::{DType, Device, Random, Tensor};
use taut_tests::{At, Check, Suite, Value, download, poison, round, same, shapes};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("random::uniform_is_philox", uniform_is_philox);
    suite.real("random::bits_depend_on_the_seed_alone", bits_depend_on_the_seed_alone);
    suite.real("random::distributions", distributions);
    suite.real("random::high_is_excluded", high_is_excluded);
}

/// Four words of Philox 4x32-10, as published.
pub(crate) fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let (a, b) = (0xd251_1f53 * u64::from(counter[0]), 0xcd9e_8d57 * u64::from(counter[2]));
        let high = |x: u64| (x >> 32) as u32;
        counter = [high(b) ^ counter[1] ^ key[0], b as u32, high(a) ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
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
        let word = |i: usize| philox([(i / 4) as u32, 0, 0, 0], [seed as u32, (seed >> 32) as u32])[i % 4];
        let want = (0..n).map(|i| Value::Float(f64::from(word(i) >> 8) / f64::from(1 << 24)));
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
    const ALL: [Random; 4] = [
        Random::ALL[0],
        Random::ALL[1],
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
            Random::Normal { .. } => values.map(|x| Value::Float(round(x, dtype))).collect(),
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
