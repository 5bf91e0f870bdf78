//! What criterion measured, as figures.

use super::Figure;
use serde::Deserialize;
use serde_json::from_slice;
use std::{fs, io, path::Path};

/// `benchmark.json`: which bench it was.
#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
}

/// `sample.json`: how long (in ns) how many calls took.
#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// The time of one call of every criterion bench under `folder` (a `CRITERION_HOME`), in seconds, as figures
/// of `group`, sorted by name. No folder, no figures.
///
/// # Errors
///
/// Those of the file system, and [`InvalidData`](io::ErrorKind::InvalidData) for a file that criterion did
/// not write; both name the path.
pub fn criterion(folder: &Path, group: &str) -> io::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    walk(folder, group, &mut figures)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", folder.display())))?;
    figures.sort_by(|a, b| a.work.cmp(&b.work));
    Ok(figures)
}

/// Each bench has a folder, as deep as its name, whose `new/` is the last run.
fn walk(folder: &Path, group: &str, figures: &mut Vec<Figure>) -> io::Result<()> {
    let new = folder.join("new");
    if new.join("sample.json").exists() {
        let benchmark: Benchmark = from_slice(&fs::read(new.join("benchmark.json"))?)?;
        let sample: Sample = from_slice(&fs::read(new.join("sample.json"))?)?;
        let seconds = sample.times.iter().zip(&sample.iters).map(|(ns, calls)| 1e-9 * ns / calls).collect();
        figures.push(Figure::new([group, &benchmark.full_id, "cpu", "time"], "s", seconds));
        return Ok(());
    }
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, group, figures)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_one_call() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(criterion(&home.path().join("none"), "host").unwrap(), []);

        let new = home.path().join("pool/allocate/new");
        fs::create_dir_all(&new).unwrap();
        fs::write(new.join("benchmark.json"), r#"{"group_id":"pool","full_id":"pool/allocate"}"#).unwrap();
        let sample = r#"{"sampling_mode":"Linear","iters":[10.0,20.0,30.0],"times":[1000.0,2200.0,2700.0]}"#;
        fs::write(new.join("sample.json"), sample).unwrap();
        let figures = criterion(home.path(), "host").unwrap();
        assert_eq!(figures.len(), 1);
        assert_eq!((figures[0].work.as_str(), figures[0].text().as_str()), ("pool/allocate", "100 ns"));
        assert!((figures[0].max - 110e-9).abs() < 1e-12);

        fs::write(new.join("sample.json"), "damaged").unwrap();
        assert_eq!(criterion(home.path(), "host").unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
