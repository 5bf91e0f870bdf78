//! Products of few rows, of few columns, and of few tiles.

use super::*;

#[test]
fn few_rows_or_columns_take_kernels_of_their_own() {
    let choice = |m, n, k| plan_without(&layout(m, k), &transposed(k, n), DType::F16);
    for (m, n, k, thin, blocks) in [
        (16, 384, 384, Thin::Tiny, 48),
        (2, 24, 8, Thin::Tiny, 3),
        (16, 1536, 384, Thin::Tiny, 192),
        (16, 4096, 4096, Thin::Small, 256),
        (16, 50_304, 768, Thin::Medium, 1572),
        (64, 1536, 384, Thin::Medium, 192),
        (8192, 10, 768, Thin::Tall, 128),
    ] {
        let choice = choice(m, n, k);
        let found = (choice.kernel, choice.blocks, choice.product.splits, choice.workspace_bytes);
        assert_eq!(found, (Kernel::MatmulThin(DType::F16, thin), blocks, 1, 0), "{m} x {n} x {k}");
    }
    // A long k is split, and the plan knows it.
    let long = choice(16, 768, 50_304);
    let Product { splits, part_step, k_part, .. } = long.product;
    assert!(matches!(long.kernel, Kernel::MatmulThin(..)) && splits > 1 && k_part % STEP == 0);
    assert_eq!((part_step, long.workspace_bytes), (16 * 768, u64::from(splits) * 16 * 768 * 4));
}

#[test]
fn few_rows_are_thin_beside_wgmma_unless_a_round_of_strips_brings_the_weight() {
    let kernel = |m, n, k| plan(&layout(m, k), &transposed(k, n), DType::F16).kernel;
    for (m, n, k) in [(8, 2112, 7168), (1, 50_304, 768), (1, 14_336, 4096), (16, 384, 384), (16, 1536, 384)] {
        let kernel = kernel(m, n, k);
        assert!(matches!(kernel, Kernel::MatmulThin(..)), "{m} x {n} x {k}: {kernel:?}");
    }
    // As narrow as the card has multiprocessors for; the last may be narrower.
    for (m, n, strip, width, tiles) in [
        (1, 11_008, Strip::M64N96, 88, 126),
        (16, 11_008, Strip::M64N96, 88, 126),
        (16, 14_336, Strip::M64N112, 112, 128),
        (128, 11_008, Strip::M128N96, 88, 126),
    ] {
        let choice = plan(&layout(m, 4096), &transposed(4096, n), DType::F16);
        assert_eq!(choice.kernel, Kernel::MatmulParts(DType::F16, [Major::K; 2], strip), "{m} x {n}");
        assert_eq!((choice.product.width, choice.blocks, choice.cluster), (width, tiles, 1), "{m} x {n}");
        assert!(u64::from(width) * tiles >= n as u64 && u64::from(width) * (tiles - 1) < n as u64);
    }
    assert!(matches!(kernel(32_768, 384, 1536), Kernel::MatmulWgmma(_, _, Tile::Broad)));
    assert!(matches!(kernel(4096, 4096, 4096), Kernel::MatmulWgmma(_, _, Tile::Large)));
}

#[test]
fn few_rows_that_lie_otherwise_take_the_other_kernels() {
    let is_thin =
        |a: &Layout, b: &Layout, dtype| matches!(plan_without(a, b, dtype).kernel, Kernel::MatmulThin(..));
    let (a, b) = (layout(16, 384), transposed(384, 384));
    assert!(is_thin(&a, &b, DType::BF16));
    assert!(!is_thin(&a, &b, DType::F32));
    assert!(!is_thin(&a, &layout(384, 384), DType::F16));
    assert!(!is_thin(&transposed(16, 384), &b, DType::F16));
    // A part of a chunk, and rows that begin within one.
    assert!(!is_thin(&a.sliced(1, 0..380).unwrap(), &b.sliced(0, 0..380).unwrap(), DType::F16));
    let within = |end| [a.sliced(1, 4..end).unwrap(), b.sliced(0, 4..end).unwrap()];
    let [short, long] = [within(60), within(380)];
    assert!(!is_thin(&short[0], &short[1], DType::F16));
    // Brought onto one, where that is worth it.
    assert!(is_thin(&long[0], &long[1], DType::F16));
    assert!(is_thin(&a.sliced(1, 8..64).unwrap(), &b.sliced(0, 0..56).unwrap(), DType::F16));
    // What reads its operands too often.
    assert!(!is_thin(&layout(64, 4096), &transposed(4096, 4096), DType::F16));
}

