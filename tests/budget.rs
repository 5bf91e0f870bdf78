//! Hard budgets: what does not fit is an error that says who holds what, and changes nothing.

use proptest::prelude::*;
use taut::{Budget, DType, Device, ErrorKind, Spec, Stats, Tensor};
use taut_tests::{At, Check, Suite, download, kind_of, message_of, same};

pub(crate) fn trials(suite: &mut Suite) {
    suite.everywhere("budget::what_does_not_fit_is_an_error", what_does_not_fit_is_an_error);
    suite.everywhere("budget::every_op_fails_whole", every_op_fails_whole);
    suite.everywhere("budget::release_gives_all_back", release_gives_all_back);
    suite.everywhere("budget::bad_budgets_are_refused", bad_budgets_are_refused);
    suite.planned_card("budget::a_card_is_no_larger_than_it_is", a_card_is_no_larger_than_it_is);
}

const MIB: u64 = 1 << 20;

/// What the device takes for itself, which budgets include.
fn overhead_bytes(device: &Device) -> u64 {
    match device.spec() {
        Spec::Cpu { .. } => 0,
        Spec::Cuda(card) => card.context_bytes,
    }
}

fn limit(device: &Device, bytes: u64) -> taut::Result<()> {
    device.set_budget(Budget::Bytes(overhead_bytes(device) + bytes))
}

/// What an error must leave as it was: all but the pages kept for reuse.
fn held(stats: Stats) -> (u64, u64, [u64; 8]) {
    (stats.live_bytes, stats.allocations, stats.live_by_kind)
}

fn what_does_not_fit_is_an_error(at: &At) -> Check {
    let device = &at.device;
    limit(device, 8 * MIB)?;
    let x = Tensor::full([5 * MIB as usize], 7.0, DType::U8, device)?;
    let (before, values) = (held(device.stats()), download(&x)?);
    let _scope = taut::scope("layer");
    let more = || Tensor::zeros([6 * MIB as usize], DType::U8, device);
    prop_assert_eq!(kind_of(more())?, ErrorKind::OutOfMemory);
    let message = message_of(more())?;
    let budget = format!("budget {}", size(overhead_bytes(device) + 8 * MIB));
    let parts = [
        "zeros: out of memory: 6.00 MiB (6291456 bytes) of activations in layer requested",
        "live 5.00 MiB (5242880 bytes)",
        &budget,
        "full activations 5.00 MiB (5242880 bytes) in 1 block",
    ];
    for part in parts {
        prop_assert!(message.contains(part), "{:?} is not in {:?}", part, message);
    }
    prop_assert_eq!(held(device.stats()), before);
    same(&x, &values)?;

    // In place there is no new memory; and where the first holder is gone, there is room.
    let x = x.add_scalar(1.0)?;
    drop(x);
    prop_assert_eq!(more()?.numel() as u64, 6 * MIB);
    prop_assert!(device.stats().peak_reserved_bytes <= 8 * MIB);
    Ok(())
}

/// As the pool prints bytes.
fn size(bytes: u64) -> String {
    let (unit, name) = if bytes >> 30 > 0 { (30, "GiB") } else { (20, "MiB") };
    format!("{:.2} {name} ({bytes} bytes)", bytes as f64 / (1u64 << unit) as f64)
}

