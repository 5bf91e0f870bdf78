//! Tuning: the ways of the products of a program are timed on request, and a table says from then on which one runs.

mod notes;
mod timing;

use crate::{Device, Spec, device::DeviceKind};
use notes::Note;
use std::{
    fmt,
    sync::{Arc, PoisonError},
    time::Duration,
};
use taut_core::{Error, ErrorKind, Result};
use taut_cuda::{
    Card, Tuning,
    launch::matmul::{self, Choice, Origin, Pick, Problem, Signature},
};

/// What [`Device::tune`] found.
#[derive(Clone, Debug, Default)]
pub struct Tuned {
    /// The products whose fastest way is not the one that the model chooses.
    pub tuning: Tuning,
    /// Every product, in the order of the program, with its times.
    pub trials: Vec<Trial>,
}

/// The ways of one product, timed.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Which product.
    pub product: Signature,
    /// How many ways were timed.
    pub ways: usize,
    /// The way that the model chooses, and its median time.
    pub model: (Pick, Duration),
    /// The way to take, and its median time: the model's, unless another one is faster beyond what times differ by anyway.
    pub best: (Pick, Duration),
}

impl Device {
    /// Times the matrix products of a program in all ways that promise something, and returns those that won: a table for
    /// [`set_tuning`](Self::set_tuning), which a file can [keep](Tuning::write).
    ///
    /// `program` runs once, on this thread, to see which products there are. Then each of them is timed by itself, on random
    /// numbers, on the current stream: all ways in turns, nine times, with rests between, so that the card's power is not the
    /// limit. A way replaces the model's only if it is faster by 2 % and by more than times of one way differ. Products of a
    /// vector are not timed, nor lists of products as [`matmul_grouped`](crate::Tensor::matmul_grouped) takes them, nor what
    /// other threads compute.
    ///
    /// Timing takes memory of the pool for one product at a time: the storages of its factors, the result and the workspace,
    /// all of which the program held at once (but for factors that were one storage, which are two here); and copies of the
    /// factors, so that no cache holds them, as far as that stays within the peak of this device so far. All of it is free again
    /// afterwards. A product for which there is no room keeps the model's way. Blocks until all is timed.
    ///
    /// On the CPU and on plan devices the program runs, and the table is empty.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    ///
    /// let device = Device::best();
    /// let x = Tensor::normal([512, 384], 0.0, 1.0, 1, DType::F16, &device)?;
    /// let w = Tensor::normal([1536, 384], 0.0, 1.0, 2, DType::F16, &device)?;
    /// let tuned = device.tune(|| x.clone().linear(&w).map(drop))?;
    /// device.set_tuning(tuned.tuning)?;
    /// assert_eq!(x.linear(&w)?.shape()[..], [512, 1536]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `program`; [`Graph`](crate::ErrorKind::Graph) in a graph; whatever failed in the work that is waited for.
    pub fn tune(&self, program: impl FnOnce() -> Result<()>) -> Result<Tuned> {
        self.not_in_graph("tune")?;
        let notes = notes::of(self, program)?;
        let DeviceKind::Cuda { gpu, .. } = self.kind() else { return Ok(Tuned::default()) };
        self.synchronize()?;
        let card = gpu.card();
        let mut tuned = Tuned { tuning: Tuning::new(Origin::new(card, self.driver())), trials: Vec::new() };
        for Note { product, a, b, dtype, out, precision } in notes {
            let problem = Problem { a: &a, b: &b, dtype, out, precision };
            let candidates = matmul::candidates(&problem, card);
            let times = match candidates.len() {
                0 | 1 => continue,
                _ => timing::times(self, gpu, &problem, &candidates),
            };
            let times = match times {
                Err(error) if error.kind() == ErrorKind::OutOfMemory => continue,
                times => times?,
            };
            let best = timing::best(&times);
            let way = |i: usize| (candidates[i].0, times[i].median());
            if best > 0 {
                tuned.tuning.insert(product, candidates[best].0);
            }
            tuned.trials.push(Trial { product, ways: candidates.len(), model: way(0), best: way(best) });
        }
        Ok(tuned)
    }

    /// Makes matrix products on this device run as `tuning` says where it says something, and as the model says elsewhere,
    /// from the next one on. A default table takes everything back.
    ///
    /// A table changes no decision about memory: a product has the workspace of the model's way, and a way that needs more is
    /// passed over. So plans need no table, though they take one, and are right to the byte. Equal tables give equal
    /// results, to the bit; under different ones the same sums may be added in another order.
    ///
    /// ```
    /// use taut::{Device, Origin, Spec, Tuning};
    ///
    /// let Spec::Cuda(card) = Spec::h200() else { unreachable!() };
    /// let device = Device::plan(Spec::h200());
    /// device.set_tuning(Tuning::new(Origin::new(&card, "580.159.04")))?;
    /// let other = Tuning::new(Origin { multiprocessors: 114, ..Origin::new(&card, "580.159.04") });
    /// let error = device.set_tuning(other).unwrap_err();
    /// assert!(error.to_string().contains("114 multiprocessors"), "{error}");
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Device`](crate::ErrorKind::Device), naming both, if the table was measured on another card, with another driver, or
    /// with other kernels; on a plan device the driver is not known. Who would rather go on without it ignores the error:
    /// nothing has changed then.
    pub fn set_tuning(&self, tuning: Tuning) -> Result<()> {
        match self.spec() {
            Spec::Cuda(card) => {
                let driver = self.gpu().map(|_| self.driver());
                tuning.check(&card, driver.as_deref())?;
            }
            Spec::Cpu { .. } => {
                if let Some(origin) = tuning.origin() {
                    return Err(Error::device(format!(
                        "tuning: it was measured on {origin}; this is {self}"
                    )));
                }
            }
        }
        *self.tuning_cell().write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tuning);
        Ok(())
    }

    /// The table that was [set](Self::set_tuning); an empty one else.
    pub fn tuning(&self) -> Arc<Tuning> {
        self.tuning_cell().read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How a product runs here. Where [`tune`](Self::tune) runs the program, it is noted.
    pub(crate) fn choose(&self, problem: &Problem<'_>, card: &Card) -> Choice {
        notes::note(self, problem, card);
        let tuning = self.tuning_cell().read().unwrap_or_else(PoisonError::into_inner);
        matmul::choose_tuned(problem, card, &tuning)
    }

    /// The version of the driver, as exactly as it is known; empty where there is none.
    fn driver(&self) -> String {
        let version = self.gpu().and_then(|gpu| gpu.driver_version().or_else(|| gpu.cuda_version()));
        version.unwrap_or_default()
    }
}

impl fmt::Display for Trial {
    /// A line of a table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |time: Duration| 1e6 * time.as_secs_f64();
        let (model, best) = (us(self.model.1), us(self.best.1));
        write!(f, "{}: {model:.1} us, {best:.1} us by {}", self.product, self.best.0)
    }
}
