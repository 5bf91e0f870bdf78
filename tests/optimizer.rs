//! Steps of optimizers against their definitions, over every way to keep weights and moments; what makes a step a no-op;
//! states in 8 bits; and what may not be done.

mod codes;
mod special;

use proptest::prelude::*;
use taut::{
    DType, Device, ErrorKind, Graphed, Number, Result, Stats, Tensor,
    optim::{AdamW, Control, Lion, Moment, Sgd, Step, adamw_, advance_, sgd_},
};
use taut_tests::{
    At, Check, Interval, Kept, Optimizer, Parameter, Rng, State, Suite, Value, download, fail, figures,
    half_up, kind_of, message_of, round, same, upload, within,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("optimizer::matches_reference", matches_reference);
    suite.real("optimizer::codes_match_reference", codes::match_reference);
    suite.real("optimizer::masters_take_up_what_weights_can_not", masters_take_up_what_weights_can_not);
    suite.real("optimizer::a_step_that_overflowed_changes_nothing", special::overflow_changes_nothing);
    suite.real("optimizer::special_values", special::special_values);
    suite.real("optimizer::long_lists", long_lists);
    suite.real("optimizer::codes_train_as_f32_does", codes::train_as_f32_does);
    suite.real("optimizer::counts_steps", counts_steps);
    suite.real("optimizer::is_recorded_in_graphs", is_recorded_in_graphs);
    suite.real("optimizer::plan_equals_measured", plan_equals_measured);
    suite.everywhere("optimizer::errors", errors);
}

const SIZES: [usize; 10] = [0, 1, 255, 256, 257, 1023, 2048, 2049, 4096, 9001];

const OPTIMIZERS: [Optimizer; 6] = [
    Optimizer::AdamW(AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }),
    Optimizer::AdamW(AdamW { beta1: 0.5, beta2: 0.75, eps: 1e-3, weight_decay: 0.0 }),
    Optimizer::Sgd(Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.1 }),
    Optimizer::Sgd(Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 }),
    Optimizer::Sgd(Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 }),
    Optimizer::Lion(Lion { beta1: 0.9, beta2: 0.99, weight_decay: 0.1 }),
];

/// Ways to keep weights, and dtypes of gradients.
fn ways(at: &At) -> Vec<(Kept, DType)> {
    let plain = at.floats().into_iter().map(Kept::Plain);
    let kept = plain.chain([DType::F16, DType::BF16].map(Kept::Planes));
    kept.flat_map(|kept| [kept.dtype(), DType::F32].map(|grad| (kept, grad)))
        .filter(|(kept, grad)| *kept != Kept::Plain(DType::F32) || *grad == DType::F32)
        .collect()
}

/// In `[-1, 1]`, of all sizes down to 2^-20.
fn number(rng: &mut Rng) -> f64 {
    (rng.unit() * 2.0 - 1.0) * 2f64.powi(-(rng.below(21) as i32))
}

/// A tensor of these values that begins `offset` elements into its storage.
fn place(values: &[f64], offset: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let all = std::iter::repeat_n(0.0, offset).chain(values.iter().copied());
    let all: Vec<Value> =
        all.map(|x| if dtype == DType::U8 { Value::Int(x as i64) } else { Value::Float(x) }).collect();
    let n = all.len();
    upload(&all, &[n], dtype, device)?.slice(0, offset..n)
}

/// A parameter with random moments, and the numbers of weight, gradient and moments.
fn random(
    (kept, grad): (Kept, DType),
    n: usize,
    moments: usize,
    offset: usize,
    seed: u64,
    device: &Device,
) -> Result<(Parameter, Vec<[f64; 4]>)> {
    let mut rng = Rng(seed);
    let (dtype, mut rows) = (kept.dtype(), Vec::new());
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    for _ in 0..n {
        let [p, g, m, v] = [(); 4].map(|()| number(&mut rng));
        rows.push([round(p, dtype), round(g, grad), round(m, wide), round(v * v, wide)]);
    }
    let column = |i: usize| rows.iter().map(|row| row[i]).collect::<Vec<f64>>();
    let grads = place(&column(1), offset, grad, device)?;
    let mut parameter = Parameter::new(kept, &column(0), grads, (0, false), device)?;
    if kept == Kept::Plain(dtype) {
        parameter.param = place(&column(0), offset, dtype, device)?;
    }
    let state = |i| Ok(State::Full(place(&column(2 + i), offset, wide, device)?));
    parameter.moments = (0..moments).map(state).collect::<Result<_>>()?;
    Ok((parameter, rows))
}

/// What gradients become, and by how much that may be off: of a gradient of 1.
fn scale_of(control: &Control<'_>, scale: f64, norm: f64) -> f64 {
    let size = norm * scale.abs();
    if size > f64::from(control.max_norm) { scale * f64::from(control.max_norm) / size } else { scale }
}

