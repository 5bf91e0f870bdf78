//! Matrix products on the host. f32 and f64 whose first factor lies in rows, as the inputs of layers do, are multiplied by
//! tiles of our own; others by the crate `faer` where they lie, and all else by tiles that are widened into a planned
//! workspace. Rows by matrices are read once, at the speed of memory.

mod direct;
pub(super) mod panels;
#[cfg(test)]
mod tests;
pub(super) mod tile;
mod vector;
mod widened;

use super::{Acc, BLOCK, Scalar, vectorized};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use faer::traits::ComplexField;
use half::{bf16, f16};
use std::ops::{Add, Mul};
use taut_core::{Activation, DType, Error, Layout, Products, Result};
use taut_memory::Block;
use tile::Lanes;

/// Multiplications that are worth a task of their own.
const WORK: usize = 1 << 16;

/// What is done with the sums before they are stored.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// Added to each row.
    pub(crate) bias: Option<View<'a>>,
    /// Applied after the bias.
    pub(crate) activation: Activation,
    /// Added to what stands there; without bias and activation.
    pub(crate) accumulate: bool,
}

/// How products run. A pure function of layouts and dtype.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    /// What [`matmul`] needs beside its operands.
    pub(crate) workspace_bytes: u64,
    products: Products,
    /// Whether the second factor is the first of `products`: the products of a matrix by a column.
    turned: bool,
    way: Way,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// Rows by matrices, of which `k` is cut into so many parts.
    Vector { parts: usize },
    /// By tiles of our own, from panels of the second factor.
    Panels,
    /// By `faer`, where the factors lie.
    Direct,
    /// By `faer`, in tiles.
    Widened,
}

/// Chooses how the products of `a` and `b` run: `[.., m, k] x [.., k, n]`, with the same leading axes.
pub(crate) fn choose(a: &Layout, b: &Layout, dtype: DType) -> Choice {
    let products = Products::new(a, b);
    let turned = products.n == 1 && products.m != 1;
    let products = if turned { products.transposed() } else { products };
    let is_wide = matches!(dtype, DType::F32 | DType::F64);
    let (way, elements) = if products.m * products.n * products.count() == 0 {
        (Way::Direct, 0)
    } else if products.m == 1 {
        vector::choose(&products)
    } else if is_wide && panels::takes(&products) {
        (Way::Panels, panels::elements(&products))
    } else if is_wide && direct::takes(&products) {
        (Way::Direct, 0)
    } else {
        (Way::Widened, widened::elements(&products))
    };
    let size = if dtype == DType::F64 { 8 } else { 4 };
    Choice { workspace_bytes: (elements * size) as u64, products, turned, way }
}

/// A type that products are summed in.
pub(super) trait Float:
    Scalar<Acc = Self> + Acc + ComplexField + Add<Output = Self> + Mul<Output = Self>
{
}
impl Float for f32 {}
impl Float for f64 {}

fn zero<A: Float>() -> A {
    <A as Zeroable>::zeroed()
}

/// `dst = finish(a b)`, where `dst` is flat.
pub(crate) fn matmul(
    choice: &Choice,
    a: View<'_>,
    b: View<'_>,
    finish: Finish<'_>,
    dst: ViewMut<'_>,
    workspace: &mut Block,
) -> Result<()> {
    let (a, b) = if choice.turned { (b, a) } else { (a, b) };
    match (a.dtype, dst.dtype) {
        (DType::F32, _) => run::<f32, f32, f32>(choice, a, b, finish, dst, workspace),
        (DType::F64, _) => run::<f64, f64, f64>(choice, a, b, finish, dst, workspace),
        (DType::F16, DType::F32) => run::<f32, f16, f32>(choice, a, b, finish, dst, workspace),
        (DType::F16, _) => run::<f32, f16, f16>(choice, a, b, finish, dst, workspace),
        (DType::BF16, DType::F32) => run::<f32, bf16, f32>(choice, a, b, finish, dst, workspace),
        (DType::BF16, _) => run::<f32, bf16, bf16>(choice, a, b, finish, dst, workspace),
        (dtype, _) => Err(Error::dtype(format!("matmul: does not take {dtype}"))),
    }
}

