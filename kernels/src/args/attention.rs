//! What the kernels of attention are told.

/// Distances of neighbours, in elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Strides {
    /// From sequence to sequence.
    pub sequence: u64,
    /// From head to head.
    pub head: u64,
    /// From row to row.
    pub row: u64,
    /// Within a row.
    pub col: u64,
}

/// Attention of sequences and heads. Pointers are addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Attention {
    /// `[sequences, kv_heads * group, len, dim]`.
    pub q: u64,
    /// `[sequences, kv_heads, kv_len, dim]`.
    pub k: u64,
    /// As `k`.
    pub v: u64,
    /// As `q`.
    pub out: u64,
    /// Of `q`.
    pub q_at: Strides,
    /// Of `k`.
    pub k_at: Strides,
    /// Of `v`.
    pub v_at: Strides,
    /// Of `out`.
    pub out_at: Strides,
    /// Of sequences that lie one after the other along the rows: `u32`, where each begins, and the end; or 0.
    pub bounds: u64,
    /// Queries of a sequence, unless there are bounds.
    pub len: u32,
    /// Keys of a sequence, unless there are bounds.
    pub kv_len: u32,
    /// Heads of keys.
    pub kv_heads: u32,
    /// Heads of queries for each of them.
    pub group: u32,
    /// Elements of a row.
    pub dim: u32,
    /// Blocks that share the keys of a sequence and a head.
    pub tiles: u32,
    /// 1 if row `i` sees the keys up to `i + kv_len - len` only.
    pub causal: u32,
    /// 1 if every row of every operand takes 16-byte accesses.
    pub packs: u32,
    /// The factor of scores, times `log2(e)`.
    pub scale: f32,
    /// Padding.
    pub unused: u32,
}
