//! Where to place a block: what is ready for the longest time, or else what needs the fewest new pages.

use super::{Arena, count};
use std::ops::Range;

/// A place for a block, and what must happen before the block can be handed out: its place can be [taken](Arena::take)
/// before that, so that nobody else gets it meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(super) place: Choice,
    /// Bit `s`: stream `s` may still use a part of it.
    pub(crate) streams: u64,
    /// Pages to commit.
    pub(crate) missing: Vec<Range<u64>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The first bytes of a free range, or the last ones.
    Gap { node: u32, block: Range<u64> },
    /// A view that is there.
    View(u32),
    /// A view that has to be made: one that needs second places if there are several parts.
    Parts(Vec<Range<u64>>),
    /// The first bytes of a segment that has to be made.
    Segment { block: Range<u64> },
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// So many pages would be needed, of all blocks.
    Pages(u64),
    /// No free range of addresses is long enough.
    Addresses,
}

/// Blocks smaller than this part of a page are not divided while there is another way.
const LEAST_DIVIDED: u64 = 8;

/// Free ends of pages that are shorter than this part of one are left alone while there is another way: they are many,
/// and there is little to save.
const LEAST_FRAGMENT: u64 = 32;

/// Pages may exceed the live bytes by 1 part in so many before a block is divided to save one.
const SLACK: u64 = 512;

impl Plan {
    /// Whether nothing must be made for it.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.missing.is_empty() && !matches!(self.place, Choice::Parts(_))
    }
}

impl Arena {
    /// A place for a block of `bytes`, which is a multiple of [`ALIGN_BYTES`](crate::ALIGN_BYTES) and not 0, such that no
    /// more than `most_pages` are committed then: what is ready for the longest time, or else something new.
    pub(crate) fn plan(&self, bytes: u64, most_pages: u64) -> Result<Plan, Full> {
        if bytes > self.byte(self.view_span.start) {
            return Err(Full::Addresses);
        }
        if let Some(segments) = &self.segments {
            return self.plan_in(segments, bytes, most_pages);
        }
        let ids = self.views.of(bytes);
        let near = self.near(bytes);
        let ready = near.as_ref().filter(|(plan, ..)| plan.missing.is_empty()).map(|(_, block, below)| {
            let old = ids.is_empty() || *below && self.pages.is_plain();
            if old { 0 } else { self.pages.born(self.pages_of(block)) }
        });
        let views = ids.iter().filter_map(|&id| Some((id, self.views.get(id)?)));
        for (id, view) in views.take_while(|(_, view)| ready.is_none_or(|age| view.born <= age)) {
            if let Some(streams) = self.streams_of(&view.parts) {
                return Ok(Plan { place: Choice::View(id), streams, missing: Vec::new() });
            }
        }
        match near {
            Some((plan, ..)) if plan.missing.is_empty() => Ok(plan),
            near => self.create(bytes, near.map(|(plan, ..)| plan), most_pages),
        }
    }

    /// Another place than that of `refused`: with as few new pages as possible or, if that was the place, in one range. None
    /// for a segment.
    pub(crate) fn plan_again(&self, refused: &Plan, bytes: u64, most_pages: u64) -> Result<Plan, Full> {
        let plan = match &refused.place {
            Choice::Parts(_) => self.near(bytes).map(|(plan, ..)| plan),
            Choice::Segment { .. } => None,
            _ => self.tightest(bytes, 0),
        };
        let plan = plan.ok_or(Full::Addresses)?;
        let needed = self.pages.committed() + count(&plan.missing);
        if needed <= most_pages { Ok(plan) } else { Err(Full::Pages(needed)) }
    }

    /// The place in one range: the best fit below the last live byte, or behind it; with its offsets, and whether it is
    /// below.
    fn near(&self, bytes: u64) -> Option<(Plan, Range<u64>, bool)> {
        let gap = self.gap(bytes);
        let (node, start) = gap.or_else(|| {
            let node = self.ranges.top()?;
            let start = self.ranges.start(node);
            (self.ranges.end(node) - start >= bytes).then_some((node, start))
        })?;
        let block = start..start + bytes;
        let used = self.ranges.used(node).filter(|used| start < used.end);
        let (streams, missing) =
            (used.map_or(0, |used| used.streams), self.pages.missing(self.pages_of(&block)));
        Some((
            Plan { place: Choice::Gap { node, block: block.clone() }, streams, missing },
            block,
            gap.is_some(),
        ))
    }

    /// The near place with new pages while the pages are few beside the live bytes, otherwise the one that needs the
    /// fewest.
    fn create(&self, bytes: u64, near: Option<Plan>, most_pages: u64) -> Result<Plan, Full> {
        let pages = |plan: &Plan| self.pages.committed() + count(&plan.missing);
        let few = |pages: u64| {
            let slack = (self.live_bytes + bytes) / SLACK;
            pages.saturating_mul(self.byte(1)) <= self.live_bytes.saturating_add(bytes).saturating_add(slack)
        };
        let near = near.filter(|plan| pages(plan) <= most_pages);
        if let Some(plan) =
            near.as_ref().filter(|plan| bytes < self.byte(1) / LEAST_DIVIDED || few(pages(plan)))
        {
            return Ok(plan.clone());
        }
        let apart = self.tightest(bytes, if near.is_some() { self.byte(1) / LEAST_FRAGMENT } else { 0 });
        match (near, apart) {
            (Some(near), Some(apart)) if pages(&near) <= pages(&apart) => Ok(near),
            (_, Some(apart)) if pages(&apart) <= most_pages => Ok(apart),
            (Some(near), _) => Ok(near),
            (None, Some(apart)) => Err(Full::Pages(pages(&apart))),
            (None, None) => Err(Full::Addresses),
        }
    }

    /// The plan that divides a block into free parts.
    pub(super) fn scattered(&self, parts: Vec<Range<u64>>) -> Plan {
        let streams = self.streams_of(&parts).unwrap_or(u64::MAX);
        let missing = parts.iter().flat_map(|part| self.pages.missing(self.pages_of(part))).collect();
        Plan { place: Choice::Parts(parts), streams, missing }
    }

    /// The streams that may still use a part, if all are free.
    pub(super) fn streams_of(&self, parts: &[Range<u64>]) -> Option<u64> {
        parts.iter().try_fold(0, |streams, part| {
            let gap = self.gap_at(part.start).filter(|&gap| part.end <= self.ranges.end(gap))?;
            let used = self.ranges.used(gap).filter(|used| part.start < used.end);
            Some(streams | used.map_or(0, |used| used.streams))
        })
    }
}
