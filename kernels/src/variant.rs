//! What kernels of a family differ in, beside op and dtype.

#[path = "variant/list.rs"]
mod list;
#[path = "variant/product.rs"]
mod product;

pub use list::{Capacity, Update, Weight};
pub use product::{Across, Copies, Major, Strip, Thin, Tile, WIDTHS};

use crate::args::{MOST_THREADS, THREADS};
use taut_core::DType;

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

/// The kernels that sums by places are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScatterPart {
    /// Over the entries, chunk by chunk.
    Add,
    /// Over what goes on from chunk to chunk.
    Join,
    /// A copy of what no entry goes to.
    Rest,
}

impl ScatterPart {
    /// Every part; `ALL[part as usize] == part`.
    pub const ALL: [ScatterPart; 3] = [ScatterPart::Add, ScatterPart::Join, ScatterPart::Rest];
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
    /// Up to a warp, of which each thread has few units.
    Short,
    /// A warp, which holds the row.
    Warp,
    /// A block, which holds the row.
    Block,
    /// The same with half as many threads, which hold twice as much: fewer have to tell each other what they have found.
    Wide,
    /// The same as it lies in memory, with room for some of what is beside it: of layer norm of 16 bits.
    Narrow,
    /// A block, a unit each, with all that is beside the row: for few rows.
    Rush,
    /// A block, which copies the row to shared memory: of packs, and of up to two operands.
    Staged,
    /// The same, a cluster of blocks: for cards of 9.0.
    Cluster,
    /// A block, which reads the row twice.
    Long,
    /// Neighbouring threads on neighbouring rows, which a part of the block holds.
    Columns,
    /// The same, reading the rows twice.
    LongColumns,
    /// Packs of neighbouring rows for each thread of a cluster of blocks, which reads them twice: of softmax.
    PackedColumns,
}

impl RowPart {
    /// Every part; `ALL[part as usize] == part`.
    pub const ALL: [RowPart; 12] = [
        RowPart::Short,
        RowPart::Warp,
        RowPart::Block,
        RowPart::Wide,
        RowPart::Narrow,
        RowPart::Rush,
        RowPart::Staged,
        RowPart::Cluster,
        RowPart::Long,
        RowPart::Columns,
        RowPart::LongColumns,
        RowPart::PackedColumns,
    ];

    /// The parts of every family with the length of their units, of which `len` make a pack: packs lie along rows only, and
    /// few rows of single units are worth no kernel.
    pub(crate) fn all(len: usize) -> impl Iterator<Item = (RowPart, bool)> {
        let of_some = |part: &RowPart| {
            matches!(part, RowPart::Wide | RowPart::Narrow | RowPart::PackedColumns) || part.is_staged()
        };
        let all = RowPart::ALL.into_iter().filter(move |part| !of_some(part));
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
        matches!(self, RowPart::Columns | RowPart::LongColumns | RowPart::PackedColumns)
    }

    /// Units of `len` elements that a thread takes at a time, where it reads `streams` operands of that size. As many as
    /// leave no register over: held elements, and their places where units are single.
    pub const fn units(self, len: usize, streams: usize) -> usize {
        let held = if len > 1 { 32 / len } else { 16 };
        // Eight packs of f32 are too many beside what a warp has to do for several rows.
        let by_warp = match held / streams {
            _ if len == 1 => held / 2,
            0..4 => held / streams,
            _ => 4,
        };
        match self {
            RowPart::Rush | RowPart::PackedColumns => 1,
            RowPart::Short => by_warp / 2,
            RowPart::Warp => by_warp,
            RowPart::Wide | RowPart::Narrow => 2 * held / streams,
            RowPart::Block | RowPart::Columns => held / streams,
            RowPart::Staged | RowPart::Cluster | RowPart::Long | RowPart::LongColumns => held / 2 / streams,
        }
    }

    /// Threads of a block at most.
    pub const fn most_threads(self, len: usize) -> u32 {
        match self {
            RowPart::Short | RowPart::PackedColumns => THREADS,
            RowPart::Warp => THREADS / 2,
            RowPart::Wide | RowPart::Staged | RowPart::Cluster => MOST_THREADS / 2,
            // What leaves a thread 80 registers.
            RowPart::Narrow => MOST_THREADS * 3 / 8,
            _ if len > 1 => MOST_THREADS,
            _ => MOST_THREADS / 2,
        }
    }
}

/// The launches of `slabs.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlabPart {
    /// What there is in slices of columns.
    Find,
    /// What there is in columns.
    Join,
    /// What becomes of their elements.
    Finish,
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
    /// Floats by threads along both, packs; a block waits for the one in front of it.
    Chain,
}

impl ScanPart {
    /// Every part; `ALL[part as usize] == part`.
    pub const ALL: [ScanPart; 5] =
        [ScanPart::RowsPacked, ScanPart::Rows, ScanPart::ColumnsPacked, ScanPart::Columns, ScanPart::Chain];
}
