mod few;
mod tf32;

use super::{
    matrix::{MOST_PARTS, STEP},
    *,
};
use crate::Grid;
use taut_core::Shape;
use taut_kernels::{Across, Copies, Major, Strip, Thin, Tile, args::WALK_LIMIT};

fn layout(rows: usize, cols: usize) -> Layout {
    Layout::contiguous(Shape::new(&[rows, cols]).unwrap())
}

fn transposed(rows: usize, cols: usize) -> Layout {
    layout(cols, rows).transposed(0, 1).unwrap()
}

fn problem<'a>(a: &'a Layout, b: &'a Layout, dtype: DType) -> Problem<'a> {
    Problem { a, b, dtype, out: dtype, precision: Precision::Exact }
}

fn plan(a: &Layout, b: &Layout, dtype: DType) -> Choice {
    choose(&problem(a, b, dtype), &Card::h200())
}

/// On a card, or in a build, without `matmul_wgmma.cu`.
fn plan_without(a: &Layout, b: &Layout, dtype: DType) -> Choice {
    choose(&problem(a, b, dtype), &Card { own_kernels: false, ..Card::h200() })
}

#[test]
fn each_layout_has_its_kernel() {
    let n = 8192;
    for (a, a_major) in [(layout(n, n), Major::K), (transposed(n, n), Major::Outer)] {
        for (b, b_major) in [(layout(n, n), Major::Outer), (transposed(n, n), Major::K)] {
            let choice = plan(&a, &b, DType::BF16);
            assert_eq!(choice.kernel, Kernel::MatmulWgmma(DType::BF16, [a_major, b_major], Tile::Large));
            assert_eq!((choice.blocks, choice.product.splits, choice.workspace_bytes), (64 * 32, 1, 0));
            assert_eq!(blocks(&choice, 1).unwrap().blocks, [128, 1, 1]);
            let choice = plan_without(&a, &b, DType::BF16);
            assert_eq!(choice.kernel, Kernel::Matmul(DType::BF16, [a_major, b_major], Tile::Large));
            assert_eq!(blocks(&choice, 1).unwrap().blocks, [64 * 32, 1, 1]);
        }
    }
    let exact = |a: &Layout, b: &Layout| plan(a, b, DType::F32).kernel;
    let large = |a, b| Kernel::MatmulF32([a, b], Tile::Large);
    let (whole, odd) = (layout(n, n), layout(n, n + 2).sliced(1, 1..n + 1).unwrap());
    assert_eq!(exact(&whole, &whole), large(Copies::Rows, Copies::Packs));
    assert_eq!(exact(&transposed(n, n), &transposed(n, n)), large(Copies::Packs, Copies::Rows));
    assert_eq!(exact(&odd, &whole), large(Copies::Rows, Copies::Packs));
    assert_eq!(exact(&whole, &odd), large(Copies::Any, Copies::Any));
}

#[test]
fn what_is_not_on_16_bytes_takes_any_strides() {
    let any = Kernel::MatmulAny(DType::F16);
    let kernel = |a: &Layout, b: &Layout| plan(a, b, DType::F16).kernel;
    assert_eq!(kernel(&layout(64, 63), &layout(63, 64)), any);
    assert_eq!(kernel(&layout(64, 64), &layout(64, 10)), any);
    let shifted = layout(64, 72).sliced(1, 1..65).unwrap();
    assert_eq!(kernel(&shifted, &layout(64, 64)), any);
    let square = Shape::new(&[64, 64]).unwrap();
    assert_eq!(kernel(&layout(1, 1).broadcast_to(square).unwrap(), &layout(64, 64)), any);
    // The copy engine takes rows that do not overlap.
    let square = Shape::new(&[64, 64]).unwrap();
    let repeated = layout(1, 64).broadcast_to(square).unwrap();
    assert!(matches!(kernel(&repeated, &layout(64, 64)), Kernel::Matmul(..)));
    // A stride of 0 is a multiple of 8, and columns past a part of a chunk are not read.
    assert_ne!(kernel(&layout(1, 64).broadcast_to(square).unwrap(), &layout(64, 64)), any);
    assert_ne!(kernel(&layout(64, 1).broadcast_to(square).unwrap(), &layout(64, 64)), any);
    assert_ne!(kernel(&layout(64, 72).sliced(1, 8..69).unwrap(), &layout(61, 64)), any);
}

