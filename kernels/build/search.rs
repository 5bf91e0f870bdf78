//! Where NVRTC is looked for.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The variables that the search reads.
pub(crate) const VARIABLES: [&str; 3] = ["TAUT_NVRTC", "CUDA_HOME", "CUDA_PATH"];

/// The compiler library, and its companion, which it does not find by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) library: PathBuf,
    pub(crate) builtins: Option<PathBuf>,
}

/// All that the search depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// `TAUT_NVRTC`: the library or a folder. Given, nothing else is searched.
    pub(crate) explicit: Option<PathBuf>,
    /// Roots of CUDA toolkits that variables name.
    pub(crate) named: Vec<(&'static str, PathBuf)>,
    /// The folders that `python3` imports from.
    pub(crate) python: Vec<PathBuf>,
    /// Roots of CUDA toolkits in their usual places.
    pub(crate) usual: Vec<PathBuf>,
}

/// Folders of libraries within a toolkit.
const TOOLKIT: [&str; 3] = ["lib64", "lib", "targets/x86_64-linux/lib"];

/// Folders of libraries within python's packages: wheels for CUDA 13, wheels for CUDA 12.
const WHEELS: [&str; 2] = ["nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"];

pub(crate) fn surroundings() -> Surroundings {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let explicit = variable("TAUT_NVRTC");
    let named =
        ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(|name| Some((name, variable(name)?))).collect();
    let python = if explicit.is_some() { Vec::new() } else { python_path() };
    Surroundings { explicit, named, python, usual: vec!["/usr/local/cuda".into(), "/opt/cuda".into()] }
}

impl Surroundings {
    /// The first NVRTC there is, or the places that were searched.
    pub(crate) fn search(&self) -> Result<Found, Vec<String>> {
        if let Some(path) = &self.explicit {
            let found = if path.is_file() { Some(at(path)) } else { in_folder_or_below(path) };
            return found.ok_or_else(|| vec![format!("TAUT_NVRTC={}", path.display())]);
        }
        let mut places = Vec::new();
        for (name, root) in &self.named {
            places.push(format!("{name}={}", root.display()));
            if let Some(found) = below(root, &TOOLKIT) {
                return Ok(found);
            }
        }
        if self.python.is_empty() {
            places.push("python3's packages (there is no python3)".into());
        }
        for root in &self.python {
            places.push(root.display().to_string());
            if let Some(found) = below(root, &WHEELS) {
                return Ok(found);
            }
        }
        for root in &self.usual {
            places.push(root.display().to_string());
            if let Some(found) = below(root, &TOOLKIT) {
                return Ok(found);
            }
        }
        places.push("the loader path".into());
        Err(places)
    }
}

fn in_folder_or_below(folder: &Path) -> Option<Found> {
    in_folder(folder).or_else(|| below(folder, &TOOLKIT)).or_else(|| below(folder, &WHEELS))
}

fn below(root: &Path, folders: &[&str]) -> Option<Found> {
    folders.iter().find_map(|folder| in_folder(&root.join(folder)))
}

fn in_folder(folder: &Path) -> Option<Found> {
    newest(folder, "libnvrtc.so").map(|library| at(&library))
}

/// The library with what lies beside it.
pub(crate) fn at(library: &Path) -> Found {
    let builtins = library.parent().and_then(|folder| newest(folder, "libnvrtc-builtins.so"));
    Found { library: library.into(), builtins }
}

/// Of the versions of a library in a folder, the one with the highest number: `libnvrtc.so.13` before `libnvrtc.so`.
fn newest(folder: &Path, stem: &str) -> Option<PathBuf> {
    let version = |path: &PathBuf| -> Option<Vec<u32>> {
        let rest = path.file_name()?.to_str()?.strip_prefix(stem)?;
        rest.split('.').filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect()
    };
    let files = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter_map(|path| Some((version(&path)?, path))).max().map(|(_, path)| path)
}

/// The folders that `python3` imports from, a virtual environment's first.
fn python_path() -> Vec<PathBuf> {
    let script = "import sys; print('\\n'.join(sys.path))";
    let output = Command::new("python3").args(["-c", script]).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter(|line| line.ends_with("-packages")).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of empty files, gone with the value.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str, files: &[&str]) -> Fake {
            let root = env::temp_dir().join(format!("taut-search-{}-{name}", std::process::id()));
            for file in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            Fake(root)
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn both_wheel_layouts_are_found_with_their_builtins() {
        let names = [
            "libnvrtc.so.12",
            "libnvrtc.alt.so.12",
            "libnvrtc-builtins.so.12.9",
            "libnvrtc-builtins.alt.so.12.9",
        ];
        let old: Vec<String> = names.iter().map(|n| format!("nvidia/cuda_nvrtc/lib/{n}")).collect();
        let fake = Fake::new("cu12", &old.iter().map(String::as_str).collect::<Vec<_>>());
        let found = Surroundings { python: vec![fake.0.clone()], ..Default::default() }.search().unwrap();
        assert_eq!(found.library, fake.0.join("nvidia/cuda_nvrtc/lib/libnvrtc.so.12"));
        assert_eq!(found.builtins, Some(fake.0.join("nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.9")));

        let fake = Fake::new("cu13", &["nvidia/cu13/lib/libnvrtc.so.13"]);
        let found = Surroundings { python: vec![fake.0.clone()], ..Default::default() }.search().unwrap();
        assert_eq!(found.library, fake.0.join("nvidia/cu13/lib/libnvrtc.so.13"));
        assert_eq!(found.builtins, None);
    }

    #[test]
    fn the_explicit_place_is_the_only_one() {
        let fake = Fake::new(
            "explicit",
            &["lib64/libnvrtc.so", "lib64/libnvrtc.so.12", "lib64/libnvrtc.so.12.9.86"],
        );
        let usual = vec![fake.0.clone()];
        let newest = fake.0.join("lib64/libnvrtc.so.12.9.86");
        for explicit in [fake.0.clone(), fake.0.join("lib64"), newest.clone()] {
            let found = Surroundings { explicit: Some(explicit), ..Default::default() }.search().unwrap();
            assert_eq!(found.library, newest);
        }
        let wrong = Surroundings { explicit: Some(fake.0.join("none")), usual, ..Default::default() };
        let places = wrong.search().unwrap_err();
        assert!(places.len() == 1 && places[0].starts_with("TAUT_NVRTC="), "{places:?}");
    }

    #[test]
    fn the_order_is_variables_python_usual_places() {
        let toolkit = Fake::new("toolkit", &["targets/x86_64-linux/lib/libnvrtc.so.12"]);
        let python = Fake::new("python", &["nvidia/cuda_nvrtc/lib/libnvrtc.so.12"]);
        let usual = Fake::new("usual", &["lib/libnvrtc.so.11.2"]);
        let mut around = Surroundings {
            explicit: None,
            named: vec![("CUDA_HOME", toolkit.0.clone())],
            python: vec![python.0.clone()],
            usual: vec![usual.0.clone()],
        };
        assert!(around.search().unwrap().library.starts_with(&toolkit.0));
        around.named[0].1 = "/nowhere".into();
        assert!(around.search().unwrap().library.starts_with(&python.0));
        around.python[0] = "/nowhere/site-packages".into();
        assert!(around.search().unwrap().library.starts_with(&usual.0));
        around.usual[0] = "/nowhere/cuda".into();
        let places = around.search().unwrap_err();
        assert_eq!(
            places,
            ["CUDA_HOME=/nowhere", "/nowhere/site-packages", "/nowhere/cuda", "the loader path"]
        );
    }
}
