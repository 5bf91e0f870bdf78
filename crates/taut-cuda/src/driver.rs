//! The border to the driver: is it there, is it new enough, and what do its codes mean.

use cudarc::driver::sys::{self, CUresult};
use std::ffi::CStr;
use taut_core::{Error, Result};

/// The oldest CUDA version of a driver that loads our machine code: NVRTC 12.x code runs on every 12.0 driver.
const OLDEST: i32 = 12_000;

/// Loads the driver and initializes it.
pub(crate) fn load() -> Result<()> {
    // SAFETY: opening the driver library runs its initializers, which is what a CUDA program asks for.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::device("cuda: no driver: libcuda.so.1 was not found on the loader path"));
    }
    // SAFETY: the library is there, and cuInit takes no pointer.
    check(unsafe { sys::cuInit(0) }, "cuda: cuInit")?;
    check_version(version()?)
}

/// The newest CUDA version that the driver knows: 1000 times the major, 10 times the minor.
pub(crate) fn version() -> Result<i32> {
    let mut version = 0;
    // SAFETY: `version` is a valid place for an int, and the library is there.
    check(unsafe { sys::cuDriverGetVersion(&mut version) }, "cuda: cuDriverGetVersion")?;
    Ok(version)
}

/// The version of the driver itself, as it tells the system: finer than what CUDA it knows.
pub(crate) fn release() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    // "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build ..."
    let version =
        |word: &&str| word.split('.').count() >= 2 && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.split_whitespace().find(version).map(str::to_owned)
}

/// Refuses a driver that can not load our machine code.
fn check_version(version: i32) -> Result<()> {
    if version >= OLDEST {
        return Ok(());
    }
    let (major, minor) = (version / 1000, version % 1000 / 10);
    Err(Error::device(format!(
        "cuda: the driver is too old: it supports CUDA {major}.{minor}, taut needs 12.0 (driver 525 or newer)"
    )))
}

/// Turns a code of the driver into an error that says what was being done.
pub(crate) fn check(code: CUresult, doing: &str) -> Result<()> {
    match code {
        CUresult::CUDA_SUCCESS => Ok(()),
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            Err(Error::out_of_memory(format!("{doing}: {}", describe(code))))
        }
        CUresult::CUDA_ERROR_NO_DEVICE => Err(Error::device(format!("{doing}: {}", describe(code)))),
        _ => Err(Error::driver(format!("{doing}: {}", describe(code)))),
    }
}

/// Whether the context is lost after this code: every later call would fail too.
pub(crate) fn is_sticky(code: CUresult) -> bool {
    matches!(
        code,
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
            | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
            | CUresult::CUDA_ERROR_ASSERT
            | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
            | CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUresult::CUDA_ERROR_INVALID_PC
            | CUresult::CUDA_ERROR_LAUNCH_FAILED
            | CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
            | CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED
    )
}

fn describe(code: CUresult) -> String {
    let mut text = std::ptr::null();
    // SAFETY: the driver stores a pointer to a static string, or null for a code it does not know.
    let known =
        unsafe { sys::cuGetErrorString(code, &mut text) } == CUresult::CUDA_SUCCESS && !text.is_null();
    if !known {
        return format!("{code:?}");
    }
    // SAFETY: not null, and static by the driver's contract.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    format!("{text} ({code:?})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::ErrorKind;

    #[test]
    fn an_old_driver_is_refused_by_version() {
        let error = check_version(11_080).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.to_string().contains("CUDA 11.8"), "{error}");
        assert!(check_version(12_000).is_ok() && check_version(13_000).is_ok());
    }
}
