//! Ops that arrange: what shares memory, what is refused, and the ends of what is not.

use proptest::prelude::*;
use taut::{DType, ErrorKind, Result, Tensor};
use taut_tests::{At, Check, Suite, figures, kind_of, message_of, same_tensors};

pub(crate) fn trials(suite: &mut Suite) {
    suite.everywhere("arrange::views_take_no_memory", views_take_no_memory);
    suite.real("arrange::views_hold_the_right_elements", views_hold_the_right_elements);
    suite.real("arrange::cat_undoes_split", cat_undoes_split);
    suite.real("arrange::stacks_along_the_last_axis", stacks_along_the_last_axis);
    suite.real("arrange::nothing_to_do_is_not_done", nothing_to_do_is_not_done);
    suite.real("arrange::triangles_reuse_their_operand", triangles_reuse_their_operand);
    suite.real("arrange::large_and_long", large_and_long);
    suite.everywhere("arrange::what_does_not_fit", what_does_not_fit);
}

fn numbers(shape: &[usize], at: &At) -> Result<Tensor> {
    Tensor::arange(0.0, shape.iter().product::<usize>() as f64, 1.0, DType::I64, &at.device)?.reshape(shape)
}

fn views_take_no_memory(at: &At) -> Check {
    let x = Tensor::zeros([6, 8, 1], DType::F32, &at.device)?;
    let before = figures(&at.device);
    let mut views = x.clone().split(1, &[3, 0, 5])?;
    views.extend(x.clone().chunk(0, 4)?);
    views.extend([x.clone().permute(&[2, 0, 1])?, x.clone().unsqueeze(0)?, x.clone().squeeze(2)?]);
    views.push(x.clone().transpose(0, 1)?.unsqueeze(1)?.squeeze(3)?);
    prop_assert_eq!(figures(&at.device), before);
    let shapes: Vec<_> = views.iter().map(|view| view.shape().to_vec()).collect();
    let want: [&[usize]; 11] = [
        &[6, 3, 1],
        &[6, 0, 1],
        &[6, 5, 1],
        &[2, 8, 1],
        &[2, 8, 1],
        &[1, 8, 1],
        &[1, 8, 1],
        &[1, 6, 8],
        &[1, 6, 8, 1],
        &[6, 8],
        &[8, 1, 6],
    ];
    prop_assert_eq!(shapes, want);
    Ok(())
}

fn views_hold_the_right_elements(at: &At) -> Check {
    let x = numbers(&[2, 3, 2], at)?;
    prop_assert_eq!(x.clone().permute(&[2, 0, 1])?.to_vec::<i64>()?, [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]);
    let parts = x.clone().split(1, &[1, 2])?;
    prop_assert_eq!(parts[0].to_vec::<i64>()?, [0, 1, 6, 7]);
    prop_assert_eq!(parts[1].to_vec::<i64>()?, [2, 3, 4, 5, 8, 9, 10, 11]);
    let t = x.transpose(0, 2)?.unsqueeze(1)?.chunk(0, 2)?;
    prop_assert_eq!(t[1].to_vec::<i64>()?, [1, 7, 3, 9, 5, 11]);
    Ok(())
}

/// Parts joined are the whole, along every axis, in the order of memory or not, and by views of each other.
fn cat_undoes_split(at: &At) -> Check {
    let x = Tensor::normal([37, 5, 70], 0.0, 1.0, 3, DType::F16, &at.device)?;
    for x in [x.clone(), x.transpose(0, 2)?] {
        for axis in 0..3 {
            let dim = x.shape()[axis];
            let parts = x.clone().split(axis, &[1, 0, dim - 3, 2])?;
            same_tensors(&Tensor::cat(&parts, axis)?, &x)?;
            same_tensors(&Tensor::cat(&x.clone().chunk(axis, 9)?, axis)?, &x)?;
        }
        let rows: Vec<Tensor> =
            x.clone().chunk(1, 5)?.into_iter().map(|row| row.squeeze(1)).collect::<Result<_>>()?;
        same_tensors(&Tensor::stack(&rows, 1)?, &x)?;
        same_tensors(&Tensor::cat(&[&x, &x], 0)?, &x.clone().repeat(&[2, 1, 1])?)?;
    }
    Ok(())
}

