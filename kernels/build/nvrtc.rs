//! The compiler library, opened at build time: the dozen functions that are needed, and no header.
#![allow(unsafe_code)]

use crate::{Result, search, search::Found};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use std::{
    error::Error,
    ffi::{CStr, CString, c_char, c_int},
    fs, ptr,
};

/// `nvrtcProgram`.
type Program = *mut std::ffi::c_void;
/// `nvrtcResult`; 0 is success.
type Code = c_int;

type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> Code;
type Describe = unsafe extern "C" fn(Code) -> *const c_char;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> Code;
type Destroy = unsafe extern "C" fn(*mut Program) -> Code;
type AddName = unsafe extern "C" fn(Program, *const c_char) -> Code;
type Lowered = unsafe extern "C" fn(Program, *const c_char, *mut *const c_char) -> Code;
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Code;
type Size = unsafe extern "C" fn(Program, *mut usize) -> Code;
type Get = unsafe extern "C" fn(Program, *mut c_char) -> Code;
type Count = unsafe extern "C" fn(*mut c_int) -> Code;
type Archs = unsafe extern "C" fn(*mut c_int) -> Code;

/// An open NVRTC.
pub(crate) struct Nvrtc {
    library: Library,
    // Must stay open: the compiler finds it by its name among the loaded libraries.
    _builtins: Option<Library>,
    found: Found,
    version: (c_int, c_int),
}

/// A source text with its headers, by their names in `#include "..."`.
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    pub(crate) headers: &'a [(String, String)],
}

/// What comes out of a compilation.
pub(crate) struct Compiled {
    /// A cubin, or PTX that ends in NUL.
    pub(crate) image: Vec<u8>,
    /// The symbols of the expressions, in their order.
    pub(crate) symbols: Vec<String>,
    pub(crate) log: String,
}

/// NVRTC as the loader finds it.
pub(crate) fn on_loader_path() -> Option<Found> {
    let open = |name: &&str| {
        let name = *name;
        // SAFETY: NVRTC's initializers have no requirement.
        unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) }.ok()
    };
    let library = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"].iter().find_map(open)?;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .find(|p| p.contains("libnvrtc.so"));
    let found = path.map(|path| search::at(path.as_ref()));
    drop(library);
    found
}

impl Nvrtc {
    pub(crate) fn open(found: &Found) -> Result<Nvrtc> {
        let open = |path: &std::path::Path| {
            // SAFETY: NVRTC's initializers have no requirement.
            unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
                .map_err(|error| format!("{}: {}", path.display(), error.source().unwrap_or(&error)))
        };
        let builtins = found.builtins.as_deref().map(open).transpose()?;
        let library = open(&found.library)?;
        let mut nvrtc = Nvrtc { library, _builtins: builtins, found: found.clone(), version: (0, 0) };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both are valid places for an int.
        let code = unsafe { nvrtc.function::<Version>(c"nvrtcVersion")?(&mut major, &mut minor) };
        nvrtc.check(code, "version")?;
        nvrtc.version = (major, minor);
        Ok(nvrtc)
    }

    pub(crate) fn found(&self) -> &Found {
        &self.found
    }

    pub(crate) fn version(&self) -> (c_int, c_int) {
        self.version
    }

    /// The compute capabilities that it makes machine code for: 90 for 9.0.
    pub(crate) fn supported(&self) -> Result<Vec<u32>> {
        let mut count = 0;
        // SAFETY: `count` is a valid place for an int.
        self.check(unsafe { self.function::<Count>(c"nvrtcGetNumSupportedArchs")?(&mut count) }, "archs")?;
        let mut archs = vec![0; usize::try_from(count)?];
        // SAFETY: there is room for as many numbers as the library just said.
        let code = unsafe { self.function::<Archs>(c"nvrtcGetSupportedArchs")?(archs.as_mut_ptr()) };
        self.check(code, "archs")?;
        Ok(archs.into_iter().filter_map(|arch| u32::try_from(arch).ok()).collect())
    }

