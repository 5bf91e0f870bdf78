//! The one table of kernels: every variant has a typed name here, and nowhere else.
//!
//! The build script compiles what [`Kernel::all`] lists; a launcher names a variant and gets its function by slot.
//! A new family takes a variant of [`Kernel`] and one line in each `match` of this file.

use taut_core::{Binary, DType, Random, Reduce, Unary};

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
}

/// The part of a product that a block computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// For products that fill the card; 16-bit operands only.
    Large,
    /// In between.
    Medium,
    /// For small products.
    Small,
}

impl Tile {
    /// Every tile; `ALL[tile as usize] == tile`.
    pub const ALL: [Tile; 3] = [Tile::Large, Tile::Medium, Tile::Small];

    /// Rows and columns of the output.
    pub const fn extent(self) -> (u32, u32) {
        match self {
            Tile::Large => (128, 256),
            Tile::Medium => (128, 128),
            Tile::Small => (64, 64),
        }
    }

    /// Rows and columns of a warp, with 16-bit operands.
    const fn warp(self) -> (u32, u32) {
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

/// The typed name of a kernel. Parameters of ops play no part: `Relu` and `LeakyRelu { slope }` name one kernel each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kernel {
    /// `unary.cu`.
    Unary(Unary, DType, Access),
    /// `binary.cu`.
    Binary(Binary, DType, Access),
    /// `copy.cu`: from the first dtype to the second.
    Copy(DType, DType, Access),
    /// `fill.cu`: one bit pattern, in elements of 1, 2, 4 or 8 bytes.
    Fill(usize),
    /// `fill.cu`: an arithmetic sequence.
    Arange(DType),
    /// `random.cu`.
    Random(Random, DType),
    /// `reduce.cu`. Bools are reduced as the bytes that they are.
    Reduce(Reduce, DType, ReducePart),
    /// `matmul_mma.cu`: 16-bit operands, each contiguous along an axis.
    Matmul(DType, [Major; 2], Tile),
    /// `matmul_any.cu`: 16-bit operands with any strides, in small tiles.
    MatmulAny(DType),
    /// `matmul_f32.cu`: medium or small tiles.
    MatmulF32(Tile),
    /// `matmul_reduce.cu`: the second pass of a product that is split along `k`.
    MatmulReduce(DType),
    /// `matvec.cu`: a vector by a matrix that is contiguous along this axis, or along none ([`Major::K`]).
    Matvec(DType, Major),
}

/// A kernel in numbers: family, op, and two more, each below [`RADIX`].
type Code = [usize; 4];
const FAMILIES: usize = 12;
const RADIX: usize = 8;
const CODES: usize = FAMILIES * RADIX * RADIX * RADIX;

const ABSENT: u16 = u16::MAX;

/// The slot of each code, and the number of slots.
const TABLE: ([u16; CODES], usize) = {
    let (mut slots, mut len) = ([ABSENT; CODES], 0);
    let mut index = 0;
    while index < CODES {
        if Kernel::decode(split(index)).is_some() {
            slots[index] = len as u16;
            len += 1;
        }
        index += 1;
    }
    (slots, len)
};
static SLOT: [u16; CODES] = TABLE.0;

const fn split(index: usize) -> Code {
    let (op, a, b) = (index / RADIX / RADIX % RADIX, index / RADIX % RADIX, index % RADIX);
    [index / RADIX / RADIX / RADIX, op, a, b]
}

const fn join([family, op, a, b]: Code) -> usize {
    ((family * RADIX + op) * RADIX + a) * RADIX + b
}

impl Kernel {
    /// The number of kernels.
    pub const SLOTS: usize = TABLE.1;

    /// Every kernel, by slot: `all()[kernel.slot()]` is `kernel` up to parameters of its op.
    pub fn all() -> Vec<Kernel> {
        (0..CODES).filter_map(|index| Kernel::decode(split(index))).collect()
    }

    /// The position in [`all`](Self::all), or [`SLOTS`](Self::SLOTS) for a combination that does not exist.
    pub fn slot(self) -> usize {
        let slot = SLOT.get(join(self.code())).copied().unwrap_or(ABSENT);
        if slot == ABSENT { Kernel::SLOTS } else { usize::from(slot) }
    }

    /// The source file.
    pub const fn file(self) -> &'static str {
        match self {
            Kernel::Unary(..) => "unary.cu",
            Kernel::Binary(..) => "binary.cu",
            Kernel::Copy(..) => "copy.cu",
            Kernel::Fill(_) | Kernel::Arange(_) => "fill.cu",
            Kernel::Random(..) => "random.cu",
            Kernel::Reduce(..) => "reduce.cu",
            Kernel::Matmul(..) => "matmul_mma.cu",
            Kernel::MatmulAny(_) => "matmul_any.cu",
            Kernel::MatmulF32(_) => "matmul_f32.cu",
            Kernel::MatmulReduce(_) => "matmul_reduce.cu",
            Kernel::Matvec(..) => "matvec.cu",
        }
    }

