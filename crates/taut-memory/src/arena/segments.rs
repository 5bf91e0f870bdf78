//! Segments: what pages come in where the system maps none at a place of the pool's choice, each in one piece.
//!
//! A segment is as long as the block that it is made for, in whole pages, and what the block leaves of it serves others. No
//! block lies over the end of one, because between any two there is a wall: a live range that nobody frees, of no length
//! where the next segment follows at once. So there is nothing to show at a second place, and all else is as with single
//! pages: the best fit over the gaps between live blocks, or something new behind it. A segment goes back whole, once no
//! block is left in it, and its addresses become those of the wall.

use super::{
    Arena, Choice, Full, Plan,
    ranges::{END, Ranges, Used},
};
use std::ops::Range;

/// The walls before, between and behind all segments, by their nodes and from the lowest.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    walls: Vec<u32>,
}

impl Segments {
    /// None so far: one wall over `span` bytes.
    pub(super) fn new(span: u64) -> (Ranges, Segments) {
        let mut ranges = Ranges::new(span);
        let wall = ranges.next(END);
        ranges.occupy(wall);
        (ranges, Segments { walls: vec![wall] })
    }
}

impl Arena {
    /// The best fit, or else the start of a new segment: over the first wall that is long enough.
    pub(super) fn plan_in(&self, segments: &Segments, bytes: u64, most_pages: u64) -> Result<Plan, Full> {
        if let Some((node, start)) = self.gap(bytes) {
            let used = self.ranges.used(node).filter(|used| start < used.end);
            let place = Choice::Gap { node, block: start..start + bytes };
            return Ok(Plan { place, streams: used.map_or(0, |used| used.streams), missing: Vec::new() });
        }
        let n = self.page_up(bytes);
        let needed = self.pages.committed() + n;
        if needed > most_pages {
            return Err(Full::Pages(needed));
        }
        let walls = segments.walls.iter().map(|&wall| self.ranges.range(wall));
        let wall = walls.into_iter().find(|wall| wall.end - wall.start >= self.byte(n));
        let start = wall.ok_or(Full::Addresses)?.start;
        let (block, pages) = (start..start + bytes, self.page(start)..self.page(start) + n);
        Ok(Plan { place: Choice::Segment { block }, streams: 0, missing: vec![pages] })
    }

    /// Makes a segment at the start of a wall, all of it live, and returns its node.
    pub(super) fn open_segment(&mut self, pages: Range<u64>) -> u32 {
        let bytes = self.byte(pages.start)..self.byte(pages.end);
        let Some((i, wall)) = self.wall_before(bytes.start) else { return END };
        let node = self.ranges.insert_after(wall, bytes.start);
        let next = self.ranges.insert_after(node, bytes.end);
        if let Some(segments) = &mut self.segments {
            segments.walls.insert(i + 1, next);
        }
        self.ranges.free(node, Used::default());
        self.list(node, bytes.clone(), next);
        self.occupy(node, bytes)
    }

    /// Makes a wall of a segment that is free, if it has no memory.
    pub(super) fn close_segment(&mut self, pages: Range<u64>) {
        let start = self.byte(pages.start);
        if !self.pages.present(pages).is_empty() {
            return;
        }
        if let (Some((i, wall)), Some(segments)) = (self.wall_before(start), &mut self.segments) {
            let next = segments.walls.remove(i + 1);
            let node = self.ranges.next(wall);
            self.unlist(node, self.ranges.range(node), next);
            self.ranges.remove(node);
            self.ranges.remove(next);
        }
    }

    /// Segments without a live byte, the highest first.
    pub(super) fn free_segments(&self, segments: &Segments) -> Vec<Range<u64>> {
        let pairs = segments.walls.iter().zip(segments.walls.iter().skip(1)).rev();
        let free = pairs.filter_map(|(&wall, &next)| {
            let node = self.ranges.next(wall);
            let is_free = self.ranges.is_free(node) && self.ranges.next(node) == next;
            is_free.then(|| self.whole_pages(&self.ranges.range(node)))
        });
        free.collect()
    }

    /// The wall in front of what begins at this byte, and its number.
    fn wall_before(&self, start: u64) -> Option<(usize, u32)> {
        let walls = &self.segments.as_ref()?.walls;
        // The last one that begins there or below: a wall of no length stands in front of its segment.
        let i = walls.partition_point(|&wall| self.ranges.start(wall) <= start).checked_sub(1)?;
        Some((i, walls[i]))
    }
}

#[cfg(test)]
mod tests;
