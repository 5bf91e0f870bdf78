//! What the compiler is told of a kernel: its C++ name.

use crate::{
    args::{FUSED_LEN, LIST_THREADS},
    block::{blocks, stages, team, warps},
    kernel::Kernel,
    variant::{Access, Across, Major, PackedPart, ReducePart, RowPart, ScanPart, SlabPart, Tile},
};
use taut_core::{DType, Multi, Scan};

impl Kernel {
    /// The C++ expression that names the instance, for the compiler. Build time only.
    pub fn expression(self) -> String {
        match self {
            Kernel::Unary(op, dtype, access) => {
                elementwise("unary", &format!("{}, {dtype}", op.functor()), dtype.size(), access)
            }
            Kernel::UnaryBackward(op, dtype, access) => {
                elementwise("unary_backward", &format!("{}, {dtype}", op.functor()), dtype.size(), access)
            }
            Kernel::Binary(op, dtype, access) => {
                elementwise("binary", &format!("{}, {dtype}", op.functor()), dtype.size(), access)
            }
            Kernel::Select(bytes, access) => elementwise("select", &format!("u{}", 8 * bytes), bytes, access),
            Kernel::Copy(from, to, access) => {
                elementwise("copy", &format!("{from}, {to}"), from.size().max(to.size()), access)
            }
            Kernel::CopyTiles(moved) => format!("copy_tiles<{}>", moved.types()),
            Kernel::CopyRuns(moved) => format!("copy_runs<{}>", moved.types()),
            Kernel::CopyPlanes(moved, n, true) => format!("planes_to_pixels<{}, {n}>", moved.types()),
            Kernel::CopyPlanes(moved, n, false) => format!("pixels_to_planes<{}, {n}>", moved.types()),
            Kernel::Fill(bytes) => format!("fill<u{}>", 8 * bytes),
            Kernel::FillWalk(bytes, access) => elementwise("fill", &format!("u{}", 8 * bytes), bytes, access),
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
            Kernel::Scan(op, dtype, part) => {
                let (op, len) = (op.functor(), scan_pack_len(op, dtype));
                match part {
                    ScanPart::RowsPacked => format!("scan_rows<{op}<{dtype}>, {len}>"),
                    ScanPart::Rows => format!("scan_rows<{op}<{dtype}>, 1>"),
                    ScanPart::ColumnsPacked => format!("scan_columns<{op}<{dtype}>, {len}>"),
                    ScanPart::Columns => format!("scan_columns<{op}<{dtype}>, 1>"),
                    ScanPart::Chain => format!("scan_chain<{op}<{dtype}>, {len}>"),
                }
            }
            Kernel::Matmul(dtype, [a, b], tile) => {
                format!("matmul_mma<{dtype}, Major::{a:?}, Major::{b:?}, {}>", self.shape(tile))
            }
            Kernel::MatmulWgmma(dtype, [a, b], tile) | Kernel::MatmulGrouped(dtype, [a, b], tile) => {
                let grouped = matches!(self, Kernel::MatmulGrouped(..));
                let family = if grouped { "matmul_grouped" } else { "matmul_wgmma" };
                let (m, n) = self.extent();
                let shape = format!("Shape<{m}, {n}, {}, {}>", team(tile), stages(tile));
                format!("{family}<{dtype}, Major::{a:?}, Major::{b:?}, {shape}>")
            }
            Kernel::MatmulParts(dtype, [a, b], strip) => {
                let ((m, n), (across, down)) = (strip.extent(), strip.shares());
                let turned = strip.turned();
                let shape = format!("Shape<{m}, {n}, {}, {across}, {down}, {turned}>", strip.stages());
                format!("matmul_parts<{dtype}, Major::{a:?}, Major::{b:?}, {shape}>")
            }
            Kernel::MatmulAny(dtype) => format!("matmul_any<{dtype}, {}>", self.shape(Tile::Small)),
            Kernel::MatmulThin(dtype, thin) => {
                let ((m, n), warps, ahead, blocks) =
                    (thin.extent(), thin.warps(), thin.ahead(), thin.blocks());
                format!("matmul_thin<{dtype}, Thin<{m}, {n}, {warps}, {ahead}, {blocks}>>")
            }
            Kernel::MatmulAcross(dtype, across) => {
                let (rows, warps, blocks) = (across.rows(), across.warps(), across.blocks(dtype));
                format!("matmul_across<{dtype}, Across<{rows}, {warps}, {}, {blocks}>>", Across::STAGES)
            }
            Kernel::MatmulF32([a, b], _) => {
                let (m, n) = self.extent();
                format!("matmul_f32<Copies::{a:?}, Copies::{b:?}, {}, {}>", m / 8, n / 16)
            }
            Kernel::Attention(dtype, tile, width) => {
                let (warps, rows) = warps(tile, width);
                let blocks = blocks(tile, width);
                format!("attention<{dtype}, Shape<{width}, {warps}, {rows}, {}, {blocks}>>", self.keys())
            }
            Kernel::AttentionF32(_, width) => {
                format!("attention_f32<Shape<{width}, {}, {}>>", self.rows() / 16, self.keys())
            }
            Kernel::MatmulReduce(dtype) => format!("matmul_reduce<{dtype}>"),
            Kernel::Matvec(dtype, Major::K) => format!("matvec_rows<{dtype}>"),
            Kernel::Matvec(dtype, Major::Outer) => format!("matvec_columns<{dtype}>"),
            Kernel::RandomWords => "random_words".to_owned(),
            Kernel::Sort(dtype) => format!("sort_tiles<Elements<{dtype}>>"),
            Kernel::SortFew(dtype) => format!("sort_few<{dtype}>"),
            Kernel::SortPairs(bytes) => format!("sort_tiles<Pairs<u{}>>", 8 * bytes),
            Kernel::SortMerge(bytes) => format!("sort_merge<u{}>", 8 * bytes),
            Kernel::Gather(bytes) => format!("gather<{bytes}>"),
            Kernel::SortPositions => "sort_tiles<Positions>".to_owned(),
            Kernel::Places(first, true) => format!("places_move<{first}>"),
            Kernel::Places(first, false) => format!("places_count<{first}>"),
            Kernel::Scatter(dtype, part, packs) => {
                let len = if packs { pack_len(&[dtype]) } else { 1 };
                format!("scatter_{}<{dtype}, {len}>", format!("{part:?}").to_lowercase())
            }
            Kernel::ScatterLists(dtype, room) => {
                format!("scatter_lists<{dtype}, {}>", room / LIST_THREADS)
            }
            Kernel::Softmax(op, dtype, part, packs) => {
                rows("softmax", op.functor(), op.streams(), dtype, part, packs)
            }
            Kernel::Norm(op, dtype, part, packs) => {
                rows("norm", op.functor(), op.streams(), dtype, part, packs)
            }
            Kernel::SoftmaxBackward(op, dtype, part, packs) => {
                rows("softmax_backward", op.functor(), 2, dtype, part, packs)
            }
            Kernel::NormStay(op, dtype, teams) => {
                format!("norm_stay<{}, {dtype}, Stay<{teams}>>", op.kind())
            }
            Kernel::SoftmaxSlabs(_, _, SlabPart::Join, backward) => {
                format!("join_slices<{}>", if backward { "Sums" } else { "Peaks" })
            }
            Kernel::SoftmaxSlabs(_, dtype, SlabPart::Find, false) => format!("softmax_find<{dtype}>"),
            Kernel::SoftmaxSlabs(op, dtype, part, backward) => {
                let family = if backward { "softmax_backward" } else { "softmax" };
                format!("{family}_{}<{}, {dtype}>", format!("{part:?}").to_lowercase(), op.functor())
            }
            Kernel::SoftmaxStay(op, dtype, teams) => {
                format!("softmax_stay<{}, {dtype}, Stay<{teams}>>", op.functor())
            }
            Kernel::SoftmaxBackwardStay(op, dtype, teams) => {
                format!("softmax_backward_stay<{}, {dtype}, Stay<{teams}>>", op.functor())
            }
            Kernel::NormBackwardStay(op, dtype, teams) => {
                format!("norm_backward_stay<{}, {dtype}, Stay<{teams}>>", op.kind())
            }
            Kernel::NormBackward(op, dtype, part, packs) => {
                rows("norm_backward", op.kind(), 2, dtype, part, packs)
            }
            Kernel::NormWeightRows(op, dtype, part, packs) => {
                rows("norm_weight_backward", op.kind(), 1, dtype, part, packs)
            }
            Kernel::CrossEntropy(grad, dtype, part, packs) => {
                rows("cross_entropy", if grad { "true" } else { "false" }, 1, dtype, part, packs)
            }
            Kernel::NormWeightColumns(op, dtype, packs) => {
                let len = if packs { pack_len(&[dtype]) } else { 1 };
                format!("norm_weight_backward_columns<{}, {dtype}, {len}>", op.kind())
            }
            Kernel::NormWeightSlices(op, dtype, threads) => {
                let (op, len) = (op.kind(), pack_len(&[dtype]));
                format!("norm_weight_backward_slices<{op}, {dtype}, {len}, {threads}>")
            }
            Kernel::NormWeightJoin(dtype) => format!("norm_weight_backward_join<{dtype}>"),
            Kernel::Triangle(bytes, access) => {
                elementwise("triangle", &format!("u{}", 8 * bytes), bytes, access)
            }
            Kernel::Packed(dtype, PackedPart::RowsPacked) => {
                format!("packed_rows<{dtype}, {}>", pack_len(&[dtype]))
            }
            Kernel::Packed(dtype, PackedPart::Rows) => format!("packed_rows<{dtype}, 1>"),
            Kernel::Packed(dtype, PackedPart::Join) => format!("packed_join<{dtype}>"),
            Kernel::Multi(op, [own, other], capacity) => {
                let words = capacity.words();
                match op {
                    Multi::Scale => format!("multi_scale<{own}, {words}>"),
                    Multi::Axpy => format!("multi_axpy<{own}, {other}, {words}>"),
                    Multi::Zero => format!("multi_zero<{words}>"),
                    Multi::Cast => format!("multi_cast<{other}, {own}, {words}>"),
                    Multi::Norm => format!("multi_norm<{own}, {words}>"),
                }
            }
            Kernel::MultiJoin => "multi_join".to_owned(),
            Kernel::Optimizer(update, weight, grad, codes, capacity) => {
                let (update, weight, words) = (update.functor(), weight.type_name(), capacity.words());
                format!("optimizer<{update}, {weight}, {grad}, {codes}, {words}>")
            }
            Kernel::Advance => "advance".to_owned(),
            Kernel::Probe => "probe".to_owned(),
            Kernel::Bits(ask, dtype, Access::Packed) => format!("bits_packed<{}, {dtype}>", ask.functor()),
            Kernel::Bits(ask, dtype, _) => format!("bits_walk<{}, {dtype}>", ask.functor()),
            Kernel::BitsChoose(dtype, Access::Packed) => format!("bits_choose_packed<{dtype}>"),
            Kernel::BitsChoose(dtype, _) => format!("bits_choose_walk<{dtype}>"),
            Kernel::Fused(dtype, access, drops) => {
                let (walk, len) = match access {
                    Access::Packed => ("packed", FUSED_LEN),
                    Access::Rows => ("walk", FUSED_LEN),
                    Access::Strided => ("walk", 1),
                };
                format!("fused_{walk}<{dtype}, {len}, {drops}>")
            }
        }
    }