fn matches_reference(at: &At) -> Check {
    let number = |x: f32| Tensor::full([0usize; 0], x.into(), DType::F32, &at.device);
    let (lr, step, scale, norm, skip) =
        (number(0.02)?, number(7.0)?, number(0.125)?, number(40.0)?, number(0.0)?);
    for (i, optimizer) in OPTIMIZERS.into_iter().enumerate() {
        for (j, way) in ways(at).into_iter().enumerate() {
            let offset = [0, 1, 4][(i + j) % 3];
            let made = SIZES
                .iter()
                .map(|&n| random(way, n, optimizer.moments(), offset, (n + 10_000 * i) as u64, &at.device));
            let mut made = made.collect::<Result<Vec<_>>>()?;
            // Numbers of the host and the device, with a norm that is cut and without.
            let mut control = Control::new(0.02, 7.0);
            control.grad_scale = Number::Host(0.125);
            if j % 2 == 0 {
                control = Control {
                    norm: Some(&norm),
                    max_norm: 2.0,
                    skip: Some(&skip),
                    ..Control::new(&lr, &step)
                };
                control.grad_scale = Number::Device(&scale);
            }
            let mut steps: Vec<Step<'_>> = made.iter_mut().map(|(parameter, _)| parameter.step()).collect();
            optimizer.step(&mut steps, &control)?;
            let by = scale_of(&control, 0.125, if j % 2 == 0 { 40.0 } else { 0.0 });
            for (parameter, rows) in &made {
                check_step(optimizer, parameter, rows, by)
                    .map_err(|error| fail(format!("{optimizer:?} {way:?}: {error}")))?;
            }
        }
    }
    Ok(())
}

fn check_step(optimizer: Optimizer, parameter: &Parameter, rows: &[[f64; 4]], by: f64) -> Check {
    let u = half_up(parameter.param.dtype());
    // The numbers of the host are those of f32.
    let lr = f64::from(0.02f32);
    let want: Vec<[Interval; 3]> = rows
        .iter()
        .map(|&[p, g, m, v]| {
            optimizer.define([p, g * by, m, v], 8.0 * half_up(DType::F32) * (g * by).abs(), [lr, 7.0], u)
        })
        .collect();
    let column = |i: usize| want.iter().map(|want| want[i]).collect::<Vec<_>>();
    within(&parameter.param, &column(0))?;
    for (weight, want) in parameter.weights()?.into_iter().zip(column(0)) {
        let dtype = if parameter.master.is_some() { DType::F32 } else { parameter.param.dtype() };
        // The master of f16 has no place below 2^-39.
        let is_coarse = parameter.master.is_some() && parameter.param.dtype() == DType::F16;
        let off = if is_coarse { 2f64.powi(-40) } else { 0.0 };
        prop_assert!(
            round(want.low, dtype) - off <= weight && weight <= round(want.high, dtype) + off,
            "{weight} of {want:?}"
        );
    }
    for (i, state) in parameter.moments.iter().enumerate() {
        if let State::Full(full) = state {
            within(full, &column(1 + i))?;
        }
    }
    Ok(())
}

/// Beside a master weights go the way of f32, to the bit, in steps that are too small for them alone.
fn masters_take_up_what_weights_can_not(at: &At) -> Check {
    let n = 3000;
    for optimizer in OPTIMIZERS {
        let mut rng = Rng(5);
        // Weights that all dtypes have.
        let values: Vec<f64> = (0..n).map(|_| (rng.below(255) as f64 - 127.0) / 128.0).collect();
        let kept = [Kept::Plain(DType::F32), Kept::Planes(DType::BF16), Kept::Planes(DType::F16)];
        let grads = Tensor::zeros([n], DType::F32, &at.device)?;
        let new =
            |kept| Parameter::new(kept, &values, grads.clone(), (optimizer.moments(), false), &at.device);
        let mut parameters = kept.map(new).into_iter().collect::<Result<Vec<_>>>()?;
        for step in 1..=20 {
            let grads = place(
                &(0..n).map(|_| round(number(&mut rng), DType::F32)).collect::<Vec<_>>(),
                0,
                DType::F32,
                &at.device,
            )?;
            parameters.iter_mut().for_each(|parameter| parameter.grad = grads.clone());
            let mut steps: Vec<Step<'_>> = parameters.iter_mut().map(Parameter::step).collect();
            optimizer.step(&mut steps, &Control::new(1e-4, step as f32))?;
        }
        let want = parameters[0].weights()?;
        prop_assert!(want.iter().zip(&values).any(|(a, b)| a != b));
        for parameter in &parameters[1..] {
            let dtype = parameter.param.dtype();
            let held = parameter.weights()?;
            for ((held, want), start) in held.iter().zip(&want).zip(&values) {
                // The master of f16 has no place below 2^-39, and what begins with another number is rounded another way.
                let a_step = 2f64.powi(-40) + half_up(DType::F32) * want.abs();
                let off = if dtype == DType::F16 && *start == 0.0 { 20.0 * a_step } else { 0.0 };
                prop_assert!(
                    (held - want).abs() <= off,
                    "{:?} {}: {} beside {}",
                    optimizer,
                    dtype,
                    held,
                    want
                );
            }
            for (seen, exact) in download(&parameter.param)?.into_iter().zip(held) {
                // To the nearest, either way in the middle.
                let off = (seen.float() - exact).abs();
                prop_assert!(off <= (round(exact, dtype) - exact).abs(), "{:?} of {}", seen, exact);
            }
        }
    }
    Ok(())
}

