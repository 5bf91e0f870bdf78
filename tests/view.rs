//! Views against arithmetic on coordinates.

use proptest::{prelude::*, sample::select};
use taut::{DType, Tensor};
use taut_tests::{At, Check, Suite, Value, figures, geometry, same};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("view::matches_coordinates", matches_coordinates);
    suite.real("view::reshape_keeps_the_order", reshape_keeps_the_order);
    suite.everywhere("view::nothing_is_copied", nothing_is_copied);
}

fn numbers(shape: &[usize], at: &At) -> taut::Result<Tensor> {
    Tensor::arange(0.0, shape.iter().product::<usize>() as f64, 1.0, DType::I64, &at.device)?.reshape(shape)
}

fn as_values(index: &[usize]) -> Vec<Value> {
    index.iter().map(|&i| Value::Int(i as i64)).collect()
}

/// Every element of every view is the one that its coordinates say.
fn matches_coordinates(at: &At) -> Check {
    at.for_all(geometry(true), |geometry| {
        let view = geometry.view(numbers(&geometry.base, at)?)?;
        prop_assert_eq!(&view.shape()[..], &geometry.shape[..]);
        same(&view, &as_values(&geometry.grid().index))?;
        if view.rank() >= 2 {
            let (a, b) = (view.rank() - 2, view.rank() - 1);
            same(&view.t()?, &as_values(&geometry.grid().transpose(a, b).index))?;
        }
        Ok(())
    })
}

/// A view in another shape has the same elements in the same order, whether it had to be copied or not.
fn reshape_keeps_the_order(at: &At) -> Check {
    at.for_all((geometry(true), select(vec![0usize, 1, 2, 3])), |(geometry, how)| {
        let view = geometry.view(numbers(&geometry.base, at)?)?;
        let n = view.numel();
        let factor = (2..10).find(|f| n % f == 0).unwrap_or(1);
        let shape = match how {
            0 => vec![n],
            1 => vec![1, n, 1],
            2 => vec![factor, n / factor],
            _ => vec![n / factor, 1, factor],
        };
        let shape = if n == 0 { vec![3, 0] } else { shape };
        let got = view.reshape(&shape)?;
        prop_assert_eq!(&got.shape()[..], &shape[..]);
        same(&got, &as_values(&geometry.grid().index))
    })
}

/// Slices, transposes, broadcasts and reshapes of what lies in order take no memory.
fn nothing_is_copied(at: &At) -> Check {
    let x = Tensor::zeros([6, 8], DType::F32, &at.device)?;
    let before = figures(&at.device);
    let views = [
        x.clone().slice(0, 1..4)?,
        x.clone().t()?.slice(0, 2..3)?,
        x.clone().slice(0, 2..3)?.broadcast_to([5, 6, 8])?,
        x.clone().reshape([2, 3, 4, 2])?,
        x.clone().slice(1, 0..4)?.reshape([2, 3, 1, 2, 2])?,
        x.clone().reshape([48])?.slice(0, 7..43)?.reshape([6, 6])?,
    ];
    prop_assert_eq!(figures(&at.device), before);
    prop_assert_eq!(views[4].strides(), [24, 8, 4, 2, 1]);
    drop(views);
    Ok(())
}
