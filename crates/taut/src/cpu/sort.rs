//! The twin of `sort.cu`: a key and its position in one word, so that no two are equal and every sort is stable.

use super::{
    Scalar, Source, TASK, Truth, gather::take, reduce::position, tasks::each_chunk, vectorized, with_scalar,
};
use crate::tensor::{View, ViewMut};
use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};
use rayon::prelude::*;
use taut_core::{DType, Error, Index, Layout, Result, Shape};
use taut_memory::Block;

/// Rows of this length and longer are sorted by all threads, one after the other.
const LONG: usize = 1 << 17;
/// Shorter rows that are sorted at once. Fixed, so that the workspace is a fact of the shapes.
const SLOTS: usize = 16;

/// Elements that are looked at together where few are wanted.
const PART: usize = 64;

/// Which elements of a sort come out, and in which order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// Sorted along this axis.
    pub(crate) axis: usize,
    /// How many of each row.
    pub(crate) k: usize,
    /// Largest first.
    pub(crate) descending: bool,
}

/// The scratch bytes of a sort: words, and positions where they can not be written to the result at once.
pub(crate) fn workspace_bytes(keys: &Layout, dtype: DType, by: Order, indices: bool) -> u64 {
    let n = keys.shape()[by.axis];
    let count = keys.numel().checked_div(n).unwrap_or(0);
    let positions = if indices && is_last(keys, by.axis) { 0 } else { count * by.k * 8 };
    (words_bytes(n, by.k, count, dtype) + positions) as u64
}

fn words_bytes(n: usize, k: usize, count: usize, dtype: DType) -> usize {
    room(n, k) * slots(n, count) * if dtype.size() == 8 { 16 } else { 8 }
}

/// Words of a row that are kept at once: all, or where few are wanted, the least so far and some that may replace them.
fn room(n: usize, k: usize) -> usize {
    let few = 4 * k.max(PART);
    if few <= n / 2 { few } else { n }
}

fn slots(n: usize, count: usize) -> usize {
    if n < LONG { count.min(SLOTS) } else { 1 }
}

/// Whether rows along `axis` of a flat tensor lie one after the other.
fn is_last(layout: &Layout, axis: usize) -> bool {
    layout.shape()[axis + 1..].iter().all(|&dim| dim == 1)
}

/// Sorts the rows of `keys`. `values`, from where and to where, move along with them; `indices` are positions.
pub(crate) fn sort(
    by: Order,
    keys: View<'_>,
    values: Option<(View<'_>, ViewMut<'_>)>,
    indices: Option<ViewMut<'_>>,
    workspace: &mut Block,
) -> Result<()> {
    let (kept, row) = keys.layout.split(&[by.axis]);
    let (n, step) = (row.numel(), row.strides()[0]);
    if kept.numel() * by.k == 0 {
        return Ok(());
    }
    let bytes = workspace.host_mut().ok_or_else(|| Error::device("cpu: the workspace is not host memory"))?;
    let (words, rest) = bytes.split_at_mut(words_bytes(n, by.k, kept.numel(), keys.dtype));
    let direct = is_last(keys.layout, by.axis);
    let (mut now, later) = if direct { (indices, None) } else { (None, indices) };
    let order: &mut [i64] = match &mut now {
        Some(indices) => indices.flat()?,
        None => bytemuck::cast_slice_mut(rest),
    };
    let rows = Rows { by, kept, n, step };
    with_scalar!(keys.dtype, T => rows.order::<T>(keys.data()?, bytemuck::cast_slice_mut(words), order));

    let layout = rows.layout()?;
    let order = &*order;
    if let Some((src, dst)) = values {
        take(Index::Gather, by.axis, src, order, &layout, dst)?;
    }
    if let Some(mut indices) = later {
        let order = Source::new(order, &layout);
        each_chunk(indices.flat::<i64>()?, TASK, &|task, out| order.read(task * TASK, out));
    }
    Ok(())
}

/// Rows of `n` keys, `step` from one to the next.
struct Rows {
    by: Order,
    kept: Layout,
    n: usize,
    step: usize,
}

impl Rows {
    /// How positions lie that are `[rows, k]`, seen with the axis where the keys have it.
    fn layout(&self) -> Result<Layout> {
        let dims = [self.kept.shape(), &[self.by.k][..]].concat();
        let last = dims.len() - 1;
        let layout = Layout::contiguous(Shape::new(&dims)?);
        (self.by.axis..last).rev().try_fold(layout, |layout, axis| layout.transposed(axis, axis + 1))
    }

