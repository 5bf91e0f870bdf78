//! The walk back.

use super::{
    offload::kept_here,
    tape::{Edge, Kept, Node, State},
};
use crate::{Tensor, ops::unary_backward};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap, btree_map::Entry},
    sync::Arc,
};
use taut_core::{DType, Error, Onto, Result, Unary};
use taut_memory::Kind;

/// Takes the gradient of a tensor that requires one, with its number, when it is whole.
type Update<'u> = &'u mut dyn FnMut(u64, Tensor) -> Result<()>;

/// Where the rule of an op puts the gradients of its operands.
pub(crate) struct Flow<'a, 'u> {
    operands: &'a [Option<Edge>],
    walk: &'a mut Walk<'u>,
}

/// A walk back.
#[derive(Default)]
pub(super) struct Walk<'u> {
    /// Nodes that a gradient has reached, the last made first: all that use the result of an op come before it.
    reached: BinaryHeap<Reached>,
    /// Tensors that require gradients and have got one.
    leaves: Vec<Arc<Node>>,
    /// How many nodes are still to give such a tensor its gradient, if someone waits for that.
    awaited: BTreeMap<u64, usize>,
    update: Option<Update<'u>>,
}

struct Reached(Arc<Node>);

impl PartialEq for Reached {
    fn eq(&self, other: &Reached) -> bool {
        self.0.number == other.0.number
    }
}

impl Eq for Reached {}

impl PartialOrd for Reached {
    fn partial_cmp(&self, other: &Reached) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Reached {
    fn cmp(&self, other: &Reached) -> Ordering {
        self.0.number.cmp(&other.0.number)
    }
}

impl Flow<'_, '_> {
    /// Whether operand `i` takes a gradient.
    pub(crate) fn wants(&self, i: usize) -> bool {
        matches!(self.operands.get(i), Some(Some(_)))
    }

    /// Adds `grad` to the gradient of operand `i`, if that takes one.
    pub(crate) fn give(&mut self, i: usize, grad: Tensor) -> Result<()> {
        self.fold(i, |sum| match sum {
            None => Ok(grad),
            // Over the one that no one else holds.
            Some(sum) => sum.add(&grad),
        })
    }

    /// Makes a new gradient of operand `i` of what has arrived so far, if it takes one.
    pub(crate) fn fold(
        &mut self,
        i: usize,
        add: impl FnOnce(Option<Tensor>) -> Result<Tensor>,
    ) -> Result<()> {
        let Some(Some(edge)) = self.operands.get(i) else { return Ok(()) };
        self.walk.arrive(&edge.0, add)
    }

    /// [`fold`](Self::fold) in `dtype`, that of operand `i`, or in f32 where the operand is what is left of a tensor of f32 that
    /// was rounded: the gradient goes to that tensor, and is neither rounded on its way nor there twice.
    pub(crate) fn fold_wide(
        &mut self,
        i: usize,
        dtype: DType,
        add: impl FnOnce(Option<Tensor>, DType) -> Result<Tensor>,
    ) -> Result<()> {
        let Some(Some(edge)) = self.operands.get(i) else { return Ok(()) };
        let Some(source) = edge.0.before_rounding() else {
            return self.walk.arrive(&edge.0, |sum| add(sum, dtype));
        };
        // The walk comes to it all the same, and then nothing more is given by way of it.
        self.walk.reached.push(Reached(edge.0.clone()));
        self.walk.arrive(&source.0, |sum| add(sum, DType::F32))
    }

    /// The result of the op that made operand `i`, and the activation it ended with, if this op was the only one to use it:
    /// then no one needs it but to find the gradient before the activation. That is to be given then, or the
    /// result [put back](Self::put_output).
    ///
    /// # Errors
    ///
    /// As [`Kept::take`].
    pub(crate) fn take_output(&mut self, i: usize) -> Result<Option<(Unary, Tensor)>> {
        let Some(Some(edge)) = self.operands.get(i) else { return Ok(None) };
        // The hold of this op is the last: no other leads there, and no one has the tensor.
        if Arc::strong_count(&edge.0) != 1 {
            return Ok(None);
        }
        let mut state = edge.0.state();
        if state.arrived.is_some() {
            return Ok(None);
        }
        state.activation.take().map(|(op, output)| Ok((op, output.take()?))).transpose()
    }

    /// Puts back what [`take_output`](Self::take_output) gave.
    pub(crate) fn put_output(&mut self, i: usize, op: Unary, output: Tensor) {
        if let Some(Some(edge)) = self.operands.get(i) {
            edge.0.state().activation = Some((op, Kept::new(&output, edge.0.op)));
        }
    }

