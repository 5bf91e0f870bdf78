//! Gradients: uses that add up, views, checkpoints, what is kept and what is refused. Ops by themselves are in `derivative.rs`.

mod checkpoints;
mod parameters;

use proptest::prelude::*;
use taut::{Activation, Budget, DType, Device, Error, ErrorKind, Kind, Result, Tensor, no_grad, scope};
use taut_tests::{At, Check, Suite, kind_of, message_of};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("grad::uses_are_added", uses_are_added);
    suite.real("grad::views", views);
    suite.everywhere("grad::no_grad_keeps_nothing", no_grad_keeps_nothing);
    suite.everywhere("grad::layers_keep_one_tensor_each", layers_keep_one_tensor_each);
    suite.everywhere("grad::frozen_weights_keep_nothing", frozen_weights_keep_nothing);
    suite.everywhere("grad::saved_tensors_go_as_they_are_used", saved_tensors_go_as_they_are_used);
    suite.real("grad::over_what_was_kept", over_what_was_kept);
    suite.everywhere("grad::one_buffer_for_a_gradient", parameters::one_buffer_for_a_gradient);
    suite.everywhere("grad::deep_graphs", deep_graphs);
    suite.real("grad::in_place", in_place);
    suite.real("grad::changed_parameters_learn_on", changed_parameters_learn_on);
    suite.everywhere("grad::refused", refused);
    suite.everywhere("grad::an_error_leaves_no_part", an_error_leaves_no_part);
    suite.everywhere("grad::updates_as_gradients_come", parameters::updates_as_gradients_come);
    suite.everywhere("grad::past_what_was_rounded", parameters::past_what_was_rounded);
    suite.real("grad::checkpoints_give_the_same", checkpoints::give_the_same);
    suite.everywhere("grad::checkpoints_keep_their_inputs", checkpoints::keep_their_inputs);
}

fn leaf(values: &[f32], device: &Device) -> Result<Tensor> {
    Tensor::from_slice(values, [values.len()], device)?.require_grad()
}

fn grad(x: &Tensor) -> Result<Vec<f32>> {
    x.grad().ok_or_else(|| Error::grad("there is no gradient"))?.to_vec::<f32>()
}

/// A gradient that is one number for all elements is written over what its op kept, with the derivative of the activation
/// that made that in the same pass: no memory beside it. Where a handle holds the tensor, there is, with the same result.
fn over_what_was_kept(at: &At) -> Check {
    let rows = 32;
    let x = Tensor::normal([rows, 64], 0.0, 1.0, 1, DType::F32, &at.device)?;
    for activation in [Activation::Relu, Activation::LeakyRelu { slope: 0.125 }, Activation::Identity] {
        for square in [false, true] {
            let device = at.fresh()?;
            let x = x.clone().to(&device)?;
            let w = Tensor::normal([128, 64], 0.0, 0.5, 2, DType::F32, &device)?.require_grad()?;
            let unit = (rows * 128 * 4) as u64;
            let mut grads = Vec::new();
            for held in [true, false] {
                let y = x.clone().linear_with(&w, None, activation)?;
                let holder = held.then(|| y.clone());
                let loss = if square { y.square()?.mean(&[])? } else { y.mean_square(&[])? };
                let before = device.stats().live_bytes;
                device.pool().reset_peaks();
                loss.backward()?;
                drop(holder);
                grads.push(grad(&w)?);
                let most = device.stats().peak_live_bytes - before;
                let gradient = (128 * 64 * 4) as u64;
                prop_assert!(
                    held || square || most < gradient + unit / 2,
                    "{:?}: {} bytes more",
                    activation,
                    most
                );
                w.zero_grad();
            }
            let bits = |x: &Vec<f32>| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&grads[0]), bits(&grads[1]), "{:?}", activation);
        }
    }
    Ok(())
}

/// Every use of a tensor adds to its gradient: twice by one op, by several, and over two ways that meet again.
fn uses_are_added(at: &At) -> Check {
    let x = leaf(&[1.0, -2.0, 3.0], &at.device)?;
    x.clone().mul(&x)?.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [2.0, -4.0, 6.0]);

    // Onto what is there.
    x.clone().mul_scalar(10.0)?.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [12.0, 6.0, 16.0]);
    x.zero_grad();
    prop_assert!(x.grad().is_none());

    // A diamond: x -> y -> (2 y, y^2) -> sum.
    let y = x.clone().add_scalar(1.0)?;
    let sum = y.clone().mul_scalar(2.0)?.add(&y.square()?)?;
    sum.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [6.0, 0.0, 10.0]);

    // Broadcast: each element of a column is used for a row.
    let column = leaf(&[1.0, 2.0], &at.device)?;
    let rows = column.clone().unsqueeze(1)?.mul(&x.clone().detach())?;
    rows.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&column)?, [2.0, 2.0]);
    Ok(())
}

