//! A lock for what takes some tens of nanoseconds, and never waits for anything.
//!
//! It is given back by one plain store, and nothing of it is touched after that. The standard library's exchanges a word
//! there, to learn whether anybody sleeps: a tenth of the time of an allocation and its free. Here those who wait spin, then
//! let others run, then sleep for moments.
#![allow(unsafe_code)]

use std::{
    cell::UnsafeCell,
    hint,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// A value, for one thread at a time.
pub(crate) struct Lock<T> {
    is_held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `Guard` alone comes to the value, and there is one at a time: so it is sent from thread to thread.
unsafe impl<T: Send> Sync for Lock<T> {}

/// The value, until this is dropped.
pub(crate) struct Guard<'a, T> {
    lock: &'a Lock<T>,
}

// SAFETY: what a shared guard gives is `&T`.
unsafe impl<T: Sync> Sync for Guard<'_, T> {}

/// So often others are looked at before they are let run, and so often before this thread sleeps.
const SPINS: u32 = 100;
const YIELDS: u32 = 200;
const NAP: Duration = Duration::from_micros(50);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Lock<T> {
        Lock { is_held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The value. A thread that panicked while it held it gave it back as it was then.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.try_lock().unwrap_or_else(|| self.wait())
    }

    /// The value, if nobody has it now.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        let taken = self.is_held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then(|| Guard { lock: self })
    }

    #[cold]
    fn wait(&self) -> Guard<'_, T> {
        let mut turns = 0;
        loop {
            // Looking takes nothing from who has it; trying does.
            if !self.is_held.load(Ordering::Relaxed)
                && let Some(guard) = self.try_lock()
            {
                return guard;
            }
            match turns {
                0..SPINS => hint::spin_loop(),
                SPINS..YIELDS => thread::yield_now(),
                _ => thread::sleep(NAP),
            }
            turns = (turns + 1).min(YIELDS);
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: no other guard is there, and this one is borrowed.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: no other guard is there, and this one is borrowed by nobody else.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.is_held.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let (lock, n) = (Lock::new((0u64, 0u64)), if cfg!(miri) { 50 } else { 20_000 });
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..n {
                        let mut both = lock.lock();
                        both.0 += 1;
                        hint::spin_loop();
                        assert_eq!(both.0, both.1 + 1);
                        both.1 += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), (4 * n, 4 * n));
    }

    #[test]
    fn it_is_given_back_by_a_panic() {
        let lock = Lock::new(0);
        let panics = std::panic::AssertUnwindSafe(|| {
            let mut value = lock.lock();
            *value = 1;
            panic!("while it is held");
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(lock.try_lock().map(|value| *value), Some(1));
    }

    #[test]
    fn who_has_it_has_it_alone() {
        let lock = Lock::new(());
        let held = lock.lock();
        // More than once: that it failed changes nothing.
        assert!((0..3).all(|_| lock.try_lock().is_none()));
        drop(held);
        assert!(lock.try_lock().is_some());
    }
}
