//! `cargo xtask`: the commands of a contributor.

mod bundle;
mod cargo;
mod failure;
mod fetch;
mod options;
mod parts;
mod place;
mod setup;
mod top;

use failure::{Failure, Result};
use options::Options;
use place::Place;
use std::{ffi::OsString, path::Path, process::ExitCode};

const HELP: &str = "\
cargo xtask COMMAND

  bench [GROUP].. [--quick] [--timeline] [--device cpu|cuda] [..]
      Measures everything that this machine can, or these groups: fetches what is missing, builds, runs taut-bench with
      these flags, and leaves target/bench/latest.json and target/bench/index.html. Groups: host, throughput, multi,
      products, layers, memory (which measures training as well), pool (what of memory needs no program), training, train, curve,
      model, encoder.
  bench memory --timeline
      Shows for each work of the group what lived when, in the page and as target/bench/timeline/WORK.json, which
      ui.perfetto.dev and chrome://tracing open.
  tune [--shapes FILE] [--out FILE] [--ops OP,..]
      Times the matrix products of the group `products`, or of the lines of a file (`512 x 4096 x 4096, NT, bf16`), in all ways
      that this GPU has for them, and keeps those that won in target/tuning.txt, or in the file that --out names.
      `bench products --tuning FILE` measures with that table.
  test [--no-kernels] [..]
      Runs every test that can run here, on the GPU too where there is one, and on the real inputs. Other arguments go to
      `cargo test`: `cargo xtask test relu -- --nocapture`. --no-kernels compiles no CUDA.
  miri [..]
      Runs the tests of the pool that touch memory or have threads in Miri, a few cases each: ten minutes. Needs a nightly
      Rust with it (`rustup toolchain install nightly --component miri,rust-src`). Other arguments go to the tests.
  setup [flights] [minilm] [shakespeare] [nvrtc]
      Fetches what the two above need, into target/. Without a name: the three inputs, and NVRTC if there is a GPU.
  bundle [--only test|bench|GROUP]
      Packs the test program, the bench program and their data into target/bundle/, for a machine that has
      an NVIDIA driver and no Rust. There: `run.sh test`, `run.sh bench`.
  bundle --data minilm
      Packs the weights of MiniLM, which no bundle has room for, in parts: target/bundle-data/1/, 2/, ..
      There, for each of them: `run.sh data`.
  replay TRACE [--backing phantom|host|cuda] [--repeat N] [--json]
      Feeds a recorded trace (lines `+,id,bytes` and `-,id`, as text or gzip) to a pool over pages of this kind, phantom
      unless told otherwise, and prints its peaks, reserved over requested bytes, calls to the driver and time for each
      event; --repeat does so again on the same pool. In place of a file, made:FAMILY:SEED is a trace of a kind of program:
      transformer, checkpointed, cnn, graphs, adapters, generation, encoding, serving.
  top [--once] [PID]
      Shows, every second, what the running processes hold: device, live bytes by kind, reserved bytes, peaks and budget,
      beside what the driver charges. Of those that want it: TAUT_TOP=1 in their environment, or
      `taut::memory::publish()`. --once shows it one time, as does an output that is no terminal.
  help
      This text.

Environment
  TAUT_NVRTC   the NVRTC to compile kernels with, instead of the pinned one (a library or its folder)
  TAUT_ARCHS   the architectures to compile for: none, all, or a list
  TAUT_SEGMENTS  1: memory comes in pieces, on every device, as on a card without virtual memory
  TAUT_TOP     1: a process shows its memory to `cargo xtask top`
  TAUT_TARGET  the folder for everything that is fetched or written, instead of target/
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    match run(&command.to_string_lossy(), arguments.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{failure}");
            ExitCode::from(failure.status())
        }
    }
}

fn run(command: &str, arguments: Vec<OsString>) -> Result<()> {
    let place = Place::find();
    let mut options = Options::new(arguments);
    if matches!(command, "" | "help" | "-h" | "--help") || options.flag("--help") || options.flag("-h") {
        print!("{HELP}");
        return Ok(());
    }
    match command {
        "bench" => bench(&place, options),
        "tune" => tune(&place, options),
        "test" => test(&place, options),
        "miri" => miri(&place, &options),
        "setup" => setup::setup(&place, options),
        "bundle" => bundle::bundle(&place, options),
        "replay" => replay(&place, options),
        "top" => top::top(options),
        other => Err(Failure::new("reading the command line", format!("there is no command `{other}`"))
            .remedy("`cargo xtask help` lists the commands")),
    }
}

/// Measures what this machine can measure.
fn bench(place: &Place, options: Options) -> Result<()> {
    let device = options.value("--device");
    let cuda = match device.as_deref() {
        Some("cpu") => false,
        Some("cuda") if !setup::gpu_present() => {
            return Err(no_gpu().or("leave out --device cuda to measure on the CPU"));
        }
        _ => setup::gpu_present(),
    };
    setup::inputs(place)?;
    // Nothing of CUDA is fetched or compiled where it could not run.
    let kernels = if cuda { setup::nvrtc(place)? } else { setup::Kernels::None };

    let mut build = cargo::cargo(place, &kernels);
    let program =
        cargo::executable(build.args(["build", "--release", "--package", "taut-benches"]), "taut-bench")?;
    let out = place.target.join("bench");
    let mut groups = options.words(&["--quick", "--timeline"]);
    groups.extend(options.value("--only"));
    if groups.is_empty() || groups.iter().any(|group| group == "host") {
        host_costs(place, &kernels, &options, &out.join("criterion"))?;
    }
    let mut bench = std::process::Command::new(&program);
    bench.arg("--data").arg(place.data()).arg("--out").arg(&out).args(options.rest());
    cargo::status(&mut bench, "running taut-bench")?;

    let timeline = options.has("--timeline").then_some("timeline");
    for name in ["latest.json", "index.html"].into_iter().chain(timeline) {
        let path = out.join(name);
        if path.exists() {
            println!("{}", path.display());
        }
    }
    Ok(())
}

