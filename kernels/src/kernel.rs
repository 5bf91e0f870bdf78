//! The one table of kernels: every variant has a typed name here, and nowhere else.
//!
//! The build script compiles what [`Kernel::all`] lists; a launcher names a variant and gets its function by slot.
//! A new family takes a variant of [`Kernel`], a line in `all`, `code` and `file`, and one in `expression.rs`.

use crate::{
    args::{PLANES, STAY_TEAMS, slice_widths},
    expression::pack_len,
    variant::{
        Access, Capacity, Copies, Major, Moved, PackedPart, ReducePart, RowPart, ScanPart, ScatterPart,
        Strip, Thin, Tile, Update, WIDTHS, Weight,
    },
};
use std::sync::LazyLock;
use taut_core::{Binary, DType, Kept, Multi, Norm, Predicate, Random, Reduce, Scan, Softmax, Unary};

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
    /// `copy_planes.cu`: between so many planes, one of [`PLANES`], and pixels, to these or from them; not of 16 bytes.
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
    /// `gather.cu`: units of 1, 2, 4, 8 or 16 bytes.
    Gather(usize),
    /// `sort.cu`: tiles of rows of positions, whose keys have 4 bytes.
    SortPositions,
    /// `places.cu`: of an index, or of what is in order of lower digits; its digits are counted, or entries moved.
    Places(bool, bool),
    /// `scatter.cu`: in packs, or one element at a time.
    Scatter(DType, ScatterPart, bool),
    /// `softmax.cu`: in packs, or one element at a time.
    Softmax(Softmax, DType, RowPart, bool),
    /// The same, of [`Softmax::Plain`] and [`Softmax::Log`] and long rows of packs: by blocks that stay, of so many teams.
    SoftmaxStay(Softmax, DType, usize),
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
    /// `norm_weight_backward.cu`: sums over slices of rows that are read once: of so many packs at most, by blocks of so many
    /// threads, one of [`slice_widths`].
    NormWeightSlices(Norm, DType, [usize; 2]),
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

/// A kernel in numbers: family, op, and two more, each below its radix.
type Code = [usize; 4];
const RADIX: [usize; 3] = [32, 8, 11];

const ABSENT: u16 = u16::MAX;

/// The slot of each code.
static SLOTS: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let mut slots = Vec::new();
    for (slot, kernel) in Kernel::all().into_iter().enumerate() {
        let index = join(kernel.code());
        if slots.len() <= index {
            slots.resize(index + 1, ABSENT);
        }
        slots[index] = u16::try_from(slot).unwrap_or(ABSENT);
    }
    slots
});

const fn join([family, op, a, b]: Code) -> usize {
    ((family * RADIX[0] + op) * RADIX[1] + a) * RADIX[2] + b
}

