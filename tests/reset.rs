//! `Device::reset`: everything goes back, the handle goes on, and nothing happens while a tensor lives.

use proptest::prelude::*;
use std::{
    env,
    process::{Command, ExitCode},
    sync::mpsc,
    thread,
};
use taut::{Budget, DType, Device, ErrorKind, Stats, Tensor, memory::StreamId};
use taut_tests::{At, Check, Suite, fail, figures, kind_of, message_of};

pub(crate) fn trials(suite: &mut Suite) {
    suite.everywhere("reset::refuses_while_tensors_live", refuses_while_tensors_live);
    suite.everywhere("reset::the_handle_goes_on", the_handle_goes_on);
    suite.everywhere("reset::twice_and_unused", twice_and_unused);
    suite.real("reset::streams_and_threads_go_on", streams_and_threads_go_on);
    suite.cuda("reset::other_devices_over_the_card", other_devices_over_the_card);
    suite.cuda("reset::holds_of_the_context", holds_of_the_context);
    suite.cuda("reset::says_what_failed_before", says_what_failed_before);
    suite.cuda("reset::the_card_is_as_before", the_card_is_as_before);
}

const MIB: usize = 1 << 20;

/// What a small program gives: its figures, and its values where there are any.
fn run(device: &Device) -> taut::Result<(Stats, Vec<f32>)> {
    let w = Tensor::uniform([300, 300], -0.1, 0.1, 1, DType::F32, device)?;
    let x = Tensor::from_slice(&[0.5f32; 300 * 300], [300, 300], device)?;
    let y = x.linear(&w)?.relu()?.sum(&[1])?;
    let values = if device.is_plan() { Vec::new() } else { y.to_vec()? };
    Ok((figures(device), values))
}

fn refuses_while_tensors_live(at: &At) -> Check {
    let device = &at.device;
    let _scope = taut::scope("model");
    let x = Tensor::full([5 * MIB], 7.0, DType::U8, device)?;
    let _input = Tensor::from_slice(&[1u8; 100], [100], device)?;
    let view = x.clone().slice(0, 0..3)?;
    drop(x);
    let before = figures(device);
    prop_assert_eq!(kind_of(device.reset())?, ErrorKind::Shared);
    let want = format!(
        "reset: {device} still holds 5.00 MiB (5242980 bytes) in 2 blocks; largest owners: full activations in model \
         5.00 MiB (5242880 bytes) in 1 block, from_slice input in model 100 bytes in 1 block; drop these tensors first"
    );
    prop_assert_eq!(message_of(device.reset())?, want);
    prop_assert_eq!(figures(device), before);
    if !device.is_plan() {
        prop_assert_eq!(view.to_vec::<u8>()?, [7; 3]);
    }
    drop((view, _input));
    device.reset()?;

    let empty = Tensor::zeros([0], DType::F32, device)?;
    let want = format!("reset: {device} still holds 0 bytes in 1 block; drop these tensors first");
    prop_assert_eq!(message_of(device.reset())?, want);
    drop(empty);
    Ok(device.reset()?)
}

/// The same program gives the same figures and values again, on a clone too, and as on a fresh device.
fn the_handle_goes_on(at: &At) -> Check {
    let (device, clone) = (&at.device, at.device.clone());
    device.set_budget(Budget::Fraction(0.5))?;
    let budget = device.pool().budget_bytes();
    let first = run(device)?;
    for _ in 0..3 {
        device.reset()?;
        prop_assert_eq!(device.stats(), Stats::default());
        prop_assert_eq!(device.pool().budget_bytes(), budget);
        prop_assert_eq!(&run(&clone)?, &first);
    }
    prop_assert_eq!(&run(&at.fresh()?)?, &first);
    Ok(())
}

fn twice_and_unused(at: &At) -> Check {
    at.device.reset()?;
    at.device.reset()?;
    // None of these needs the device to be open.
    at.device.synchronize()?;
    prop_assert_eq!(at.device.release()?, 0);
    prop_assert_eq!(at.device.stats(), Stats::default());
    Ok(())
}