#[test]
fn large_factors_of_odd_rows_are_brought_onto_packs() {
    let (m, n, k) = (4097, 4095, 4099);
    let bytes = |rows: usize, row: usize| {
        ((((rows - 1) * row.next_multiple_of(8) + row) * 2) as u64).next_multiple_of(256)
    };
    for (a, a_major, a_bytes) in
        [(layout(m, k), Major::K, bytes(m, k)), (transposed(m, k), Major::Outer, bytes(k, m))]
    {
        for (b, b_major, b_bytes) in
            [(layout(k, n), Major::Outer, bytes(k, n)), (transposed(k, n), Major::K, bytes(n, k))]
        {
            let choice = plan(&a, &b, DType::F16);
            assert_eq!(choice.kernel, Kernel::MatmulWgmma(DType::F16, [a_major, b_major], Tile::Large));
            assert_eq!((choice.sums_bytes, choice.workspace_bytes), (0, a_bytes + b_bytes));
            let other = plan_without(&a, &b, DType::F16).kernel;
            assert_eq!(other, Kernel::Matmul(DType::F16, [a_major, b_major], Tile::Large));
        }
    }
    // One of both, every element once, from where strides lie otherwise.
    let whole = layout(4096, 4096);
    let one = plan(&whole, &layout(4096, 4095), DType::BF16);
    assert_eq!((one.pitched[0], one.workspace_bytes), (None, bytes(4096, 4095)));
    let shape = Shape::new(&[64, 512, 4099]).unwrap();
    let repeated = layout(512, 4099).broadcast_to(shape).unwrap();
    let many = plan(&repeated, &batch(&[64, 4099, 512]), DType::F16);
    assert_eq!((many.workspace_bytes, many.pitched[1]), (bytes(512, 4099), None));
    let apart = batch(&[4096, 4096, 2]).sliced(2, 0..1).unwrap();
    let apart = apart.reshaped(Shape::new(&[4096, 4096]).unwrap()).unwrap().unwrap();
    assert_eq!(plan(&apart, &whole, DType::F16).workspace_bytes, 4096 * 4096 * 2);
    // What would take too much.
    let large = plan(&layout(16_384, 8191), &layout(8191, 4096), DType::F16);
    assert_eq!((large.kernel, large.workspace_bytes), (Kernel::MatmulAny(DType::F16), 0));
}

#[test]
fn the_last_rows_are_split_where_they_would_leave_most_of_the_card_idle() {
    // 64 x 11 tiles for 132 multiprocessors: 60 x 11, and 4 x 11 in 3 parts.
    for (m, k) in [(8192, 7168), (8192, 4096), (8192 - 48, 7168)] {
        let choice = plan(&layout(m, k), &transposed(k, 2112), DType::F16);
        assert_eq!(choice.kernel, Kernel::MatmulWgmma(DType::F16, [Major::K, Major::K], Tile::Broad));
        let Some(tail) = choice.tail else { panic!("{m} x {k}: no tail") };
        let rows = m as u64 - 60 * 128;
        assert_eq!((choice.product.splits, tail.m, tail.splits), (1, rows, 3));
        assert_eq!(tail.k_part % STEP, 0);
        assert_eq!((tail.part_step, choice.workspace_bytes), (rows * 2112, 3 * rows * 2112 * 4));
    }
    for (m, n, k) in [(4096, 4096, 4096), (8192, 8192, 8192), (8192, 2112, 256), (128, 2112, 7168)] {
        assert_eq!(plan(&layout(m, k), &transposed(k, n), DType::F16).tail, None, "{m} x {n} x {k}");
    }
}

#[test]
fn widths_between_take_what_leaves_the_last_round_short() {
    for (m, n, tile) in [(2048, 11_008, Tile::N176), (512, 14_336, Tile::N224)] {
        let choice = plan(&layout(m, 4096), &transposed(4096, n), DType::F16);
        let kernel = Kernel::MatmulWgmma(DType::F16, [Major::K; 2], tile);
        assert_eq!((choice.kernel, choice.workspace_bytes), (kernel, 0));
        // They have one way out, in which nothing is turned.
        let product = Product { a: 64, b: 128, dst: 256, ..choice.product };
        assert_eq!(boxes::turned(&product, kernel), None);
        // Columns across `k` come in boxes of 64.
        let across = plan(&layout(m, 4096), &layout(4096, n), DType::F16).kernel;
        assert!(across.extent().1.is_multiple_of(64), "{across:?}");
    }
}

