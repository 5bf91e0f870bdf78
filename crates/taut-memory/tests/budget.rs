//! Hard budgets, and the errors that say who holds what.

mod recorder;

use recorder::{MIB, PAGE, S0, SITE, host, phantom};
use taut_memory::{Block, Budget, ErrorKind, Kind, SPAN_BYTES, Site, Stats, scope};

#[test]
fn sizes_that_overflow_are_errors() {
    for pool in [host(), phantom(u64::MAX, u64::MAX).1, phantom(u64::MAX, 0).1] {
        for bytes in [u64::MAX, u64::MAX - 255, u64::MAX - 256, 1 << 63, SPAN_BYTES / 2 + 1] {
            let error = pool.allocate(bytes, S0, SITE).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfMemory);
            assert!(error.to_string().starts_with("relu: "), "{error}");
        }
        assert_eq!(pool.stats(), Stats::default());
    }
}

#[test]
fn an_error_names_the_owners_and_changes_nothing() {
    let (_, pool) = phantom(1 << 40, 4 * MIB);
    pool.set_budget(Budget::Bytes(24 * MIB)).unwrap();
    let _model = scope("model");
    let weights = pool.allocate(6 * MIB, S0, Site::new("linear", Kind::Weights)).unwrap();
    let layer = scope("layer3");
    let _saved: Vec<Block> = (0..2).map(|_| pool.allocate(2 * MIB, S0, SITE).unwrap()).collect();
    drop(layer);
    drop(pool.allocate(8 * MIB, S0, SITE).unwrap());
    let before = pool.stats();
    assert_eq!(before.reserved_bytes, 18 * MIB);

    let error = pool.allocate(11 * MIB, S0, Site::new("matmul", Kind::Workspace)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert_eq!(
        error.to_string(),
        "matmul: out of memory: 11.00 MiB (11534336 bytes) of workspace in model requested, \
         live 10.00 MiB (10485760 bytes), reserved 18.00 MiB (18874368 bytes), \
         overhead 4.00 MiB (4194304 bytes), budget 24.00 MiB (25165824 bytes); \
         fits in a budget of 26.00 MiB (27262976 bytes); \
         largest owners: linear weights in model 6.00 MiB (6291456 bytes) in 1 block, \
         relu activations in model/layer3 4.00 MiB (4194304 bytes) in 2 blocks"
    );
    assert_eq!(pool.stats(), before);

    pool.set_budget(Budget::Bytes(26 * MIB)).unwrap();
    assert!(pool.allocate(11 * MIB, S0, SITE).is_ok());
    drop(weights);
}

#[test]
fn a_report_lists_ten_owners_and_no_dead_one() {
    let (_, pool) = phantom(64 * MIB, 0);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    drop(pool.allocate(MIB, S0, Site::new("dead", Kind::Saved)).unwrap());
    let _live: Vec<Block> =
        names.iter().map(|op| pool.allocate(MIB, S0, Site::new(op, Kind::Saved)).unwrap()).collect();
    let text = pool.allocate(60 * MIB, S0, SITE).unwrap_err().to_string();
    assert_eq!(text.matches("in 1 block").count(), 10);
    assert!(!text.contains("dead") && text.contains(" a saved ") && text.contains(" j saved "), "{text}");
}

#[test]
fn idle_pages_serve_a_request_elsewhere() {
    let (recorder, pool) = phantom(8 * PAGE, 0);
    let mut blocks: Vec<Option<Block>> = (0..8).map(|_| pool.allocate(PAGE, S0, SITE).ok()).collect();
    for i in [0, 2, 4, 6] {
        blocks[i] = None;
    }
    // No two of the four idle pages are neighbours, and no budget is left.
    let block = pool.allocate(4 * PAGE, S0, SITE).unwrap();
    assert_eq!(pool.stats().reserved_bytes, 8 * PAGE);
    assert_eq!(recorder.log().committed.len(), 8);
    assert!(pool.allocate(1, S0, SITE).is_err());
    drop(block);
    assert!(pool.allocate(1, S0, SITE).is_ok());
}

#[test]
fn a_tight_budget_takes_the_free_ends_of_pages() {
    let (_, pool) = phantom(1 << 40, 0);
    let halves = |n: u64| pool.allocate(n * MIB, S0, SITE).expect("there is room");
    let (_wall, low, end) = (halves(2), halves(4), halves(2));
    let (_middle, high, _roof) = (halves(3), halves(5), halves(2));
    drop((end, high));
    pool.release().unwrap();
    drop(low);
    // Idle are two pages, where five halves need one page more, and half a page that a live block keeps: together they
    // are enough.
    assert_eq!(pool.stats().reserved_bytes, 6 * PAGE);
    pool.set_budget(Budget::Bytes(6 * PAGE)).unwrap();
    let block = pool.allocate(5 * MIB, S0, SITE).unwrap();
    assert!(pool.allocate(1, S0, SITE).is_err());
    drop(block);
    assert_eq!(pool.stats().peak_reserved_bytes, 9 * PAGE);
    assert_eq!(pool.stats().reserved_bytes, 6 * PAGE);
}

#[test]
fn budgets_are_checked() {
    let (_, pool) = phantom(100 * PAGE, PAGE);
    assert_eq!(pool.budget_bytes(), 100 * PAGE);
    for part in [0.0, -0.5, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(pool.set_budget(Budget::Fraction(part)).unwrap_err().kind(), ErrorKind::Device);
    }
    pool.set_budget(Budget::Fraction(0.5)).unwrap();
    assert_eq!(pool.budget_bytes(), 50 * PAGE);
    pool.set_budget(Budget::Fraction(1.0)).unwrap();
    assert_eq!(pool.budget_bytes(), 100 * PAGE);
    pool.set_budget(Budget::Bytes(u64::MAX)).unwrap();
    assert_eq!(pool.budget_bytes(), 100 * PAGE);

    let live = pool.allocate(PAGE + 1, S0, SITE).unwrap();
    drop(pool.allocate(10 * PAGE, S0, SITE).unwrap());
    assert_eq!(pool.set_budget(Budget::Bytes(3 * PAGE - 1)).unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert_eq!((pool.budget_bytes(), pool.stats().reserved_bytes), (100 * PAGE, 12 * PAGE));
    pool.set_budget(Budget::Bytes(5 * PAGE)).unwrap();
    assert_eq!(pool.stats().reserved_bytes, 4 * PAGE);
    pool.set_budget(Budget::Bytes(3 * PAGE)).unwrap();
    assert_eq!(pool.stats().reserved_bytes, 2 * PAGE);
    assert!(pool.allocate(PAGE, S0, SITE).is_err());
    drop(live);
    assert_eq!(pool.set_budget(Budget::Bytes(PAGE - 1)).unwrap_err().kind(), ErrorKind::OutOfMemory);
    pool.set_budget(Budget::Unlimited).unwrap();
    assert_eq!(pool.budget_bytes(), 100 * PAGE);
}

#[test]
fn a_scope_holds_no_more_than_its_limit() {
    let (_, pool) = phantom(64 * MIB, 0);
    let take = |bytes| pool.allocate(bytes, S0, SITE);
    let outside = take(3 * MIB).unwrap();
    let outer = scope("limited");
    let held = take(MIB).unwrap();
    // What is there already counts, and what is less than that is refused.
    let limited = pool.scope("limited");
    let error = limited.limit(Budget::Bytes(MIB - 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "limit: 1024.00 KiB (1048575 bytes) is less than the 1.00 MiB (1048576 bytes) in use in limited"
    );
    limited.limit(Budget::Bytes(4 * MIB)).unwrap();
    pool.scope("limited/a").limit(Budget::Bytes(2 * MIB)).unwrap();
    let inner = scope("a");
    let deep = scope("b");
    let first = take(2 * MIB).unwrap();
    assert_eq!(
        take(1).unwrap_err().to_string(),
        "relu: out of memory: 1 bytes of activations in limited/a/b requested, live 6.00 MiB (6291456 bytes), \
         reserved 6.00 MiB (6291456 bytes), overhead 0 bytes, budget 64.00 MiB (67108864 bytes); \
         limited/a holds 2.00 MiB (2097152 bytes) of its 2.00 MiB (2097152 bytes); \
         fits in a limit of 2.00 MiB (2097153 bytes); largest owners: \
         relu activations 3.00 MiB (3145728 bytes) in 1 block, \
         relu activations in limited/a/b 2.00 MiB (2097152 bytes) in 1 block, \
         relu activations in limited 1.00 MiB (1048576 bytes) in 1 block"
    );
    drop(deep);
    drop(inner);
    // A name that begins alike is another scope; the outer limit holds for all that is inside.
    let like = scope("ab");
    assert!(take(MIB + 1).is_err() && take(MIB).is_ok());
    drop(like);
    assert_eq!((limited.live_bytes(), pool.scope("").live_bytes()), (3 * MIB, 6 * MIB));
    // Freed bytes are free for the limit, and a limit that ends is gone.
    drop(first);
    assert!(take(3 * MIB + 1).is_err());
    drop(take(3 * MIB).unwrap());
    limited.limit(Budget::Unlimited).unwrap();
    drop(take(20 * MIB).unwrap());
    drop(outer);
    let _inner = (scope("limited"), scope("a"));
    assert!(take(2 * MIB + 1).is_err());
    pool.scope("limited/a").limit(Budget::Fraction(0.25)).unwrap();
    assert!(take(16 * MIB).is_ok() && take(16 * MIB + 1).is_err());
    assert_eq!(pool.scope("limited").limit(Budget::Fraction(1.5)).unwrap_err().kind(), ErrorKind::Device);
    drop((outside, held));
    assert_eq!(pool.stats().live_bytes, 0);
}

#[test]
fn a_limit_of_nothing_lets_no_byte_in() {
    let (_, pool) = phantom(64 * MIB, 0);
    pool.scope("").limit(Budget::Bytes(0)).unwrap();
    assert!(pool.allocate(0, S0, SITE).is_ok() && pool.allocate(1, S0, SITE).is_err());
}
