//! Launches of `scatter.cu`: the places that elements go to are brought in order, then runs of equal places are summed. And
//! of `scatter_lists.cu`, which does both where each lane has a list of its own that a block holds.

use super::{
    copy::copy,
    gather::check_index,
    places::{Lists, Source},
    walk::{check_dtypes, check_shapes, each_part, grid},
};
use crate::{Arg, Operand, Param, Stream};
use taut_core::{DType, Error, Index, Layout, Result};
use taut_kernels::{
    Kernel, ScatterPart,
    args::{self, LIST_ROOMS, LIST_THREADS, SCATTER_REST, THREADS, WARP, Walk},
    pack_len,
};

/// Entries of a chunk at least, and chunks of a list at most: one thread adds up what a run has in all of them.
const CHUNK: u64 = 32;
/// See [`CHUNK`].
const CHUNKS: u64 = 4096;

/// Entries of a list at least that is worth a block.
const BLOCK: u64 = 256;

// SAFETY: `Scatter` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for args::Scatter {}
// SAFETY: likewise.
unsafe impl Param for args::ScatterLists {}

/// How a sum by places runs. A pure function of layouts, dtype and axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What [`scatter_add`] needs beside its operands.
    pub workspace_bytes: u64,
    /// Additions.
    pub flops: u64,
    /// Bytes of the elements and of the index, read once, and of the workspace, written and read.
    pub moved_bytes: u64,
    index: Layout,
    dtype: DType,
    axis: usize,
    lists: Lists,
    /// Lanes that are summed at once.
    part: u64,
    /// The workspace of the lists in order; the rest is for sums.
    lists_bytes: u64,
    /// Of blocks that hold a list each.
    room: Option<u32>,
}

/// Chooses how elements of `dtype` are added along `axis`, which has `extent` places, where an index of this layout names
/// them.
pub fn choose(index: &Layout, dtype: DType, axis: usize, extent: usize) -> Choice {
    let n = index.shape()[axis] as u64;
    let kept = index.split(&[axis]).0;
    let (lanes, count) = (kept.numel() as u64, kept.distinct().numel() as u64);
    let lists = Lists { n, extent: extent as u64 };
    // Lanes that share lists go together, so that no list is sorted twice.
    let shared = count < lanes;
    let blocks = !shared && n >= BLOCK && lanes < 1 << 31 && lists.extent < u32::MAX.into();
    let room = LIST_ROOMS.into_iter().find(|&room| blocks && n <= room.into());
    let part = if shared { lanes.max(1) } else { lists.part(lanes) };
    let lists_bytes = lists.workspace_bytes(if shared { count } else { part }).next_multiple_of(256);
    let (_, chunks) = chunks(n);
    let ends = if chunks > 1 { 2 * chunks * part * total_bytes(dtype) } else { 0 };
    let workspace_bytes = if n * lanes == 0 || room.is_some() { 0 } else { lists_bytes + ends };
    let flops = n * lanes;
    let moved_bytes = flops * dtype.size() as u64 + count * n * 8 + 2 * workspace_bytes;
    Choice { workspace_bytes, flops, moved_bytes, index: *index, dtype, axis, lists, part, lists_bytes, room }
}

/// The entries of a chunk of a list of `n`, and the chunks.
fn chunks(n: u64) -> (u64, u64) {
    let chunk = n.div_ceil(CHUNKS).max(CHUNK);
    (chunk, n.div_ceil(chunk))
}

/// The size of `Total` in `scatter.cu`.
fn total_bytes(dtype: DType) -> u64 {
    dtype.size().max(4) as u64
}

