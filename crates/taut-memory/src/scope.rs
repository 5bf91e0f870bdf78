//! Scopes: which part of the program a block belongs to.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The path of a scope (`"model/layer3"`), interned: four bytes in each block, and no allocation to copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(u32);

/// Leaves a scope when it is dropped.
///
/// Guards belong to their thread. Drop them in the reverse order of their making, as local variables are: a guard
/// restores the scope that it was made in, whatever was entered since.
#[must_use = "the scope ends when its guard is dropped"]
#[derive(Debug)]
pub struct ScopeGuard {
    outer: ScopeId,
    /// The scope belongs to the thread, so the guard stays on it.
    _not_send: PhantomData<*const ()>,
}

/// Enters the scope `name`, inside the present one, on this thread: blocks allocated until the guard is dropped
/// belong to it.
///
/// A path that was seen before costs one lookup. New paths are kept for the life of the process, so take names from
/// the program text, not from data.
///
/// ```
/// use taut_memory::{ScopeId, scope};
///
/// let _model = scope("model");
/// {
///     let _layer = scope("layer3");
///     assert_eq!(ScopeId::current().name(), "model/layer3");
/// }
/// assert_eq!(ScopeId::current().name(), "model");
/// ```
pub fn scope(name: &'static str) -> ScopeGuard {
    ScopeId::current().child(name).enter()
}

impl ScopeId {
    /// Outside of every scope. Its name is empty.
    pub const ROOT: ScopeId = ScopeId(0);

    /// The scope that this thread is in.
    #[inline]
    pub fn current() -> ScopeId {
        CURRENT.get()
    }

    /// Goes back into this scope, whatever the present one is: backward does, for what it allocates on behalf of a
    /// forward op, and a thread for the one that started it.
    pub fn enter(self) -> ScopeGuard {
        ScopeGuard { outer: CURRENT.replace(self), _not_send: PhantomData }
    }

    /// The path: names from the outermost inwards, with `/` between them.
    pub fn name(self) -> &'static str {
        // The root stands in no list, so that the table can be built at compile time.
        let index = (self.0 as usize).checked_sub(1);
        index.and_then(|i| table().paths.get(i).copied()).unwrap_or("")
    }

    /// Equal for equal scopes, and small.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// Whether it is `outer`, or was entered inside of it.
    pub(crate) fn is_within(self, outer: ScopeId) -> bool {
        let table = table();
        let mut scope = self;
        while scope != outer {
            let Some(index) = (scope.0 as usize).checked_sub(1) else { return false };
            scope = table.outer.get(index).copied().unwrap_or(ScopeId::ROOT);
        }
        true
    }

    /// A scope inside the present one that is nobody else's, with the same name.
    pub(crate) fn watched() -> ScopeId {
        let (outer, path) = (ScopeId::current(), ScopeId::current().name());
        let mut table = table();
        match table.forgotten.get_mut(&outer).and_then(Vec::pop) {
            Some(scope) => scope,
            None => table.add(outer, path),
        }
    }

    /// Gives a [watched](Self::watched) scope back: no block is in it, nor in one inside it.
    pub(crate) fn forget(self) {
        let mut table = table();
        let outer = (self.0 as usize).checked_sub(1).and_then(|i| table.outer.get(i).copied());
        if let Some(outer) = outer {
            table.forgotten.entry(outer).or_default().push(self);
        }
    }

    fn child(self, name: &'static str) -> ScopeId {
        if let Some(&known) = table().children.get(&(self, name)) {
            return known;
        }
        let outer = self.name();
        let path = if outer.is_empty() { name } else { format!("{outer}/{name}").leak() };
        let mut table = table();
        // Another thread may have come first.
        if let Some(&known) = table.children.get(&(self, name)) {
            return known;
        }
        let scope = table.add(self, path);
        table.children.insert((self, name), scope);
        scope
    }
}

impl fmt::Debug for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeId({:?})", self.name())
    }
}

impl fmt::Display for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
    }
}

thread_local! {
    static CURRENT: Cell<ScopeId> = const { Cell::new(ScopeId::ROOT) };
}

struct Table {
    /// The path of the scope `i + 1`.
    paths: Vec<&'static str>,
    /// Where that scope was entered.
    outer: Vec<ScopeId>,
    children: BTreeMap<(ScopeId, &'static str), ScopeId>,
    /// Watched scopes that can be used again, by the one that they are in.
    forgotten: BTreeMap<ScopeId, Vec<ScopeId>>,
}

impl Table {
    fn add(&mut self, outer: ScopeId, path: &'static str) -> ScopeId {
        self.paths.push(path);
        self.outer.push(outer);
        ScopeId(self.paths.len() as u32)
    }
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    paths: Vec::new(),
    outer: Vec::new(),
    children: BTreeMap::new(),
    forgotten: BTreeMap::new(),
});

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_nest_and_are_interned() {
        assert_eq!(ScopeId::current(), ScopeId::ROOT);
        let model = scope("model");
        let first = {
            let _layer = scope("layer");
            ScopeId::current()
        };
        let again = {
            let _layer = scope("layer");
            ScopeId::current()
        };
        assert_eq!(first, again);
        assert_eq!(first.name(), "model/layer");
        drop(model);
        assert_eq!(ScopeId::current().name(), "");

        let _back = first.enter();
        assert_eq!(ScopeId::current(), first);
    }

    #[test]
    fn threads_start_outside_and_share_ids() {
        let _outer = scope("shared");
        let here = ScopeId::current();
        let there = std::thread::spawn(|| {
            assert_eq!(ScopeId::current(), ScopeId::ROOT);
            let _outer = scope("shared");
            ScopeId::current()
        });
        assert_eq!(there.join().unwrap(), here);
    }
}
