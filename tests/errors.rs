//! Bad input: each a clear error, named after the op, and everything as it was.

use proptest::prelude::*;
use std::fmt::Debug;
use taut::{
    Activation, DType, Device, ErrorKind, Kind, Result, Spec, Tensor,
    memory::{Site, StreamId},
};
use taut_tests::{At, Check, Suite, fail};

pub(crate) fn trials(suite: &mut Suite) {
    suite.everywhere("errors::shapes", shapes);
    suite.everywhere("errors::sizes_that_overflow", sizes_that_overflow);
    suite.everywhere("errors::dtypes", dtypes);
    suite.everywhere("errors::devices", devices);
    suite.everywhere("errors::blocks", blocks);
    suite.everywhere("errors::f64_is_for_the_cpu", f64_is_for_the_cpu);
    suite.cpu("errors::a_missing_gpu", a_missing_gpu);
    suite.real("errors::the_best_device", the_best_device);
}

/// The error must be of this kind, and say this.
fn refused<T: Debug>(result: Result<T>, kind: ErrorKind, message: &str) -> Check {
    match result {
        Err(error) if error.kind() == kind && error.to_string() == message => Ok(()),
        other => Err(fail(format!("got {other:?}, want {kind:?}: {message}"))),
    }
}

fn shape<T: Debug>(result: Result<T>, message: &str) -> Check {
    refused(result, ErrorKind::Shape, message)
}

fn dtype<T: Debug>(result: Result<T>, message: &str) -> Check {
    refused(result, ErrorKind::DType, message)
}

