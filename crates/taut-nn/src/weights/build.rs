//! A network out of a file.

use super::Weights;
use crate::Builder;
use std::{collections::HashSet, fmt};
use taut::{DType, Device, Error, ErrorKind, Result, Shape};

/// How the tensors of a file and the parameters of a network differ. Each list is in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Parameters that the file does not have.
    pub missing: Vec<String>,
    /// Tensors of the file that no parameter takes.
    pub unexpected: Vec<String>,
    /// Parameters of another shape in the file: the name, the network's shape, the file's.
    pub mismatched: Vec<(String, Shape, Shape)>,
}

impl Difference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shapes = |(name, want, found): &(String, Shape, Shape)| format!("{name} is {found}, not {want}");
        let lists = [
            ("missing", self.missing.clone()),
            ("unexpected", self.unexpected.clone()),
            ("mismatched", self.mismatched.iter().map(shapes).collect()),
        ];
        let full = lists.iter().filter(|(_, names)| !names.is_empty());
        let text: Vec<String> =
            full.map(|(what, names)| format!("{} {what}: {}", names.len(), names.join(", "))).collect();
        f.write_str(if text.is_empty() { "no difference" } else { "" })?;
        f.write_str(&text.join("; "))
    }
}

impl Weights {
    /// The network that `build` makes, with the parameters of this file as `dtype` on `device`. First it is made on a
    /// plan, which takes no memory, and its parameters are compared with the file; then nothing is loaded unless all fit.
    ///
    /// The file may have tensors that the network does not take, if their names, or the beginnings of them up to a dot,
    /// are among `ignored`.
    ///
    /// # Errors
    ///
    /// [`Value`](ErrorKind::Value), with the whole [`Difference`], if there is one; as [`Entry::load`](super::Entry::load);
    /// whatever `build` returns.
    pub fn build<M>(
        &self,
        dtype: DType,
        device: &Device,
        ignored: &[&str],
        build: impl Fn(&Builder<'_>) -> Result<M>,
    ) -> Result<M> {
        let difference = self.compare(dtype, device, ignored, &build)?;
        if !difference.is_empty() {
            let path = self.map.path().display();
            return Err(Error::new(ErrorKind::Value, format!("weights: {path}: {difference}")));
        }
        build(&Builder::file(self, dtype, device))
    }

    /// How this file and the network that `build` makes differ.
    ///
    /// # Errors
    ///
    /// Whatever `build` returns.
    pub fn compare<M>(
        &self,
        dtype: DType,
        device: &Device,
        ignored: &[&str],
        build: impl Fn(&Builder<'_>) -> Result<M>,
    ) -> Result<Difference> {
        let wanted = Builder::wanted(dtype, device, build)?;
        let mut difference = Difference::default();
        for (name, want) in &wanted {
            match self.get(name) {
                Err(_) => difference.missing.push(name.clone()),
                Ok(entry) if entry.shape() != want => {
                    difference.mismatched.push((name.clone(), *want, *entry.shape()));
                }
                Ok(_) => {}
            }
        }
        let taken: HashSet<&str> = wanted.iter().map(|(name, _)| &**name).collect();
        let is_ignored = |name: &str| {
            let below = |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
            ignored.iter().any(|&prefix| name == prefix || below(prefix))
        };
        let others = self.names().filter(|name| !taken.contains(name) && !is_ignored(name));
        difference.unexpected = others.map(str::to_owned).collect();
        Ok(difference)
    }
}