#[test]
fn squares_leave_the_least_of_the_card_idle() {
    for b in [layout(7168, 2112), transposed(7168, 2112)] {
        for a in [layout(2048, 7168), transposed(2048, 7168)] {
            let choice = plan(&a, &b, DType::BF16);
            let Kernel::MatmulWgmma(_, majors, Tile::Square) = choice.kernel else { panic!("{choice:?}") };
            let grid = blocks(&choice, 1).unwrap();
            assert_eq!((grid.blocks, grid.threads, grid.cluster), ([121, 1, 1], 512, 1));
            assert!(grid.shared_bytes <= Card::h200().shared_bytes && choice.tail.is_none());
            // What has no room there goes by tiles whose warpgroups have more.
            let product = Product { a: 64, b: 128, dst: 256, ..choice.product };
            assert_eq!(boxes::turned(&product, choice.kernel), None);
            let [silu, gelu] = [Activation::Silu, Activation::Gelu].map(|activation| activation.code().0);
            let broad = Kernel::MatmulWgmma(DType::BF16, majors, Tile::Broad);
            for (other, kernel) in [
                (Product { activation: gelu, ..product }, choice.kernel),
                (Product { onto: 2, ..product }, choice.kernel),
                (Product { wide: 1, onto: 1, ..product }, choice.kernel),
                (Product { partial: 512, activation: silu, ..product }, choice.kernel),
                (Product { activation: silu, ..product }, broad),
                (Product { activation: gelu, onto: 1, ..product }, broad),
                (Product { wide: 1, activation: 1, ..product }, broad),
                (Product { dst: 258, ..product }, broad),
            ] {
                assert_eq!(boxes::roomy(&other, choice.kernel), kernel, "{other:?}");
            }
        }
    }
}

#[test]
fn few_tiles_split_a_long_k_within_limits() {
    for dtype in [DType::F16, DType::F32] {
        let choice = plan(&transposed(256, 65_536), &layout(65_536, 256), dtype);
        let Product { splits, k_part, k, .. } = choice.product;
        let splits = u64::from(splits);
        assert!((2..=MOST_PARTS).contains(&splits), "{dtype}: {splits}");
        assert!(k_part % STEP == 0 && (splits - 1) * k_part < k && splits * k_part >= k);
        assert_eq!(choice.workspace_bytes, splits * 256 * 256 * 4);
        let short = plan(&layout(256, 128), &layout(128, 256), dtype);
        assert_eq!((short.product.splits, short.workspace_bytes), (1, 0));
    }
    let odd = plan(&layout(72, 65_536), &layout(65_536, 10), DType::F16);
    assert_eq!(odd.sums_bytes, u64::from(odd.product.splits) * 72 * 16 * 4);
    assert_eq!(odd.workspace_bytes, odd.sums_bytes + 65_536 * 16 * 2);
}

#[test]
fn small_products_take_small_tiles() {
    let choice = plan_without(&layout(128, 512), &layout(512, 512), DType::F16);
    assert!(matches!(choice.kernel, Kernel::Matmul(_, _, Tile::Small)), "{:?}", choice.kernel);
}