/// `dst = from`, and each element of `src` added to the element at its `index` on `axis`, and at its own coordinates on the
/// other axes; to `dst` itself without `from`, which is contiguous as `dst` then is, and of its shape. `index` and `src`
/// have one shape; `workspace` is the address of [`Choice::workspace_bytes`], aligned to 256. An index that is out of range
/// is reported by the next call that waits for the device, and its element goes nowhere.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) or [`DType`](taut_core::ErrorKind::DType) if the operands do not fit or are not
/// those of the choice, [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
#[allow(clippy::too_many_arguments, reason = "what is read, what is written, and where")]
pub fn scatter_add(
    stream: &Stream,
    op: Index,
    choice: &Choice,
    index: Operand<'_>,
    src: Operand<'_>,
    from: Option<Operand<'_>>,
    dst: Operand<'_>,
    workspace: u64,
) -> Result<()> {
    let Choice { axis, lists, part, .. } = *choice;
    let at = op.along(dst.layout, axis, index.layout.shape())?;
    let dst_at = Operand { layout: &at, ..dst };
    check_shapes(op.name(), &[index, src, dst_at])?;
    check_dtypes(op.name(), &[src, dst])?;
    check_index(op, &index)?;
    let extent = dst.layout.shape()[axis] as u64;
    // Strides along an axis of one element may differ.
    let like = from.is_none_or(|from| {
        (from.dtype, from.layout.shape()) == (dst.dtype, dst.layout.shape())
            && from.layout.flat().is_some()
            && dst.layout.flat().is_some()
    });
    if !like || (*index.layout, dst.dtype, extent) != (choice.index, choice.dtype, lists.extent) {
        return Err(Error::shape(format!("{}: the operands are not those that were planned", op.name())));
    }
    if src.layout.numel() == 0 {
        return from.map_or(Ok(()), |from| copy(stream, from, dst));
    }
    let kept = [src, dst_at, index].map(|operand| operand.layout.split(&[axis]).0);
    let step = |operand: Operand<'_>| operand.layout.strides()[axis] as u64;
    if let Some(room) = choice.room {
        from.map_or(Ok(()), |from| copy(stream, from, dst))?;
        return add_in_blocks(stream, op, choice, room, [src, dst, index], &kept);
    }
    let whole = Lanes::new(&kept, [step(src), step(dst)], choice.dtype)?;
    let skew = from.map_or(0, |from| from.layout.offset().abs_diff(dst.layout.offset()));
    // The elements of src may be fewer than those of dst on other axes too.
    let all_lanes = (0..at.rank()).all(|i| i == axis || at.shape()[i] == dst.layout.shape()[i]);
    let rests = from.is_some() && all_lanes && whole.rests() && skew.is_multiple_of(whole.len);
    if let Some(from) = from.filter(|_| !rests) {
        copy(stream, from, dst)?;
    }
    each_part(&kept, part, &mut |kept| {
        let [src_kept, dst_kept, index_kept] = kept;
        let pointer = |operand: Operand<'_>, layout| Operand { layout, ..operand }.pointer();
        // One list for each index that is not a repetition.
        let distinct = index_kept.distinct();
        let source = Source {
            index: pointer(index, &distinct),
            step: step(index),
            lists: &distinct,
            fault: stream.context().faults().of(op),
        };
        // SAFETY: the index is walked within its layout, and the workspace is for the lists of this part.
        let [keys, order] = unsafe { lists.run(stream, &source, workspace)? };
        let (chunk, chunks) = chunks(lists.n);
        let out = pointer(dst, dst_kept);
        let args = args::Scatter {
            src: pointer(src, src_kept),
            src_step: step(src),
            keys,
            order,
            ends: workspace + choice.lists_bytes,
            from: from.filter(|_| rests).map_or(out, |from| from.pointer()),
            out,
            out_step: step(dst),
            extent,
            n: lists.n,
            chunk,
            chunks,
        };
        let Lanes { walk, len, .. } = Lanes::new(kept, [step(src), step(dst)], choice.dtype)?;
        let threads = u64::from(THREADS);
        let launch = |part, blocks| {
            let kernel = Kernel::Scatter(choice.dtype, part, len > 1);
            let args = [Arg::new(&args), Arg::new(&walk)];
            // SAFETY: `scatter_add`, `scatter_join` and `scatter_rest(scatter, lanes)`: `src` and `dst` are walked within
            // their layouts, `dst` along the axis below its extent, and the lists in order are what the walk numbers.
            unsafe { stream.launch(kernel, grid([blocks, 1], THREADS)?, args) }
        };
        launch(ScatterPart::Add, (walk.numel * chunks).div_ceil(threads))?;
        if chunks > 1 {
            launch(ScatterPart::Join, (walk.numel * (chunks - 1)).div_ceil(threads))?;
        }
        if rests {
            let places = u64::from(SCATTER_REST * (THREADS / WARP));
            launch(ScatterPart::Rest, extent.div_ceil(places))?;
        }
        Ok(())
    })
}

