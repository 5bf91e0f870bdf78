//! `xtask top --once` beside a process that shows its figures: this one, and one that shows none.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

use std::{
    process::{self, Command, Output},
    sync::Arc,
};
use taut_memory::{HostBacking, Kind, Pool, Site, StreamId, publish};

fn top(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).arg("top").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_running_process_is_shown() {
    let here = process::id().to_string();
    let pool = Pool::new(Arc::new(HostBacking::new().unwrap()));
    let block = pool.allocate(3 << 20, StreamId::COMPUTE, Site::new("load", Kind::Weights)).unwrap();
    let before = top(&["--once", &here]);
    assert!(!before.status.success());
    assert!(text(&before.stderr).contains("TAUT_TOP=1"), "{}", text(&before.stderr));

    publish().unwrap();
    for arguments in [&["--once", &here][..], &["--once"], &[]] {
        let output = top(arguments);
        let frame = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let mut lines = frame.lines().skip_while(|line| line.split_whitespace().next() != Some(&here));
        let line: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        // The name of the command may have been cut, and may not have blanks.
        let want = ["cpu", "3.00", "MiB", "3.00", "MiB", "4.00", "MiB", "4.00", "MiB"];
        assert_eq!(line[line.len() - 12..line.len() - 3], want, "{frame}");
        assert_eq!(line.last(), Some(&"-"));
        assert_eq!(lines.next().unwrap().trim(), "weights 3.00 MiB");
    }
    drop(block);
    assert!(text(&top(&["--once", &here]).stdout).contains(" 0 B "));
}

#[test]
fn what_is_no_process_is_refused() {
    for argument in ["nobody", "-1", "4294967295"] {
        assert!(!top(&["--once", argument]).status.success());
    }
}