#[test]
fn vectors_stream_the_matrix_as_it_lies() {
    let row = plan_without(&layout(1, 4096), &layout(4096, 4096), DType::F16);
    assert_eq!(row.kernel, Kernel::Matvec(DType::F16, Major::Outer));
    assert_eq!(row.blocks, 16);
    assert!(row.product.splits > 1);
    let column = plan(&layout(4096, 4096), &layout(4096, 1), DType::F32);
    assert_eq!(column.kernel, Kernel::Matvec(DType::F32, Major::K));
    let Product { m, n, packed, lanes, .. } = column.product;
    assert_eq!((m, n, packed, lanes, column.product.splits), (1, 4096, 3, 32, 1));
    // Three packs for each thread of a warp would leave a load of four unused.
    let short = plan(&layout(50_304, 384), &layout(384, 1), DType::F32);
    assert_eq!((short.product.lanes, short.blocks), (8, 50_304 / 32));
    assert_eq!(plan(&layout(1024, 384), &layout(384, 1), DType::F32).product.lanes, 32);
    // Of 16 bits, along k.
    for (n, k) in [(50_304, 768), (4096, 14_336), (384, 384)] {
        let row = plan(&layout(1, k), &transposed(k, n), DType::F16);
        assert!(matches!(row.kernel, Kernel::MatmulThin(..)), "{:?}", row.kernel);
        assert_eq!(plan(&layout(n, k), &layout(k, 1), DType::F16).kernel, row.kernel);
    }
    let odd = plan(&layout(100, 5), &layout(5, 1), DType::F32);
    assert_eq!((odd.product.packed, odd.product.lanes, odd.blocks), (2, 8, 4));
    let dot = plan(&layout(1, 1 << 20), &layout(1 << 20, 1), DType::F32);
    assert_eq!((dot.kernel, dot.product.packed), (Kernel::Matvec(DType::F32, Major::K), 3));
}

#[test]
fn nothing_to_sum_still_has_a_plan() {
    for (m, k, n) in [(3, 0, 5), (0, 4, 5), (3, 4, 0), (1, 0, 7), (7, 0, 1), (0, 0, 0)] {
        for dtype in [DType::F16, DType::F32] {
            let choice = plan(&layout(m, k), &layout(k, n), dtype);
            assert_eq!((choice.product.splits, choice.workspace_bytes, choice.flops), (1, 0, 0));
            assert!(m * n == 0 || choice.blocks > 0);
        }
    }
}

fn batch(dims: &[usize]) -> Layout {
    Layout::contiguous(Shape::new(dims).unwrap())
}

#[test]
fn a_batch_fills_the_card_and_one_factor_makes_one_product() {
    let (a, b) = (batch(&[64, 128, 128]), batch(&[64, 128, 128]));
    let many = plan(&a, &b, DType::F16);
    assert_eq!((many.flops, many.workspace_bytes, many.batch[0].numel()), (64 * 2 * 128 * 128 * 128, 0, 64));
    assert!(matches!(many.kernel, Kernel::MatmulWgmma(..) | Kernel::MatmulParts(..)), "{:?}", many.kernel);
    let shared = batch(&[128, 128]).broadcast_to(*b.shape()).unwrap();
    let one = plan(&a, &shared, DType::F16);
    assert_eq!((one.product.m, one.batch[0].numel()), (64 * 128, 1));
    // A few long sums are split in each product of a batch.
    let long =
        plan(&batch(&[2, 65_536, 128]).transposed(1, 2).unwrap(), &batch(&[2, 65_536, 128]), DType::F16);
    assert!(long.product.splits > 1);
    assert_eq!(long.product.part_step, 2 * 128 * 128);
    assert_eq!(long.workspace_bytes, u64::from(long.product.splits) * 2 * 128 * 128 * 4);
}

#[test]
fn every_product_of_a_batch_is_on_16_bytes_or_none() {
    let b = batch(&[3, 64, 64]);
    let kernel = |a: &Layout| plan(a, &b, DType::F16).kernel;
    assert!(!matches!(kernel(&batch(&[3, 64, 64])), Kernel::MatmulAny(..)));
    // Rows on 16 bytes, matrices not.
    let odd = batch(&[3, 64 * 64 + 4]).sliced(1, 0..64 * 64).unwrap();
    let odd = odd.reshaped(Shape::new(&[3, 64, 64]).unwrap()).unwrap().unwrap();
    assert_eq!(kernel(&odd), Kernel::MatmulAny(DType::F16));
    let column = |a: &Layout| plan(a, &batch(&[3, 64, 1]), DType::F16).product.packed;
    assert_eq!((column(&batch(&[3, 64, 64])), column(&odd)), (3, 2));
}

