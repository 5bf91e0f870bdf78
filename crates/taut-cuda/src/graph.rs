//! Graphs: the work of many launches, given to the card by one call.

use crate::{Gpu, Stream, context::Context};
use cudarc::driver::sys;
use std::{cell::RefCell, ptr, sync::Arc};
use taut_core::{Error, Result};
use taut_memory::StreamId;

thread_local! {
    /// The capture that is under way on this thread.
    static CAPTURE: RefCell<Option<Capture>> = const { RefCell::new(None) };
}

/// Whose work is captured, and by what.
struct Capture {
    index: u32,
    id: StreamId,
    stream: Arc<Stream>,
}

/// The stream that stands for stream `id` of card `index` on this thread, while it captures.
pub(crate) fn capturing(index: u32, id: StreamId) -> Option<Arc<Stream>> {
    CAPTURE.with_borrow(|capture| {
        let capture = capture.as_ref().filter(|capture| capture.index == index && capture.id == id)?;
        Some(capture.stream.clone())
    })
}

/// Captured work, ready to be launched again and again: the same kernels, in their order, with the same arguments, so
/// that what they read and write must stay where it is.
#[derive(Debug)]
pub struct Graph {
    exec: sys::CUgraphExec,
    nodes: usize,
    context: Arc<Context>,
}

// SAFETY: the driver's graph calls may come from any thread.
unsafe impl Send for Graph {}
// SAFETY: as above. A graph that is launched from two threads at once is launched twice, in the order of the stream.
unsafe impl Sync for Graph {}

impl Gpu {
    /// Runs `f`, and in place of doing the work that it gives to stream `id` on this thread, makes a graph of it. Other
    /// threads and other streams go on as always.
    ///
    /// # Errors
    ///
    /// Those of `f`; [`Driver`](taut_core::ErrorKind::Driver) if the driver refuses, or a capture is under way here.
    pub fn capture<R>(&self, id: StreamId, f: impl FnOnce() -> Result<R>) -> Result<(R, Graph)> {
        /// Nothing of the capture stays, however it ends.
        struct End;
        impl Drop for End {
            fn drop(&mut self) {
                CAPTURE.set(None);
            }
        }
        if CAPTURE.with_borrow(Option::is_some) {
            return Err(Error::driver("graph: one is being captured on this thread"));
        }
        let context = self.context()?;
        let stream = Arc::new(Stream::to_capture(&context, id)?);
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream is alive, and nobody else knows it.
        context.check(unsafe { sys::cuStreamBeginCapture_v2(stream.raw(), mode) }, "graph: begin")?;
        CAPTURE.set(Some(Capture { index: self.index(), id, stream: stream.clone() }));
        let end = End;
        let result = f();
        drop(end);
        let mut raw = ptr::null_mut();
        // Also after an error, so that the stream is free to go.
        // SAFETY: the capture began above, on this stream; `raw` is a valid place for a handle.
        let code = unsafe { sys::cuStreamEndCapture(stream.raw(), &mut raw) };
        let captured = Captured(raw);
        let result = result?;
        context.check(code, "graph: end")?;
        Ok((result, captured.instantiate(&context)?))
    }
}

/// What a capture gave.
struct Captured(sys::CUgraph);

impl Captured {
    fn instantiate(self, context: &Arc<Context>) -> Result<Graph> {
        let (mut nodes, mut exec) = (0, ptr::null_mut());
        // SAFETY: the graph is alive; without a place for them the nodes are counted only.
        let code = unsafe { sys::cuGraphGetNodes(self.0, ptr::null_mut(), &mut nodes) };
        context.check(code, "graph: count")?;
        // SAFETY: the graph is alive, and `exec` a valid place for a handle.
        let code = unsafe { sys::cuGraphInstantiateWithFlags(&mut exec, self.0, 0) };
        context.check(code, "graph: instantiate")?;
        Ok(Graph { exec, nodes, context: context.clone() })
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the handle is alive and not used after this. What was instantiated from it stays.
            unsafe { sys::cuGraphDestroy(self.0) };
        }
    }
}

impl Graph {
    /// How many pieces of work it has: kernels and copies.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Gives the work to `stream`. Does not block.
    ///
    /// The caller vouches for the operands of what was captured as it does for those of a launcher: they are there, and
    /// nobody else's, until the work is done.
    pub fn launch(&self, stream: &Stream) -> Result<()> {
        self.context.bind()?;
        // SAFETY: both handles are alive, of the context that is now current; the rest by what the caller vouches for.
        let code = unsafe { sys::cuGraphLaunch(self.exec, stream.raw()) };
        if code == sys::CUresult::CUDA_SUCCESS { Ok(()) } else { self.context.check(code, "graph: launch") }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the handle is alive and not used after this; the driver lets submitted work finish.
            unsafe { sys::cuGraphExecDestroy(self.exec) };
        }
    }
}