    /// Compiles the instances that `expressions` name, to machine code or to PTX.
    pub(crate) fn compile(
        &self,
        source: &Source<'_>,
        expressions: &[String],
        options: &[String],
        ptx: bool,
    ) -> Result<Compiled> {
        let program = self.create(source)?;
        let expressions = c_strings(expressions)?;
        let options = c_strings(options)?;
        for expression in &expressions {
            // SAFETY: the program is alive, and the text ends in NUL.
            let code = unsafe {
                self.function::<AddName>(c"nvrtcAddNameExpression")?(program.0, expression.as_ptr())
            };
            self.check(code, "name expression")?;
        }
        let pointers: Vec<_> = options.iter().map(|option| option.as_ptr()).collect();
        let count = c_int::try_from(pointers.len())?;
        // SAFETY: the program is alive, and there are `count` texts that end in NUL.
        let code =
            unsafe { self.function::<Compile>(c"nvrtcCompileProgram")?(program.0, count, pointers.as_ptr()) };
        let log = self.bytes(&program, c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog")?;
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
        self.check(code, source.name).map_err(|error| format!("{error}\n{log}"))?;

        let image = if ptx {
            self.bytes(&program, c"nvrtcGetPTXSize", c"nvrtcGetPTX")?
        } else {
            self.bytes(&program, c"nvrtcGetCUBINSize", c"nvrtcGetCUBIN")?
        };
        let symbols = expressions.iter().map(|e| self.lowered(&program, e)).collect::<Result<_>>()?;
        Ok(Compiled { image, symbols, log })
    }

    fn create(&self, source: &Source<'_>) -> Result<Owned<'_>> {
        let (name, text) = (CString::new(source.name)?, CString::new(source.text)?);
        let names = source
            .headers
            .iter()
            .map(|(name, _)| CString::new(name.as_str()))
            .collect::<Result<Vec<_>, _>>()?;
        let texts = source
            .headers
            .iter()
            .map(|(_, text)| CString::new(text.as_str()))
            .collect::<Result<Vec<_>, _>>()?;
        let names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let texts: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        let mut program = ptr::null_mut();
        let create = self.function::<Create>(c"nvrtcCreateProgram")?;
        let count = c_int::try_from(names.len())?;
        // SAFETY: all texts end in NUL and live through the call, which copies them; the arrays have `count` entries.
        let code = unsafe {
            create(&mut program, text.as_ptr(), name.as_ptr(), count, texts.as_ptr(), names.as_ptr())
        };
        self.check(code, "create program")?;
        Ok(Owned(program, self))
    }

    fn lowered(&self, program: &Owned<'_>, expression: &CStr) -> Result<String> {
        let mut name = ptr::null();
        // SAFETY: the program is alive and compiled, and the text ends in NUL.
        let code = unsafe {
            self.function::<Lowered>(c"nvrtcGetLoweredName")?(program.0, expression.as_ptr(), &mut name)
        };
        self.check(code, "lowered name")?;
        // SAFETY: on success the library gives a text that lives as long as the program.
        Ok(unsafe { CStr::from_ptr(name) }.to_str()?.to_owned())
    }

    fn bytes(&self, program: &Owned<'_>, size: &CStr, get: &CStr) -> Result<Vec<u8>> {
        let mut len = 0;
        // SAFETY: the program is alive, and `len` a valid place for a size.
        self.check(unsafe { self.function::<Size>(size)?(program.0, &mut len) }, "size")?;
        if len == 0 {
            return Err(format!("NVRTC made nothing for {size:?}").into());
        }
        let mut bytes = vec![0u8; len];
        // SAFETY: there is room for as many bytes as the library just said.
        self.check(unsafe { self.function::<Get>(get)?(program.0, bytes.as_mut_ptr().cast()) }, "result")?;
        Ok(bytes)
    }

    /// The function `name` of the library. `F` must be its type: each use in this file names the one in `nvrtc.h`.
    fn function<F: Copy>(&self, name: &CStr) -> Result<F> {
        // SAFETY: by the rule above.
        let symbol: Symbol<F> = unsafe { self.library.get(name.to_bytes_with_nul()) }?;
        Ok(*symbol)
    }

    fn check(&self, code: Code, doing: &str) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: takes any code, and gives a static text.
        let text = unsafe { CStr::from_ptr(self.function::<Describe>(c"nvrtcGetErrorString")?(code)) };
        Err(format!("NVRTC: {doing}: {}", text.to_string_lossy()).into())
    }
}

/// A program that is destroyed in the end.
struct Owned<'a>(Program, &'a Nvrtc);

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        if let Ok(destroy) = self.1.function::<Destroy>(c"nvrtcDestroyProgram") {
            // SAFETY: the program is alive, and not used after this.
            unsafe { destroy(&mut self.0) };
        }
    }
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>> {
    Ok(texts.iter().map(|text| CString::new(text.as_str())).collect::<Result<_, _>>()?)
}