impl Kernel {
    /// Every kernel, by slot: `all()[kernel.slot()]` is `kernel` up to parameters of its op.
    pub fn all() -> Vec<Kernel> {
        let dtypes =
            |takes: &dyn Fn(DType) -> bool| DType::CUDA.into_iter().filter(|&d| takes(d)).collect::<Vec<_>>();
        let (floats, halves) = (dtypes(&DType::is_float), [DType::F16, DType::BF16]);
        let mut all = Vec::new();
        for op in Unary::ALL {
            for dtype in dtypes(&|dtype| op.takes(dtype)) {
                all.extend(Access::ALL.map(|access| Kernel::Unary(op, dtype, access)));
            }
        }
        for op in Unary::ALL.into_iter().filter(|op| op.kept().is_some_and(|kept| kept != Kept::Nothing)) {
            for &dtype in &floats {
                all.extend(Access::ALL.map(|access| Kernel::UnaryBackward(op, dtype, access)));
            }
        }
        for op in Binary::ALL {
            for dtype in dtypes(&|dtype| op.takes(dtype)) {
                all.extend(Access::ALL.map(|access| Kernel::Binary(op, dtype, access)));
            }
        }
        for bytes in [1, 2, 4, 8] {
            all.extend(Access::ALL.map(|access| Kernel::Select(bytes, access)));
        }
        for from in DType::CUDA {
            for to in DType::CUDA {
                all.extend(Access::ALL.map(|access| Kernel::Copy(from, to, access)));
            }
        }
        all.extend(Moved::all().map(Kernel::CopyTiles));
        for moved in Moved::all().filter(|&moved| moved != Moved::Bits(16)) {
            all.push(Kernel::CopyRuns(moved));
            all.extend(PLANES.flat_map(|n| [true, false].map(|pixels| Kernel::CopyPlanes(moved, n, pixels))));
        }
        for bytes in [1, 2, 4, 8] {
            all.push(Kernel::Fill(bytes));
            all.extend([Access::Rows, Access::Strided].map(|access| Kernel::FillWalk(bytes, access)));
            all.extend([Access::Rows, Access::Strided].map(|access| Kernel::Triangle(bytes, access)));
        }
        all.extend(dtypes(&|dtype| dtype != DType::Bool).into_iter().map(Kernel::Arange));
        for dist in Random::ALL {
            let takes = dtypes(&|dtype| dist.takes(dtype));
            all.extend(takes.into_iter().map(|dtype| Kernel::Random(dist, dtype)));
        }
        for op in Reduce::ALL {
            let takes =
                |dtype| op.output(dtype).is_some() || dtype == DType::U8 && op.output(DType::Bool).is_some();
            for dtype in dtypes(&|dtype| dtype != DType::Bool && takes(dtype)) {
                all.extend(ReducePart::ALL.map(|part| Kernel::Reduce(op, dtype, part)));
            }
        }
        for op in Scan::ALL {
            for dtype in dtypes(&|dtype| dtype != DType::Bool) {
                all.extend(ScanPart::ALL.map(|part| Kernel::Scan(op, dtype, part)));
            }
        }
        for dtype in halves {
            for majors in Major::PAIRS {
                all.extend(Tile::ALL.map(|tile| Kernel::Matmul(dtype, majors, tile)));
                let tiles = Tile::of_wgmma(dtype, majors);
                all.extend(tiles.map(|tile| Kernel::MatmulWgmma(dtype, majors, tile)));
                let strips = Strip::of(dtype, majors);
                all.extend(strips.map(|strip| Kernel::MatmulParts(dtype, majors, strip)));
                all.extend(
                    [Tile::Large, Tile::Medium].map(|tile| Kernel::MatmulGrouped(dtype, majors, tile)),
                );
            }
            all.push(Kernel::MatmulAny(dtype));
            all.extend(Thin::ALL.map(|thin| Kernel::MatmulThin(dtype, thin)));
        }
        for tile in Tile::ALL {
            all.push(Kernel::MatmulWgmma(DType::F32, [Major::K; 2], tile));
            all.extend(Copies::PAIRS.map(|pair| Kernel::MatmulF32(pair, tile)));
        }
        let strips = Strip::of(DType::F32, [Major::K; 2]);
        all.extend(strips.map(|strip| Kernel::MatmulParts(DType::F32, [Major::K; 2], strip)));
        for width in WIDTHS {
            // Rows of 256 leave no registers for the sums of a large tile.
            let is_made = move |tile: &Tile| *tile != Tile::Large || width < 256;
            let tiles = Tile::ALL.into_iter().filter(is_made);
            all.extend(tiles.flat_map(|tile| halves.map(|dtype| Kernel::Attention(dtype, tile, width))));
            all.extend([Tile::Medium, Tile::Small].map(|tile| Kernel::AttentionF32(tile, width)));
        }
        for &dtype in &floats {
            all.push(Kernel::MatmulReduce(dtype));
            all.extend(Major::ALL.map(|major| Kernel::Matvec(dtype, major)));
            for (part, packs) in RowPart::all(pack_len(&[dtype])) {
                all.extend(Softmax::ALL.map(|op| Kernel::Softmax(op, dtype, part, packs)));
                all.extend(Norm::ALL.map(|op| Kernel::Norm(op, dtype, part, packs)));
                let softmax = [Softmax::Plain, Softmax::Log];
                all.extend(softmax.map(|op| Kernel::SoftmaxBackward(op, dtype, part, packs)));
                let norm = [Norm::Layer, Norm::Rms, Norm::L2];
                // The backward of norms of 16 bits has a wide part for this one.
                let of_norm = match (part, packs, dtype.size()) {
                    (RowPart::Block, true, 2) => RowPart::Wide,
                    _ => part,
                };
                all.extend(norm.map(|op| Kernel::NormBackward(op, dtype, of_norm, packs)));
                all.extend([true, false].map(|grad| Kernel::CrossEntropy(grad, dtype, part, packs)));
                let weighted = [Norm::Layer, Norm::Rms];
                all.extend(weighted.map(|op| Kernel::NormWeightRows(op, dtype, part, packs)));
            }
            for staged in RowPart::ALL.into_iter().filter(|part| part.is_staged() && pack_len(&[dtype]) > 1) {
                let softmax = Softmax::ALL.into_iter().filter(|op| op.streams() == 1);
                all.extend(softmax.map(|op| Kernel::Softmax(op, dtype, staged, true)));
                let norm = Norm::ALL.into_iter().filter(|op| op.streams() == 1);
                all.extend(norm.map(|op| Kernel::Norm(op, dtype, staged, true)));
                all.push(Kernel::CrossEntropy(true, dtype, staged, true));
                let softmax = [Softmax::Plain, Softmax::Log];
                all.extend(softmax.map(|op| Kernel::SoftmaxBackward(op, dtype, staged, true)));
                let norm = [Norm::Layer, Norm::Rms, Norm::L2];
                all.extend(norm.map(|op| Kernel::NormBackward(op, dtype, staged, true)));
            }
            for op in [Softmax::Plain, Softmax::Log] {
                all.push(Kernel::Softmax(op, dtype, RowPart::PackedColumns, true));
                all.push(Kernel::SoftmaxBackward(op, dtype, RowPart::PackedColumns, true));
            }
            for teams in 1..=STAY_TEAMS {
                let norm = [Norm::Layer, Norm::Rms, Norm::L2];
                all.extend(norm.map(|op| Kernel::NormStay(op, dtype, teams)));
                all.extend(norm.map(|op| Kernel::NormBackwardStay(op, dtype, teams)));
                let softmax = [Softmax::Plain, Softmax::Log];
                all.extend(softmax.map(|op| Kernel::SoftmaxStay(op, dtype, teams)));
                all.extend(softmax.map(|op| Kernel::SoftmaxBackwardStay(op, dtype, teams)));
            }
            for packs in [true, false] {
                let weighted = [Norm::Layer, Norm::Rms];
                all.extend(weighted.map(|op| Kernel::NormWeightColumns(op, dtype, packs)));
            }
            for op in [Norm::Layer, Norm::Rms] {
                all.extend(slice_widths(op, dtype).map(|widths| Kernel::NormWeightSlices(op, dtype, widths)));
            }
            all.push(Kernel::NormWeightJoin(dtype));
            for drops in [true, false] {
                all.extend(Access::ALL.map(|access| Kernel::Fused(dtype, access, drops)));
            }
            all.extend(PackedPart::ALL.map(|part| Kernel::Packed(dtype, part)));
        }
        all.extend([Kernel::RandomWords, Kernel::SortPositions]);
        all.extend([4, 8].into_iter().flat_map(|bytes| [Kernel::SortPairs(bytes), Kernel::SortMerge(bytes)]));
        all.extend([1, 2, 4, 8, 16].map(Kernel::Gather));
        all.extend(
            [false, true]
                .into_iter()
                .flat_map(|first| [false, true].map(|moves| Kernel::Places(first, moves))),
        );
        all.extend(Capacity::ALL.into_iter().flat_map(multi));
        all.extend(Capacity::ALL.into_iter().flat_map(optimizer));
        all.extend([Kernel::MultiJoin, Kernel::Advance, Kernel::Probe]);
        for dtype in dtypes(&DType::is_number) {
            all.push(Kernel::Sort(dtype));
            for packs in [true, false] {
                // Where elements do not lie in packs, all are copied.
                let parts = ScatterPart::ALL.into_iter().filter(|&part| packs || part != ScatterPart::Rest);
                all.extend(parts.map(|part| Kernel::Scatter(dtype, part, packs)));
            }
        }
        for (dtype, access) in floats.iter().flat_map(|&d| [Access::Packed, Access::Strided].map(|a| (d, a)))
        {
            all.extend(Predicate::ALL.map(|ask| Kernel::Bits(ask, dtype, access)));
            all.push(Kernel::BitsChoose(dtype, access));
        }
        all
    }

