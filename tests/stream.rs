//! Several streams: values cross them, and memory is not taken while another stream still uses it.

use proptest::prelude::*;
use taut::{DType, Device, Tensor};
use taut_tests::{At, Check, Suite, fail};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("stream::values_cross", values_cross);
    suite.real("stream::memory_waits_for_its_users", memory_waits_for_its_users);
    suite.real("stream::in_place_waits_for_readers", in_place_waits_for_readers);
    suite.everywhere("stream::scopes_nest_and_unwind", scopes_nest_and_unwind);
    // Not on the GPU, whose streams are those of the process: the other trials need some.
    suite.cpu("stream::there_are_61", there_are_61);
    suite.planned("stream::there_are_61", there_are_61);
}

/// Enough that the work of one op is not done when the next is given.
fn numel(at: &At) -> usize {
    if at.device.is_cuda() { 1 << 24 } else { 1 << 14 }
}

fn all_are(x: &Tensor, want: f32) -> Check {
    match x.to_vec::<f32>()?.iter().position(|&x| x != want) {
        None => Ok(()),
        Some(i) => Err(fail(format!("element {i} is not {want}"))),
    }
}

/// Each op waits for the stream that wrote its operands.
fn values_cross(at: &At) -> Check {
    let n = numel(at);
    let streams = [at.device.stream()?, at.device.stream()?];
    let mut x = Tensor::zeros([n], DType::F32, &at.device)?;
    for round in 0..10 {
        let side = &streams[round % 2];
        let y = side.scope(|| x.clone().add_scalar(1.0))?;
        // Back on the compute stream, with an operand from each.
        x = y.add(&x)?;
    }
    all_are(&x, 1023.0)
}

/// A block that one stream gave back is another's at once; its last reader must not see what is written then.
fn memory_waits_for_its_users(at: &At) -> Check {
    let n = numel(at);
    let (first, second) = (at.device.stream()?, at.device.stream()?);
    let mut sums = Vec::new();
    for round in 0..10 {
        let value = f64::from(round);
        let x = first.scope(|| Tensor::full([n], value, DType::F32, &at.device))?;
        // Read on the second stream, then dropped while that is under way.
        sums.push((second.scope(|| x.mean(&[]))?, value));
        // Takes the same memory, on the compute stream.
        let other = Tensor::full([n], -1.0, DType::F32, &at.device)?;
        all_are(&other.slice(0, 0..1)?, -1.0)?;
    }
    for (sum, value) in sums {
        all_are(&sum, value as f32)?;
    }
    Ok(())
}

/// Writing over a tensor waits for those who read it on other streams.
fn in_place_waits_for_readers(at: &At) -> Check {
    let n = numel(at);
    let side = at.device.stream()?;
    for _ in 0..5 {
        let mut x = Tensor::full([n], 2.0, DType::F32, &at.device)?;
        let y = side.scope(|| x.clone().mul_scalar(3.0))?;
        x.leaky_relu_(0.0)?;
        x = x.mul_scalar(0.0)?;
        all_are(&y, 6.0)?;
        all_are(&x, 0.0)?;
    }
    Ok(())
}

/// The innermost scope counts, and only for its own device; a panic closes it.
fn scopes_nest_and_unwind(at: &At) -> Check {
    let (outer, inner) = (at.device.stream()?, at.device.stream()?);
    let elsewhere = Device::cpu().fresh()?.stream()?;
    let x =
        outer.scope(|| inner.scope(|| elsewhere.scope(|| Tensor::full([8], 2.0, DType::F32, &at.device))))?;
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        outer.scope(|| std::panic::resume_unwind(Box::new(())));
    }));
    prop_assert!(caught.is_err());
    let y = x.clone().add(&outer.scope(|| x.mul_scalar(2.0))?)?;
    if !at.device.is_plan() {
        all_are(&y, 6.0)?;
    }
    Ok(())
}

/// There are 64 streams, three of them taken; one more is an error and not a panic.
fn there_are_61(at: &At) -> Check {
    let streams: Vec<_> = (0..61).map(|_| at.device.stream()).collect::<taut::Result<_>>()?;
    prop_assert!(at.device.stream().is_err());
    let last = &streams[60];
    let x = last.scope(|| Tensor::zeros([4], DType::F32, &at.device))?;
    prop_assert_eq!(x.relu()?.numel(), 4);
    Ok(())
}
