//! The kernels of one card: modules loaded when first needed, functions resolved once.

use crate::{Card, driver::check};
use cudarc::driver::sys;
use std::{
    ffi::CString,
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicPtr, AtomicU32, Ordering},
    },
};
use taut_core::{Error, Result};
use taut_kernels::{Kernel, Module};

/// Every kernel by its slot.
pub(crate) struct Functions {
    slots: Box<[Slot]>,
    modules: Vec<&'static Module>,
    loaded: Mutex<Vec<Option<Handle>>>,
}

/// A kernel: where it is found, and its handle once it was.
struct Slot {
    /// Index into `modules` and the symbol there.
    symbol: Option<(usize, &'static str)>,
    function: AtomicPtr<sys::CUfunc_st>,
    /// The dynamic shared memory that the function was allowed so far.
    shared_bytes: AtomicU32,
}

struct Handle(sys::CUmodule);

// SAFETY: module handles may be used from any thread of the process.
unsafe impl Send for Handle {}

impl Functions {
    /// The table for a card: of each file the machine code that is nearest below it, else the PTX.
    pub(crate) fn new(card: &Card) -> Result<Functions> {
        if let Some(why) = taut_kernels::missing() {
            return Err(Error::device(format!("cuda: this build has no kernels: {why}")));
        }
        let modules = choose(taut_kernels::modules(), card.capability);
        let mut slots: Box<[Slot]> = (0..Kernel::all().len())
            .map(|_| Slot {
                symbol: None,
                function: AtomicPtr::new(ptr::null_mut()),
                shared_bytes: AtomicU32::new(48 << 10),
            })
            .collect();
        for (index, module) in modules.iter().enumerate() {
            for &(slot, symbol) in module.symbols {
                if let Some(slot) = slots.get_mut(slot as usize) {
                    slot.symbol = Some((index, symbol));
                }
            }
        }
        let loaded = Mutex::new(modules.iter().map(|_| None).collect());
        Ok(Functions { slots, modules, loaded })
    }

    /// Whether every kernel waits itself for the one in front of it: machine code for 9.0 and newer does, PTX for 8.0 does not.
    pub(crate) fn follow(&self) -> bool {
        self.modules.iter().all(|module| follows(module.arch))
    }

    /// The function of a kernel, allowed `shared_bytes` of dynamic shared memory. The context must be current.
    pub(crate) fn get(&self, kernel: Kernel, shared_bytes: u32) -> Result<sys::CUfunction> {
        let slot = kernel.slot().and_then(|slot| self.slots.get(slot)).ok_or_else(|| absent(kernel))?;
        let mut function = slot.function.load(Ordering::Acquire);
        if function.is_null() {
            function = self.resolve(kernel, slot)?;
            slot.function.store(function, Ordering::Release);
        }
        if shared_bytes > slot.shared_bytes.load(Ordering::Relaxed) {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is alive as long as its module, which is never unloaded before the context.
            let code = unsafe { sys::cuFuncSetAttribute(function, attribute, shared_bytes as i32) };
            check(code, "cuda: allow shared memory")?;
            slot.shared_bytes.store(shared_bytes, Ordering::Relaxed);
        }
        Ok(function)
    }

    /// Takes the machine code from the card. The context is current, and no kernel is launched after this.
    pub(crate) fn unload(&self) {
        for Handle(module) in self.loaded.lock().unwrap_or_else(PoisonError::into_inner).drain(..).flatten() {
            // SAFETY: loaded by `resolve` in this context, and its functions are not used after this.
            unsafe { sys::cuModuleUnload(module) };
        }
    }

    #[cold]
    fn resolve(&self, kernel: Kernel, slot: &Slot) -> Result<sys::CUfunction> {
        let (index, symbol) = slot.symbol.ok_or_else(|| absent(kernel))?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let module = match &loaded[index] {
            Some(Handle(module)) => *module,
            None => {
                let Module { file, arch, image, .. } = self.modules[index];
                let mut module = ptr::null_mut();
                // SAFETY: `image` is a complete cubin, or PTX that ends in NUL.
                let code = unsafe { sys::cuModuleLoadData(&mut module, image.as_ptr().cast()) };
                check(code, &format!("cuda: load {file} for {arch}"))?;
                loaded[index] = Some(Handle(module));
                module
            }
        };
        let name = CString::new(symbol).map_err(|_| absent(kernel))?;
        let mut function = ptr::null_mut();
        // SAFETY: the module is loaded, and the name ends in NUL.
        let code = unsafe { sys::cuModuleGetFunction(&mut function, module, name.as_ptr()) };
        check(code, &format!("cuda: find {symbol}"))?;
        if kernel.largest_cluster() > 8 {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED;
            // SAFETY: as in `get`.
            let code = unsafe { sys::cuFuncSetAttribute(function, attribute, 1) };
            check(code, "cuda: allow large clusters")?;
        }
        Ok(function)
    }
}

fn absent(kernel: Kernel) -> Error {
    Error::device(format!("cuda: this build has no kernel {kernel:?} for this card"))
}

/// Whether code for `arch` has what `follow` in `ptx.cuh` is made of.
fn follows(arch: &str) -> bool {
    let major = arch.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major >= 9)
}

/// Of each file the best image for a compute capability: the highest of the same major version that is not above it
/// (machine code of x.y runs on x.z, z >= y; an `a` runs on its own card only), else PTX.
fn choose(modules: &'static [Module], capability: (u32, u32)) -> Vec<&'static Module> {
    let rank = |module: &Module| -> Option<u32> {
        if module.arch.starts_with("ptx") {
            return Some(0);
        }
        let own = module.arch.ends_with('a');
        let (major, minor) = module.arch.trim_end_matches('a').split_once('.')?;
        let (major, minor) = (major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?);
        let runs =
            if own { (major, minor) == capability } else { major == capability.0 && minor <= capability.1 };
        runs.then_some(1 + 2 * minor + u32::from(own))
    };
    let mut best: Vec<(&Module, u32)> = Vec::new();
    for module in modules {
        let Some(rank) = rank(module) else { continue };
        match best.iter_mut().find(|(other, _)| other.file == module.file) {
            Some(entry) if entry.1 < rank => *entry = (module, rank),
            Some(_) => {}
            None => best.push((module, rank)),
        }
    }
    best.into_iter().map(|(module, _)| module).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn module(arch: &'static str) -> Module {
        Module { file: "unary.cu", arch, image: &[], symbols: &[] }
    }

    #[test]
    fn the_nearest_image_below_the_card_is_taken() {
        static MODULES: [Module; 5] =
            [module("ptx8.0"), module("8.0"), module("8.9"), module("9.0a"), module("12.0")];
        let pick = |capability| choose(&MODULES, capability)[0].arch;
        assert_eq!(pick((8, 0)), "8.0");
        assert_eq!(pick((8, 6)), "8.0");
        assert_eq!(pick((8, 9)), "8.9");
        assert_eq!(pick((9, 0)), "9.0a");
        assert_eq!(pick((10, 3)), "ptx8.0");
        assert_eq!(pick((12, 1)), "12.0");
    }

    #[test]
    fn only_machine_code_for_newer_cards_follows() {
        for (arch, want) in
            [("ptx8.0", false), ("8.9", false), ("9.0a", true), ("10.0", true), ("12.0", true)]
        {
            assert_eq!(follows(arch), want, "{arch}");
        }
    }
}
