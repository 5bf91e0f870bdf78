//! Parts of rows by matrices of their own: products that share launches, and their results one tensor.

use super::grouped::{Pair, Results, allocate, multiply};
use crate::{
    Tensor,
    grad::{Flow, Kept, Tape},
    precision::{precision, with_precision},
};
use std::{borrow::Borrow, ops::Range};
use taut_core::{Error, Layout, Result, Shape};
use taut_memory::{Kind, Site};

const OP: &str = "matmul_segments";

impl Tensor {
    /// Parts of the rows, each by a matrix of its own: `[rows, k]`, cut into `sizes` of rows, by as many `[k, n]` `-> [rows, n]`.
    /// So are the tokens of a mixture of experts, in order of the experts, multiplied by their weights; products share launches
    /// as those of [`matmul_grouped`](Self::matmul_grouped) do. A size may be 0.
    ///
    /// Backward keeps the input and the weights: 0 bytes beside them. The gradients of all parts share launches too, and so do
    /// those of all weights.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::full([3, 4], 1.0, DType::F32, &device)?;
    /// let experts = [1.0, 5.0, 2.0].map(|x| Tensor::full([4, 1], x, DType::F32, &device));
    /// let experts = experts.into_iter().collect::<taut::Result<Vec<_>>>()?;
    /// assert_eq!(x.matmul_segments(&experts, &[2, 0, 1])?.to_vec::<f32>()?, [4.0, 4.0, 8.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) unless there is a weight, and a size for each, which add up to the rows, and all weights
    /// are `[k, n]`; [`DType`](crate::ErrorKind::DType) for integers, bool or different dtypes;
    /// [`Device`](crate::ErrorKind::Device) if the devices differ. They name the number of the weight.
    pub fn matmul_segments(self, weights: &[impl Borrow<Tensor>], sizes: &[usize]) -> Result<Tensor> {
        let weights: Vec<&Tensor> = weights.iter().map(Borrow::borrow).collect();
        let n = check_segments(&self, &weights, sizes)?;
        let tape = Tape::of(OP, std::iter::once(&self).chain(weights.iter().copied()));
        let is_wanted = (0..weights.len()).any(|i| tape.wants(i + 1));
        let rule = Segments {
            sizes: sizes.to_vec(),
            weight: *weights[0].shape(),
            x: tape.keep(&self, is_wanted),
            weights: weights.iter().filter_map(|weight| tape.keep(weight, tape.wants(0))).collect(),
        };
        let layouts: Vec<Layout> = weights.iter().map(|weight| *weight.layout()).collect();
        let mut out = by_rows(&self, &weights, &layouts, n, sizes)?;
        let precision = precision();
        tape.note(&mut out, move |grad, flow| with_precision(precision, || rule.give(&grad, flow)));
        Ok(out)
    }
}

/// What the gradients of parts of rows by matrices of their own need.
struct Segments {
    sizes: Vec<usize>,
    /// Of each weight.
    weight: Shape,
    x: Option<Kept>,
    weights: Vec<Kept>,
}

impl Segments {
    fn give(self, grad: &Tensor, flow: &mut Flow<'_, '_>) -> Result<()> {
        let Segments { sizes, weight, x, weights } = self;
        if let Some(x) = x.map(Kept::take).transpose()? {
            let turned = x.layout().transposed(0, 1)?;
            let wanted: Vec<usize> = (0..sizes.len()).filter(|&i| flow.wants(i + 1)).collect();
            let range = |i: usize| {
                let start = sizes[..i].iter().sum::<usize>();
                start..start + sizes[i]
            };
            let pairs = wanted.iter().map(|&i| {
                let (a, b) = (part(&turned, 1, range(i))?, part(grad.layout(), 0, range(i))?);
                Ok(Pair { a: &x, a_layout: a, b: grad, b_layout: b })
            });
            let pairs = pairs.collect::<Result<Vec<_>>>()?;
            let mut sums = allocate(OP, &pairs, x.device())?;
            let views = sums.iter_mut().map(|sum| sum.view_mut(OP)).collect::<Result<_>>()?;
            multiply(OP, x.device(), &pairs, Results::Each(views))?;
            for (i, sum) in wanted.into_iter().zip(sums) {
                flow.give(i + 1, sum)?;
            }
        }
        if !weights.is_empty() {
            let weights = weights.into_iter().map(Kept::take).collect::<Result<Vec<_>>>()?;
            let layouts =
                weights.iter().map(|weight| weight.layout().transposed(0, 1)).collect::<Result<Vec<_>>>()?;
            let weights: Vec<&Tensor> = weights.iter().collect();
            flow.give(0, by_rows(grad, &weights, &layouts, weight[0], &sizes)?)?;
        }
        Ok(())
    }
}

/// Parts of the rows of `x` by weights, seen through layouts of `n` columns, in one new tensor.
fn by_rows(x: &Tensor, weights: &[&Tensor], layouts: &[Layout], n: usize, sizes: &[usize]) -> Result<Tensor> {
    let shape = Shape::new(&[x.shape()[0], n])?;
    let (mut pairs, mut parts, mut start) = (Vec::new(), Vec::new(), 0);
    for (i, &size) in sizes.iter().enumerate() {
        let range = start..start + size;
        start += size;
        if size > 0 {
            parts.push(part(&Layout::contiguous(shape), 0, range.clone())?);
            let a_layout = part(x.layout(), 0, range)?;
            pairs.push(Pair { a: x, a_layout, b: weights[i], b_layout: layouts[i] });
        }
    }
    let mut out = Tensor::allocate(shape, x.dtype(), x.device(), Site::new(OP, Kind::Activations))?;
    multiply(OP, x.device(), &pairs, Results::Parts(out.view_mut(OP)?, parts))?;
    Ok(out)
}

/// A part of a matrix. One of nothing may begin beyond the end of its storage.
fn part(matrix: &Layout, axis: usize, range: Range<usize>) -> Result<Layout> {
    let part = matrix.sliced(axis, range)?;
    Ok(if part.numel() == 0 { Layout::contiguous(*part.shape()) } else { part })
}

/// Refuses what are no segments of `x`; the columns of the weights.
fn check_segments(x: &Tensor, weights: &[&Tensor], sizes: &[usize]) -> Result<usize> {
    let (shape, count) = (x.shape(), weights.len());
    let [rows, k] = shape[..] else {
        return Err(Error::shape(format!("{OP}: the input is {shape}, it must be [rows, k]")));
    };
    let Some(first) = weights.first() else {
        return Err(Error::shape(format!("{OP}: {shape} by no weights")));
    };
    let sum = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
    if sizes.len() != count || sum != Some(rows) {
        return Err(Error::shape(format!(
            "{OP}: {sizes:?}: must be {count} sizes that add up to the rows of {shape}"
        )));
    }
    if !x.dtype().is_float() {
        return Err(Error::dtype(format!("{OP}: does not take {}; cast to a float", x.dtype())));
    }
    let n = first.shape().last().copied().unwrap_or(0);
    for (i, weight) in weights.iter().enumerate() {
        let at = || format!("{OP}: weight {i}");
        if weight.device() != x.device() || weight.dtype() != x.dtype() {
            x.same_device(weight, &at())?;
            x.same_dtype(weight, &at())?;
        }
        if weight.shape()[..] != [k, n] {
            return Err(Error::shape(format!("{}: {}: must be [{k}, {n}]", at(), weight.shape())));
        }
    }
    Ok(n)
}
