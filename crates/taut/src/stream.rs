//! Streams: which queue of the device the ops of a region go to.

use crate::{Device, graph::Pass};
use std::{cell::RefCell, sync::Arc};
use taut_core::Result;
use taut_memory::StreamId;

thread_local! {
    /// The scopes that are open on this thread, innermost last.
    static SCOPES: RefCell<Vec<Scope>> = const { RefCell::new(Vec::new()) };
}

/// Where the ops of a device go.
struct Scope {
    device: Device,
    stream: StreamId,
    /// Of a graph, within which they stay on its stream, whatever scopes it opens.
    pass: Option<Pass>,
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
    /// Runs `f` with the ops of this stream's device on this stream, on this thread. Within a [graph](crate::Graphed) they
    /// stay on the graph's.
    pub fn scope<R>(&self, f: impl FnOnce() -> R) -> R {
        self.0.device.on(self.0.id, None, f).0
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
            let mut here = scopes.iter().rev().filter(|scope| scope.device == *self);
            let innermost = here.next();
            let of_graph = here.find(|scope| scope.pass.is_some());
            of_graph.or(innermost).map_or(StreamId::COMPUTE, |scope| scope.stream)
        })
    }

    /// Runs `f` with the ops of this device on `stream`, in a pass of a graph if it is one, which is given back.
    pub(crate) fn on<R>(
        &self,
        stream: StreamId,
        pass: Option<Pass>,
        f: impl FnOnce() -> R,
    ) -> (R, Option<Pass>) {
        /// Closes the scope when `f` returns or unwinds.
        struct Close;
        impl Close {
            fn scope() -> Option<Scope> {
                SCOPES.with_borrow_mut(Vec::pop)
            }
        }
        impl Drop for Close {
            fn drop(&mut self) {
                // Not while the scopes are borrowed: what a pass holds may be the last of its kind.
                drop(Close::scope());
            }
        }
        SCOPES.with_borrow_mut(|scopes| scopes.push(Scope { device: self.clone(), stream, pass }));
        let close = Close;
        let result = f();
        std::mem::forget(close);
        (result, Close::scope().and_then(|scope| scope.pass))
    }

    /// Calls `f` with the pass of a graph of this device that is under way on this thread, if there is one.
    #[inline]
    pub(crate) fn with_pass<R>(&self, f: impl FnOnce(&mut Pass) -> R) -> Option<R> {
        SCOPES.with_borrow_mut(|scopes| {
            let mut here = scopes.iter_mut().rev().filter(|scope| scope.device == *self);
            here.find_map(|scope| scope.pass.as_mut()).map(f)
        })
    }
}
