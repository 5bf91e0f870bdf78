//! Streaming a file through its map does not make the process larger. Alone in its program: what it measures is the whole
//! process.

#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

use std::{
    fs,
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use taut::{DType, Device};
use taut_nn::{Rows, Weights};

const MIB: usize = 1 << 20;

/// Pages of files that are in the memory of this process; those of pools are shared memory, and do not count.
fn mapped_bytes() -> usize {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// The most that `work` adds to them, as another thread sees it.
fn most(work: impl FnOnce()) -> usize {
    let (before, done) = (mapped_bytes(), AtomicBool::new(false));
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = before;
            while !done.load(Ordering::Relaxed) {
                most = most.max(mapped_bytes());
            }
            most
        });
        work();
        done.store(true, Ordering::Relaxed);
        watch.join().unwrap() - before
    })
}

#[test]
fn loading_keeps_a_piece_in_memory_and_not_the_file() {
    let (home, device) = (tempfile::tempdir().unwrap(), Device::cpu());
    let path = home.path().join("x.safetensors");
    let (n, bytes) = (64 * MIB, 256 * MIB);
    let header = format!(r#"{{"x":{{"dtype":"F32","shape":[{n}],"data_offsets":[0,{bytes}]}}}}"#);
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let block = vec![0x3c; MIB];
    (0..bytes / MIB).for_each(|_| file.write_all(&block).unwrap());
    drop(file);

    let weights = Weights::open(&path).unwrap();
    let entry = weights.get("x").unwrap();
    // As it is, cast, and as rows: a piece of 8 MiB, and what the system maps around a page that is looked at.
    let limit = 12 * MIB;
    for dtype in [DType::F32, DType::F16] {
        let most = most(|| drop(entry.load(dtype, &device).unwrap()));
        eprintln!("{dtype}: at most {} KiB of {} in memory", most >> 10, bytes >> 10);
        assert!(most <= limit, "{most} bytes of the file were in memory at once");
    }
    let rows = home.path().join("rows");
    fs::write(&rows, vec![1; bytes / 4]).unwrap();
    let rows = Rows::raw(&rows, DType::U8, [1024]).unwrap();
    let most = most(|| drop(rows.load(0..rows.len(), &device).unwrap()));
    assert!(most <= limit, "{most} bytes of the file were in memory at once");
}
