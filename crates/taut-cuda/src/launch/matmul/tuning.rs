//! What was measured of products, for choices to go by: a table from problems to ways. Plain values; whoever measures is
//! elsewhere.

mod file;

use super::Way;
use crate::Card;
use std::{collections::BTreeMap, fmt};
use taut_core::{DType, Error, Precision, Result};
use taut_kernels::{Kernel, PRODUCTS_HASH};

/// How a factor of products lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lie {
    /// In packs along `k`.
    K,
    /// In packs along `m` or `n`.
    Outer,
    /// Along `k`, on no packs.
    Rows,
    /// In any other way.
    Any,
}

impl Lie {
    /// Every one.
    pub const ALL: [Lie; 4] = [Lie::K, Lie::Outer, Lie::Rows, Lie::Any];

    /// The name in files.
    const fn name(self) -> &'static str {
        match self {
            Lie::K => "k",
            Lie::Outer => "outer",
            Lie::Rows => "rows",
            Lie::Any => "any",
        }
    }
}

/// What a table knows products by: all of a [`Problem`](super::Problem) that the times of its ways depend on much. Factors that
/// are brought onto packs first count as they lie then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature {
    /// The dtype of the factors.
    pub dtype: DType,
    /// In which products of f32 run: exact, unless tf32 was asked for and is faster.
    pub precision: Precision,
    /// The dtype of the results.
    pub out: DType,
    /// The number of products.
    pub count: u64,
    /// Rows of a result.
    pub m: u64,
    /// Columns of a result.
    pub n: u64,
    /// Terms of each sum.
    pub k: u64,
    /// How the first factor lies, and the second.
    pub lies: [Lie; 2],
}

/// A way to compute products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pick {
    /// The kernel of the first pass.
    pub kernel: Kernel,
    /// Of `k`, which a second pass adds up.
    pub parts: u64,
    /// Blocks of a cluster, which add up parts of each of these.
    pub cluster: u64,
    /// The first row of those whose `k` is in parts where that of the others is whole, and their parts.
    pub tail: Option<(u64, u64)>,
}

impl From<Way> for Pick {
    fn from(Way { kernel, parts, cluster, tail, .. }: Way) -> Pick {
        Pick { kernel, parts, cluster, tail: tail.map(|tail| (tail.first, tail.parts)) }
    }
}

/// Where times were measured, and with what: elsewhere they say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The name of the card.
    pub card: String,
    /// Its compute capability, major and minor.
    pub capability: (u32, u32),
    /// The number of its multiprocessors.
    pub multiprocessors: u32,
    /// The version of the driver.
    pub driver: String,
    /// A hash of the sources of the kernels.
    pub kernels: String,
}

impl Origin {
    /// That of this build's kernels on a card.
    pub fn new(card: &Card, driver: impl Into<String>) -> Origin {
        Origin {
            card: card.name.clone(),
            capability: card.capability,
            multiprocessors: card.multiprocessors,
            driver: driver.into(),
            kernels: PRODUCTS_HASH.to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { card, capability: (major, minor), multiprocessors, driver, kernels } = self;
        write!(
            f,
            "{card} ({major}.{minor}, {multiprocessors} multiprocessors), driver {driver}, kernels {kernels}"
        )
    }
}

/// The ways that were the fastest for products, where they were not those that the model chooses. Equal tables give equal
/// choices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuning {
    /// `None` in a table that nothing was measured for, which fits everywhere.
    origin: Option<Origin>,
    picks: BTreeMap<Signature, Pick>,
}

impl Tuning {
    /// A table of what is measured there, empty so far.
    pub fn new(origin: Origin) -> Tuning {
        Tuning { origin: Some(origin), picks: BTreeMap::new() }
    }

    /// Where it was measured; `None` if nothing was.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Puts a way into the table, in the place of another one for the same products.
    pub fn insert(&mut self, signature: Signature, pick: Pick) {
        self.picks.insert(signature, pick);
    }

    /// Takes the way of these products from the table, so that they run as the model says.
    pub fn remove(&mut self, signature: &Signature) -> Option<Pick> {
        self.picks.remove(signature)
    }

    /// The way of these products, if the table has one.
    pub fn get(&self, signature: &Signature) -> Option<&Pick> {
        self.picks.get(signature)
    }

    /// Every way, in the order of the products.
    pub fn iter(&self) -> impl Iterator<Item = (&Signature, &Pick)> {
        self.picks.iter()
    }

    /// The number of ways.
    pub fn len(&self) -> usize {
        self.picks.len()
    }

    /// Whether there is no way, so that all products run as the model says.
    pub fn is_empty(&self) -> bool {
        self.picks.is_empty()
    }

    /// Refuses a table that is not of this card, this build's kernels and, where it is known, this driver.
    ///
    /// # Errors
    ///
    /// [`Device`](taut_core::ErrorKind::Device), naming both.
    pub fn check(&self, card: &Card, driver: Option<&str>) -> Result<()> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let here = Origin::new(card, driver.unwrap_or(&origin.driver));
        match *origin == here {
            true => Ok(()),
            false => Err(Error::device(format!("tuning: it was measured on {origin}; this is {here}"))),
        }
    }
}