    /// The position in [`all`](Self::all), or `None` for a combination that does not exist.
    pub fn slot(self) -> Option<usize> {
        let slot = SLOTS.get(join(self.code())).copied().unwrap_or(ABSENT);
        (slot != ABSENT).then_some(usize::from(slot))
    }

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
            Kernel::MatmulF32(..) => "matmul_f32.cu",
            Kernel::Attention(..) => "attention.cu",
            Kernel::AttentionF32(..) => "attention_f32.cu",
            Kernel::MatmulReduce(_) => "matmul_reduce.cu",
            Kernel::Matvec(..) => "matvec.cu",
            Kernel::Sort(_) | Kernel::SortPositions | Kernel::SortPairs(_) | Kernel::SortMerge(_) => {
                "sort.cu"
            }
            Kernel::Gather(_) => "gather.cu",
            Kernel::Places(..) => "places.cu",
            Kernel::Scatter(..) => "scatter.cu",
            Kernel::Softmax(..) | Kernel::SoftmaxStay(..) => "softmax.cu",
            Kernel::Norm(..) | Kernel::NormStay(..) => "norm.cu",
            Kernel::SoftmaxBackward(..) | Kernel::SoftmaxBackwardStay(..) => "softmax_backward.cu",
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

    /// The only compute capability that has the instructions of this file; `None`: any.
    pub const fn only_on(self) -> Option<(u32, u32)> {
        match self {
            Kernel::MatmulWgmma(..) | Kernel::MatmulParts(..) | Kernel::MatmulGrouped(..) => Some((9, 0)),
            _ => None,
        }
    }