/// Gradients of parts go where the parts are, through all kinds of views.
fn views(at: &At) -> Check {
    let x = leaf(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &at.device)?;
    let matrix = x.clone().reshape([2, 3])?;
    let left = matrix.clone().slice(1, 0..1)?;
    let right = matrix.clone().t()?.slice(0, 1..3)?;
    let loss = left.mul_scalar(5.0)?.sum(&[])?.add(&right.square()?.sum(&[])?)?;
    drop(matrix);
    loss.backward()?;
    prop_assert_eq!(grad(&x)?, [5.0, 4.0, 6.0, 5.0, 10.0, 12.0]);
    x.zero_grad();
    let parts = x.clone().split(0, &[1, 2, 3])?;
    let weighted = parts.into_iter().enumerate().map(|(i, part)| part.mul_scalar(i as f64)?.sum(&[]));
    let sums = weighted.collect::<Result<Vec<_>>>()?;
    Tensor::stack(&sums, 0)?.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [0.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    Ok(())
}

fn live(device: &Device) -> u64 {
    device.stats().live_bytes
}

/// In `no_grad` a chain of layers keeps no byte.
fn no_grad_keeps_nothing(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::zeros([64, 64], DType::F32, &device)?.require_grad()?;
    let x = Tensor::zeros([32, 64], DType::F32, &device)?;
    let before = live(&device);
    let y = no_grad(|| {
        let h = x.linear_with(&w, None, Activation::Relu)?.gelu()?.mul(&w.clone().slice(0, 0..32)?)?;
        h.softmax(1)?.layer_norm(None, None, 1e-5)
    })?;
    prop_assert!(!y.is_tracked());
    prop_assert_eq!(device.stats().live_by_kind[Kind::Saved as usize], 0);
    // The result has the size of what it was made of.
    prop_assert_eq!(live(&device), before);
    Ok(())
}

/// Sixteen linear layers with ReLU keep their outputs, each once: as the output of one and the input of the next.
fn layers_keep_one_tensor_each(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::zeros([64, 64], DType::F32, &device)?.require_grad()?;
    let x = Tensor::zeros([128, 64], DType::F32, &device)?;
    let (before, one) = (live(&device), 128 * 64 * 4);
    let mut h = x;
    for _ in 0..16 {
        h = h.linear_with(&w, None, Activation::Relu)?;
    }
    prop_assert_eq!(live(&device) - before, 16 * one);
    prop_assert_eq!(device.stats().live_by_kind[Kind::Saved as usize], 17 * one);
    h.sum(&[])?.backward()?;
    prop_assert_eq!(live(&device), 2 * 64 * 64 * 4, "the weight and its gradient");
    Ok(())
}

/// A layer whose weight is frozen keeps no input, and what leads to no parameter is not noted.
fn frozen_weights_keep_nothing(at: &At) -> Check {
    let device = at.fresh()?;
    let frozen = Tensor::zeros([64, 64], DType::F32, &device)?;
    let bias = Tensor::zeros([64], DType::F32, &device)?.require_grad()?;
    let x = Tensor::zeros([128, 64], DType::F32, &device)?;
    let before = live(&device);
    let y = x.linear(&frozen)?;
    prop_assert!(!y.is_tracked());
    let y = y.linear_with(&frozen, Some(&bias), Activation::Identity)?.linear(&frozen)?;
    prop_assert!(y.is_tracked());
    // The input of the second layer went, though its bias learns: only the result is there.
    prop_assert_eq!(live(&device), before);
    y.sum(&[])?.backward()?;
    prop_assert!(frozen.grad().is_none());
    prop_assert_eq!(bias.grad().map(|g| g.shape().to_vec()), Some(vec![64]));
    Ok(())
}

/// The peak of a backward is what the forward kept, and the gradients of two layers.
fn saved_tensors_go_as_they_are_used(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::zeros([64, 64], DType::F32, &device)?.require_grad()?;
    let (one, weight) = (512 * 64 * 4, 64 * 64 * 4);
    let mut h = Tensor::zeros([512, 64], DType::F32, &device)?;
    for _ in 0..8 {
        h = h.linear_with(&w, None, Activation::Relu)?;
    }
    let ones = Tensor::zeros([512, 64], DType::F32, &device)?;
    device.pool().reset_peaks();
    h.backward_with(ones)?;
    // What was kept and the given gradient, and nothing more: the last output goes as its gradient is made over the given one,
    // and the gradient of each input is made over that.
    prop_assert_eq!(device.stats().peak_tensor_bytes, 9 * one + one + weight);
    Ok(())
}

/// A graph of 100,000 ops is walked, and dropped, without a deep stack.
fn deep_graphs(at: &At) -> Check {
    let x = leaf(&[1.0], &at.device)?;
    let deep = |n: usize| (0..n).try_fold(x.clone(), |y, _| y.add_scalar(0.0));
    drop(deep(100_000)?);
    deep(100_000)?.backward()?;
    if !at.device.is_plan() {
        prop_assert_eq!(grad(&x)?, [1.0]);
    }
    Ok(())
}

/// An op in place is noted as the op is.
fn in_place(at: &At) -> Check {
    let x = leaf(&[1.0, -2.0], &at.device)?;
    let mut y = x.clone().mul_scalar(3.0)?;
    y.mul_scalar_(2.0)?;
    y.relu_()?;
    y.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [6.0, 0.0]);
    x.zero_grad();

    let mut sum = Tensor::zeros([2], DType::F32, &at.device)?;
    sum.add_(&x)?;
    sum.add_(&x)?;
    sum.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [2.0, 2.0]);
    Ok(())
}

