//! Of `table.cuh` and `multi.cuh`.

/// Packs that a thread of `multi.cuh` takes.
pub const MULTI_PACKS: u32 = 2;

/// Packs that a thread of a norm of many tensors takes.
pub const NORM_PACKS: u32 = 32;

/// Bytes of the partial result of a norm: `Squares` in `squares.cuh`.
pub const SQUARES_BYTES: usize = 12;

/// The bytes of parameters that every driver takes.
pub const SMALL_PARAMS: u32 = 4096;

/// The bytes of parameters that drivers of CUDA 12.1 and newer take.
pub const LARGE_PARAMS: u32 = 32_764;

/// Of those this much is for what is beside a table.
const BESIDE: u32 = 512;

/// Words of a table that every driver takes.
pub const SMALL_WORDS: usize = ((SMALL_PARAMS - BESIDE) / 8) as usize;

/// Words of a table for drivers of CUDA 12.1 and newer.
pub const LARGE_WORDS: usize = ((LARGE_PARAMS - BESIDE) / 8) as usize;

/// Tensors by value: for each an address for each operand, and a word with the number of its first chunk, and above that the
/// elements of its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Table<const WORDS: usize> {
    /// One tensor after the other.
    pub word: [u64; WORDS],
}

/// A number that the host gives, or that stands on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Number {
    /// Of an f32; 0 for `value`.
    pub at: u64,
    /// See `at`.
    pub value: f32,
}
