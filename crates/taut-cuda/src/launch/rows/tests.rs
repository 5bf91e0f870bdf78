use super::*;
use taut_core::Shape;

fn layout(dims: &[usize]) -> Layout {
    Layout::contiguous(Shape::new(dims).unwrap())
}

fn pair(src: &Layout, dtype: DType, axis: usize) -> Choice<2> {
    let dst = Layout::contiguous(*src.shape());
    choose(&[src, &dst].map(|layout| Operand { address: 0, layout, dtype }), axis, 1, true, Staging::Never)
}

#[test]
fn longer_rows_take_more_threads() {
    for (n, part, threads) in [
        (8, RowPart::Short, 256),
        (256, RowPart::Short, 256),
        (512, RowPart::Short, 256),
        (768, RowPart::Warp, 128),
        (1024, RowPart::Warp, 128),
        (2048, RowPart::Block, 64),
        (4096, RowPart::Block, 128),
        (16_384, RowPart::Block, 512),
        (32_768, RowPart::Block, 1024),
        (131_072, RowPart::Long, 512),
    ] {
        let choice = pair(&layout(&[7000, n]), DType::F16, 1);
        assert_eq!((choice.part, choice.packs, choice.threads), (part, true, threads), "{n}");
    }
    for (n, part) in [
        (1, RowPart::Short),
        (127, RowPart::Short),
        (255, RowPart::Warp),
        (8191, RowPart::Block),
        (8193, RowPart::Long),
    ] {
        let choice = pair(&layout(&[7, n]), DType::F16, 1);
        assert_eq!((choice.part, choice.packs), (part, false), "{n}");
    }
}

#[test]
fn long_rows_of_packs_go_by_shared_memory() {
    use RowPart::{Block, Cluster, Long, Narrow, Staged, Wide};
    fn chosen(n: usize, dtype: DType, staging: Staging<'_>) -> (RowPart, usize, [u32; 2]) {
        chosen_of(1, n, dtype, staging)
    }
    fn chosen_of(streams: usize, n: usize, dtype: DType, staging: Staging<'_>) -> (RowPart, usize, [u32; 2]) {
        let both = [Layout::contiguous(Shape::new(&[7000, n]).unwrap()); 2];
        let operands = both.each_ref().map(|layout| Operand { address: 0, layout, dtype });
        let choice = choose(&operands, 1, streams, true, staging);
        let grid = choice.grid().unwrap();
        assert_eq!(grid.blocks[0], 7000 * grid.cluster);
        (choice.part, choice.threads, [grid.cluster, grid.shared_bytes])
    }
    let (f16, f32) = (DType::F16, DType::F32);
    let (h200, old) = (Card::h200(), Card { own_kernels: false, shared_bytes: 101_376, ..Card::h200() });
    for (n, dtype, part, threads, size) in [
        (8192, f16, Staged, 128, [1, 16 << 10]),
        (20_480, f16, Staged, 192, [1, 43_008]),
        (50_304, f16, Staged, 480, [1, 107_520]),
        (65_536, f16, Cluster, 320, [2, 71_680]),
        (128_256, f16, Cluster, 288, [4, 64_512]),
        (262_144, f16, Cluster, 320, [8, 71_680]),
        (8192, f32, Staged, 128, [1, 32_768]),
        (262_144, f32, Cluster, 512, [8, 131_072]),
    ] {
        assert_eq!(chosen(n, dtype, Staging::Early(&h200)), (part, threads, size), "{n} {dtype}");
    }
    let part = |n, staging| chosen(n, f16, staging).0;
    assert_eq!([8184, 8193, 8192 * 128].map(|n| part(n, Staging::Early(&h200))), [Block, Long, Long]);
    assert_eq!([16_384, 16_392].map(|n| part(n, Staging::Late(&h200))), [Block, Staged]);
    assert_eq!(chosen(32_768, f32, Staging::Late(&h200)).0, Block);
    assert_eq!([32_768, 65_536].map(|n| part(n, Staging::Early(&old))), [Staged, Long]);
    assert_eq!(part(8192, Staging::Never), Block);
    let narrow = |n| chosen(n, f16, Staging::Narrow(&h200));
    assert_eq!([4096, 16_384, 24_576].map(narrow), [64, 256, 384].map(|threads| (Narrow, threads, [1, 0])));
    assert_eq!(narrow(24_584).0, Staged);
    assert_eq!(chosen(16_384, f32, Staging::Narrow(&h200)).0, Block);
    let late = |n, dtype| chosen(n, dtype, Staging::Late(&h200));
    assert_eq!(late(131_072, f16), (Cluster, 352, [4, 67_584]));
    assert_eq!(late(131_072, f32), (Cluster, 352, [8, 67_584]));
    for (n, dtype, part, threads, size) in [
        (8192, f16, Block, 512, [1, 0]),
        (8200, f16, Staged, 352, [1, 33_792]),
        (16_384, f16, Staged, 512, [1, 65_536]),
        (32_768, f16, Staged, 512, [1, 131_072]),
        (65_536, f16, Cluster, 320, [4, 71_680]),
        (131_072, f16, Cluster, 320, [8, 71_680]),
        (262_144, f16, Long, 512, [1, 0]),
        (16_384, f32, Block, 1024, [1, 0]),
        (32_768, f32, Cluster, 256, [4, 65_536]),
        (131_072, f32, Long, 512, [1, 0]),
    ] {
        assert_eq!(chosen_of(2, n, dtype, Staging::Late(&h200)), (part, threads, size), "{n} {dtype}");
    }
    assert_eq!(chosen_of(2, 32_768, f16, Staging::Late(&old)).0, Long);
    for (n, dtype, part, threads) in
        [(8192, f16, Wide, 256), (8200, f16, Staged, 352), (8192, f32, Block, 512)]
    {
        let wide = chosen_of(2, n, dtype, Staging::Wide(&h200));
        assert_eq!((wide.0, wide.1), (part, threads), "{n} {dtype}");
    }
}

