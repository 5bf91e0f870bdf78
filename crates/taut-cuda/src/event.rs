//! Events: points in a stream, to wait for and to time between.

use crate::{Stream, context::Context};
use cudarc::driver::sys;
use std::{ptr, sync::Arc, time::Duration};
use taut_core::Result;

/// A point in the work of a stream.
#[derive(Debug)]
pub struct Event {
    raw: sys::CUevent,
    context: Arc<Context>,
}

// SAFETY: the driver's event calls may come from any thread.
unsafe impl Send for Event {}
// SAFETY: as above, and the handle itself never changes.
unsafe impl Sync for Event {}

impl Event {
    /// An event that can be timed, on the device of `stream`.
    pub fn timed(stream: &Stream) -> Result<Event> {
        Event::new(stream.context(), sys::CUevent_flags::CU_EVENT_DEFAULT)
    }

    /// An event that only orders: cheaper to record.
    pub(crate) fn untimed(context: &Arc<Context>) -> Result<Event> {
        Event::new(context, sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    fn new(context: &Arc<Context>, flags: sys::CUevent_flags) -> Result<Event> {
        context.bind()?;
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a valid place for a handle, and the context is current.
        context.check(unsafe { sys::cuEventCreate(&mut raw, flags as u32) }, "event: create")?;
        Ok(Event { raw, context: context.clone() })
    }

    /// Makes later work of `stream` wait for the marked work.
    pub(crate) fn hold(&self, stream: &Stream) -> Result<()> {
        self.context.bind()?;
        // SAFETY: both handles are alive, of the context that is now current.
        self.context.check(unsafe { sys::cuStreamWaitEvent(stream.raw(), self.raw, 0) }, "event: wait")
    }

    /// Marks the work that `stream` has been given so far.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        self.context.bind()?;
        // SAFETY: both handles are alive, of the context that is now current.
        self.context.check(unsafe { sys::cuEventRecord(self.raw, stream.raw()) }, "event: record")
    }

    /// Blocks until the marked work is done.
    pub fn synchronize(&self) -> Result<()> {
        self.context.bind()?;
        // SAFETY: the handle is alive.
        self.context.check(unsafe { sys::cuEventSynchronize(self.raw) }, "event: synchronize")
    }

    /// Whether the marked work is done.
    pub(crate) fn is_done(&self) -> Result<bool> {
        self.context.bind()?;
        // SAFETY: the handle is alive.
        match unsafe { sys::cuEventQuery(self.raw) } {
            sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            code => self.context.check(code, "event: query").map(|()| true),
        }
    }

    /// The device time between `start` and `self`. Blocks until both are done.
    pub fn since(&self, start: &Event) -> Result<Duration> {
        self.synchronize()?;
        let mut milliseconds = 0.0;
        // SAFETY: both handles are alive and were recorded.
        let code = unsafe { sys::cuEventElapsedTime(&mut milliseconds, start.raw, self.raw) };
        self.context.check(code, "event: elapsed time")?;
        Ok(Duration::from_secs_f64(f64::from(milliseconds.max(0.0)) * 1e-3))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the handle is alive and not used after this.
            unsafe { sys::cuEventDestroy_v2(self.raw) };
        }
    }
}
