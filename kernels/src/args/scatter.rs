//! What `scatter.cu`, `scatter_lists.cu` and `places.cu` take.

use super::Fault;

/// Digits of `digits.cuh`.
pub const PLACE_DIGITS: u32 = 256;

/// Entries that a block of `places.cu` moves at a time. With 2,048 a list of 50,304 takes 24 us on an H200 and not 20.
pub const PLACE_TILE: u32 = 1024;

/// Neighbouring places that a warp of `scatter_rest` looks for.
pub const SCATTER_REST: u32 = 8;

/// Threads in a block of `scatter_lists.cu`.
pub const LIST_THREADS: u32 = 512;

/// Entries that a block of `scatter_lists.cu` has room for.
pub const LIST_ROOMS: [u32; 2] = [2 * LIST_THREADS, 8 * LIST_THREADS];

/// A launch of a sum by places. Addresses are those of first elements; steps go along the axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Scatter {
    /// What is added.
    pub src: u64,
    /// See `src`.
    pub src_step: u64,
    /// The places of the entries in order, `[lists, n]`.
    pub keys: u64,
    /// The positions of the entries in `src`.
    pub order: u64,
    /// Sums of runs that cross the ends of chunks: heads, then tails, `[2, chunks, lanes]`.
    pub ends: u64,
    /// What is added to.
    pub from: u64,
    /// Where the sums go, laid out as `from`.
    pub out: u64,
    /// Of both.
    pub out_step: u64,
    /// Places are below this.
    pub extent: u64,
    /// Entries of a list.
    pub n: u64,
    /// Entries of a chunk.
    pub chunk: u64,
    /// The chunks that a list is cut into.
    pub chunks: u64,
}

/// One digit of a sort of lists by place. Addresses are those of first elements, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Places {
    /// What the first digit is taken of: i64.
    pub index: u64,
    /// From entry to entry of a list.
    pub index_step: u64,
    /// What the other digits are taken of, `[lists, n]`.
    pub in_keys: u64,
    /// Their positions.
    pub in_order: u64,
    /// The keys that come out.
    pub out_keys: u64,
    /// Their positions.
    pub out_order: u64,
    /// `[lists, parts, PLACE_DIGITS]`.
    pub counts: u64,
    /// Places are below this.
    pub extent: u64,
    /// For what is not.
    pub fault: Fault,
    /// Entries of a list.
    pub n: u32,
    /// Entries of a part.
    pub share: u32,
    /// Parts of a list.
    pub parts: u32,
    /// The bits below the digit.
    pub shift: u32,
}

/// A launch of sums by places of lists that blocks hold. Addresses are those of first elements; steps go along the axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ScatterLists {
    /// The places of the entries: i64.
    pub index: u64,
    /// See `index`.
    pub index_step: u64,
    /// What is added.
    pub src: u64,
    /// See `src`.
    pub src_step: u64,
    /// What is added to.
    pub out: u64,
    /// See `out`.
    pub out_step: u64,
    /// Places are below this.
    pub extent: u64,
    /// For what is not.
    pub fault: Fault,
    /// Entries of a list.
    pub n: u32,
    /// Digits of the largest key.
    pub digits: u32,
}
