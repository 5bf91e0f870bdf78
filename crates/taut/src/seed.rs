//! Seeds of random numbers that nobody chose: a count, of this thread, from a start that can be set.

use std::cell::Cell;

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// The seeds that follow are `seed` and those after it.
///
/// ```
/// taut::seed::set(7);
/// assert_eq!((taut::seed::next(), taut::seed::next(), taut::seed::state()), (7, 8, 9));
/// ```
pub fn set(seed: u64) {
    NEXT.set(seed);
}

/// A seed that nobody had since [`set`]: of a dropout, say.
pub fn next() -> u64 {
    NEXT.replace(state().wrapping_add(1))
}

/// The seed that comes next: [`set`] it, to draw the same ones again.
pub fn state() -> u64 {
    NEXT.get()
}

/// Calls `f` with the seeds from `seed` on; those that follow are what they would have been without it.
pub fn with_state<R>(seed: u64, f: impl FnOnce() -> R) -> R {
    struct Restore(u64);
    impl Drop for Restore {
        fn drop(&mut self) {
            NEXT.set(self.0);
        }
    }
    let _restore = Restore(NEXT.replace(seed));
    f()
}
