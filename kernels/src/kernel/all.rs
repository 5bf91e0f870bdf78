//! Which variants there are.

use super::Kernel;
use crate::{
    args::{LIST_ROOMS, PLANES, SLICE_THREADS, STAY_TEAMS},
    expression::pack_len,
    variant::{
        Access, Across, Capacity, Copies, Major, Moved, PackedPart, ReducePart, RowPart, ScanPart,
        ScatterPart, SlabPart, Strip, Thin, Tile, Update, WIDTHS, Weight,
    },
};
use taut_core::{Binary, DType, Kept, Multi, Norm, Predicate, Random, Reduce, Scan, Softmax, Unary};

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
                let parts =
                    ScanPart::ALL.into_iter().filter(|&part| part != ScanPart::Chain || dtype.is_float());
                all.extend(parts.map(|part| Kernel::Scan(op, dtype, part)));
            }
        }
        for dtype in halves {
            for majors in Major::PAIRS {
                all.extend(Tile::ALL.map(|tile| Kernel::Matmul(dtype, majors, tile)));
                let tiles = Tile::of_wgmma(dtype, majors);
                let turns = (majors[0] == Major::K).then_some(Tile::Turns);
                let tiles = tiles.chain(turns);
                all.extend(tiles.map(|tile| Kernel::MatmulWgmma(dtype, majors, tile)));
                let turned = match majors[1] {
                    Major::K => Strip::M64N128Turned,
                    Major::Outer => Strip::M64N256Turned,
                };
                let strips = Strip::of(dtype, majors).chain([turned]);
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
            all.extend(Across::of(dtype).map(|across| Kernel::MatmulAcross(dtype, across)));
            all.extend(Major::ALL.map(|major| Kernel::Matvec(dtype, major)));
            for (part, packs) in RowPart::all(pack_len(&[dtype])) {
                all.extend(Softmax::ALL.map(|op| Kernel::Softmax(op, dtype, part, packs)));
                all.extend(Norm::ALL.map(|op| match (op, part, packs, dtype.size()) {
                    (Norm::Layer, RowPart::Block, true, 2) => Kernel::Norm(op, dtype, RowPart::Narrow, packs),
                    _ => Kernel::Norm(op, dtype, part, packs),
                }));
                let softmax = [Softmax::Plain, Softmax::Log];
                all.extend(softmax.map(|op| Kernel::SoftmaxBackward(op, dtype, part, packs)));
                let norm = [Norm::Layer, Norm::Rms, Norm::L2];
                // The backward of norms of 16 bits has a wide part for this one.
                let of_norm = match (part, packs, dtype.size()) {
                    (RowPart::Block, true, 2) => RowPart::Wide,
                    _ => part,
                };
                all.extend(norm.map(|op| Kernel::NormBackward(op, dtype, of_norm, packs)));
                // Without a gradient rows of packs are not held by blocks.
                let unheld = !(part == RowPart::Block && packs);
                all.extend(
                    [true]
                        .into_iter()
                        .chain(unheld.then_some(false))
                        .map(|grad| Kernel::CrossEntropy(grad, dtype, part, packs)),
                );
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
                all.extend([false, true].map(|way| Kernel::SoftmaxSlabs(op, dtype, SlabPart::Finish, way)));
                all.push(Kernel::SoftmaxSlabs(op, dtype, SlabPart::Find, true));
            }
            all.push(Kernel::SoftmaxSlabs(Softmax::Plain, dtype, SlabPart::Find, false));
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
                all.extend(SLICE_THREADS.map(|threads| Kernel::NormWeightSlices(op, dtype, threads)));
            }
            all.push(Kernel::NormWeightJoin(dtype));
            for drops in [true, false] {
                all.extend(Access::ALL.map(|access| Kernel::Fused(dtype, access, drops)));
            }
            all.extend(PackedPart::ALL.map(|part| Kernel::Packed(dtype, part)));
        }
        all.extend([Kernel::RandomWords, Kernel::SortPositions]);
        all.extend(
            [false, true].map(|way| Kernel::SoftmaxSlabs(Softmax::Plain, DType::F32, SlabPart::Join, way)),
        );
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
            all.extend((dtype.size() > 1).then_some(Kernel::SortFew(dtype)));
            for packs in [true, false] {
                // Where elements do not lie in packs, all are copied.
                let parts = ScatterPart::ALL.into_iter().filter(|&part| packs || part != ScatterPart::Rest);
                all.extend(parts.map(|part| Kernel::Scatter(dtype, part, packs)));
            }
            all.extend(LIST_ROOMS.map(|room| Kernel::ScatterLists(dtype, room)));
        }
        for (dtype, access) in floats.iter().flat_map(|&d| [Access::Packed, Access::Strided].map(|a| (d, a)))
        {
            all.extend(Predicate::ALL.map(|ask| Kernel::Bits(ask, dtype, access)));
            all.push(Kernel::BitsChoose(dtype, access));
        }
        all
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
