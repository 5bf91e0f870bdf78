//! A kernel in numbers, by which its slot is found.

use super::Kernel;
use crate::args::LIST_THREADS;
use std::sync::LazyLock;

/// A kernel in numbers: family, op, and two more, each below its radix.
pub(super) type Code = [usize; 4];
pub(super) const RADIX: [usize; 3] = [32, 8, 12];

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
    /// The position in [`all`](Self::all), or `None` for a combination that does not exist.
    pub fn slot(self) -> Option<usize> {
        let slot = SLOTS.get(join(self.code())).copied().unwrap_or(ABSENT);
        (slot != ABSENT).then_some(usize::from(slot))
    }

    pub(super) const fn code(self) -> Code {
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
            Kernel::MatmulAcross(dtype, across) => [54, across as usize, dtype as usize, 0],
            Kernel::MatmulF32([a, b], tile) => [9, tile as usize, a as usize, b as usize],
            Kernel::MatmulReduce(dtype) => [10, 0, dtype as usize, 0],
            Kernel::Matvec(dtype, major) => [11, 0, dtype as usize, major as usize],
            Kernel::Select(bytes, access) => [12, 0, bytes.trailing_zeros() as usize, access as usize],
            Kernel::RandomWords => [16, 0, 0, 0],
            Kernel::Sort(dtype) => [13, 0, dtype as usize, 0],
            Kernel::SortFew(dtype) => [13, 5, dtype as usize, 0],
            Kernel::SortPairs(bytes) => [13, 2, 0, bytes.trailing_zeros() as usize],
            Kernel::SortMerge(bytes) => [13, 3, 0, bytes.trailing_zeros() as usize],
            Kernel::Gather(bytes) => [14, 0, 0, bytes.trailing_zeros() as usize],
            Kernel::SortPositions => [13, 1, 0, 0],
            Kernel::Places(first, moves) => [13, 4, first as usize, moves as usize],
            Kernel::Scatter(dtype, part, packs) => [15, packs as usize, dtype as usize, part as usize],
            Kernel::ScatterLists(dtype, room) => [15, 2, dtype as usize, (room / LIST_THREADS) as usize],
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
            Kernel::NormWeightSlices(op, dtype, threads) => {
                [47, op as usize, dtype as usize, threads.trailing_zeros() as usize - 8]
            }
            Kernel::NormStay(op, dtype, teams) => [48, op as usize, dtype as usize, teams],
            Kernel::NormBackwardStay(op, dtype, teams) => [49, op as usize, dtype as usize, teams],
            Kernel::SoftmaxBackwardStay(op, dtype, teams) => [50, op as usize, dtype as usize, teams],
            Kernel::SoftmaxSlabs(op, dtype, part, backward) => {
                [55, op as usize * 2 + backward as usize, dtype as usize, part as usize]
            }
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