    /// Writes the positions of the first `k` of each row, in order.
    fn order<T: Key>(&self, data: &[T], words: &mut [T::Word], order: &mut [i64]) {
        let (n, k, count) = (self.n, self.by.k, self.kept.numel());
        let room = room(n, k);
        if n >= LONG && room == n {
            for (row, order) in order.chunks_mut(k).enumerate() {
                let start = position(&self.kept, row);
                each_chunk(words, TASK, &|task, words| self.words(data, start, task * TASK, words));
                let words = least(words, k);
                words.par_sort_unstable();
                order.par_iter_mut().zip(words).for_each(|(at, word)| *at = T::position(*word));
            }
            return;
        }
        let together = count.div_ceil(slots(n, count));
        let tasks = words.par_chunks_mut(room).zip(order.par_chunks_mut(together * k)).enumerate();
        tasks.for_each(|(slot, (words, order))| {
            for (row, order) in order.chunks_mut(k).enumerate() {
                let start = position(&self.kept, slot * together + row);
                let words = if room == n {
                    self.words(data, start, 0, words);
                    least(words, k)
                } else {
                    self.least(data, start, words)
                };
                words.sort_unstable();
                order.iter_mut().zip(words).for_each(|(at, word)| *at = T::position(*word));
            }
        });
    }

    /// The words of the elements from number `from` on of the row at `start`.
    fn words<T: Key>(&self, data: &[T], start: usize, from: usize, out: &mut [T::Word]) {
        let (step, descending) = (self.step, self.by.descending);
        let row = &data[start + from * step..];
        vectorized(
            #[inline(always)]
            move || {
                if step == 1 {
                    for (i, (out, &x)) in out.iter_mut().zip(row).enumerate() {
                        *out = x.word(descending, from + i);
                    }
                } else {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = row[i * step].word(descending, from + i);
                    }
                }
            },
        );
    }

    /// The `k` least words of the row at `start`, in any order: `room` holds those that may be.
    fn least<'a, T: Key>(&self, data: &[T], start: usize, room: &'a mut [T::Word]) -> &'a mut [T::Word] {
        let (n, k) = (self.n, self.by.k);
        let (mut len, mut bound) = (0, None);
        let mut some = [T::Word::zeroed(); PART];
        for from in (0..n).step_by(PART) {
            let some = &mut some[..PART.min(n - from)];
            self.words(data, start, from, some);
            if len + some.len() > room.len() {
                bound = Some(*room[..len].select_nth_unstable(k - 1).1);
                len = k;
            }
            // Written before it is known whether they stay: a branch would often be guessed wrong.
            for &word in &*some {
                room[len] = word;
                len += usize::from(bound.is_none_or(|bound| word < bound));
            }
        }
        least(&mut room[..len], k)
    }
}

/// The `k` least, in any order.
fn least<W: Ord>(words: &mut [W], k: usize) -> &mut [W] {
    if k < words.len() {
        words.select_nth_unstable(k);
    }
    &mut words[..k]
}

/// An element as an unsigned integer that orders as it does, in a word with its position.
trait Key: Scalar {
    type Word: Pod + Ord + Send + Sync;

    fn word(self, descending: bool, position: usize) -> Self::Word;
    fn position(word: Self::Word) -> i64;
}

macro_rules! keys {
    ($($t:ty, $unsigned:ty, $word:ty, $order:expr;)*) => {$(
        impl Key for $t {
            type Word = $word;
            #[inline(always)]
            fn word(self, descending: bool, position: usize) -> $word {
                let key: $unsigned = ($order)(self);
                <$word>::from(if descending { !key } else { key }) << 32 | position as $word
            }
            #[inline(always)]
            fn position(word: $word) -> i64 {
                i64::from(word as u32)
            }
        }
    )*};
}

/// The order of a float by its bits: NaN above infinity, one zero.
macro_rules! float_order {
    ($t:ty, $unsigned:ty) => {
        |x: $t| {
            let sign: $unsigned = 1 << (<$unsigned>::BITS - 1);
            let magnitude = x.to_bits() & !sign;
            let ordered = if x.to_bits() & sign != 0 { sign - magnitude } else { sign + magnitude };
            if magnitude > <$t>::INFINITY.to_bits() { <$unsigned>::MAX } else { ordered }
        }
    };
}

keys! {
    f32, u32, u64, float_order!(f32, u32);
    f16, u16, u64, float_order!(f16, u16);
    bf16, u16, u64, float_order!(bf16, u16);
    f64, u64, u128, float_order!(f64, u64);
    i64, u64, u128, |x: i64| x as u64 ^ 1 << 63;
    u32, u32, u64, |x| x;
    u8, u8, u64, |x| x;
    Truth, u8, u64, |x: Truth| bytemuck::cast(x);
}