/// Finds the fastest ways of products on this machine's card.
fn tune(place: &Place, options: Options) -> Result<()> {
    if !setup::gpu_present() {
        return Err(no_gpu());
    }
    // What else taut-bench writes to --out it does not write when it tunes.
    let out = options.value("--out").map_or_else(|| place.target.join("tuning.txt"), Into::into);
    let mut build = cargo::cargo(place, &setup::nvrtc(place)?);
    let program =
        cargo::executable(build.args(["build", "--release", "--package", "taut-benches"]), "taut-bench")?;
    let mut bench = std::process::Command::new(&program);
    bench.args(["--device", "cuda", "--tune"]).arg(out).args(options.rest());
    cargo::status(&mut bench, "running taut-bench")
}

fn no_gpu() -> Failure {
    Failure::new("choosing the device", "this machine has no working NVIDIA GPU")
        .remedy("`nvidia-smi -L` must list one")
}

/// Runs the criterion benches, whose results taut-bench finds beside its own and reports as the group `host`.
fn host_costs(place: &Place, kernels: &setup::Kernels, options: &Options, results: &Path) -> Result<()> {
    if !place.root.join("benches/benches").is_dir() {
        return Ok(());
    }
    // Results of another commit must not be taken for new ones.
    let cleared = results.exists().then(|| std::fs::remove_dir_all(results)).transpose();
    cleared.map_err(|e| Failure::io(format!("clearing {}", results.display()), &e))?;
    let mut cargo = cargo::cargo(place, kernels);
    cargo.args([
        "bench",
        "--quiet",
        "--package",
        "taut-benches",
        "--bench",
        "*",
        "--",
        "--noplot",
        "--quiet",
    ]);
    if options.has("--quick") {
        cargo.args(["--warm-up-time", "0.2", "--measurement-time", "0.5"]);
    }
    cargo::status(cargo.env("CRITERION_HOME", results), "measuring the host-side costs")
}

/// Replays a recorded trace.
fn replay(place: &Place, options: Options) -> Result<()> {
    // Only a card needs a build with kernels.
    let cuda = options.value("--backing").as_deref() == Some("cuda");
    let kernels = if cuda { setup::nvrtc(place)? } else { setup::Kernels::None };
    let mut build = cargo::cargo(place, &kernels);
    build.args(["build", "--release", "--quiet", "--package", "taut-replay"]);
    if cuda {
        build.args(["--features", "cuda"]);
    }
    let program = cargo::executable(&mut build, "taut-replay")?;
    cargo::status(std::process::Command::new(program).args(options.rest()), "replaying the trace")
}

/// Runs in Miri what touches memory or has threads: arenas are values, and a soak is long.
fn miri(place: &Place, options: &Options) -> Result<()> {
    let mut cargo = std::process::Command::new("rustup");
    cargo.current_dir(&place.root).args(["run", "nightly", "cargo", "miri", "test", "--no-fail-fast"]);
    cargo.args(["--package", "taut-memory", "--lib"]);
    for test in ["pool", "script", "faults", "model", "fuzz"] {
        cargo.args(["--test", test]);
    }
    cargo.args(["--", "--skip", "arena::"]).args(options.rest());
    // The host says how much memory it has, and how many cases are wanted, in files and variables.
    cargo.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "1");
    cargo::status(&mut cargo, "testing in Miri")
}

/// Tests what this machine can test. The programs under test find the GPU themselves.
fn test(place: &Place, mut options: Options) -> Result<()> {
    let kernels = match options.flag("--no-kernels") {
        true => setup::Kernels::None,
        false => setup::nvrtc(place)
            .map_err(|failure| failure.or("test without CUDA: `cargo xtask test --no-kernels`"))?,
    };
    let new = || {
        let mut cargo = cargo::cargo(place, &kernels);
        if kernels.compiled() && cargo::is_ci() && std::env::var_os("TAUT_ARCHS").is_none() {
            cargo.env("TAUT_ARCHS", "all");
        }
        cargo.arg("test").env("TAUT_DATA", place.data());
        cargo
    };
    let mut cargo = new();
    if !options.names_package() {
        cargo.arg("--workspace");
    }
    // A filter asks for less than everything: then nothing is fetched.
    if options.rest().next().is_some() {
        return cargo::status(cargo.args(options.rest()), "testing");
    }
    let missing = match setup::inputs(place) {
        Err(failure) if cargo::is_ci() => return Err(failure),
        inputs => inputs.err(),
    };
    cargo::status(&mut cargo, "testing")?;
    match missing {
        None => {
            // Of the whole workspace, so that nothing is compiled again with other features.
            let test = ["--workspace", "--lib", "--", "--ignored", "the_real_"];
            cargo::status(new().args(test), "testing on the real inputs")
        }
        Some(failure) => {
            eprint!("{failure}");
            eprintln!("the tests on the real inputs were left out");
            Ok(())
        }
    }
}
