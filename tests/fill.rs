//! Constants and ranges.

use proptest::{prelude::*, sample::select};
use taut::{
    DType, Kind, Tensor,
    memory::{Site, StreamId},
};
use taut_tests::{At, Check, Suite, Value, cast, poison, same, shapes};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("fill::constants", constants);
    suite.real("fill::ranges", ranges);
    suite.real("fill::poison_is_met", poison_is_met);
}

/// `zeros` and `full` of every dtype and shape, over dirty memory.
fn constants(at: &At) -> Check {
    const VALUES: [f64; 11] =
        [0.0, 1.0, -0.0, -1.5, 255.0, 1e6, 70000.0, 1e39, f64::NAN, f64::INFINITY, 1.0 / 3.0];
    at.for_all((shapes(), select(at.dtypes()), select(&VALUES[..])), |(shape, dtype, value)| {
        let numel = shape.iter().product();
        poison(&at.device, &[numel * dtype.size()])?;
        let full = Tensor::full(&shape, value, dtype, &at.device)?;
        prop_assert_eq!(&full.shape()[..], &shape[..]);
        prop_assert_eq!(full.dtype(), dtype);
        same(&full, &vec![cast(Value::Float(value), dtype); numel])?;
        same(&full.zeros_like()?, &vec![cast(Value::Int(0), dtype); numel])?;
        drop(full);
        same(&Tensor::zeros(&shape, dtype, &at.device)?, &vec![cast(Value::Int(0), dtype); numel])
    })
}

/// `arange` against `start + i * step` in f64.
fn ranges(at: &At) -> Check {
    let dtypes: Vec<_> = at.dtypes().into_iter().filter(|dtype| *dtype != DType::Bool).collect();
    const STEPS: [f64; 7] = [1.0, 2.0, 0.1, -1.0, -0.25, 1e-3, 1e9];
    at.for_all((select(dtypes), -300..300i32, select(&STEPS[..]), 0..3000usize), |(dtype, start, step, n)| {
        let start = f64::from(start) / 4.0;
        poison(&at.device, &[n * dtype.size()])?;
        // Half a step before the next, so that rounding does not decide the length.
        let end = start + (n as f64 - 0.5) * step;
        let got = Tensor::arange(start, if n == 0 { start } else { end }, step, dtype, &at.device)?;
        let want: Vec<_> = (0..n).map(|i| cast(Value::Float(start + i as f64 * step), dtype)).collect();
        prop_assert_eq!(&got.shape()[..], &[n][..]);
        same(&got, &want)
    })
}

/// Other properties rely on it: the next block of a size finds what was left for it, though others live.
fn poison_is_met(at: &At) -> Check {
    let _others = [1000, 4 << 20].map(|n| Tensor::zeros([n], DType::U8, &at.device));
    for bytes in [1, 300, 3 << 20] {
        poison(&at.device, &[bytes, 1 << 20])?;
        let site = Site::new("test", Kind::Input);
        let block = at.device.pool().allocate(bytes as u64, StreamId::COMPUTE, site)?;
        let found = Tensor::from_block(block, [bytes], DType::U8, &at.device)?;
        prop_assert!(found.to_vec::<u8>()?.iter().all(|&byte| byte == 0xff), "{} bytes", bytes);
    }
    Ok(())
}
