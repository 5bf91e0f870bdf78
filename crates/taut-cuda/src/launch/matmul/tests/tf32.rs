//! Products of f32 as tf32.

use super::*;

fn tf32<'a>(a: &'a Layout, b: &'a Layout) -> Problem<'a> {
    Problem { precision: Precision::Tf32, ..problem(a, b, DType::F32) }
}

fn plan_tf32(a: &Layout, b: &Layout, card: &Card) -> Choice {
    choose(&tf32(a, b), card)
}

#[test]
fn factors_of_tf32_are_brought_along_k() {
    let (card, n) = (Card::h200(), 8192);
    let bytes = (n * n * 4) as u64;
    for (a, a_bytes) in [(layout(n, n), 0), (transposed(n, n), bytes)] {
        for (b, b_bytes) in [(layout(n, n), bytes), (transposed(n, n), 0)] {
            let choice = plan_tf32(&a, &b, &card);
            assert_eq!(choice.kernel, Kernel::MatmulWgmma(DType::F32, [Major::K; 2], Tile::Large));
            assert_eq!((choice.product.splits, choice.workspace_bytes), (1, a_bytes + b_bytes));
            let Product { a_m, a_k, b_k, b_n, wide, .. } = choice.product;
            assert_eq!(([a_m, a_k, b_k, b_n], wide), ([8192, 1, 1, 8192], 1));
            assert_eq!(blocks(&choice, 1).unwrap().blocks, [128, 1, 1]);
            assert_eq!(plan(&a, &b, DType::F32).workspace_bytes, 0);
        }
    }
    // Rows of odd length get some that begin on packs, whichever way they lie; a common factor is brought once.
    let odd = plan_tf32(&layout(1000, 1237), &transposed(1237, 1100), &card);
    let rows = |rows: u64| ((rows - 1) * 1240 + 1237) * 4;
    assert_eq!(
        odd.workspace_bytes - odd.sums_bytes.next_multiple_of(256),
        rows(1000).next_multiple_of(256) + rows(1100).next_multiple_of(256)
    );
    let common = batch(&[1240, 1100]).broadcast_to(Shape::new(&[3, 1240, 1100]).unwrap()).unwrap();
    let many = plan_tf32(&batch(&[3, 1000, 1240]), &common, &card);
    assert_eq!(
        (many.product.m, many.workspace_bytes - many.sums_bytes),
        (3000, (1100 * 1240 * 4u64).next_multiple_of(256))
    );
}

#[test]
fn products_that_gain_nothing_as_tf32_are_exact() {
    let card = Card::h200();
    let is_exact = |a: &Layout, b: &Layout, card: &Card| {
        let exact = choose(&problem(a, b, DType::F32), card);
        assert!(!matches!(exact.kernel, Kernel::MatmulWgmma(..) | Kernel::MatmulParts(..)));
        plan_tf32(a, b, card) == exact
    };
    let (a, b) = (layout(1024, 1024), transposed(1024, 1024));
    assert!(!is_exact(&a, &b, &card));
    assert!(is_exact(&a, &b, &Card { own_kernels: false, ..card.clone() }));
    assert!(is_exact(&a, &b, &Card { capability: (10, 0), ..card.clone() }));
    // A vector, nothing to sum, rows that overlap, and more workspace than there may be.
    assert!(is_exact(&layout(1, 4096), &transposed(4096, 4096), &card));
    assert!(is_exact(&layout(1024, 0), &transposed(0, 1024), &card));
    let repeated = layout(1, 1024).broadcast_to(Shape::new(&[1024, 1024]).unwrap()).unwrap();
    assert!(is_exact(&repeated, &b, &card));
    assert!(is_exact(&layout(64, 16_384), &layout(16_384, 16_384), &card));
    let half = Problem { precision: Precision::Tf32, ..problem(&a, &b, DType::F16) };
    assert_eq!(choose(&half, &card), plan(&a, &b, DType::F16));
}

#[test]
fn few_tiles_of_tf32_have_parts_too() {
    let card = Card::h200();
    let cluster = plan_tf32(&layout(128, 4096), &transposed(4096, 1024), &card);
    assert!(matches!(cluster.kernel, Kernel::MatmulParts(DType::F32, ..)), "{:?}", cluster.kernel);
    let tail = plan_tf32(&layout(2048, 7168), &transposed(7168, 2112), &card);
    assert!(tail.tail.is_some_and(|tail| tail.k_part % STEP == 0), "{:?}", tail.kernel);
}

#[test]
fn products_as_tf32_are_tuned_by_themselves() {
    let card = Card::h200();
    // As they lie, and brought along `k` and onto packs.
    for (a, b) in [(layout(1000, 1240), transposed(1240, 1104)), (layout(1000, 1237), layout(1237, 1104))] {
        let (exact, rounded) = (problem(&a, &b, DType::F32), tf32(&a, &b));
        let [of_exact, of_rounded] = [&exact, &rounded].map(|problem| signature(problem, &card).unwrap());
        assert_ne!(of_exact, of_rounded);
        let ways = candidates(&rounded, &card);
        assert!(ways.len() > 1);
        for (pick, choice) in ways {
            assert!(matches!(
                pick.kernel,
                Kernel::MatmulWgmma(DType::F32, [Major::K, Major::K], _)
                    | Kernel::MatmulParts(DType::F32, [Major::K, Major::K], _)
            ));
            let mut tuning = Tuning::default();
            tuning.insert(of_rounded, pick);
            let tuning = Tuning::parse(&tuning.to_string()).unwrap();
            assert_eq!(choose_tuned(&rounded, &card, &tuning), choice);
            assert_eq!(choose_tuned(&exact, &card, &tuning), choose(&exact, &card));
        }
    }
    // Where all are exact, they are the same.
    let (a, b) = (layout(1000, 1240), transposed(1240, 1104));
    let plain = Card { own_kernels: false, ..card };
    assert_eq!(signature(&tf32(&a, &b), &plain), signature(&problem(&a, &b, DType::F32), &plain));
}
