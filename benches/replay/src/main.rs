//! The program that `cargo xtask replay` starts.

use serde_json::json;
use std::{path::Path, process::ExitCode, sync::Arc};
use taut_memory::{Error, HostBacking, PhantomBacking, Pool, Result, wants_segments};
use taut_replay::{Family, Pass, made, pass, quantile, read};

const HELP: &str = "\
taut-replay TRACE [--backing phantom|host|cuda] [--repeat N] [--json]

Feeds a recorded trace (lines `+,id,bytes` and `-,id`, as text or gzip) to a pool, and prints what it reserved beside what
was asked for, the calls to the driver, and the time of an event. --repeat replays it so often, on the same pool.
In place of a file, made:FAMILY or made:FAMILY:SEED is a trace of a kind of program: transformer, checkpointed, cnn,
graphs, adapters, generation, encoding or serving.
TAUT_SEGMENTS=1 in the environment: memory as on a card without virtual memory, on each backing.
";

/// The capacity of the phantom backing: more than any card has.
const PHANTOM_BYTES: u64 = 1 << 46;

struct Options {
    trace: String,
    backing: String,
    repeat: usize,
    json: bool,
}

fn main() -> ExitCode {
    let outcome = match parse() {
        Ok(None) => {
            print!("{HELP}");
            Ok(())
        }
        Ok(Some(options)) => run(&options).map_err(|e| e.to_string()),
        Err(error) => Err(format!("replay: {error}")),
    };
    outcome.map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// The options, or none where the help was asked for.
fn parse() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut trace, mut backing, mut repeat, mut json) = (None, "phantom".to_owned(), 1, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("backing") => backing = parser.value()?.string()?,
            Long("repeat") => repeat = parser.value()?.parse()?,
            Long("json") => json = true,
            Long("help") | Short('h') => return Ok(None),
            Value(name) if trace.is_none() => trace = Some(name.string()?),
            other => return Err(other.unexpected()),
        }
    }
    match trace {
        Some(trace) => Ok(Some(Options { trace, backing, repeat, json })),
        None => Err("no trace is named: expected `replay TRACE`".into()),
    }
}

fn run(options: &Options) -> Result<()> {
    let Options { trace, backing, repeat, json } = options;
    let pool = pool(backing)?;
    let text = text(trace)?;
    let passes = (0..*repeat).map(|_| pass(&pool, &text)).collect::<Result<Vec<_>>>()?;
    if *json {
        let passes: Vec<_> = passes.iter().map(figures).collect();
        println!("{:#}", json!({ "trace": trace, "backing": backing, "passes": passes }));
    } else {
        println!("{trace} on {backing} {}", if wants_segments() { "segments" } else { "pages" });
        passes.iter().zip(1..).for_each(|(pass, n)| print(n, pass));
    }
    Ok(())
}

/// The trace with this name: made up, or in a file.
fn text(name: &str) -> Result<Vec<u8>> {
    let Some(program) = name.strip_prefix("made:") else { return read(Path::new(name)) };
    let (family, seed) = program.split_once(':').unwrap_or((program, "0"));
    let known = Family::ALL.into_iter().find(|known| known.name() == family);
    match (known, seed.parse()) {
        (Some(family), Ok(seed)) => Ok(made(family, seed).into_bytes()),
        _ => {
            let names = Family::ALL.map(Family::name).join(", ");
            let expected = format!("expected made:FAMILY or made:FAMILY:SEED, of {names}");
            Err(Error::device(format!("replay: there is no trace `{name}`: {expected}")))
        }
    }
}

fn pool(backing: &str) -> Result<Pool> {
    Ok(match backing {
        "phantom" => Pool::new(Arc::new(PhantomBacking::new(PHANTOM_BYTES, 0).segmented(wants_segments()))),
        "host" => Pool::new(Arc::new(HostBacking::new()?.segmented(wants_segments()))),
        "cuda" => cuda()?,
        other => {
            return Err(Error::device(format!(
                "replay: there is no backing `{other}`: phantom, host or cuda"
            )));
        }
    })
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<Pool> {
    let gpu = taut_cuda::Gpu::open(0)?;
    Ok(Pool::new(Arc::new(taut_cuda::CudaBacking::new(&gpu)?)))
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<Pool> {
    Err(Error::device(
        "replay: this program was built without CUDA; `cargo xtask replay --backing cuda` builds it in",
    ))
}

fn figures(pass: &Pass) -> serde_json::Value {
    json!({
        "events": pass.events,
        "peak_requested_bytes": pass.peak_requested_bytes,
        "peak_live_bytes": pass.peak_live_bytes,
        "peak_reserved_bytes": pass.peak_reserved_bytes,
        "reserved_over_requested": pass.ratio(),
        "least_over_requested": pass.least_ratio(),
        "commits": pass.calls.commits,
        "decommits": pass.calls.decommits,
        "median_ns": quantile(&pass.times, 0.5),
        "p99_ns": quantile(&pass.times, 0.99),
        "pair_median_ns": quantile(&pass.pairs, 0.5),
        "pair_p99_ns": quantile(&pass.pairs, 0.99),
    })
}

fn print(n: usize, pass: &Pass) {
    println!("pass {n}: {} events", pass.events);
    for (name, value) in [
        ("peak requested", pass.peak_requested_bytes),
        ("peak live", pass.peak_live_bytes),
        ("peak reserved", pass.peak_reserved_bytes),
    ] {
        println!("  {name:<22} {value:>15} bytes");
    }
    println!(
        "  {:<22} {:>15.4}, {:.4} in whole pages at least",
        "reserved / requested",
        pass.ratio(),
        pass.least_ratio()
    );
    println!("  {:<22} {:>15} commit, {} decommit", "driver calls", pass.calls.commits, pass.calls.decommits);
    for (name, times) in [("ns per event", &pass.times), ("ns to take and give", &pass.pairs)] {
        println!("  {name:<22} {:>15} median, {} p99", quantile(times, 0.5), quantile(times, 0.99));
    }
}
