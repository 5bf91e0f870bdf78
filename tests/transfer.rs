//! Values in and out, and from device to device.

use proptest::{prelude::*, sample::select};
use taut::{DType, Device, Kind, Tensor};
use taut_tests::{At, Check, Fill, Suite, cases, poison, same, same_tensors, upload};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("transfer::round_trip", round_trip);
    suite.real("transfer::more_than_staging_holds", more_than_staging_holds);
    suite.real("transfer::ping_pong", ping_pong);
    suite.real("transfer::items", items);
}

/// Any view of any dtype, to the CPU, to another pool of the same hardware, and back.
fn round_trip(at: &At) -> Check {
    let operands = select(at.dtypes()).prop_flat_map(|dtype| cases(dtype, Fill::Any, true));
    let (host, other) = (Device::cpu().fresh()?, at.fresh()?);
    at.for_all(operands, |case| {
        let x = case.upload(&at.device)?;
        poison(&other, &[x.numel() * case.dtype.size()])?;
        let away = x.clone().to(&host)?;
        prop_assert_eq!(away.device(), &host);
        same(&away, &case.values())?;
        let there = x.clone().to(&other)?;
        same(&there, &case.values())?;
        same(&away.to(&at.device)?, &case.values())?;
        same(&x, &case.values())
    })
}

/// Copies that are cut into pieces, at sizes about the pieces.
fn more_than_staging_holds(at: &At) -> Check {
    let host = Device::cpu().fresh()?;
    for numel in [(16 << 20) - 1, 16 << 20, (33 << 20) + 7] {
        let values: Vec<u8> = (0..numel).map(|i: usize| (i ^ i >> 8 ^ i >> 16) as u8).collect();
        let x = Tensor::from_slice(&values, [numel], &at.device)?;
        prop_assert!(x.to_vec::<u8>()? == values, "{} bytes", numel);
        let there = x.to(&host)?;
        prop_assert!(there.to(&at.device)?.to_vec::<u8>()? == values, "{} bytes there and back", numel);
    }
    Ok(())
}

/// Work between copies each way: no copy overtakes the work that it waits for, nor the other way around.
fn ping_pong(at: &At) -> Check {
    let host = Device::cpu().fresh()?;
    let n = 1 << 20;
    let mut x = Tensor::zeros([n], DType::F32, &at.device)?;
    for _ in 0..12 {
        x = x.add_scalar(1.0)?.to(&host)?.mul_scalar(2.0)?.to(&at.device)?.add_scalar(-1.0)?;
        // Memory that was just freed is taken again at once.
        poison(&at.device, &[n * 4])?;
    }
    let want = (0..12).fold(0.0f32, |x, _| (x + 1.0) * 2.0 - 1.0);
    prop_assert!(x.to_vec::<f32>()?.iter().all(|&x| x == want));
    Ok(())
}

/// Single values of every dtype; what a tensor is for goes along with it.
fn items(at: &At) -> Check {
    for dtype in at.dtypes() {
        let values = Fill::Whole.values(3, dtype, 4);
        let x = upload(&values, &[3], dtype, &at.device)?;
        for (i, &value) in values.iter().enumerate() {
            let one = x.clone().slice(0, i..i + 1)?;
            same(&one.clone().reshape([1, 1])?, &[value])?;
            same(&one.reshape([0usize; 0])?, &[value])?;
        }
    }
    let x = Tensor::from_slice(&[3i64], [1, 1], &at.device)?;
    prop_assert_eq!(x.item::<i64>()?, 3);
    prop_assert_eq!(x.kind(), Kind::Input);
    let x = x.with_kind(Kind::Weights)?;
    let there = x.clone().to(&at.fresh()?)?;
    prop_assert_eq!(there.kind(), Kind::Weights);
    same_tensors(&there, &x)
}