/// So many tensors as go at once, and more; of whole packs and not, from their beginning and from within.
fn stacks_along_the_last_axis(at: &At) -> Check {
    for (n, start) in [(5003, 0), (4096, 0), (4100, 16), (70, 3), (0, 0)] {
        for dtype in [DType::U8, DType::Bool, DType::F16, DType::F32, DType::I64] {
            for count in 1..=5 {
                let part = |i: usize| {
                    let x: Vec<i64> = (0..n + start).map(|j| ((7 * i + j) % 101) as i64).collect();
                    let x = Tensor::from_slice(&x, [n + start], &at.device)?.cast(dtype)?;
                    x.slice(0, start..start + n)
                };
                let parts = (0..count).map(part).collect::<Result<Vec<_>>>()?;
                let to_i64 = |x: Tensor| -> Result<Vec<i64>> { x.cast(DType::I64)?.to_vec() };
                let host = parts.iter().cloned().map(to_i64).collect::<Result<Vec<_>>>()?;
                let got = to_i64(Tensor::stack(&parts, 1)?)?;
                let want = (0..n * count).map(|i| host[i % count][i / count]);
                prop_assert!(got.into_iter().eq(want), "{count} of {dtype}, {n} from {start}");
            }
        }
    }
    Ok(())
}

/// Without a change there is no copy, but of what is joined: that is the caller's own.
fn nothing_to_do_is_not_done(at: &At) -> Check {
    let x = numbers(&[3, 4], at)?;
    let before = at.device.stats().allocations;
    same_tensors(&x.clone().pad(&[(0, 0), (0, 0)], 1.0)?, &x)?;
    same_tensors(&x.clone().roll(&[3, -8], &[0, 1])?, &x)?;
    same_tensors(&x.clone().roll(&[], &[])?, &x)?;
    same_tensors(&x.clone().flip(&[])?, &x)?;
    same_tensors(&x.clone().repeat(&[1, 1])?, &x)?;
    let lead = x.clone().repeat(&[1, 1, 1])?;
    prop_assert_eq!(&lead.shape()[..], &[1, 3, 4]);
    prop_assert_eq!(at.device.stats().allocations, before);
    let mut one = Tensor::cat(&[&x], 0)?;
    one.unary_(taut::Unary::Neg)?;
    prop_assert_eq!(x.to_vec::<i64>()?[1], 1);
    Ok(())
}

/// In place when no one else holds the storage, a transposed one too.
fn triangles_reuse_their_operand(at: &At) -> Check {
    for shape in [[70, 90], [64, 64]] {
        let x = Tensor::normal(shape, 0.0, 1.0, 5, DType::F32, &at.device)?;
        let want = x.clone().t()?.tril(3)?;
        let mask = Tensor::tril_mask(shape[1], shape[0], 3, &at.device)?.cast(DType::F32)?;
        same_tensors(&x.clone().t()?.mul(&mask)?.add_scalar(0.0)?, &want.clone().add_scalar(0.0)?)?;
        let before = at.device.stats().allocations;
        let got = x.t()?.tril(3)?;
        prop_assert_eq!(at.device.stats().allocations, before);
        same_tensors(&got, &want)?;
    }
    Ok(())
}

/// Sizes at which work is divided, and more rows than columns by far.
fn large_and_long(at: &At) -> Check {
    let n = (1 << 20) + 7;
    let x = numbers(&[n], at)?;
    let (last, by) = (n as i64 - 1, 12345i64);
    let flipped = x.clone().flip(&[0])?;
    same_tensors(&flipped, &x.clone().neg()?.add_scalar(last as f64)?)?;
    same_tensors(&flipped.flip(&[0])?, &x)?;
    let rolled = x.clone().roll(&[by], &[0])?;
    let parts = x.clone().split(0, &[n - by as usize, by as usize])?;
    same_tensors(&rolled, &Tensor::cat(&[&parts[1], &parts[0]], 0)?)?;
    same_tensors(&rolled.roll(&[-by], &[0])?, &x)?;

    let thin = x.clone().slice(0, 0..1 << 20)?.reshape([1 << 18, 4])?;
    let wide = thin.clone().pad(&[(1, 2), (3, 0)], 0.0)?;
    prop_assert_eq!(&wide.shape()[..], &[(1 << 18) + 3, 7]);
    same_tensors(&wide.slice(0, 1..(1 << 18) + 1)?.slice(1, 3..7)?, &thin)?;
    let sum = thin.clone().tril(-100)?.sum(&[])?.item::<i64>()?;
    prop_assert_eq!(sum, thin.slice(0, 100..1 << 18)?.tril(0)?.sum(&[])?.item::<i64>()?);
    Ok(())
}