#[test]
fn launches_hold_what_their_grids_can_count() {
    let tiny = plan(&batch(&[70_000, 4, 4]), &batch(&[70_000, 4, 4]), DType::F32);
    assert_eq!((limit(&tiny), blocks(&tiny, 65_535).unwrap().blocks), (65_535, [1, 1, 65_535]));
    let rows = plan(&batch(&[70_000, 1, 8]), &batch(&[70_000, 8, 3]), DType::F32);
    assert_eq!(rows.kernel, Kernel::Matvec(DType::F32, Major::Outer));
    let dots = plan(&batch(&[70_000, 1, 8]), &batch(&[70_000, 8, 1]), DType::F32);
    assert_eq!((dots.kernel, dots.product.lanes), (Kernel::Matvec(DType::F32, Major::K), 2));
    assert_eq!(blocks(&dots, 70_000).unwrap().blocks, [70_000 / 128 + 1, 1, 1]);
    // A block shares one column, or two.
    let lanes =
        |n| plan(&batch(&[1, 1, 1 << 20]), &batch(&[1, n, 1 << 20]).transposed(1, 2).unwrap(), DType::F16);
    let lanes = [1, 2, 3, 8, 9].map(|n| lanes(n).product.lanes);
    assert_eq!(lanes, [256, 128, 64, 32, 32]);
    assert!(limit(&dots) * dots.product.n <= WALK_LIMIT);
}

#[test]
fn wide_tiles_turn_their_results_where_that_costs_nothing() {
    let turned = |[m, n, k]: [usize; 3], change: &dyn Fn(&mut Product)| {
        let choice = plan(&layout(m, k), &transposed(k, n), DType::F16);
        let mut product = Product { a: 64, b: 128, dst: 256, ..choice.product };
        change(&mut product);
        boxes::turned(&product, choice.kernel)
    };
    let (product, kernel) = turned([8192, 4096, 4096], &|_| {}).unwrap();
    assert_eq!(kernel, Kernel::MatmulWgmma(DType::F16, [Major::K, Major::K], Tile::Large));
    assert_eq!((product.m, product.n, product.a, product.b, product.turned), (4096, 8192, 128, 64, 1));
    assert_eq!([product.a_m, product.a_k, product.b_k, product.b_n], [4096, 1, 1, 4096]);
    // 1024 tiles take 8 rounds of 132 blocks, and of 128; 512 take 4, too few for that to matter.
    assert_eq!(staying(kernel, &product, 1, 132).unwrap().blocks, [128, 1, 1]);
    assert_eq!(staying(kernel, &Product { n: 4096, ..product }, 1, 132).unwrap().blocks, [132, 1, 1]);
    for change in [
        &|product: &mut Product| product.dst += 2,
        &|product: &mut Product| product.partial = 1024,
        &|product: &mut Product| product.n += 1,
        // An odd number of tiles down, in no pairs; more tiles than before.
        &|product: &mut Product| product.n -= 128,
        &|product: &mut Product| product.m = 3968,
    ] as [&dyn Fn(&mut Product); 5]
    {
        assert_eq!(turned([8192, 4096, 4096], change), None);
    }
    let wide = turned([8192, 4096, 4096], &|product| product.wide = 1).map(|(product, _)| product.turned);
    assert_eq!(wide, Some(1));
    assert_eq!(turned([1024, 1024, 1024], &|_| {}), None, "another tile");
}