    /// The C++ expression that names the instance, for the compiler. Build time only.
    pub fn expression(self) -> String {
        match self {
            Kernel::Unary(op, dtype, access) => elementwise("unary", op.functor(), &[dtype], access),
            Kernel::Binary(op, dtype, access) => elementwise("binary", op.functor(), &[dtype], access),
            Kernel::Copy(from, to, access) => elementwise("copy", from.name(), &[to, from], access),
            Kernel::Fill(bytes) => format!("fill<u{}>", 8 * bytes),
            Kernel::Arange(dtype) => format!("arange<{dtype}>"),
            Kernel::Random(dist, dtype) => format!("random<{}, {dtype}>", dist.functor()),
            Kernel::Reduce(op, dtype, part) => {
                let (op, len) = (op.functor(), reduce_pack_len(dtype));
                match part {
                    ReducePart::RowsPacked => format!("reduce_rows<{op}<{dtype}>, {len}>"),
                    ReducePart::Rows => format!("reduce_rows<{op}<{dtype}>, 1>"),
                    ReducePart::ColumnsPacked => format!("reduce_columns<{op}<{dtype}>, {len}>"),
                    ReducePart::Columns => format!("reduce_columns<{op}<{dtype}>, 1>"),
                    ReducePart::Join => format!("reduce_join<{op}<{dtype}>>"),
                }
            }
            Kernel::Matmul(dtype, [a, b], tile) => {
                format!("matmul_mma<{dtype}, Major::{a:?}, Major::{b:?}, {}>", self.shape(tile))
            }
            Kernel::MatmulAny(dtype) => format!("matmul_any<{dtype}, {}>", self.shape(Tile::Small)),
            Kernel::MatmulF32(tile) => {
                format!("matmul_f32<{}, {}>", tile.extent().0 / 16, self.shared_bytes())
            }
            Kernel::MatmulReduce(dtype) => format!("matmul_reduce<{dtype}>"),
            Kernel::Matvec(dtype, Major::K) => format!("matvec_rows<{dtype}>"),
            Kernel::Matvec(dtype, Major::Outer) => format!("matvec_columns<{dtype}>"),
        }
    }

    /// `Shape` in `matmul_body.cuh`.
    fn shape(self, tile: Tile) -> String {
        let ((m, n), (warp_m, warp_n)) = (tile.extent(), tile.warp());
        format!("Shape<{m}, {n}, {warp_m}, {warp_n}, {}, {}>", self.shared_bytes(), tile.blocks())
    }

    /// The dynamic shared memory of a block. The sources check that it holds whole stages.
    pub const fn shared_bytes(self) -> u32 {
        match self {
            // Of 32 * 2 bytes for each row and column: 4 stages, which for the largest tile is the most that cards of
            // 8.6, 8.9 and 12.0 give.
            Kernel::Matmul(_, _, tile) => 4 * 64 * (tile.extent().0 + tile.extent().1),
            // Elements come by way of registers: more than 2 stages would hide nothing.
            Kernel::MatmulAny(_) => 2 * 64 * (64 + 64),
            // 3 stages of 16 rows of the extent and 4 to spread them over banks, for both operands.
            Kernel::MatmulF32(tile) => 3 * 2 * 64 * (tile.extent().0 + 4),
            _ => 0,
        }
    }

    /// The threads of a block of a product; 256 for all else.
    pub const fn threads(self) -> u32 {
        let tile = match self {
            Kernel::Matmul(_, _, tile) => tile,
            Kernel::MatmulAny(_) => Tile::Small,
            _ => return 256,
        };
        let ((m, n), (warp_m, warp_n)) = (tile.extent(), tile.warp());
        m / warp_m * (n / warp_n) * 32
    }

    const fn code(self) -> Code {
        match self {
            Kernel::Unary(op, dtype, access) => [0, op.index(), dtype as usize, access as usize],
            Kernel::Binary(op, dtype, access) => [1, op as usize, dtype as usize, access as usize],
            Kernel::Copy(from, to, access) => [2, from as usize, to as usize, access as usize],
            Kernel::Fill(bytes) => [3, bytes.trailing_zeros() as usize % RADIX, 0, 0],
            Kernel::Arange(dtype) => [4, 0, dtype as usize, 0],
            Kernel::Random(dist, dtype) => [5, dist.index(), dtype as usize, 0],
            Kernel::Reduce(op, dtype, part) => [6, op as usize, dtype as usize, part as usize],
            Kernel::Matmul(dtype, [a, b], tile) => {
                [7, tile as usize, dtype as usize, a as usize * 2 + b as usize]
            }
            Kernel::MatmulAny(dtype) => [8, 0, dtype as usize, 0],
            Kernel::MatmulF32(tile) => [9, tile as usize, DType::F32 as usize, 0],
            Kernel::MatmulReduce(dtype) => [10, 0, dtype as usize, 0],
            Kernel::Matvec(dtype, major) => [11, 0, dtype as usize, major as usize],
        }
    }

