//! Host memory beside a device: saved tensors and states of optimizers that wait there. Nothing but the place changes.

mod states;
mod tensors;

use proptest::prelude::*;
use taut::{
    Activation, Budget, DType, Device, Error, ErrorKind, Graphed, Kind, Result, SAVED_ON_HOST_BYTES, Tensor,
    checkpoint, checkpoint_sequential, no_grad, save_on_host, scope, seed,
};
use taut_tests::{At, Check, Suite, first, kind_of};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("offload::gradients_are_the_same", gradients_are_the_same);
    suite.real("offload::on_other_streams", on_other_streams);
    suite.real("offload::what_is_out_can_be_written_over", what_is_out_can_be_written_over);
    suite.everywhere("offload::nothing_stays", nothing_stays);
    suite.everywhere("offload::what_stays", what_stays);
    suite.everywhere("offload::with_checkpoints", with_checkpoints);
    suite.everywhere("offload::two_layers_at_a_time", two_layers_at_a_time);
    suite.everywhere("offload::graphs_dropped_early", graphs_dropped_early);
    suite.everywhere("offload::errors_leave_nothing", errors_leave_nothing);
    states::trials(suite);
    tensors::trials(suite);
}

/// The bits of any float tensor.
fn bits(x: &Tensor) -> Result<Vec<u32>> {
    Ok(x.clone().detach().cast(DType::F32)?.to_vec::<f32>()?.into_iter().map(f32::to_bits).collect())
}

fn saved(device: &Device) -> u64 {
    device.stats().live_by_kind[Kind::Saved as usize]
}

const WIDTH: usize = 256;
const ROWS: usize = 320;

/// A block that keeps all sorts of things: inputs, outputs, both, views, tensors that others keep too.
fn block(x: Tensor, w: &Tensor) -> Result<Tensor> {
    let h = x.clone().linear_with(w, None, Activation::Relu)?.dropout(0.25, seed::next())?;
    let gate = h.clone().slice(1, 0..WIDTH / 2)?.sigmoid()?;
    let value = h.slice(1, WIDTH / 2..WIDTH)?.gelu()?;
    let wide = Tensor::cat(&[value.mul(&gate)?, gate], 1)?;
    // `x` is kept by the product above, and twice here.
    wide.layer_norm(None, None, 1e-5)?.add(&x.clone().mul(&x)?)?.softmax(1)?.reshape([WIDTH, ROWS])?.t()
}

type Block = Box<dyn Fn(Tensor) -> Result<Tensor> + Send>;

fn blocks(weights: &[Tensor]) -> Vec<Block> {
    let block = |w: &Tensor| -> Block {
        let w = w.clone();
        Box::new(move |x| block(x, &w))
    };
    weights.iter().map(block).collect()
}

/// The gradients of six blocks of three weights, and of their input, by some way to run them.
fn gradients(
    device: &Device,
    dtype: DType,
    run: impl Fn(Tensor, Vec<Block>) -> Result<Tensor>,
) -> Result<Vec<Vec<u32>>> {
    seed::set(11);
    let normal = |shape: [usize; 2], std, seed| {
        Tensor::normal(shape, 0.0, std, seed, DType::F32, device)?.cast(dtype)?.require_grad()
    };
    let weights = (0..3).map(|i| normal([WIDTH, WIDTH], 0.06, i)).collect::<Result<Vec<_>>>()?;
    let x = normal([ROWS, WIDTH], 1.0, 9)?;
    let input = x.clone().mul_scalar(1.5)?;
    run(input, blocks(&[&weights[..], &weights[..]].concat()))?.square()?.sum(&[])?.backward()?;
    let all = weights.iter().chain([&x]);
    all.map(|x| bits(&x.grad().ok_or_else(|| Error::grad("there is no gradient"))?)).collect()
}

fn straight(x: Tensor, blocks: Vec<Block>) -> Result<Tensor> {
    blocks.iter().try_fold(x, |x, block| block(x))
}