#[test]
fn few_tiles_have_their_parts_added_up_in_clusters() {
    for (m, n, k, strip) in [
        (64, 2112, 7168, Strip::M64N32),
        (128, 384, 1536, Strip::M64N32),
        (384, 1024, 8200, Strip::M128N112),
        (65, 1031, 4104, Strip::M64N64),
    ] {
        let choice = plan(&layout(m, k), &transposed(k, n), DType::F16);
        assert_eq!(choice.kernel, Kernel::MatmulParts(DType::F16, [Major::K; 2], strip), "{m} x {n} x {k}");
        assert_eq!((choice.product.splits, choice.workspace_bytes, choice.tail), (1, 0, None));
        let (down, right) = choice.kernel.extent();
        let tiles = (m as u64).div_ceil(down.into()) * (n as u64).div_ceil(right.into());
        let Grid { blocks: [x, y, z], threads, cluster, .. } = blocks(&choice, 1).unwrap();
        assert!((2..=6).contains(&cluster) && x <= 132, "{m} x {n} x {k}: {x} in clusters of {cluster}");
        assert_eq!((u64::from(x), y, z), (tiles * u64::from(cluster), 1, 1));
        assert_eq!(threads, choice.kernel.threads());
    }
    // Alone, where some width leaves few multiprocessors without a tile.
    for (m, n, strip, tiles) in [
        (64, 11_008, Strip::M64N96, 126),
        (128, 14_336, Strip::M128N112, 128),
        (64, 4096, Strip::M64N32, 128),
    ] {
        let choice = plan(&layout(m, 4096), &transposed(4096, n), DType::F16);
        assert_eq!(choice.kernel, Kernel::MatmulParts(DType::F16, [Major::K; 2], strip), "{m} x {n}");
        assert_eq!((choice.blocks, choice.cluster, choice.workspace_bytes), (tiles, 1, 0));
    }
    // Or in fours or twos side by side, where the second factor lies across `k` and comes from memory, and in pairs below one
    // another.
    for (m, n, k, strip, blocks_of) in [
        (16, 11_008, 4096, Strip::M64N96Across4, 116),
        (128, 11_008, 4096, Strip::M128N96Across4, 116),
        (8, 14_336, 4096, Strip::M64N128Across4, 112),
        (128, 14_336, 4096, Strip::M128N128Across4, 112),
        (128, 4096, 4096, Strip::M64N64Down2, 128),
        (64, 4096, 4096, Strip::M64N64Across2, 64),
        (16, 50_304, 768, Strip::M64N128Thrice, 394),
    ] {
        for a in [layout(m, k), transposed(m, k)] {
            let choice = plan(&a, &layout(k, n), DType::F16);
            assert!(matches!(choice.kernel, Kernel::MatmulParts(_, _, of) if of == strip), "{m} x {n}");
            let Grid { blocks: [x, y, z], cluster, shared_bytes, .. } = blocks(&choice, 1).unwrap();
            assert_eq!((x, y, z, choice.cluster, choice.workspace_bytes), (blocks_of, 1, 1, 1, 0));
            assert_eq!(cluster, choice.kernel.shares());
            assert!(x % cluster == 0 && shared_bytes <= Card::h200().shared_bytes);
        }
    }
    let tall = plan(&transposed(512, 4096), &layout(4096, 4096), DType::F16);
    assert!(matches!(tall.kernel, Kernel::MatmulParts(_, _, Strip::M128N128Down2)), "{:?}", tall.kernel);
    // Three to a multiprocessor only where nearly all have as many.
    let uneven = plan(&layout(16, 1024), &transposed(1024, 32_000), DType::F16).kernel;
    assert!(!matches!(uneven, Kernel::MatmulParts(_, _, Strip::M64N128Thrice)), "{uneven:?}");
    let paired = plan(&layout(2048, 1536), &transposed(1536, 384), DType::F16).kernel;
    assert!(matches!(paired, Kernel::MatmulParts(_, _, Strip::M64N96Across2)), "{paired:?}");
    // Halves of a long k.
    let halves = plan(&transposed(2048, 50_304), &layout(50_304, 768), DType::BF16);
    assert!(matches!(halves.kernel, Kernel::MatmulParts(_, _, Strip::M128N192)), "{:?}", halves.kernel);
    assert_eq!((halves.blocks, halves.cluster, halves.workspace_bytes), (64, 2, 0));
    // As many products.
    let many = plan(&batch(&[4, 128, 2048]), &batch(&[4, 2048, 512]), DType::BF16);
    assert!(matches!(many.kernel, Kernel::MatmulParts(..)), "{:?}", many.kernel);
    assert_eq!(u64::from(blocks(&many, 4).unwrap().blocks[0]), 4 * many.blocks * u64::from(many.cluster));
    for (m, n, k) in [(4096, 4096, 4096), (2048, 2112, 7168), (8, 2112, 7168), (2, 128, 64)] {
        let choice = plan(&layout(m, k), &transposed(k, n), DType::F16);
        assert!(!matches!(choice.kernel, Kernel::MatmulParts(..)), "{m} x {n} x {k}");
        assert_eq!(choice.cluster, 1);
    }
    let without = plan_without(&layout(64, 4096), &transposed(4096, 4096), DType::F16);
    assert!(!matches!(without.kernel, Kernel::MatmulParts(..)));
}

