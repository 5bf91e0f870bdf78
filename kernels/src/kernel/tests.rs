use super::{code::RADIX, *};
use std::collections::HashSet;

#[test]
fn slots_are_dense_and_expressions_unique() {
    let all = Kernel::all();
    for (slot, kernel) in all.iter().enumerate() {
        let [_, op, a, b] = kernel.code();
        assert!(op < RADIX[0] && a < RADIX[1] && b < RADIX[2], "{kernel:?}");
        assert_eq!(kernel.slot(), Some(slot), "{kernel:?}");
    }
    let expressions: HashSet<_> = all.iter().map(|k| (k.file(), k.expression())).collect();
    assert_eq!(expressions.len(), all.len());
}

/// Else it would run beside the kernel in front of it.
#[test]
fn every_kernel_follows() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut kernels = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|extension| extension == "cu" || extension == "cuh") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for kernel in text.split("__global__").skip(1) {
            let body = kernel.split("\n}\n").next().unwrap_or_default();
            assert!(body.contains("    follow();\n"), "{}: {body}", path.display());
            kernels += 1;
        }
    }
    assert!(kernels > 30);
}

#[test]
fn what_does_not_exist_has_no_slot() {
    let relu = Kernel::Unary(Unary::Relu, DType::I64, Access::Packed);
    let copy = Kernel::Copy(DType::F64, DType::F32, Access::Strided);
    assert_eq!((relu.slot(), copy.slot()), (None, None));
    let across = Kernel::MatmulWgmma(DType::F32, [Major::K, Major::Outer], Tile::Large);
    assert_eq!(across.slot(), None);
    let casts = [(DType::I64, DType::F32), (DType::F32, DType::F32)].map(|(from, to)| Moved::Cast(from, to));
    assert_eq!(casts.map(|cast| Kernel::CopyTiles(cast).slot()), [None, None]);
    assert_eq!(Kernel::CopyRuns(Moved::Bits(16)).slot(), None);
    let and = Kernel::Binary(Binary::And, DType::F16, Access::Packed);
    assert_eq!(and.slot(), None);
    let wide =
        Kernel::Optimizer(Update::AdamW, Weight::Plain(DType::F64), DType::F32, false, Capacity::Small);
    let narrowing = Kernel::Multi(Multi::Axpy, [DType::F16, DType::F32], Capacity::Small);
    assert_eq!((wide.slot(), narrowing.slot()), (None, None));
    let slope = |slope| Kernel::Unary(Unary::LeakyRelu { slope }, DType::F16, Access::Rows).slot();
    assert_eq!(slope(0.5), slope(0.01));
}

#[test]
fn expressions_read_as_the_sources_name_them() {
    let unary = Kernel::Unary(Unary::Relu, DType::F16, Access::Rows);
    let stay =
        [Kernel::NormStay(Norm::Rms, DType::F16, 4), Kernel::NormBackwardStay(Norm::L2, DType::F32, 1)];
    let stay = stay.map(Kernel::expression);
    assert_eq!(stay, ["norm_stay<Rms, f16, Stay<4>>", "norm_backward_stay<L2, f32, Stay<1>>"]);
    let columns = Kernel::Softmax(Softmax::Log, DType::BF16, RowPart::PackedColumns, true);
    assert_eq!(columns.expression(), "softmax_columns<Log, bf16>");
    assert_eq!(unary.expression(), "unary_walk<Relu, f16, 8>");
    assert_eq!(Kernel::Select(2, Access::Rows).expression(), "select_walk<u16, 8>");
    let copy = Kernel::Copy(DType::F16, DType::F32, Access::Packed);
    assert_eq!(copy.expression(), "copy_packed<f16, f32>");
    assert_eq!(Kernel::CopyTiles(Moved::Bits(8)).expression(), "copy_tiles<u64, u64>");
    let runs = Kernel::CopyRuns(Moved::Cast(DType::U8, DType::BF16));
    assert_eq!(runs.expression(), "copy_runs<u8, bf16>");
    let sum = Kernel::Reduce(Reduce::Sum, DType::U8, ReducePart::ColumnsPacked);
    assert_eq!(sum.expression(), "reduce_columns<Sum<u8>, 8>");
    let product = Kernel::Matmul(DType::BF16, [Major::K, Major::Outer], Tile::Large);
    let shape = "Shape<128, 256, 64, 64, 98304, 1>";
    assert_eq!(product.expression(), format!("matmul_mma<bf16, Major::K, Major::Outer, {shape}>"));
    let product = Kernel::MatmulWgmma(DType::F16, [Major::K, Major::K], Tile::Medium);
    assert_eq!(product.expression(), "matmul_wgmma<f16, Major::K, Major::K, Shape<128, 128, 1, 5>>");
    let tf32 = Kernel::MatmulWgmma(DType::F32, [Major::K, Major::K], Tile::Large);
    assert_eq!(tf32.expression(), "matmul_wgmma<f32, Major::K, Major::K, Shape<128, 256, 2, 4>>");
    let product = Kernel::MatmulParts(DType::BF16, [Major::K, Major::Outer], Strip::M64N128);
    assert_eq!(
        product.expression(),
        "matmul_parts<bf16, Major::K, Major::Outer, Shape<64, 128, 8, 1, 1, false>>"
    );
    let list = Kernel::MatmulGrouped(DType::F16, [Major::Outer, Major::K], Tile::Large);
    assert_eq!(list.expression(), "matmul_grouped<f16, Major::Outer, Major::K, Shape<128, 256, 2, 4>>");
    assert!(
        [false, true]
            .iter()
            .all(|&first| [false, true].iter().all(|&moves| Kernel::Places(first, moves).slot().is_some()))
    );
    assert_eq!(Kernel::MatmulGrouped(DType::F16, [Major::K; 2], Tile::Small).slot(), None);
    let attention = Kernel::Attention(DType::F16, Tile::Large, 128);
    assert_eq!(attention.expression(), "attention<f16, Shape<128, 4, 32, 64, 2>>");
    assert_eq!(Kernel::AttentionF32(Tile::Small, 256).expression(), "attention_f32<Shape<256, 1, 32>>");
    let exact = Kernel::MatmulF32([Copies::Rows, Copies::Packs], Tile::Large);
    assert_eq!(exact.expression(), "matmul_f32<Copies::Rows, Copies::Packs, 16, 8>");
    let cast = Kernel::Multi(Multi::Cast, [DType::BF16, DType::F32], Capacity::Small);
    assert_eq!(cast.expression(), "multi_cast<f32, bf16, 448>");
    let step =
        Kernel::Optimizer(Update::AdamW, Weight::Planes(DType::BF16), DType::BF16, true, Capacity::Large);
    assert_eq!(step.expression(), "optimizer<AdamW, Planes<bf16>, bf16, true, 4031>");
    let thin = Kernel::MatmulThin(DType::F16, Thin::Medium);
    assert_eq!(thin.expression(), "matmul_thin<f16, Thin<16, 32, 8, 3, 2>>");
}
