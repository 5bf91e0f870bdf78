//! What kernels of a family differ in, beside op and dtype.

use crate::args::{LARGE_WORDS, MOST_THREADS, SMALL_WORDS, THREADS};
use taut_core::{DType, Rule};

/// How an elementwise kernel walks its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// All operands lie dense in the same order and start on 16 bytes: packs, with no index arithmetic.
    Packed,
    /// Packs along an inner axis on which each operand is contiguous or broadcast.
    Rows,
    /// One element at a time, for any strides.
    Strided,
}

impl Access {
    /// Every access; `ALL[access as usize] == access`.
    pub const ALL: [Access; 3] = [Access::Packed, Access::Rows, Access::Strided];
}

/// What a strided copy makes of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moved {
    /// Nothing: elements, or units of them, of so many bytes.
    Bits(usize),
    /// From the first dtype to the second.
    Cast(DType, DType),
}

impl Moved {
    /// Every one that kernels are made for. Casts: those between floats, and from bytes to floats, as of images. Others go
    /// the slow way.
    pub fn all() -> impl Iterator<Item = Moved> {
        let takes =
            |from: DType, to: DType| from != to && to.is_float() && (from.is_float() || from == DType::U8);
        let from = |to| DType::CUDA.into_iter().map(move |from| (from, to));
        let casts = DType::CUDA.into_iter().flat_map(from).filter(move |&(from, to)| takes(from, to));
        [1, 2, 4, 8, 16].map(Moved::Bits).into_iter().chain(casts.map(|(from, to)| Moved::Cast(from, to)))
    }

    /// The bytes of an element in the source and in the destination.
    pub const fn bytes(self) -> [usize; 2] {
        match self {
            Moved::Bits(bytes) => [bytes; 2],
            Moved::Cast(from, to) => [from.size(), to.size()],
        }
    }

    /// The types of both in the sources.
    pub(crate) fn types(self) -> String {
        match self {
            Moved::Bits(16) => "u32x4, u32x4".to_owned(),
            Moved::Bits(bytes) => format!("u{0}, u{0}", 8 * bytes),
            Moved::Cast(from, to) => format!("{from}, {to}"),
        }
    }

    pub(crate) const fn code(self) -> [usize; 3] {
        match self {
            Moved::Bits(bytes) => [0, bytes.trailing_zeros() as usize, 0],
            Moved::Cast(from, to) => [1, from as usize, to as usize],
        }
    }
}

/// The kernels that a reduction is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReducePart {
    /// Threads along the reduced axes, packs.
    RowsPacked,
    /// Threads along the reduced axes, one element at a time.
    Rows,
    /// Threads along the kept axes, packs.
    ColumnsPacked,
    /// Threads along the kept axes, one element at a time.
    Columns,
    /// The second pass, over the partial results of slices.
    Join,
}

impl ReducePart {
    /// Every part; `ALL[part as usize] == part`.
    pub const ALL: [ReducePart; 5] = [
        ReducePart::RowsPacked,
        ReducePart::Rows,
        ReducePart::ColumnsPacked,
        ReducePart::Columns,
        ReducePart::Join,
    ];
}

/// The kernels that sums of packed sequences are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PackedPart {
    /// Packs along rows.
    RowsPacked,
    /// One element of a row at a time.
    Rows,
    /// The second pass, over the sums of slices.
    Join,
}

impl PackedPart {
    /// Every part; `ALL[part as usize] == part`.
    pub const ALL: [PackedPart; 3] = [PackedPart::RowsPacked, PackedPart::Rows, PackedPart::Join];
}

/// Which threads share a row, and whether they hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowPart {
    /// Up to a warp, a unit each.
    Short,
    /// A warp, which holds the row.
    Warp,
    /// A block, which holds the row.
    Block,
    /// A block, a unit each, with all that is beside the row: for few rows.
    Rush,
    /// A block, which copies the row to shared memory: of packs, and of one operand.
    Staged,
    /// The same, a cluster of blocks: for cards of 9.0.
    Cluster,
    /// A block, which reads the row twice.
    Long,
    /// Neighbouring threads on neighbouring rows, which a part of the block holds.
    Columns,
    /// The same, reading the rows twice.
    LongColumns,
}

impl RowPart {
    /// Every part; `ALL[part as usize] == part`.
    pub const ALL: [RowPart; 9] = [
        RowPart::Short,
        RowPart::Warp,
        RowPart::Block,
        RowPart::Rush,
        RowPart::Staged,
        RowPart::Cluster,
        RowPart::Long,
        RowPart::Columns,
        RowPart::LongColumns,
    ];

