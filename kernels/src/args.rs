//! What the host and the kernels must agree on: the constants of `facts.cuh`, and the structs that kernels take by
//! value, twins of those in `common.cuh`.
//!
//! The build script writes `facts.cuh` from here, and has the compiler check the size of every twin.

#[path = "args/attention.rs"]
mod attention;
#[path = "args/copy.rs"]
mod copy;
#[path = "args/matmul.rs"]
mod matmul;
#[path = "args/optimizer.rs"]
mod optimizer;
#[path = "args/scatter.rs"]
mod scatter;
#[path = "args/table.rs"]
mod table;
#[path = "args/walk.rs"]
mod walk;

pub use attention::*;
pub use copy::*;
pub use matmul::*;
pub use optimizer::*;
pub use scatter::*;
pub use table::*;
use taut_core::{CODE_BLOCK, MAX_RANK};
pub use walk::*;

/// Threads in a block of every elementwise and reduction kernel.
pub const THREADS: u32 = 256;

/// Packs along rows that a thread of a walking elementwise kernel takes.
pub const PACK_STEPS: u32 = 2;

/// Single elements that a thread of a walking elementwise kernel takes.
pub const ELEMENT_STEPS: u32 = 4;

/// Threads in a block at most.
pub const MOST_THREADS: u32 = 1024;

/// Rows of [`Product::partial`] are padded to this many sums, so that every access to them is a whole pack.
pub const PARTIAL_PACK: u32 = 8;

/// Elements that a block sorts or merges.
pub const SORT_TILE: u32 = 2048;

/// Elements that a warp of `sort_few.cu` looks at: as many as leave enough warps where a single row is long.
pub const FEW_PART: u32 = 4096;

/// Blocks of four numbers that a thread of `random` makes: more, and there is less to begin with for each.
pub const RANDOM_BLOCKS: u32 = 4;

/// The logarithm of the small blocks side by side from which on a tile of `copy_tiles` is wide: its columns go in whole sectors
/// of memory.
pub const TILE_WIDE: u32 = 4;
/// The bytes of a sector: what two blocks write a part of each takes longer.
pub const SECTOR_BYTES: usize = 32;

/// Units of columns that a block of `norm_weight_backward.cu` takes: a warp's.
pub const WARP: u32 = 32;

/// Neighbouring packs of columns that a block of `columns.cuh` takes: 128 bytes of each row.
pub const COLUMN_SIDE: u32 = 8;

/// Rows that a thread of `slabs.cuh` finishes.
pub const SLAB_ROWS: u32 = 8;

/// Elements of a line that a thread of `scan_chain` takes.
pub const CHAIN_ROWS: u32 = 16;

/// Blocks of a cluster of `stay.cuh` at most, and the bytes of what a warp finds in a row.
pub const STAY_BLOCKS: usize = 8;
/// See [`STAY_BLOCKS`].
pub const STAY_STAT: usize = 20;

/// Teams of a block of `stay.cuh` at most.
pub const STAY_TEAMS: usize = 4;

/// Threads of a block of `stay.cuh` at most, and packs that each holds of a row: half of all registers.
pub const STAY_THREADS: usize = 512;
/// See [`STAY_THREADS`].
pub const STAY_HELD: usize = 16;

/// Threads of each of so many teams of a block of `stay.cuh`.
pub const fn stay_threads(teams: usize) -> usize {
    STAY_THREADS / teams / 64 * 64
}

/// Bytes of the shared memory of a block of `stay.cuh` in front of what is beside the elements of a row.
pub const fn stay_before(teams: usize) -> usize {
    let inbox = 2 * STAY_BLOCKS * (stay_threads(teams) / WARP as usize) * STAY_STAT;
    ((1 + 3 * teams) * 8 + teams * inbox).next_multiple_of(128)
}

/// The size of `Center` in `norm_weight_backward.cu`.
pub const CENTER_BYTES: usize = 16;

/// Packs that a lane of `norm_weight_backward_slices` takes at a time of each operand, and stages of them in shared memory.
pub const SLICE_TAKE: u32 = 4;
/// See [`SLICE_TAKE`].
pub const SLICE_STAGES: u32 = 3;

/// Threads of a block of `norm_weight_backward_slices`: fewer where a row has no more packs than they take.
pub const SLICE_THREADS: [u32; 2] = [THREADS, 2 * THREADS];

/// Elements of a unit of `fused.cu`: those that a block of Philox decides.
pub const FUSED_LEN: usize = 8;