/// More parameters than a launch holds, of several kinds.
fn long_lists(at: &At) -> Check {
    for count in [300, 1500] {
        let mut rng = Rng(count);
        let ways = ways(at);
        let optimizer = OPTIMIZERS[0];
        let made = (0..count).map(|i| {
            let n = if i == 7 { 50_000 } else { rng.below(30) };
            random(ways[rng.below(ways.len())], n, 2, rng.below(2), i, &at.device)
        });
        let mut made = made.collect::<Result<Vec<_>>>()?;
        let mut steps: Vec<Step<'_>> = made.iter_mut().map(|(parameter, _)| parameter.step()).collect();
        optimizer.step(&mut steps, &Control::new(0.02, 7.0))?;
        made.iter().try_for_each(|(parameter, rows)| check_step(optimizer, parameter, rows, 1.0))?;
    }
    Ok(())
}

fn counts_steps(at: &At) -> Check {
    let number = |x: f32| Tensor::full([0usize; 0], x.into(), DType::F32, &at.device);
    let mut count = number(0.0)?;
    for (norm, skip) in [(1.0, 0.0), (f32::NAN, 0.0), (2.0, 1.0), (0.0, 0.0), (f32::INFINITY, 0.0)] {
        advance_(&mut count, Some(&number(norm)?), Some(&number(skip)?))?;
    }
    advance_(&mut count, None, None)?;
    prop_assert_eq!(count.item::<f32>()?, 3.0);
    Ok(())
}

/// A graph steps what it made itself, with what stands on the device when it is replayed.
fn is_recorded_in_graphs(at: &At) -> Check {
    let full = |n: usize, x: f64| Tensor::full([n], x, DType::F32, &at.device);
    // The weight, its gradient, the learning rate and the norm.
    let inputs = |lr, norm| -> Result<Vec<Tensor>> {
        Ok(vec![full(3000, 1.0)?, full(3000, 0.5)?, full(1, lr)?, full(1, norm)?])
    };
    let function = |x: &[Tensor]| {
        let (mut weight, mut moment) = (x[0].copy()?, x[1].zeros_like()?);
        let mut count = x[2].zeros_like()?;
        advance_(&mut count, Some(&x[3]), None)?;
        let mut second = x[1].zeros_like()?;
        let step = Step::new(&mut weight, &x[1])
            .with_first(Moment::Full(&mut moment))
            .with_second(Moment::Full(&mut second));
        let control = Control { norm: Some(&x[3]), ..Control::new(&x[2], &count) };
        adamw_(&mut [step], &AdamW::default(), &control)?;
        Ok(vec![weight, moment, count])
    };
    let mut graph = Graphed::new(inputs(0.1, 1.0)?, function)?;
    for (lr, norm) in [(0.1, 1.0), (0.2, 1.0), (0.2, f64::NAN), (0.3, 3.0)] {
        let made: Vec<Tensor> = inputs(lr, norm)?;
        let want = function(&made)?;
        let got = graph.replay(&made.iter().collect::<Vec<_>>())?;
        for (got, want) in got.iter().zip(&want) {
            same(got, &download(want)?)?;
        }
        prop_assert_eq!(got[0].to_vec::<f32>()?[0] == 1.0, norm.is_nan());
    }
    Ok(())
}

fn plan_equals_measured(at: &At) -> Check {
    let program = |device: &Device| -> Result<Stats> {
        let new = |n: usize| {
            let grads = Tensor::full([n], 1.0, DType::BF16, device)?;
            Parameter::new(Kept::Planes(DType::BF16), &vec![0.0; n], grads, (2, n.is_multiple_of(2)), device)
        };
        let mut list = (1..100).map(|i| new(37 * i)).collect::<Result<Vec<_>>>()?;
        let live = device.stats().live_bytes;
        for step in 1..3 {
            let mut steps: Vec<Step<'_>> = list.iter_mut().map(Parameter::step).collect();
            OPTIMIZERS[0].step(&mut steps, &Control::new(0.1, step as f32))?;
        }
        // Nothing is taken but what is given.
        assert_eq!((device.stats().live_bytes, device.stats().peak_live_bytes), (live, live));
        Ok(figures(device))
    };
    let (real, plan) = (at.fresh()?, Device::plan(at.device.spec()));
    prop_assert_eq!(program(&real)?, program(&plan)?);
    Ok(())
}

