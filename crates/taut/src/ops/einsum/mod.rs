//! Sums of products by subscripts: views of the operands, into sums, elementwise products and matrix products.

mod subscripts;

use super::matmul;
use crate::Tensor;
use subscripts::{Label, Subscripts};
use taut_core::{Binary, Error, Result, Shape};

impl Tensor {
    /// The sum of products that `subscripts` say: a letter for each axis of each operand, and after `->` for each axis of
    /// the result. Letters that the result lacks are summed over; letters of both operands are walked together. Without
    /// `->` the result has the letters that stand once, in order of the alphabet.
    ///
    /// ```text
    /// "ij->ji"            a transposed view            "bij,bjk->bik"     products of matrices
    /// "ij->i"             sums of rows                 "bqhd,bkhd->bhqk"  scores of attention
    /// "i,j->ij"           the outer product            "...ij,jk->...ik"  any leading axes
    /// "bi,bi->b"          inner products               "ij,ij->ij"        elementwise
    /// ```
    ///
    /// One or two operands. Letters of both that the result lacks are summed by [`matmul`](Self::matmul), which reads
    /// the operands where they lie; one is copied only if its summed axes lie so that no strides can join them. Letters of
    /// one operand alone that the result lacks are summed first, by [`sum`](Self::sum), and rounded to the dtype. An
    /// ellipsis stands for all axes that have no letter, aligned at their ends and broadcast. The result of one operand
    /// without a sum is a view of it; no other shares memory, but its axes may lie in another order.
    ///
    /// Operands are taken by reference, unlike the first operand of other ops: a sum of products has a shape of its
    /// own and is read from all of its operands until the end, so that there is no memory to write over.
    ///
    /// Backward keeps the operands: 0 bytes beside them; of a single operand nothing.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let a = Tensor::arange(0.0, 12.0, 1.0, DType::F32, &Device::cpu())?.reshape([2, 2, 3])?;
    /// let b = Tensor::full([2, 3], 1.0, DType::F32, &Device::cpu())?;
    /// let sums = Tensor::einsum("bij,bj->bi", &[&a, &b])?;
    /// assert_eq!(sums.to_vec::<f32>()?, [3.0, 12.0, 21.0, 30.0]);
    /// assert_eq!(Tensor::einsum("bij->jb", &[&a])?.shape()[..], [3, 2]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape), with the subscripts, if they do not fit the operands, a letter has two
    /// extents, or stands twice in one term: diagonals are not taken. [`DType`](crate::ErrorKind::DType) if the dtypes
    /// differ, for bool, and where letters of two operands are summed for integers.
    /// [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn einsum(subscripts: &str, operands: &[&Tensor]) -> Result<Tensor> {
        let shapes: Vec<&Shape> = operands.iter().map(|x| x.shape()).collect();
        let read = Subscripts::parse(subscripts, &shapes)?;
        let named: Vec<Named> =
            operands.iter().zip(&read.inputs).map(|(x, labels)| Named::new(x, labels)).collect();
        let output = &read.output[..];
        match &named[..] {
            [x] => x.clone().sum_all_but(|label| output.contains(label))?.ordered(output),
            [a, b] => {
                same_extents(subscripts, a, b)?;
                a.tensor.same_device(&b.tensor, "einsum")?;
                a.tensor.same_dtype(&b.tensor, "einsum")?;
                two(a.clone().without_repeats(b)?, b.clone().without_repeats(a)?, output)
            }
            _ => {
                let n = operands.len();
                Err(Error::shape(format!("einsum: {subscripts:?}: takes one or two operands, not {n}")))
            }
        }
    }
}

/// A tensor whose axes have names.
#[derive(Clone)]
struct Named {
    tensor: Tensor,
    labels: Vec<Label>,
}

impl Named {
    fn new(tensor: &Tensor, labels: &[Label]) -> Named {
        Named { tensor: tensor.clone(), labels: labels.to_vec() }
    }

    fn axis(&self, label: Label) -> Option<usize> {
        self.labels.iter().position(|&other| other == label)
    }

    fn has(&self, label: &Label) -> bool {
        self.labels.contains(label)
    }

    fn extent(&self, label: Label) -> Option<usize> {
        self.axis(label).map(|axis| self.tensor.shape()[axis])
    }

    fn stride(&self, label: Label) -> usize {
        self.axis(label).map_or(0, |axis| self.tensor.strides()[axis])
    }

    /// Without the axes of extent 1 over which an ellipsis repeats this operand.
    fn without_repeats(self, other: &Named) -> Result<Named> {
        let repeats = |label: &Label| {
            self.extent(*label) == Some(1) && other.extent(*label).is_some_and(|extent| extent != 1)
        };
        let labels: Vec<Label> = self.labels.iter().copied().filter(|label| !repeats(label)).collect();
        let dims: Vec<usize> = labels.iter().filter_map(|&label| self.extent(label)).collect();
        Ok(Named { tensor: self.tensor.reshape(dims)?, labels })
    }

    /// Summed over all axes that `keep` does not name.
    fn sum_all_but(self, keep: impl Fn(&Label) -> bool) -> Result<Named> {
        let (labels, gone): (Vec<Label>, Vec<Label>) = self.labels.iter().partition(|label| keep(label));
        let axes: Vec<usize> = gone.iter().filter_map(|&label| self.axis(label)).collect();
        let tensor = if axes.is_empty() { self.tensor } else { self.tensor.sum(&axes)? };
        Ok(Named { tensor, labels })
    }

