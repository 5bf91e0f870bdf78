//! Caches that are opened at once, where programs wait for threads to meet.

use crate::{
    Backing, Block, Budget, ErrorKind, GRANULE_BYTES, HostBacking, Kind, PhantomBacking, Pool, Result,
    SPAN_BYTES, Site, StreamId, scope,
};
use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc, Barrier, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

const PAGE: u64 = GRANULE_BYTES;
const SITE: Site = Site::new("relu", Kind::Activations);

/// Phantom pages that are counted, and never more than they may be.
#[derive(Debug)]
struct Counted {
    phantom: PhantomBacking,
    pages: AtomicU64,
    shown: AtomicU64,
    most_pages: u64,
}

impl Counted {
    fn new(most_pages: u64) -> Arc<Counted> {
        let phantom = PhantomBacking::new(1 << 40, 0);
        Arc::new(Counted { phantom, pages: AtomicU64::new(0), shown: AtomicU64::new(0), most_pages })
    }

    fn now(&self) -> [u64; 2] {
        [&self.pages, &self.shown].map(|count| count.load(Ordering::SeqCst))
    }
}

fn len(pages: &Range<u64>) -> u64 {
    assert!(pages.start < pages.end && pages.end <= SPAN_BYTES / PAGE);
    pages.end - pages.start
}

impl Backing for Counted {
    fn granule_bytes(&self) -> u64 {
        PAGE
    }

    fn capacity_bytes(&self) -> u64 {
        self.phantom.capacity_bytes()
    }

    fn overhead_bytes(&self) -> u64 {
        0
    }

    fn base(&self) -> u64 {
        self.phantom.base()
    }

    fn span_bytes(&self) -> u64 {
        self.phantom.span_bytes()
    }

    fn commit(&self, pages: Range<u64>) -> Result<()> {
        let n = len(&pages);
        assert!(self.pages.fetch_add(n, Ordering::SeqCst) + n <= self.most_pages, "more than the budget");
        assert!(pages.end <= SPAN_BYTES / PAGE / 2);
        Ok(())
    }

    fn decommit(&self, pages: Range<u64>) -> Result<()> {
        self.pages.fetch_sub(len(&pages), Ordering::SeqCst);
        Ok(())
    }

    fn alias(&self, pages: Range<u64>, of: &[Range<u64>]) -> Result<()> {
        assert!(pages.start >= SPAN_BYTES / PAGE / 2);
        assert_eq!(of.iter().map(len).sum::<u64>(), len(&pages));
        self.shown.fetch_add(len(&pages), Ordering::SeqCst);
        Ok(())
    }

    fn unalias(&self, pages: Range<u64>) -> Result<()> {
        self.shown.fetch_sub(len(&pages), Ordering::SeqCst);
        Ok(())
    }

    fn order(&self, waiter: StreamId, after: StreamId) -> Result<()> {
        assert_ne!(waiter, after);
        Ok(())
    }

    fn driver_bytes(&self) -> Option<u64> {
        None
    }
}

/// One test at a time, so that its threads have caches of their own: there are no more numbers than those.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(pool: &Pool) {
    let mut state = pool.0.lock();
    pool.0.open_caches(&mut state);
}

fn take(pool: &Pool, bytes: u64) -> Block {
    pool.allocate(bytes, StreamId::COMPUTE, SITE).expect("there is room")
}

/// Both ends, and bytes between: what overlaps is seen.
fn watched(len: usize) -> impl Iterator<Item = usize> {
    (0..len.min(64)).chain((64..len).step_by(40_000)).chain(len.saturating_sub(64)..len)
}

/// What a thread of a random program holds, and what it has been handed.
struct Worker<'a> {
    pool: &'a Pool,
    state: u64,
    held: VecDeque<(Block, u8)>,
    /// Where blocks change hands.
    table: &'a Mutex<Vec<(Block, u8)>>,
    taken: u64,
}

