//! Scaled losses, and gradients that are no numbers.

use super::{Run, number};
use proptest::prelude::*;
use taut::{
    Activation, DType, Result, Tensor,
    optim::{AdamW, Rule},
};
use taut_nn::{Builder, Layer, Mlp, Module, Optimizer, Parameter, States};
use taut_tests::{At, Check, fail};

/// A number that the optimizer keeps.
/// Weights and all states but the scale of the loss.
fn everything(run: &Run) -> Result<Vec<Vec<f32>>> {
    let states = run.optimizer.states()?.into_iter().filter(|(name, _)| !name.starts_with("loss_scale"));
    let states = states.map(|(_, x)| x.cast(DType::F32)?.to_vec::<f32>());
    run.values()?.into_iter().map(Ok).chain(states).collect()
}

/// A step whose gradients are not finite is not done, and halves the scale of the loss.
pub(super) fn infinite_gradients_change_nothing(at: &At) -> Check {
    let bad = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    for (dtype, bad) in
        [DType::F32, DType::BF16, DType::F16].into_iter().flat_map(|d| bad.map(|bad| (d, bad)))
    {
        for states in [States::Full, States::Codes] {
            let mut run = Run::new(&at.device, dtype, states)?;
            run.optimizer = run.optimizer.with_loss_scale(1024.0)?;
            run.optimizer.scaled(run.loss(0, 0..64)?)?.backward()?;
            run.optimizer.step(0.01)?;
            let before = everything(&run)?;
            run.optimizer.scaled(run.loss(1, 0..64)?.mul_scalar(bad)?)?.backward()?;
            run.optimizer.step(0.01)?;
            prop_assert!(everything(&run)? == before, "{} by {}", dtype, bad);
            prop_assert_eq!((number(&run, "loss_scale")?, number(&run, "step")?), (512.0, 1.0));
            run.optimizer.scaled(run.loss(1, 0..64)?)?.backward()?;
            run.optimizer.step(0.01)?;
            prop_assert!(run.values()?.iter().flatten().all(|x| x.is_finite()));
            prop_assert!(everything(&run)? != before);
            prop_assert_eq!((number(&run, "loss_scale")?, number(&run, "step")?), (512.0, 2.0));
        }
    }
    Ok(())
}

/// A scale at which gradients of f16 overflow is halved until they do not.
pub(super) fn a_scale_comes_down_until_gradients_fit(at: &At) -> Check {
    let mut run = Run::new(&at.device, DType::F16, States::Full)?;
    let start = 2f32.powi(30);
    run.optimizer = run.optimizer.with_loss_scale(start)?;
    let before = run.values()?;
    let mut skipped = 0;
    while number(&run, "step")? == 0.0 {
        prop_assert!(skipped < 30, "no step was done");
        prop_assert!(run.values()? == before);
        prop_assert_eq!(number(&run, "loss_scale")?, start * 0.5f32.powi(skipped));
        run.optimizer.scaled(run.loss(0, 0..64)?)?.backward()?;
        run.optimizer.step(0.01)?;
        skipped += 1;
    }
    // The last of them was done.
    prop_assert!(skipped > 5, "{} steps", skipped);
    prop_assert_eq!(number(&run, "loss_scale")?, start * 0.5f32.powi(skipped - 1));
    prop_assert!(run.values()?.iter().flatten().all(|x| x.is_finite()));
    Ok(())
}

/// With a largest norm a gradient that is not finite stops the step; without, it goes where it belongs and nowhere else.
pub(super) fn without_a_norm_nan_goes_where_it_belongs(at: &At) -> Check {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for clips in [true, false] {
            let network = Mlp::new(&Builder::random(3, dtype, &at.device), &[4, 2], Activation::Identity)?;
            network.train()?;
            let mut optimizer = Optimizer::new(Rule::AdamW(AdamW::default()), &network, States::Full)?;
            if clips {
                optimizer = optimizer.with_max_norm(1.0);
            }
            let [weight, bias] = network.parameters()[..] else { return Err(fail("two parameters")) };
            let values = |x: &Parameter| x.tensor().detach().cast(DType::F32)?.to_vec::<f32>();
            let before = [values(weight)?, values(bias)?];
            // Of the second output only: the gradients of the first are 1.
            let x = Tensor::full([1, 4], 1.0, dtype, &at.device)?;
            let factors = Tensor::from_slice(&[1.0f32, f32::NAN], [2], &at.device)?.cast(dtype)?;
            network.forward(x)?.mul(&factors)?.sum(&[])?.backward()?;
            optimizer.step(0.01)?;
            let after = [values(weight)?, values(bias)?];
            if clips {
                prop_assert!(before == after, "{} clipped", dtype);
                continue;
            }
            let is_nan = after.map(|values| values.into_iter().map(f32::is_nan).collect::<Vec<_>>());
            prop_assert_eq!(&is_nan[0], &[false, false, false, false, true, true, true, true], "{}", dtype);
            prop_assert_eq!(&is_nan[1], &[false, true], "{}", dtype);
        }
    }
    Ok(())
}