fn errors(at: &At) -> Check {
    let new = |n: usize, dtype| Tensor::full([n], 1.0, dtype, &at.device);
    let (mut w, mut other) = (new(4, DType::F32)?, new(4, DType::BF16)?);
    let (g, g16) = (new(4, DType::F32)?, new(4, DType::F16)?);
    let (mut m, mut v, mut short) = (new(4, DType::F32)?, new(4, DType::F32)?, new(3, DType::F32)?);
    let (mut low, mut codes, mut largest) = (new(8, DType::U8)?, new(4, DType::U8)?, new(1, DType::F32)?);
    let control = Control::new(0.1, 1.0);
    let (adamw, sgd) = (AdamW::default(), Sgd::default());
    let check = |result: Result<()>, kind: ErrorKind, message: &str| -> Check {
        let (found, said) = (kind_of(result.clone())?, message_of(result)?);
        prop_assert_eq!(found, kind, "{}", &said);
        prop_assert!(said.starts_with(message), "{} is not {}", said, message);
        Ok(())
    };
    let result = adamw_(&mut [Step::new(&mut w, &g).with_first(Moment::Full(&mut m))], &adamw, &control);
    check(result, ErrorKind::Value, "adamw_: second moment 0: there is none")?;
    let result = sgd_(&mut [Step::new(&mut w, &g).with_first(Moment::Full(&mut m))], &sgd, &control);
    check(result, ErrorKind::Value, "sgd_: first moment 0: it keeps none")?;
    let step = Step::new(&mut w, &g).with_first(Moment::Full(&mut m)).with_second(Moment::Full(&mut short));
    let result = adamw_(&mut [step], &adamw, &control);
    check(result, ErrorKind::Shape, "adamw_: second moment 0: [3] for [4], it must have 4 elements")?;
    let coded = Moment::Codes { codes: &mut codes, largest: &mut largest };
    let step = Step::new(&mut w, &g).with_first(Moment::Full(&mut m)).with_second(coded);
    let result = adamw_(&mut [step], &adamw, &control);
    check(result, ErrorKind::Value, "adamw_: parameter 0: one moment is in codes, the other is not")?;
    let result = sgd_(&mut [Step::new(&mut w, &g16)], &sgd, &control);
    check(result, ErrorKind::DType, "sgd_: gradient 0: f16 beside f32, it must be f32")?;
    let result = sgd_(&mut [Step::new(&mut other, &g16)], &sgd, &control);
    check(result, ErrorKind::DType, "sgd_: gradient 0: f16 beside bf16, it must be bf16 or f32")?;
    let result = sgd_(&mut [Step::new(&mut w, &g).with_master(&mut v)], &sgd, &control);
    check(result, ErrorKind::DType, "sgd_: master 0: f32 has none")?;
    let result = sgd_(&mut [Step::new(&mut other, &g).with_master(&mut v)], &sgd, &control);
    check(result, ErrorKind::Shape, "sgd_: master 0: [4] for [4], it must have 8 elements")?;
    let held = other.clone();
    let steps = &mut [Step::new(&mut w, &g), Step::new(&mut other, &g).with_master(&mut low)];
    check(
        sgd_(steps, &sgd, &control),
        ErrorKind::Shared,
        "sgd_: parameter 1: the storage is also held by a handle",
    )?;
    drop(held);
    let wrong = Control { lr: (&g).into(), ..control };
    let result = sgd_(&mut [Step::new(&mut w, &g)], &sgd, &wrong);
    check(result, ErrorKind::Shape, "sgd_: the learning rate is [4], not one element")?;
    let far = Tensor::zeros([4], DType::F32, &at.fresh()?)?;
    check(
        sgd_(&mut [Step::new(&mut w, &far)], &sgd, &control),
        ErrorKind::Device,
        "sgd_: gradient 0: it is on",
    )?;
    let mut odd = new(9, DType::U8)?.slice(0, 1..9)?;
    let result = sgd_(&mut [Step::new(&mut other, &g).with_master(&mut odd)], &sgd, &control);
    check(result, ErrorKind::Shape, "sgd_: master 0: it begins at an odd byte")?;
    sgd_(&mut [], &sgd, &control)?;
    if !at.device.is_plan() {
        prop_assert_eq!(w.to_vec::<f32>()?, [1.0; 4]);
        prop_assert_eq!(m.to_vec::<f32>()?, [1.0; 4]);
    }
    Ok(())
}
