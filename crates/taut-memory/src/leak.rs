//! The check that nothing is left: for tests, here and in programs that use taut.

use crate::{
    Kind, ScopeId,
    owners::Owner,
    pool::Pool,
    report::{Blocks, Owned, Size},
    state::Inner,
};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Calls `run`, and panics if a block lives on that was allocated meanwhile, in whichever pool of this process: exact
/// to the byte, by kind, with the ops and scopes that made them.
///
/// Only what this thread allocated counts (or a thread that [entered](ScopeId::enter) its scope), so tests can run side
/// by side on one device, and it does not help to free something older. What `run` returns still lives: return no
/// tensor. What is made once, at the first use of a device, should be made before.
///
/// ```
/// use std::sync::Arc;
/// use taut_memory::{HostBacking, Kind, Pool, Site, StreamId, assert_no_leak};
///
/// let pool = Pool::new(Arc::new(HostBacking::new()?));
/// let allocate = || pool.allocate(4096, StreamId::COMPUTE, Site::new("relu", Kind::Saved));
/// let address = assert_no_leak(|| allocate().map(|block| block.address()))?;
///
/// let mut kept = Vec::new();
/// let leak = std::panic::AssertUnwindSafe(|| assert_no_leak(|| kept.push(allocate())));
/// let message = std::panic::catch_unwind(leak).unwrap_err();
/// assert_eq!(
///     message.downcast_ref::<String>().unwrap(),
///     "assert_no_leak: 4.00 KiB (4096 bytes) in 1 block are left: saved 4096 bytes; \
///      relu saved 4.00 KiB (4096 bytes) in 1 block"
/// );
/// # Ok::<(), taut_memory::Error>(())
/// ```
///
/// # Panics
///
/// If a block is left, an empty one too.
#[track_caller]
pub fn assert_no_leak<R>(run: impl FnOnce() -> R) -> R {
    let watched = ScopeId::watched();
    let inside = watched.enter();
    let result = run();
    drop(inside);
    let left = left(watched);
    assert!(left.is_empty(), "assert_no_leak: {}", Left(left));
    // Nothing is left that knows this scope, so the next call can have it.
    watched.forget();
    result
}

/// The owners in a scope, of all pools, the largest first.
fn left(scope: ScopeId) -> Vec<Owner> {
    let owners = |pool: &Arc<Inner>| pool.settled().owners.live();
    let mut left: Vec<Owner> = pools().iter().flat_map(owners).filter(|o| o.scope.is_within(scope)).collect();
    left.sort_by_key(|owner| std::cmp::Reverse(owner.bytes));
    left
}

/// `4.00 KiB (4096 bytes) in 1 block are left: saved 4096 bytes; relu saved 4.00 KiB (4096 bytes) in 1 block`.
struct Left(Vec<Owner>);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&Owner) -> u64| self.0.iter().map(of).sum();
        write!(f, "{} in {} are left", Size(sum(|owner| owner.bytes)), Blocks(sum(|owner| owner.blocks)))?;
        let mut before = ": ";
        for kind in Kind::ALL {
            let owners = self.0.iter().filter(|owner| owner.site.kind == kind);
            if owners.clone().next().is_some() {
                write!(f, "{before}{kind} {} bytes", owners.map(|owner| owner.bytes).sum::<u64>())?;
                before = ", ";
            }
        }
        before = "; ";
        for owner in &self.0 {
            write!(f, "{before}{}", Owned(owner))?;
            before = ", ";
        }
        Ok(())
    }
}

/// Every pool of the process.
static POOLS: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

/// Notes a new pool.
pub(crate) fn note(pool: &Pool) {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    // Those that are gone go when there would be no room, so that it is a small part of making a pool.
    if pools.len() == pools.capacity() {
        pools.retain(|pool| pool.strong_count() > 0);
    }
    pools.push(Arc::downgrade(&pool.0));
}

fn pools() -> Vec<Arc<Inner>> {
    let pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    pools.iter().filter_map(Weak::upgrade).collect()
}
