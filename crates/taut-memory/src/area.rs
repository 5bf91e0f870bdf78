//! Parts of a pool's addresses, each with an arena of its own.

use crate::{SPAN_BYTES, arena::Arena, host::MIN_SPAN_BYTES};
use std::ops::Range;

/// The addresses of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) bytes: u64,
    /// Of a page.
    pub(crate) granule_bytes: u64,
    /// Whether [pages come in pieces](crate::Backing::is_segmented).
    pub(crate) is_segmented: bool,
}

/// A part of the addresses of a pool. Its arena counts from 0.
#[derive(Debug)]
pub(crate) struct Area {
    pub(crate) arena: Arena,
    granule_bytes: u64,
    /// Where the arena's views begin: what is below are pages.
    views: u64,
    /// By how much its pages lie further behind in the pool, and its views, in bytes.
    page_shift: u64,
    view_shift: u64,
}

/// Areas beside the first one.
pub(crate) const AREAS: u16 = 16;

/// Each of them has 1 part in so many of the pages: 16 GiB of the usual span.
const PART: u64 = 64;

impl Area {
    /// An area of a span, half of which is for pages: number 0 has what the others leave, which is all of it where the span is
    /// shorter than the usual one.
    pub(crate) fn new(number: u16, span: Span) -> Area {
        let Span { granule_bytes, is_segmented, .. } = span;
        let pages = span.bytes / granule_bytes;
        let (half, part) = (pages / 2, if has_areas(span.bytes) { pages / 2 / PART } else { 0 });
        let rest = part * u64::from(AREAS);
        let (start, n_pages, n_views) = match number {
            0 => (0, half - rest, pages - half - rest),
            _ => (half - rest + part * u64::from(number - 1), part, part),
        };
        let arena = match is_segmented {
            true => Arena::segmented(n_pages, granule_bytes),
            false => Arena::new(n_pages, n_pages + n_views, granule_bytes),
        };
        Area {
            arena,
            granule_bytes,
            views: n_pages * granule_bytes,
            page_shift: start * granule_bytes,
            view_shift: (half + start - n_pages) * granule_bytes,
        }
    }

    /// Where pages of the arena are in the pool. None of them are both pages and views.
    pub(crate) fn pages(&self, of: &Range<u64>) -> Range<u64> {
        let start = self.offset(of.start * self.granule_bytes) / self.granule_bytes;
        start..start + (of.end - of.start)
    }

    /// Where a byte of the arena is in the pool.
    #[inline]
    pub(crate) fn offset(&self, of: u64) -> u64 {
        of + if of < self.views { self.page_shift } else { self.view_shift }
    }
}

/// Whether a span of this length has areas beside the first one. Under Miri that is as long as host pages have one there.
pub(crate) fn has_areas(span_bytes: u64) -> bool {
    span_bytes >= if cfg!(miri) { MIN_SPAN_BYTES } else { SPAN_BYTES }
}
