//! Two processes on one card: neither sees the other's work, and a card that the other has filled is an error that leaves
//! everything as it was.

use proptest::prelude::*;
use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
};
use taut::{DType, Device, ErrorKind, Result, Tensor};
use taut_tests::{At, Check, Suite, fail};

pub(crate) fn trials(suite: &mut Suite) {
    suite.cuda("neighbour::both_work", both_work);
    suite.cuda("neighbour::a_full_card_is_an_error", a_full_card_is_an_error);
}

const MIB: u64 = 1 << 20;

/// Products and sums over memory of so many bytes: whether all came out right.
fn work(device: &Device, tag: f64, rounds: usize) -> Result<bool> {
    let held = Tensor::full([64 << 20], tag, DType::U8, device)?;
    let w = Tensor::full([256, 256], 1.0, DType::F32, device)?;
    for _ in 0..rounds {
        let x = Tensor::full([1024, 256], tag, DType::F32, device)?;
        let sum = x.matmul(&w)?.sum(&[])?.item::<f32>()?;
        if f64::from(sum) != tag * (256 * 256 * 1024) as f64 {
            return Ok(false);
        }
    }
    let sum = held.cast(DType::F32)?.mean(&[])?.item::<f32>()?;
    Ok(f64::from(sum) == tag)
}

fn both_work(at: &At) -> Check {
    let mut other = Neighbour::new()?;
    let rounds = if at.cases() < 32 { 3 } else { 100 };
    other.tell(&format!("work {rounds}"))?;
    prop_assert!(work(&at.device, 3.0, rounds)?, "this process got wrong sums");
    prop_assert_eq!(other.answer()?, "right");
    other.quit()
}

/// Not beside others on the card, whom it would starve.
fn a_full_card_is_an_error(at: &At) -> Check {
    let device = at.fresh()?;
    if device.stats().driver_bytes.is_some_and(|used| used > 4096 * MIB) {
        return Ok(());
    }
    let x = Tensor::full([5000], 7.0, DType::F32, &device)?;
    let before = device.stats();
    let mut other = Neighbour::new()?;
    other.tell(&format!("leave {}", 2048 * MIB))?;
    prop_assert_eq!(other.answer()?, "full");

    let large = || Tensor::full([6 << 30], 1.0, DType::U8, &device);
    let error = large().err().ok_or_else(|| fail("6 GiB fit where 2 are free"))?;
    prop_assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    let text = error.to_string();
    prop_assert!(text.starts_with("full: out of memory: 6.00 GiB"), "{}", text);
    prop_assert!(text.contains("driver free") && text.contains("the device refused"), "{}", text);
    let after = device.stats();
    prop_assert_eq!((after.live_bytes, after.reserved_bytes), (before.live_bytes, before.reserved_bytes));
    // What fits beside the other still does, and what was there is as it was.
    let small = Tensor::full([512 << 20], 2.0, DType::U8, &device)?;
    prop_assert_eq!(small.slice(0, 0..3)?.to_vec::<u8>()?, [2; 3]);
    prop_assert!(x.to_vec::<f32>()?.iter().all(|&x| x == 7.0));

    other.quit()?;
    prop_assert_eq!(large()?.slice(0, (6 << 30) - 1..6 << 30)?.to_vec::<u8>()?, [1]);
    Ok(())
}

/// Another process of this program, which uses the card as it is told.
struct Neighbour {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Neighbour {
    fn new() -> Result<Neighbour, TestCaseError> {
        let exe = env::current_exe().map_err(fail)?;
        let mut command = Command::new(exe);
        command.env(ROLE, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(fail)?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let (to, from) = to.zip(from).ok_or_else(|| fail("the neighbour has no pipes"))?;
        Ok(Neighbour { child, to, from: BufReader::new(from) })
    }

    fn tell(&mut self, what: &str) -> Check {
        writeln!(self.to, "{what}").map_err(fail)
    }

    fn answer(&mut self) -> Result<String, TestCaseError> {
        let mut line = String::new();
        self.from.read_line(&mut line).map_err(fail)?;
        Ok(line.trim().to_owned())
    }

    /// Waits until it is gone, and all that it had on the card with it.
    fn quit(self) -> Check {
        let Neighbour { mut child, to, .. } = self;
        drop(to);
        let status = child.wait().map_err(fail)?;
        prop_assert!(status.success(), "the neighbour ended with {}", status);
        Ok(())
    }
}

const ROLE: &str = "TAUT_TEST_NEIGHBOUR";

/// Whether this process is the other one.
pub(crate) fn is_neighbour() -> bool {
    env::var_os(ROLE).is_some()
}

/// Does what the lines of the standard input say, one after the other.
pub(crate) fn neighbour() -> ExitCode {
    let run = || -> Result<()> {
        let device = Device::cuda(0)?;
        let mut held = Vec::new();
        for line in std::io::stdin().lock().lines().map_while(|line| line.ok()) {
            match line.split_once(' ').map(|(what, n)| (what, n.parse::<u64>().unwrap_or(0))) {
                Some(("work", rounds)) => {
                    println!("{}", if work(&device, 5.0, rounds as usize)? { "right" } else { "wrong" });
                }
                Some(("leave", bytes)) => {
                    fill(&device, bytes, &mut held)?;
                    println!("full");
                }
                _ => println!("unknown: {line}"),
            }
        }
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes memory until no more than so many bytes of the card are free.
fn fill(device: &Device, leave: u64, held: &mut Vec<Tensor>) -> Result<()> {
    let capacity = device.pool().capacity_bytes();
    loop {
        let free = capacity.saturating_sub(device.stats().driver_bytes.unwrap_or(0));
        let Some(bytes) = free.checked_sub(leave).filter(|&bytes| bytes >= 2 * MIB) else { return Ok(()) };
        held.push(Tensor::full([bytes.min(4096 * MIB) as usize], 9.0, DType::U8, device)?);
        device.synchronize()?;
    }
}
