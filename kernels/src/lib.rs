//! The CUDA kernels of taut: one typed table of them, and their machine code, compiled by the build script.
//!
//! Knows no tensor and calls no driver. [`Kernel`] names every variant; [`modules`] holds the images to load, with the
//! symbol of each kernel by its slot.

pub mod args;
mod block;
mod expression;
mod kernel;
mod variant;

pub use expression::{pack_len, reduce_pack_len, scan_pack_len};
pub use kernel::Kernel;
pub use variant::{
    Access, Across, Capacity, Copies, Major, Moved, PackedPart, ReducePart, RowPart, ScanPart, ScatterPart,
    SlabPart, Strip, Thin, Tile, Update, WIDTHS, Weight,
};

/// One compiled source file for one architecture.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// The source file, as [`Kernel::file`] says it.
    pub file: &'static str,
    /// The compute capability of machine code, `"9.0a"`, or the lowest that PTX runs on, `"ptx8.0"`.
    pub arch: &'static str,
    /// A cubin, or PTX that ends in NUL.
    pub image: &'static [u8],
    /// [`Kernel::slot`] and the symbol of every kernel in the image.
    pub symbols: &'static [(u32, &'static str)],
}

/// Every image; none if this build [has no kernels](missing).
pub fn modules() -> &'static [Module] {
    MODULES
}

/// Why there is no machine code in this build, naming the places that were searched for the compiler; `None` if
/// there is.
pub fn missing() -> Option<&'static str> {
    MISSING
}

/// A hash of the sources of all products of matrices, whether they were compiled or not.
pub const PRODUCTS_HASH: &str = env!("TAUT_PRODUCTS_HASH");

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

// The build script's parts that need no compiler, for their tests.
#[cfg(test)]
#[path = "../build/log.rs"]
mod log;
#[cfg(test)]
#[path = "../build/search.rs"]
#[allow(dead_code, reason = "the build script uses the rest")]
mod search;
#[cfg(test)]
#[path = "../build/target.rs"]
#[allow(dead_code, reason = "the build script uses the rest")]
mod target;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_hold_every_kernel_or_there_is_a_reason() {
        if let Some(why) = missing() {
            assert!(modules().is_empty() && !why.is_empty());
            return;
        }
        for module in modules() {
            let names = Kernel::all().into_iter().filter(|kernel| kernel.file() == module.file).count();
            assert_eq!(module.symbols.len(), names, "{} for {}", module.file, module.arch);
            let magic: &[u8] = if module.arch.starts_with("ptx") { b"//" } else { b"\x7fELF" };
            assert!(module.image.starts_with(magic), "{} for {}", module.file, module.arch);
        }
    }
}
