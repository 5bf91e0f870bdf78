//! The plan device: the same program gives the same memory, to the byte, without the device.

use crate::program::{programs, run, streams};
use proptest::prelude::*;
use taut::{Activation, DType, Device, ErrorKind, Kind, Result, Spec, Stats, Tensor, tf32};
use taut_tests::{At, Check, Suite, fail, figures, kind_of};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("plan::equals_measured", equals_measured);
    suite.real("plan::equals_measured_for_any_program", equals_measured_for_any_program);
    suite.planned_card("plan::tensor_bytes_are_the_same_everywhere", tensor_bytes_are_the_same_everywhere);
    suite.planned("plan::reads_what_it_is_given", reads_what_it_is_given);
    suite.planned("plan::has_no_values_for_real_devices", has_no_values_for_real_devices);
    suite.planned_card("plan::host_is_one_device", host_is_one_device);
}

type Program = fn(&Device) -> Result<()>;

/// Programs with names, each of its own sort.
const PROGRAMS: [(&str, Program); 7] = [
    ("layers in f16", |device| {
        let h = Tensor::normal([1000, 512], 0.0, 1.0, 1, DType::F16, device)?;
        let weights = (0..8)
            .map(|i| Tensor::normal([512, 512], 0.0, 0.04, i, DType::F16, device)?.with_kind(Kind::Weights));
        let weights = weights.collect::<Result<Vec<_>>>()?;
        let bias = Tensor::zeros([512], DType::F16, device)?;
        let out = weights.iter().try_fold(h, |h, w| h.linear_with(w, Some(&bias), Activation::Relu))?;
        out.mean(&[0])?.to_vec::<taut::f16>().map(drop)
    }),
    ("normal equations in segments", |device| {
        let w = Tensor::normal([700, 50], 0.0, 1.0, 2, DType::F16, device)?;
        let mut gram = Tensor::zeros([700, 700], DType::F32, device)?;
        for segment in 0..3 {
            let rows = [900, 900, 417][segment];
            let x = Tensor::normal([rows, 50], 0.0, 1.0, 3, DType::F16, device)?;
            let features = x.linear_with(&w, None, Activation::Relu)?;
            gram.addmm_(&features.clone().t()?, &features)?;
        }
        let v = Tensor::full([700, 1], 1.0, DType::F32, device)?;
        gram.matmul(&v)?.sum(&[])?.item::<f32>().map(drop)
    }),
    ("layers in tf32", |device| {
        let x = Tensor::normal([1000, 516], 0.0, 1.0, 1, DType::F32, device)?;
        let w = Tensor::normal([1031, 516], 0.0, 0.04, 2, DType::F32, device)?.require_grad()?;
        let v = Tensor::normal([1031, 702], 0.0, 0.04, 3, DType::F32, device)?.require_grad()?;
        let y = tf32(|| x.linear_with(&w, None, Activation::Relu)?.matmul(&v))?;
        y.square()?.mean(&[])?.backward()?;
        w.grad().into_iter().try_for_each(|grad| grad.sum(&[])?.item::<f32>().map(drop))
    }),
    ("reductions", |device| {
        let x = Tensor::uniform([40, 3000, 7], 0.0, 1.0, 4, DType::F32, device)?;
        let center = x.clone().mean(&[1])?.reshape([40, 1, 7])?;
        let x = x.sub(&center)?;
        let squares = x.clone().mul(&x)?.sum(&[0, 2])?;
        squares.argmax(0)?;
        x.transpose(0, 2)?.sum(&[])?.item::<f32>().map(drop)
    }),
    ("casts and copies", |device| {
        let x = Tensor::arange(0.0, 1.5e6, 1.0, DType::I64, device)?.reshape([1000, 1500])?;
        let y = x.clone().cast(DType::BF16)?.t()?.contiguous()?;
        let z = x.slice(1, 3..999)?.cast(DType::U8)?.cast(DType::Bool)?;
        y.copy()?.slice(0, 0..2)?.contiguous()?;
        z.sum(&[0]).map(drop)
    }),
    ("to the host and back", |device| {
        let host = device.host();
        let x = Tensor::from_slice(&vec![1.5f32; 3 << 20], [3 << 20], device)?;
        let parts: Vec<Tensor> = (0..6)
            .map(|i| x.clone().slice(0, i << 19..(i + 1) << 19)?.mul_scalar(2.0)?.to(&host))
            .collect::<Result<_>>()?;
        drop(x);
        parts.into_iter().try_for_each(|part| part.to(device)?.sum(&[])?.item::<f32>().map(drop))
    }),
    ("two streams", |device| {
        let (first, second) = (device.stream()?, device.stream()?);
        let mut x = Tensor::zeros([1 << 20], DType::F32, device)?;
        for _ in 0..4 {
            let y = first.scope(|| x.clone().add_scalar(1.0))?;
            x = second.scope(|| y.clone().add(&x))?;
            drop(y);
        }
        x.sum(&[])?.item::<f32>().map(drop)
    }),
];

