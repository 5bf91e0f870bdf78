//! Lists of tensors that travel with a launch, by value: no table stands in device memory, nothing is uploaded, and a graph
//! holds its own copy.

use super::walk::grid;
use crate::{Card, Grid, Operand, Param};
use taut_core::{Error, Result};
use taut_kernels::{
    Capacity,
    args::{self, LARGE_WORDS, SMALL_WORDS, THREADS},
};

// SAFETY: `Table` is `repr(C)`, words only, and the build checks its size against that of its twin.
unsafe impl<const WORDS: usize> Param for args::Table<WORDS> {}
// SAFETY: `Number` is `repr(C)`, and the build checks its size against that of its twin; what follows `value` is never read.
unsafe impl Param for args::Number {}

/// A number that an op takes: the host's, or an element of f32 on the device, which is read when the kernel runs.
#[derive(Clone, Copy, Debug)]
pub enum Number<'a> {
    /// Of the host.
    Host(f32),
    /// Of the device: one element of f32.
    Device(Operand<'a>),
}

impl Number<'_> {
    /// As kernels take it.
    pub(super) fn arg(self, op: &str) -> Result<args::Number> {
        match self {
            Number::Host(value) => Ok(args::Number { at: 0, value }),
            Number::Device(operand)
                if operand.layout.numel() != 1 || operand.dtype != taut_core::DType::F32 =>
            {
                Err(Error::shape(format!("{op}: a number of the device is one f32")))
            }
            Number::Device(operand) => Ok(args::Number { at: operand.pointer(), value: 0.0 }),
        }
    }
}

/// A tensor of a list: the addresses of its operands, and how many elements each has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<const N: usize> {
    pub(super) address: [u64; N],
    pub(super) numel: u64,
}

/// The table of one launch, in one of the two sizes that kernels are made for.
pub(super) enum Words<'a> {
    Small(&'a args::Table<SMALL_WORDS>),
    Large(&'a args::Table<LARGE_WORDS>),
}

/// A launch over a part of a list.
pub(super) struct Part<'a> {
    pub(super) capacity: Capacity,
    pub(super) words: Words<'a>,
    pub(super) tensors: u32,
    pub(super) grid: Grid,
}

impl Words<'_> {
    /// The table as an argument.
    pub(super) fn arg(&self) -> crate::Arg<'_> {
        match self {
            Words::Small(table) => crate::Arg::new(*table),
            Words::Large(table) => crate::Arg::new(*table),
        }
    }
}

/// The chunks of `len` elements that tensors of so many elements make.
pub(super) fn chunks(numels: impl IntoIterator<Item = u64>, len: u64) -> u64 {
    numels.into_iter().map(|numel| numel.div_ceil(len)).sum()
}

/// Calls `launch` for all tensors that have elements, in as few parts as tables hold; `operands` is `N` but where entries
/// have room for more. A pure choice of the card and the list.
pub(super) fn each_part<const N: usize>(
    card: &Card,
    entries: &[Entry<N>],
    operands: usize,
    len: u64,
    launch: &mut dyn FnMut(Part<'_>) -> Result<()>,
) -> Result<()> {
    let entries: Vec<&Entry<N>> = entries.iter().filter(|entry| entry.numel > 0).collect();
    let is_small = entries.len() <= Capacity::Small.tensors(operands);
    let capacity =
        if is_small || card.params_bytes < args::LARGE_PARAMS { Capacity::Small } else { Capacity::Large };
    for part in entries.chunks(capacity.tensors(operands)) {
        let count = chunks(part.iter().map(|entry| entry.numel), len);
        let shape = (u32::try_from(part.len()).unwrap_or(u32::MAX), grid([count, 1], THREADS)?);
        let mut with = |words: Words<'_>| {
            let (tensors, grid) = shape;
            launch(Part { capacity, words, tensors, grid })
        };
        match capacity {
            Capacity::Small => with(Words::Small(&table(part, operands, len)))?,
            Capacity::Large => with(Words::Large(&table(part, operands, len)))?,
        }
    }
    Ok(())
}

fn table<const N: usize, const WORDS: usize>(
    part: &[&Entry<N>],
    operands: usize,
    len: u64,
) -> args::Table<WORDS> {
    let mut table = args::Table { word: [0; WORDS] };
    let mut begin = 0;
    for (words, entry) in table.word.chunks_exact_mut(operands + 1).zip(part) {
        let (last, count) = ((entry.numel - 1) % len + 1, entry.numel.div_ceil(len));
        words[..operands].copy_from_slice(&entry.address[..operands]);
        words[operands] = begin | last << 32;
        begin += count;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_kernels::args::{LARGE_PARAMS, SMALL_PARAMS};

    /// Every tensor is in one part, with all of its chunks, and the words say where they begin and end.
    #[test]
    fn parts_hold_every_tensor_once() {
        let sizes = [0u64, 1, 7, 8, 9, 1000, 3, 0, 64];
        for (count, params_bytes) in [
            (0, LARGE_PARAMS),
            (1, SMALL_PARAMS),
            (149, SMALL_PARAMS),
            (150, LARGE_PARAMS),
            (5000, LARGE_PARAMS),
        ] {
            let card = Card { params_bytes, ..Card::h200() };
            let numel = |i: usize| sizes[i % sizes.len()];
            let entries: Vec<Entry<2>> =
                (0..count).map(|i| Entry { address: [i as u64, 1 << 40], numel: numel(i) }).collect();
            let (mut found, mut total, mut launches) = (Vec::new(), 0, 0);
            each_part(&card, &entries, 2, 8, &mut |part| {
                let words = match &part.words {
                    Words::Small(table) => &table.word[..],
                    Words::Large(table) => &table.word[..],
                };
                let words: Vec<_> = words.chunks_exact(3).take(part.tensors as usize).collect();
                for (i, word) in words.iter().enumerate() {
                    let begin = |i: usize| words.get(i).map_or(part.grid.blocks[0], |word| word[2] as u32);
                    let chunks = u64::from(begin(i + 1) - begin(i));
                    found.push((word[0] as usize, (chunks - 1) * 8 + (word[2] >> 32)));
                    assert_eq!(word[1], 1 << 40);
                }
                total += u64::from(part.grid.blocks[0]);
                launches += 1;
                Ok(())
            })
            .unwrap();
            let want: Vec<_> = (0..count).map(|i| (i, numel(i))).filter(|(_, numel)| *numel > 0).collect();
            assert_eq!(found, want);
            assert_eq!(total, chunks((0..count).map(numel), 8));
            let capacity = if params_bytes == SMALL_PARAMS || want.len() <= 149 { 149 } else { 1343 };
            assert_eq!(launches, want.len().div_ceil(capacity));
        }
    }
}
