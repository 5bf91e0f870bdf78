//! How operands of one shape are walked, in units of elements or packs.

use taut_core::{Layout, MAX_RANK, Shape};

/// The most units that an elementwise kernel walks in one launch: its indices have 32 bits, and division by
/// multiplication needs one of them.
pub const WALK_LIMIT: u64 = (1 << 31) - 1;

/// How `N` operands of one shape are walked together. A unit is an element, or a pack of them along the inner axis.
/// Axis 0 is the innermost: the one that neighbouring threads walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Walk<const N: usize> {
    /// The number of units.
    pub numel: u64,
    /// The number of axes, at least 1.
    pub rank: u32,
    /// The bits of the indices that `magic` is for: 32 or 64.
    pub bits: u32,
    /// The extents, in units.
    pub dim: [u64; MAX_RANK],
    /// `i / dim` is `(mulhi(i, magic) + i) >> shift`.
    pub magic: [u64; MAX_RANK],
    /// See `magic`.
    pub shift: [u32; MAX_RANK],
    /// From unit to unit on each axis, in elements, for each operand.
    pub stride: [[u64; MAX_RANK]; N],
}

impl<const N: usize> Walk<N> {
    /// The walk of at most [`WALK_LIMIT`] units over layouts of one shape, in units of `len` elements of the last axis,
    /// which they must divide. Offsets play no part: kernels get pointers to the first element.
    pub fn new(layouts: &[Layout; N], len: usize) -> Walk<N> {
        Walk::with_bits(32, layouts, len)
    }

    /// [`new`](Self::new) for any number of units.
    pub fn wide(layouts: &[Layout; N], len: usize) -> Walk<N> {
        Walk::with_bits(64, layouts, len)
    }

    fn with_bits(bits: u32, layouts: &[Layout; N], len: usize) -> Walk<N> {
        let shape = layouts[0].shape();
        let rank = shape.rank();
        let mut walk = Walk {
            numel: (shape.numel() / len) as u64,
            rank: rank.max(1) as u32,
            bits,
            dim: [1; MAX_RANK],
            magic: [1; MAX_RANK],
            shift: [0; MAX_RANK],
            stride: [[0; MAX_RANK]; N],
        };
        for axis in 0..rank {
            let from = rank - 1 - axis;
            let unit = if axis == 0 { len } else { 1 };
            walk.dim[axis] = (shape[from] / unit) as u64;
            (walk.magic[axis], walk.shift[axis]) = magic(walk.dim[axis], bits);
            for (stride, layout) in walk.stride.iter_mut().zip(layouts) {
                stride[axis] = (layout.strides()[from] * unit) as u64;
            }
        }
        walk
    }
}

impl Default for Walk<2> {
    /// The walk over one unit.
    fn default() -> Walk<2> {
        Walk::new(&[Layout::contiguous(Shape::SCALAR); 2], 1)
    }
}

/// How the rows of `N` operands of one shape lie: units of one element, or of a pack, along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rows<const N: usize> {
    /// From row to row; of 64 bits.
    pub walk: Walk<N>,
    /// Units in a row.
    pub units: u64,
    /// From unit to unit, in elements, for each operand.
    pub step: [u64; N],
}

/// Division by multiplication (Granlund and Montgomery, 1994), for words of `bits` bits, and dividends and divisors
/// that leave the highest of them free.
pub(super) fn magic(divisor: u64, bits: u32) -> (u64, u32) {
    let divisor = divisor.max(1);
    let shift = divisor.next_power_of_two().trailing_zeros();
    let rest = (1u128 << shift) - u128::from(divisor);
    (((rest << bits) / u128::from(divisor) + 1) as u64, shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_divides() {
        let edges =
            [1, 2, 3, 5, 7, 8, 10, 255, 256, 641, 65_535, 65_537, (1 << 30) + 1, WALK_LIMIT - 1, WALK_LIMIT];
        let wide = edges.into_iter().chain([WALK_LIMIT + 1, (1 << 33) - 1, (1 << 62) + 1, (1 << 63) - 1]);
        for (bits, edges) in [(32, edges.to_vec()), (64, wide.collect())] {
            let largest = (1u128 << (bits - 1)) - 1;
            for &d in &edges {
                let (magic, shift) = magic(d, bits);
                let (d, magic) = (u128::from(d), u128::from(magic));
                let near = edges
                    .iter()
                    .map(|&e| u128::from(e))
                    .flat_map(|e| [e - 1, e, e + 1, 3 * e, e * d, e * d - 1]);
                for n in near.map(|n| n.min(largest)) {
                    assert!(magic < 1 << bits && ((n * magic) >> bits) + n < 1 << bits);
                    assert_eq!((((n * magic) >> bits) + n) >> shift, n / d, "{n} / {d}");
                }
            }
        }
    }

    #[test]
    fn a_walk_counts_from_the_inner_axis_in_units() {
        let rows = Layout::contiguous(Shape::new(&[6, 16]).unwrap());
        let bias = Layout::contiguous(Shape::new(&[16]).unwrap()).broadcast_to(*rows.shape()).unwrap();
        let walk = Walk::new(&[rows, bias], 8);
        assert_eq!((walk.numel, walk.rank, walk.dim[..2].to_vec()), (12, 2, vec![2, 6]));
        assert_eq!((&walk.stride[0][..2], &walk.stride[1][..2]), (&[8, 16][..], &[8, 0][..]));
        let scalar = Walk::new(&[Layout::contiguous(Shape::SCALAR)], 1);
        assert_eq!((scalar.numel, scalar.rank, scalar.dim[0]), (1, 1, 1));
    }
}