    /// A view with the axes in this order, in which axes of extent 1 stand for labels that there are not.
    fn ordered(self, order: &[Label]) -> Result<Tensor> {
        let dims: Vec<usize> = order.iter().map(|&label| self.extent(label).unwrap_or(1)).collect();
        let axes = order.iter().filter_map(|&label| self.axis(label)).collect::<Vec<_>>();
        // Axes of extent 1 never ask for a copy.
        self.tensor.permute(&axes)?.reshape(dims)
    }

    /// The labels, the largest stride first.
    fn by_stride(&self, mut labels: Vec<Label>) -> Vec<Label> {
        labels.sort_by_key(|&label| std::cmp::Reverse(self.stride(label)));
        labels
    }

    /// Whether axes in this order can be one without a copy.
    fn joins(&self, labels: &[Label]) -> bool {
        let axis = |&label: &Label| (self.extent(label).unwrap_or(1), self.stride(label));
        let axes: Vec<(usize, usize)> = labels.iter().map(axis).filter(|(extent, _)| *extent != 1).collect();
        axes.windows(2).all(|pair| pair[0].1 == pair[1].0 * pair[1].1)
    }

    fn bytes(&self) -> usize {
        self.tensor.numel() * self.tensor.dtype().size()
    }
}

/// Refuses a label of two extents. Those of an ellipsis may be 1 in one operand.
fn same_extents(subscripts: &str, a: &Named, b: &Named) -> Result<()> {
    for &label in &a.labels {
        let (Some(x), Some(y)) = (a.extent(label), b.extent(label)) else { continue };
        if x != y && !(subscripts::repeats(label) && (x == 1 || y == 1)) {
            let (name, a, b) = (subscripts::name(label), a.tensor.shape(), b.tensor.shape());
            return Err(Error::shape(format!("einsum: {subscripts:?}: {name} is {x} in {a} and {y} in {b}")));
        }
    }
    Ok(())
}

/// The sum of products of two operands.
fn two(a: Named, b: Named, output: &[Label]) -> Result<Tensor> {
    let dtype = a.tensor.dtype();
    let sums = a.labels.iter().chain(&b.labels).any(|label| !output.contains(label));
    if (sums && !dtype.is_float()) || !Binary::Mul.takes(dtype) {
        let what = if sums { " where letters are summed; cast to a float" } else { "" };
        return Err(Error::dtype(format!("einsum: does not take {dtype}{what}")));
    }
    let (of_a, of_b) = (a.labels.clone(), b.labels.clone());
    let a = a.sum_all_but(|label| output.contains(label) || of_b.contains(label))?;
    let b = b.sum_all_but(|label| output.contains(label) || of_a.contains(label))?;
    if a.labels.iter().all(|label| output.contains(label) || !b.has(label)) {
        return a.ordered(output)?.binary(Binary::Mul, &b.ordered(output)?);
    }
    // The rows of the result come first where that is ours to choose.
    match output.iter().find(|label| a.has(label) != b.has(label)) {
        Some(label) if b.has(label) => product(b, a, output),
        _ => product(a, b, output),
    }
}

/// The same by products of matrices, `[batch, m, k] x [batch, k, n] -> [batch, m, n]`, each of any number of labels.
fn product(a: Named, b: Named, output: &[Label]) -> Result<Tensor> {
    let of = |labels: &[Label], keep: &dyn Fn(&Label) -> bool| -> Vec<Label> {
        labels.iter().copied().filter(|label| keep(label)).collect()
    };
    let batch = of(output, &|label| a.has(label) && b.has(label));
    let m = a.by_stride(of(output, &|label| !b.has(label)));
    let n = b.by_stride(of(output, &|label| !a.has(label)));
    let k = of(&a.labels, &|label| !output.contains(label));
    // The order of the sum for which less is copied.
    let copied =
        |k: &Vec<Label>| [&a, &b].map(|x| if x.joins(k) { 0 } else { x.bytes() }).iter().sum::<usize>();
    let (by_a, by_b) = (a.by_stride(k.clone()), b.by_stride(k));
    let k = if copied(&by_b) < copied(&by_a) { by_b } else { by_a };
    // Columns that no stride can join are a batch too, with one first factor. Rows are joined by the product itself.
    let inner = (0..n.len()).find(|&from| b.joins(&n[from..])).unwrap_or(0);
    let (n_outer, n) = n.split_at(inner);
    let (m_outer, m) = m.split_at(m.len().saturating_sub(1));

    let extent = |label: &Label| a.extent(*label).or(b.extent(*label)).unwrap_or(1);
    let dims = |labels: &[Label]| labels.iter().map(extent).collect::<Vec<_>>();
    let all = |labels: &[Label]| labels.iter().map(extent).product::<usize>();
    let ones = |labels: &[Label]| vec![1; labels.len()];
    let a_dims = [dims(&batch), ones(n_outer), dims(m_outer), vec![all(m), all(&k)]].concat();
    let b_dims = [dims(&batch), dims(n_outer), ones(m_outer), vec![all(&k), all(n)]].concat();
    let labels = [&batch, n_outer, m_outer, m, n].concat();
    let shape = dims(&labels);
    let a = a.ordered(&[&batch, m_outer, m, &k].concat())?.reshape(a_dims)?;
    let b = b.ordered(&[&batch, n_outer, &k, n].concat())?.reshape(b_dims)?;
    let out = matmul::multiply("einsum", &a, a.layout(), &b, b.layout(), matmul::Epilogue::default())?;
    Named { tensor: out.reshape(shape)?, labels }.ordered(output)
}