/// Fixed programs, with odd budgets of memory and without.
fn equals_measured(at: &At) -> Check {
    for (name, program) in PROGRAMS {
        let real = at.fresh()?;
        let plan = Device::plan(real.spec());
        for time in ["once", "again, in memory kept for reuse"] {
            let context = |error: taut::Error| fail(format!("{name} {time}: {error}"));
            program(&real).map_err(context)?;
            program(&plan).map_err(context)?;
            prop_assert_eq!(figures(&real), figures(&plan), "{} {}", name, time);
        }
        prop_assert_eq!(real.stats().live_bytes, 0, "{}", name);
    }
    Ok(())
}

/// Generated programs: the same ends of the same moves, and the same bytes after them.
fn equals_measured_for_any_program(at: &At) -> Check {
    let real = at.fresh()?;
    let real_streams = streams(&real)?;
    at.for_all(programs(), |program| {
        // Without a page, a pool is as new.
        real.release()?;
        real.pool().reset_peaks();
        let before = real.stats().allocations;
        let plan = Device::plan(real.spec());
        prop_assert_eq!(run(&program, &real, &real_streams), run(&program, &plan, &streams(&plan)?));
        let stats = figures(&real);
        prop_assert_eq!(Stats { allocations: stats.allocations - before, ..stats }, figures(&plan));
        prop_assert_eq!(stats.live_bytes, 0);
        Ok(())
    })
}

/// Tensor bytes, all but workspace, are a fact of the program and not of the device.
fn tensor_bytes_are_the_same_everywhere(at: &At) -> Check {
    for (name, program) in PROGRAMS {
        if name == "to the host and back" {
            // On the CPU the host is the device.
            continue;
        }
        let devices = [Device::cpu().fresh()?, Device::plan(Spec::cpu()), at.fresh()?];
        devices.iter().try_for_each(program)?;
        let peaks = devices.map(|device| device.stats().peak_tensor_bytes);
        prop_assert_eq!(peaks, [peaks[0]; 3], "{}", name);
    }
    at.for_all(programs(), |mut program| {
        program.retain(|step| !format!("{step:?}").starts_with("To"));
        let devices = [Device::plan(Spec::cpu()), at.fresh()?];
        let [cpu, card] = &devices;
        prop_assert_eq!(run(&program, cpu, &streams(cpu)?), run(&program, card, &streams(card)?));
        let peaks = devices.map(|device| device.stats().peak_tensor_bytes);
        prop_assert_eq!(peaks, [peaks[0]; 2]);
        Ok(())
    })
}

/// NaN unless a value is given; an integer then is 0.
fn reads_what_it_is_given(at: &At) -> Check {
    let device = at.fresh()?;
    let x = Tensor::full([2], 3.0, DType::F32, &device)?;
    prop_assert!(x.to_vec::<f32>()?.iter().all(|x| x.is_nan()));
    prop_assert_eq!(x.clone().argmax(0)?.item::<i64>()?, 0);
    device.set_read_value(2.5);
    prop_assert_eq!(x.to_vec::<f32>()?, [2.5, 2.5]);
    prop_assert_eq!(x.argmax(0)?.item::<i64>()?, 2);
    prop_assert!(Tensor::zeros([1], DType::F32, &at.device)?.item::<f32>()?.is_nan());
    Ok(())
}

/// From a real device to a plan there is a way, and none back.
fn has_no_values_for_real_devices(at: &At) -> Check {
    let cpu = Device::cpu();
    let x = Tensor::zeros([3], DType::F32, &cpu)?.to(&at.device)?;
    prop_assert_eq!(x.device(), &at.device);
    prop_assert_eq!(kind_of(x.clone().to(&cpu))?, ErrorKind::Device);
    let elsewhere = x.to(&Device::plan(Spec::cpu()))?;
    prop_assert_eq!(elsewhere.device().spec(), Spec::cpu());
    Ok(())
}

/// What goes to the host meets there, and the host of a host is itself.
fn host_is_one_device(at: &At) -> Check {
    let host = at.device.host();
    prop_assert!(host == at.device.host());
    prop_assert!(host == host.host());
    let parts = [0, 1]
        .map(|seed| Tensor::uniform([8], 0.0, 1.0, seed, DType::F32, &at.device)?.to(&at.device.host()));
    let [a, b] = parts;
    prop_assert_eq!(a?.add(&b?)?.numel(), 8);
    Ok(())
}
