use super::*;

fn layout(dims: &[usize]) -> Layout {
    Layout::contiguous(Shape::new(dims).unwrap())
}

fn shape(dims: &[usize]) -> Shape {
    Shape::new(dims).unwrap()
}

#[test]
fn units_are_whole_and_lie_together() {
    let l = layout(&[5, 6, 8]).transposed(0, 1).unwrap();
    let units =
        |l: &Layout, len| l.in_units(len).map(|l| (l.shape().to_vec(), l.strides().to_vec(), l.offset()));
    assert_eq!(units(&l, 8), Some((vec![6, 5], vec![1, 6], 0)));
    assert_eq!(units(&l, 4), Some((vec![6, 5, 2], vec![2, 12, 1], 0)));
    let half = l.sliced(2, 4..8).unwrap();
    assert_eq!(units(&half, 4), Some((vec![6, 5], vec![2, 12], 1)));
    assert_eq!((units(&half, 8), units(&l, 16), units(&l.sliced(2, 1..5).unwrap(), 2)), (None, None, None));
    let t = layout(&[4, 4]).transposed(0, 1).unwrap();
    assert_eq!((units(&t, 2), units(&layout(&[]), 1)), (None, None));
}

#[test]
fn transposed_is_dense_but_not_flat() {
    let t = layout(&[3, 4]).transposed(0, 1).unwrap();
    assert_eq!(t.flat(), None);
    assert_eq!(t.dense(), Some(0..12));
    assert_eq!(t.positions().take(4).collect::<Vec<_>>(), [0, 4, 8, 1]);
    assert!(!t.overlaps());
}

#[test]
fn permuted_takes_permutations_only() {
    let l = layout(&[2, 3, 4]).permuted(&[2, 0, 1]).unwrap();
    assert_eq!((&l.shape()[..], l.strides()), (&[4, 2, 3][..], &[1, 12, 4][..]));
    for axes in [&[0, 1][..], &[0, 1, 1], &[0, 1, 3], &[0, 1, 2, 2]] {
        assert!(layout(&[2, 3, 4]).permuted(axes).is_err(), "{axes:?}");
    }
}

#[test]
fn sliced_rows_stay_flat_and_columns_do_not() {
    assert_eq!(layout(&[3, 4]).sliced(0, 1..3).unwrap().flat(), Some(4..12));
    let columns = layout(&[3, 4]).sliced(1, 1..3).unwrap();
    assert_eq!((columns.flat(), columns.dense(), columns.end()), (None, None, 11));
    assert!(layout(&[3, 4]).sliced(1, 3..5).is_err());
    assert!(layout(&[3, 4]).sliced(2, 0..1).is_err());
}

#[test]
fn reshape_splits_and_merges_without_a_copy_where_it_can() {
    let l = layout(&[4, 6]);
    assert_eq!(l.reshaped(shape(&[2, 2, 3, 2])).unwrap().unwrap().flat(), Some(0..24));
    let t = l.transposed(0, 1).unwrap();
    assert_eq!(t.reshaped(shape(&[24])).unwrap(), None);
    let split = t.reshaped(shape(&[3, 2, 2, 1, 2])).unwrap().unwrap();
    assert_eq!(split.positions().collect::<Vec<_>>(), t.positions().collect::<Vec<_>>());
    assert!(l.reshaped(shape(&[5])).is_err());
    assert_eq!(layout(&[0, 3]).reshaped(shape(&[7, 0])).unwrap().unwrap().numel(), 0);
    assert_eq!(layout(&[1, 1]).reshaped(shape(&[])).unwrap().unwrap().rank(), 0);
}

#[test]
fn broadcast_has_stride_zero_and_overlaps() {
    let b = layout(&[3, 1]).broadcast_to(shape(&[2, 3, 4])).unwrap();
    assert_eq!(b.strides(), [0, 1, 0]);
    assert!(b.overlaps());
    assert!(layout(&[3]).broadcast_to(shape(&[4])).is_err());
}

#[test]
fn collapse_merges_only_what_all_operands_allow() {
    let a = layout(&[2, 3, 4]);
    assert_eq!(a.collapsed().shape()[..], [24]);
    let row = layout(&[4]).broadcast_to(*a.shape()).unwrap();
    let [a, row] = Layout::collapse([a, row]);
    assert_eq!((&a.shape()[..], row.strides()), (&[6, 4][..], &[0, 1][..]));
}