/// To the bit, in one call or many, around checkpoints and inside of them, and where a backward comes before the call ends.
fn gradients_are_the_same(at: &At) -> Check {
    for dtype in [DType::F32, DType::BF16] {
        let device = at.fresh()?;
        let plain = gradients(&device, dtype, straight)?;
        prop_assert!(plain.iter().all(|grad| grad.iter().any(|&g| g != 0)), "{}", dtype);
        let same = |name: &str, run: &dyn Fn(Tensor, Vec<Block>) -> Result<Tensor>| -> Check {
            let before = device.host_stats();
            let some = gradients(&device, dtype, run)?;
            let after = device.host_stats();
            prop_assert!(some == plain, "{} of {}", name, dtype);
            prop_assert!(after.peak_live_bytes > 0 && after.live_bytes == 0, "{}: {:?}", name, after);
            prop_assert!(after.allocations >= before.allocations);
            Ok(())
        };
        same("one call", &|x, blocks| save_on_host(|| straight(x, blocks)))?;
        same("a call for each", &|x, blocks| {
            blocks.iter().try_fold(x, |x, block| save_on_host(|| block(x)))
        })?;
        same("calls in a call", &|x, blocks| {
            save_on_host(|| blocks.iter().try_fold(x, |x, block| save_on_host(|| block(x))))
        })?;
        same("some of them", &|x, blocks| {
            let mut blocks = blocks.into_iter().enumerate();
            blocks.try_fold(x, |x, (i, block)| if i % 2 == 0 { save_on_host(|| block(x)) } else { block(x) })
        })?;
        same("around checkpoints", &|x, blocks| save_on_host(|| checkpoint_sequential(x, blocks, 3)))?;
        same("inside of checkpoints", &|x, blocks| {
            blocks
                .into_iter()
                .try_fold(x, |x, block| checkpoint(vec![x], move |x| save_on_host(|| block(first(x)?))))
        })?;
    }
    let device = at.fresh()?;
    let plain = gradients(&device, DType::F32, straight)?;
    seed::set(11);
    let within = save_on_host(|| gradients(&device, DType::F32, straight))?;
    prop_assert!(within == plain, "a backward in the call");
    Ok(())
}

/// The ops of forward and backward on streams of their own, one after the other and crossed.
fn on_other_streams(at: &At) -> Check {
    let device = at.fresh()?;
    let plain = gradients(&device, DType::F32, straight)?;
    let (one, two) = (device.stream()?, device.stream()?);
    for _ in 0..3 {
        let crossed = gradients(&device, DType::F32, |x, blocks| {
            save_on_host(|| {
                let mut blocks = blocks.into_iter().enumerate();
                blocks.try_fold(x, |x, (i, block)| if i % 2 == 0 { &one } else { &two }.scope(|| block(x)))
            })
        })?;
        prop_assert!(crossed == plain);
        let inside = one.scope(|| {
            gradients(&device, DType::F32, |x, blocks| two.scope(|| save_on_host(|| straight(x, blocks))))
        })?;
        prop_assert!(inside == plain);
    }
    Ok(())
}

/// A tensor that is out may be changed in place, and goes out again when it is kept then: each rule sees what its op saw.
fn what_is_out_can_be_written_over(at: &At) -> Check {
    let device = &at.device;
    let w = Tensor::full([1], 1.0, DType::F32, device)?.require_grad()?;
    let numel = 100_000;
    let loss = save_on_host(|| {
        let mut x = Tensor::full([numel], 2.0, DType::F32, device)?;
        let one = x.clone().mul(&w)?.sum(&[])?;
        // The next that goes out lets go of it.
        let other = Tensor::full([numel], 5.0, DType::F32, device)?.mul(&w)?.sum(&[])?;
        x.mul_scalar_(10.0)?;
        one.add(&other)?.add(&x.mul(&w)?.sum(&[])?)
    })?;
    loss.backward()?;
    let grad = w.take_grad().ok_or_else(|| Error::grad("none"))?;
    prop_assert_eq!(grad.to_vec::<f32>()?, [27.0 * numel as f32]);
    prop_assert_eq!(device.host_stats().live_bytes, 0);
    Ok(())
}

fn zeros(shape: [usize; 2], device: &Device) -> Result<Tensor> {
    Tensor::zeros(shape, DType::F32, device)
}

/// `n` linear layers with ReLU.
fn layers(x: Tensor, w: &Tensor, n: usize) -> Result<Tensor> {
    (0..n).try_fold(x, |x, _| x.linear_with(w, None, Activation::Relu))
}

/// Of what goes out no byte is on the device after the forward pass, and each storage is once on the host, whoever keeps it.
fn nothing_stays(at: &At) -> Check {
    let device = at.fresh()?;
    let w = zeros([WIDTH, WIDTH], &device)?.require_grad()?;
    let (before, one) = (device.stats().live_bytes, (ROWS * WIDTH * 4) as u64);
    let y = save_on_host(|| layers(zeros([ROWS, WIDTH], &device)?, &w, 16))?;
    prop_assert_eq!(device.stats().live_bytes - before, one, "the result");
    prop_assert_eq!(device.host_stats().live_bytes, 17 * one);
    y.sum(&[])?.backward()?;
    prop_assert_eq!(device.stats().live_bytes, 2 * before, "the weight and its gradient");
    let host = device.host_stats();
    prop_assert_eq!((host.live_bytes, host.peak_live_bytes, host.allocations), (0, 17 * one, 17));

    // In `no_grad` nothing is kept, and nothing goes out.
    let y = save_on_host(|| no_grad(|| layers(zeros([ROWS, WIDTH], &device)?, &w, 16)))?;
    prop_assert_eq!(device.host_stats(), host);
    prop_assert_eq!(saved(&device), 0);
    drop(y);
    Ok(())
}

