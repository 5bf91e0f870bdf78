//! Live and free ranges, a list in the order of their addresses that covers the whole span.

use std::ops::Range;

/// The end of the span, which stands as a live range of no length before the first and behind the last.
pub(super) const END: u32 = 0;

/// A range is at least [`ALIGN_BYTES`](crate::ALIGN_BYTES) long, and no two free ones are neighbours.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    nodes: Vec<Node>,
    /// Nodes that are in no list.
    unused: Vec<u32>,
}

/// Half a line of the cache, and never a part of two.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Node {
    start: u64,
    /// Of a free range. [`LIVE`] marks a live one.
    used_end: u64,
    streams: u64,
    prev: u32,
    next: u32,
}

const LIVE: u64 = u64::MAX;

/// Who may still use a free range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Bit `s`: stream `s` may still use a byte of it.
    pub(super) streams: u64,
    /// No stream uses a byte from here on: without this, the last range, which never fills up, would never forget.
    pub(super) end: u64,
}

/// What a range became a part of when it was freed.
pub(super) struct Joined {
    pub(super) node: u32,
    pub(super) range: Range<u64>,
    /// What comes behind it.
    pub(super) next: u32,
    /// What was free before: the range that now begins earlier, and the one behind the freed one.
    pub(super) below: Option<Range<u64>>,
    pub(super) above: Option<(u32, Range<u64>)>,
}

impl Ranges {
    /// One free range, which no stream has used; none if `span` is 0.
    pub(super) fn new(span: u64) -> Ranges {
        let end = Node { start: span, used_end: LIVE, streams: 0, prev: END, next: END };
        let mut ranges = Ranges { nodes: vec![end], unused: Vec::new() };
        if span > 0 {
            let whole = ranges.insert_after(END, 0);
            ranges.free(whole, Used::default());
        }
        ranges
    }

    #[inline]
    pub(super) fn start(&self, node: u32) -> u64 {
        self.nodes[node as usize].start
    }

    #[inline]
    pub(super) fn end(&self, node: u32) -> u64 {
        self.start(self.next(node))
    }

    #[inline]
    pub(super) fn range(&self, node: u32) -> Range<u64> {
        let Node { start, next, .. } = self.nodes[node as usize];
        start..self.start(next)
    }

    #[inline]
    pub(super) fn next(&self, node: u32) -> u32 {
        self.nodes[node as usize].next
    }

    #[inline]
    pub(super) fn prev(&self, node: u32) -> u32 {
        self.nodes[node as usize].prev
    }

    /// Who may still use it, if it is free.
    #[inline]
    pub(super) fn used(&self, node: u32) -> Option<Used> {
        let Node { used_end: end, streams, .. } = self.nodes[node as usize];
        (end != LIVE).then_some(Used { streams, end })
    }

    #[inline]
    pub(super) fn is_free(&self, node: u32) -> bool {
        self.nodes[node as usize].used_end != LIVE
    }

    /// The free range at the end of the span.
    pub(super) fn top(&self) -> Option<u32> {
        let last = self.prev(END);
        self.is_free(last).then_some(last)
    }

    /// A new live range behind `node`, to the start of what came next.
    #[inline]
    pub(super) fn insert_after(&mut self, node: u32, start: u64) -> u32 {
        let next = self.next(node);
        let new = Node { start, used_end: LIVE, streams: 0, prev: node, next };
        let index = match self.unused.pop() {
            Some(index) => {
                self.nodes[index as usize] = new;
                index
            }
            None => {
                self.nodes.push(new);
                // 2^32 ranges of 256 bytes are a whole span.
                (self.nodes.len() - 1) as u32
            }
        };
        self.nodes[node as usize].next = index;
        self.nodes[next as usize].prev = index;
        index
    }

    /// Takes a range out of the list; the one before it grows over it.
    #[inline]
    pub(super) fn remove(&mut self, node: u32) {
        let Node { prev, next, .. } = self.nodes[node as usize];
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
        self.nodes[node as usize].used_end = LIVE;
        self.unused.push(node);
    }

    #[inline]
    pub(super) fn occupy(&mut self, node: u32) {
        self.nodes[node as usize].used_end = LIVE;
    }

    /// Makes a range free; streams that use no byte of it are forgotten.
    #[inline]
    pub(super) fn free(&mut self, node: u32, used: Used) {
        let node = &mut self.nodes[node as usize];
        let streams = if used.end > node.start { used.streams } else { 0 };
        (node.streams, node.used_end) = (streams, used.end.max(node.start));
    }

    /// Makes a live range free that the `streams` may still use, and joins it with its neighbours.
    #[inline]
    pub(super) fn join(&mut self, node: u32, streams: u64) -> Joined {
        let Node { start, prev, next, .. } = self.nodes[node as usize];
        let (before, behind) = (self.nodes[prev as usize], self.nodes[next as usize]);
        let range = start..behind.start;
        let mut joined = Joined { node, range: range.clone(), next, below: None, above: None };
        let mut used = Used { streams, end: range.end };
        if behind.used_end != LIVE {
            joined.next = behind.next;
            joined.range.end = self.start(behind.next);
            joined.above = Some((next, range.end..joined.range.end));
            used = Used { streams: streams | behind.streams, end: range.end.max(behind.used_end) };
            self.nodes[next as usize].used_end = LIVE;
            self.unused.push(next);
        }
        if before.used_end != LIVE {
            joined.node = prev;
            joined.range.start = before.start;
            joined.below = Some(before.start..start);
            used.streams |= before.streams;
            self.unused.push(node);
        }
        self.nodes[joined.next as usize].prev = joined.node;
        let Used { streams, end: used_end } = used;
        let joined_node = &mut self.nodes[joined.node as usize];
        (joined_node.next, joined_node.streams, joined_node.used_end) = (joined.next, streams, used_end);
        joined
    }

    /// Whether this is the number of a node, in the list or not.
    pub(super) fn has(&self, node: u32) -> bool {
        (node as usize) < self.nodes.len()
    }
}