#[test]
fn rows_that_are_read_once_take_as_few_threads_as_fill_the_card() {
    use RowPart::{Long, Rush, Warp};
    for (rows, n, dtype, part, threads) in [
        (8192, 32_768, DType::F16, Long, 64),
        (8192, 32_768, DType::F32, Long, 128),
        (1 << 17, 2048, DType::BF16, Long, 32),
        (2048, 131_072, DType::F16, Long, 256),
        (512, 8192, DType::F16, Long, 256),
        (3, 131_072, DType::F16, Long, 512),
        (1 << 17, 1024, DType::F16, Warp, 128),
        (16, 4096, DType::F16, Rush, 512),
    ] {
        let layout = layout(&[rows, n]);
        let choice = choose(&[Operand { address: 0, layout: &layout, dtype }], 1, 1, true, Staging::Once);
        assert_eq!((choice.part, choice.threads), (part, threads), "{rows} x {n}");
    }
}

#[test]
fn few_rows_take_a_thread_for_each_unit() {
    for (rows, n, dtype, threads) in [
        (16, 384, DType::F16, 64),
        (1, 8, DType::BF16, 32),
        (16, 4096, DType::F32, 1024),
        (64, 8192, DType::F16, 1024),
        (1024, 384, DType::F16, 64),
    ] {
        let choice = pair(&layout(&[rows, n]), dtype, 1);
        assert_eq!((choice.part, choice.threads), (RowPart::Rush, threads), "{rows} x {n}");
    }
    for (rows, n) in [(1025, 384), (65, 8192), (1, 8200), (1, 12)] {
        assert_ne!(pair(&layout(&[rows, n]), DType::F16, 1).part, RowPart::Rush, "{rows} x {n}");
    }
}

#[test]
fn packs_need_whole_and_aligned_rows() {
    let wide = layout(&[30, 64]);
    let packs = |from, to| pair(&wide.sliced(1, from..to).unwrap(), DType::F32, 1).packs;
    assert_eq!([packs(0, 64), packs(4, 60), packs(1, 33), packs(0, 33)], [true, true, false, false]);
    // A row that is broadcast is read again and again, from the same place.
    let rows = layout(&[64]).broadcast_to(*wide.shape()).unwrap();
    assert!(pair(&rows, DType::F32, 1).packs);
    let one = layout(&[30, 1]).broadcast_to(*wide.shape()).unwrap();
    assert!(!pair(&one, DType::F32, 1).packs);
}

