//! Yardsticks that only this crate can take: the driver's own calls, bare.

use crate::{Arg, Gpu, Graph, Grid, Operand, Stream, launch};
use cudarc::driver::sys;
use std::{
    ptr,
    time::{Duration, Instant},
};
use taut_core::{Error, Result};
use taut_kernels::Kernel;
use taut_memory::StreamId;

/// The host time of one launch, done in two ways.
#[derive(Clone, Copy, Debug)]
pub struct LaunchCost {
    /// A loop of `cuLaunchKernel` and nothing else.
    pub bare: Duration,
    /// A loop of [`Stream::launch`] with its checks.
    pub thin: Duration,
    /// A loop of a whole launcher: choice, arguments, [`Stream::launch`].
    pub launcher: Duration,
}

/// Times `count` launches of the same small kernel, which writes zeros to the flat f32 operand `dst`. Drains the stream
/// before each loop and after it, outside of the times.
pub fn launch_cost(stream: &Stream, dst: Operand<'_>, count: u32) -> Result<LaunchCost> {
    let kernel = Kernel::Fill(4);
    if dst.dtype.size() != 4 || dst.layout.flat().is_none() || dst.layout.numel() > 1024 {
        return Err(Error::shape("launch_cost: takes up to 1,024 flat elements of 4 bytes"));
    }
    let (pointer, n, bits) = (dst.pointer(), dst.layout.numel() as u64, 0u64);
    let grid = Grid::linear(1, taut_kernels::args::THREADS);
    let args = || [Arg::new(&pointer), Arg::new(&n), Arg::new(&bits)];

    let context = stream.context();
    context.bind()?;
    let function = context.functions().get(kernel, 0)?;
    let bare = timed(stream, count, || {
        // SAFETY: `fill(out, n, bits)` over the elements of `dst`.
        let code = unsafe {
            sys::cuLaunchKernel(
                function,
                1,
                1,
                1,
                grid.threads,
                1,
                1,
                0,
                stream.raw(),
                args().as_ptr().cast_mut().cast(),
                ptr::null_mut(),
            )
        };
        if code == sys::CUresult::CUDA_SUCCESS { Ok(()) } else { context.check(code, "bare launch") }
    })?;
    let thin = timed(stream, count, || {
        // SAFETY: `fill(out, n, bits)` over the elements of `dst`.
        unsafe { stream.launch(kernel, grid, args()) }
    })?;
    let launcher = timed(stream, count, || launch::fill::fill(stream, 0, dst))?;
    Ok(LaunchCost { bare, thin, launcher })
}

/// A graph of `count` kernels that do nothing, one after the other: what no graph of as many ops is faster than. `dst` is as
/// for [`launch_cost`].
pub fn empty_graph(gpu: &Gpu, dst: Operand<'_>, count: u32) -> Result<Graph> {
    let (pointer, n, bits) = (dst.pointer(), 0u64, 0u64);
    let grid = Grid::linear(1, taut_kernels::args::THREADS);
    let run = || {
        let stream = gpu.stream(StreamId::COMPUTE)?;
        (0..count).try_for_each(|_| {
            // SAFETY: `fill(out, n, bits)` over no element.
            unsafe {
                stream.launch(Kernel::Fill(4), grid, [Arg::new(&pointer), Arg::new(&n), Arg::new(&bits)])
            }
        })
    };
    Ok(gpu.capture(StreamId::COMPUTE, run)?.1)
}

/// A graph of `count` kernels, one after the other, that read and write the flat operand `dst`, of up to 16 KiB in whole 16
/// bytes, and do nothing else: what no graph of as many ops on so few elements is faster than.
pub fn copying_graph(gpu: &Gpu, dst: Operand<'_>, count: u32) -> Result<Graph> {
    let (pointer, threads) = (dst.pointer(), dst.span_bytes() / PROBE_BYTES);
    let is_whole = dst.layout.flat().is_some() && pointer.is_multiple_of(PROBE_BYTES as u64);
    if !is_whole || threads * PROBE_BYTES != dst.span_bytes() || !(1..=1024).contains(&threads) {
        return Err(Error::shape("copying_graph: takes up to 16 KiB of flat elements, in whole 16 bytes"));
    }
    let grid = Grid::linear(1, threads as u32);
    let run = || {
        let stream = gpu.stream(StreamId::COMPUTE)?;
        (0..count).try_for_each(|_| {
            // SAFETY: `probe(in, out)` over the bytes of `dst`, 16 a thread.
            unsafe { stream.launch(Kernel::Probe, grid, [Arg::new(&pointer), Arg::new(&pointer)]) }
        })
    };
    Ok(gpu.capture(StreamId::COMPUTE, run)?.1)
}

/// What a thread of `probe.cu` moves.
const PROBE_BYTES: usize = 16;

/// The mean time of a call.
fn timed(stream: &Stream, count: u32, call: impl Fn() -> Result<()>) -> Result<Duration> {
    stream.synchronize()?;
    let start = Instant::now();
    (0..count).try_for_each(|_| call())?;
    let elapsed = start.elapsed();
    stream.synchronize()?;
    Ok(elapsed / count.max(1))
}
