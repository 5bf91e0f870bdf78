//! The twin of `scan.cu`.

use super::{
    Acc, BLOCK, Scalar, Source, TASK, Truth,
    reduce::Term,
    tasks::{each_chunk, each_part},
    vectorized,
};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use half::{bf16, f16};
use std::ops::Range;
use taut_core::{DType, Result, Scan};

/// Outer parts, or slices of one, that are enough for every core.
const TASKS: usize = 16;

/// `dst = op(src)` along `axis`, where `dst` is flat; without `src`, over `dst` itself.
pub(crate) fn scan(op: Scan, axis: usize, src: Option<View<'_>>, dst: ViewMut<'_>) -> Result<()> {
    match op {
        Scan::Sum => match src.map_or(dst.dtype, |src| src.dtype) {
            DType::F32 => sums::<f32, f32>(axis, src, dst),
            DType::F16 => sums::<f16, f16>(axis, src, dst),
            DType::BF16 => sums::<bf16, bf16>(axis, src, dst),
            DType::F64 => sums::<f64, f64>(axis, src, dst),
            DType::I64 => sums::<i64, i64>(axis, src, dst),
            DType::U32 => sums::<u32, i64>(axis, src, dst),
            DType::U8 => sums::<u8, i64>(axis, src, dst),
            DType::Bool => sums::<Truth, i64>(axis, src, dst),
        },
    }
}

/// What the sums so far of many columns, or of one, are kept in.
type Totals<T> = Vec<<<T as Scalar>::Acc as Acc>::Total>;

/// Cuts are facts of the shape, so that results do not depend on the number of threads.
fn sums<T, D>(axis: usize, src: Option<View<'_>>, mut dst: ViewMut<'_>) -> Result<()>
where
    T: Scalar<Acc: Term>,
    D: Scalar<Acc = T::Acc>,
{
    let (n, inner) = (dst.layout.shape()[axis], dst.layout.shape()[axis + 1..].iter().product::<usize>());
    let src = src.map(|src| src.source::<T>()).transpose()?;
    let lines = Lines { src: src.as_ref(), inner };
    let out = dst.flat::<D>()?;
    let part = (n * inner).max(1);
    let parts = out.len() / part;
    if parts >= TASKS || n * inner <= TASK {
        // Whole parts, several where they are short.
        let parts = (TASK / part).max(1);
        each_chunk(out, parts * part, &|task, out| {
            for (i, out) in out.chunks_mut(part).enumerate() {
                lines.run((task * parts + i) * part, &mut lines.zeros(), out);
            }
        });
        return Ok(());
    }
    // Slices of rows: first the total of each, then each from where those before it end.
    let slice = n.div_ceil(TASKS).max(1) * inner;
    for (number, out) in out.chunks_mut(part).enumerate() {
        let start = number * part;
        let totals = each_part(out.len().div_ceil(slice), &|i| {
            lines.totals(start + i * slice, &out[i * slice..out.len().min((i + 1) * slice)])
        });
        let mut before = lines.zeros();
        let befores: Vec<Totals<T>> =
            totals.into_iter().map(|totals| lines.step(&mut before, &totals)).collect();
        each_chunk(out, slice, &|i, out| {
            lines.run(start + i * slice, &mut befores[i].clone(), out);
        });
    }
    Ok(())
}

/// Lines that lie side by side, `inner` of them.
struct Lines<'a, T> {
    /// What is read; without it, what is written over.
    src: Option<&'a Source<'a, T>>,
    inner: usize,
}

impl<T: Scalar<Acc: Term>> Lines<'_, T> {
    fn zeros(&self) -> Totals<T> {
        vec![Zeroable::zeroed(); self.inner]
    }

    /// Adds to `before`, and returns what it was.
    fn step(&self, before: &mut Totals<T>, totals: &Totals<T>) -> Totals<T> {
        let was = before.clone();
        before
            .iter_mut()
            .zip(totals)
            .for_each(|(before, &total)| *before = T::Acc::add_total(*before, total));
        was
    }

    /// The sums of the elements from number `start` on, as many as `out` holds.
    fn totals<D: Scalar<Acc = T::Acc>>(&self, start: usize, out: &[D]) -> Totals<T> {
        let (mut totals, mut room) = (self.zeros(), Room::new());
        for block in self.blocks(out.len()) {
            let wide = room.load(self.src, start, block.clone(), &out[block.clone()]);
            vectorized(
                #[inline(always)]
                || self.add(&mut totals, block.start, wide),
            );
        }
        totals
    }

    /// Makes `out` of the elements from number `start` on, and adds them to `totals`.
    fn run<D: Scalar<Acc = T::Acc>>(&self, start: usize, totals: &mut Totals<T>, out: &mut [D]) {
        let mut room = Room::new();
        for block in self.blocks(out.len()) {
            let wide = room.load(self.src, start, block.clone(), &out[block.clone()]);
            vectorized(
                #[inline(always)]
                || self.add(totals, block.start, wide),
            );
            D::narrow(wide, &mut out[block]);
        }
    }

    /// Cuts rows into blocks: several rows each, or a part of one.
    fn blocks(&self, len: usize) -> impl Iterator<Item = Range<usize>> {
        let inner = self.inner.max(1);
        let mut start = 0;
        std::iter::from_fn(move || {
            let left =
                if inner <= BLOCK { BLOCK / inner * inner } else { (inner - start % inner).min(BLOCK) };
            let block = start..len.min(start + left);
            start = block.end;
            (!block.is_empty()).then_some(block)
        })
    }

    /// Adds a block that begins at element number `start` to `totals`, and makes each element the sum so far.
    #[inline(always)]
    fn add(&self, totals: &mut Totals<T>, start: usize, block: &mut [T::Acc]) {
        let add = |total: &mut <T::Acc as Acc>::Total, x: &mut T::Acc| {
            *total = T::Acc::add_total(*total, x.total());
            *x = T::Acc::of_total(*total);
        };
        if let [total] = &mut totals[..] {
            let mut sum = *total;
            block.iter_mut().for_each(|x| add(&mut sum, x));
            *total = sum;
            return;
        }
        let column = start % self.inner;
        for row in block.chunks_mut(self.inner) {
            totals[column..].iter_mut().zip(row).for_each(|(total, x)| add(total, x));
        }
    }
}

/// Room for a block.
struct Room<T: Scalar> {
    narrow: [T; BLOCK],
    wide: [T::Acc; BLOCK],
}

impl<T: Scalar> Room<T> {
    fn new() -> Room<T> {
        Room { narrow: [T::zeroed(); BLOCK], wide: [T::Acc::zeroed(); BLOCK] }
    }

    /// Part `block` of the elements from number `start` on, as what is computed in; without `src`, those of `out`.
    fn load<D: Scalar<Acc = T::Acc>>(
        &mut self,
        src: Option<&Source<'_, T>>,
        start: usize,
        block: Range<usize>,
        out: &[D],
    ) -> &mut [T::Acc] {
        let wide = &mut self.wide[..block.len()];
        match src {
            Some(src) => {
                T::widen(src.block(0, start + block.start, &mut self.narrow[..block.len()]), wide);
            }
            None => D::widen(out, wide),
        }
        wide
    }
}