/// Weights, what is small, and parts of something stay where they are; what is all of its memory, whatever its shape, does not.
fn what_stays(at: &At) -> Check {
    let device = at.fresh()?;
    let out = |f: &dyn Fn() -> Result<Tensor>| -> Result<u64> {
        let kept = save_on_host(f)?;
        let bytes = device.host_stats().live_bytes;
        drop(kept);
        Ok(bytes)
    };
    let x = Tensor::zeros([64, 2048], DType::F32, &device)?.require_grad()?;
    let one = 64 * 2048 * 4;
    prop_assert_eq!(out(&|| x.clone().square())?, 0, "requires a gradient");
    prop_assert_eq!(out(&|| x.clone().t()?.square())?, 0, "a view of what does");
    let frozen = Tensor::zeros([64, 2048], DType::F32, &device)?.with_kind(Kind::Weights)?;
    prop_assert_eq!(out(&|| x.clone().mul(&frozen))?, 0, "a weight");
    let plain = Tensor::zeros([64, 2048], DType::F32, &device)?;
    prop_assert_eq!(out(&|| x.clone().mul(&plain))?, one);
    prop_assert_eq!(out(&|| x.clone().t()?.mul(&plain.clone().t()?))?, one, "transposed");
    prop_assert_eq!(out(&|| x.clone().slice(0, 0..32)?.mul(&plain.clone().slice(0, 0..32)?))?, 0, "a part");
    let row = plain.clone().slice(0, 0..1)?;
    prop_assert_eq!(out(&|| x.clone().mul(&row.clone().broadcast_to([64, 2048])?))?, 0, "repeated");
    for (numel, bytes) in
        [(SAVED_ON_HOST_BYTES as usize / 4 - 1, 0), (SAVED_ON_HOST_BYTES as usize / 4, SAVED_ON_HOST_BYTES)]
    {
        let small = Tensor::zeros([numel], DType::F32, &device)?;
        let scale = Tensor::zeros([1], DType::F32, &device)?.require_grad()?;
        prop_assert_eq!(out(&|| small.clone().mul(&scale))?, bytes, "{} elements", numel);
    }
    // A graph keeps what it keeps on the device.
    let graphed = Graphed::new(vec![zeros([ROWS, WIDTH], &device)?], |x| {
        let w = zeros([WIDTH, WIDTH], &device)?.require_grad()?;
        let loss = save_on_host(|| layers(x[0].clone(), &w, 3)?.sum(&[]))?;
        loss.backward()?;
        w.take_grad().map(|grad| vec![grad]).ok_or_else(|| Error::grad("none"))
    })?;
    drop(graphed);
    prop_assert_eq!(device.host_stats().live_bytes, 0);
    Ok(())
}

/// Of a checkpoint its inputs go out, and nothing else: what runs again in the backward is needed at once.
fn with_checkpoints(at: &At) -> Check {
    let device = at.fresh()?;
    let w = zeros([WIDTH, WIDTH], &device)?.require_grad()?;
    let (before, one) = (device.stats().live_bytes, (ROWS * WIDTH * 4) as u64);
    let y = save_on_host(|| {
        let steps = (0..16).map(|_| {
            let w = w.clone();
            move |x: Tensor| x.linear_with(&w, None, Activation::Relu)
        });
        checkpoint_sequential(zeros([ROWS, WIDTH], &device)?, steps.collect(), 4)
    })?;
    prop_assert_eq!(device.stats().live_bytes - before, one, "the result");
    // Four inputs, and the four outputs of the last segment, of which the first keeps its input too.
    prop_assert_eq!(device.host_stats().live_bytes, (4 + 4) * one);
    y.sum(&[])?.backward()?;
    prop_assert_eq!(device.host_stats().peak_live_bytes, (4 + 4) * one);
    prop_assert_eq!(device.stats().live_bytes, 2 * before);
    Ok(())
}

