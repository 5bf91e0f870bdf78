use super::*;
use taut_core::{Precision, Shape};

fn layout(rows: usize, cols: usize) -> Layout {
    Layout::contiguous(Shape::new(&[rows, cols]).unwrap())
}

fn transposed(rows: usize, cols: usize) -> Layout {
    layout(cols, rows).transposed(0, 1).unwrap()
}

fn plan(factors: &[(Layout, Layout)], dtype: DType, card: &Card) -> Choice {
    let problems: Vec<_> = factors
        .iter()
        .map(|(a, b)| Problem { a, b, dtype, out: dtype, precision: Precision::Exact })
        .collect();
    choose(&problems, card)
}

/// Products of rows by weights of 4096 x 1024, all different.
fn uneven(count: usize) -> Vec<(Layout, Layout)> {
    (0..count).map(|i| (layout(64 + i * 37 % 1985, 1024), transposed(1024, 4096))).collect()
}

fn places(choice: &Choice) -> Vec<usize> {
    let shared = choice.launches.iter().flat_map(|launch| launch.members.iter().map(|member| member.place));
    let mut all: Vec<_> = shared.chain(choice.alone.iter().map(|(place, _)| *place)).collect();
    all.sort_unstable();
    all
}

#[test]
fn parameters_hold_as_many_products_as_they_can() {
    assert!(size_of::<Grouped>() <= LARGE_PARAMS as usize);
    assert!(size_of::<Grouped>() * (GROUPED + 1) / GROUPED > LARGE_PARAMS as usize);
}

#[test]
fn a_list_takes_as_few_launches_as_parameters_hold() {
    for count in [2, 64, GROUPED, GROUPED + 1, 200] {
        let choice = plan(&uneven(count), DType::F16, &Card::h200());
        assert_eq!((choice.shared_launches(), choice.workspace_bytes), (count.div_ceil(GROUPED), 0));
        assert_eq!(places(&choice), (0..count).collect::<Vec<_>>());
        assert!(choice.launches.iter().all(|launch| launch.members.len() > 1), "{count}");
    }
}

#[test]
fn large_products_go_in_pairs_of_blocks_and_small_ones_do_not() {
    let kernel = |tile| Kernel::MatmulGrouped(DType::BF16, [Major::K; 2], tile);
    let large = plan(&uneven(64), DType::BF16, &Card::h200());
    assert_eq!((large.launches[0].kernel, large.launches[0].paired), (kernel(Tile::Large), true));
    let narrow: Vec<_> = (1..40).map(|i| (layout(i * 9, 512), transposed(512, 120))).collect();
    let narrow = plan(&narrow, DType::BF16, &Card::h200());
    assert_eq!((narrow.launches[0].kernel, narrow.launches[0].paired), (kernel(Tile::Medium), false));
    // One row of tiles each: nothing lies below another.
    let flat: Vec<_> = (1..40).map(|i| (layout(i * 3, 512), transposed(512, 4096))).collect();
    assert!(!plan(&flat, DType::BF16, &Card::h200()).launches[0].paired);
}

#[test]
fn units_count_every_tile_once() {
    let large = Kernel::MatmulGrouped(DType::F16, [Major::K; 2], Tile::Large);
    let medium = Kernel::MatmulGrouped(DType::F16, [Major::K; 2], Tile::Medium);
    for (m, n, pairs, tiles) in
        [(1, 1, 1, 1), (128, 512, 1, 2), (256, 512, 2, 2 * 2), (257, 513, 3 + 2, 3 * 3), (640, 256, 2 + 1, 5)]
    {
        let product = Product { m, n, ..Product::default() };
        assert_eq!(
            (units(large, &product, true), units(large, &product, false)),
            (pairs, tiles),
            "{m} x {n}"
        );
        assert_eq!(units(medium, &product, false), m.div_ceil(128) * n.div_ceil(128));
    }
}

#[test]
fn the_longest_sums_come_first_and_grids_fit_the_card() {
    let factors: Vec<_> =
        [512, 64, 2048, 2048, 128].map(|k| (layout(1000, k), layout(k, 1000))).into_iter().collect();
    let choice = plan(&factors, DType::F16, &Card::h200());
    let [launch] = &choice.launches[..] else { panic!("{:?}", choice.launches) };
    let order: Vec<_> = launch.members.iter().map(|member| member.place).collect();
    assert_eq!(order, [2, 3, 0, 4, 1]);
    let mut list = Grouped { count: 2, ..Grouped::default() };
    list.end[..2].copy_from_slice(&[3, 1000]);
    for (paired, units, want) in [(false, 1000, 132), (false, 5, 5), (true, 1000, 132), (true, 5, 10)] {
        list.end[1] = units;
        let grid = blocks(&Launch { paired, ..launch.clone() }, &list).unwrap();
        assert_eq!((grid.blocks, grid.cluster), ([want, 1, 1], if paired { 2 } else { 1 }));
        assert_eq!((grid.threads, grid.shared_bytes), (384, launch.kernel.shared_bytes()));
    }
}

#[test]
fn what_differs_goes_to_launches_of_its_own() {
    let k = 512;
    let lying = |i: usize| match i % 4 {
        0 => (layout(700, k), layout(k, 520)),
        1 => (layout(700, k), transposed(k, 520)),
        2 => (transposed(704, k), layout(k, 520)),
        _ => (transposed(704, k), transposed(k, 520)),
    };
    let choice = plan(&(0..12).map(lying).collect::<Vec<_>>(), DType::F16, &Card::h200());
    let sizes: Vec<_> = choice.launches.iter().map(|launch| launch.members.len()).collect();
    assert_eq!(sizes, [3; 4]);
    assert_eq!(places(&choice), (0..12).collect::<Vec<_>>());
}

#[test]
fn what_no_launch_takes_goes_alone_in_one_workspace() {
    let card = Card::h200();
    let alone = |factors: &[(Layout, Layout)], dtype, card: &Card| {
        let choice = plan(factors, dtype, card);
        assert_eq!(choice.shared_launches(), 0);
        assert_eq!(places(&choice), (0..factors.len()).collect::<Vec<_>>());
        choice.workspace_bytes
    };
    alone(&uneven(1), DType::F16, &card);
    alone(&uneven(9), DType::F32, &card);
    alone(&uneven(9), DType::F16, &Card { own_kernels: false, ..Card::h200() });
    alone(&uneven(9), DType::F16, &Card { params_bytes: 4096, ..Card::h200() });
    alone(
        &[(layout(0, 8), layout(8, 8)), (layout(8, 0), layout(0, 8)), (layout(8, 8), layout(8, 0))],
        DType::F16,
        &card,
    );
    // Rows that begin anywhere are brought onto packs, one factor after the other in the same memory.
    let odd = |n| (layout(4096, 4096), layout(4096, n));
    let one = |n| alone(&[odd(n)], DType::F16, &card);
    assert_eq!(alone(&[odd(4095), odd(2047)], DType::F16, &card), one(4095).max(one(2047)));
    assert!(one(4095) > one(2047) && one(2047) > 0);
    // Two rows by large weights: each alone has all of the card to read them.
    let rows: Vec<_> = (0..2).map(|_| (layout(1, 8192), transposed(8192, 1024))).collect();
    alone(&rows, DType::F16, &card);
}
