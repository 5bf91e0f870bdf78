use std::time::Instant;
use taut::{Activation, DType, Device, Tensor};
fn main() -> taut::Result<()> {
    let device = Device::cpu();
    for [m, n, k] in [[2048usize, 384, 384], [2048, 1536, 384], [2048, 384, 1536], [1024, 1024, 1024]] {
        for act in [None, Some(Activation::Gelu)] {
            let a = Tensor::normal([m, k], 0.0, 1.0, 1, DType::F32, &device)?;
            let w = Tensor::normal([n, k], 0.0, 1.0, 1, DType::F32, &device)?;
            let b = Tensor::normal([n], 0.0, 1.0, 1, DType::F32, &device)?;
            let mut best = f64::MAX;
            let reps = 1 + 1_000_000_000 / (m * n * k);
            for _ in 0..7 {
                let s = Instant::now();
                for _ in 0..reps {
                    let y = match act {
                        None => a.clone().linear(&w)?,
                        Some(act) => a.clone().linear_with(&w, Some(&b), act)?,
                    };
                    drop(y);
                }
                best = best.min(s.elapsed().as_secs_f64() / reps as f64);
            }
            println!("{m} {n} {k} {act:?}: {:.1} GFLOP/s", 2e-9 * (m * n * k) as f64 / best);
        }
    }
    Ok(())
}
