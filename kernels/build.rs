//! Compiles the kernels with NVRTC to machine code, one process for each file and architecture, and embeds it.
//!
//! Where NVRTC is not found the build succeeds without CUDA, with a warning that says where it looked.
//!
//! - `TAUT_NVRTC`: the library, or a folder that holds it. Unset: see [`search`].
//! - `TAUT_ARCHS`: unset for the cards that are present (9.0a if none is) and PTX; `all`; `none`; or a list such as
//!   `8.9,9.0a,ptx8.0`.

#[path = "src/args.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the library, which uses the rest")]
mod args;
#[path = "src/block.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the library, which uses the rest")]
mod block;
#[path = "build/cache.rs"]
mod cache;
#[path = "build/compile.rs"]
mod compile;
#[path = "src/expression.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the library, which uses the rest")]
mod expression;
#[path = "src/kernel.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the library, which uses the rest")]
mod kernel;
#[path = "build/log.rs"]
mod log;
#[path = "build/nvrtc.rs"]
mod nvrtc;
#[path = "build/search.rs"]
mod search;
#[path = "build/target.rs"]
mod target;

#[path = "src/variant.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the library, which uses the rest")]
mod variant;

use nvrtc::Nvrtc;
use std::{env, fs, path::Path, process::ExitCode};
use target::{Request, Target};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    // A build script gets no arguments from cargo: with some, this is one of our own worker processes.
    let outcome = if args.is_empty() { build() } else { compile::worker(&args) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    println!("cargo::rerun-if-env-changed=TAUT_ARCHS");
    for name in search::VARIABLES {
        println!("cargo::rerun-if-env-changed={name}");
    }
    for path in ["build.rs", "build", "src"] {
        println!("cargo::rerun-if-changed={path}");
    }
    for entry in fs::read_dir(".")? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "cu" || e == "cuh") {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }

    println!("cargo::rustc-env=TAUT_PRODUCTS_HASH={}", compile::products_hash()?);
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    let request = match env::var("TAUT_ARCHS") {
        Ok(list) => Request::parse(&list)?,
        Err(_) => Request::Present,
    };
    if request == Request::None {
        return without_cuda(out, "it was built with TAUT_ARCHS=none");
    }
    let found = search::surroundings().search().or_else(|places| nvrtc::on_loader_path().ok_or(places));
    let nvrtc = found
        .map_err(|places| format!("NVRTC was not found; searched: {}", places.join(", ")))
        .and_then(|found| Nvrtc::open(&found).map_err(|error| format!("NVRTC could not be opened: {error}")));
    let nvrtc = match nvrtc {
        Ok(nvrtc) => nvrtc,
        Err(why) => {
            println!("cargo::warning=building without CUDA: {why}. TAUT_NVRTC names a folder that holds it");
            return without_cuda(out, &why);
        }
    };
    println!("cargo::rerun-if-changed={}", nvrtc.found().library.display());
    let targets = targets(&request, &nvrtc)?;
    let modules = compile::all(&nvrtc, &targets, &out.join("cache"))?;
    fs::write(out.join("modules.rs"), cache::source(&modules)?)?;
    Ok(())
}

fn without_cuda(out: &Path, why: &str) -> Result<()> {
    let none = "static MODULES: &[Module] = &[];\nstatic MISSING: Option<&str> =";
    Ok(fs::write(out.join("modules.rs"), format!("{none} Some({why:?});\n"))?)
}

/// What to compile for, within what this compiler knows.
fn targets(request: &Request, nvrtc: &Nvrtc) -> Result<Vec<Target>> {
    let known = nvrtc.supported()?;
    let knows = |target: &Target| target.is_ptx() || known.contains(&target.number());
    let targets = match request {
        Request::List(targets) => targets.clone(),
        _ => {
            let (targets, warnings) = target::present(&target::cards(), &knows);
            warnings.iter().for_each(|warning| println!("cargo::warning={warning}"));
            targets
        }
    };
    match targets.iter().find(|target| !knows(target)) {
        Some(target) => {
            let (major, minor) = nvrtc.version();
            let hint = "12.8 or newer knows 10.0 and 12.0";
            Err(format!("NVRTC {major}.{minor} does not know compute capability {}; {hint}", target.name())
                .into())
        }
        None => Ok(targets),
    }
}
