//! Checkpoints: a part of the forward pass that is run again when its gradient is asked for.

use super::{
    Tape, is_enabled,
    tape::{Edge, Kept},
    watch, with_grad,
};
use crate::{
    Tensor,
    precision::{precision, with_precision},
    seed,
};
use taut_core::{Error, ErrorKind, Result};

/// Calls `function` without keeping what its backward needs: only the inputs are held, and the function is called again
/// when [`backward`](Tensor::backward) comes to it. Dropout that draws its seeds from [`seed`] drops the same
/// elements again ([`seed::next`]). Checkpoints nest. In [`save_on_host`](crate::save_on_host) the inputs wait on the host. In [`no_grad`](crate::no_grad) it is a call of `function`.
///
/// Time for memory: one more forward pass of the part, for what it would have kept.
///
/// Source: Chen et al., "Training deep nets with sublinear memory cost", 2016.
///
/// ```
/// use taut::{DType, Device, Tensor, checkpoint};
/// let w = Tensor::full([64, 64], 0.01, DType::F32, &Device::cpu())?.require_grad()?;
/// let x = Tensor::full([8, 64], 1.0, DType::F32, &Device::cpu())?;
/// let weight = w.clone();
/// let y = checkpoint(vec![x], move |x| {
///     let [x] = <[Tensor; 1]>::try_from(x).map_err(|_| taut::Error::shape("one input"))?;
///     x.linear(&weight)?.gelu()?.linear(&weight)?.tanh()
/// })?;
/// y.sum(&[])?.backward()?;
/// assert!(w.grad().is_some());
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// Those of `function`; [`Grad`](crate::ErrorKind::Grad) in the backward if it returns a tensor of another shape then.
pub fn checkpoint(
    inputs: Vec<Tensor>,
    function: impl Fn(Vec<Tensor>) -> Result<Tensor> + Send + 'static,
) -> Result<Tensor> {
    if !is_enabled() {
        return function(inputs);
    }
    let (state, precision) = (seed::state(), precision());
    let tape = Tape::of("checkpoint", inputs.iter());
    let kept: Vec<Kept> = inputs.iter().map(|x| Kept::new(x, "checkpoint")).collect();
    let (out, learns) = watch(|| function(inputs));
    let mut out = out?.detach();
    let shape = *out.shape();
    // What learns may be inside of the function, with inputs that no one asks about.
    let tape = tape.and(kept.len(), learns);
    tape.note(&mut out, move |grad, flow| {
        let mut inputs = kept.into_iter().map(Kept::take).collect::<Result<Vec<_>>>()?;
        let gates: Vec<Option<Edge>> = (0..inputs.len()).map(|i| flow.wants(i).then(Edge::gate)).collect();
        inputs.iter_mut().zip(&gates).for_each(|(x, gate)| x.set_edge(gate.clone()));
        let out =
            seed::with_state(state, || with_precision(precision, || with_grad(true, || function(inputs))))?;
        if *out.shape() != shape {
            let again = out.shape();
            return Err(Error::grad(format!("checkpoint: the function made {shape}, and then {again}")));
        }
        let Some(edge) = out.edge().cloned() else { return Ok(()) };
        drop(out);
        flow.within(edge, grad)?;
        let mut arrived = gates.iter().enumerate();
        arrived.try_for_each(|(i, gate)| match gate.as_ref().and_then(Edge::take_arrived) {
            Some(grad) => flow.give(i, grad),
            None => Ok(()),
        })
    });
    Ok(out)
}

/// `x` through `steps`, one after the other, in `segments` of as equal length as can be, each but the last a [`checkpoint`]:
/// where the backward comes next, the last would be run again at once. About the square root of the number of steps keeps
/// the least.
///
/// ```
/// use taut::{DType, Device, Tensor, checkpoint_sequential};
/// let steps = (0..9).map(|_| |x: Tensor| x.tanh()).collect();
/// let x = Tensor::full([4], 0.5, DType::F32, &Device::cpu())?.require_grad()?;
/// checkpoint_sequential(x.clone(), steps, 3)?.sum(&[])?.backward()?;
/// assert!(x.grad().is_some());
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// [`Value`](crate::ErrorKind::Value) for no segment, or more than steps; as [`checkpoint`].
pub fn checkpoint_sequential<F>(x: Tensor, steps: Vec<F>, segments: usize) -> Result<Tensor>
where
    F: Fn(Tensor) -> Result<Tensor> + Send + 'static,
{
    let n = steps.len();
    if segments == 0 || segments > n {
        let message = format!("checkpoint_sequential: {segments} segments of {n} steps");
        return Err(Error::new(ErrorKind::Value, message));
    }
    let mut steps = steps.into_iter();
    (0..segments).try_fold(x, |x, segment| {
        let length = n / segments + usize::from(segment < n % segments);
        let part: Vec<F> = steps.by_ref().take(length).collect();
        if segment + 1 == segments {
            return part.iter().try_fold(x, |x, step| step(x));
        }
        checkpoint(vec![x], move |x| {
            let x = x.into_iter().next().ok_or_else(|| Error::shape("checkpoint: there is no input"))?;
            part.iter().try_fold(x, |x, step| step(x))
        })
    })
}