/// The peak of forward and backward is that of some tensors, however many layers there are.
fn two_layers_at_a_time(at: &At) -> Check {
    let peak = |n: usize| -> Result<(u64, u64)> {
        let device = at.fresh()?;
        let w = zeros([WIDTH, WIDTH], &device)?.require_grad()?;
        let y = save_on_host(|| layers(zeros([ROWS, WIDTH], &device)?, &w, n))?;
        let forward = device.stats().peak_tensor_bytes;
        device.pool().reset_peaks();
        y.sum(&[])?.backward()?;
        Ok((forward, device.stats().peak_tensor_bytes))
    };
    let (weight, one) = ((WIDTH * WIDTH * 4) as u64, (ROWS * WIDTH * 4) as u64);
    let (forward, backward) = peak(16)?;
    prop_assert_eq!(forward, weight + 2 * one, "input and output of a layer");
    // The gradient, what the rule needs, and what comes for the next.
    prop_assert!(backward <= 2 * weight + 3 * one + 64, "{} bytes", backward);
    prop_assert_eq!(peak(64)?, (forward, backward));
    Ok(())
}

/// Graphs that no backward goes through, whole or in part, give back all they hold.
fn graphs_dropped_early(at: &At) -> Check {
    let device = at.fresh()?;
    let w = zeros([WIDTH, WIDTH], &device)?.require_grad()?;
    let before = device.stats().live_bytes;
    let one = (ROWS * WIDTH * 4) as u64;
    let run = |n| save_on_host(|| layers(zeros([ROWS, WIDTH], &device)?, &w, n));
    drop(run(5)?);
    prop_assert_eq!((device.stats().live_bytes, device.host_stats().live_bytes), (before, 0));
    // Two at once, of which the first goes on.
    let (kept, dropped) = (run(3)?, run(4)?);
    prop_assert_eq!(device.host_stats().live_bytes, (4 + 5) * one);
    drop(dropped);
    prop_assert_eq!(device.host_stats().live_bytes, 4 * one);
    kept.sum(&[])?.backward()?;
    prop_assert_eq!((device.stats().live_bytes, device.host_stats().live_bytes), (2 * before, 0));
    w.zero_grad();
    // Crossed: each backward has its own.
    let (first, second) = (run(3)?, run(4)?);
    first.sum(&[])?.backward()?;
    second.sum(&[])?.backward()?;
    prop_assert_eq!((device.stats().live_bytes, device.host_stats().live_bytes), (2 * before, 0));
    // An error and a panic in the call: the next one is as if they had not been.
    let failed = save_on_host(|| {
        layers(zeros([ROWS, WIDTH], &device)?, &w, 3)?;
        zeros([1, 2], &device)?.add(&zeros([1, 3], &device)?)
    });
    prop_assert_eq!(kind_of(failed)?, ErrorKind::Shape);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        save_on_host(|| -> Result<()> { std::panic::resume_unwind(Box::new(())) })
    }));
    prop_assert!(panicked.is_err());
    let y = zeros([ROWS, WIDTH], &device)?.linear(&w)?;
    prop_assert_eq!((device.host_stats().live_bytes, saved(&device)), (0, one));
    drop(y);
    Ok(())
}

/// A backward for which there is no room on the device leaves no part of a gradient, and no byte anywhere; one for which there is
/// room but for what would come early gives the same as ever.
fn errors_leave_nothing(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::normal([WIDTH, WIDTH], 0.0, 0.1, 1, DType::F32, &device)?.require_grad()?;
    let before = device.stats().live_bytes;
    let forward = || {
        let x = Tensor::normal([ROWS, WIDTH], 0.0, 1.0, 2, DType::F32, &device)?;
        save_on_host(|| layers(x, &w, 6)?.sum(&[]))
    };
    forward()?.backward()?;
    let grad = w.take_grad().ok_or_else(|| Error::grad("none"))?;
    let want = if device.is_plan() { Vec::new() } else { bits(&grad)? };
    drop(grad);
    let (mut failures, mut done) = (0, 0);
    // How much is enough depends on what products take while they run.
    for room in (0..256 << 20).step_by(64 << 10) {
        if done == 10 {
            break;
        }
        let limit = |bytes| device.pool().scope("step").limit(bytes);
        let _scope = scope("step");
        limit(Budget::Unlimited)?;
        let loss = forward()?;
        limit(Budget::Bytes(device.stats().live_bytes - before + room))?;
        let result = loss.backward();
        match result {
            Ok(()) => {
                done += 1;
                let grad = w.take_grad().ok_or_else(|| Error::grad("none"))?;
                prop_assert!(device.is_plan() || bits(&grad)? == want, "room for {} bytes", room);
            }
            Err(error) => {
                failures += 1;
                prop_assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{}", error);
                prop_assert!(w.grad().is_none());
            }
        }
        prop_assert_eq!((device.stats().live_bytes, device.host_stats().live_bytes), (before, 0));
    }
    prop_assert!(failures > 5 && done == 10, "{} and {}", failures, done);
    Ok(())
}
