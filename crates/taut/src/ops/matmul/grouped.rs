//! Lists of products of different sizes, which share launches where a card can do that.

use super::{Factors, Note};
use crate::{
    Device, Tensor, cpu,
    device::{DeviceKind, SpecRef},
    grad::Tape,
    precision::precision,
    tensor::{View, ViewMut},
};
use std::borrow::Borrow;
use taut_core::{Activation, DType, Error, Layout, Result, Shape};
use taut_cuda::{
    Operand,
    launch::matmul::{Problem, grouped as launch},
};
use taut_memory::{Kind, Site};

const OP: &str = "matmul_grouped";

impl Tensor {
    /// The products of two lists of matrices, of any sizes: `[m, k] x [k, n] -> [m, n]` for each pair, as
    /// [`matmul`](Self::matmul) has them. On Hopper products of 16-bit floats whose operands lie on packs share launches, in
    /// which none waits for another.
    ///
    /// All operands are taken by reference: each is read until the end, so that there is no memory to write over. Every result
    /// has its own.
    ///
    /// Backward keeps both operands of each product: 0 bytes beside them. Gradients are products of their own, made as those of
    /// the results arrive.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::full([5, 3], 1.0, DType::F32, &device)?.split(0, &[1, 4])?;
    /// let w = [Tensor::full([3, 2], 2.0, DType::F32, &device)?, Tensor::full([3, 7], 1.0, DType::F32, &device)?];
    /// let y = Tensor::matmul_grouped(&x, &w)?;
    /// assert_eq!(y[0].to_vec::<f32>()?, [6.0; 2]);
    /// assert_eq!(y[1].to_vec::<f32>()?, [3.0; 28]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the lists differ in length, or a pair is not of two matrices with one inner extent;
    /// [`DType`](crate::ErrorKind::DType) if a pair is of integers, bool or different dtypes;
    /// [`Device`](crate::ErrorKind::Device) if the devices differ. They name the number of the product.
    pub fn matmul_grouped(a: &[impl Borrow<Tensor>], b: &[impl Borrow<Tensor>]) -> Result<Vec<Tensor>> {
        if a.len() != b.len() {
            let (a, b) = (a.len(), b.len());
            return Err(Error::shape(format!("{OP}: {a} matrices by {b}: must be as many")));
        }
        let operands: Vec<(&Tensor, &Tensor)> =
            a.iter().map(Borrow::borrow).zip(b.iter().map(Borrow::borrow)).collect();
        let Some(&(first, _)) = operands.first() else { return Ok(Vec::new()) };
        let pairs = operands.iter().enumerate();
        let pairs = pairs.map(|(i, (a, b))| Pair::new(i, first, a, b)).collect::<Result<Vec<_>>>()?;

        let notes: Vec<Note> = operands
            .iter()
            .map(|(a, b)| {
                let tape = Tape::of(OP, [*a, *b].into_iter());
                Note::new(tape, 0, a, b, b.layout(), None, Activation::Identity)
            })
            .collect();
        let mut results = allocate(OP, &pairs, first.device())?;
        let views = results.iter_mut().map(|out| out.view_mut(OP)).collect::<Result<_>>()?;
        multiply(OP, first.device(), &pairs, Results::Each(views))?;
        for (note, out) in notes.into_iter().zip(&mut results) {
            note.of(out);
        }
        Ok(results)
    }
}

/// Two factors as a product sees them: `[m, k]` and `[k, n]`, of one dtype and device.
pub(super) struct Pair<'a> {
    pub(super) a: &'a Tensor,
    pub(super) a_layout: Layout,
    pub(super) b: &'a Tensor,
    pub(super) b_layout: Layout,
}

impl<'a> Pair<'a> {
    /// Product number `i`, on the device of `first`.
    fn new(i: usize, first: &Tensor, a: &'a Tensor, b: &'a Tensor) -> Result<Pair<'a>> {
        let at = || format!("{OP}: product {i}");
        if a.device() != first.device() {
            first.same_device(a, &at())?;
        }
        if a.rank() != 2 || b.rank() != 2 {
            let (a, b) = (a.shape(), b.shape());
            return Err(Error::shape(format!("{}: {a} and {b}: must be [m, k] and [k, n]", at())));
        }
        let factors = Factors::new(OP, a, a.layout(), b, b.layout());
        // Only an error takes the time to say where.
        let factors = factors.or_else(|_| Factors::new(&at(), a, a.layout(), b, b.layout()))?;
        Ok(Pair { a, a_layout: factors.a, b, b_layout: factors.b })
    }

    fn dtype(&self) -> DType {
        self.a.dtype()
    }
}