fn shapes(at: &At) -> Check {
    let new = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &at.device);
    let x = new(&[3, 4])?;
    let live = at.device.stats().live_bytes;
    let x = || x.clone();
    shape(x().add(&new(&[5])?), "add: [3, 4] and [5] do not broadcast")?;
    shape(x().mul(&new(&[3])?), "mul: [3, 4] and [3] do not broadcast")?;
    shape(new(&[3])?.add_(&new(&[4, 3])?), "add_: [4, 3] does not broadcast to [3]")?;
    shape(x().reshape([5, 2]), "reshape: [3, 4] has 12 elements, [5, 2] has 10")?;
    shape(x().slice(1, 3..5), "slice: 3..5 is not within axis 1 of [3, 4]")?;
    #[allow(clippy::reversed_empty_ranges)]
    shape(x().slice(0, 2..1), "slice: 2..1 is not within axis 0 of [3, 4]")?;
    shape(x().slice(2, 0..1), "slice: axis 2 is not within the rank of [3, 4]")?;
    shape(x().transpose(0, 2), "transpose: axis 2 is not within the rank of [3, 4]")?;
    shape(new(&[3])?.t(), "t: axis 1 is not within the rank of [3]")?;
    shape(new(&[])?.t(), "t: axis 1 is not within the rank of []")?;
    shape(x().broadcast_to([3, 5]), "broadcast: [3, 4] does not broadcast to [3, 5]")?;
    shape(x().broadcast_to([4]), "broadcast: [3, 4] does not broadcast to [4]")?;
    shape(x().sum(&[2]), "sum: axis 2 is not within the rank of [3, 4]")?;
    shape(x().mean(&[0, 0]), "mean: axis 0 stands twice in [0, 0]")?;
    shape(x().argmax(7), "argmax: axis 7 is not within the rank of [3, 4]")?;
    shape(new(&[0, 3])?.argmax(0), "argmax: axis 0 of [0, 3] is empty")?;
    shape(x().matmul(&x()), "matmul: [3, 4] and [3, 4]: must be [.., m, k] and [.., k, n], or a vector")?;
    shape(x().matmul(&new(&[5])?), "matmul: [3, 4] and [5]: must be [.., m, k] and [.., k, n], or a vector")?;
    shape(new(&[])?.matmul(&x()), "matmul: [] and [3, 4]: must be [.., m, k] and [.., k, n], or a vector")?;
    shape(
        new(&[2, 3, 4])?.matmul(&new(&[5, 4, 3])?),
        "matmul: [2, 3, 4] and [5, 4, 3]: the leading axes do not broadcast",
    )?;
    shape(new(&[3])?.dot(&new(&[4])?), "dot: [3] and [4]: must be vectors of one length")?;
    shape(x().dot(&x()), "dot: [3, 4] and [3, 4]: must be vectors of one length")?;
    shape(x().outer(&new(&[4])?), "outer: [3, 4] and [4]: must be vectors")?;
    let einsum = |subscripts: &str, operands: &[&Tensor]| Tensor::einsum(subscripts, operands);
    let text = r#"einsum: "ij,jk->ik": 'j' is 4 in [3, 4] and 3 in [3, 4]"#;
    shape(einsum("ij,jk->ik", &[&x(), &x()]), text)?;
    let text = r#"einsum: "...i,...i->...": an axis of '...' is 3 in [3, 4] and 2 in [2, 4]"#;
    shape(einsum("...i,...i->...", &[&x(), &new(&[2, 4])?]), text)?;
    let text = r#"einsum: "i,i,i->": takes one or two operands, not 3"#;
    shape(einsum("i,i,i->", &[&new(&[2])?, &new(&[2])?, &new(&[2])?]), text)?;
    shape(einsum("ijk->i", &[&x()]), r#"einsum: "ijk->i": "ijk" has 3 letters, the operand is [3, 4]"#)?;
    shape(new(&[])?.linear(&x()), "linear: the input is a scalar, it needs an axis")?;
    shape(x().linear(&new(&[2, 3])?), "linear: [3, 4] and weight [2, 3]: the weight must be [n, 4]")?;
    shape(x().linear(&new(&[4])?), "linear: [3, 4] and weight [4]: the weight must be [n, 4]")?;
    let bias = x().linear_with(&new(&[2, 4])?, Some(&new(&[3])?), Activation::Relu);
    shape(bias, "linear: the bias is [3], it must be [2]")?;
    shape(
        new(&[3, 3])?.addmm_(&x(), &x()),
        "addmm_: [3, 4] and [3, 4]: must be [.., m, k] and [.., k, n], or a vector",
    )?;
    let sum = new(&[2, 3])?.addmm_(&x(), &x().t()?);
    shape(sum, "addmm_: the sum is [2, 3], it must be a contiguous [3, 3]")?;
    shape(x().item::<f32>(), "item: [3, 4] has 12 elements, not one")?;
    shape(new(&[0])?.item::<f32>(), "item: [0] has 0 elements, not one")?;
    let slice = Tensor::from_slice(&[1u8; 5], [2, 3], &at.device);
    shape(slice, "from_slice: [2, 3] has 6 elements, the slice has 5")?;
    for (end, step) in [(10.0, 0.0), (10.0, -1.0), (f64::NAN, 1.0), (f64::INFINITY, 1.0)] {
        let text = format!("arange: no countable steps of {step} lead from 0 to {end}");
        shape(Tensor::arange(0.0, end, step, DType::F32, &at.device), &text)?;
    }
    prop_assert_eq!(at.device.stats().live_bytes, live);
    Ok(())
}

