//! Budgets of scopes: a part of a model that may hold so much of a pool, and no more.

use crate::{
    Budget, Error, Pool, Result, ScopeId,
    report::{Cause, Size},
};

/// What one scope of a program, and those inside of it, hold of a [`Pool`]: made by [`Pool::scope`].
#[derive(Clone, Debug)]
pub struct PoolScope {
    pool: Pool,
    path: String,
}

impl Pool {
    /// The blocks that were allocated in the scope with this path, as [`ScopeId::name`] gives it: names from the outermost
    /// inwards, with `/` between them. `""` is all.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use taut_memory::{Budget, ErrorKind, HostBacking, Kind, Pool, Site, StreamId, scope};
    ///
    /// let pool = Pool::new(Arc::new(HostBacking::new()?));
    /// pool.scope("model").limit(Budget::Bytes(10_000))?;
    /// pool.scope("model/layer3").limit(Budget::Bytes(5_000))?;
    ///
    /// let allocate = |bytes| pool.allocate(bytes, StreamId::COMPUTE, Site::new("relu", Kind::Activations));
    /// let _model = scope("model");
    /// let block = allocate(6000)?;
    /// {
    ///     let _layer = scope("layer3");
    ///     assert_eq!(allocate(5001).unwrap_err().kind(), ErrorKind::OutOfMemory); // of the layer
    ///     assert_eq!(allocate(4001).unwrap_err().kind(), ErrorKind::OutOfMemory); // of the model
    ///     assert!(allocate(4000).is_ok());
    /// }
    /// assert_eq!(pool.scope("model").live_bytes(), 6000);
    /// # drop(block);
    /// # Ok::<(), taut_memory::Error>(())
    /// ```
    pub fn scope(&self, path: &str) -> PoolScope {
        PoolScope { pool: self.clone(), path: path.to_owned() }
    }
}

impl PoolScope {
    /// Limits the live bytes of this scope and those inside of it, from now on, whatever their own limits are. The limit
    /// holds until it is set again; [`Budget::Unlimited`] ends it, and a fraction is one of the device.
    ///
    /// # Errors
    ///
    /// [`Device`](crate::ErrorKind::Device) for a fraction outside of `(0, 1]` or NaN;
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if they hold more now. The old limit then stays.
    pub fn limit(&self, budget: Budget) -> Result<()> {
        let most_bytes = budget.of(self.pool.capacity_bytes(), "limit")?;
        let turn = self.pool.0.turn();
        let mut state = self.pool.0.ordered(&turn);
        let live_bytes = state.owners.bytes_where(|scope| is_within(scope, &self.path));
        if live_bytes > most_bytes {
            let (most, live, path) = (Size(most_bytes), Size(live_bytes), &self.path);
            return Err(Error::out_of_memory(format!(
                "limit: {most} is less than the {live} in use in {path}"
            )));
        }
        let limits = &mut state.limits.0;
        limits.retain(|limit| limit.path != self.path);
        if budget != Budget::Unlimited {
            limits.push(Limit { path: self.path.clone(), most_bytes, live_bytes });
        }
        Ok(())
    }

    /// Bytes of the live blocks of this scope and those inside of it.
    pub fn live_bytes(&self) -> u64 {
        self.pool.0.settled().owners.bytes_where(|scope| is_within(scope, &self.path))
    }
}

/// Every limit of a pool: mostly there is none.
#[derive(Debug, Default)]
pub(crate) struct Limits(Vec<Limit>);

#[derive(Debug)]
struct Limit {
    path: String,
    most_bytes: u64,
    live_bytes: u64,
}

impl Limits {
    /// The first limit that a block of `bytes` in `scope` would exceed.
    #[inline]
    pub(crate) fn exceeded(&self, scope: ScopeId, bytes: u64) -> Option<Cause> {
        if self.is_empty() { None } else { self.first_exceeded(scope, bytes) }
    }

    #[cold]
    fn first_exceeded(&self, scope: ScopeId, bytes: u64) -> Option<Cause> {
        let mut limits = self.0.iter().filter(|limit| is_within(scope, &limit.path));
        let Limit { path, most_bytes, live_bytes } =
            limits.find(|limit| bytes > limit.most_bytes.saturating_sub(limit.live_bytes))?;
        Some(Cause::Scope { path: path.clone(), live_bytes: *live_bytes, most_bytes: *most_bytes })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(crate) fn add(&mut self, scope: ScopeId, bytes: u64) {
        if !self.is_empty() {
            self.change(scope, |live_bytes| *live_bytes += bytes);
        }
    }

    #[inline]
    pub(crate) fn sub(&mut self, scope: ScopeId, bytes: u64) {
        if !self.is_empty() {
            self.change(scope, |live_bytes| *live_bytes -= bytes);
        }
    }

    /// Changes what is live in the scopes that `scope` is in.
    #[cold]
    fn change(&mut self, scope: ScopeId, change: impl Fn(&mut u64)) {
        let limits = self.0.iter_mut().filter(|limit| is_within(scope, &limit.path));
        limits.for_each(|limit| change(&mut limit.live_bytes));
    }
}

/// Whether a scope has this path, or was entered inside of one that has.
fn is_within(scope: ScopeId, path: &str) -> bool {
    let rest = scope.name().strip_prefix(path);
    path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
