//! Mapped files: what is in them, what is not there, and what others do to them.

use std::{fs, io::Write};
use taut_memory::{Advice, ErrorKind, FileMap};

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect()
}

#[test]
fn bytes_are_those_of_the_file() {
    let home = tempfile::tempdir().unwrap();
    for len in [0, 1, 4095, 4096, 4097, 3 << 20] {
        let (path, bytes) = (home.path().join(len.to_string()), pattern(len));
        fs::write(&path, &bytes).unwrap();
        let map = FileMap::open(&path).unwrap();
        assert_eq!((map.len(), map.is_empty(), map.path()), (len, len == 0, &*path));
        for advice in [Advice::Sequential, Advice::WillNeed, Advice::DontNeed] {
            map.advise(0..len, advice);
            map.advise(len / 2..len, advice);
            map.advise(len / 3..usize::MAX, advice);
            map.advise(usize::MAX..usize::MAX, advice);
            assert!(map.bytes() == bytes, "{len} bytes after {advice:?}");
        }
        map.check().unwrap();
    }
}

#[test]
fn a_replaced_file_stays_as_it_was_and_a_longer_one_does_not_grow() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("weights");
    fs::write(&path, b"old").unwrap();
    let map = FileMap::open(&path).unwrap();
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"er").unwrap();
    map.check().unwrap();
    assert_eq!(map.bytes(), b"old");
    fs::write(home.path().join("new"), b"n").unwrap();
    fs::rename(home.path().join("new"), &path).unwrap();
    map.check().unwrap();
    assert_eq!(map.bytes(), b"old");
}

#[test]
fn a_file_that_was_cut_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("weights");
    fs::write(&path, pattern(10_000)).unwrap();
    let map = FileMap::open(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(5000).unwrap();
    let error = map.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().ends_with("was cut from 10000 to 5000 bytes while it was mapped"), "{error}");
}

#[test]
fn what_is_no_file_is_an_error_that_names_it() {
    let home = tempfile::tempdir().unwrap();
    for path in [home.path().join("missing"), home.path().to_path_buf(), "/dev/zero".into()] {
        let error = FileMap::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Driver);
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
