//! The largest and the smallest, and where they are; any and all are those of bools.
//!
//! Elements are compared as integer keys of their size, which the compiler makes into vector instructions: a larger key wins,
//! and NaN has the largest, whether the largest element is sought or the smallest.

use super::{
    Fold, Rows, Scalar, Truth,
    sums::LANES,
    walk::{COLUMNS, ROWS},
};
use crate::cpu::BLOCK;
use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};

/// Which end is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Largest,
    Smallest,
}

/// An element that has a key.
pub(super) trait Keyed: Scalar {
    type Key: Pod + Ord + Send + Sync;
    /// Below or equal to every key.
    const LEAST: Self::Key;

    /// What turns the order of keys around, where the smallest is sought.
    fn turn(end: End) -> Self::Key;
    /// The key. 0 is larger than -0.
    fn key(self, turn: Self::Key) -> Self::Key;
    /// As [`key`](Self::key), but 0 and -0 are equal.
    fn key_of_equals(self, turn: Self::Key) -> Self::Key;
    fn from_key(key: Self::Key, turn: Self::Key) -> Self;
    /// Whether no element has a larger key.
    fn is_last(key: Self::Key, turn: Self::Key) -> bool;
    /// The number of a row as a key, so that it is moved along with keys, and back.
    fn of_row(row: usize) -> Self::Key;
    fn to_row(key: Self::Key) -> usize;
}

/// What all keys have.
macro_rules! of_keys {
    ($key:ty) => {
        type Key = $key;
        const LEAST: $key = <$key>::MIN;
        fn turn(end: End) -> $key {
            if end == End::Largest { 0 } else { !0 }
        }
        fn of_row(row: usize) -> $key {
            row as $key
        }
        fn to_row(key: $key) -> usize {
            key as usize
        }
    };
}

macro_rules! int_keys {
    ($($t:ty, $key:ty, $to:expr, $from:expr, $largest:expr;)*) => {$(
        impl Keyed for $t {
            of_keys!($key);
            #[inline(always)]
            fn key(self, turn: $key) -> $key {
                $to(self) ^ turn
            }
            #[inline(always)]
            fn key_of_equals(self, turn: $key) -> $key {
                self.key(turn)
            }
            fn from_key(key: $key, turn: $key) -> Self {
                $from(key ^ turn)
            }
            fn is_last(key: $key, turn: $key) -> bool {
                key == if turn == 0 { $largest } else { <$key>::MAX }
            }
        }
    )*};
}

int_keys! {
    i64, i64, |x: i64| x, |key| key, i64::MAX;
    u32, u32, |x: u32| x, |key| key, u32::MAX;
    u8, u8, |x: u8| x, |key| key, u8::MAX;
    // All of nothing is the complement of 0.
    Truth, u8, bytemuck::cast::<Truth, u8>, |key: u8| bytemuck::cast::<u8, Truth>(key & 1), 1;
}

macro_rules! float_keys {
    ($($t:ty, $key:ty;)*) => {$(
        impl Keyed for $t {
            of_keys!($key);
            #[inline(always)]
            fn key(self, turn: $key) -> $key {
                let bits = self.to_bits() as $key;
                // The bits of negative numbers count down.
                let ordered = bits ^ ((bits >> (<$key>::BITS - 1)) & <$key>::MAX);
                let nan = bits & <$key>::MAX > <$t>::INFINITY.to_bits() as $key;
                if nan { <$key>::MAX } else { ordered ^ turn }
            }
            #[inline(always)]
            fn key_of_equals(self, turn: $key) -> $key {
                let minus_zero = self.to_bits() as $key == <$key>::MIN;
                (if minus_zero { <$t>::from_bits(0) } else { self }).key(turn)
            }
            fn from_key(key: $key, turn: $key) -> $t {
                let ordered = key ^ turn;
                <$t>::from_bits((ordered ^ ((ordered >> (<$key>::BITS - 1)) & <$key>::MAX)) as _)
            }
            fn is_last(key: $key, _: $key) -> bool {
                key == <$key>::MAX
            }
        }
    )*};
}

float_keys! {
    f16, i16;
    bf16, i16;
    f32, i32;
    f64, i64;
}

/// The largest element, or the smallest, as a key.
pub(super) struct Extreme<T: Keyed>(T::Key);

impl<T: Keyed> Extreme<T> {
    pub(super) fn new(end: End) -> Extreme<T> {
        Extreme(T::turn(end))
    }

