//! The tape: nodes that ops leave, and what they keep.

use super::{
    Flow, WATCHED, is_enabled,
    offload::{self, Away},
};
use crate::{Tensor, storage::Role};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use taut_core::{DType, Error, Layout, Result, Unary};
use taut_memory::ScopeId;

/// What turns the gradient of a result into those of the operands.
pub(super) type Rule = Box<dyn FnOnce(Tensor, &mut Flow<'_, '_>) -> Result<()> + Send>;

/// The node of an op, or of a tensor that requires a gradient.
pub(super) struct Node {
    /// Nodes are made before those of the ops that use them.
    pub(super) number: u64,
    pub(super) op: &'static str,
    pub(super) scope: ScopeId,
    pub(super) state: Mutex<State>,
}

/// In `Node::op`: of a tensor that requires a gradient.
const LEAF: &str = "require_grad";
/// Of an input of a checkpoint, while that is run again.
const GATE: &str = "checkpoint input";

#[derive(Default)]
pub(super) struct State {
    /// The nodes of the operands that are tracked.
    pub(super) operands: Vec<Option<Edge>>,
    /// What the op did last, and its result, of which the derivative follows.
    pub(super) activation: Option<(Unary, Kept)>,
    /// Whether the op rounded f32 to 16 bits, and did no more.
    pub(super) is_rounding: bool,
    /// Taken when it runs; a leaf has none.
    pub(super) rule: Option<Rule>,
    /// The sum of the gradients that have arrived.
    pub(super) arrived: Option<Tensor>,
}

impl Node {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is of a tensor that requires a gradient.
    pub(super) fn is_leaf(&self) -> bool {
        self.op == LEAF
    }

    /// Whether it is of an input of a checkpoint.
    pub(super) fn is_gate(&self) -> bool {
        self.op == GATE
    }

    /// Where the tensor of f32 is from of which the op made one of 16 bits by rounding alone.
    pub(super) fn before_rounding(&self) -> Option<Edge> {
        let state = self.state();
        state.operands.first().filter(|_| state.is_rounding).cloned().flatten()
    }

    fn new(op: &'static str, state: State) -> Node {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Node { number, op, scope: ScopeId::current(), state: Mutex::new(state) }
    }
}

impl Drop for Node {
    /// One after the other: a graph may be deeper than the stack.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut operands = std::mem::take(&mut state.operands);
        while let Some(edge) = operands.pop() {
            if let Some(mut node) = edge.and_then(|edge| Arc::into_inner(edge.0)) {
                let state = node.state.get_mut().unwrap_or_else(PoisonError::into_inner);
                operands.append(&mut state.operands);
            }
        }
    }
}

/// Where the gradient of a tensor goes: the node of the op that made it.
#[derive(Clone)]
pub(crate) struct Edge(pub(super) Arc<Node>);

impl Edge {
    /// Of a tensor that requires a gradient.
    pub(super) fn leaf() -> Edge {
        Edge(Arc::new(Node::new(LEAF, State::default())))
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.0.is_leaf()
    }

    /// Of an input of a checkpoint: what arrives there stays for its rule.
    pub(super) fn gate() -> Edge {
        Edge(Arc::new(Node::new(GATE, State::default())))
    }

    pub(super) fn number(&self) -> u64 {
        self.0.number
    }

    /// The op that made the tensor.
    pub(super) fn op(&self) -> &'static str {
        self.0.op
    }

    pub(super) fn grad(&self) -> Option<Tensor> {
        if self.is_leaf() { self.0.state().arrived.clone() } else { None }
    }

    pub(super) fn take_grad(&self) -> Option<Tensor> {
        if self.is_leaf() { self.take_arrived() } else { None }
    }

    pub(super) fn take_arrived(&self) -> Option<Tensor> {
        self.0.state().arrived.take()
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Edge({}, {})", self.0.op, self.0.number)
    }
}

/// What an op notes, if any operand is tracked. Made before the op runs, since what it keeps must not be written over.
pub(crate) struct Tape {
    op: &'static str,
    /// Empty if no op is noted.
    operands: Vec<Option<Edge>>,
    /// Whether the first operand is written in place: in `no_grad` what requires a gradient goes on to do so.
    in_place: bool,
}

impl Tape {
    /// Of `op` on these operands.
    pub(crate) fn new(op: &'static str, operands: &[&Tensor]) -> Tape {
        Tape::of(op, operands.iter().copied())
    }