/// Units that a thread of `fused.cu` takes where elements of 16 bits are dropped: what both of them need is made once.
pub const FUSED_PACKS: u32 = 2;

/// Rounds of Philox.
pub const ROUNDS: usize = 10;

/// The constants of `facts.cuh`, by their names there.
pub const FACTS: &[(&str, u32)] = &[
    ("kThreads", THREADS),
    ("kMostThreads", MOST_THREADS),
    ("kPackSteps", PACK_STEPS),
    ("kElementSteps", ELEMENT_STEPS),
    ("kMaxRank", MAX_RANK as u32),
    ("kPartialPack", PARTIAL_PACK),
    ("kSortTile", SORT_TILE),
    ("kFewPart", FEW_PART),
    ("kRandomBlocks", RANDOM_BLOCKS),
    ("kTileWide", TILE_WIDE),
    ("kSectorBytes", SECTOR_BYTES as u32),
    ("kDigits", PLACE_DIGITS),
    ("kPlaceTile", PLACE_TILE),
    ("kRest", SCATTER_REST),
    ("kListThreads", LIST_THREADS),
    ("kFusedPacks", FUSED_PACKS),
    ("kRounds", ROUNDS as u32),
    ("kColumnSide", COLUMN_SIDE),
    ("kChainRows", CHAIN_ROWS),
    ("kSlabRows", SLAB_ROWS),
    ("kStayBlocks", STAY_BLOCKS as u32),
    ("kStayStat", STAY_STAT as u32),
    ("kStayThreads", STAY_THREADS as u32),
    ("kStayHeld", STAY_HELD as u32),
    ("kSliceTake", SLICE_TAKE),
    ("kSliceStages", SLICE_STAGES),
    ("kMultiPacks", MULTI_PACKS),
    ("kNormPacks", NORM_PACKS),
    ("kStepChunk", STEP_CHUNK),
    ("kCodeBlock", CODE_BLOCK as u32),
    ("kGrouped", GROUPED as u32),
];

/// The structs that kernels take by value: where the twin stands, its name and its size.
pub const TWINS: &[(&str, &str, usize)] = &[
    ("common.cuh", "Walk<1>", size_of::<Walk<1>>()),
    ("common.cuh", "Walk<2>", size_of::<Walk<2>>()),
    ("common.cuh", "Walk<3>", size_of::<Walk<3>>()),
    ("common.cuh", "Walk<4>", size_of::<Walk<4>>()),
    ("common.cuh", "Params", size_of::<Params>()),
    ("rows.cuh", "Rows<1>", size_of::<Rows<1>>()),
    ("rows.cuh", "Rows<2>", size_of::<Rows<2>>()),
    ("rows.cuh", "Rows<3>", size_of::<Rows<3>>()),
    ("rows.cuh", "Rows<4>", size_of::<Rows<4>>()),
    ("matmul.cuh", "Product", size_of::<Product>()),
    ("hopper.cuh", "TensorMap", size_of::<TensorMap>()),
    ("matmul_grouped.cu", "Grouped", size_of::<Grouped>()),
    ("attention.cuh", "Attention", size_of::<Attention>()),
    ("fault.cuh", "Fault", size_of::<Fault>()),
    ("keys.cuh", "Sort", size_of::<Sort>()),
    ("places.cu", "Places", size_of::<Places>()),
    ("scatter.cu", "Scatter", size_of::<Scatter>()),
    ("scatter_lists.cu", "ScatterLists", size_of::<ScatterLists>()),
    ("packed.cu", "Packed", size_of::<Packed>()),
    ("copy_tiles.cu", "Tiles", size_of::<Tiles>()),
    ("copy_runs.cu", "Runs", size_of::<Runs>()),
    ("copy_planes.cu", "Planes", size_of::<Planes>()),
    ("cross_entropy.cu", "Labels", size_of::<Labels>()),
    ("norm_weight_backward.cu", "Center", CENTER_BYTES),
    ("fused.cu", "Walk<5>", size_of::<Walk<5>>()),
    ("fused.cu", "Parts", size_of::<Parts>()),
    ("table.cuh", "Table<448>", size_of::<Table<SMALL_WORDS>>()),
    ("table.cuh", "Table<4031>", size_of::<Table<LARGE_WORDS>>()),
    ("table.cuh", "Number", size_of::<Number>()),
    ("squares.cuh", "Squares", SQUARES_BYTES),
    ("codes.cuh", "Codes", size_of::<Codes>()),
    ("optimizer.cuh", "Hyper", size_of::<Hyper>()),
    ("optimizer.cuh", "Control", size_of::<Control>()),
];

