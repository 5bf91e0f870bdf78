//! Streams, and the one road to a kernel.

use crate::{Card, Operand, context::Context};
use cudarc::driver::sys;
use std::{ffi::c_void, marker::PhantomData, ptr, sync::Arc};
use taut_core::{Error, Result};
use taut_kernels::Kernel;
use taut_memory::StreamId;

/// A queue of device work, run in order.
#[derive(Debug)]
pub struct Stream {
    raw: sys::CUstream,
    id: StreamId,
    /// Whether a kernel comes to the multiprocessors while the one in front of it still runs. Every kernel waits for that
    /// itself: `follow` in `ptx.cuh`.
    follows: bool,
    context: Arc<Context>,
}

// SAFETY: the driver's stream calls may come from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

/// The shape of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks on each axis.
    pub blocks: [u32; 3],
    /// Threads in a block.
    pub threads: u32,
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
    /// Blocks of a cluster, along the first axis: neighbours that reach each other's shared memory.
    pub cluster: u32,
}

impl Grid {
    /// A 1-D grid without dynamic shared memory.
    pub const fn linear(blocks: u32, threads: u32) -> Grid {
        Grid { blocks: [blocks, 1, 1], threads, shared_bytes: 0, cluster: 1 }
    }
}

/// A type that kernels take by value.
///
/// # Safety
///
/// The type has the size, alignment and field order of its twin in CUDA, and no padding that matters.
pub unsafe trait Param: Copy {}

// SAFETY: scalars have the same representation on both sides.
unsafe impl Param for u32 {}
// SAFETY: as above.
unsafe impl Param for u64 {}
// SAFETY: as above.
unsafe impl Param for i64 {}
// SAFETY: as above.
unsafe impl Param for f32 {}
// SAFETY: as above.
unsafe impl Param for f64 {}

/// One argument of a launch: where its value stands. The driver copies it during the call.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Arg<'a>(*mut c_void, PhantomData<&'a ()>);

impl<'a> Arg<'a> {
    /// The argument that stands at `value`.
    pub fn new<T: Param>(value: &'a T) -> Arg<'a> {
        Arg(ptr::from_ref(value).cast_mut().cast(), PhantomData)
    }
}

impl Stream {
    pub(crate) fn new(context: &Arc<Context>, id: StreamId) -> Result<Stream> {
        context.bind()?;
        let mut raw = ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: `raw` is a valid place for a handle, and the context is current.
        context.check(unsafe { sys::cuStreamCreate(&mut raw, flags) }, "stream: create")?;
        let follows = context.functions().follow();
        Ok(Stream { raw, id, follows, context: context.clone() })
    }

    /// A stream whose work becomes a graph.
    pub(crate) fn to_capture(context: &Arc<Context>, id: StreamId) -> Result<Stream> {
        let mut stream = Stream::new(context, id)?;
        // Graphs of older drivers do not know kernels that follow.
        stream.follows &= crate::driver::version()? >= 12_030;
        Ok(stream)
    }

    pub(crate) fn raw(&self) -> sys::CUstream {
        self.raw
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The number of this stream on its device.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// The facts of the card.
    pub fn card(&self) -> &Card {
        self.context.card()
    }

    /// Blocks until all work given so far is done, and reports what failed in it.
    pub fn synchronize(&self) -> Result<()> {
        self.context.bind()?;
        // SAFETY: the stream is alive.
        self.context.check(unsafe { sys::cuStreamSynchronize(self.raw) }, "synchronize")
    }

    /// Copies the bytes of a flat operand over another: the yardstick of memory-bound kernels.
    ///
    /// # Errors
    ///
    /// [`Shape`](taut_core::ErrorKind::Shape) if their sizes differ.
    pub fn copy_bytes(&self, src: Operand<'_>, dst: Operand<'_>) -> Result<()> {
        let bytes = src.span_bytes();
        if bytes != dst.span_bytes() {
            return Err(Error::shape(format!("copy: {bytes} bytes onto {}", dst.span_bytes())));
        }
        if bytes == 0 {
            return Ok(());
        }
        self.context.bind()?;
        // SAFETY: operands lie within their blocks.
        let code = unsafe { sys::cuMemcpyDtoDAsync_v2(dst.pointer(), src.pointer(), bytes, self.raw) };
        self.context.check(code, "copy")
    }

    /// Puts a kernel on the stream, to run after all that is there already: no allocation, no event, no lock; the arguments stay on the caller's stack.
    ///
    /// # Safety
    ///
    /// `args` match the kernel's parameters in number, order and type, and every address in them is valid for the
    /// accesses that the kernel makes.
    pub unsafe fn launch<const N: usize>(
        &self,
        kernel: Kernel,
        grid: Grid,
        args: [Arg<'_>; N],
    ) -> Result<()> {
        let context = &self.context;
        context.bind()?;
        let function = context.functions().get(kernel, grid.shared_bytes)?;
        let [x, y, z] = grid.blocks;
        let follows = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let cluster = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: grid.cluster, y: 1, z: 1 };
        let cluster = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { clusterDim: cluster },
        };
        let (mut attributes, mut count) = ([follows; 2], usize::from(self.follows));
        if grid.cluster > 1 {
            attributes[count] = cluster;
            count += 1;
        }
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: grid.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: grid.shared_bytes,
            hStream: self.raw,
            attrs: attributes.as_mut_ptr(),
            numAttrs: count as u32,
        };
        // SAFETY: `Arg` is transparent over the pointers that the driver reads; the rest by the contract above.
        let code = unsafe {
            sys::cuLaunchKernelEx(&config, function, args.as_ptr().cast_mut().cast(), ptr::null_mut())
        };
        if code == sys::CUresult::CUDA_SUCCESS {
            Ok(())
        } else {
            context.check(code, &format!("launch {kernel:?}"))
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the handle is alive and not used after this; the driver lets submitted work finish.
            unsafe { sys::cuStreamDestroy_v2(self.raw) };
        }
    }
}