/// New memory for the result of each product.
pub(super) fn allocate(op: &'static str, pairs: &[Pair<'_>], device: &Device) -> Result<Vec<Tensor>> {
    let results = pairs.iter().map(|pair| {
        let shape = Shape::new(&[pair.a_layout.shape()[0], pair.b_layout.shape()[1]])?;
        Tensor::allocate(shape, pair.dtype(), device, Site::new(op, Kind::Activations))
    });
    results.collect()
}

/// Where the results of products go.
pub(super) enum Results<'a> {
    /// To a tensor of their own each.
    Each(Vec<ViewMut<'a>>),
    /// To parts of one.
    Parts(ViewMut<'a>, Vec<Layout>),
}

impl Results<'_> {
    fn at(&mut self, i: usize) -> ViewMut<'_> {
        match self {
            Results::Each(list) => {
                let ViewMut { storage, layout, dtype } = &mut list[i];
                ViewMut { storage, layout, dtype: *dtype }
            }
            Results::Parts(ViewMut { storage, dtype, .. }, parts) => {
                ViewMut { storage, layout: &parts[i], dtype: *dtype }
            }
        }
    }

    fn operands(&self) -> Result<Vec<Operand<'_>>> {
        match self {
            Results::Each(list) => list.iter().map(ViewMut::operand).collect(),
            Results::Parts(whole, parts) => {
                parts.iter().map(|part| Operand::new(whole.storage.block(), part, whole.dtype)).collect()
            }
        }
    }
}

/// All products; where the device is chosen.
pub(super) fn multiply(
    op: &'static str,
    device: &Device,
    pairs: &[Pair<'_>],
    mut results: Results<'_>,
) -> Result<()> {
    let views = || -> Result<Vec<[View<'_>; 2]>> {
        pairs.iter().map(|pair| Ok([pair.a.view()?, pair.b.view()?])).collect()
    };
    match device.spec_ref() {
        SpecRef::Cpu => {
            let choose = |pair: &Pair<'_>| cpu::matmul::choose(&pair.a_layout, &pair.b_layout, pair.dtype());
            let choices: Vec<_> = pairs.iter().map(choose).collect();
            // One after the other they take the same workspace.
            let bytes = choices.iter().map(|choice| choice.workspace_bytes).max().unwrap_or(0);
            let mut workspace = device.workspace(bytes, op)?;
            let views = views()?;
            if device.is_plan() {
                return Ok(());
            }
            let plain =
                cpu::matmul::Finish { bias: None, activation: Activation::Identity, accumulate: false };
            for (i, (choice, [a, b])) in choices.iter().zip(views).enumerate() {
                let (a, b) = (a.through(&pairs[i].a_layout), b.through(&pairs[i].b_layout));
                cpu::matmul::matmul(choice, a, b, plain, results.at(i), &mut workspace)?;
            }
            Ok(())
        }
        SpecRef::Cuda(card) => {
            let problems = pairs.iter().map(|pair| {
                let (dtype, out) = (pair.dtype(), pair.dtype());
                Problem { a: &pair.a_layout, b: &pair.b_layout, dtype, out, precision: precision() }
            });
            let choice = launch::choose(&problems.collect::<Vec<_>>(), card);
            let workspace = device.workspace(choice.workspace_bytes, op)?;
            let views = views()?;
            let DeviceKind::Cuda { gpu, .. } = device.kind() else { return Ok(()) };
            let stream = gpu.stream(device.current())?;
            let seen = views.iter().zip(pairs);
            let a = seen.clone().map(|([a, _], pair)| a.through(&pair.a_layout).operand());
            let b = seen.map(|([_, b], pair)| b.through(&pair.b_layout).operand());
            let (a, b) = (a.collect::<Result<Vec<_>>>()?, b.collect::<Result<Vec<_>>>()?);
            launch::matmul(&stream, &choice, &a, &b, &results.operands()?, &workspace)
        }
    }
}