/// Ops whose result or scratch memory does not fit leave every operand, and no memory behind.
fn every_op_fails_whole(at: &At) -> Check {
    let device = &at.device;
    let x = Tensor::full([1024, 1024], 0.5, DType::F16, device)?;
    let wide = Tensor::full([1024, 1024], 0.5, DType::F32, device)?;
    let mut sum = Tensor::full([1024, 1024], 1.0, DType::F32, device)?;
    device.release()?;
    limit(device, device.stats().reserved_bytes)?;
    let (before, values) = (held(device.stats()), download(&x.clone().slice(0, 0..1)?));
    let results = [
        x.clone().relu(),
        x.clone().add(&x),
        x.clone().cast(DType::F32),
        x.clone().t()?.contiguous(),
        x.clone().matmul(&x),
        x.clone().linear(&x),
        wide.clone().matmul(&wide),
        x.clone().broadcast_to([8, 1024, 1024])?.sum(&[0]),
        Tensor::normal([1024, 1024], 0.0, 1.0, 1, DType::F32, device),
        Tensor::arange(0.0, 1e7, 1.0, DType::F32, device),
        Tensor::from_slice(&vec![0u8; 3 << 20], [3 << 20], device),
    ];
    for (i, result) in results.into_iter().enumerate() {
        prop_assert_eq!(kind_of(result)?, ErrorKind::OutOfMemory, "number {}", i);
    }
    prop_assert_eq!(held(device.stats()), before);
    // Whether this takes scratch memory is the device's affair.
    match sum.addmm_(&x, &x) {
        Ok(()) => {}
        Err(error) => {
            prop_assert_eq!(error.kind(), ErrorKind::OutOfMemory);
            prop_assert!(
                device.is_plan() || sum.to_vec::<f32>().is_ok_and(|sum| sum.iter().all(|&x| x == 1.0))
            );
        }
    }
    prop_assert_eq!(device.stats().live_bytes, before.0);
    same(&x.slice(0, 0..1)?, &values?)
}

fn release_gives_all_back(at: &At) -> Check {
    let device = &at.device;
    let x = Tensor::zeros([(9 << 20) + 1], DType::U8, device)?;
    // Over pages they share one of 2 MiB, over segments they do not.
    let y = Tensor::zeros([2 << 20], DType::U8, device)?;
    prop_assert_eq!(device.stats().reserved_bytes, 12 * MIB);
    drop(x);
    let released = device.release()?;
    prop_assert!(released >= 8 * MIB);
    prop_assert_eq!(device.stats().reserved_bytes, 12 * MIB - released);
    drop(y);
    prop_assert_eq!(device.release()?, 12 * MIB - released);
    let stats = device.stats();
    prop_assert_eq!((stats.live_bytes, stats.reserved_bytes), (0, 0));
    // And it all can be had again.
    prop_assert_eq!(Tensor::zeros([9 << 20], DType::U8, device)?.numel(), 9 << 20);
    Ok(())
}

fn bad_budgets_are_refused(at: &At) -> Check {
    let device = &at.device;
    let held = Tensor::zeros([5 << 20], DType::U8, device)?;
    let before = device.pool().budget_bytes();
    let small = Budget::Bytes(overhead_bytes(device) + 4 * MIB);
    prop_assert_eq!(kind_of(device.set_budget(small))?, ErrorKind::OutOfMemory);
    for part in [0.0, -0.5, 1.5, f64::NAN] {
        prop_assert_eq!(kind_of(device.set_budget(Budget::Fraction(part)))?, ErrorKind::Device);
    }
    prop_assert_eq!(device.pool().budget_bytes(), before);
    device.set_budget(Budget::Fraction(0.5))?;
    prop_assert_eq!(device.pool().budget_bytes(), (device.pool().capacity_bytes() as f64 * 0.5) as u64);
    device.set_budget(Budget::Unlimited)?;
    drop(held);
    Ok(())
}

/// A plan holds what the card would, and not one page more.
fn a_card_is_no_larger_than_it_is(at: &At) -> Check {
    let Spec::Cuda(card) = at.device.spec() else { return Ok(()) };
    let usable = (card.memory_bytes - card.context_bytes) / (2 * MIB) * 2 * MIB;
    let all = Tensor::zeros([usable as usize], DType::U8, &at.device)?;
    prop_assert_eq!(kind_of(Tensor::zeros([1], DType::U8, &at.device))?, ErrorKind::OutOfMemory);
    drop(all);
    let more = Tensor::zeros([usable as usize + 1], DType::U8, &at.device);
    prop_assert_eq!(kind_of(more)?, ErrorKind::OutOfMemory);

    let small = Device::plan(Spec::Cpu { memory_bytes: 16 * MIB });
    prop_assert_eq!(kind_of(Tensor::zeros([17 << 20], DType::U8, &small))?, ErrorKind::OutOfMemory);
    prop_assert_eq!(Tensor::zeros([16 << 20], DType::U8, &small)?.numel(), 16 << 20);
    Ok(())
}
