//! Values in and out piece by piece: from bytes wherever they lie, such as a mapped file, and back, through memory whose
//! size does not depend on the tensor's.

use crate::{
    Device, Tensor, cpu,
    device::{DeviceKind, SpecRef},
    ops::copy,
};
use taut_core::{DType, Error, Layout, Result, Shape};
use taut_cuda::{Gpu, Operand};
use taut_memory::{Kind, Site, StreamId};

/// The most of a tensor that stands in a buffer on its way: on the card before a cast, on the host after a read.
const BUFFER_BYTES: usize = 8 << 20;

impl Tensor {
    /// A tensor of the elements in `bytes`, which are `stored` row-major, little-endian, at any alignment, and are
    /// [`cast`](Self::cast) to `dtype` on the way. Shape `[..]`, [`Kind::Input`].
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let bytes = [0, 0, 128, 63, 0, 0, 0, 192]; // 1 and -2
    /// let x = Tensor::from_bytes(&bytes, DType::F32, [2], DType::I64, &Device::cpu())?;
    /// assert_eq!(x.to_vec::<i64>()?, [1, -2]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_chunks`](Self::from_chunks).
    pub fn from_bytes(
        bytes: &[u8],
        stored: DType,
        shape: impl AsRef<[usize]>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = Shape::new(shape.as_ref())?;
        let (needed, given) = (shape.numel() * stored.size(), bytes.len());
        if needed != given {
            return Err(Error::shape(format!(
                "from_bytes: {shape} of {stored} takes {needed} bytes, not {given}"
            )));
        }
        Tensor::from_chunks([Ok(bytes)], stored, shape, dtype, Kind::Input, device)
    }