#[test]
fn strips_turn_their_results_and_warpgroups_take_turns_where_results_go_straight_out() {
    let placed = |[m, n, k]: [usize; 3], b: &Layout| {
        let choice = plan(&layout(m, k), b, DType::BF16);
        (Product { a: 64, b: 128, dst: 256, n: n as u64, ..choice.product }, choice)
    };
    let other_ways_out = [
        &|product: &mut Product| product.dst += 2,
        &|product: &mut Product| product.partial = 1024,
        &|product: &mut Product| product.wide = 1,
        &|product: &mut Product| product.onto = 1,
        &|product: &mut Product| product.activation = Activation::Silu.code().0,
    ] as [&dyn Fn(&mut Product); 5];

    let (product, choice) = placed([512, 2112, 7168], &layout(7168, 2112));
    let narrow = Kernel::MatmulParts(DType::BF16, [Major::K, Major::Outer], Strip::M128N64);
    assert_eq!((choice.kernel, choice.cluster), (narrow, 1));
    let (turned, kernel) = boxes::turned_strip(&product, narrow, 1).unwrap();
    assert_eq!(kernel, Kernel::MatmulParts(DType::BF16, [Major::Outer, Major::K], Strip::M64N128Turned));
    assert_eq!((turned.m, turned.n, turned.a, turned.b, turned.turned), (2112, 512, 128, 64, 1));
    assert_eq!([turned.a_m, turned.a_k, turned.b_k, turned.b_n], [1, 2112, 1, 7168]);
    let grid = blocks(&Choice { kernel, ..choice }, 1).unwrap();
    assert_eq!((grid.blocks, grid.cluster, turned.width), ([132, 1, 1], 2, 128));
    assert_eq!(boxes::turned_strip(&product, narrow, 2), None, "parts of a tile");
    // Of a first factor across `k`, in halves of it, whatever else there is to do.
    let across = plan(&transposed(512, 7168), &layout(7168, 2112), DType::BF16);
    let halves = Kernel::MatmulParts(DType::BF16, [Major::Outer; 2], Strip::M64N256Turned);
    let grid = blocks(&across, 1).unwrap();
    assert_eq!((across.kernel, grid.blocks, grid.cluster, grid.threads), (halves, [132, 1, 1], 2, 160));
    let (turned, kernel) = boxes::turned_strip(&Product { onto: 1, ..across.product }, halves, 2).unwrap();
    assert_eq!((turned.m, turned.n, turned.width, turned.turned, kernel), (2112, 512, 256, 1, halves));
    assert_eq!(boxes::turned_strip(&Product { m: 384, ..product }, narrow, 1), None, "no pairs");

    let (product_of_turns, choice) = placed([8192, 1152, 384], &transposed(384, 1152));
    let broad = Kernel::MatmulWgmma(DType::BF16, [Major::K; 2], Tile::Broad);
    assert_eq!(choice.kernel, broad);
    let turns = Some(Kernel::MatmulWgmma(DType::BF16, [Major::K; 2], Tile::Turns));
    let gelu = Product { activation: Activation::Gelu.code().0, ..product_of_turns };
    assert_eq!(boxes::in_turns(&product_of_turns, broad, 1, 132), turns);
    assert_eq!(boxes::in_turns(&gelu, broad, 1, 132), turns);
    assert_eq!(boxes::in_turns(&product_of_turns, broad, 1, 400), None, "one round");
    let narrow_in_turns = Kernel::MatmulWgmma(DType::BF16, [Major::K; 2], Tile::Medium);
    for (onto, activation) in [(1, 0), (0, Activation::Silu.code().0)] {
        let other = Product { onto, activation, ..product_of_turns };
        assert_eq!(boxes::in_turns(&other, broad, 1, 132), Some(narrow_in_turns));
        assert_eq!(
            boxes::in_turns(&Product { k: 4096, ..other }, broad, 1, 132),
            None,
            "hidden in the products"
        );
    }
    for (i, change) in other_ways_out.into_iter().enumerate() {
        let [mut strip, mut tile] = [product, product_of_turns];
        change(&mut strip);
        change(&mut tile);
        assert_eq!(boxes::turned_strip(&strip, narrow, 1), None);
        assert!(i > 2 || boxes::in_turns(&tile, broad, 1, 132).is_none());
    }
}

#[test]
fn pairs_of_many_tiles_take_one_more_row_of_them() {
    let kernel = Kernel::MatmulWgmma(DType::BF16, [Major::Outer; 2], Tile::Large);
    for (m, in_pairs, down) in
        [(50_304, true, 394), (4224, true, 34), (3968, false, 31), (1664, false, 13), (1792, true, 14)]
    {
        let tiles = Tiles::new(kernel, m, 768);
        assert_eq!((tiles.in_pairs, tiles.down, tiles.right), (in_pairs, down, 3), "{m} rows");
        let product = Product { m, n: 768, splits: 4, ..Product::default() };
        assert_eq!(staying(kernel, &product, 1, 132).unwrap().cluster, 1 + u32::from(in_pairs), "{m} rows");
    }
    let medium = Kernel::MatmulWgmma(DType::BF16, [Major::Outer; 2], Tile::Medium);
    assert!(!Tiles::new(medium, 50_304, 768).in_pairs);
}
