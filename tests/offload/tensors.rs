//! Tensors in host memory by themselves: `Offloaded`, and what a device holds of the host.

use super::{ROWS, WIDTH, zeros};
use proptest::prelude::*;
use taut::{DType, Device, ErrorKind, Graphed, HostStats, Tensor, no_grad};
use taut_tests::{At, Check, Suite, kind_of, message_of};

pub(super) fn trials(suite: &mut Suite) {
    suite.alone(|suite| suite.everywhere("offload::given_back", given_back));
    suite.real("offload::tensors_come_back", tensors_come_back);
    suite.everywhere("offload::refused", refused);
}

/// `release` gives back what is kept for reuse, `reset` all of it; not while anything is away.
fn given_back(at: &At) -> Check {
    let device = at.fresh()?;
    let pinned = |device: &Device| device.gpu().map_or(0, |gpu| gpu.pinned_bytes());
    let before = pinned(&device);
    let away = zeros([ROWS, WIDTH], &device)?.offload()?;
    drop(zeros([ROWS, 2 * WIDTH], &device)?.offload()?);
    let one = (ROWS * WIDTH * 4) as u64;
    prop_assert_eq!(device.host_stats().reserved_bytes, 3 * one);
    prop_assert_eq!(pinned(&device) - before, if at.device.is_cuda() { 3 * one } else { 0 });
    device.release()?;
    prop_assert_eq!(device.host_stats().reserved_bytes, one);
    prop_assert_eq!(pinned(&device) - before, if at.device.is_cuda() { one } else { 0 });
    let message = message_of(device.reset())?;
    prop_assert!(
        message.starts_with(&format!("reset: {one} bytes of host memory are still held")),
        "{}",
        message
    );
    prop_assert_eq!(kind_of(device.reset())?, ErrorKind::Shared);
    drop(away);
    device.reset()?;
    prop_assert_eq!(device.host_stats(), HostStats::default());
    prop_assert_eq!(device.stats().live_bytes, 0);
    // The handle goes on.
    let back = Tensor::full([ROWS, WIDTH], 3.0, DType::F32, &device)?.offload()?.fetch()?;
    prop_assert!(device.is_plan() || back.to_vec::<f32>()? == vec![3.0; ROWS * WIDTH]);
    Ok(())
}

/// Tensors of any dtype and any layout come back as they were, as often as they are asked for.
fn tensors_come_back(at: &At) -> Check {
    let device = at.fresh()?;
    for dtype in at.dtypes() {
        for rows in [0, 1, 7, 1000] {
            let x = Tensor::arange(0.0, (rows * 33) as f64, 1.0, DType::I64, &device)?.reshape([rows, 33])?;
            let x = x.cast(dtype)?;
            for view in [x.clone(), x.clone().t()?, x.clone().slice(1, 3..20)?] {
                let want = view.clone().cast(DType::F32)?.to_vec::<f32>()?;
                let away = view.clone().offload()?;
                prop_assert_eq!((away.shape(), away.dtype()), (view.shape(), dtype));
                for _ in 0..2 {
                    let back = away.fetch()?;
                    prop_assert!(back.cast(DType::F32)?.to_vec::<f32>()? == want, "{} {:?}", dtype, view);
                }
            }
        }
    }
    prop_assert_eq!(device.host_stats().live_bytes, 0);
    // Changed again and again: what comes back is the last.
    let mut away = Tensor::zeros([70_000], DType::F32, &device)?.offload()?;
    for _ in 0..20 {
        away.store(away.fetch()?.add_scalar(1.0)?)?;
    }
    prop_assert!(away.fetch()?.to_vec::<f32>()?.iter().all(|&x| x == 20.0));
    Ok(())
}

fn refused(at: &At) -> Check {
    let device = at.fresh()?;
    let mut away = zeros([2, 3], &device)?.offload()?;
    prop_assert_eq!(message_of(away.store(zeros([3, 2], &device)?))?, "offload: stores [2, 3], not [3, 2]");
    let half = Tensor::zeros([2, 3], DType::F16, &device)?;
    prop_assert_eq!(message_of(away.store(half))?, "offload: stores f32, not f16");
    let other = at.fresh()?;
    prop_assert_eq!(kind_of(away.store(zeros([2, 3], &other)?))?, ErrorKind::Device);
    let tracked = zeros([2, 3], &device)?.require_grad()?;
    prop_assert_eq!(kind_of(tracked.clone().offload())?, ErrorKind::Grad);
    prop_assert_eq!(kind_of(away.store(tracked.clone()))?, ErrorKind::Grad);
    no_grad(|| away.store(tracked))?;
    let graphed = Graphed::new(vec![zeros([2, 3], &device)?], |x| Ok(vec![x[0].clone().offload()?.fetch()?]));
    prop_assert_eq!(kind_of(graphed)?, ErrorKind::Graph);
    let graphed = Graphed::new(vec![zeros([2, 3], &device)?], |_| Ok(vec![away.fetch()?]));
    prop_assert_eq!(kind_of(graphed)?, ErrorKind::Graph);
    Ok(())
}
