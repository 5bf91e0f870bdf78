//! The tensor: a cheap handle of memory with a layout and a dtype.

use crate::{
    Device,
    cpu::Source,
    grad::Edge,
    storage::{Holder, Role, Storage},
};
use bytemuck::Pod;
use std::fmt;
use taut_core::{DType, Error, Layout, Result, Shape};
use taut_cuda::Operand;
use taut_memory::{Kind, Site, StreamId};

/// A tensor: shape, strides, offset and dtype over storage that it may share. `clone` copies the handle, never the
/// data.
///
/// Ops take their first operand by value and write over it where nobody else holds the storage and it is dense.
#[derive(Clone)]
pub struct Tensor {
    holder: Holder,
    layout: Layout,
    dtype: DType,
    /// Where its gradient goes, if it is tracked. An op that writes over a tensor says anew what made it.
    edge: Option<Edge>,
}

impl Tensor {
    /// The extents.
    pub fn shape(&self) -> &Shape {
        self.layout.shape()
    }

    /// The distance of neighbours on each axis, in elements.
    pub fn strides(&self) -> &[usize] {
        self.layout.strides()
    }

    /// How the elements lie in the storage.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.layout.rank()
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.layout.numel()
    }

    /// The device whose memory this is.
    pub fn device(&self) -> &Device {
        self.holder.storage().device()
    }

    /// Whether the elements lie row-major without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.layout.flat().is_some()
    }

    /// What the memory is for, in the statistics of the device.
    pub fn kind(&self) -> Kind {
        self.holder.storage().block().kind()
    }

    /// Who else holds the memory, in words: handles, views, and the op whose backward needs it. `None` if nobody does, so that it
    /// can be changed in place.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::zeros([4], DType::F32, &Device::cpu())?;
    /// assert_eq!(x.shared_with(), None);
    /// let part = x.clone().slice(0, 0..2)?;
    /// assert_eq!(x.shared_with().as_deref(), Some("a view"));
    /// # Ok::<(), taut::Error>(())
    /// ```
    pub fn shared_with(&self) -> Option<String> {
        self.holder.shared_with()
    }

    /// This tensor with its memory counted as `kind` from now on.
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared) if anyone else holds the storage.
    pub fn with_kind(mut self, kind: Kind) -> Result<Tensor> {
        self.holder.sole_or_refuse("with_kind")?.block().set_kind(kind);
        Ok(self)
    }

    pub(crate) fn from_parts(holder: Holder, layout: Layout, dtype: DType) -> Tensor {
        Tensor { holder, layout, dtype, edge: None }
    }

    pub(crate) fn edge(&self) -> Option<&Edge> {
        self.edge.as_ref()
    }

    pub(crate) fn set_edge(&mut self, edge: Option<Edge>) {
        self.edge = edge;
    }

    /// The same hold of the storage in another role.
    pub(crate) fn with_role(self, role: Role) -> Tensor {
        Tensor { holder: self.holder.into_role(role), ..self }
    }

    /// New memory for a row-major tensor; its contents are whatever stood there.
    pub(crate) fn allocate(shape: Shape, dtype: DType, device: &Device, site: Site) -> Result<Tensor> {
        Tensor::allocate_on(device.current(), shape, dtype, device, site)
    }

    /// [`allocate`](Self::allocate) for a first write on `stream`.
    pub(crate) fn allocate_on(
        stream: StreamId,
        shape: Shape,
        dtype: DType,
        device: &Device,
        site: Site,
    ) -> Result<Tensor> {
        device.takes(dtype, site.op)?;
        let block = device.allocate((shape.numel() * dtype.size()) as u64, stream, site)?;
        let storage = Storage::new(device.clone(), block, stream);
        Ok(Tensor::from_parts(Holder::new(storage), Layout::contiguous(shape), dtype))
    }

    pub(crate) fn storage(&self) -> &Storage {
        self.holder.storage()
    }

    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The same hold of the storage as elements of `dtype` that lie there as `layout` says. Nothing is noted of it.
    pub(crate) fn seen_as(self, layout: Layout, dtype: DType) -> Tensor {
        Tensor { layout, dtype, edge: None, ..self }
    }

    /// The same storage seen through another layout. Nothing is noted of it: that is for those who know what it means.
    pub(crate) fn viewed(self, layout: Layout) -> Tensor {
        if layout == self.layout {
            return self;
        }
        // A part of nothing may begin beyond the end of the storage; no element is anywhere.
        let layout = if layout.numel() == 0 { Layout::contiguous(*layout.shape()) } else { layout };
        Tensor { holder: self.holder.into_role(Role::View), layout, edge: None, ..self }
    }

    /// This tensor for reading by an op, on the current stream.
    pub(crate) fn view(&self) -> Result<View<'_>> {
        let device = self.device();
        self.storage().read_on(device.current())?;
        device.with_pass(|pass| pass.hold(&self.holder));
        Ok(View { storage: self.storage(), layout: &self.layout, dtype: self.dtype })
    }

    /// This tensor for reading on `stream`, by what is in no graph.
    pub(crate) fn view_on(&self, stream: StreamId) -> Result<View<'_>> {
        self.storage().read_on(stream)?;
        Ok(View { storage: self.storage(), layout: &self.layout, dtype: self.dtype })
    }

    /// This tensor for writing by an op that no one else can see, on the current stream.
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared), naming the other holders of the storage.
    pub(crate) fn view_mut(&mut self, op: &str) -> Result<ViewMut<'_>> {
        self.view_mut_on(self.device().current(), op)
    }

    /// [`view_mut`](Self::view_mut) of one of several operands, which an error calls `what`.
    pub(crate) fn view_mut_of(&mut self, op: &str, what: &str) -> Result<ViewMut<'_>> {
        if let Some(others) = self.holder.shared_with() {
            return Err(Error::shared(format!(
                "{op}: {what}: the storage is also held by {others}; drop it"
            )));
        }
        self.view_mut(op)
    }

    /// [`view_mut`](Self::view_mut) for a write on `stream`.
    pub(crate) fn view_mut_on(&mut self, stream: StreamId, op: &str) -> Result<ViewMut<'_>> {
        let storage = self.holder.sole_or_refuse(op)?;
        storage.device().with_pass(|pass| pass.owns(storage, op)).unwrap_or(Ok(()))?;
        storage.write_on(stream)?;
        Ok(ViewMut { storage, layout: &self.layout, dtype: self.dtype })
    }

    /// Whether an op may write its result over this tensor: no one else holds the storage, and it is all of it, without
    /// gaps. Writing over a part would keep the whole alive.
    pub(crate) fn is_reusable(&mut self) -> bool {
        let bytes = (self.numel() * self.dtype.size()) as u64;
        self.layout.dense().is_some() && self.holder.sole().is_some_and(|s| s.block().bytes() == bytes)
    }

    /// Refuses a second operand that is not where `self` is.
    pub(crate) fn same_device(&self, other: &Tensor, op: &str) -> Result<()> {
        if self.device() != other.device() {
            return Err(Error::device(format!(
                "{op}: {} and {} are different devices",
                self.device(),
                other.device()
            )));
        }
        Ok(())
    }

    /// Refuses a second operand of another dtype: nothing is converted silently.
    pub(crate) fn same_dtype(&self, other: &Tensor, op: &str) -> Result<()> {
        if self.dtype != other.dtype {
            return Err(Error::dtype(format!("{op}: {} and {} differ; cast one", self.dtype, other.dtype)));
        }
        Ok(())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {} on {}", self.dtype, self.shape(), self.device())?;
        if !self.is_contiguous() {
            write!(f, ", strides {:?}", self.strides())?;
        }
        if let Some(edge) = &self.edge {
            write!(f, ", {edge:?}")?;
        }
        f.write_str(")")
    }
}