    const fn code(self) -> Code {
        match self {
            Kernel::Unary(op, dtype, access) => [0, op.index(), dtype as usize, access as usize],
            Kernel::UnaryBackward(op, dtype, access) => [29, op.index(), dtype as usize, access as usize],
            Kernel::Binary(op, dtype, access) => [1, op as usize, dtype as usize, access as usize],
            Kernel::Copy(from, to, access) => [2, from as usize, to as usize, access as usize],
            Kernel::CopyTiles(moved) | Kernel::CopyRuns(moved) => {
                let [op, a, b] = moved.code();
                [if matches!(self, Kernel::CopyTiles(_)) { 27 } else { 28 }, op, a, b]
            }
            Kernel::CopyPlanes(moved, n, pixels) => {
                let [op, a, b] = moved.code();
                [53, (op * 2 + pixels as usize) * 8 + n, a, b]
            }
            Kernel::Fill(bytes) => [3, bytes.trailing_zeros() as usize, 0, 0],
            Kernel::FillWalk(bytes, access) => [3, bytes.trailing_zeros() as usize, 1, access as usize],
            Kernel::Arange(dtype) => [4, 0, dtype as usize, 0],
            Kernel::Random(dist, dtype) => [5, dist.index(), dtype as usize, 0],
            Kernel::Reduce(op, dtype, part) => [6, op.index(), dtype as usize, part as usize],
            Kernel::Matmul(dtype, [a, b], tile) => {
                [7, tile as usize, dtype as usize, a as usize * 2 + b as usize]
            }
            Kernel::MatmulWgmma(dtype, [a, b], tile) => {
                [25, tile as usize, dtype as usize, a as usize * 2 + b as usize]
            }
            Kernel::MatmulParts(dtype, [a, b], strip) => {
                [39, strip as usize, dtype as usize, a as usize * 2 + b as usize]
            }
            Kernel::MatmulGrouped(dtype, [a, b], tile) => {
                [46, tile as usize, dtype as usize, a as usize * 2 + b as usize]
            }
            Kernel::MatmulAny(dtype) => [8, 0, dtype as usize, 0],
            Kernel::MatmulThin(dtype, thin) => [26, thin as usize, dtype as usize, 0],
            Kernel::MatmulF32([a, b], tile) => [9, tile as usize, a as usize, b as usize],
            Kernel::MatmulReduce(dtype) => [10, 0, dtype as usize, 0],
            Kernel::Matvec(dtype, major) => [11, 0, dtype as usize, major as usize],
            Kernel::Select(bytes, access) => [12, 0, bytes.trailing_zeros() as usize, access as usize],
            Kernel::RandomWords => [16, 0, 0, 0],
            Kernel::Sort(dtype) => [13, 0, dtype as usize, 0],
            Kernel::SortPairs(bytes) => [13, 2, 0, bytes.trailing_zeros() as usize],
            Kernel::SortMerge(bytes) => [13, 3, 0, bytes.trailing_zeros() as usize],
            Kernel::Gather(bytes) => [14, 0, 0, bytes.trailing_zeros() as usize],
            Kernel::SortPositions => [13, 1, 0, 0],
            Kernel::Places(first, moves) => [13, 4, first as usize, moves as usize],
            Kernel::Scatter(dtype, part, packs) => [15, packs as usize, dtype as usize, part as usize],
            Kernel::Softmax(op, dtype, part, packs) => {
                [17, op as usize * 2 + packs as usize, dtype as usize, part as usize]
            }
            Kernel::Norm(op, dtype, part, packs) => {
                [18, op as usize * 2 + packs as usize, dtype as usize, part as usize]
            }
            Kernel::SoftmaxBackward(op, dtype, part, packs) => {
                [30, op as usize * 2 + packs as usize, dtype as usize, part as usize]
            }
            Kernel::NormBackward(op, dtype, part, packs) => {
                [31, op as usize * 2 + packs as usize, dtype as usize, part as usize]
            }
            Kernel::NormWeightRows(op, dtype, part, packs) => {
                [32, op as usize * 2 + packs as usize, dtype as usize, part as usize]
            }
            Kernel::NormWeightColumns(op, dtype, packs) => {
                [33, op as usize * 2 + packs as usize, dtype as usize, 0]
            }
            Kernel::CrossEntropy(grad, dtype, part, packs) => {
                [35, grad as usize * 2 + packs as usize, dtype as usize, part as usize]
            }
            Kernel::NormWeightSlices(op, dtype, [width, _]) => {
                [47, op as usize, dtype as usize, width.trailing_zeros() as usize - 8]
            }
            Kernel::NormStay(op, dtype, teams) => [48, op as usize, dtype as usize, teams],
            Kernel::NormBackwardStay(op, dtype, teams) => [49, op as usize, dtype as usize, teams],
            Kernel::SoftmaxBackwardStay(op, dtype, teams) => [50, op as usize, dtype as usize, teams],
            Kernel::SoftmaxStay(op, dtype, teams) => [51, op as usize, dtype as usize, teams],
            Kernel::NormWeightJoin(dtype) => [34, 0, dtype as usize, 0],
            Kernel::Scan(op, dtype, part) => [19, op as usize, dtype as usize, part as usize],
            Kernel::Triangle(bytes, access) => [20, bytes.trailing_zeros() as usize, 0, access as usize],
            Kernel::Fused(dtype, access, drops) => [21, drops as usize, dtype as usize, access as usize],
            Kernel::Packed(dtype, part) => [24, 0, dtype as usize, part as usize],
            Kernel::Attention(dtype, tile, width) => {
                [22, width.trailing_zeros() as usize, dtype as usize, tile as usize]
            }
            Kernel::AttentionF32(tile, width) => [23, width.trailing_zeros() as usize, 0, tile as usize],
            Kernel::Multi(op, [own, other], capacity) => {
                [36, op as usize * 2 + capacity as usize, own as usize, other as usize]
            }
            Kernel::MultiJoin => [37, 0, 0, 0],
            Kernel::Optimizer(update, weight, grad, codes, capacity) => {
                let op = (update as usize * 2 + codes as usize) * 2 + capacity as usize;
                [38, op, weight.code(), grad as usize]
            }
            Kernel::Advance => [37, 1, 0, 0],
            Kernel::Probe => [52, 0, 0, 0],
            Kernel::Bits(ask, dtype, access) => [44, ask.index(), dtype as usize, access as usize],
            Kernel::BitsChoose(dtype, access) => [45, 0, dtype as usize, access as usize],
        }
    }
}