fn what_does_not_fit(at: &At) -> Check {
    let new = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &at.device);
    let x = new(&[2, 3], DType::F32)?;
    let (y, half) = (new(&[2, 4], DType::F32)?, new(&[2, 3], DType::F16)?);
    let before = figures(&at.device);
    let shape = |result: Result<Tensor>, message: &str| -> Check {
        prop_assert_eq!(message_of(result.clone())?, message);
        prop_assert_eq!(kind_of(result)?, ErrorKind::Shape);
        Ok(())
    };
    shape(Tensor::cat(&[&x, &y], 0), "cat: [2, 3] and [2, 4] differ beside axis 0")?;
    shape(Tensor::cat(&[&x, &y], 2), "cat: axis 2 is not within the rank of [2, 3]")?;
    shape(Tensor::cat(&[] as &[Tensor], 0), "cat: of no tensors")?;
    shape(
        Tensor::cat(&[x.clone(), x.clone().unsqueeze(0)?], 1),
        "cat: [2, 3] and [1, 2, 3] differ beside axis 1",
    )?;
    shape(Tensor::stack(&[&x, &y], 0), "stack: [2, 3] and [2, 4] differ")?;
    shape(Tensor::stack(&[&x], 3), "stack: [2, 3] can have no axis 3 more")?;
    for result in [Tensor::cat(&[&x, &half], 0), Tensor::stack(&[&x, &half], 0)] {
        prop_assert_eq!(kind_of(result)?, ErrorKind::DType);
    }
    prop_assert_eq!(message_of(Tensor::cat(&[&x, &half], 0))?, "cat: f32 and f16 differ; cast one");
    let elsewhere = Tensor::zeros([2, 3], DType::F32, &at.fresh()?)?;
    prop_assert_eq!(kind_of(Tensor::cat(&[&x, &elsewhere], 0))?, ErrorKind::Device);

    let x = || x.clone();
    let first = |parts: Result<Vec<Tensor>>| parts.map(|parts| parts[0].clone());
    shape(first(x().split(1, &[1, 1])), "split: [1, 1] does not add up to axis 1 of [2, 3]")?;
    shape(
        first(x().split(1, &[usize::MAX, 4])),
        "split: [18446744073709551615, 4] does not add up to axis 1 of [2, 3]",
    )?;
    shape(first(x().chunk(1, 0)), "chunk: axis 1 of [2, 3] in no parts")?;
    shape(x().permute(&[0, 0]), "permute: [0, 0] is no permutation of the axes of [2, 3]")?;
    shape(x().unsqueeze(3), "unsqueeze: [2, 3] can have no axis 3 more")?;
    shape(x().squeeze(1), "squeeze: axis 1 of [2, 3] has not extent 1")?;
    shape(x().pad(&[(1, 1)], 0.0), "pad: [2, 3] with 1 pairs: it takes one for each axis")?;
    shape(x().roll(&[1], &[0, 1]), "roll: [1] by [0, 1]: it takes one shift for each axis")?;
    shape(x().roll(&[1, 1], &[1, 1]), "roll: axis 1 stands twice in [1, 1]")?;
    shape(x().flip(&[2]), "flip: axis 2 is not within the rank of [2, 3]")?;
    shape(x().repeat(&[2]), "repeat: [2, 3] by [2]: it takes a count for each axis")?;
    shape(x().reshape([6])?.tril(0), "tril: axis 1 is not within the rank of [6]")?;
    let six = new(&[2; 6], DType::U8)?;
    shape(
        six.repeat(&[2; 6]),
        "repeat: [2, 2, 2, 2, 2, 2] by [2, 2, 2, 2, 2, 2]: axes and repeated axes are more than 8",
    )?;
    for overflow in [x().pad(&[(usize::MAX, 1), (0, 0)], 0.0), x().repeat(&[usize::MAX, 3])] {
        prop_assert_eq!(kind_of(overflow)?, ErrorKind::Shape);
    }
    let mut broadcast = x().slice(0, 0..1)?.broadcast_to([4, 3])?;
    prop_assert_eq!(kind_of(broadcast.triu_(0))?, ErrorKind::Shared);
    drop(broadcast);
    prop_assert_eq!(at.device.stats().live_bytes, before.live_bytes);
    Ok(())
}