    /// `Shape` in `matmul_body.cuh`.
    fn shape(self, tile: Tile) -> String {
        let ((m, n), (warp_m, warp_n)) = (tile.extent(), tile.warp());
        format!("Shape<{m}, {n}, {warp_m}, {warp_n}, {}, {}>", self.shared_bytes(), tile.blocks())
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

/// The number of elements in a pack of a scan.
pub fn scan_pack_len(op: Scan, dtype: DType) -> usize {
    pack_len(&[dtype, op.output(dtype).unwrap_or(dtype)])
}

/// The kernel of a family for some template arguments, the widest of whose elements has so many bytes.
fn elementwise(family: &str, arguments: &str, bytes: usize, access: Access) -> String {
    match access {
        Access::Packed => format!("{family}_packed<{arguments}>"),
        Access::Rows => format!("{family}_walk<{arguments}, {}>", 16 / bytes),
        Access::Strided => format!("{family}_walk<{arguments}, 1>"),
    }
}

fn rows(family: &str, op: &str, streams: usize, dtype: DType, part: RowPart, packs: bool) -> String {
    let len = if packs { pack_len(&[dtype]) } else { 1 };
    let (team, hold) = match part {
        RowPart::Short | RowPart::Warp => ("Group", "Row"),
        RowPart::Block | RowPart::Wide => ("Block", "Row"),
        RowPart::Narrow => ("Block", "Narrow"),
        RowPart::Rush => ("Block", "All"),
        RowPart::Staged => ("Block", "Shared"),
        RowPart::Cluster => ("Cluster", "Shared"),
        RowPart::Long => ("Block", "Nothing"),
        RowPart::Columns => ("Columns", "Row"),
        RowPart::LongColumns => ("Columns", "Nothing"),
        RowPart::PackedColumns => return format!("{family}_columns<{op}, {dtype}>"),
    };
    let (units, most) = (part.units(len, streams), part.most_threads(len));
    format!("{family}_rows<{op}, {dtype}, Cut<{len}, {units}, {team}, Hold::{hold}, {most}>>")
}