/// Adds to `dst` itself, where blocks have room for a list each; `kept` are the layouts on the other axes.
fn add_in_blocks(
    stream: &Stream,
    op: Index,
    choice: &Choice,
    room: u32,
    operands: [Operand<'_>; 3],
    kept: &[Layout; 3],
) -> Result<()> {
    let pointer = |i: usize| Operand { layout: &kept[i], ..operands[i] }.pointer();
    let step = |i: usize| operands[i].layout.strides()[choice.axis] as u64;
    let args = args::ScatterLists {
        src: pointer(0),
        src_step: step(0),
        out: pointer(1),
        out_step: step(1),
        index: pointer(2),
        index_step: step(2),
        extent: choice.lists.extent,
        fault: stream.context().faults().of(op),
        n: u32::try_from(choice.lists.n).unwrap_or(room),
        digits: choice.lists.digits(),
    };
    let walk = Walk::wide(&Layout::collapse(*kept), 1);
    let args = [Arg::new(&args), Arg::new(&walk)];
    let kernel = Kernel::ScatterLists(choice.dtype, room);
    // SAFETY: `scatter_lists(lists, lanes)`: all three operands are walked within their layouts, `dst` along the axis below its
    // extent, and lists are no longer than the room of the kernel.
    unsafe { stream.launch(kernel, grid([walk.numel, 1], LIST_THREADS)?, args) }
}

/// The lanes of a sum: positions on the other axes.
struct Lanes {
    /// In units of `len`: the source, the sums, and the number of the list.
    walk: Walk<3>,
    len: usize,
    /// Whether all share one list.
    one_list: bool,
}

impl Lanes {
    /// Of the source, the sums and the index on the axes that stay, with the steps of the first two on the other.
    fn new([src, dst, index]: &[Layout; 3], steps: [u64; 2], dtype: DType) -> Result<Lanes> {
        let lists = index.distinct();
        let numbers = Layout::contiguous(*lists.shape()).broadcast_to(*index.shape())?;
        let layouts = Layout::collapse([*src, *dst, numbers]);
        let len = pack_len(&[dtype]);
        let is_whole = |layout: &Layout| {
            let Some((&inner, outer)) = layout.strides().split_last() else { return false };
            let on_packs = |stride: &usize| stride.is_multiple_of(len);
            inner == 1 && on_packs(&layout.offset()) && outer.iter().all(on_packs)
        };
        let [src, dst, numbers] = &layouts;
        let packs = is_whole(src)
            && is_whole(dst)
            && numbers.strides().last() == Some(&0)
            && src.shape().last().is_some_and(|dim| dim.is_multiple_of(len))
            && steps.iter().all(|step| step.is_multiple_of(len as u64));
        let len = if packs { len } else { 1 };
        Ok(Lanes { walk: Walk::wide(&layouts, len), len, one_list: lists.numel() == 1 })
    }

    /// Whether `scatter_rest` can copy what no entry goes to: where a warp has many of these lanes.
    fn rests(&self) -> bool {
        self.len > 1 && self.one_list && self.walk.numel >= u64::from(WARP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::Shape;

    fn layout(dims: &[usize]) -> Layout {
        Layout::contiguous(Shape::new(dims).unwrap())
    }

    #[test]
    fn an_index_that_repeats_is_sorted_once() {
        let index = layout(&[1000, 1]).broadcast_to(Shape::new(&[1000, 64]).unwrap()).unwrap();
        assert_eq!(index.split(&[0]).0.distinct().numel(), 1);
        let choice = choose(&index, DType::F16, 0, 70);
        assert_eq!((choice.part, choice.lists_bytes), (64, (8u64 * 1000).next_multiple_of(256)));
        // Heads and tails of 32 chunks of 64 lanes.
        assert_eq!(choice.workspace_bytes, choice.lists_bytes + 2 * 32 * 64 * 4);
        let own = choose(&layout(&[1000, 64]), DType::F16, 0, 70);
        assert_eq!((own.lists_bytes, own.room, own.workspace_bytes), (8 * 1000 * 64, Some(1024), 0));
        let room = |n| choose(&layout(&[n, 64]), DType::F16, 0, 70).room;
        assert_eq!([255, 256, 1025, 4096, 4097].map(room), [None, Some(1024), Some(4096), Some(4096), None]);
        assert_eq!(choose(&layout(&[0, 64]), DType::F16, 0, 70).workspace_bytes, 0);
    }

    #[test]
    fn chunks_cover_a_list_and_are_few() {
        assert_eq!([1, 32, 33, 64].map(chunks), [(32, 1), (32, 1), (32, 2), (32, 2)]);
        for n in [50_304, 1 << 17, (1 << 17) + 1, 1 << 24, u64::from(u32::MAX) - 1] {
            let (chunk, chunks) = chunks(n);
            assert!(
                chunk >= CHUNK && chunks <= CHUNKS && chunk * chunks >= n && chunk * (chunks - 1) < n,
                "{n}"
            );
        }
    }

    #[test]
    fn lanes_that_lie_together_go_in_packs() {
        let lanes = |src: [Layout; 2], index: Layout| {
            let [src, dst] = src;
            let steps = [&src, &dst].map(|layout| layout.strides()[0] as u64);
            let kept = [src, dst, index].map(|layout| layout.split(&[0]).0);
            let lanes = Lanes::new(&kept, steps, DType::F16).unwrap();
            (lanes.len, lanes.walk.numel, lanes.rests())
        };
        let shape = |width| Shape::new(&[1000, width]).unwrap();
        let shared = |width| layout(&[1000, 1]).broadcast_to(shape(width)).unwrap();
        let (rows, wide) = (layout(&[1000, 768]), layout(&[1000, 1536]));
        assert_eq!(lanes([rows, rows], shared(768)), (8, 96, true));
        assert_eq!(lanes([wide.sliced(1, 8..776).unwrap(), rows], shared(768)), (8, 96, true));
        assert_eq!(lanes([wide.sliced(1, 1..769).unwrap(), rows], shared(768)), (1, 768, false));
        assert_eq!(lanes([rows, rows], rows), (1, 768, false));
        assert_eq!(lanes([layout(&[1000, 64]); 2], shared(64)), (8, 8, false));
        assert_eq!(lanes([layout(&[1000, 12]); 2], shared(12)), (1, 12, false));
    }
}