    /// [`from_bytes`](Self::from_bytes) of bytes that come in chunks of whole elements, counted as `kind`. A chunk is done
    /// with when the next is asked for, so that a chunk of a mapped file can leave memory then. A plan device asks for
    /// none.
    ///
    /// The host never holds a copy. On CUDA the bytes go through pinned memory; where they are cast there is one more block
    /// on the card until this returns, of [`Kind::Workspace`], as large as what is stored but at most 8 MiB. Only f64, which
    /// CUDA does not have, is cast by the host, through a buffer of the same size. The CPU device casts from where the
    /// bytes lie, in parallel, and takes no workspace.
    ///
    /// ```
    /// use taut::{DType, Device, Kind, Tensor};
    /// let halves = [[0x00, 0x3c], [0x00, 0xc0]]; // 1 and -2 in f16
    /// let chunks = halves.iter().map(|half| Ok(&half[..]));
    /// let x = Tensor::from_chunks(chunks, DType::F16, [2], DType::F32, Kind::Weights, &Device::cpu())?;
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, -2.0]);
    /// assert_eq!(x.kind(), Kind::Weights);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `chunks`. [`Shape`](crate::ErrorKind::Shape) if the number of elements overflows, or is not what the chunks
    /// have; [`Corrupt`](crate::ErrorKind::Corrupt) if a stored bool is neither 0 nor 1;
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the tensor or the workspace does not fit;
    /// [`DType`](crate::ErrorKind::DType) for a `dtype` of f64 on CUDA.
    pub fn from_chunks<'a>(
        chunks: impl IntoIterator<Item = Result<&'a [u8]>>,
        stored: DType,
        shape: impl AsRef<[usize]>,
        dtype: DType,
        kind: Kind,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = Shape::new(shape.as_ref())?;
        let n = shape.numel();
        let casts_there =
            stored != dtype && stored != DType::F64 && matches!(device.spec_ref(), SpecRef::Cuda(_));
        let stream = if casts_there { device.current() } else { StreamId::UPLOAD };
        let mut out = Tensor::allocate_on(stream, shape, dtype, device, Site::new(OP, kind))?;
        let mut stage = None;
        if casts_there {
            let shape = Shape::new(&[n.min(BUFFER_BYTES / stored.size())])?;
            let site = Site::new(OP, Kind::Workspace);
            stage = Some(Tensor::allocate_on(StreamId::UPLOAD, shape, stored, device, site)?);
        }
        let mut chunks = chunks.into_iter();
        let mut pieces = Pieces { chunks: &mut chunks, rest: &[], stored };
        match (device.kind(), stage) {
            (_, Some(stage)) => out.upload_through(stage, &mut pieces)?,
            (DeviceKind::Cpu, None) => out.cast_pieces(&mut pieces)?,
            (DeviceKind::Cuda { gpu, .. }, None) if stored == dtype => {
                let dst = Operand::new(out.storage().block(), out.layout(), dtype)?;
                gpu.upload_pieces(dst, &mut |limit| pieces.next(limit))?;
            }
            (DeviceKind::Cuda { gpu, .. }, None) => out.upload_cast(gpu, &mut pieces)?,
            (DeviceKind::Plan(_), None) => {}
        }
        if !device.is_plan() {
            pieces.finish()?;
        }
        Ok(out)
    }

    /// Calls `f` with the bytes of the elements, row-major, little-endian, in chunks of whole elements, at most 8 MiB each.
    /// Blocks until they are computed. A plan device calls nothing.
    ///
    /// The host holds a chunk at a time. Parts of a tensor that is not contiguous are copied on its device first, at most
    /// 8 MiB at a time where one index of an axis is no more than that.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1u8, 2, 3, 4], [2, 2], &Device::cpu())?.t()?;
    /// let mut bytes = Vec::new();
    /// x.read_chunks(|chunk| {
    ///     bytes.extend_from_slice(chunk);
    ///     Ok(())
    /// })?;
    /// assert_eq!(bytes, [1, 3, 2, 4]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `f`; whatever failed in the work that is waited for; [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if there
    /// is no room for a copied part.
    pub fn read_chunks(&self, mut f: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.device().not_in_graph("read_chunks")?;
        each_part(self.clone(), &mut Vec::new(), &mut f)
    }

    /// Casts on the host, from where the pieces lie.
    fn cast_pieces(&mut self, pieces: &mut Pieces<'_, '_>) -> Result<()> {
        let dtype = self.dtype();
        let mut target = self.view_mut_on(StreamId::UPLOAD, OP)?;
        fill(target.host_bytes()?, dtype, pieces)
    }

    /// Casts on the host into a buffer, which is uploaded whenever it is full.
    fn upload_cast(&mut self, gpu: &Gpu, pieces: &mut Pieces<'_, '_>) -> Result<()> {
        let (n, dtype) = (self.numel(), self.dtype());
        let step = n.min(BUFFER_BYTES / pieces.stored.size());
        // Words, so that every dtype is aligned.
        let mut words = vec![0u64; (step * dtype.size()).div_ceil(8)];
        for part in flat_parts(n, step) {
            let bytes = &mut bytemuck::cast_slice_mut(&mut words)[..part.numel() * dtype.size()];
            fill(bytes, dtype, pieces)?;
            gpu.upload(bytes, Operand::new(self.storage().block(), &part, dtype)?)?;
        }
        Ok(())
    }

    /// Uploads to `stage`, again and again, and casts from there.
    fn upload_through(&mut self, mut stage: Tensor, pieces: &mut Pieces<'_, '_>) -> Result<()> {
        let (device, step) = (self.device().clone(), stage.numel());
        for part in flat_parts(self.numel(), step) {
            let from = Layout::contiguous(*part.shape());
            // After the cast that read what it overwrites.
            let room = stage.view_mut_on(StreamId::UPLOAD, OP)?;
            if let DeviceKind::Cuda { gpu, .. } = device.kind() {
                gpu.upload_pieces(room.through(&from).operand()?, &mut |limit| pieces.next(limit))?;
            }
            copy::eval(stage.view()?.through(&from), self.view_mut(OP)?.through(&part))?;
        }
        Ok(())
    }
}

const OP: &str = "from_chunks";

