use super::*;
use taut_core::Shape;

fn layout(dims: &[usize]) -> Layout {
    Layout::contiguous(Shape::new(dims).unwrap())
}

fn sum(src: &Layout, axes: &[usize]) -> Choice {
    choose(Reduce::Sum, src, DType::F16, axes, &Card::h200())
}

#[test]
fn inner_axes_go_by_rows_and_outer_axes_by_columns() {
    let a = layout(&[4096, 1024]);
    assert_eq!((sum(&a, &[1]).part, sum(&a, &[0]).part), (ReducePart::RowsPacked, ReducePart::ColumnsPacked));
    let t = a.transposed(0, 1).unwrap();
    assert_eq!((sum(&t, &[0]).part, sum(&t, &[1]).part), (ReducePart::RowsPacked, ReducePart::ColumnsPacked));
    let odd = layout(&[4096, 1023]);
    assert_eq!((sum(&odd, &[1]).part, sum(&odd, &[0]).part), (ReducePart::Rows, ReducePart::Columns));
    // Nothing to reduce is a copy, and goes along the outputs.
    assert_eq!(sum(&a, &[]).part, ReducePart::ColumnsPacked);
}

#[test]
fn a_single_run_takes_packs_and_leaves_a_tail() {
    let choice = sum(&layout(&[1001]), &[0]);
    assert_eq!((choice.part, choice.reduced.numel(), choice.n), (ReducePart::RowsPacked, 1000, 1001));
    let whole = sum(&layout(&[7, 11, 13]), &[0, 1, 2]);
    assert_eq!((whole.part, whole.reduced.numel(), whole.n), (ReducePart::RowsPacked, 1000, 1001));
    let one = layout(&[1002]).sliced(0, 1..1002).unwrap();
    assert_eq!(sum(&one, &[0]).part, ReducePart::Rows);
}

#[test]
fn few_outputs_are_cut_into_slices_that_fill_the_card() {
    let card = Card::h200();
    let all = sum(&layout(&[1 << 28]), &[0]);
    assert_eq!(all.slices, u64::from(card.multiprocessors) * BLOCKS);
    assert_eq!(all.workspace_bytes, 4 * all.slices);
    let tall = sum(&layout(&[1 << 20, 64]), &[0]);
    assert!(tall.slices * tall.blocks >= u64::from(card.multiprocessors) * BLOCKS / 2, "{tall:?}");
    assert_eq!(tall.workspace_bytes, 64 * 4 * tall.slices);
    for src in [layout(&[4096, 4096]), layout(&[100])] {
        let rows = sum(&src, &[src.rank() - 1]);
        assert_eq!((rows.slices, rows.workspace_bytes), (1, 0), "{rows:?}");
    }
}

#[test]
fn every_slice_and_side_is_sound() {
    let card = Card::h200();
    for dims in
        [&[1usize, 1][..], &[3, 5], &[1000, 7], &[7, 100_003], &[100_003, 7], &[1 << 20, 8], &[2, 0], &[0, 2]]
    {
        let src = layout(dims);
        for axes in [&[][..], &[0], &[1], &[0, 1]] {
            for op in Reduce::ALL {
                let choice = choose(op, &src, DType::F16, axes, &card);
                let units = Walk::wide(&[choice.reduced], 1).numel;
                assert!(choice.side.is_power_of_two() && choice.side <= BLOCK, "{choice:?}");
                assert!(choice.slices >= 1 && (choice.slices - 1) * units.div_ceil(choice.slices) <= units);
                assert_eq!(choice.n * choice.kept[0].numel() as u64, src.numel() as u64, "{choice:?}");
            }
        }
    }
}

#[test]
fn positions_keep_the_order_of_the_axes() {
    let t = layout(&[6, 8]).transposed(0, 1).unwrap();
    let choice = choose(Reduce::ArgMax, &t, DType::F32, &[0, 1], &Card::h200());
    assert_eq!(choice.reduced.strides(), t.strides());
    let sum = choose(Reduce::Sum, &t, DType::F32, &[0, 1], &Card::h200());
    assert_eq!(sum.reduced.strides(), [1]);
}