/// A parameter that is changed in `no_grad` is one still.
fn changed_parameters_learn_on(at: &At) -> Check {
    let mut x = leaf(&[1.0, -2.0], &at.device)?;
    let number = x.grad_number();
    no_grad(|| -> Result<()> {
        x.mul_scalar_(2.0)?;
        let one = Tensor::full([2], 1.0, DType::F32, &at.device)?;
        x.add_(&one)?;
        x.copy_(&one)
    })?;
    prop_assert_eq!(x.grad_number(), number);
    x.clone().square()?.sum(&[])?.backward()?;
    prop_assert_eq!(grad(&x)?, [2.0, 2.0]);
    // What is made of it there does not.
    prop_assert!(!no_grad(|| x.mul_scalar(2.0))?.is_tracked());
    Ok(())
}

/// What can not be right is refused, by name, and changes nothing.
fn refused(at: &At) -> Check {
    let device = at.fresh()?;
    let mut x = Tensor::zeros([4], DType::F32, &device)?.require_grad()?;
    let message = message_of(x.relu_())?;
    prop_assert!(message.starts_with("relu_: [4] requires a gradient"), "{}", message);

    // Kept by an op: of the name of that op.
    let mut y = x.clone().exp()?;
    let message = message_of(y.relu_())?;
    prop_assert!(message.contains("the backward of `exp`"), "{}", message);
    let mut z = x.clone().mul_scalar(2.0)?;
    prop_assert_eq!(kind_of(z.gelu_())?, ErrorKind::Grad);
    prop_assert_eq!(kind_of(z.mul_(&x))?, ErrorKind::Grad);

    // Twice through one graph; no graph; no scalar; other shapes.
    let loss = y.sum(&[])?;
    let again = loss.clone();
    loss.backward()?;
    prop_assert_eq!(kind_of(again.backward())?, ErrorKind::Grad);
    prop_assert_eq!(kind_of(x.clone().detach().sum(&[])?.backward())?, ErrorKind::Grad);
    prop_assert_eq!(kind_of(x.clone().relu()?.backward())?, ErrorKind::Shape);
    prop_assert_eq!(kind_of(z.clone().require_grad())?, ErrorKind::Grad);
    let whole = Tensor::zeros([4], DType::I64, &device)?;
    prop_assert_eq!(kind_of(whole.require_grad())?, ErrorKind::DType);
    let wrong = Tensor::zeros([2], DType::F32, &device)?;
    prop_assert_eq!(kind_of(z.backward_with(wrong))?, ErrorKind::Shape);
    Ok(())
}

/// A backward that fails half way leaves no part of a gradient, and no byte.
fn an_error_leaves_no_part(at: &At) -> Check {
    let device = at.fresh()?;
    let w = Tensor::zeros([256, 256], DType::F32, &device)?.require_grad()?;
    let x = Tensor::zeros([4096, 256], DType::F32, &device)?;
    let before = live(&device);
    let one = 4096 * 256 * 4;
    // Room for the forward pass with what its products take, and then for nothing more.
    device.pool().scope("step").limit(Budget::Bytes(3 * one + 4096))?;
    let _scope = scope("step");
    let loss = x.clone().linear_with(&w, None, Activation::Relu)?.linear(&w)?.sum(&[])?;
    let rest = Tensor::zeros([2 * 4096, 256], DType::F32, &device)?;
    prop_assert_eq!(kind_of(loss.backward())?, ErrorKind::OutOfMemory);
    drop(rest);
    prop_assert!(w.grad().is_none());
    prop_assert_eq!(live(&device), before);
    Ok(())
}