    /// Walks back from `edge`, whose tensor has the gradient `grad`, before the walk that this is a part of goes on.
    pub(crate) fn within(&mut self, edge: Edge, grad: Tensor) -> Result<()> {
        let around = std::mem::take(&mut self.walk.reached);
        // The node that this is called by counts for all that is inside of it.
        let awaited = std::mem::take(&mut self.walk.awaited);
        let done = self.walk.from(edge, grad);
        self.walk.forget();
        (self.walk.reached, self.walk.awaited) = (around, awaited);
        done
    }
}

impl Walk<'_> {
    /// Adds to the gradient of what `node` made.
    fn arrive(&mut self, node: &Arc<Node>, add: impl FnOnce(Option<Tensor>) -> Result<Tensor>) -> Result<()> {
        let arrived = node.state().arrived.take();
        let is_first = arrived.is_none();
        if node.is_leaf() && !self.leaves.iter().any(|leaf| Arc::ptr_eq(leaf, node)) {
            self.leaves.push(node.clone());
        }
        let mut sum = add(arrived)?;
        if node.is_leaf() {
            // Memory of its own, in order: what shows other memory is no buffer to add to.
            sum = if sum.is_contiguous() && sum.is_reusable() { sum } else { sum.copy()? };
            sum = sum.with_kind(Kind::Gradients)?;
        } else if is_first && !node.is_gate() {
            self.reached.push(Reached(node.clone()));
        }
        node.state().arrived = Some(sum);
        Ok(())
    }

    fn from(&mut self, edge: Edge, grad: Tensor) -> Result<()> {
        self.arrive(&edge.0, |sum| match sum {
            None => Ok(grad),
            Some(sum) => sum.add(&grad),
        })?;
        drop(edge);
        while let Some(Reached(node)) = self.reached.pop() {
            let State { operands, activation, rule, arrived, .. } = std::mem::take(&mut *node.state());
            let Some(mut grad) = arrived else {
                // All that was given passed it by.
                self.done(&operands)?;
                continue;
            };
            let Some(rule) = rule else {
                return Err(Error::grad(format!(
                    "backward: has been through `{}` before; what it kept is freed",
                    node.op
                )));
            };
            let _scope = node.scope.enter();
            if let Some((op, output)) = activation {
                grad = unary_backward::over(grad, op, output.take()?, Onto::Replace)?;
            }
            rule(grad, &mut Flow { operands: &operands, walk: self })?;
            self.done(&operands)?;
        }
        Ok(())
    }

    /// A node has given these what it had to give.
    fn done(&mut self, operands: &[Option<Edge>]) -> Result<()> {
        for edge in operands.iter().flatten() {
            if let Entry::Occupied(mut count) = self.awaited.entry(edge.number()) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                    self.update(&edge.0)?;
                }
            }
        }
        Ok(())
    }

    fn update(&mut self, leaf: &Node) -> Result<()> {
        let Some(update) = &mut self.update else { return Ok(()) };
        let grad = leaf.state().arrived.take();
        grad.map_or(Ok(()), |grad| update(leaf.number, grad))
    }

    /// Counts what will be given to each tensor that requires a gradient.
    fn count(&mut self, edge: &Edge) -> Result<()> {
        let (mut met, mut nodes) = (BTreeMap::from([(edge.number(), ())]), vec![edge.clone()]);
        while let Some(edge) = nodes.pop() {
            if edge.is_leaf() && edge.0.state().arrived.is_some() {
                return Err(Error::grad(
                    "backward_each: a gradient is there from a backward before; take it, or drop it with `zero_grad`",
                ));
            }
            for operand in edge.0.state().operands.iter().flatten() {
                if operand.is_leaf() {
                    *self.awaited.entry(operand.number()).or_default() += 1;
                }
                if met.insert(operand.number(), ()).is_none() {
                    nodes.push(operand.clone());
                }
            }
        }
        Ok(())
    }

    /// Drops the gradients that are on their way.
    fn forget(&mut self) {
        self.reached.drain().for_each(|reached| reached.0.state().arrived = None);
    }
}

/// Walks back from `edge`, whose tensor has the gradient `grad`.
pub(super) fn backward(edge: Edge, grad: Tensor, update: Option<Update<'_>>) -> Result<()> {
    let mut walk = Walk { update, ..Walk::default() };
    if walk.update.is_some() {
        walk.count(&edge)?;
    }
    // What a checkpoint keeps as it runs again is needed at once.
    let done = kept_here(|| walk.from(edge, grad)).and_then(|()| {
        // Those to which a node that was counted gave nothing in the end.
        let late = if walk.update.is_some() { walk.leaves.clone() } else { Vec::new() };
        late.iter().try_for_each(|leaf| walk.update(leaf))
    });
    if done.is_err() {
        // A part of a gradient is worth nothing.
        walk.leaves.iter().for_each(|leaf| leaf.state().arrived = None);
        walk.forget();
    }
    done
}