impl Worker<'_> {
    /// The high bits of a linear congruence.
    fn any(&mut self, below: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % below
    }

    fn step(&mut self, stream: u8) {
        match self.any(16) {
            0..8 => self.take(stream),
            8..14 => {
                let at = self.any(self.held.len().max(1) as u64) as usize;
                self.held.swap_remove_back(at).into_iter().for_each(give);
            }
            14 => {
                let kind = Kind::ALL[self.any(8) as usize];
                self.held.front().inspect(|(block, _)| block.set_kind(kind));
            }
            _ => {
                let mut table = self.table.lock().unwrap();
                table.extend(self.held.pop_front());
                let other = (table.len() > 8).then(|| table.swap_remove(0));
                drop(table);
                self.held.extend(other);
            }
        }
    }

    fn take(&mut self, stream: u8) {
        let bytes = match self.any(8) {
            0 => 0,
            1..4 => self.any(5000),
            4..7 => self.any(300_000),
            _ => self.any(9 << 20),
        };
        let _scope = (self.any(2) == 0).then(|| scope("model"));
        let site = Site::new(if bytes % 2 == 0 { "even" } else { "odd" }, Kind::ALL[self.any(8) as usize]);
        match self.pool.allocate(bytes, StreamId(stream), site) {
            Ok(mut block) => {
                self.taken += 1;
                let mark = self.any(256) as u8;
                if let Some(bytes) = block.host_mut() {
                    watched(bytes.len()).for_each(|i| bytes[i] = mark);
                }
                self.held.push_back((block, mark));
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfMemory);
                self.held.drain(..).for_each(give);
            }
        }
    }
}

fn give((block, mark): (Block, u8)) {
    if let Some(bytes) = block.host() {
        assert!(watched(bytes.len()).all(|i| bytes[i] == mark), "somebody else wrote here");
    }
}

/// Threads that take, give, hand over and run out, while another one looks, releases and changes the budget.
#[test]
fn threads_lose_nothing() {
    const STEPS: usize = if cfg!(miri) { 60 } else { 4000 };
    const LOOKS: usize = if cfg!(miri) { 30 } else { 300 };
    let _alone = alone();
    let counted = Counted::new(40);
    let host = |segmented| Pool::new(Arc::new(HostBacking::new().unwrap().segmented(segmented)));
    let makes: [&dyn Fn() -> Pool; 3] = [&|| host(false), &|| host(true), &|| Pool::new(counted.clone())];
    for make in makes {
        let pool = make();
        pool.set_budget(Budget::Bytes(40 * PAGE)).unwrap();
        let (table, taken) = (Mutex::new(Vec::new()), AtomicU64::new(0));
        thread::scope(|threads| {
            for t in 0..6u8 {
                let (pool, table, taken) = (&pool, &table, &taken);
                threads.spawn(move || {
                    let seed = u64::from(t) + 1;
                    let mut worker = Worker { pool, state: seed, held: VecDeque::new(), table, taken: 0 };
                    (0..STEPS).for_each(|_| worker.step(t % 3));
                    worker.held.drain(..).for_each(give);
                    taken.fetch_add(worker.taken, Ordering::Relaxed);
                });
            }
            for i in 0..LOOKS {
                open(&pool);
                let stats = pool.stats();
                assert!(stats.reserved_bytes <= 40 * PAGE && stats.live_bytes <= stats.peak_live_bytes);
                assert_eq!(stats.live_bytes, stats.live_by_kind.iter().sum::<u64>());
                assert_eq!(stats.live_bytes, stats.tensor_bytes + stats.workspace_bytes);
                match i % 30 {
                    10 => drop(pool.release().unwrap()),
                    20 => drop(pool.set_budget(Budget::Bytes(30 * PAGE))),
                    25 => pool.set_budget(Budget::Bytes(40 * PAGE)).unwrap(),
                    28 => drop(pool.holders()),
                    _ => thread::yield_now(),
                }
            }
        });
        table.into_inner().unwrap().into_iter().for_each(give);
        let stats = pool.stats();
        assert_eq!((stats.live_bytes, stats.allocations), (0, taken.into_inner()));
        assert_eq!((stats.live_by_kind, pool.holders()), ([0; 8], None));
        assert!(stats.peak_live_bytes <= stats.peak_reserved_bytes);
        assert_eq!(pool.release().unwrap(), stats.reserved_bytes);
        assert_eq!(pool.stats().reserved_bytes, 0);
        pool.reset().unwrap();
    }
    assert_eq!(counted.now(), [0, 0]);
}

