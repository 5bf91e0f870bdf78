//! Views: second places for pages, which make one range of pages that lie apart.
//!
//! A view stays when its block is freed, and serves the next block of that length for which all of its memory is free.

use super::{Arena, Place};
use crate::owners::Mix;
use std::{collections::HashMap, hash::BuildHasherDefault, ops::Range};

/// Every view, by the length of its blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct Views {
    list: Vec<Option<View>>,
    unused: Vec<u32>,
    /// The oldest first.
    by_bytes: HashMap<u64, Vec<u32>, BuildHasherDefault<Mix>>,
    /// Of all views.
    parts: usize,
    /// Where the last one that was made ends.
    end: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(super) bytes: u64,
    /// When it was made, in the time of [`Pages::born`](super::pages::Pages::born).
    pub(super) born: u64,
    /// When it was taken last, in the same time or later.
    pub(super) taken: u64,
    /// Where its block begins.
    pub(super) offset: u64,
    /// The second places. Empty if its memory lies together, and needs none.
    pub(crate) pages: Range<u64>,
    /// The memory, in order. All parts but the first begin with a page, all but the last end with one.
    pub(super) parts: Vec<Range<u64>>,
    /// The live ranges under it, while a block has it.
    pub(super) nodes: Vec<u32>,
}

/// More parts are not kept: a system has tens of thousands of mappings at most.
const MOST_PARTS: usize = 16 << 10;

impl Views {
    pub(super) fn get(&self, view: u32) -> Option<&View> {
        self.list.get(view as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, view: u32) -> Option<&mut View> {
        self.list.get_mut(view as usize)?.as_mut()
    }

    /// The views for blocks of this length, the oldest first.
    pub(super) fn of(&self, bytes: u64) -> &[u32] {
        self.by_bytes.get(&bytes).map_or(&[], Vec::as_slice)
    }

    /// Enters a view that is made now.
    pub(super) fn make(&mut self, view: View) -> u32 {
        if !view.pages.is_empty() {
            self.end = view.pages.end;
        }
        self.insert(view)
    }

    pub(super) fn insert(&mut self, view: View) -> u32 {
        let id = self.unused.pop().unwrap_or_else(|| {
            self.list.push(None);
            (self.list.len() - 1) as u32
        });
        self.by_bytes.entry(view.bytes).or_default().push(id);
        self.parts += view.parts.len();
        self.list[id as usize] = Some(view);
        id
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<View> {
        let view = self.list.get_mut(id as usize).and_then(Option::take)?;
        if let Some(ids) = self.by_bytes.get_mut(&view.bytes) {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.by_bytes.remove(&view.bytes);
            }
        }
        self.parts -= view.parts.len();
        self.unused.push(id);
        Some(view)
    }

    /// The views without a block, the one first that was taken the longest time ago.
    pub(super) fn idle(&self) -> Vec<u32> {
        let views = self.list.iter().zip(0..).filter_map(|(view, id)| Some((view.as_ref()?, id)));
        let mut idle: Vec<(u64, u32)> =
            views.filter(|(view, _)| view.nodes.is_empty()).map(|(view, id)| (view.taken, id)).collect();
        idle.sort_unstable();
        idle.into_iter().map(|(_, id)| id).collect()
    }

    /// A free place of `n` pages in `span`; `None` too if there are more parts than should be kept. The next one behind that of
    /// the last view, for the places that were left before may still be in use.
    pub(super) fn room(&self, n: u64, parts: usize, span: Range<u64>) -> Option<Range<u64>> {
        if self.parts + parts > MOST_PARTS {
            return None;
        }
        let mut taken: Vec<&Range<u64>> = self.list.iter().flatten().map(|view| &view.pages).collect();
        taken.sort_unstable_by_key(|pages| pages.start);
        let from = |first: u64| {
            let mut start = first;
            for pages in taken.iter().filter(|pages| !pages.is_empty() && pages.end > first) {
                if start + n <= pages.start {
                    break;
                }
                start = start.max(pages.end);
            }
            (start + n <= span.end).then_some(start..start + n)
        };
        from(self.end.max(span.start)).or_else(|| from(span.start))
    }
}

impl Arena {
    /// Makes the block of a view live. Returns where it lies, and its offset.
    pub(super) fn take_view(&mut self, id: u32) -> (Place, u64) {
        let Some(view) = self.views.get(id) else { return (Place::View(id), 0) };
        let offset = view.offset;
        let mut nodes = Vec::with_capacity(view.parts.len());
        for part in view.parts.clone() {
            if let Some(gap) = self.gap_at(part.start) {
                nodes.push(self.occupy(gap, part));
            }
        }
        self.now += 1;
        if let Some(view) = self.views.get_mut(id) {
            (view.nodes, view.taken) = (nodes, self.now);
        }
        (Place::View(id), offset)
    }
}