fn sizes_that_overflow(at: &At) -> Check {
    let message = |dims: &[usize]| format!("shape: the number of elements of {dims:?} overflows");
    for dims in [&[usize::MAX, 2][..], &[1 << 40, 1 << 40], &[0, usize::MAX, 2], &[usize::MAX]] {
        shape(Tensor::zeros(dims, DType::U8, &at.device), &message(dims))?;
        shape(Tensor::uniform(dims, 0.0, 1.0, 1, DType::F16, &at.device), &message(dims))?;
        shape(Tensor::zeros([1], DType::F16, &at.device)?.broadcast_to(dims), &message(dims))?;
        shape(Tensor::zeros([0], DType::F16, &at.device)?.reshape(dims), &message(dims))?;
        shape(Tensor::from_slice(&[1u8], dims, &at.device), &message(dims))?;
    }
    // Each operand can be counted, the result can not: views of few bytes make large shapes.
    let one = Tensor::zeros([1, 1], DType::F32, &at.device)?;
    let (tall, wide) = (one.clone().broadcast_to([1 << 33, 1])?, one.broadcast_to([1, 1 << 33])?);
    let text = message(&[1 << 33, 1 << 33]);
    shape(tall.clone().add(&wide), &text)?;
    shape(tall.clone().matmul(&wide), &text)?;
    shape(tall.clone().linear(&tall), &text)?;
    shape(
        Tensor::zeros([1; 9], DType::U8, &at.device),
        "shape: [1, 1, 1, 1, 1, 1, 1, 1, 1] has rank 9, at most 8",
    )?;
    // Countable, but more than there is.
    let huge = Tensor::zeros([1 << 50], DType::U8, &at.device);
    prop_assert_eq!(taut_tests::kind_of(huge)?, ErrorKind::OutOfMemory);
    let huge = tall.reshape([1 << 33])?.broadcast_to([1 << 20, 1 << 33])?;
    prop_assert_eq!(taut_tests::kind_of(huge.relu())?, ErrorKind::OutOfMemory);
    Ok(())
}

fn dtypes(at: &At) -> Check {
    let new = |dtype| Tensor::zeros([2, 2], dtype, &at.device);
    let (x, half, int, truth) = (new(DType::F32)?, new(DType::F16)?, new(DType::I64)?, new(DType::Bool)?);
    let (x, int) = (|| x.clone(), || int.clone());
    dtype(x().add(&half), "add: f32 and f16 differ; cast one")?;
    dtype(x().add_(&half), "add_: f32 and f16 differ; cast one")?;
    dtype(int().div(&int()), "div: does not take i64; cast to a float")?;
    dtype(truth.clone().add(&truth), "add: does not take bool")?;
    dtype(int().relu(), "relu: does not take i64")?;
    dtype(int().relu_(), "relu_: does not take i64")?;
    dtype(new(DType::U8)?.neg(), "neg: does not take u8")?;
    dtype(new(DType::U32)?.sub_scalar(1.0), "sub_scalar: u32 has no negative values")?;
    dtype(truth.clone().mul_scalar(2.0), "mul_scalar: does not take bool")?;
    dtype(int().mean(&[]), "mean: does not take i64")?;
    dtype(int().matmul(&int()), "matmul: does not take i64; cast to a float")?;
    dtype(x().matmul(&half), "matmul: f32 and f16 differ; cast one")?;
    let (ints, truths) = (new(DType::I64)?.reshape([4])?, truth.clone().reshape([4])?);
    dtype(ints.clone().dot(&ints), "dot: does not take i64; cast to a float")?;
    dtype(ints.outer(&truths), "outer: i64 and bool differ; cast one")?;
    dtype(truths.clone().outer(&truths), "outer: does not take bool")?;
    let sums = " where letters are summed; cast to a float";
    dtype(Tensor::einsum("ij,jk->ik", &[&int(), &int()]), &format!("einsum: does not take i64{sums}"))?;
    dtype(Tensor::einsum("ij,ij->ij", &[&truth, &truth]), "einsum: does not take bool")?;
    dtype(Tensor::einsum("ij,jk", &[&x(), &half]), "einsum: f32 and f16 differ; cast one")?;
    dtype(x().linear(&half), "linear: f32 and f16 differ; cast one")?;
    let bias = Tensor::zeros([2], DType::F16, &at.device)?;
    dtype(x().linear_with(&x(), Some(&bias), Activation::Identity), "linear: f32 and f16 differ; cast one")?;
    dtype(new(DType::BF16)?.addmm_(&half, &half), "addmm_: bf16 can not hold the sum of f16")?;
    dtype(x().to_vec::<i64>(), "to_vec: the tensor is f32, not i64")?;
    dtype(x().slice(0, 0..1)?.slice(1, 0..1)?.item::<bool>(), "to_vec: the tensor is f32, not bool")?;
    dtype(Tensor::uniform([2], 0.0, 1.0, 1, DType::I64, &at.device), "uniform: i64 is not a float")?;
    dtype(Tensor::normal([2], 0.0, 1.0, 1, DType::Bool, &at.device), "normal: bool is not a float")?;
    dtype(Tensor::arange(0.0, 2.0, 1.0, DType::Bool, &at.device), "arange: bool has no range")
}

