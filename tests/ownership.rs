//! Who holds memory, and when an op may write over it.

use proptest::{prelude::*, sample::select};
use taut::{
    Activation, Binary, DType, ErrorKind, Kind, Tensor, Unary,
    memory::{Site, StreamId},
};
use taut_tests::{
    At, Check, Fill, Suite, Value, binary, cases, download, figures, kind_of, message_of, same, unary,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("ownership::what_others_hold_stays", what_others_hold_stays);
    suite.real("ownership::outside_of_a_view_is_untouched", outside_of_a_view_is_untouched);
    suite.everywhere("ownership::sole_storage_is_reused", sole_storage_is_reused);
    suite.everywhere("ownership::shared_storage_is_refused", shared_storage_is_refused);
    suite.everywhere("ownership::broadcast_is_refused", broadcast_is_refused);
    suite.everywhere(
        "ownership::sixteen_layers_peak_at_two_activations",
        sixteen_layers_peak_at_two_activations,
    );
    suite.everywhere("ownership::operands_are_freed_by_the_op", operands_are_freed_by_the_op);
    suite.everywhere("ownership::kinds_are_counted", kinds_are_counted);
}

/// An op on a clone leaves the original as it was, and an op on a part the rest.
fn what_others_hold_stays(at: &At) -> Check {
    let x = Tensor::from_slice(&[-1.0f32, 2.0, -3.0, 4.0], [2, 2], &at.device)?;
    let y = x.clone().relu()?;
    let part = x.clone().slice(0, 1..2)?.mul_scalar(10.0)?;
    let sum = x.clone().add(&y)?;
    prop_assert_eq!(x.to_vec::<f32>()?, [-1.0, 2.0, -3.0, 4.0]);
    prop_assert_eq!(y.to_vec::<f32>()?, [0.0, 2.0, 0.0, 4.0]);
    prop_assert_eq!(part.to_vec::<f32>()?, [-30.0, 40.0]);
    prop_assert_eq!(sum.to_vec::<f32>()?, [-1.0, 4.0, -3.0, 8.0]);
    Ok(())
}

/// In place on a view changes the elements of the view and no other byte of its storage.
fn outside_of_a_view_is_untouched(at: &At) -> Check {
    let dtypes: Vec<_> = at.dtypes().into_iter().filter(|dtype| *dtype != DType::Bool).collect();
    let op = Unary::AddScalar { value: 3.0 };
    let operands = select(dtypes).prop_flat_map(|dtype| (cases(dtype, Fill::Any, false), any::<bool>()));
    let device = at.fresh()?;
    at.for_all(operands, |(case, with_other)| {
        let (dtype, bytes) = (case.dtype, case.geometry.base_numel() * case.dtype.size());
        let mut want = case.base_values();
        let mut x = case.upload(&device)?;
        if with_other {
            let other = Tensor::full([0usize; 0], 3.0, dtype, &at.device)?;
            let other = other.to(&device)?;
            x.add_(&other)?;
            case.geometry.grid().index.iter().for_each(|&i| {
                want[i] = binary(Binary::Add, want[i], Value::Float(3.0).cast_to(dtype), dtype);
            });
        } else {
            x.unary_(op)?;
            case.geometry.grid().index.iter().for_each(|&i| want[i] = unary(op, want[i], dtype));
        }
        // Nothing else is in the pool, so that the next block of this size has the place of the last.
        drop(x);
        let block =
            device.pool().allocate(bytes as u64, StreamId::COMPUTE, Site::new("test", Kind::Input))?;
        same(&Tensor::from_block(block, &case.geometry.base, dtype, &device)?, &want)
    })
}

/// Constants that both operands of an op are made from.
trait CastTo {
    fn cast_to(self, dtype: DType) -> Value;
}

impl CastTo for Value {
    fn cast_to(self, dtype: DType) -> Value {
        taut_tests::cast(self, dtype)
    }
}

/// Nobody else holds it and it is dense: no allocation. A part of more gets memory of its own.
fn sole_storage_is_reused(at: &At) -> Check {
    let other = Tensor::zeros([256], DType::F32, &at.device)?;
    let mut x = Tensor::zeros([128, 256], DType::F32, &at.device)?;
    let before = figures(&at.device);
    x = x.relu()?.add_scalar(1.0)?.add(&other)?;
    x = x.t()?.leaky_relu(0.1)?.t()?.mul_scalar(2.0)?;
    x = x.reshape([256, 128])?.neg()?;
    prop_assert_eq!(figures(&at.device), before, "an op allocated");

    // Written over, a part would keep the whole alive.
    let part = x.slice(0, 0..2)?.relu()?;
    prop_assert_eq!(at.device.stats().allocations, before.allocations + 1);
    prop_assert_eq!(at.device.stats().live_bytes, (256 + 2 * 128) * 4);
    drop(part);
    Ok(())
}