/// The elements `0..n` of a flat tensor, at most `step` at a time.
fn flat_parts(n: usize, step: usize) -> impl Iterator<Item = Layout> {
    let whole = Shape::new(&[n]).map(Layout::contiguous);
    let starts = (0..n).step_by(step.max(1));
    // A number of elements that exists makes a shape, and its parts layouts.
    starts.filter_map(move |start| whole.as_ref().ok()?.sliced(0, start..n.min(start + step)).ok())
}

/// Fills `dst`, elements of `dtype`, with the next pieces, cast.
fn fill(dst: &mut [u8], dtype: DType, pieces: &mut Pieces<'_, '_>) -> Result<()> {
    let (size, stored) = (dtype.size(), pieces.stored);
    let mut room = dst;
    while !room.is_empty() {
        let piece = pieces.next(room.len() / size * stored.size())?;
        let (filled, rest) = room.split_at_mut(piece.len() / stored.size() * size);
        cpu::bytes::cast(piece, stored, filled, dtype)?;
        room = rest;
    }
    Ok(())
}

/// The bytes of chunks, as if they were one.
struct Pieces<'a, 'i> {
    chunks: &'i mut dyn Iterator<Item = Result<&'a [u8]>>,
    /// What was not yet taken of the last chunk.
    rest: &'a [u8],
    stored: DType,
}

impl<'a> Pieces<'a, '_> {
    /// The next bytes: at least an element, at most `limit`, which is a multiple of the element.
    fn next(&mut self, limit: usize) -> Result<&'a [u8]> {
        while self.rest.is_empty() {
            let chunk = self.chunks.next().ok_or_else(|| uneven("end before the tensor does"))??;
            if !chunk.len().is_multiple_of(self.stored.size()) {
                return Err(uneven("are not whole elements"));
            }
            if self.stored == DType::Bool
                && let Some(at) = chunk.iter().position(|&byte| byte > 1)
            {
                let byte = chunk[at];
                return Err(Error::corrupt(format!(
                    "{OP}: byte {at} of a chunk is {byte}, which is no bool"
                )));
            }
            self.rest = chunk;
        }
        let (piece, rest) = self.rest.split_at(limit.min(self.rest.len()));
        self.rest = rest;
        Ok(piece)
    }

    /// That nothing is left.
    fn finish(mut self) -> Result<()> {
        while self.rest.is_empty() {
            match self.chunks.next() {
                None => return Ok(()),
                Some(chunk) => self.rest = chunk?,
            }
        }
        Err(uneven("go on after the tensor's end"))
    }
}

fn uneven(what: &str) -> Error {
    Error::shape(format!("{OP}: the chunks {what}"))
}

/// Calls `f` with the bytes of `x`. `buffer` is for bytes that come from a card.
fn each_part(x: Tensor, buffer: &mut Vec<u8>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let bytes = x.numel() * x.dtype().size();
    let axis = x.shape().iter().position(|&dim| dim > 1);
    if let (Some(axis), false) = (axis, x.is_contiguous() || bytes <= BUFFER_BYTES) {
        let dim = x.shape()[axis];
        let step = (BUFFER_BYTES / (bytes / dim)).max(1);
        return (0..dim).step_by(step).try_for_each(|start| {
            each_part(x.clone().slice(axis, start..dim.min(start + step))?, buffer, f)
        });
    }
    let x = x.contiguous()?;
    match x.device().kind() {
        DeviceKind::Cpu => x.view()?.host_bytes()?.chunks(BUFFER_BYTES).try_for_each(f),
        DeviceKind::Cuda { .. } => {
            buffer.resize(bytes.min(BUFFER_BYTES).max(buffer.len()), 0);
            let (n, dtype) = (x.numel(), x.dtype());
            let flat = x.reshape([n])?;
            (0..n).step_by(BUFFER_BYTES / dtype.size()).try_for_each(|start| {
                let part = flat.clone().slice(0, start..n.min(start + BUFFER_BYTES / dtype.size()))?;
                let chunk = &mut buffer[..part.numel() * dtype.size()];
                part.read_bytes(chunk)?;
                f(chunk)
            })
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
