//! Damaged files: whatever is in a file, reading it gives a clear error or the tensors that it says.
//!
//! The same inputs on every run, some seconds of them. `TAUT_FUZZ_SECONDS=600 cargo test --release -p taut-tests --
//! cpu::fuzz` goes on for ten minutes each, with `TAUT_SEED` from another start, and says how many inputs there were. A
//! failure prints the input; what is worth keeping goes to `corpus/`, by way of `golden/files.py`.

mod mutate;

use mutate::{mutated, safetensors};
use proptest::prelude::*;
use safetensors::SafeTensors;
use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};
use taut::{DType, Device, ErrorKind};
use taut_nn::{Rows, Weights};
use taut_tests::{At, Check, Rng, Suite, fail};

pub(crate) fn trials(suite: &mut Suite) {
    suite.cpu("fuzz::safetensors", |at| fuzz(at, &SAFETENSORS, Some(safetensors), check_safetensors));
    suite.cpu("fuzz::npy", |at| fuzz(at, &NPY, None, check_npy));
}

/// Inputs of a run that is not timed.
const INPUTS: u64 = 30_000;

macro_rules! files {
    ($($path:literal)*) => {
        [$(include_bytes!($path) as &[u8]),*]
    };
}

const SAFETENSORS: [&[u8]; 13] = files!(
    "golden/files/saved.safetensors" "golden/files/foreign.safetensors" "golden/files/none.safetensors"
    "corpus/overlap.safetensors" "corpus/gap.safetensors" "corpus/twice.safetensors" "corpus/ranks.safetensors"
    "corpus/empties.safetensors" "corpus/overflow.safetensors" "corpus/bools.safetensors"
    "corpus/escapes.safetensors" "corpus/deep.safetensors" "corpus/metadata.safetensors"
);

const NPY: [&[u8]; 10] = files!(
    "golden/files/f4.npy" "golden/files/i8.npy" "golden/files/b1.npy" "golden/files/f2.npy" "golden/files/f8.npy"
    "corpus/fortran.npy" "corpus/object.npy" "corpus/record.npy" "corpus/scalar.npy" "corpus/python2.npy"
);

/// How an input ended, if nothing was wrong with that.
enum End {
    Read,
    Refused,
}

/// Checks the corpus, then damaged inputs of it, and of what `generate` makes.
fn fuzz(
    at: &At,
    corpus: &[&[u8]],
    generate: Option<fn(&mut Rng) -> Vec<u8>>,
    check: fn(&Path, &[u8], &Device) -> Result<End, TestCaseError>,
) -> Check {
    let seconds = env::var("TAUT_FUZZ_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse().map(Duration::from_secs)).transpose();
    let seconds = seconds.map_err(|error| fail(format!("TAUT_FUZZ_SECONDS: {error}")))?;
    // In memory where that is possible: most of the time goes into making files.
    let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).map_err(fail)?;
    let path = home.path().join("input");
    let (mut rng, start, mut read, mut count) = (Rng(at.seed()), Instant::now(), 0, 0);
    loop {
        let input = match corpus.get(count as usize) {
            Some(input) => input.to_vec(),
            None => match generate {
                Some(generate) if rng.below(2) == 0 => {
                    let made = generate(&mut rng);
                    if rng.below(4) == 0 { made } else { mutated(&made, corpus, &mut rng) }
                }
                _ => mutated(corpus[rng.below(corpus.len())], corpus, &mut rng),
            },
        };
        // A new file each time: nobody may write to one that is mapped.
        let _ = fs::remove_file(&path);
        fs::write(&path, &input).map_err(fail)?;
        let end = catch_unwind(AssertUnwindSafe(|| check(&path, &input, &at.device)));
        match end.unwrap_or_else(|_| Err(fail("a panic"))) {
            Ok(End::Read) => read += 1,
            Ok(End::Refused) => {}
            Err(error) => {
                return Err(fail(format!("{error}\n  input {count}: b\"{}\"", input.escape_ascii())));
            }
        }
        prop_assert_eq!(at.device.stats().live_bytes, 0, "input {}: b\"{}\"", count, input.escape_ascii());
        count += 1;
        if seconds.map_or(count >= INPUTS, |seconds| start.elapsed() >= seconds) {
            break;
        }
    }
    if seconds.is_some() {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let most = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        eprintln!("{count} inputs, {read} of them read; {most}");
    }
    // Some must get through, or nothing is tested but the first check.
    prop_assert!(read > count / 100 && read < count, "{} of {} inputs were read", read, count);
    Ok(())
}