/// A thread that has no room gets what another has kept, whoever has it, and is told who holds the rest.
#[test]
fn what_one_has_free_serves_another() {
    let _alone = alone();
    let counted = Counted::new(10);
    let pool = Pool::new(counted.clone());
    pool.set_budget(Budget::Bytes(10 * PAGE)).unwrap();
    open(&pool);
    let gate = Barrier::new(2);
    thread::scope(|threads| {
        threads.spawn(|| {
            let kept = take(&pool, PAGE / 2);
            drop(take(&pool, 8 * PAGE));
            gate.wait();
            gate.wait();
            drop(kept);
        });
        gate.wait();
        assert_eq!(pool.stats().reserved_bytes, 9 * PAGE);
        let error = pool.allocate(10 * PAGE, StreamId::COMPUTE, SITE).unwrap_err().to_string();
        assert!(error.contains("fits in a budget of 22.00 MiB"), "{error}");
        assert!(error.ends_with("relu activations 1.00 MiB (1048576 bytes) in 1 block"), "{error}");
        let block = take(&pool, 9 * PAGE);
        assert_eq!(counted.now(), [10, 0]);
        drop(block);
        gate.wait();
    });
    assert_eq!(pool.release().unwrap(), 10 * PAGE);
}

/// Threads that repeat a step find its places again, whatever the others do, and ask the device for nothing.
#[test]
fn each_thread_has_places_of_its_own() {
    const BLOCKS: u64 = if cfg!(miri) { 20 } else { 100 };
    let _alone = alone();
    let pool = Pool::new(Counted::new(u64::MAX));
    open(&pool);
    let gate = Barrier::new(4);
    thread::scope(|threads| {
        for t in 1..5u64 {
            let (pool, gate) = (&pool, &gate);
            threads.spawn(move || {
                let step = || {
                    let mut held = VecDeque::new();
                    let mut places = Vec::new();
                    for i in 0..BLOCKS {
                        let block = take(pool, i * t * 77_777 % (5 << 20));
                        places.push(block.address());
                        held.push_back(block);
                        if i % 3 > 0 {
                            held.remove(i as usize * 7 % held.len());
                        }
                    }
                    places
                };
                let first = step();
                gate.wait();
                let before = pool.calls();
                gate.wait();
                assert_eq!(step(), first);
                gate.wait();
                assert_eq!(pool.calls(), before);
            });
        }
    });
}

/// Where the order matters the caches are closed: blocks that came from them are known, and go back.
#[test]
fn a_timeline_knows_what_caches_gave() {
    let _alone = alone();
    let pool = Pool::new(Arc::new(PhantomBacking::new(1 << 40, 0)));
    open(&pool);
    let kept = take(&pool, 3000);
    let other = thread::scope(|threads| threads.spawn(|| take(&pool, 5000)).join().unwrap());
    assert_eq!((pool.stats().live_bytes, pool.stats().allocations), (8000, 2));
    other.set_kind(Kind::Saved);
    pool.record(10).unwrap();
    kept.set_kind(Kind::Output);
    drop(other);
    open(&pool);
    let last = take(&pool, 100);
    assert!(last.address() - SPAN_BYTES < 2 * PAGE, "a cache was opened");
    drop((kept, last));
    let timeline = pool.take_timeline().unwrap();
    let lines: Vec<String> = timeline.events.iter().map(ToString::to_string).collect();
    assert_eq!(timeline.owners.iter().map(|held| held.bytes).sum::<u64>(), 8000);
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[0].contains(" 3000 activations>output relu - live 8000"), "{lines:?}");
    assert!(lines[1].contains(" 5000 saved relu - live 3000"), "{lines:?}");
    // The page that the other thread had went back before the first area grew.
    assert!(lines[4].ends_with("live 0 reserved 4194304"), "{lines:?}");
    assert_eq!((pool.stats().live_bytes, pool.release().unwrap()), (0, 2 * PAGE));
}

/// Peaks are never less than they were, and stay when the caches are closed.
#[test]
fn peaks_are_those_of_all_together() {
    let _alone = alone();
    let pool = Pool::new(Arc::new(PhantomBacking::new(1 << 40, 0)));
    open(&pool);
    let turn = |bytes| thread::scope(|threads| threads.spawn(|| drop(take(&pool, bytes))).join().unwrap());
    let block = take(&pool, 1000);
    turn(5000);
    assert_eq!(pool.stats().peak_live_bytes, 6000);
    turn(2000);
    turn(500);
    drop(block);
    assert_eq!((pool.stats().live_bytes, pool.stats().peak_by_kind[SITE.kind as usize]), (0, 6000));
    pool.release().unwrap();
    assert_eq!((pool.stats().peak_tensor_bytes, pool.stats().allocations), (6000, 4));
    open(&pool);
    pool.reset_peaks();
    turn(100);
    assert_eq!((pool.stats().peak_live_bytes, pool.stats().peak_by_kind.iter().sum::<u64>()), (100, 100));
}