    pub(super) fn value(&self, key: T::Key) -> T {
        T::from_key(key, self.0)
    }
}

impl<T: Keyed> Fold<T> for Extreme<T> {
    type Part = T::Key;

    #[inline(always)]
    fn empty(&self) -> T::Key {
        T::LEAST
    }

    #[inline(always)]
    fn row(&self, part: T::Key, x: &[T], _: usize, _: &mut [T::Acc; BLOCK]) -> T::Key {
        let turn = self.0;
        largest(
            part,
            x,
            #[inline(always)]
            |x| x.key(turn),
        )
    }

    #[inline(always)]
    fn columns(&self, parts: &mut [T::Key], rows: &Rows<'_, T>) {
        let turn = self.0;
        for row in rows.iter() {
            parts.iter_mut().zip(row).for_each(|(best, x)| *best = (*best).max(x.key(turn)));
        }
    }

    #[inline(always)]
    fn join(&self, a: T::Key, b: T::Key) -> T::Key {
        a.max(b)
    }

    #[inline(always)]
    fn is_final(&self, part: T::Key) -> bool {
        T::is_last(part, self.0)
    }
}

/// The largest of a key and of those of elements, side by side so that the compiler keeps them in vectors.
#[inline(always)]
fn largest<T: Keyed>(first: T::Key, x: &[T], key: impl Fn(T) -> T::Key) -> T::Key {
    let mut lanes = [first; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = (*lane).max(key(x));
        }
    }
    let rest = rest.iter().fold(first, |best, &x| best.max(key(x)));
    lanes.into_iter().fold(rest, Ord::max)
}

/// A key and its place.
#[derive(Clone, Copy)]
pub(super) struct Best<K> {
    key: K,
    pub(super) index: usize,
}

/// No place.
const NOWHERE: usize = usize::MAX;

/// The place of the largest element, or the smallest: the first of equals.
pub(super) struct ArgExtreme<T: Keyed>(T::Key);

impl<T: Keyed> ArgExtreme<T> {
    pub(super) fn new(end: End) -> ArgExtreme<T> {
        ArgExtreme(T::turn(end))
    }
}

impl<T: Keyed> Fold<T> for ArgExtreme<T> {
    type Part = Best<T::Key>;

    #[inline(always)]
    fn empty(&self) -> Self::Part {
        Best { key: T::LEAST, index: NOWHERE }
    }

    #[inline(always)]
    fn row(&self, part: Self::Part, x: &[T], start: usize, _: &mut [T::Acc; BLOCK]) -> Self::Part {
        let turn = self.0;
        // First what, then where: a new best is rare.
        let key = largest(
            T::LEAST,
            x,
            #[inline(always)]
            |x| x.key_of_equals(turn),
        );
        if part.index != NOWHERE && key <= part.key {
            return part;
        }
        let place = x.iter().position(|x| x.key_of_equals(turn) == key);
        place.map_or(part, |place| Best { key, index: start + place })
    }

    #[inline(always)]
    fn columns(&self, parts: &mut [Self::Part], rows: &Rows<'_, T>) {
        const { assert!(ROWS <= 128, "a row has a number among the least keys") };
        let turn = self.0;
        let (mut keys, mut places) = ([T::LEAST; COLUMNS], [T::Key::zeroed(); COLUMNS]);
        let (keys, places) = (&mut keys[..parts.len()], &mut places[..parts.len()]);
        for (number, row) in rows.iter().enumerate() {
            let number = T::of_row(number);
            for ((best, place), x) in keys.iter_mut().zip(places.iter_mut()).zip(row) {
                let key = x.key_of_equals(turn);
                let better = key > *best;
                *place = if better { number } else { *place };
                *best = if better { key } else { *best };
            }
        }
        for ((part, &key), &place) in parts.iter_mut().zip(&*keys).zip(&*places) {
            *part = self.join(*part, Best { key, index: rows.first + T::to_row(place) });
        }
    }

    #[inline(always)]
    fn join(&self, a: Self::Part, b: Self::Part) -> Self::Part {
        let wins = a.index == NOWHERE || b.key > a.key;
        if b.index != NOWHERE && wins { b } else { a }
    }

    #[inline(always)]
    fn is_final(&self, part: Self::Part) -> bool {
        T::is_last(part.key, self.0)
    }
}
