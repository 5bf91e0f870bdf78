//! What is fetched: the flights, and NVRTC where CUDA is compiled.

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
    if let Some(name) = names.iter().find(|name| !matches!(name.as_str(), "flights" | "nvrtc")) {
        return Err(Failure::new("reading the command line", format!("setup knows no `{name}`"))
            .remedy("it knows `flights` and `nvrtc`"));
    }
    let wants = |name: &str| names.iter().any(|wanted| wanted == name);
    if names.is_empty() || wants("flights") {
        println!("{}", flights(place)?.display());
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

/// The folder with the four tables of the flights, as `NAME.csv.gz`.
pub(crate) fn flights(place: &Place) -> Result<PathBuf> {
    let folder = place.target.join("data/flights");
    fetch::fetch(place, "flights", |_| folder.clone())?;
    Ok(folder)
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