    /// The parts of every family with the length of their units, of which `len` make a pack: packs lie along rows only, and
    /// few rows of single units are worth no kernel.
    pub(crate) fn all(len: usize) -> impl Iterator<Item = (RowPart, bool)> {
        let all = RowPart::ALL.into_iter().filter(|part| !part.is_staged());
        let packs = all.clone().filter(move |part| len > 1 && !part.is_columns());
        let single = all.filter(|&part| part != RowPart::Rush);
        packs.map(|part| (part, true)).chain(single.map(|part| (part, false)))
    }

    /// Whether the row is copied to shared memory.
    pub const fn is_staged(self) -> bool {
        matches!(self, RowPart::Staged | RowPart::Cluster)
    }

    /// Whether neighbouring threads take neighbouring rows.
    pub const fn is_columns(self) -> bool {
        matches!(self, RowPart::Columns | RowPart::LongColumns)
    }

    /// Units of `len` elements that a thread takes at a time, where it reads `streams` operands of that size. As many as
    /// leave no register over: held elements, and their places where units are single.
    pub const fn units(self, len: usize, streams: usize) -> usize {
        let held = if len > 1 { 32 / len } else { 16 };
        match self {
            RowPart::Short if len > 1 => 1,
            RowPart::Short => 4,
            RowPart::Warp => held / 2,
            RowPart::Rush => 1,
            RowPart::Block | RowPart::Columns => held / streams,
            RowPart::Staged | RowPart::Cluster | RowPart::Long | RowPart::LongColumns => held / 2 / streams,
        }
    }

    /// Threads of a block at most.
    pub const fn most_threads(self, len: usize) -> u32 {
        match self {
            RowPart::Short | RowPart::Warp => THREADS,
            RowPart::Staged | RowPart::Cluster => MOST_THREADS / 2,
            _ if len > 1 => MOST_THREADS,
            _ => MOST_THREADS / 2,
        }
    }
}

/// How a scan walks its axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScanPart {
    /// Threads along the axis, packs.
    RowsPacked,
    /// Threads along the axis, one element at a time.
    Rows,
    /// Threads along the other axes, packs.
    ColumnsPacked,
    /// Threads along the other axes, one element at a time.
    Columns,
}

impl ScanPart {
    /// Every part; `ALL[part as usize] == part`.
    pub const ALL: [ScanPart; 4] =
        [ScanPart::RowsPacked, ScanPart::Rows, ScanPart::ColumnsPacked, ScanPart::Columns];
}

/// The axis along which an operand of a product is contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Major {
    /// The one that is summed over.
    K,
    /// The other: `m` of the first operand, `n` of the second.
    Outer,
}

impl Major {
    /// Both; `ALL[major as usize] == major`.
    pub const ALL: [Major; 2] = [Major::K, Major::Outer];

    /// Those of two operands.
    pub const PAIRS: [[Major; 2]; 4] = [
        [Major::K, Major::K],
        [Major::K, Major::Outer],
        [Major::Outer, Major::K],
        [Major::Outer, Major::Outer],
    ];
}

/// How an operand of `matmul_f32.cu` comes to shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Copies {
    /// 4 neighbours along the axis that is not `k`, from 16 bytes on.
    Packs,
    /// Single elements, contiguous along `k`.
    Rows,
    /// Single elements, with any strides.
    Any,
}

impl Copies {
    /// Those of two operands that kernels are made for.
    pub const PAIRS: [[Copies; 2]; 5] = [
        [Copies::Packs, Copies::Packs],
        [Copies::Packs, Copies::Rows],
        [Copies::Rows, Copies::Packs],
        [Copies::Rows, Copies::Rows],
        [Copies::Any, Copies::Any],
    ];
}

/// Elements of a row that kernels of attention are made for; shorter rows are filled up with zeros.
pub const WIDTHS: [usize; 4] = [32, 64, 128, 256];

/// The part of a product, or of the queries of attention, that a block computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// For what fills the card.
    Large,
    /// In between.
    Medium,
    /// For what is small.
    Small,
}

impl Tile {
    /// Every tile; `ALL[tile as usize] == tile`.
    pub const ALL: [Tile; 3] = [Tile::Large, Tile::Medium, Tile::Small];

    /// Rows and columns of the output of a product.
    pub const fn extent(self) -> (u32, u32) {
        match self {
            Tile::Large => (128, 256),
            Tile::Medium => (128, 128),
            Tile::Small => (64, 64),
        }
    }

    /// Rows and columns of a warp, with 16-bit operands.
    pub(crate) const fn warp(self) -> (u32, u32) {
        if matches!(self, Tile::Small) { (32, 32) } else { (64, 64) }
    }

    /// Blocks that share a multiprocessor.
    pub const fn blocks(self) -> u32 {
        match self {
            Tile::Large => 1,
            Tile::Medium => 2,
            Tile::Small => 4,
        }
    }
}