/// The parameters of an elementwise op, 0 where it has less.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Params {
    /// Of the functor, in its order.
    pub value: [f64; 2],
}

/// Where a kernel tells the host of an index that is out of range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Fault {
    /// The address of 8 bytes of pinned host memory.
    pub word: u64,
    /// The op, below 256 and not 0.
    pub code: u64,
}

/// A pass of a sort. Addresses are those of first elements, 0 for none; steps go from element to element of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sort {
    /// What the first pass sorts.
    pub keys: u64,
    /// See `keys`.
    pub key_step: u64,
    /// The keys of the pairs that other passes take, `[rows, n]`.
    pub in_keys: u64,
    /// Their positions.
    pub in_order: u64,
    /// The keys of the pairs that come out, `[rows, out_n]`; 0 if values and positions do.
    pub out_keys: u64,
    /// Their positions.
    pub out_order: u64,
    /// What moves along with the keys.
    pub values: u64,
    /// See `values`.
    pub value_step: u64,
    /// Sorted.
    pub out_values: u64,
    /// Positions, as i64.
    pub out_indices: u64,
    /// Of both.
    pub out_step: u64,
    /// The number of the first row.
    pub first: u64,
    /// The number of rows.
    pub rows: u64,
    /// Keys that are positions are below this.
    pub extent: u64,
    /// Where others are reported.
    pub fault: Fault,
    /// Elements of a row that come in.
    pub n: u32,
    /// Elements of a row that come out.
    pub out_n: u32,
    /// Elements of each run that a merge takes, but the last of a row.
    pub run: u32,
    /// The most elements of a run that come out.
    pub keep: u32,
    /// The size of an element of `values`.
    pub value_bytes: u32,
    /// 1 for the largest first.
    pub descending: u32,
}

/// Sums of the rows of packed sequences. Addresses are those of first elements, steps are in elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Packed {
    /// The rows.
    pub src: u64,
    /// `[count, out_step]`.
    pub out: u64,
    /// `[2 * cells, out_step]` of `f32`, the sums of slices; 0 if no sequence is cut.
    pub partials: u64,
    /// `u32`: where each sequence begins, and the end of the last.
    pub bounds: u64,
    /// From row to row.
    pub row_step: u64,
    /// Elements of a row.
    pub out_step: u64,
    /// Sequences, or if they are cut, places for their slices.
    pub slots: u64,
    /// Runs of `cut` rows that the rows begin.
    pub cells: u64,
    /// The number of sequences.
    pub count: u32,
    /// Rows of a slice.
    pub cut: u32,
    /// Blocks that share the rows of a sequence, each some columns.
    pub tiles: u32,
    /// Threads side by side on units of a row.
    pub side: u32,
    /// Threads that share the rows of a unit.
    pub sharing: u32,
    /// 1 for means.
    pub mean: u32,
}

/// The parts of a fused elementwise pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Parts {
    /// Of the dtype of the input, or 0.
    pub bias: u64,
    /// Of the dtype of the input, or 0.
    pub residual: u64,
    /// Of 2^16 half-words so many drop their element.
    pub threshold: u32,
    /// The factor of what is kept.
    pub scale: f32,
    /// [`Activation::code`](taut_core::Activation::code).
    pub activation: u32,
    /// The parameter of the activation.
    pub slope: f32,
    /// [`philox_keys`].
    pub keys: [u32; 2 * ROUNDS],
}

/// The keys of the rounds of Philox under a seed, two each.
pub fn philox_keys(seed: u64) -> [u32; 2 * ROUNDS] {
    let (low, high) = (seed as u32, (seed >> 32) as u32);
    let key = |(start, step): (u32, u32), round: usize| start.wrapping_add(step.wrapping_mul(round as u32));
    std::array::from_fn(|i| key([(low, 0x9E37_79B9), (high, 0xBB67_AE85)][i % 2], i / 2))
}

/// The labels of rows, and what is made of them. Addresses are those of first elements, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Labels {
    /// As i64.
    pub targets: u64,
    /// From row to row, in elements.
    pub target_step: u64,
    /// As f32, side by side.
    pub losses: u64,
    /// The factor of gradients, an f32.
    pub scale: u64,
    /// The label of rows that do not count.
    pub ignored: i64,
    /// 1 if there is such a label.
    pub ignores: u32,
    /// The share of a target that all classes have evenly.
    pub smoothing: f32,
}