/// What belongs to the old context is made anew: streams that are held, and whatever a thread had current.
fn streams_and_threads_go_on(at: &At) -> Check {
    let device = &at.device;
    let stream = device.stream()?;
    let on_side = || -> taut::Result<Vec<f32>> {
        let x = stream.scope(|| Tensor::full([1000], 2.0, DType::F32, device))?;
        x.mul_scalar(3.0)?.to_vec()
    };
    prop_assert_eq!(on_side()?, [6.0; 1000]);

    thread::scope(|scope| {
        let (ask, asked) = mpsc::channel::<()>();
        let (answer, answers) = mpsc::channel();
        scope.spawn(move || asked.iter().for_each(|()| drop(answer.send(run(device)))));
        let other = || -> Result<_, TestCaseError> {
            ask.send(()).map_err(fail)?;
            Ok(answers.recv().map_err(fail)??)
        };
        let first = other()?;
        device.reset()?;
        // The other thread opens the device, and this one finds it open.
        prop_assert_eq!(&other()?.1, &first.1);
        prop_assert_eq!(on_side()?, [6.0; 1000]);
        device.reset()?;
        // And the other way round.
        prop_assert_eq!(on_side()?, [6.0; 1000]);
        prop_assert_eq!(&other()?.1, &first.1);
        Ok(())
    })
}

/// They are emptied too, and their tensors are in the way.
fn other_devices_over_the_card(at: &At) -> Check {
    let other = at.fresh()?;
    let x = Tensor::full([3], 1.5, DType::F32, &other)?;
    let message = message_of(at.device.reset())?;
    let want = format!("reset: another device over {other} still holds 12 bytes in 1 block");
    prop_assert!(message.starts_with(&want), "{}", message);
    prop_assert_eq!(x.to_vec::<f32>()?, [1.5; 3]);
    drop(x);
    prop_assert_eq!(other.stats().reserved_bytes, 2 * MIB as u64);
    at.device.reset()?;
    prop_assert_eq!(other.stats(), Stats::default());
    let x = Tensor::full([3], 2.5, DType::F32, &other)?;
    prop_assert_eq!(x.to_vec::<f32>()?, [2.5; 3]);
    Ok(())
}

/// A stream that is held outside keeps the context, and says so.
fn holds_of_the_context(at: &At) -> Check {
    let Some(gpu) = at.device.gpu() else { return Ok(()) };
    let stream = gpu.stream(StreamId::COMPUTE)?;
    prop_assert_eq!(kind_of(at.device.reset())?, ErrorKind::Shared);
    prop_assert!(message_of(at.device.reset())?.starts_with("close: "));
    let first = run(&at.device)?;
    drop(stream);
    at.device.reset()?;
    prop_assert_eq!(gpu.pinned_bytes(), 0);
    prop_assert_eq!(&run(&at.device)?, &first);
    prop_assert_eq!(gpu.pinned_bytes(), 32 * MIB as u64);
    Ok(())
}

/// An index out of range that no one has been told of is told, and then the way is free.
fn says_what_failed_before(at: &At) -> Check {
    let x = Tensor::zeros([4, 4], DType::F32, &at.device)?;
    let index = Tensor::from_slice(&[9i64], [1], &at.device)?;
    drop(x.index_select(0, &index)?);
    drop(index);
    let error = message_of(at.device.reset())?;
    prop_assert!(error.contains("index 9 is out of range"), "{}", error);
    Ok(at.device.reset()?)
}

/// As another process sees it.
fn the_card_is_as_before(at: &At) -> Check {
    at.device.reset()?;
    let closed = probed()?;
    run(&at.device)?;
    at.device.release()?;
    let open = probed()?;
    prop_assert!(open >= closed + 100 * MIB as u64, "open {}, closed {}", open, closed);
    at.device.reset()?;
    prop_assert_eq!(probed()?, closed);
    Ok(())
}

const PROBE: &str = "TAUT_TEST_PROBE";

/// Whether this process is here to look at the card and no more.
pub(crate) fn is_probe() -> bool {
    env::var_os(PROBE).is_some()
}

/// Prints what the driver says is in use.
pub(crate) fn probe() -> ExitCode {
    let used = Device::cuda(0).map(|device| device.stats().driver_bytes);
    println!("{}", used.ok().flatten().unwrap_or_default());
    ExitCode::SUCCESS
}

/// What another process sees in use, its own context among it.
fn probed() -> Result<u64, TestCaseError> {
    let output =
        env::current_exe().and_then(|exe| Command::new(exe).env(PROBE, "1").output()).map_err(fail)?;
    let bytes = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().map_err(fail)?;
    if bytes == 0 { Err(fail("the probe sees no card")) } else { Ok(bytes) }
}
