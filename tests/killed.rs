//! A process that is killed while it saves leaves the old file or the new one, and whoever goes on from it is where the
//! killed one was, to the bit.

use crate::training::Run;
use proptest::prelude::*;
use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};
use taut::{DType, Device, Result, seed};
use taut_nn::{States, Weights};
use taut_tests::{At, Check, Rng, Suite, fail};

pub(crate) fn trials(suite: &mut Suite) {
    suite.cpu("training::a_killed_save_leaves_a_whole_file", a_killed_save_leaves_a_whole_file);
}

/// Saves that must have been under way when their process was killed.
const WANTED: usize = 8;
/// Kills after which it is given up to meet so many.
const MOST: usize = 400;
/// Of the first process that starts.
const SEED: u64 = 9;

fn a_killed_save_leaves_a_whole_file(at: &At) -> Check {
    let folder = tempfile::tempdir().map_err(fail)?;
    let path = folder.path().join("run");
    let (mut beside, mut steps) = (Beside::new(&at.device)?, 0);
    let (mut rng, mut met, mut kills) = (Rng(at.seed()), 0, 0);
    while met < WANTED {
        prop_assert!(kills < MOST, "{} of {} kills came in the middle of a save", met, MOST);
        kills += 1;
        kill_one(&path, beside.time.mul_f64(1.5 * rng.unit()), rng.below(4))?;

        let names = fs::read_dir(folder.path()).map_err(fail)?.map(|entry| Ok(entry?.file_name()));
        let mut names = names.collect::<std::io::Result<Vec<_>>>().map_err(fail)?;
        names.retain(|name| name != "run");
        // Not of several: each save removes what was left before it.
        prop_assert!(names.len() <= 1, "left behind: {:?}", names);
        met += names.len();
        if path.exists() {
            let step = count(&path)?;
            prop_assert!(step >= steps, "step {} is saved, and {} was before", step, steps);
            prop_assert!(beside.at(step)? == fs::read(&path).map_err(fail)?, "step {}", step);
            steps = step;
        }
    }
    prop_assert!(steps > 0, "nothing was ever saved");
    // The next save is as any other.
    let mut run = Run::new(&at.device, DType::F32, States::Full)?;
    run.load(&path)?;
    run.save(&path)?;
    let names = fs::read_dir(folder.path()).map_err(fail)?;
    prop_assert_eq!(names.count(), 1);
    prop_assert!(beside.at(steps)? == fs::read(&path).map_err(fail)?);
    Ok(())
}

/// Lets a process begin so many saves and one more, and kills it this much later.
fn kill_one(path: &Path, later: Duration, saves: usize) -> Check {
    let mut command = Command::new(env::current_exe().map_err(fail)?);
    let mut child = command.env(ROLE, path).stdout(Stdio::piped()).spawn().map_err(fail)?;
    let lines = child.stdout.take().ok_or_else(|| fail("the trainer has no pipe"))?;
    // Open until the end: a trainer that nobody listens to stops.
    let mut lines = BufReader::new(lines).lines();
    let begun = lines.by_ref().take(saves + 1).filter(|line| line.is_ok()).count();
    thread::sleep(later);
    child.kill().map_err(fail)?;
    let status = child.wait().map_err(fail)?;
    prop_assert_eq!((begun, status.code()), (saves + 1, None), "the trainer ended by itself");
    Ok(())
}

/// The steps that a file has.
fn count(path: &Path) -> Result<u64> {
    let step = Weights::open(path)?.get("optimizer.step")?.load(DType::F32, &Device::cpu())?;
    Ok(step.item::<f32>()? as u64)
}

/// The same run, which nobody kills.
struct Beside {
    run: Run,
    folder: tempfile::TempDir,
    /// That a save takes.
    time: Duration,
}

impl Beside {
    fn new(device: &Device) -> Result<Beside, TestCaseError> {
        seed::set(SEED);
        let run = Run::new(device, DType::F32, States::Full)?;
        let mut beside = Beside { run, folder: tempfile::tempdir().map_err(fail)?, time: Duration::ZERO };
        let start = Instant::now();
        beside.at(0)?;
        beside.time = start.elapsed();
        Ok(beside)
    }

    /// What it saves after so many steps, no fewer than before.
    fn at(&mut self, step: u64) -> Result<Vec<u8>, TestCaseError> {
        self.run.steps(self.run.count()?..step)?;
        let path = self.folder.path().join("run");
        self.run.save(&path)?;
        fs::read(path).map_err(fail)
    }
}

const ROLE: &str = "TAUT_TEST_TRAINER";

/// Whether this process is one to kill.
pub(crate) fn is_trainer() -> bool {
    env::var_os(ROLE).is_some()
}

/// Goes on from the file, if there is one: a step, a line that says so, a save, and again, until it is killed.
pub(crate) fn trainer() -> ExitCode {
    let run = || -> Result<(), TestCaseError> {
        let path = PathBuf::from(env::var_os(ROLE).unwrap_or_default());
        let mut run = Run::new(&Device::cpu(), DType::F32, States::Full)?;
        seed::set(SEED);
        if path.exists() {
            run.load(&path)?;
        }
        loop {
            let step = run.count()?;
            run.steps(step..step + 1)?;
            // Nobody listens any more where the parent has gone.
            writeln!(std::io::stdout(), "{step}").map_err(fail)?;
            run.save(&path)?;
        }
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
