//! The one table of kernels: every variant has a typed name here, and nowhere else.
//!
//! The build script compiles what [`Kernel::all`] lists; a launcher names a variant and gets its function by slot.
//! A new family takes a variant of [`Kernel`] and a line in its `file`, in `kernel/all.rs`, in `kernel/code.rs` and in
//! `expression.rs`.

#[path = "kernel/all.rs"]
mod all;
#[path = "kernel/code.rs"]
mod code;

use crate::variant::{
    Access, Across, Capacity, Copies, Major, Moved, PackedPart, ReducePart, RowPart, ScanPart, ScatterPart,
    SlabPart, Strip, Thin, Tile, Update, Weight,
};
use taut_core::{Binary, DType, Multi, Norm, Predicate, Random, Reduce, Scan, Softmax, Unary};

/// The typed name of a kernel. Parameters of ops play no part: `Relu` and `LeakyRelu { slope }` name one kernel each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kernel {
    /// `unary.cu`.
    Unary(Unary, DType, Access),
    /// `unary_backward.cu`: ops that keep something, on floats.
    UnaryBackward(Unary, DType, Access),
    /// `binary.cu`.
    Binary(Binary, DType, Access),
    /// `select.cu`: elements of 1, 2, 4 or 8 bytes.
    Select(usize, Access),
    /// `copy.cu`: from the first dtype to the second.
    Copy(DType, DType, Access),
    /// `copy_tiles.cu`: between operands that are contiguous along different axes.
    CopyTiles(Moved),
    /// `copy_runs.cu`: in any order, to where elements lie in runs; not of 16 bytes.
    CopyRuns(Moved),
    /// `copy_planes.cu`: between so many planes, one of [`PLANES`](crate::args::PLANES), and pixels, to these or from them;
    /// not of 16 bytes.
    CopyPlanes(Moved, usize, bool),
    /// `fill.cu`: one bit pattern, in elements of 1, 2, 4 or 8 bytes.
    Fill(usize),
    /// `fill.cu`: the same over a walk, in rows or strided.
    FillWalk(usize, Access),
    /// `fill.cu`: an arithmetic sequence.
    Arange(DType),
    /// `random.cu`.
    Random(Random, DType),
    /// `reduce_sums.cu` and `reduce_order.cu`. Bools are reduced as the bytes that they are.
    Reduce(Reduce, DType, ReducePart),
    /// `scan.cu`. Bools are scanned as the bytes that they are.
    Scan(Scan, DType, ScanPart),
    /// `matmul_mma.cu`: 16-bit operands, each contiguous along an axis.
    Matmul(DType, [Major; 2], Tile),
    /// `matmul_wgmma.cu`: the same on cards of 9.0; and operands of f32 along `k`, as tf32.
    MatmulWgmma(DType, [Major; 2], Tile),
    /// `matmul_parts.cu`: the same of few tiles, with `k` in parts that a cluster adds up.
    MatmulParts(DType, [Major; 2], Strip),
    /// `matmul_grouped.cu`: a list of such products, in large or medium tiles.
    MatmulGrouped(DType, [Major; 2], Tile),
    /// `matmul_any.cu`: 16-bit operands with any strides, in small tiles.
    MatmulAny(DType),
    /// `matmul_thin.cu`: few rows or columns, 16-bit operands along `k`.
    MatmulThin(DType, Thin),
    /// `matmul_across.cu`: few rows by a matrix that lies along `n`; one of [`Across::of`].
    MatmulAcross(DType, Across),
    /// `matmul_f32.cu`: one of [`Copies::PAIRS`].
    MatmulF32([Copies; 2], Tile),
    /// `attention.cu`: 16-bit operands with rows of at most so many elements, one of [`WIDTHS`](crate::WIDTHS).
    Attention(DType, Tile, usize),
    /// `attention_f32.cu`: likewise, in medium or small tiles.
    AttentionF32(Tile, usize),
    /// `matmul_reduce.cu`: the second pass of a product that is split along `k`.
    MatmulReduce(DType),
    /// `matvec.cu`: a vector by a matrix that is contiguous along this axis, or along none ([`Major::K`]).
    Matvec(DType, Major),
    /// `random.cu`: 32 random bits an element.
    RandomWords,
    /// `sort.cu`: tiles of rows of elements. Bools are sorted as the bytes that they are.
    Sort(DType),
    /// `sort.cu`: tiles of pairs with keys of 4 or 8 bytes.
    SortPairs(usize),
    /// `sort.cu`: pairs of runs, with keys of 4 or 8 bytes.
    SortMerge(usize),
    /// `sort_few.cu`: the first of rows of elements of 2 bytes and more.
    SortFew(DType),
    /// `gather.cu`: units of 1, 2, 4, 8 or 16 bytes.
    Gather(usize),
    /// `sort.cu`: tiles of rows of positions, whose keys have 4 bytes.
    SortPositions,
    /// `places.cu`: of an index, or of what is in order of lower digits; its digits are counted, or entries moved.
    Places(bool, bool),
    /// `scatter.cu`: in packs, or one element at a time.
    Scatter(DType, ScatterPart, bool),
    /// `scatter_lists.cu`: lists that fit in this room, one of [`LIST_ROOMS`](crate::args::LIST_ROOMS).
    ScatterLists(DType, u32),
    /// `softmax.cu`: in packs, or one element at a time.
    Softmax(Softmax, DType, RowPart, bool),
    /// The same, of [`Softmax::Plain`] and [`Softmax::Log`] and long rows of packs: by blocks that stay, of so many teams.
    SoftmaxStay(Softmax, DType, usize),
    /// The same, of those and long columns of packs, with or without `backward`: in three launches.
    SoftmaxSlabs(Softmax, DType, SlabPart, bool),
    /// `norm.cu`: in packs, or one element at a time.
    Norm(Norm, DType, RowPart, bool),
    /// `norm.cu`, of long rows of packs: by blocks that stay, of so many teams.
    NormStay(Norm, DType, usize),
    /// `softmax_backward.cu`, of [`Softmax::Plain`] and [`Softmax::Log`]: in packs, or one element at a time.
    SoftmaxBackward(Softmax, DType, RowPart, bool),
    /// The same, of long rows of packs: by blocks that stay, of so many teams.
    SoftmaxBackwardStay(Softmax, DType, usize),
    /// `norm_backward.cu`, of ops that [are of rows](Norm::of_rows): likewise.
    NormBackward(Norm, DType, RowPart, bool),
    /// The same, of long rows of packs: by blocks that stay, of so many teams.
    NormBackwardStay(Norm, DType, usize),
    /// `norm_weight_backward.cu`, of [`Norm::Layer`] and [`Norm::Rms`]: what there is in each row; likewise.
    NormWeightRows(Norm, DType, RowPart, bool),
    /// `norm_weight_backward.cu`: sums over slices of rows; likewise.
    NormWeightColumns(Norm, DType, bool),
    /// `norm_weight_backward.cu`: sums over slices of rows that are read once, by blocks of so many threads, one of
    /// [`SLICE_THREADS`](crate::args::SLICE_THREADS).
    NormWeightSlices(Norm, DType, u32),
    /// `norm_weight_backward.cu`: the sums of the slices, to this dtype.
    NormWeightJoin(DType),
    /// `cross_entropy.cu`, with gradients or without: likewise.
    CrossEntropy(bool, DType, RowPart, bool),
    /// `triangle.cu`: elements of 1, 2, 4 or 8 bytes, in rows or strided.
    Triangle(usize, Access),
    /// `fused.cu`, with dropout or without.
    Fused(DType, Access, bool),
    /// `packed.cu`.
    Packed(DType, PackedPart),
    /// `multi.cuh`: of what is written, or read alone, and of what else is read.
    Multi(Multi, [DType; 2], Capacity),
    /// `multi.cu`: the second pass of a norm.
    MultiJoin,
    /// `optimizer.cuh`: with gradients of f32 or of the dtype of the weight, and moments in codes or in f32.
    Optimizer(Update, Weight, DType, bool, Capacity),
    /// `optimizer.cu`: counts steps.
    Advance,
    /// `probe.cu`: a yardstick.
    Probe,
    /// `bits.cu`: packed or strided.
    Bits(Predicate, DType, Access),
    /// `bits.cu`, of gradients: packed or strided.
    BitsChoose(DType, Access),
}