#[test]
fn masks_lie_along_rows_or_are_broadcast() {
    let x = layout(&[3, 5, 64]);
    let choice = |mask: &Layout| {
        let mask = Operand { address: 0, layout: mask, dtype: DType::Bool };
        let x = Operand { address: 0, layout: &x, dtype: DType::F16 };
        choose(&[x, mask, x], 2, 2, true, Staging::Never)
    };
    for (dims, packs, step) in
        [(&[64][..], true, 8), (&[3, 1, 64], true, 8), (&[5, 1], true, 0), (&[1], true, 0)]
    {
        let choice = choice(&layout(dims).broadcast_to(*x.shape()).unwrap());
        assert_eq!((choice.packs, choice.rows.step[1]), (packs, step), "{dims:?}");
    }
    let odd = layout(&[65]).sliced(0, 1..65).unwrap().broadcast_to(*x.shape()).unwrap();
    assert!(!choice(&odd).packs);
}

#[test]
fn other_axes_go_by_columns() {
    let x = layout(&[100, 3, 50]);
    for (axis, part, rows) in [(0, RowPart::Columns, 150), (1, RowPart::Columns, 5000)] {
        let choice = pair(&x, DType::F32, axis);
        assert_eq!((choice.part, choice.packs, choice.rows.walk.numel), (part, false, rows));
        assert!(choice.threads.is_multiple_of(choice.side as usize) && choice.side.is_power_of_two());
    }
    assert_eq!(pair(&layout(&[4096, 50]), DType::F32, 0).part, RowPart::LongColumns);
    // Alone, a column is a row.
    assert_eq!(pair(&layout(&[100, 1]), DType::F32, 0).part, RowPart::Rush);
}

#[test]
fn long_columns_of_packs_are_shared_by_clusters() {
    let (h200, old) = (Card::h200(), Card { own_kernels: false, ..Card::h200() });
    let chosen = |layout: &Layout, axis, card| {
        let x = Operand { address: 0, layout, dtype: DType::F16 };
        let choice = choose_columns(&[x, x], axis, 1, card)?;
        let blocks = choice.grid().unwrap().blocks[0];
        Some((choice.rows.walk.numel, choice.rows.units, choice.side, blocks))
    };
    let x = layout(&[65_536, 4096]);
    assert_eq!(chosen(&x, 0, &h200), Some((512, 65_536, 3, 512)));
    assert_eq!(chosen(&x, 0, &old), Some((512, 65_536, 0, 64)));
    assert_eq!(chosen(&layout(&[1024, 1 << 18]), 0, &h200), Some((1 << 15, 1024, 0, 4096)));
    assert_eq!(chosen(&layout(&[5, 1100, 72]), 1, &h200), Some((45, 1100, 1, 12)));
    // Rows, short columns, and such as begin anywhere.
    assert_eq!(chosen(&x, 1, &h200), None);
    assert_eq!(chosen(&layout(&[256, 4096]), 0, &h200), None);
    assert_eq!(chosen(&layout(&[4096, 4092]), 0, &h200), None);
    assert_eq!(chosen(&x.sliced(1, 4..4092).unwrap(), 0, &h200), None);
    assert!(chosen(&x.sliced(1, 8..4080).unwrap(), 0, &h200).is_some());
}

#[test]
fn every_team_is_sound() {
    for streams in [1, 2] {
        for n in (1..600).chain((1..40).map(|i| i * 997)) {
            for len in [1, 4, 8] {
                let card = Card { shared_bytes: 32 << 10, ..Card::h200() };
                for (rows, staging) in [1, 1000, 100_000]
                    .into_iter()
                    .flat_map(|rows| [(rows, Staging::Early(&card)), (rows, Staging::Wide(&card))])
                {
                    let Team { part, threads, side, teams } = row(rows, n, len, streams, staging);
                    let team = match part {
                        RowPart::Short | RowPart::Warp => side,
                        _ => threads,
                    };
                    let held = team * part.units(len, streams);
                    assert!(n <= held || part.is_staged() || part == RowPart::Long, "{n} {len}");
                    if part.is_staged() {
                        assert!(side <= 3 && staged_bytes(n, len, streams, threads, 1 << side) <= 32 << 10);
                        continue;
                    }
                    assert!(threads.is_multiple_of(WARP) && threads <= part.most_threads(len) as usize);
                    assert!(side.is_power_of_two() && (teams == 1 || teams * side == threads));
                }
            }
            let Team { part, threads, side, teams } = column(n, streams);
            let sharing = threads / side;
            assert!(sharing.is_power_of_two() && sharing * side == threads && teams == side);
            assert!(threads <= part.most_threads(1) as usize && side >= WARP);
            assert!(n <= sharing * part.units(1, streams) || part == RowPart::LongColumns);
        }
    }
}