    /// [`new`](Self::new) of operands of which some may be missing.
    pub(crate) fn of<'a>(op: &'static str, operands: impl Iterator<Item = &'a Tensor> + Clone) -> Tape {
        let tape = |operands| Tape { op, operands, in_place: false };
        if !operands.clone().any(Tensor::is_tracked) {
            return tape(Vec::new());
        }
        if is_enabled() {
            return tape(operands.map(|x| x.edge().cloned()).collect());
        }
        WATCHED.with_borrow_mut(|watched| {
            let Some(watched) = watched else { return };
            for edge in operands.filter_map(Tensor::edge).filter(|edge| edge.is_leaf()) {
                if !watched.iter().any(|known| Arc::ptr_eq(&known.0, &edge.0)) {
                    watched.push(edge.clone());
                }
            }
        });
        tape(Vec::new())
    }

    /// [`of`](Self::of) an op that writes over the first operand, whoever it is.
    ///
    /// # Errors
    ///
    /// [`Grad`](crate::ErrorKind::Grad) if that is one that requires a gradient: its values are not those it was asked for any more.
    pub(crate) fn in_place<'a>(
        op: &'static str,
        x: &'a Tensor,
        others: impl Iterator<Item = &'a Tensor> + Clone,
    ) -> Result<Tape> {
        if is_enabled() && x.edge().is_some_and(Edge::is_leaf) {
            return Err(Error::grad(format!(
                "{op}_: {} requires a gradient; change it in `no_grad`",
                x.shape()
            )));
        }
        Ok(Tape { in_place: true, ..Tape::of(op, std::iter::once(x).chain(others)) })
    }

    /// With `more` behind the operands, which are `n`.
    pub(super) fn and(mut self, n: usize, more: Vec<Edge>) -> Tape {
        if !more.is_empty() {
            self.operands.resize(n, None);
            self.operands.extend(more.into_iter().map(Some));
        }
        self
    }

    /// Whether the op is noted.
    pub(crate) fn is_on(&self) -> bool {
        !self.operands.is_empty()
    }

    /// Whether operand `i` is tracked.
    pub(crate) fn wants(&self, i: usize) -> bool {
        matches!(self.operands.get(i), Some(Some(_)))
    }

    /// Holds `x` for the rule, if `needed` and the op is noted.
    pub(crate) fn keep(&self, x: &Tensor, needed: bool) -> Option<Kept> {
        (needed && self.is_on()).then(|| Kept::new(x, self.op))
    }

    /// Notes `out` as the result of the op. `rule` gets its gradient, and gives each operand its own.
    pub(crate) fn note(
        self,
        out: &mut Tensor,
        rule: impl FnOnce(Tensor, &mut Flow<'_, '_>) -> Result<()> + Send + 'static,
    ) {
        self.leave(out, |operands, _| State { operands, rule: Some(Box::new(rule)), ..State::default() });
    }

    /// [`note`](Self::note) of an op that rounds f32 to 16 bits and does no more: gradients of f32 may pass it by
    /// ([`Flow::fold_wide`]).
    pub(crate) fn note_rounding(
        self,
        out: &mut Tensor,
        rule: impl FnOnce(Tensor, &mut Flow<'_, '_>) -> Result<()> + Send + 'static,
    ) {
        let rule: Rule = Box::new(rule);
        self.leave(out, |operands, _| State {
            operands,
            is_rounding: true,
            rule: Some(rule),
            ..State::default()
        });
    }

    /// [`note`](Self::note) of an op that applies `activation` at its end, whose derivative follows from the result. `rule`
    /// gets the gradient of what that was applied to.
    pub(crate) fn note_activated(
        self,
        out: &mut Tensor,
        activation: Option<Unary>,
        rule: impl FnOnce(Tensor, &mut Flow<'_, '_>) -> Result<()> + Send + 'static,
    ) {
        let op = self.op;
        self.leave(out, |operands, out| {
            let activation = activation.map(|unary| (unary, Kept::new(out, op)));
            State { operands, activation, rule: Some(Box::new(rule)), ..State::default() }
        });
    }

    /// Leaves a node for `out`, if the op is noted.
    fn leave(self, out: &mut Tensor, state: impl FnOnce(Vec<Option<Edge>>, &Tensor) -> State) {
        if self.in_place && !self.is_on() && out.edge().is_some_and(Edge::is_leaf) {
            return;
        }
        let is_noted = self.is_on() && out.dtype().is_float();
        let edge = is_noted.then(|| Edge(Arc::new(Node::new(self.op, state(self.operands, out)))));
        out.set_edge(edge);
    }
}

/// Refuses operands that are tracked: the op has no backward.
///
/// # Errors
///
/// [`Grad`](crate::ErrorKind::Grad).
pub(crate) fn refuse(op: &str, operands: &[&Tensor]) -> Result<()> {
    if is_enabled() && operands.iter().any(|x| x.is_tracked()) {
        return Err(Error::grad(format!("{op}: it has no backward; detach its operands, or use `no_grad`")));
    }
    Ok(())
}

/// A tensor that a rule needs.
pub(crate) enum Kept {
    Here(Tensor),
    /// In host memory: the bytes, and how the elements lie there.
    Away(Arc<Away>, Layout, DType),
}

impl Kept {
    pub(super) fn new(x: &Tensor, op: &'static str) -> Kept {
        match offload::send(x, op) {
            Some(away) => Kept::Away(away, *x.layout(), x.dtype()),
            None => Kept::Here(x.clone().with_role(Role::Saved(op)).detach()),
        }
    }

    /// The tensor, for the rule that has come to it.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if it is in host memory, and the device has no room.
    pub(crate) fn take(self) -> Result<Tensor> {
        let x = match self {
            Kept::Here(x) => x,
            Kept::Away(away, layout, dtype) => away.take()?.seen_as(layout, dtype),
        };
        Ok(x.with_role(Role::Handle))
    }
}
