//! The place that takes the fewest new pages, over parts that lie apart if need be.

use super::{Arena, Plan};
use std::{cmp::Reverse, ops::Range};

/// The end of a page that is free behind a live block, or the start of one that is free before a live block.
///
/// The page is held anyway, so what lies there takes no new page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Fragment {
    len: u64,
    start: u64,
}

/// A pair of fragments loses less than 1 part of a page in so many, or one takes its place.
const MOST_LOST: u64 = 16;

impl Arena {
    /// The place with the fewest new pages: whole free pages from anywhere, with a fragment of at least `fragment` bytes
    /// before and behind them where that saves a page. The longest runs of pages come first, so that there are few parts.
    ///
    /// What a pair of fragments has too much is lost between two live blocks. Where that is much, and one fragment is
    /// enough, all of that one is taken, and the rest is left at an outer page, where it is a fragment again.
    pub(super) fn tightest(&self, bytes: u64, fragment: u64) -> Option<Plan> {
        let (heads, tails) = self.fragments(fragment);
        let longest = |list: &[Fragment]| list.last().map_or(0, |last| last.len);
        let pages = self.page_up(bytes.saturating_sub(longest(&heads) + longest(&tails)));
        let rest = bytes.saturating_sub(self.byte(pages));
        let (mut head, mut tail) = pair(&heads, &tails, rest);
        let lost = (head.len + tail.len).saturating_sub(rest);
        let (mut head_bytes, mut tail_bytes) = (head.len.min(rest), rest.saturating_sub(head.len));
        if rest > 0
            && lost >= self.byte(1) / MOST_LOST
            && let Some((one, is_head)) = single(&heads, &tails, rest)
        {
            let none = Fragment::default();
            (head, tail) = if is_head { (one, none) } else { (none, one) };
            (head_bytes, tail_bytes) = (head.len, tail.len);
        }

        let mut parts = Vec::new();
        // The head at the end of its fragment, where its page ends.
        let head_end = head.start + head.len;
        push(&mut parts, head_end - head_bytes..head_end);
        let mut wanted = pages;
        for run in self.free_runs(self.page(head_end), head_bytes > 0) {
            let n = wanted.min(run.end - run.start);
            push(&mut parts, self.byte(run.start)..self.byte(run.start + n));
            wanted -= n;
            if wanted == 0 {
                break;
            }
        }
        if wanted > 0 {
            return None;
        }
        push(&mut parts, tail.start..tail.start + tail_bytes);
        // Where one fragment is all there is, or none helps, the page at the other side is not full.
        let mut excess = (head_bytes + self.byte(pages) + tail_bytes).saturating_sub(bytes);
        if let Some(first) = parts.first_mut().filter(|_| tail_bytes > 0) {
            first.start += excess;
            excess = 0;
        }
        while let Some(last) = parts.last_mut().filter(|_| excess > 0) {
            let cut = excess.min(last.end - last.start);
            last.end -= cut;
            excess -= cut;
            if last.is_empty() {
                parts.pop();
            }
        }
        Some(self.scattered(parts))
    }

    /// Fragments at the ends and at the starts of pages, the shortest first, each list with an empty one.
    fn fragments(&self, least: u64) -> (Vec<Fragment>, Vec<Fragment>) {
        let (mut heads, mut tails) = (vec![Fragment::default()], vec![Fragment::default()]);
        let top = self.ranges.top().map(|node| (self.ranges.start(node), self.ranges.end(node)));
        let gaps = self.bins.from(least.max(1)).map(|key| (key.start(), key.start() + key.len()));
        for (start, end) in gaps.chain(top) {
            let (up, down) = (self.byte(self.page_up(start)), self.byte(self.page(end)));
            if up > start && up <= end {
                heads.push(Fragment { len: up - start, start });
            }
            if down < end && down >= start {
                tails.push(Fragment { len: end - down, start: down });
            }
        }
        for list in [&mut heads, &mut tails] {
            list.retain(|fragment| fragment.len >= least || fragment.len == 0);
            list.sort_unstable();
        }
        (heads, tails)
    }

    /// Runs of free pages: the one that begins with page `first` if it is `joined`, then the longest first, the lowest on
    /// ties; after them the pages at the top, and last those without memory.
    fn free_runs(&self, first: u64, joined: bool) -> Vec<Range<u64>> {
        let mut runs = Vec::new();
        let mut missing = Vec::new();
        for key in self.bins.from(self.byte(1)) {
            let pages = self.whole_pages(&(key.start()..key.start() + key.len()));
            runs.extend(self.pages.present(pages.clone()));
            missing.extend(self.pages.missing(pages));
        }
        runs.sort_unstable_by_key(|run| {
            (!(joined && run.start == first), Reverse(run.end - run.start), run.start)
        });
        missing.sort_unstable_by_key(|run: &Range<u64>| run.start);
        if let Some(top) = self.ranges.top() {
            let pages = self.whole_pages(&(self.ranges.start(top)..self.ranges.end(top)));
            runs.extend(self.pages.present(pages.clone()));
            missing.extend(self.pages.missing(pages));
        }
        runs.extend(missing);
        runs.retain(|run| !run.is_empty());
        runs
    }
}

/// The two fragments that together have room for `rest` bytes and waste the least. There are two.
fn pair(heads: &[Fragment], tails: &[Fragment], rest: u64) -> (Fragment, Fragment) {
    let pairs = heads.iter().filter_map(|&head| {
        let tail = tails.get(tails.partition_point(|tail| head.len + tail.len < rest))?;
        Some((head.len + tail.len, head, *tail))
    });
    pairs.min().map_or((Fragment::default(), Fragment::default()), |(_, head, tail)| (head, tail))
}

/// The shortest fragment that alone has room for `rest` bytes, and whether it is a head.
fn single(heads: &[Fragment], tails: &[Fragment], rest: u64) -> Option<(Fragment, bool)> {
    let shortest = |list: &[Fragment]| list.get(list.partition_point(|one| one.len < rest)).copied();
    let ones = [(shortest(heads), true), (shortest(tails), false)];
    ones.into_iter().filter_map(|(one, is_head)| Some((one?, is_head))).min_by_key(|(one, _)| one.len)
}

/// Adds a part, which may continue the last one.
fn push(parts: &mut Vec<Range<u64>>, part: Range<u64>) {
    match parts.last_mut() {
        _ if part.is_empty() => {}
        Some(last) if last.end == part.start => last.end = part.end,
        _ => parts.push(part),
    }
}
