//! What an optimizer is saved as, and taken up from.

use super::Optimizer;
use crate::scale::LossScale;
use std::collections::BTreeMap;
use taut::{Error, Result, Tensor};

impl Optimizer {
    /// What it keeps, by names: those of the parameters with `.first`, `.second` and `.master`, and `step`. To be
    /// [saved](crate::save) beside the parameters. What is [on the host](Self::on_host) are tensors of the host, and this
    /// blocks until they are copied.
    ///
    /// # Errors
    ///
    /// None if all is on the device; [`OutOfMemory`](taut::ErrorKind::OutOfMemory) if there is no room there for what comes by.
    pub fn states(&self) -> Result<Vec<(String, Tensor)>> {
        let mut states = Vec::new();
        for slot in &self.slots {
            let name = slot.parameter.name();
            states.extend(slot.place.values()?.into_iter().map(|(part, x)| (format!("{name}{part}"), x)));
        }
        states.push(("step".to_owned(), self.count.clone()));
        states.extend(self.scale.iter().flat_map(LossScale::states));
        Ok(states)
    }

    /// Takes up what [`states`](Self::states) gave, on the device or on the host, whatever this one does: training goes on as
    /// if it had not stopped.
    ///
    /// # Errors
    ///
    /// [`Value`](taut::ErrorKind::Value) if `find` has no tensor of a name, [`Shape`](taut::ErrorKind::Shape) and
    /// [`DType`](taut::ErrorKind::DType) if it is another than is kept; those of `find`. Nothing is changed then.
    pub fn restore(&mut self, find: impl Fn(&str) -> Result<Tensor>) -> Result<()> {
        let mut wanted = Vec::new();
        for slot in &self.slots {
            let name = slot.parameter.name();
            let facts = slot.place.facts().into_iter();
            wanted.extend(facts.map(|(part, shape, dtype)| (format!("{name}{part}"), shape, dtype)));
        }
        let numbers = self.scale.iter().flat_map(LossScale::states);
        let numbers = numbers.chain([("step".to_owned(), self.count.clone())]);
        wanted.extend(numbers.map(|(name, x)| (name, *x.shape(), x.dtype())));
        let mut found = BTreeMap::new();
        for (name, shape, dtype) in wanted {
            let new = find(&name)?;
            if *new.shape() != shape {
                let new = new.shape();
                return Err(Error::shape(format!("optimizer: {name:?} is {new}, not {shape}")));
            }
            if new.dtype() != dtype {
                let new = new.dtype();
                return Err(Error::dtype(format!("optimizer: {name:?} is {new}, not {dtype}")));
            }
            found.insert(name, new);
        }
        let device = self.count.device().clone();
        let mut take = |name: String| found.remove(&name).map(|new| new.to(&device)).transpose();
        for slot in &mut self.slots {
            let name = slot.parameter.name().to_owned();
            slot.place.restore(&mut |part| take(format!("{name}{part}")))?;
        }
        let mut put = |name: String, own: &mut Tensor| match take(name)? {
            Some(new) => own.copy_(&new),
            None => Ok(()),
        };
        put("step".to_owned(), &mut self.count)?;
        self.scale.iter_mut().try_for_each(|scale| scale.restore(&mut put))
    }
}