    /// The kernel of a code, if there is one.
    const fn decode([family, op, a, b]: Code) -> Option<Kernel> {
        let dtype = DType::ALL[a];
        if matches!(dtype, DType::F64) {
            return None;
        }
        match family {
            0 if op < Unary::ALL.len() && b < Access::ALL.len() && Unary::ALL[op].takes(dtype) => {
                Some(Kernel::Unary(Unary::ALL[op], dtype, Access::ALL[b]))
            }
            1 if op < Binary::ALL.len() && b < Access::ALL.len() && Binary::ALL[op].takes(dtype) => {
                Some(Kernel::Binary(Binary::ALL[op], dtype, Access::ALL[b]))
            }
            2 if !matches!(DType::ALL[op], DType::F64) && b < Access::ALL.len() => {
                Some(Kernel::Copy(DType::ALL[op], dtype, Access::ALL[b]))
            }
            3 if op < 4 && a == 0 && b == 0 => Some(Kernel::Fill(1 << op)),
            4 if op == 0 && b == 0 && !matches!(dtype, DType::Bool) => Some(Kernel::Arange(dtype)),
            5 if op < Random::ALL.len() && b == 0 && dtype.is_float() => {
                Some(Kernel::Random(Random::ALL[op], dtype))
            }
            6 if op < Reduce::ALL.len()
                && b < ReducePart::ALL.len()
                && !matches!(dtype, DType::Bool)
                && Reduce::ALL[op].output(dtype).is_some() =>
            {
                Some(Kernel::Reduce(Reduce::ALL[op], dtype, ReducePart::ALL[b]))
            }
            7 if op < Tile::ALL.len() && b < 4 && matches!(dtype, DType::F16 | DType::BF16) => {
                Some(Kernel::Matmul(dtype, [Major::ALL[b / 2], Major::ALL[b % 2]], Tile::ALL[op]))
            }
            8 if op == 0 && b == 0 && matches!(dtype, DType::F16 | DType::BF16) => {
                Some(Kernel::MatmulAny(dtype))
            }
            9 if (op == 1 || op == 2) && a == 0 && b == 0 => Some(Kernel::MatmulF32(Tile::ALL[op])),
            10 if op == 0 && b == 0 && dtype.is_float() => Some(Kernel::MatmulReduce(dtype)),
            11 if op == 0 && b < 2 && dtype.is_float() => Some(Kernel::Matvec(dtype, Major::ALL[b])),
            _ => None,
        }
    }
}

/// The number of elements in a pack: 16 bytes of the widest dtype that takes part.
pub fn pack_len(dtypes: &[DType]) -> usize {
    dtypes.iter().map(|dtype| 16 / dtype.size()).min().unwrap_or(1)
}

/// The number of elements in a pack of a reduction, where a thread keeps an accumulator for each.
pub fn reduce_pack_len(dtype: DType) -> usize {
    pack_len(&[dtype]).min(8)
}

fn elementwise(family: &str, op: &str, dtypes: &[DType], access: Access) -> String {
    let (to, len) = (dtypes[0], pack_len(dtypes));
    match access {
        Access::Packed => format!("{family}_packed<{op}, {to}>"),
        Access::Rows => format!("{family}_walk<{op}, {to}, {len}>"),
        Access::Strided => format!("{family}_walk<{op}, {to}, 1>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn slots_are_dense_and_expressions_unique() {
        let all = Kernel::all();
        assert_eq!(all.len(), Kernel::SLOTS);
        for (slot, kernel) in all.iter().enumerate() {
            assert_eq!(kernel.slot(), slot, "{kernel:?}");
            assert_eq!(Kernel::decode(kernel.code()), Some(*kernel));
        }
        let expressions: HashSet<_> = all.iter().map(|k| (k.file(), k.expression())).collect();
        assert_eq!(expressions.len(), all.len());
    }

    #[test]
    fn what_does_not_exist_has_no_slot() {
        let relu = Kernel::Unary(Unary::Relu, DType::I64, Access::Packed);
        let copy = Kernel::Copy(DType::F64, DType::F32, Access::Strided);
        assert_eq!((relu.slot(), copy.slot()), (Kernel::SLOTS, Kernel::SLOTS));
        let slope = |slope| Kernel::Unary(Unary::LeakyRelu { slope }, DType::F16, Access::Rows).slot();
        assert_eq!(slope(0.5), slope(0.01));
    }

    #[test]
    fn expressions_read_as_the_sources_name_them() {
        let unary = Kernel::Unary(Unary::Relu, DType::F16, Access::Rows);
        assert_eq!(unary.expression(), "unary_walk<Relu, f16, 8>");
        let copy = Kernel::Copy(DType::F16, DType::F32, Access::Packed);
        assert_eq!(copy.expression(), "copy_packed<f16, f32>");
        let sum = Kernel::Reduce(Reduce::Sum, DType::U8, ReducePart::ColumnsPacked);
        assert_eq!(sum.expression(), "reduce_columns<Sum<u8>, 8>");
        let product = Kernel::Matmul(DType::BF16, [Major::K, Major::Outer], Tile::Large);
        let shape = "Shape<128, 256, 64, 64, 98304, 1>";
        assert_eq!(product.expression(), format!("matmul_mma<bf16, Major::K, Major::Outer, {shape}>"));
        assert_eq!(Kernel::MatmulF32(Tile::Medium).expression(), "matmul_f32<8, 50688>");
    }
}