/// A tensor that an op reads.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) layout: &'a Layout,
    pub(crate) dtype: DType,
}

impl<'a> View<'a> {
    /// The same memory through another layout.
    pub(crate) fn through<'b>(self, layout: &'b Layout) -> View<'b>
    where
        'a: 'b,
    {
        View { layout, ..self }
    }

    /// The storage as elements of the host.
    pub(crate) fn data<T: Pod>(&self) -> Result<&'a [T]> {
        Ok(whole(self.storage.block().host().ok_or_else(not_host)?))
    }

    /// The elements in order, as the host reads them.
    pub(crate) fn source<T: Pod>(&self) -> Result<Source<'a, T>> {
        Ok(Source::new(self.data()?, self.layout))
    }

    /// The bytes of a flat tensor of the host.
    pub(crate) fn host_bytes(&self) -> Result<&'a [u8]> {
        let (data, size) = (self.data::<u8>()?, self.dtype.size());
        Ok(&data[self.layout.offset() * size..][..self.layout.numel() * size])
    }

    /// What a launcher sees of it.
    pub(crate) fn operand(&self) -> Result<Operand<'a>> {
        Operand::new(self.storage.block(), self.layout, self.dtype)
    }
}

/// A tensor that an op writes.
pub(crate) struct ViewMut<'a> {
    pub(crate) storage: &'a mut Storage,
    pub(crate) layout: &'a Layout,
    pub(crate) dtype: DType,
}

impl<'a> ViewMut<'a> {
    /// The same memory through another layout.
    pub(crate) fn through<'b>(self, layout: &'b Layout) -> ViewMut<'b>
    where
        'a: 'b,
    {
        ViewMut { storage: self.storage, layout, dtype: self.dtype }
    }

    /// The storage as elements of the host.
    pub(crate) fn data<T: Pod>(&mut self) -> Result<&mut [T]> {
        let bytes = self.storage.block_mut().host_mut().ok_or_else(not_host)?;
        let whole = bytes.len() / size_of::<T>() * size_of::<T>();
        Ok(bytemuck::cast_slice_mut(&mut bytes[..whole]))
    }

    /// The bytes of a flat tensor of the host.
    pub(crate) fn host_bytes(&mut self) -> Result<&mut [u8]> {
        let (start, len) = (self.layout.offset(), self.layout.numel());
        let size = self.dtype.size();
        Ok(&mut self.data()?[start * size..][..len * size])
    }

    /// The elements of a flat tensor of the host.
    pub(crate) fn flat<T: Pod>(&mut self) -> Result<&mut [T]> {
        let (start, len) = (self.layout.offset(), self.layout.numel());
        Ok(&mut self.data()?[start..][..len])
    }

    /// What a launcher sees of it.
    pub(crate) fn operand(&self) -> Result<Operand<'_>> {
        Operand::new(self.storage.block(), self.layout, self.dtype)
    }
}

/// All whole elements among `bytes`: a caller's block may end in a part of one. Blocks are aligned for every dtype.
fn whole<T: Pod>(bytes: &[u8]) -> &[T] {
    bytemuck::cast_slice(&bytes[..bytes.len() / size_of::<T>() * size_of::<T>()])
}

fn not_host() -> Error {
    Error::device("cpu: the storage is not host memory")
}
