//! Threads by number, so that each can have a cache.

use std::{
    cell::Cell,
    sync::{Mutex, PoisonError},
};

/// The number of this thread: from 1, the lowest that no other thread has. One that ends leaves it to the next, and so its
/// cache.
#[inline]
pub(super) fn number() -> u32 {
    thread_local! {
        static NUMBER: Cell<u32> = const { Cell::new(0) };
        static TAKEN: Taken = Taken::new();
    }
    if NUMBER.get() == 0 {
        // A thread that is at its end has had its number taken from it, and counts as the first one.
        NUMBER.set(TAKEN.try_with(|taken| taken.0).unwrap_or(1));
    }
    NUMBER.get()
}

/// Which numbers threads have.
static NUMBERS: Mutex<Vec<bool>> = Mutex::new(Vec::new());

/// A number, until it is dropped.
struct Taken(u32);

impl Taken {
    fn new() -> Taken {
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let free = numbers.iter().position(|taken| !taken).unwrap_or(numbers.len());
        let len = numbers.len().max(free + 1);
        numbers.resize(len, true);
        numbers[free] = true;
        Taken(free as u32 + 1)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)[self.0 as usize - 1] = false;
    }
}
