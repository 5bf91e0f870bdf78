//! Figures that are shown: right at any moment, and gone with the pool. One process shows its figures once, so that these
//! tests look for pools of their own, by capacity.

#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

use std::{
    ops::Range,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use taut_memory::{
    Backing, Budget, Figures, Kind, Label, PhantomBacking, Pool, Published, Result, Site, StreamId, publish,
};

/// Phantom pages that are shown.
#[derive(Debug)]
struct Shown(PhantomBacking, Label);

impl Backing for Shown {
    fn granule_bytes(&self) -> u64 {
        self.0.granule_bytes()
    }
    fn capacity_bytes(&self) -> u64 {
        self.0.capacity_bytes()
    }
    fn overhead_bytes(&self) -> u64 {
        self.0.overhead_bytes()
    }
    fn base(&self) -> u64 {
        self.0.base()
    }
    fn span_bytes(&self) -> u64 {
        self.0.span_bytes()
    }
    fn commit(&self, pages: Range<u64>) -> Result<()> {
        self.0.commit(pages)
    }
    fn decommit(&self, pages: Range<u64>) -> Result<()> {
        self.0.decommit(pages)
    }
    fn alias(&self, pages: Range<u64>, of: &[Range<u64>]) -> Result<()> {
        self.0.alias(pages, of)
    }
    fn unalias(&self, pages: Range<u64>) -> Result<()> {
        self.0.unalias(pages)
    }
    fn order(&self, waiter: StreamId, after: StreamId) -> Result<()> {
        self.0.order(waiter, after)
    }
    fn driver_bytes(&self) -> Option<u64> {
        None
    }
    fn label(&self) -> Option<Label> {
        Some(self.1.clone())
    }
}

/// A pool that is told from others by its capacity.
fn pool(capacity: u64, name: &str, uuid: Option<[u8; 16]>) -> Pool {
    let label = Label { name: name.into(), uuid };
    Pool::new(Arc::new(Shown(PhantomBacking::new(capacity, 1000), label)))
}

fn seen(capacity: u64) -> Option<Figures> {
    let published = Published::of(process::id()).unwrap().unwrap();
    published.figures().into_iter().find(|figures| figures.capacity_bytes == capacity)
}

const SITE: Site = Site::new("test", Kind::Weights);

#[test]
fn figures_follow_the_pool() {
    // Made before anything is shown.
    let pool = pool(1 << 30, "a card", Some(*b"0123456789abcdef"));
    let early = pool.allocate(5, StreamId::COMPUTE, SITE).unwrap();
    publish().unwrap();
    publish().unwrap();
    let found = seen(1 << 30).unwrap();
    assert_eq!((found.device.as_str(), found.uuid), ("a card", Some(*b"0123456789abcdef")));
    assert_eq!((found.live_bytes(), found.overhead_bytes, found.budget_bytes), (5, 1000, 1 << 30));

    let late = pool.allocate(3 << 20, StreamId::COMPUTE, SITE).unwrap();
    late.set_kind(Kind::Saved);
    drop(early);
    pool.set_budget(Budget::Bytes(9 << 20)).unwrap();
    let found = seen(1 << 30).unwrap();
    let stats = pool.stats();
    assert_eq!(found.live_by_kind, stats.live_by_kind);
    assert_eq!(found.live_by_kind[Kind::Saved as usize], 3 << 20);
    assert_eq!((found.reserved_bytes, found.peak_reserved_bytes), (4 << 20, 4 << 20));
    assert_eq!((found.peak_live_bytes, found.allocations), (stats.peak_live_bytes, 2));
    assert_eq!(found.budget_bytes, 9 << 20);

    drop(late);
    pool.release().unwrap();
    assert_eq!((seen(1 << 30).unwrap().reserved_bytes, seen(1 << 30).unwrap().live_bytes()), (0, 0));
    pool.reset().unwrap();
    assert_eq!(seen(1 << 30).unwrap().peak_live_bytes, 0);
    drop(pool);
    assert_eq!(seen(1 << 30), None);
}

#[test]
fn plans_are_not_shown_and_long_names_are_cut() {
    publish().unwrap();
    let hidden = Pool::new(Arc::new(PhantomBacking::new(2 << 30, 0)));
    // 96 bytes end within a letter.
    let _long = pool(3 << 30, &format!("{}é", "x".repeat(95)), None);
    assert_eq!(seen(2 << 30), None);
    let found = seen(3 << 30).unwrap();
    assert_eq!((found.device, found.uuid), ("x".repeat(95), None));
    drop(hidden);
}

#[test]
fn a_reader_never_sees_half_a_change() {
    publish().unwrap();
    let pool = pool(4 << 30, "busy", None);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20_000 {
                // Live bytes are always all of one kind or of none, whole multiples, and never above their peak.
                let block = pool.allocate(1 << 20, StreamId::COMPUTE, SITE).unwrap();
                block.set_kind(Kind::Gradients);
                drop(block);
                pool.reset_peaks();
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut found = 0;
        while !done.load(Ordering::Relaxed) {
            let Some(figures) = seen(4 << 30) else { continue };
            found += 1;
            assert!([0, 1 << 20].contains(&figures.live_bytes()), "{figures:?}");
            assert!(figures.live_bytes() <= figures.peak_live_bytes, "{figures:?}");
            assert_eq!((figures.budget_bytes, figures.device.as_str()), (4 << 30, "busy"));
        }
        assert!(found > 0);
    });
}

#[test]
fn processes_that_show_nothing_are_left_out() {
    // The first process is another's, or shows nothing; the last number is none.
    assert!(Published::of(1).unwrap().is_none());
    assert!(Published::of(u32::MAX).unwrap().is_none());
    publish().unwrap();
    let here = process::id();
    assert!(Published::all().into_iter().any(|(pid, published)| pid == here && published.is_ok()));
}
