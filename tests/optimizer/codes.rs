//! Moments in 8 bits.

use super::{OPTIMIZERS, SIZES, check_step, number, place, random, ways};
use proptest::prelude::*;
use taut::{
    DType, Device, Result, Tensor,
    optim::{CODE_BLOCK, Control, Step, level, signed_level},
};
use taut_tests::{At, Check, Interval, Kept, Parameter, Rng, State, fail, half_up, round};

/// A moment in codes, and what it stands for.
fn coded(
    n: usize,
    is_signed: bool,
    rng: &mut Rng,
    offset: usize,
    device: &Device,
) -> Result<(State, Vec<f64>)> {
    let codes: Vec<f64> = (0..n).map(|_| rng.below(256) as f64).collect();
    let largest: Vec<f64> =
        (0..n.div_ceil(CODE_BLOCK)).map(|_| round(number(rng).abs(), DType::F32)).collect();
    let of = |code: u8| f64::from(if is_signed { signed_level(code) } else { level(code) });
    let numbers = codes.iter().enumerate();
    let numbers =
        numbers.map(|(i, &code)| round(of(code as u8) * largest[i / CODE_BLOCK], DType::F32)).collect();
    let state =
        State::Codes(place(&codes, offset, DType::U8, device)?, place(&largest, 0, DType::F32, device)?);
    Ok((state, numbers))
}

/// Weights are those of the moments before they are coded again, and codes then off by half of a step at most, or of second
/// moments near 0 by one.
pub(super) fn match_reference(at: &At) -> Check {
    let levels: [Vec<f64>; 2] = [
        (0..=127).map(|code| signed_level(code).into()).collect(),
        (0..=255).map(|code| level(code).into()).collect(),
    ];
    for (i, optimizer) in OPTIMIZERS.into_iter().enumerate().filter(|(_, optimizer)| optimizer.moments() > 0)
    {
        for (j, way) in ways(at).into_iter().enumerate().filter(|(_, way)| way.0.dtype() != DType::F64) {
            let offset = [0, 1, 4][(i + j) % 3];
            let mut made = Vec::new();
            for &n in &SIZES {
                let mut rng = Rng((n + i) as u64);
                let (mut parameter, mut rows) = random(way, n, 0, 0, n as u64, &at.device)?;
                for moment in 0..optimizer.moments() {
                    let (state, numbers) = coded(n, moment == 0, &mut rng, offset, &at.device)?;
                    rows.iter_mut().zip(numbers).for_each(|(row, x)| row[2 + moment] = x);
                    parameter.moments.push(state);
                }
                made.push((parameter, rows));
            }
            let mut steps: Vec<Step<'_>> = made.iter_mut().map(|(parameter, _)| parameter.step()).collect();
            optimizer.step(&mut steps, &Control::new(0.02, 7.0))?;
            for (parameter, rows) in &made {
                let context = |error| fail(format!("{optimizer:?} {way:?} {}: {error}", rows.len()));
                check_step(optimizer, parameter, rows, 1.0).map_err(context)?;
                let lr = f64::from(0.02f32);
                for (moment, state) in parameter.moments.iter().enumerate() {
                    let want = rows.iter().map(|&[p, g, m, v]| {
                        optimizer.define([p, g, m, v], 0.0, [lr, 7.0], half_up(DType::F32))[1 + moment]
                    });
                    check_codes(state, &want.collect::<Vec<_>>(), &levels[moment], moment == 0)
                        .map_err(context)?;
                }
            }
        }
    }
    Ok(())
}

fn check_codes(state: &State, want: &[Interval], levels: &[f64], is_signed: bool) -> Check {
    let State::Codes(codes, largest) = state else { return Err(fail("no codes")) };
    let (codes, largest) = (codes.to_vec::<u8>()?, largest.to_vec::<f32>()?);
    for (block, ((want, codes), &largest)) in
        want.chunks(CODE_BLOCK).zip(codes.chunks(CODE_BLOCK)).zip(&largest).enumerate()
    {
        let most = want.iter().map(|x| x.low.abs().max(x.high.abs())).fold(0.0, f64::max);
        let least = want.iter().map(|x| x.low.abs().min(x.high.abs())).fold(0.0, f64::max);
        let largest = f64::from(largest);
        prop_assert!(
            (least..=most).contains(&largest),
            "block {}: {} is not {:?}",
            block,
            largest,
            least..=most
        );
        for (x, &code) in want.iter().zip(codes) {
            let got = f64::from(if is_signed { signed_level(code) } else { level(code) }) * largest;
            let middle = (x.low + x.high) / 2.0;
            let above = levels.partition_point(|&y| y * largest < middle.abs()).clamp(1, levels.len() - 1);
            let step = (levels[above] - levels[above - 1]) * largest;
            // Where decades meet steps differ: the larger counts, for what is off by rounding.
            let part = if is_signed {
                0.56
            } else if above <= 2 {
                1.0
            } else {
                0.501
            };
            let off = (got - middle).abs() - (x.high - x.low) / 2.0;
            prop_assert!(
                off <= step * part,
                "block {}: {:e} for {:e}, a step is {:e}",
                block,
                got,
                middle,
                step
            );
            prop_assert!(is_signed || middle == 0.0 || got > 0.0, "{:e} became 0", middle);
        }
    }
    Ok(())
}

/// 200 steps of AdamW down a bowl with curvatures from 0.01 to 1: the loss goes as with moments of f32.
pub(super) fn train_as_f32_does(at: &At) -> Check {
    let n = 1500;
    let mut rng = Rng(11);
    let target: Vec<f64> = (0..n).map(|_| rng.unit() * 4.0 - 2.0).collect();
    let curve: Vec<f64> = (0..n).map(|_| 10f64.powf(-2.0 * rng.unit())).collect();
    let run = |kept, codes| -> Result<Vec<f64>, TestCaseError> {
        let grads = Tensor::zeros([n], DType::F32, &at.device)?;
        let mut x = Parameter::new(kept, &vec![0.0; n], grads, (2, codes), &at.device)?;
        let mut losses = Vec::new();
        for step in 1..=200 {
            let off: Vec<f64> = x.weights()?.iter().zip(&target).map(|(w, t)| w - t).collect();
            losses.push(off.iter().zip(&curve).map(|(x, c)| 0.5 * c * x * x).sum::<f64>());
            let grads: Vec<f64> = off.iter().zip(&curve).map(|(x, c)| round(c * x, DType::F32)).collect();
            x.grad = place(&grads, 0, DType::F32, &at.device)?;
            OPTIMIZERS[0].step(&mut [x.step()], &Control::new(0.03, step as f32))?;
        }
        Ok(losses)
    };
    let full = run(Kept::Plain(DType::F32), false)?;
    prop_assert!(full[199] < 0.02 * full[0], "{} of {}", full[199], full[0]);
    let [f16, bf16] = [DType::F16, DType::BF16].map(Kept::Planes);
    for (kept, codes) in
        [(Kept::Plain(DType::F32), true), (bf16, true), (bf16, false), (f16, true), (f16, false)]
    {
        for (step, (a, b)) in run(kept, codes)?.into_iter().zip(&full).enumerate() {
            let off = (a - b).abs() / full[0];
            prop_assert!(off < 0.01, "{:?}, codes {}: step {}: {} beside {}", kept, codes, step, a, b);
        }
    }
    Ok(())
}
