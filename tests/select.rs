//! Choices between two tensors: memory, and what is refused. The registry proves the rest.

use proptest::prelude::*;
use taut::{DType, ErrorKind, Tensor};
use taut_tests::{At, Check, Suite, figures, kind_of, message_of};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("select::operands_may_be_one", operands_may_be_one);
    suite.everywhere("select::writes_over_what_no_one_holds", writes_over_what_no_one_holds);
    suite.everywhere("select::bad_operands_are_refused", bad_operands_are_refused);
}

/// Views of one storage, read together.
fn operands_may_be_one(at: &At) -> Check {
    let x = Tensor::arange(0.0, 9.0, 1.0, DType::I64, &at.device)?.reshape([3, 3])?;
    let turned = x.clone().t()?;
    let lower = x.clone().ge(&turned)?;
    let got = x.clone().where_mask(&lower, &turned)?;
    prop_assert_eq!(got.to_vec::<i64>()?, [0, 3, 6, 3, 4, 7, 6, 7, 8]);
    // A mask that chooses from itself.
    let mask = Tensor::from_slice(&[true, false, true], [3], &at.device)?;
    let other = Tensor::from_slice(&[false], [1], &at.device)?;
    prop_assert_eq!(mask.clone().where_mask(&mask, &other)?.to_vec::<bool>()?, [true, false, true]);
    Ok(())
}

fn writes_over_what_no_one_holds(at: &At) -> Check {
    let x = Tensor::zeros([64, 32], DType::F16, &at.device)?;
    let mask = Tensor::zeros([32], DType::Bool, &at.device)?;
    let other = Tensor::zeros([64, 1], DType::F16, &at.device)?;
    at.device.pool().reset_peaks();
    let before = figures(&at.device);
    let x =
        x.where_mask(&mask, &other)?.t()?.where_mask(&mask.clone().reshape([32, 1])?, &other.clone().t()?)?;
    prop_assert_eq!(figures(&at.device), before, "an op allocated");
    let mut x = x.masked_fill(&mask.clone().reshape([32, 1])?, 1.0)?.t()?;
    x.masked_fill_(&mask, 2.0)?;
    prop_assert_eq!(at.device.stats().peak_live_bytes, before.live_bytes + 2);
    prop_assert_eq!(at.device.stats().live_bytes, before.live_bytes);
    // A larger result, and a part, get memory of their own.
    let row = Tensor::zeros([32], DType::F16, &at.device)?;
    prop_assert_eq!(row.where_mask(&mask, &x)?.shape()[..].to_vec(), [64, 32]);
    Ok(())
}

fn bad_operands_are_refused(at: &At) -> Check {
    let mut x = Tensor::zeros([2, 3], DType::F32, &at.device)?;
    let mask = Tensor::zeros([3], DType::Bool, &at.device)?;
    let before = at.device.stats().live_bytes;
    prop_assert_eq!(
        message_of(x.clone().where_mask(&x.clone(), &x.clone()))?,
        "where_mask: the mask is f32, it must be bool"
    );
    let other = Tensor::zeros([2, 3], DType::F16, &at.device)?;
    prop_assert_eq!(kind_of(x.clone().where_mask(&mask, &other))?, ErrorKind::DType);
    let larger = Tensor::zeros([4, 2, 3], DType::Bool, &at.device)?;
    prop_assert_eq!(
        message_of(x.masked_fill_(&larger, 1.0))?,
        "masked_fill_: [4, 2, 3] does not broadcast to [2, 3]"
    );
    let wrong = Tensor::zeros([2], DType::Bool, &at.device)?;
    prop_assert_eq!(kind_of(x.clone().masked_fill(&wrong, 1.0))?, ErrorKind::Shape);
    let held = x.clone();
    prop_assert_eq!(kind_of(x.masked_fill_(&mask, 1.0))?, ErrorKind::Shared);
    prop_assert_eq!(kind_of(x.where_mask_(&mask, &held))?, ErrorKind::Shared);
    drop((held, other, larger, wrong));
    let mut rows = x.slice(0, 0..1)?.broadcast_to([5, 3])?;
    prop_assert_eq!(kind_of(rows.masked_fill_(&mask, 1.0))?, ErrorKind::Shared);
    prop_assert_eq!(at.device.stats().live_bytes, before);
    Ok(())
}