fn run<A: Lanes, T: Scalar<Acc = A>, D: Scalar<Acc = A>>(
    choice: &Choice,
    a: View<'_>,
    b: View<'_>,
    finish: Finish<'_>,
    mut dst: ViewMut<'_>,
    workspace: &mut Block,
) -> Result<()> {
    let products = &choice.products;
    let bias = finish.bias.map(bias::<T>).transpose()?;
    let Finish { activation, accumulate, .. } = finish;
    let finish = Epilogue { bias, activation, accumulate };
    let scratch = workspace.host_mut();
    let scratch = scratch.ok_or_else(|| Error::device("matmul: the workspace is not host memory"))?;
    let scratch: &mut [A] = bytemuck::cast_slice_mut(&mut scratch[..choice.workspace_bytes as usize]);
    let (a, b, out) = (a.data::<T>()?, b.data::<T>()?, dst.flat::<D>()?);
    if out.is_empty() {
        return Ok(());
    }
    match choice.way {
        Way::Vector { parts } => vector::run(products, parts, a, b, &finish, out, scratch),
        // T, D and A are the same type here, and below.
        Way::Panels => {
            let (a, b) = (bytemuck::cast_slice(a), bytemuck::cast_slice(b));
            panels::run(products, a, b, &finish, bytemuck::cast_slice_mut(out), scratch);
        }
        Way::Direct => {
            let (a, b) = (bytemuck::cast_slice(a), bytemuck::cast_slice(b));
            direct::run(products, a, b, &finish, bytemuck::cast_slice_mut(out));
        }
        Way::Widened => widened::run(products, a, b, &finish, out, scratch),
    }
    Ok(())
}

/// The elements of a bias, as they are added.
fn bias<T: Scalar>(view: View<'_>) -> Result<Vec<T::Acc>> {
    let mut narrow = vec![T::zeroed(); view.layout.numel()];
    let mut wide = vec![T::Acc::zeroed(); narrow.len()];
    view.source::<T>()?.read(0, &mut narrow);
    T::widen(&narrow, &mut wide);
    Ok(wide)
}

/// [`Finish`], ready to be read.
struct Epilogue<A> {
    /// One for each column, or one for all.
    bias: Option<Vec<A>>,
    activation: Activation,
    accumulate: bool,
}

impl<A: Float> Epilogue<A> {
    /// Whether sums are stored as they are.
    fn is_plain(&self) -> bool {
        self.bias.is_none() && self.activation == Activation::Identity
    }

    /// `row = activation(row + bias)`, for columns of a result from `column` on.
    fn apply(&self, row: &mut [A], column: usize) {
        self.shift(row, column);
        self.activate(row);
    }

    /// `row = activation(row)`.
    fn activate(&self, row: &mut [A]) {
        if let Some(op) = self.activation.unary() {
            A::unary(op, op.params().map(A::param), row);
        }
    }

    /// `row += bias`, for columns of a result from `column` on.
    fn shift(&self, row: &mut [A], column: usize) {
        let Some(bias) = &self.bias else { return };
        vectorized(
            #[inline(always)]
            || match bias[..] {
                [one] => {
                    for x in row {
                        *x += one;
                    }
                }
                _ => {
                    for (x, &bias) in row.iter_mut().zip(&bias[column..]) {
                        *x += bias;
                    }
                }
            },
        );
    }

    /// Stores sums of columns from `column` on as the op says.
    fn store<D: Scalar<Acc = A>>(&self, sums: &mut [A], column: usize, out: &mut [D]) {
        self.apply(sums, column);
        if self.accumulate {
            let mut old = [zero::<A>(); BLOCK];
            for (sums, out) in sums.chunks_mut(BLOCK).zip(out.chunks(BLOCK)) {
                let old = &mut old[..out.len()];
                D::widen(out, old);
                vectorized(
                    #[inline(always)]
                    || {
                        for (x, old) in sums.iter_mut().zip(old) {
                            *x += *old;
                        }
                    },
                );
            }
        }
        D::narrow(sums, out);
    }
}

/// Elements `start`, `start + step`, .. of `data`, widened: as many as `wide` holds.
fn widen_run<T: Scalar>(data: &[T], start: usize, step: usize, wide: &mut [T::Acc]) {
    match wide.len() {
        0 => {}
        len if step == 1 || len == 1 => T::widen(&data[start..][..len], wide),
        _ => {
            let mut narrow = [T::zeroed(); BLOCK];
            for (i, wide) in wide.chunks_mut(BLOCK).enumerate() {
                let narrow = &mut narrow[..wide.len()];
                let start = start + i * BLOCK * step;
                narrow.iter_mut().enumerate().for_each(|(j, x)| *x = data[start + j * step]);
                T::widen(narrow, wide);
            }
        }
    }
}

/// As [`widen_run`], but read where they lie if nothing is to be done.
fn wide_run<'r, T: Scalar>(data: &'r [T], start: usize, step: usize, wide: &'r mut [T::Acc]) -> &'r [T::Acc] {
    let len = wide.len();
    if size_of::<T>() == size_of::<T::Acc>() && (step == 1 || len == 1) {
        // A type as wide as what it widens to is that type.
        return bytemuck::cast_slice(&data[start..][..len]);
    }
    widen_run(data, start, step, wide);
    wide
}