fn devices(at: &At) -> Check {
    let other = at.fresh()?;
    let (x, y) = (Tensor::zeros([2, 2], DType::F32, &at.device)?, Tensor::zeros([2, 2], DType::F32, &other)?);
    let text = |op: &str| format!("{op}: {} and {other} are different devices", at.device);
    let device = |result: Result<Tensor>, op: &str| refused(result, ErrorKind::Device, &text(op));
    device(x.clone().add(&y), "add")?;
    device(x.clone().matmul(&y), "matmul")?;
    device(x.clone().linear(&y), "linear")?;
    device(Tensor::einsum("ij,jk", &[&x, &y]), "einsum")?;
    let bias = Tensor::zeros([2], DType::F32, &other)?;
    device(x.clone().linear_with(&x, Some(&bias), Activation::Relu), "linear")?;
    let mut sum = x.copy()?;
    refused(sum.add_(&y), ErrorKind::Device, &text("add_"))?;
    refused(sum.addmm_(&x, &y), ErrorKind::Device, &text("addmm_"))?;
    refused(sum.addmm_(&y, &y), ErrorKind::Device, &text("addmm_"))
}

fn blocks(at: &At) -> Check {
    let site = Site::new("test", Kind::Input);
    let block = |device: &Device| device.pool().allocate(10, StreamId::COMPUTE, site);
    let from = |shape: &[usize], dtype| Tensor::from_block(block(&at.device)?, shape, dtype, &at.device);
    prop_assert_eq!(from(&[5], DType::F16)?.numel(), 5);
    prop_assert_eq!(from(&[2], DType::F32)?.relu()?.numel(), 2);
    shape(from(&[3], DType::F32), "from_block: [3] of f32 takes 12 bytes, the block has 10")?;
    dtype(from(&[3], DType::Bool), "from_block: the bytes of a block need not be bools; take u8 and cast")?;
    let other = at.fresh()?;
    let foreign = Tensor::from_block(block(&other)?, [2], DType::F32, &at.device);
    let text = format!("from_block: the block is not of the pool of {}", at.device);
    refused(foreign, ErrorKind::Device, &text)
}

fn f64_is_for_the_cpu(at: &At) -> Check {
    let new = |device: &Device| Tensor::zeros([2], DType::F64, device);
    let Spec::Cuda(_) = at.device.spec() else {
        prop_assert_eq!(new(&at.device)?.dtype(), DType::F64);
        return Ok(());
    };
    let text = |op: &str| format!("{op}: f64 exists on the CPU only, not on {}", at.device);
    dtype(new(&at.device), &text("zeros"))?;
    dtype(Tensor::from_slice(&[1.0f64], [1], &at.device), &text("from_slice"))?;
    dtype(Tensor::normal([1], 0.0, 1.0, 1, DType::F64, &at.device), &text("normal"))?;
    dtype(Tensor::zeros([2], DType::F32, &at.device)?.cast(DType::F64), &text("cast"))?;
    dtype(new(&Device::cpu())?.to(&at.device), &text("to"))
}

/// No such card, or no driver, or no kernels: an error that says which, and a way to go on.
fn a_missing_gpu(_: &At) -> Check {
    prop_assert_eq!(taut_tests::kind_of(Device::cuda(99))?, ErrorKind::Device);
    prop_assert!(!taut_tests::message_of(Device::cuda(99))?.is_empty());
    Ok(())
}

/// The GPU where there is one, else the CPU. On the GPU in its turn only.
fn the_best_device(at: &At) -> Check {
    if !at.device.is_cuda() && Device::cuda(0).is_ok() {
        return Ok(());
    }
    let device = Device::best();
    prop_assert_eq!(Tensor::full([3], 2.0, DType::F32, &device)?.to_vec::<f32>()?, [2.0; 3]);
    Ok(())
}