fn says_where(error: &taut::Error, path: &Path, kinds: &[ErrorKind]) -> Check {
    prop_assert!(kinds.contains(&error.kind()), "of another kind: {:?}", error);
    prop_assert!(error.to_string().contains(&path.display().to_string()), "without the file: {}", error);
    Ok(())
}

/// Beside the format's own library: what we read, it reads, and the same; what only it reads, we refuse for a reason that
/// is ours.
fn check_safetensors(path: &Path, input: &[u8], device: &Device) -> Result<End, TestCaseError> {
    let theirs = SafeTensors::deserialize(input);
    let weights = match Weights::open(path) {
        Ok(weights) => weights,
        Err(error) => {
            says_where(&error, path, &[ErrorKind::Corrupt])?;
            // Each key once, tensors as objects, shapes that exist.
            let ours = [
                "stands twice",
                "more than 8 numbers",
                "overflows",
                "is no object",
                "invalid type",
                "duplicate",
            ];
            let text = error.to_string();
            prop_assert!(
                theirs.is_err() || ours.iter().any(|reason| text.contains(reason)),
                "the format's own library reads it: {}",
                text
            );
            return Ok(End::Refused);
        }
    };
    let theirs =
        theirs.map_err(|error| fail(format!("the format's own library does not read it: {error}")))?;
    prop_assert_eq!(theirs.len(), weights.names().len());
    for entry in weights.entries() {
        let tensor = theirs.tensor(entry.name()).map_err(fail)?;
        prop_assert_eq!(format!("{:?}", tensor.dtype()), entry.stored().name());
        prop_assert_eq!(tensor.shape(), &entry.shape()[..]);
        prop_assert_eq!(tensor.data(), &input[entry.range()]);
        match (entry.stored().dtype(), tensor.data()) {
            (None, _) => {
                let refused = entry.load(DType::F32, device);
                says_where(&refused.expect_err("no tensor has this dtype"), path, &[ErrorKind::DType])?;
            }
            (Some(DType::Bool), data) if data.iter().any(|&byte| byte > 1) => {
                let refused = entry.load(DType::Bool, device);
                says_where(&refused.expect_err("a byte is no bool"), path, &[ErrorKind::Corrupt])?;
            }
            (Some(dtype), data) => prop_assert_eq!(taut_tests::bytes(&entry.load(dtype, device)?)?, data),
        }
    }
    Ok(End::Read)
}

fn check_npy(path: &Path, input: &[u8], device: &Device) -> Result<End, TestCaseError> {
    let rows = match Rows::npy(path) {
        Ok(rows) => rows,
        Err(error) => {
            says_where(&error, path, &[ErrorKind::Corrupt, ErrorKind::DType, ErrorKind::Shape])?;
            return Ok(End::Refused);
        }
    };
    let data = &input[input.len() - rows.len() * rows.row_shape().numel() * rows.stored().size()..];
    match rows.load(0..rows.len(), device) {
        Ok(all) => prop_assert_eq!(taut_tests::bytes(&all)?, data),
        Err(error) => {
            prop_assert!(rows.stored() == DType::Bool && data.iter().any(|&byte| byte > 1), "{}", error);
            says_where(&error, path, &[ErrorKind::Corrupt])?;
        }
    }
    Ok(End::Read)
}