/// The part of a product of few rows or columns that a block of `matmul_thin.cu` computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Thin {
    /// Few rows, and as many blocks as can be.
    Tiny,
    /// Few rows; in between.
    Small,
    /// Few rows; in between.
    Medium,
    /// Few rows, which are read the least often.
    Wide,
    /// Some rows.
    Square,
    /// Few columns.
    Tall,
}

impl Thin {
    /// Every one; `ALL[thin as usize] == thin`.
    pub const ALL: [Thin; 6] = [Thin::Tiny, Thin::Small, Thin::Medium, Thin::Wide, Thin::Square, Thin::Tall];

    /// Rows and columns of the output.
    pub const fn extent(self) -> (u32, u32) {
        match self {
            Thin::Tiny => (16, 8),
            Thin::Small => (16, 16),
            Thin::Medium => (16, 32),
            Thin::Wide => (16, 64),
            Thin::Square => (32, 32),
            Thin::Tall => (64, 16),
        }
    }

    /// Warps that share `k`.
    pub const fn warps(self) -> u32 {
        if matches!(self, Thin::Tiny) { 16 } else { 8 }
    }

    /// Steps of a warp whose loads are on their way at once: as many as registers hold.
    pub const fn ahead(self) -> u32 {
        match self {
            Thin::Tiny | Thin::Square => 2,
            Thin::Small => 4,
            Thin::Medium => 3,
            Thin::Wide | Thin::Tall => 1,
        }
    }

    /// Blocks that share a multiprocessor.
    pub const fn blocks(self) -> u32 {
        2
    }
}

/// How many tensors a launch can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capacity {
    /// As many as the 4,096 bytes of parameters hold that every driver takes.
    Small,
    /// As many as 32,764 bytes hold.
    Large,
}

impl Capacity {
    /// Both; `ALL[capacity as usize] == capacity`.
    pub const ALL: [Capacity; 2] = [Capacity::Small, Capacity::Large];

    /// Words of the table.
    pub const fn words(self) -> usize {
        match self {
            Capacity::Small => SMALL_WORDS,
            Capacity::Large => LARGE_WORDS,
        }
    }

    /// Tensors in a table with so many operands each.
    pub const fn tensors(self, operands: usize) -> usize {
        self.words() / (operands + 1)
    }
}

/// How a weight is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weight {
    /// As elements of this dtype.
    Plain(DType),
    /// As f16, beside the f32 that they are rounded from.
    Master,
    /// As bf16, beside the lower halves of the f32 that they are rounded from.
    Planes,
}

impl Weight {
    /// Every one that kernels are made for.
    pub const ALL: [Weight; 5] = [
        Weight::Plain(DType::F32),
        Weight::Plain(DType::F16),
        Weight::Plain(DType::BF16),
        Weight::Master,
        Weight::Planes,
    ];

    /// The dtype that is seen.
    pub const fn dtype(self) -> DType {
        match self {
            Weight::Plain(dtype) => dtype,
            Weight::Master => DType::F16,
            Weight::Planes => DType::BF16,
        }
    }

    /// Tensors that it takes.
    pub const fn operands(self) -> usize {
        if matches!(self, Weight::Plain(_)) { 1 } else { 2 }
    }

    /// The type in the sources.
    pub(crate) fn type_name(self) -> String {
        match self {
            Weight::Plain(dtype) => format!("Plain<{dtype}>"),
            Weight::Master => "Master<f16>".to_owned(),
            Weight::Planes => "Planes".to_owned(),
        }
    }

    pub(crate) const fn code(self) -> usize {
        match self {
            Weight::Plain(DType::F32) => 0,
            Weight::Plain(DType::F16) => 1,
            Weight::Plain(DType::BF16) => 2,
            Weight::Master => 3,
            Weight::Planes => 4,
            // Of others there is no kernel.
            Weight::Plain(_) => 7,
        }
    }
}

/// An optimizer as kernels know it: by what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Update {
    /// SGD without momentum.
    Sgd,
    /// SGD with momentum.
    Momentum,
    /// AdamW.
    AdamW,
    /// Lion.
    Lion,
}

impl Update {
    /// Every one; `ALL[update as usize] == update`.
    pub const ALL: [Update; 4] = [Update::Sgd, Update::Momentum, Update::AdamW, Update::Lion];

    /// That of a rule.
    pub fn of(rule: Rule) -> Update {
        match rule {
            Rule::Sgd(_) if rule.moments() == 0 => Update::Sgd,
            Rule::Sgd(_) => Update::Momentum,
            Rule::AdamW(_) => Update::AdamW,
            Rule::Lion(_) => Update::Lion,
        }
    }

    /// The functor in CUDA.
    pub(crate) const fn functor(self) -> &'static str {
        match self {
            Update::Sgd => "Sgd",
            Update::Momentum => "Momentum",
            Update::AdamW => "AdamW",
            Update::Lion => "Lion",
        }
    }
}
