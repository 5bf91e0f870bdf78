//! Programs that are placed when they are known: what they did not ask for then is an error.

mod recorder;

use recorder::{S0, SITE, host, phantom};
use taut_memory::{Block, ErrorKind, Kind, Pool, Result, Script, Site};

/// The script of blocks of these bytes, each of which goes when the next but one comes.
fn script(sizes: &[u64]) -> Result<Script> {
    let sketch = Pool::sketch();
    let mut live: Vec<Block> = Vec::new();
    for &bytes in sizes {
        if live.len() == 2 {
            live.remove(0);
        }
        live.push(sketch.allocate(bytes, S0, SITE)?);
    }
    Ok(sketch.script())
}

fn within(script: &Script) -> Result<Pool> {
    let block = host().allocate(script.bytes(), S0, Site::new("graph", Kind::Workspace))?;
    Ok(Pool::within(block, script))
}

#[test]
fn what_was_not_planned_is_an_error() {
    let script = script(&[1000, 3000, 2000]).unwrap();
    let pool = within(&script).unwrap();
    let first = pool.allocate(1000, S0, SITE).unwrap();
    let error = pool.allocate(3001, S0, SITE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    assert_eq!(
        error.to_string(),
        "relu: not as when it was planned: 3001 bytes are wanted, not 3000, as block 1 of the function"
    );
    // Nothing has moved: the program can go on as it was planned, which gives the first back before the third.
    let second = pool.allocate(3000, S0, SITE).unwrap();
    assert!(pool.allocate(2000, S0, SITE).is_err());
    drop(first);
    let third = pool.allocate(2000, S0, SITE).unwrap();
    drop((second, third));
    let error = pool.allocate(1, S0, SITE).unwrap_err().to_string();
    assert!(error.contains("1 bytes more are wanted, as block 3"), "{error}");
}

#[test]
fn a_block_that_is_kept_is_not_overwritten() {
    // The second and the third could share a place, for they never lived together.
    let sketch = Pool::sketch();
    drop(sketch.allocate(4096, S0, SITE).unwrap());
    drop(sketch.allocate(4096, S0, SITE).unwrap());
    let script = sketch.script();
    assert_eq!(script.bytes(), 4096);
    let pool = within(&script).unwrap();
    let mut kept = pool.allocate(4096, S0, SITE).unwrap();
    kept.host_mut().unwrap().fill(7);
    let error = pool.allocate(4096, S0, SITE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    assert!(error.to_string().contains("a block is held that was given back"), "{error}");
    assert!(kept.host().unwrap().iter().all(|&byte| byte == 7));

    // From the start again only when nothing is held.
    assert_eq!(pool.rewind().unwrap_err().kind(), ErrorKind::Shared);
    drop(kept);
    pool.rewind().unwrap();
    drop(pool.allocate(4096, S0, SITE).unwrap());
    assert!(pool.allocate(4096, S0, SITE).is_ok());
}

#[test]
fn the_block_lives_as_long_as_its_parts() {
    let (_, outer) = phantom(1 << 30, 0);
    let script = script(&[5000]).unwrap();
    let block = outer.allocate(script.bytes(), S0, Site::new("graph", Kind::Workspace)).unwrap();
    let pool = Pool::within(block, &script);
    let part = pool.allocate(5000, S0, SITE).unwrap();
    drop(pool);
    assert_eq!(outer.stats().live_bytes, 5120);
    drop(part);
    assert_eq!(outer.stats().live_bytes, 0);
}