impl Kernel {
    /// The source file.
    pub const fn file(self) -> &'static str {
        match self {
            Kernel::Unary(..) => "unary.cu",
            Kernel::UnaryBackward(..) => "unary_backward.cu",
            Kernel::Binary(..) => "binary.cu",
            Kernel::Select(..) => "select.cu",
            Kernel::Copy(..) => "copy.cu",
            Kernel::CopyTiles(_) => "copy_tiles.cu",
            Kernel::CopyRuns(_) => "copy_runs.cu",
            Kernel::CopyPlanes(..) => "copy_planes.cu",
            Kernel::Fill(_) | Kernel::FillWalk(..) | Kernel::Arange(_) => "fill.cu",
            Kernel::Random(..) | Kernel::RandomWords => "random.cu",
            Kernel::Reduce(op, ..) => match op {
                Reduce::Max | Reduce::Min | Reduce::ArgMax | Reduce::ArgMin | Reduce::Any | Reduce::All => {
                    "reduce_order.cu"
                }
                _ => "reduce_sums.cu",
            },
            Kernel::Scan(..) => "scan.cu",
            Kernel::Matmul(..) => "matmul_mma.cu",
            Kernel::MatmulWgmma(..) => "matmul_wgmma.cu",
            Kernel::MatmulParts(..) => "matmul_parts.cu",
            Kernel::MatmulGrouped(..) => "matmul_grouped.cu",
            Kernel::MatmulAny(_) => "matmul_any.cu",
            Kernel::MatmulThin(..) => "matmul_thin.cu",
            Kernel::MatmulAcross(..) => "matmul_across.cu",
            Kernel::MatmulF32(..) => "matmul_f32.cu",
            Kernel::Attention(..) => "attention.cu",
            Kernel::AttentionF32(..) => "attention_f32.cu",
            Kernel::MatmulReduce(_) => "matmul_reduce.cu",
            Kernel::Matvec(..) => "matvec.cu",
            Kernel::Sort(_) | Kernel::SortPositions | Kernel::SortPairs(_) | Kernel::SortMerge(_) => {
                "sort.cu"
            }
            Kernel::SortFew(_) => "sort_few.cu",
            Kernel::Gather(_) => "gather.cu",
            Kernel::Places(..) => "places.cu",
            Kernel::Scatter(..) => "scatter.cu",
            Kernel::ScatterLists(..) => "scatter_lists.cu",
            Kernel::Softmax(..) | Kernel::SoftmaxStay(..) | Kernel::SoftmaxSlabs(.., false) => "softmax.cu",
            Kernel::Norm(..) | Kernel::NormStay(..) => "norm.cu",
            Kernel::SoftmaxBackward(..)
            | Kernel::SoftmaxBackwardStay(..)
            | Kernel::SoftmaxSlabs(.., true) => "softmax_backward.cu",
            Kernel::NormBackward(..) | Kernel::NormBackwardStay(..) => "norm_backward.cu",
            Kernel::CrossEntropy(..) => "cross_entropy.cu",
            Kernel::NormWeightRows(..)
            | Kernel::NormWeightColumns(..)
            | Kernel::NormWeightSlices(..)
            | Kernel::NormWeightJoin(_) => "norm_weight_backward.cu",
            Kernel::Triangle(..) => "triangle.cu",
            Kernel::Fused(..) => "fused.cu",
            Kernel::Packed(..) => "packed.cu",
            Kernel::Multi(_, _, Capacity::Large) => "multi_large.cu",
            Kernel::Multi(..) | Kernel::MultiJoin => "multi.cu",
            Kernel::Optimizer(.., Capacity::Large) => "optimizer_large.cu",
            Kernel::Optimizer(..) | Kernel::Advance => "optimizer.cu",
            Kernel::Probe => "probe.cu",
            Kernel::Bits(..) | Kernel::BitsChoose(..) => "bits.cu",
        }
    }

    /// Whether it is of the family of products of matrices, whose files have one prefix.
    pub fn is_matmul(self) -> bool {
        self.file().starts_with("matmul")
    }

    /// Blocks of a cluster at most: more than 8 only on the card that it is made for.
    pub const fn largest_cluster(self) -> u32 {
        if matches!(self, Kernel::MatmulAcross(..)) { 16 } else { 8 }
    }

    /// The only compute capability that has the instructions of this file; `None`: any.
    pub const fn only_on(self) -> Option<(u32, u32)> {
        match self {
            Kernel::MatmulWgmma(..)
            | Kernel::MatmulParts(..)
            | Kernel::MatmulGrouped(..)
            | Kernel::MatmulAcross(..) => Some((9, 0)),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "kernel/tests.rs"]
mod tests;