/// The kernels of `multi.cuh`. Bytes are zeroed, of whatever dtype.
fn multi(capacity: Capacity) -> Vec<Kernel> {
    let floats = DType::CUDA.into_iter().filter(|dtype| dtype.is_float());
    let pairs = floats.clone().flat_map(|own| floats.clone().map(move |other| [own, other]));
    let ops = Multi::ALL.into_iter().filter(|&op| op != Multi::Zero);
    let all = ops.flat_map(|op| {
        pairs.clone().filter(move |[own, other]| op.takes(*own, *other)).map(move |pair| (op, pair))
    });
    let zero = (Multi::Zero, [DType::U8; 2]);
    all.chain([zero]).map(|(op, pair)| Kernel::Multi(op, pair, capacity)).collect()
}

/// The kernels of `optimizer.cuh`.
fn optimizer(capacity: Capacity) -> Vec<Kernel> {
    let mut all = Vec::new();
    for update in Update::ALL {
        for weight in Weight::ALL {
            let grads: &[DType] = match weight.dtype() {
                DType::F32 => &[DType::F32],
                DType::F16 => &[DType::F16, DType::F32],
                _ => &[DType::BF16, DType::F32],
            };
            // Without moments there is nothing to be coded.
            let kept: &[bool] = if update == Update::Sgd { &[false] } else { &[false, true] };
            for &grad in grads {
                all.extend(
                    kept.iter().map(|&codes| Kernel::Optimizer(update, weight, grad, codes, capacity)),
                );
            }
        }
    }
    all
}

#[cfg(test)]
#[path = "kernel/tests.rs"]
mod tests;
