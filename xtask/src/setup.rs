//! What is fetched: the real inputs, and NVRTC where CUDA is compiled.

use crate::{
    failure::{Failure, Result},
    fetch,
    options::Options,
    place::Place,
};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The real inputs: flights, the sentence encoder all-MiniLM-L6-v2, and the works of Shakespeare.
pub(crate) const INPUTS: [&str; 3] = ["flights", "minilm", "shakespeare"];

/// How a build gets its machine code.
pub(crate) enum Kernels {
    /// Not at all: the build has no CUDA.
    None,
    /// From the NVRTC that the user names in `TAUT_NVRTC`.
    Given,
    /// From the pinned NVRTC: the folder of its library.
    Fetched(PathBuf),
}

impl Kernels {
    pub(crate) fn compiled(&self) -> bool {
        !matches!(self, Kernels::None)
    }
}

/// `cargo xtask setup`.
pub(crate) fn setup(place: &Place, options: Options) -> Result<()> {
    let names: Vec<_> = options.rest().map(|name| name.to_string_lossy().into_owned()).collect();
    if let Some(name) = names.iter().find(|name| !INPUTS.contains(&name.as_str()) && *name != "nvrtc") {
        return Err(Failure::new("reading the command line", format!("setup knows no `{name}`"))
            .remedy(format!("it knows {} and nvrtc", INPUTS.join(", "))));
    }
    let wants = |name: &str| names.iter().any(|wanted| wanted == name);
    for name in INPUTS.into_iter().filter(|name| names.is_empty() || wants(name)) {
        println!("{}", input(place, name)?.display());
    }
    if (names.is_empty() && gpu_present()) || wants("nvrtc") {
        match nvrtc(place)? {
            Kernels::Fetched(folder) => println!("{}", folder.display()),
            Kernels::Given => println!("NVRTC: as TAUT_NVRTC says"),
            Kernels::None => println!("NVRTC: none exists for this platform"),
        }
    }
    Ok(())
}

/// Fetches one of the [`INPUTS`], unless it is there. Programs look for its folder in `target/data/`.
pub(crate) fn input(place: &Place, name: &str) -> Result<PathBuf> {
    let data = place.data();
    fetch::fetch(place, name, |version| match name {
        "flights" => data.join(name),
        _ => data.join(format!("{name}-{version}")),
    })
}

/// Fetches all [`INPUTS`].
pub(crate) fn inputs(place: &Place) -> Result<Vec<PathBuf>> {
    INPUTS.iter().map(|name| input(place, name)).collect()
}

/// The NVRTC to compile with. Linux on x86_64 and aarch64 has one; elsewhere no kernels are compiled.
pub(crate) fn nvrtc(place: &Place) -> Result<Kernels> {
    if std::env::var_os("TAUT_NVRTC").is_some_and(|path| !path.is_empty()) {
        return Ok(Kernels::Given);
    }
    if !(cfg!(target_os = "linux") && cfg!(any(target_arch = "x86_64", target_arch = "aarch64"))) {
        return Ok(Kernels::None);
    }
    let folder = fetch::fetch(place, "nvrtc", |version| place.target.join("nvrtc").join(version))
        .map_err(|failure| failure.or("name an NVRTC that you have: TAUT_NVRTC=/usr/local/cuda/lib64"))?;
    Ok(Kernels::Fetched(folder.join("nvidia/cuda_nvrtc/lib")))
}

/// Has this machine a GPU that works? Either `nvidia-smi` lists one, or there are both a device and a driver.
pub(crate) fn gpu_present() -> bool {
    let listed = output("nvidia-smi", &["-L"]).is_some_and(|list| list.contains("GPU "));
    listed || (Path::new("/dev/nvidia0").exists() && driver_present())
}

/// Can the loader find `libcuda.so.1`?
fn driver_present() -> bool {
    output("ldconfig", &["-p"]).is_some_and(|cache| cache.contains("libcuda.so.1"))
        || [
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/usr/lib64",
            "/usr/local/nvidia/lib64",
        ]
        .iter()
        .any(|folder| Path::new(folder).join("libcuda.so.1").exists())
}

/// What a program prints, if it starts and succeeds.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
