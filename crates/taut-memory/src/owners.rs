//! Who holds the live bytes.

use crate::{
    ScopeId, Site,
    report::{Blocks, Largest, Size},
};
use std::{
    cmp::Reverse,
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    ptr,
};

/// Live bytes by scope, op and kind.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// One for each site in each scope that ever held a block: as many as the program text has, so none is removed.
    list: Vec<Owner>,
    lookup: Lookup,
}

/// Numbers of owners, by scope and site.
#[derive(Debug)]
pub(crate) struct Lookup {
    index: HashMap<(ScopeId, Site), usize, BuildHasherDefault<Mix>>,
    /// Where those stand that were counted last, found by the address of their op's name: comparing it is much of the
    /// time of a lookup in the index.
    recent: Recent,
}

/// A cache with one place for each remainder of a hash.
type Recent = [Option<(ScopeId, Site, usize)>; 64];

/// The blocks of one site in one scope.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) scope: ScopeId,
    pub(crate) site: Site,
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
}

impl Default for Lookup {
    fn default() -> Lookup {
        Lookup { index: HashMap::default(), recent: [None; 64] }
    }
}

impl Lookup {
    /// The number of an owner, if it was [entered](Self::insert).
    #[inline]
    pub(crate) fn get(&mut self, scope: ScopeId, site: Site) -> Option<usize> {
        let mut hash = Mix(site.op.as_ptr() as u64 ^ site.op.len() as u64);
        hash.write_u64(u64::from(scope.number()) << 8 | site.kind as u64);
        let slot = (hash.finish() % 64) as usize;
        match self.recent[slot] {
            Some((known, of, i)) if known == scope && of.kind == site.kind && ptr::eq(of.op, site.op) => {
                Some(i)
            }
            _ => self.find(scope, site, slot),
        }
    }

    #[cold]
    fn find(&mut self, scope: ScopeId, site: Site, slot: usize) -> Option<usize> {
        let i = *self.index.get(&(scope, site))?;
        self.recent[slot] = Some((scope, site, i));
        Some(i)
    }

    pub(crate) fn insert(&mut self, scope: ScopeId, site: Site, i: usize) {
        self.index.insert((scope, site), i);
    }
}

impl Owners {
    /// Counts a block, and returns where it was counted, for [`remove`](Self::remove).
    #[inline]
    pub(crate) fn add(&mut self, scope: ScopeId, site: Site, bytes: u64) -> usize {
        let i = self.of(scope, site);
        self.list[i].bytes += bytes;
        self.list[i].blocks += 1;
        i
    }

    /// Where the blocks of this scope and site are counted.
    #[inline]
    pub(crate) fn of(&mut self, scope: ScopeId, site: Site) -> usize {
        self.lookup.get(scope, site).unwrap_or_else(|| {
            self.list.push(Owner { scope, site, bytes: 0, blocks: 0 });
            self.lookup.insert(scope, site, self.list.len() - 1);
            self.list.len() - 1
        })
    }

    /// Adds what was counted elsewhere: below 0 too, but not in all.
    pub(crate) fn merge(&mut self, i: usize, bytes: u64, blocks: u64) {
        let owner = &mut self.list[i];
        (owner.bytes, owner.blocks) = (owner.bytes.wrapping_add(bytes), owner.blocks.wrapping_add(blocks));
    }

    #[inline]
    pub(crate) fn remove(&mut self, i: usize, bytes: u64) {
        self.list[i].bytes -= bytes;
        self.list[i].blocks -= 1;
    }

    /// All that ever were, by the numbers that [`add`](Self::add) gives.
    pub(crate) fn all(&self) -> &[Owner] {
        &self.list
    }

    /// The bytes of the scopes that `wanted` names.
    pub(crate) fn bytes_where(&self, wanted: impl Fn(ScopeId) -> bool) -> u64 {
        self.list.iter().filter(|owner| wanted(owner.scope)).map(|owner| owner.bytes).sum()
    }

    /// The `n` that hold the most bytes, the largest first, without those of empty blocks only.
    pub(crate) fn largest(&self, n: usize) -> Vec<Owner> {
        let mut live = self.live();
        live.retain(|owner| owner.bytes > 0);
        live.truncate(n);
        live
    }

    /// Who has a block, the largest first. Equal ones are in the order of their names, so that a report does not depend
    /// on which thread came first.
    pub(crate) fn live(&self) -> Vec<Owner> {
        let mut live: Vec<Owner> = self.list.iter().filter(|owner| owner.blocks > 0).copied().collect();
        live.sort_by_key(|owner| (Reverse(owner.bytes), owner.scope.name(), owner.site.op, owner.site.kind));
        live
    }

    /// Who holds the live blocks, in words; `None` if there is none.
    pub(crate) fn holders(&self) -> Option<String> {
        let (blocks, bytes) =
            self.list.iter().fold((0, 0), |(blocks, bytes), o| (blocks + o.blocks, bytes + o.bytes));
        (blocks > 0).then(|| format!("{} in {}{}", Size(bytes), Blocks(blocks), Largest(self)))
    }
}

/// A hash of a few short words, in place of the default one, which costs a tenth of an allocation. The keys come from
/// the program text, so nobody can choose them to collide.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // 2^64 over the golden ratio: an odd number with well spread bits.
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn finish(&self) -> u64 {
        // The map takes its bucket from the low bits, and multiplying fills the high ones.
        self.0 ^ self.0 >> 32
    }
}
