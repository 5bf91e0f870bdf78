//! Lists of tensors, and what optimizers keep of them.

use crate::args::{LARGE_WORDS, SMALL_WORDS};
use taut_core::{DType, Rule};

/// How many tensors a launch can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capacity {
    /// As many as the 4,096 bytes of parameters hold that every driver takes.
    Small,
    /// As many as 32,764 bytes hold.
    Large,
}

impl Capacity {
    /// Both; `ALL[capacity as usize] == capacity`.
    pub const ALL: [Capacity; 2] = [Capacity::Small, Capacity::Large];

    /// Words of the table.
    pub const fn words(self) -> usize {
        match self {
            Capacity::Small => SMALL_WORDS,
            Capacity::Large => LARGE_WORDS,
        }
    }

    /// Tensors in a table with so many operands each.
    pub const fn tensors(self, operands: usize) -> usize {
        self.words() / (operands + 1)
    }
}

/// How a weight is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weight {
    /// As elements of this dtype.
    Plain(DType),
    /// As elements of this dtype, of 16 bits, beside the 16 bits that make them the f32 they are rounded from.
    Planes(DType),
}

impl Weight {
    /// Every one that kernels are made for.
    pub const ALL: [Weight; 5] = [
        Weight::Plain(DType::F32),
        Weight::Plain(DType::F16),
        Weight::Plain(DType::BF16),
        Weight::Planes(DType::F16),
        Weight::Planes(DType::BF16),
    ];

    /// The dtype that is seen.
    pub const fn dtype(self) -> DType {
        match self {
            Weight::Plain(dtype) | Weight::Planes(dtype) => dtype,
        }
    }

    /// Tensors that it takes.
    pub const fn operands(self) -> usize {
        if matches!(self, Weight::Plain(_)) { 1 } else { 2 }
    }

    /// The type in the sources.
    pub(crate) fn type_name(self) -> String {
        match self {
            Weight::Plain(dtype) => format!("Plain<{dtype}>"),
            Weight::Planes(dtype) => format!("Planes<{dtype}>"),
        }
    }

    pub(crate) const fn code(self) -> usize {
        match self {
            Weight::Plain(DType::F32) => 0,
            Weight::Plain(DType::F16) => 1,
            Weight::Plain(DType::BF16) => 2,
            Weight::Planes(DType::F16) => 3,
            Weight::Planes(DType::BF16) => 4,
            // Of others there is no kernel.
            Weight::Plain(_) | Weight::Planes(_) => 7,
        }
    }
}

/// An optimizer as kernels know it: by what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Update {
    /// SGD without momentum.
    Sgd,
    /// SGD with momentum.
    Momentum,
    /// AdamW.
    AdamW,
    /// Lion.
    Lion,
}

impl Update {
    /// Every one; `ALL[update as usize] == update`.
    pub const ALL: [Update; 4] = [Update::Sgd, Update::Momentum, Update::AdamW, Update::Lion];

    /// That of a rule.
    pub fn of(rule: Rule) -> Update {
        match rule {
            Rule::Sgd(_) if rule.moments() == 0 => Update::Sgd,
            Rule::Sgd(_) => Update::Momentum,
            Rule::AdamW(_) => Update::AdamW,
            Rule::Lion(_) => Update::Lion,
        }
    }

    /// The functor in CUDA.
    pub(crate) const fn functor(self) -> &'static str {
        match self {
            Update::Sgd => "Sgd",
            Update::Momentum => "Momentum",
            Update::AdamW => "AdamW",
            Update::Lion => "Lion",
        }
    }
}
