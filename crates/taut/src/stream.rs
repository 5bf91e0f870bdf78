//! Streams: which queue of the device the ops of a region go to.

use crate::Device;
use std::{cell::RefCell, sync::Arc};
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
pub struct Stream(Arc<Lease>);

/// A stream in use, until the last handle is dropped.
#[derive(Debug)]
struct Lease {
    device: Device,
    id: StreamId,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.device.return_stream(self.id);
    }
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
        SCOPES.with_borrow_mut(|scopes| scopes.push((self.0.device.clone(), self.0.id)));
        let _close = Close;
        f()
    }
}

impl Device {
    /// A stream of this device that no one else has; there is room for 61.
    ///
    /// # Errors
    ///
    /// [`Device`](crate::ErrorKind::Device) if all are in use.
    pub fn stream(&self) -> Result<Stream> {
        let id = self.take_stream()?;
        Ok(Stream(Arc::new(Lease { device: self.clone(), id })))
    }

    /// The stream on which ops of this device run here and now.
    pub(crate) fn current(&self) -> StreamId {
        SCOPES.with_borrow(|scopes| {
            scopes.iter().rev().find(|(device, _)| device == self).map_or(StreamId::COMPUTE, |(_, id)| *id)
        })
    }
}
