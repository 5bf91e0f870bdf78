//! Streams: which queue of the device the ops of a region go to.

use crate::Device;
use std::cell::RefCell;
use taut_core::Result;
use taut_memory::StreamId;

thread_local! {
    /// The streams of the scopes that are open on this thread, innermost last.
    static SCOPES: RefCell<Vec<(Device, StreamId)>> = const { RefCell::new(Vec::new()) };
}

/// A queue of a device beside its compute stream. Tensors may go from stream to stream: an op waits for the stream
/// that wrote its operand, and memory waits for every stream that used it.
///
/// ```
/// use taut::{DType, Device, Tensor};
///
/// let device = Device::cpu();
/// let side = device.stream()?;
/// let x = side.scope(|| Tensor::full([4], 2.0, DType::F32, &device))?;
/// assert_eq!(x.mul_scalar(3.0)?.to_vec::<f32>()?, [6.0; 4]);
/// # Ok::<(), taut::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stream {
    device: Device,
    id: StreamId,
}

impl Stream {
    /// Runs `f` with the ops of this stream's device on this stream, on this thread.
    pub fn scope<R>(&self, f: impl FnOnce() -> R) -> R {
        /// Closes the scope when `f` returns or unwinds.
        struct Close;
        impl Drop for Close {
            fn drop(&mut self) {
                SCOPES.with_borrow_mut(|scopes| scopes.pop());
            }
        }
        SCOPES.with_borrow_mut(|scopes| scopes.push((self.device.clone(), self.id)));
        let _close = Close;
        f()
    }
}

impl Device {
    /// A new stream of this device; it has room for 61.
    pub fn stream(&self) -> Result<Stream> {
        Ok(Stream { device: self.clone(), id: self.add_stream()? })
    }

    /// The stream on which ops of this device run here and now.
    pub(crate) fn current(&self) -> StreamId {
        SCOPES.with_borrow(|scopes| {
            scopes.iter().rev().find(|(device, _)| device == self).map_or(StreamId::COMPUTE, |(_, id)| *id)
        })
    }
}
