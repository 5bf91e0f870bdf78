//! Launches of `copy_planes.cu`: images of few colours, and tensors that are stacked along a new last axis.

use super::super::walk::grid;
use crate::{Arg, Operand, Param, Stream};
use taut_core::{Layout, Result};
use taut_kernels::{
    Kernel, Moved,
    args::{PLANES, Planes, THREADS},
    pack_len,
};

// SAFETY: `Planes` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for Planes {}

/// How planes and pixels lie, in elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Form {
    /// Whether pixels are written.
    pub(super) to_pixels: bool,
    /// Planes of an image, and from one to the next.
    pub(super) planes: usize,
    pub(super) between: usize,
    /// Images, and from one to the next in planes and in pixels.
    pub(super) images: usize,
    pub(super) plane_step: usize,
    pub(super) pixel_step: usize,
    /// Pixels of an image.
    pub(super) len: usize,
}

impl Form {
    pub(super) const fn kernel(&self, moved: Moved) -> Kernel {
        Kernel::CopyPlanes(moved, self.planes, self.to_pixels)
    }

    /// Launches the copy from and to the addresses of the first elements.
    pub(super) fn launch(&self, stream: &Stream, moved: Moved, [src, dst]: [u64; 2]) -> Result<()> {
        let [from, to] = moved.bytes();
        let (first, pixels, size) = if self.to_pixels { (src, dst, from) } else { (dst, src, to) };
        let mut plane = [0; 4];
        for (i, plane) in plane.iter_mut().enumerate().take(self.planes) {
            *plane = first + (i * self.between * size) as u64;
        }
        let [plane_step, pixel_step, len] = [self.plane_step, self.pixel_step, self.len].map(|n| n as u64);
        let args = Planes { plane, pixels, plane_step, pixel_step, len, tiles: 0 };
        launch(stream, self.kernel(moved), moved, args, self.images as u64)
    }
}

fn launch(stream: &Stream, kernel: Kernel, moved: Moved, args: Planes, images: u64) -> Result<()> {
    let tiles = args.len.div_ceil(tile(moved) as u64);
    let args = Planes { tiles, ..args };
    // SAFETY: `planes_to_pixels(planes)` and `pixels_to_planes(planes)`; the form was taken from the layouts of operands.
    unsafe { stream.launch(kernel, grid([images * tiles, 1], THREADS)?, [Arg::new(&args)]) }
}

/// Elements of a pack.
pub(super) fn len(moved: Moved) -> usize {
    let [from, to] = moved.bytes();
    16 / from.max(to)
}

/// Pixels of a block.
fn tile(moved: Moved) -> usize {
    THREADS as usize * len(moved)
}

/// The form of a copy, if it is one between planes and pixels. Layouts are collapsed by the last.
pub(super) fn form(layouts: &[Layout; 2], moved: Moved) -> Option<Form> {
    let [src, dst] = layouts;
    let rank = dst.rank();
    if !(2..=3).contains(&rank) || moved == Moved::Bits(16) {
        return None;
    }
    let shape = dst.shape();
    let find = |to_pixels: bool| {
        let (planes, pixels) = if to_pixels { (src, dst) } else { (dst, src) };
        let (planes, pixels) = (planes.strides(), pixels.strides());
        let colour = (0..rank).find(|&axis| pixels[axis] == 1 && PLANES.contains(&shape[axis]))?;
        let along = (0..rank).find(|&axis| planes[axis] == 1 && pixels[axis] == shape[colour])?;
        // With a rank of two there is one image.
        let image = (0..rank).find(|&axis| axis != colour && axis != along);
        let of_image = |strides: &[usize]| image.map_or(0, |axis| strides[axis]);
        Some(Form {
            to_pixels,
            planes: shape[colour],
            between: planes[colour],
            images: image.map_or(1, |axis| shape[axis]),
            plane_step: of_image(planes),
            pixel_step: of_image(pixels),
            len: shape[along],
        })
    };
    let on_packs = |form: &Form| {
        let steps = [form.between, form.plane_step, form.pixel_step, src.offset(), dst.offset()];
        let whole = form.images == 1 || form.len.is_multiple_of(len(moved));
        whole && steps.iter().all(|step| step.is_multiple_of(len(moved)))
    };
    // Blocks of small images would have little to do.
    let fills = |form: &Form| form.images == 1 || form.len * 2 >= tile(moved);
    [true, false].into_iter().filter_map(find).find(|form| on_packs(form) && fills(form))
}

/// `dst[.., i] = srcs[i]` in one launch, if there are few operands of one dtype and all lie in packs. Returns whether they
/// do; otherwise nothing was launched.
///
/// # Errors
///
/// [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn stack(stream: &Stream, srcs: &[Operand<'_>], dst: Operand<'_>) -> Result<bool> {
    let pack = pack_len(&[dst.dtype]);
    let in_packs = |layout: &Layout| layout.flat().is_some_and(|range| range.start.is_multiple_of(pack));
    let fits = |src: &Operand<'_>| {
        src.dtype == dst.dtype
            && src.layout.numel() * srcs.len() == dst.layout.numel()
            && in_packs(src.layout)
    };
    if !PLANES.contains(&srcs.len()) || !in_packs(dst.layout) || !srcs.iter().all(fits) {
        return Ok(false);
    }
    if dst.layout.numel() > 0 {
        let mut plane = [0; 4];
        plane.iter_mut().zip(srcs).for_each(|(plane, src)| *plane = src.pointer());
        let len = (dst.layout.numel() / srcs.len()) as u64;
        let args = Planes { plane, pixels: dst.pointer(), len, ..Planes::default() };
        let moved = Moved::Bits(dst.dtype.size());
        launch(stream, Kernel::CopyPlanes(moved, srcs.len(), true), moved, args, 1)?;
    }
    Ok(true)
}
