//! The promises of the pool, one by one.

mod recorder;

use recorder::{MIB, PAGE, S0, S1, S2, SITE, host, phantom};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};
use taut_memory::{Block, Kind, PhantomBacking, Pool, ScopeId, Site, Stats, StreamId, assert_no_leak, scope};

#[test]
fn an_empty_block_takes_nothing() {
    for pool in [host(), phantom(0, 0).1] {
        let mut block = pool.allocate(0, S0, SITE).unwrap();
        assert_ne!(block.address(), 0);
        assert_eq!(block.address(), pool.allocate(0, S1, SITE).unwrap().address());
        assert_eq!(block.bytes(), 0);
        block.set_kind(Kind::Saved);
        block.used_by(S1);
        if let Some(bytes) = block.host_mut() {
            assert!(bytes.is_empty());
        }
        drop(block);
        assert_eq!(pool.stats(), Stats { allocations: 2, ..Stats::default() });
    }
}

#[test]
fn fresh_host_memory_is_zero_and_reused_memory_is_not() {
    let pool = host();
    let mut block = pool.allocate(3 * MIB, S0, SITE).unwrap();
    assert!(block.host().unwrap() == vec![0; 3 << 20]);
    block.host_mut().unwrap().fill(7);
    let address = block.address();
    assert_eq!(block.host().unwrap().as_ptr() as u64, address);
    drop(block);
    let block = pool.allocate(3 * MIB, S0, SITE).unwrap();
    assert_eq!(block.address(), address);
    assert!(block.host().unwrap() == vec![7; 3 << 20]);
    drop(block);
    assert_eq!(pool.release().unwrap(), 2 * PAGE);
    let block = pool.allocate(3 * MIB, S0, SITE).unwrap();
    assert!(block.host().unwrap() == vec![0; 3 << 20]);
}

#[test]
fn reuse_waits_for_the_other_streams_once_each() {
    let (recorder, pool) = phantom(1 << 40, 0);
    let orders = || std::mem::take(&mut recorder.log().orders);
    let block = pool.allocate(PAGE, S0, SITE).unwrap();
    block.used_by(S2);
    block.used_by(S1);
    block.used_by(S1);
    drop(block);
    let left = pool.allocate(MIB, S1, SITE).unwrap();
    assert_eq!(orders(), [(1, 0), (1, 63)]);
    let right = pool.allocate(MIB, S0, SITE).unwrap();
    assert_eq!(orders(), [(0, 1), (0, 63)]);
    drop((left, right));
    // One range again, used by streams 0 and 1: what stream 63 did was waited for on both.
    let block = pool.allocate(PAGE, S2, SITE).unwrap();
    assert_eq!(orders(), [(63, 0), (63, 1)]);
    drop(block);
    drop(pool.allocate(PAGE, S2, SITE).unwrap());
    assert_eq!(orders(), []);
    pool.release().unwrap();
    drop(pool.allocate(PAGE, S0, SITE).unwrap());
    assert_eq!(orders(), []);
}

#[test]
fn peaks_are_exact_and_can_be_reset() {
    let (_, pool) = phantom(1 << 40, 0);
    let kept = pool.allocate(1000, S0, Site::new("linear", Kind::Workspace)).unwrap();
    drop(pool.allocate(5000, S0, SITE).unwrap());
    let stats = pool.stats();
    assert_eq!(
        (stats.peak_live_bytes, stats.peak_tensor_bytes, stats.peak_workspace_bytes),
        (6000, 5000, 1000)
    );
    pool.reset_peaks();
    assert_eq!(pool.stats().peak_live_bytes, 1000);
    kept.set_kind(Kind::Saved);
    let stats = pool.stats();
    assert_eq!(
        (stats.peak_live_bytes, stats.peak_tensor_bytes, stats.peak_workspace_bytes),
        (1000, 1000, 1000)
    );
    assert_eq!((kept.kind(), kept.scope(), kept.site().op), (Kind::Saved, ScopeId::ROOT, "linear"));
    assert_eq!(stats.live_by_kind.iter().sum::<u64>(), 1000);
}

#[test]
fn a_leak_is_what_was_allocated_meanwhile() {
    let (_, pool) = phantom(1 << 40, 0);
    let take = |bytes| pool.allocate(bytes, S0, SITE).unwrap();
    let (mut older, mut kept) = (Some(take(4096)), Vec::new());
    for _ in 0..2 {
        let run = AssertUnwindSafe(|| {
            assert_no_leak(|| {
                // Freeing as much hides nothing, and what is empty is a block too.
                older = None;
                kept.push(take(0));
                let _layer = scope("layer3");
                assert_no_leak(|| drop(take(100)));
                kept.push(take(4096));
            })
        });
        let message = *catch_unwind(run).unwrap_err().downcast::<String>().unwrap();
        let wanted = "assert_no_leak: 4.00 KiB (4096 bytes) in 2 blocks are left: activations 4096 bytes; \
                      relu activations in layer3 4.00 KiB (4096 bytes) in 1 block, \
                      relu activations 0 bytes in 1 block";
        assert_eq!(message, wanted);
        kept.clear();
    }
    // What other threads do at the same time is their affair.
    let others = assert_no_leak(|| thread::scope(|threads| threads.spawn(|| take(100)).join().unwrap()));
    assert_eq!((others.bytes(), older.is_none()), (100, true));
}

#[test]
fn threads_share_a_pool() {
    const EACH: u64 = if cfg!(miri) { 60 } else { 3000 };
    for pool in [host(), Pool::new(Arc::new(PhantomBacking::new(1 << 40, 0)))] {
        thread::scope(|threads| {
            for t in 0..4u8 {
                let pool = pool.clone();
                threads.spawn(move || {
                    let mut held = std::collections::VecDeque::new();
                    for i in 0..EACH {
                        let bytes = 1 + (i * 7919 + u64::from(t) * 104_729) % 40_000;
                        let mut block = pool.allocate(bytes, StreamId(t), SITE).expect("there is room");
                        if let Some(bytes) = block.host_mut() {
                            bytes.fill(t);
                        }
                        held.push_back(block);
                        if held.len() > 16 {
                            let oldest = held.pop_front().expect("one is held");
                            assert!(oldest.host().is_none_or(|bytes| bytes == vec![t; bytes.len()]));
                        }
                    }
                });
            }
        });
        let stats = pool.stats();
        assert_eq!((stats.live_bytes, stats.allocations), (0, 4 * EACH));
        assert_eq!(pool.release().unwrap(), stats.reserved_bytes);
        assert_eq!(pool.stats().reserved_bytes, 0);
    }
}

#[test]
fn blocks_cross_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Block>();
    is_send_and_sync::<Pool>();
    let pool = host();
    let block = pool.allocate(10, S0, SITE).unwrap();
    thread::spawn(move || drop(block)).join().unwrap();
    assert_eq!(pool.stats().live_bytes, 0);
}
