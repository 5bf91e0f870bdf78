//! Steps on what is no number, or too large for one.

use super::{OPTIMIZERS, place, ways};
use proptest::prelude::*;
use taut::{DType, Tensor, optim::Control};
use taut_tests::{At, Check, Kept, Parameter, Rng, State, Value, download, fail, same};

pub(super) fn overflow_changes_nothing(at: &At) -> Check {
    let number = |x: f32| Tensor::full([0usize; 0], x.into(), DType::F32, &at.device);
    for optimizer in OPTIMIZERS {
        for codes in [false, optimizer.moments() > 0] {
            for (kept, grad) in ways(at).into_iter().filter(|(kept, _)| !codes || kept.dtype() != DType::F64)
            {
                let mut rng = Rng(9);
                let values: Vec<f64> = (0..2300).map(|_| rng.unit() - 0.5).collect();
                let grads = place(&values, 0, DType::F32, &at.device)?.cast(grad)?;
                let mut x = Parameter::new(kept, &values, grads, (optimizer.moments(), codes), &at.device)?;
                optimizer.step(&mut [x.step()], &Control::new(0.1, 1.0))?;
                let before = x.bytes()?;
                x.grad = Tensor::full([2300], f64::NAN, grad, &at.device)?;
                for (norm, skip) in [
                    (f32::NAN, 0.0),
                    (f32::INFINITY, 0.0),
                    (1.0, 1.0),
                    (1.0, f32::NAN),
                    (f32::NEG_INFINITY, 2.0),
                ] {
                    let (norm, skip) = (number(norm)?, number(skip)?);
                    let control = Control { norm: Some(&norm), skip: Some(&skip), ..Control::new(0.1, 2.0) };
                    optimizer.step(&mut [x.step()], &control)?;
                    prop_assert!(x.bytes()? == before, "{:?} {:?}", optimizer, kept);
                }
                optimizer.step(&mut [x.step()], &Control::new(0.1, 2.0))?;
                prop_assert!(x.weights()?.iter().all(|w| w.is_nan()), "{:?} {:?}", optimizer, kept);
            }
        }
    }
    Ok(())
}

/// NaN and infinity go where they belong, and in codes to their block.
pub(super) fn special_values(at: &At) -> Check {
    for optimizer in OPTIMIZERS {
        let short = [DType::F16, DType::BF16].map(Kept::Planes);
        let ways = [Kept::Plain(DType::F32)].into_iter().chain(short).map(|kept| (kept, false));
        for (kept, codes) in ways.chain(short.map(|kept| (kept, true))) {
            if codes && optimizer.moments() == 0 {
                continue;
            }
            let mut values = vec![0.5; 1000];
            values[700] = f64::NAN;
            let grads = place(&values, 0, DType::F32, &at.device)?;
            let mut x = Parameter::new(kept, &[1.0; 1000], grads, (optimizer.moments(), codes), &at.device)?;
            optimizer.step(&mut [x.step()], &Control::new(0.1, 1.0))?;
            let is_nan: Vec<usize> =
                x.weights()?.iter().enumerate().filter(|(_, w)| w.is_nan()).map(|(i, _)| i).collect();
            prop_assert_eq!(is_nan, [700], "{:?} {:?}", optimizer, kept);
            let seen = download(&x.param)?;
            prop_assert!(seen.iter().enumerate().all(|(i, w)| w.float().is_nan() == (i == 700)));
            if let Some(State::Codes(_, largest)) = x.moments.first() {
                let is_nan: Vec<bool> = largest.to_vec::<f32>()?.iter().map(|x| x.is_nan()).collect();
                prop_assert_eq!(is_nan, [false, false, true, false]);
            }
        }
    }
    // Moments without a magnitude.
    let grads = Tensor::full([300], 1e-25, DType::F32, &at.device)?;
    let optimizer = OPTIMIZERS[0];
    let mut x = Parameter::new(Kept::Plain(DType::F32), &[1.0; 300], grads, (2, true), &at.device)?;
    optimizer.step(&mut [x.step()], &Control::new(0.1, 1.0))?;
    let State::Codes(_, largest) = &x.moments[1] else { return Err(fail("no codes")) };
    same(largest, &[Value::Float(0.0); 2])
}