#[test]
fn few_tiles_of_a_long_k_are_cut_for_a_second_pass() {
    for (m, strip, parts, tiles) in
        [(64, Strip::M64N64, 11, 12), (128, Strip::M64N64Down2, 5, 24), (512, Strip::M128N192, 8, 16)]
    {
        let choice = plan(&layout(m, 50_304), &transposed(50_304, 768), DType::BF16);
        assert_eq!(choice.kernel, Kernel::MatmulParts(DType::BF16, [Major::K; 2], strip));
        let Product { splits, k_part, part_step, .. } = choice.product;
        assert_eq!((u64::from(splits), choice.cluster, choice.blocks), (parts, 1, tiles));
        assert!(k_part.is_multiple_of(2 * STEP) && parts * k_part >= 50_304 && (parts - 1) * k_part < 50_304);
        assert_eq!((part_step, choice.workspace_bytes), (m as u64 * 768, parts * m as u64 * 768 * 4));
        assert_eq!(u64::from(blocks(&choice, 1).unwrap().blocks[0]), parts * tiles);
    }
}

#[test]
fn more_is_timed_than_the_model_trusts() {
    let found = |[m, n, k]: [usize; 3], card: &Card| {
        let (a, b) = (layout(m, k), layout(k, n));
        candidates(&problem(&a, &b, DType::F16), card)
            .into_iter()
            .map(|(_, choice)| choice)
            .collect::<Vec<_>>()
    };
    // Few tiles, and more blocks to a cluster than were timed for the model; each has a stage of 64 terms at least.
    for (k, most) in [(8192, 8), (1536, 8), (192, 3)] {
        let choices = found([128, 256, k], &Card::h200());
        let clusters = choices.iter().map(|choice| choice.cluster);
        assert_eq!(clusters.max(), Some(most), "{k}");
        assert!(choices.iter().all(|choice| choice.workspace_bytes == choices[0].workspace_bytes));
    }
    // Other tiles, and without a cluster; on a small card there is none.
    let choices = found([512, 512, 2048], &Card::h200());
    assert!(choices.iter().any(|choice| matches!(choice.kernel, Kernel::MatmulWgmma(..))));
    assert!(
        choices.iter().any(|choice| choice.cluster == 1) && choices.iter().any(|choice| choice.cluster > 1)
    );
    let small = Card { multiprocessors: 20, ..Card::h200() };
    assert!(found([128, 256, 8192], &small).iter().all(|choice| choice.cluster == 1));
}

