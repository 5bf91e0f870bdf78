//! What the pool does when the device refuses, or is asked for something that is not there.

mod recorder;

use recorder::{PAGE, S0, S1, SITE, phantom};
use std::sync::Arc;
use taut_memory::{Backing, Block, ErrorKind, HostBacking, Pool, StreamId};

#[test]
fn host_pages_serve_one_pool() {
    let backing = Arc::new(HostBacking::new().unwrap());
    let first = Pool::new(backing.clone());
    let second = Pool::new(backing.clone());
    let block = first.allocate(1, S0, SITE).unwrap();
    assert!(block.host().is_some());
    assert_eq!(second.allocate(1, S0, SITE).unwrap_err().kind(), ErrorKind::Device);
    assert_eq!(second.stats().reserved_bytes, 0);
    assert!(backing.commit(0..1).is_err() && backing.decommit(0..1).is_err());
    drop(first);
    assert_eq!(block.host().unwrap(), [0]);
    assert!(backing.is_host() && backing.capacity_bytes() > 0);
}

#[test]
fn there_are_64_streams() {
    let (_, pool) = phantom(1 << 40, 0);
    assert!(pool.allocate(1, StreamId(63), SITE).is_ok());
    assert_eq!(pool.allocate(1, StreamId(64), SITE).unwrap_err().kind(), ErrorKind::Device);
}

#[test]
#[should_panic(expected = "no stream 64")]
fn a_use_on_no_stream_is_a_panic() {
    phantom(1 << 40, 0).1.allocate(1, S0, SITE).unwrap().used_by(StreamId(64));
}

#[test]
fn a_full_card_is_tried_again_without_the_idle_pages() {
    let (recorder, pool) = phantom(1 << 40, 0);
    let low = pool.allocate(3 * PAGE, S0, SITE).unwrap();
    let wall = pool.allocate(PAGE, S0, SITE).unwrap();
    drop(low);
    recorder.log().most_pages = 5;
    let block = pool.allocate(4 * PAGE, S0, SITE).unwrap();
    assert_eq!(recorder.log().committed.len(), 5);
    let before = pool.stats();
    let error = pool.allocate(PAGE, S0, SITE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(
        error.to_string().contains("; the device refused: commit: the card is full; largest owners"),
        "{error}"
    );
    assert_eq!(pool.stats(), before);
    drop((wall, block));
    assert_eq!(pool.release().unwrap(), 5 * PAGE);
}

#[test]
fn a_commit_in_two_parts_is_undone() {
    let (recorder, pool) = phantom(1 << 40, 0);
    // Idle, live, idle and so on; then no memory under the pages on both sides of a live page, which is freed.
    let blocks: Vec<Block> = (0..4).map(|_| pool.allocate(PAGE, S0, SITE).unwrap()).collect();
    let mut blocks = blocks.into_iter();
    let (a, b, c, d) = (blocks.next(), blocks.next(), blocks.next(), blocks.next());
    drop((a, c));
    pool.release().unwrap();
    drop(b);
    assert_eq!(recorder.log().committed.iter().copied().collect::<Vec<_>>(), [1, 3]);
    let before = pool.stats();

    // Three pages lie together at the front, two without memory: the second of the two is refused.
    recorder.log().most_pages = 3;
    let commits = recorder.log().commits;
    assert!(pool.allocate(3 * PAGE, S0, SITE).is_err());
    assert_eq!(recorder.log().commits - commits, 4);
    assert_eq!(pool.stats(), before);
    assert_eq!(recorder.log().committed.len(), 2);

    // As above, and what was committed can not be taken back: it is kept, and counted.
    recorder.log().refuse_decommits = true;
    assert!(pool.allocate(3 * PAGE, S0, SITE).is_err());
    assert_eq!(pool.stats().reserved_bytes, recorder.log().committed.len() as u64 * PAGE);
    recorder.log().refuse_decommits = false;
    recorder.log().most_pages = 4;
    let all = pool.allocate(3 * PAGE, S0, SITE).unwrap();
    assert_eq!(recorder.log().committed.len(), 4);
    drop((all, d));
    assert_eq!(pool.release().unwrap(), 4 * PAGE);
}

#[test]
fn a_fault_of_the_device_is_passed_on() {
    let (recorder, pool) = phantom(1 << 40, 0);
    drop(pool.allocate(PAGE, S0, SITE).unwrap());
    recorder.log().refuse_orders = true;
    let before = pool.stats();
    let error = pool.allocate(2 * PAGE, S1, SITE).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Driver, "relu: order: a fault"));
    assert_eq!(pool.stats(), before);
    assert!(pool.allocate(2 * PAGE, S0, SITE).is_ok());
    recorder.log().refuse_decommits = true;
    assert_eq!(pool.release().unwrap_err().kind(), ErrorKind::Driver);
    recorder.log().refuse_decommits = false;
    assert_eq!(pool.release().unwrap(), 2 * PAGE);
}
