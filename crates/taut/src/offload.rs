//! Tensors whose values are in host memory for a while.

use crate::{
    Device, Tensor,
    grad::{no_grad, refuse},
    shelf::HostBlock,
};
use taut_core::{DType, Error, Result, Shape};
use taut_memory::{Kind, Site, StreamId};

/// The values of a tensor in host memory beside its device: pinned beside a card, so that copies both ways go on while the
/// device computes. Made by [`Tensor::offload`]; back by [`fetch`](Self::fetch). [`Device::host_stats`] counts its bytes.
///
/// ```
/// use taut::{DType, Device, Tensor};
///
/// let device = Device::cpu().fresh()?;
/// let mut moment = Tensor::full([1000], 2.0, DType::F32, &device)?.offload()?;
/// assert_eq!((device.stats().live_bytes, device.host_stats().live_bytes), (0, 4000));
///
/// let changed = moment.fetch()?.mul_scalar(3.0)?;
/// moment.store(changed)?;
/// assert_eq!(moment.fetch()?.to_vec::<f32>()?, [6.0; 1000]);
/// # Ok::<(), taut::Error>(())
/// ```
#[derive(Debug)]
pub struct Offloaded {
    memory: HostBlock,
    shape: Shape,
    dtype: DType,
    kind: Kind,
}

const OP: &str = "offload";

impl Tensor {
    /// The values in host memory; this tensor's own goes back to the pool when they are there, unless someone else holds it.
    /// Nothing waits: the copy is made on the stream of downloads, and whoever gets the memory next is ordered after it. A
    /// tensor that is not contiguous is copied on its device first.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the host has not as much; [`Grad`](crate::ErrorKind::Grad) if the
    /// tensor is tracked, outside of [`no_grad`](crate::no_grad); [`Graph`](crate::ErrorKind::Graph) in a graph.
    pub fn offload(self) -> Result<Offloaded> {
        refuse(OP, &[&self])?;
        let x = no_grad(|| self.detach().contiguous())?;
        Offloaded::of(OP, &x, x.kind())
    }
}

impl Offloaded {
    /// Of a contiguous tensor, which comes back as memory of `kind`. `op` is who wants it.
    pub(crate) fn of(op: &str, x: &Tensor, kind: Kind) -> Result<Offloaded> {
        x.device().not_in_graph(op)?;
        let bytes = (x.numel() * x.dtype().size()) as u64;
        let mut memory = HostBlock::new(op, x.device(), bytes)?;
        memory.take(x)?;
        Ok(Offloaded { memory, shape: *x.shape(), dtype: x.dtype(), kind })
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device that it comes back to.
    pub fn device(&self) -> &Device {
        self.memory.device()
    }

    /// A tensor of these values on the device. Nothing waits: the copy is made on the stream of uploads, and an op that reads
    /// the tensor is ordered after it. So it is well called a while before the values are needed.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the device has no room; [`Graph`](crate::ErrorKind::Graph) in a graph.
    pub fn fetch(&self) -> Result<Tensor> {
        self.fetch_for(OP)
    }

    /// [`fetch`](Self::fetch), for an op that the memory is counted for.
    pub(crate) fn fetch_for(&self, op: &'static str) -> Result<Tensor> {
        let device = self.device();
        device.not_in_graph(op)?;
        let site = Site::new(op, self.kind);
        let mut out = Tensor::allocate_on(StreamId::UPLOAD, self.shape, self.dtype, device, site)?;
        self.memory.give(&mut out)?;
        Ok(out)
    }

    /// Replaces the values by those of `x`, whose memory goes back to the pool as in [`Tensor::offload`]. Nothing waits.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape), [`DType`](crate::ErrorKind::DType) and [`Device`](crate::ErrorKind::Device) if `x` is
    /// not as the values are, [`Grad`](crate::ErrorKind::Grad) and [`Graph`](crate::ErrorKind::Graph) as [`Tensor::offload`].
    /// The values are as before then.
    pub fn store(&mut self, x: Tensor) -> Result<()> {
        refuse(OP, &[&x])?;
        x.device().not_in_graph(OP)?;
        if *x.shape() != self.shape {
            let (x, own) = (x.shape(), self.shape);
            return Err(Error::shape(format!("{OP}: stores {own}, not {x}")));
        }
        if x.dtype() != self.dtype {
            let (x, own) = (x.dtype(), self.dtype);
            return Err(Error::dtype(format!("{OP}: stores {own}, not {x}")));
        }
        if x.device() != self.device() {
            let (x, own) = (x.device(), self.device());
            return Err(Error::device(format!("{OP}: stores what is on {own}, not on {x}")));
        }
        let x = no_grad(|| x.detach().contiguous())?;
        self.memory.take(&x)
    }
}
