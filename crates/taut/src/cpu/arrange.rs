//! Copies that run backwards.

use super::runs::{each_row, each_run};
use crate::tensor::{View, ViewMut};
use bytemuck::Pod;
use taut_core::{Layout, Result};

/// `dst = src` with the order turned round on `axes`; they do not overlap.
pub(crate) fn flip(axes: &[usize], src: View<'_>, dst: ViewMut<'_>) -> Result<()> {
    match dst.dtype.size() {
        1 => run::<u8>(axes, src, dst),
        2 => run::<u16>(axes, src, dst),
        4 => run::<u32>(axes, src, dst),
        _ => run::<u64>(axes, src, dst),
    }
}

fn run<T: Pod + Send + Sync>(axes: &[usize], src: View<'_>, mut dst: ViewMut<'_>) -> Result<()> {
    // What the turned axes give to a position. As an operand, it also keeps apart what is turned and what is not.
    let turned = src.layout.only(axes);
    let farthest = turned.end().saturating_sub(1);
    let [from, turned, to] = Layout::collapse_by_last([*src.layout, turned, *dst.layout]);
    let step = from.strides().last().copied().unwrap_or(1);
    let backwards = turned.strides().last().is_some_and(|&stride| stride != 0);
    let (data, len) = (src.data::<T>()?, to.shape().last().copied().unwrap_or(1));
    each_run(dst.data()?, &to, &|first, run| {
        each_row(first, run, len, |row, column, out| {
            let start = from.row_position(row) + farthest - 2 * turned.row_position(row);
            if backwards {
                let last = start - column * step;
                copy(out, data[last - (out.len() - 1) * step..=last].iter().rev(), step);
            } else {
                copy(out, data[start + column * step..].iter(), step);
            }
        });
    });
    Ok(())
}

/// Every `step`-th of the elements, or the first over and over if that is 0.
fn copy<'a, T: Pod>(out: &mut [T], mut from: impl Iterator<Item = &'a T>, step: usize) {
    match step {
        0 => from.next().into_iter().for_each(|&x| out.fill(x)),
        1 => out.iter_mut().zip(from).for_each(|(o, &x)| *o = x),
        _ => out.iter_mut().zip(from.step_by(step)).for_each(|(o, &x)| *o = x),
    }
}