/// `relu_` on what others hold names them, and changes nothing.
fn shared_storage_is_refused(at: &At) -> Check {
    let mut x = Tensor::from_slice(&[-1.0f32, 2.0], [2], &at.device)?;
    let values = download(&x)?;
    let message =
        |holders: &str| format!("relu_: the storage is also held by {holders}; drop it, or use `relu`");

    let handle = x.clone();
    prop_assert_eq!(kind_of(x.relu_())?, ErrorKind::Shared);
    prop_assert_eq!(message_of(x.relu_())?, message("a handle"));
    let view = x.clone().slice(0, 0..1)?;
    prop_assert_eq!(message_of(x.relu_())?, message("a handle and a view"));
    let more = (x.clone(), view.clone());
    prop_assert_eq!(message_of(x.relu_())?, message("2 handles and 2 views"));
    drop((handle, more));
    prop_assert_eq!(message_of(x.relu_())?, message("a view"));
    let mut view = view;
    prop_assert_eq!(message_of(view.relu_())?, message("a handle"));

    let other = Tensor::zeros([2], DType::F32, &at.device)?;
    prop_assert_eq!(kind_of(x.add_(&other))?, ErrorKind::Shared);
    prop_assert_eq!(kind_of(x.clone().with_kind(Kind::Weights))?, ErrorKind::Shared);
    let mut sum = Tensor::zeros([1, 1], DType::F32, &at.device)?;
    let held = sum.clone();
    let one = Tensor::zeros([1, 1], DType::F32, &at.device)?;
    prop_assert_eq!(kind_of(sum.addmm_(&one, &one))?, ErrorKind::Shared);
    drop(held);
    sum.addmm_(&one, &one)?;

    same(&x, &values)?;
    drop(view);
    x.relu_()?;
    let want = values.iter().map(|&v| unary(Unary::Relu, v, DType::F32)).collect::<Vec<_>>();
    same(&x, &want)
}

/// One element that stands for several can not be changed several times.
fn broadcast_is_refused(at: &At) -> Check {
    let mut x = Tensor::zeros([3, 1], DType::F32, &at.device)?.broadcast_to([3, 4])?;
    let text = "relu_: [3, 4] is broadcast: one element stands for several";
    prop_assert_eq!(message_of(x.relu_())?, text);
    prop_assert_eq!(kind_of(x.relu_())?, ErrorKind::Shared);
    let other = Tensor::zeros([4], DType::F32, &at.device)?;
    prop_assert_eq!(message_of(x.add_(&other))?, text.replace("relu_", "add_"));
    let y = x.relu()?;
    prop_assert_eq!(y.numel(), 12);
    Ok(())
}

/// `let h = h.linear(&w)?`, sixteen times: the first operand goes back to the pool with each op.
fn sixteen_layers_peak_at_two_activations(at: &At) -> Check {
    for (dtype, activation) in [(DType::F16, Activation::Identity), (DType::F32, Activation::Relu)] {
        let device = at.fresh()?;
        let (rows, width) = (192usize, 320usize);
        let w = Tensor::uniform([width, width], -0.1, 0.1, 1, dtype, &device)?;
        let h = Tensor::uniform([rows, width], -1.0, 1.0, 2, dtype, &device)?;
        let mut shadowed = h;
        for _ in 0..16 {
            let h = shadowed;
            let h = h.linear_with(&w, None, activation)?;
            shadowed = h;
        }
        let stats = device.stats();
        let (activation_bytes, weight_bytes) = (rows * width * dtype.size(), width * width * dtype.size());
        prop_assert_eq!(stats.peak_tensor_bytes, (2 * activation_bytes + weight_bytes) as u64);
        prop_assert_eq!(stats.tensor_bytes, (activation_bytes + weight_bytes) as u64);
        prop_assert_eq!(stats.workspace_bytes, 0);
        drop((shadowed, w));
        prop_assert_eq!(device.stats().live_bytes, 0);
    }
    Ok(())
}

/// What an op took by value is back in the pool when it returns.
fn operands_are_freed_by_the_op(at: &At) -> Check {
    let x = || Tensor::zeros([64, 64], DType::F16, &at.device);
    let live = |y: taut::Result<Tensor>, bytes: u64| -> Check {
        let y = y?;
        prop_assert_eq!(at.device.stats().live_bytes, bytes, "{:?}", y);
        Ok(())
    };
    live(x()?.sum(&[1]), 64 * 2)?;
    live(x()?.argmax(0), 64 * 8)?;
    live(x()?.cast(DType::U8), 64 * 64)?;
    live(x()?.t()?.contiguous(), 64 * 64 * 2)?;
    live(x()?.slice(1, 0..2)?.contiguous(), 64 * 2 * 2)?;
    prop_assert_eq!(at.device.stats().live_bytes, 0);
    Ok(())
}

/// Every byte is counted by what it is for.
fn kinds_are_counted(at: &At) -> Check {
    let x = Tensor::zeros([100], DType::U8, &at.device)?.with_kind(Kind::Weights)?;
    let y = Tensor::from_slice(&[1u8; 30], [30], &at.device)?;
    let z = x.clone().add_scalar(1.0)?;
    let stats = at.device.stats();
    prop_assert_eq!(stats.live_by_kind[Kind::Weights as usize], 100);
    prop_assert_eq!(stats.live_by_kind[Kind::Input as usize], 30);
    prop_assert_eq!(stats.live_by_kind[Kind::Activations as usize], 100);
    prop_assert_eq!(stats.live_bytes, 230);
    drop((x, y, z));
    prop_assert_eq!(at.device.stats().live_bytes, 0);
    Ok(())
}