#[test]
fn few_rows_by_a_matrix_along_n_come_at_the_speed_of_memory() {
    use Across::{Large, Single, Small};
    let card = Card::h200();
    // What was the fastest of all that were timed, but of f32.
    for (dtype, m, n, k, across, cluster) in [
        (DType::F16, 1, 14_336, 4096, Small, 4),
        (DType::F16, 1, 11_008, 4096, Large, 2),
        (DType::F16, 1, 4096, 14_336, Small, 7),
        (DType::BF16, 1, 4096, 4096, Small, 7),
        (DType::F16, 1, 2112, 7168, Large, 6),
        (DType::F16, 1, 50_304, 768, Large, 1),
        (DType::F16, 1, 768, 50_304, Large, 16),
        (DType::F16, 8, 2112, 7168, Large, 6),
        (DType::BF16, 8, 4096, 14_336, Small, 7),
        (DType::F16, 5, 4096, 4096, Small, 7),
        (DType::F32, 1, 50_304, 768, Single, 1),
        (DType::F32, 8, 50_304, 768, Small, 1),
    ] {
        for a in [layout(m, k), transposed(m, k)] {
            let choice = plan(&a, &layout(k, n), dtype);
            let kernel = Kernel::MatmulAcross(dtype, across);
            let found = (choice.kernel, choice.cluster, choice.product.splits, choice.workspace_bytes);
            assert_eq!(found, (kernel, cluster, 1, 0), "{dtype} {m} x {n} x {k}");
            let Grid { blocks: [x, y, z], threads, shared_bytes, cluster: of_grid } =
                blocks(&choice, 1).unwrap();
            assert_eq!((x % cluster, y, z, of_grid), (0, 1, 1, cluster));
            assert!(u64::from(x / cluster) * 128 >= (n * dtype.size()) as u64);
            assert_eq!(threads, kernel.threads());
            // All blocks that share a multiprocessor, each with what the system takes.
            assert!(across.blocks(dtype) * (shared_bytes + 1024) <= card.shared_bytes + 1024);
        }
    }
    // Of two products each has a layer of the grid.
    let many = plan(&batch(&[2, 8, 768]), &batch(&[2, 768, 50_304]), DType::F16);
    assert!(matches!(many.kernel, Kernel::MatmulAcross(..)), "{:?}", many.kernel);
    assert_eq!(blocks(&many, 2).unwrap().blocks[2], 2);
}

#[test]
fn few_rows_that_lie_otherwise_or_are_more_take_the_other_kernels() {
    let is_across =
        |a: &Layout, b: &Layout, dtype| matches!(plan(a, b, dtype).kernel, Kernel::MatmulAcross(..));
    let b = layout(4096, 4096);
    assert!(is_across(&layout(8, 4096), &b, DType::F16) && !is_across(&layout(9, 4096), &b, DType::F16));
    assert!(!is_across(&layout(8, 4096), &transposed(4096, 4096), DType::F16));
    // The first factor may lie anyhow, and columns may end within a pack; rows of the second begin on packs.
    let apart = layout(8, 8193).sliced(1, 1..4097).unwrap();
    assert!(is_across(&apart, &b.sliced(1, 0..4091).unwrap(), DType::F16));
    assert!(!is_across(&layout(8, 4096), &b.sliced(1, 4..4092).unwrap(), DType::F16));
    assert!(is_across(&layout(8, 4096), &b.sliced(1, 4..4092).unwrap(), DType::F32));
    // Few columns of f32 by a long k fill too few places.
    assert!(!is_across(&layout(1, 50_304), &layout(50_304, 768), DType::F32));
    let kernel = plan_without(&layout(8, 4096), &b, DType::F16).kernel;
    assert!(!matches!(kernel, Kernel::MatmulAcross(..)), "{kernel:?}");
}
