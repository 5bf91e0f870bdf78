//! From the table of kernels to images: one job for each file and target, in processes of their own, because NVRTC
//! compiles one program at a time within a process.

use crate::{
    Result, args,
    cache::{self, Entry},
    kernel::Kernel,
    log,
    nvrtc::{Nvrtc, Source},
    search::Found,
    target::{Request, Target},
};
use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
};

/// One file for one target.
pub(crate) struct Job {
    pub(crate) file: &'static str,
    pub(crate) target: Target,
    /// With the checks of the twins appended.
    text: String,
    headers: Vec<(String, String)>,
    kernels: Vec<Kernel>,
    options: Vec<String>,
}

impl Job {
    fn new(file: &'static str, target: Target) -> Result<Job> {
        let (mut text, headers) = sources(file)?;
        for &(header, twin, bytes) in args::TWINS {
            if header == file || headers.iter().any(|(name, _)| name == header) {
                text += &format!("\nstatic_assert(sizeof({twin}) == {bytes}, \"{twin} in src/args.rs\");");
            }
        }
        let kernels = Kernel::all().into_iter().filter(|kernel| kernel.file() == file).collect();
        // With -default-device lambdas need no annotation.
        let options = ["-std=c++20", "-default-device", "--ptxas-options=-v"].map(str::to_owned);
        let options = options.into_iter().chain([target.option()]).collect();
        Ok(Job { file, target, text, headers, kernels, options })
    }

    fn expressions(&self) -> Vec<String> {
        self.kernels.iter().map(|kernel| kernel.expression()).collect()
    }

    /// The name of the result in the cache: a hash of all that it depends on.
    fn key(&self, nvrtc: &Nvrtc) -> Result<String> {
        let library = &nvrtc.found().library;
        let bytes = fs::metadata(library).map_err(|error| format!("{}: {error}", library.display()))?.len();
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| part(&mut hasher, text);
        part(&format!("{} {:?} {bytes}", self.file, nvrtc.version()));
        part(&self.text);
        self.headers.iter().flat_map(|(name, text)| [name, text]).for_each(|text| part(text));
        self.options.iter().for_each(|option| part(option));
        self.kernels.iter().for_each(|kernel| part(&kernel.expression()));
        Ok(hasher.finalize().to_hex().as_str()[..32].to_owned())
    }

    /// Compiles, and refuses what the assembler's log tells against.
    fn run(&self, nvrtc: &Nvrtc, entry: &Entry) -> Result<()> {
        let source = Source { name: self.file, text: &self.text, headers: &self.headers };
        let expressions = self.expressions();
        let compiled = nvrtc.compile(&source, &expressions, &self.options, self.target.is_ptx())?;
        let name = |symbol: &str| {
            let at = compiled.symbols.iter().position(|s| s == symbol);
            at.map_or_else(|| symbol.to_owned(), |at| expressions[at].clone())
        };
        let complaints = log::complaints(&compiled.log, &name);
        if !complaints.is_empty() {
            return Err(complaints.join("\n").into());
        }
        entry.write(&compiled.image, &compiled.symbols, &compiled.log)
    }
}

/// A hash of the sources of all products of matrices: what was measured with others says nothing of these.
pub(crate) fn products_hash() -> Result<String> {
    let kernels: Vec<_> = Kernel::all().into_iter().filter(|kernel| kernel.is_matmul()).collect();
    let files: BTreeSet<_> = kernels.iter().map(|kernel| kernel.file()).collect();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let (text, headers) = sources(file)?;
        part(&mut hasher, &text);
        headers.iter().flat_map(|(name, text)| [name, text]).for_each(|text| part(&mut hasher, text));
    }
    kernels.iter().for_each(|kernel| part(&mut hasher, &kernel.expression()));
    Ok(hasher.finalize().to_hex().as_str()[..16].to_owned())
}

/// The length goes first, so that no two lists of parts give the same bytes.
fn part(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
}

/// Images of every file for every target: from the cache, or compiled in as many processes as there are cores.
pub(crate) fn all(nvrtc: &Nvrtc, targets: &[Target], folder: &Path) -> Result<Vec<Entry>> {
    fs::create_dir_all(folder)?;
    let files: BTreeSet<_> =
        Kernel::all().into_iter().map(|kernel| (kernel.file(), kernel.only_on())).collect();
    let (mut entries, mut left) = (Vec::new(), Vec::new());
    for (file, only_on) in files {
        for target in targets.iter().filter(|target| target.has(only_on)) {
            let job = Job::new(file, *target)?;
            let entry = Entry::new(folder, job.key(nvrtc)?, file, target.name());
            if !entry.exists() {
                left.push((job, entry.clone()));
            }
            entries.push(entry);
        }
    }
    let left = Mutex::new(left);
    let failures = Mutex::new(Vec::new());
    let work = || {
        // A thread that panicked has said so; what it left is still to be done.
        let next = || left.lock().unwrap_or_else(|e| e.into_inner()).pop();
        while let Some((job, entry)) = next() {
            if let Err(error) = spawn(nvrtc.found(), &job, &entry) {
                failures.lock().unwrap_or_else(|e| e.into_inner()).push(error.to_string());
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let failures = failures.into_inner().unwrap_or_else(|e| e.into_inner());
    if !failures.is_empty() {
        return Err(failures.join("\n").into());
    }
    cache::remove_all_but(folder, &entries)?;
    Ok(entries)
}

fn spawn(found: &Found, job: &Job, entry: &Entry) -> Result<()> {
    let output = Command::new(env::current_exe()?)
        .arg(&found.library)
        .arg(found.builtins.as_deref().unwrap_or(Path::new("")))
        .args([job.file, &job.target.name()])
        .arg(entry.stem())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let (file, target) = (job.file, job.target.name());
    Err(format!("{file} for {target}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

/// The other end of [`spawn`].
pub(crate) fn worker(args: &[String]) -> Result<()> {
    let [library, builtins, file, target, stem] = args else { return Err("worker: five arguments".into()) };
    let builtins = (!builtins.is_empty()).then(|| PathBuf::from(builtins));
    let nvrtc = Nvrtc::open(&Found { library: library.into(), builtins })?;
    let known = Kernel::all().into_iter().map(Kernel::file).find(|name| name == file);
    let (Some(file), Request::List(targets)) = (known, Request::parse(target)?) else {
        return Err(format!("worker: no {file} for {target}").into());
    };
    Job::new(file, targets[0])?.run(&nvrtc, &Entry::at(stem.into(), file, target.clone()))
}

/// The text of a file, and the headers that it needs.
fn sources(file: &str) -> Result<(String, Vec<(String, String)>)> {
    let mut headers = vec![("facts.cuh".to_owned(), facts())];
    let text = read(file)?;
    collect_headers(&text, &mut headers)?;
    Ok((text, headers))
}

/// The header that is made from `src/args.rs`.
fn facts() -> String {
    let lines = args::FACTS.iter().map(|(name, value)| format!("constexpr u32 {name} = {value};\n"));
    lines.collect()
}

/// Adds the headers that `text` includes, and those that they include.
fn collect_headers(text: &str, headers: &mut Vec<(String, String)>) -> Result<()> {
    for line in text.lines() {
        let Some(name) = line.trim().strip_prefix("#include \"").and_then(|rest| rest.split('"').next())
        else {
            continue;
        };
        if headers.iter().all(|(known, _)| known != name) {
            let text = read(name)?;
            headers.push((name.to_owned(), text.clone()));
            collect_headers(&text, headers)?;
        }
    }
    Ok(())
}

fn read(file: &str) -> Result<String> {
    Ok(fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?)
}
