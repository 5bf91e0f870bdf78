//! Tuning: products of the group `products`, or of a file, timed in all of their ways, and the table of those that won.

use crate::{
    Bench,
    products::{self, Case},
    progress::Progress,
    table::Table,
};
use std::{fs, path::Path, time::Duration};
use taut::{Error, Result};

/// Times the products, keeps the table in the file `out`, which is whole after every product, and prints what was gained.
/// `shapes` is a file with a line for each product, as the tables of the group name them: `512 x 4096 x 4096, NT, bf16`.
///
/// # Errors
///
/// [`Device`](taut::ErrorKind::Device) without a card, [`Corrupt`](taut::ErrorKind::Corrupt), naming the line, if `shapes` has one
/// that is no product; [`Driver`](taut::ErrorKind::Driver) if a file can not be read or written; as
/// [`tune`](taut::Device::tune).
pub fn measure(bench: &Bench, shapes: Option<&Path>, out: &Path) -> Result<()> {
    let device = bench.device.fresh()?;
    if !device.is_cuda() {
        return Err(Error::device(format!("tune: {device} has one way for a product; there must be a card")));
    }
    let mut cases = match shapes {
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|error| Error::driver(format!("tune: {}: {error}", path.display())))?;
            of_text(&text).map_err(|error| Error::corrupt(format!("tune: {}: {error}", path.display())))?
        }
        None => products::cases(bench),
    };
    // Products of a list run in launches of their own, which are not tuned.
    cases.retain(|case| !case.is_list());
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)
        .map_err(|error| Error::driver(format!("tune: {}: {error}", folder.display())))?;

    let mut tuning = device.tune(|| Ok(()))?.tuning;
    let mut table = Table::new(format!("tuning, {device}")).names("product").numbers("ways");
    table = table.numbers("default us").numbers("tuned us").numbers("gain").names("way");
    let mut gains = Vec::new();
    let mut progress = Progress::new("tuning", cases.len() as u64);
    for case in &cases {
        let name = case.name();
        progress.step(&name);
        // All of the factors at once, so that tuning may have as much.
        let tuned = device.tune(|| {
            let sets = case.sets(&device)?;
            sets.iter().try_for_each(|factors| case.multiply(factors).map(drop))
        })?;
        for trial in &tuned.trials {
            let [model, best] = [trial.model.1, trial.best.1].map(|time| time.as_secs_f64());
            let us = |time: Duration| format!("{:.1}", 1e6 * time.as_secs_f64());
            let won = trial.best.0 != trial.model.0;
            let way = if won { trial.best.0.to_string() } else { "as by default".to_owned() };
            let gain = format!("{:.1} %", 100.0 * (model / best - 1.0));
            let times = [us(trial.model.1), us(trial.best.1)];
            table.row([name.clone(), trial.ways.to_string()].into_iter().chain(times).chain([gain, way]));
            gains.push(model / best);
        }
        tuned.tuning.iter().for_each(|(product, pick)| tuning.insert(*product, *pick));
        tuning.write(out)?;
        progress.advance(1);
    }
    drop(progress);
    println!("{table}");
    let mean = (gains.iter().map(|gain: &f64| gain.ln()).sum::<f64>() / gains.len().max(1) as f64).exp();
    let (won, all) = (tuning.len(), gains.len());
    println!(
        "{won} of {all} products are faster another way; all of them by {:.1} % at the geometric mean",
        100.0 * (mean - 1.0)
    );
    println!("{}", out.display());
    Ok(())
}

/// The cases of a text, one in a line; empty lines and those that begin with `#` say nothing. Else what is wrong where.
fn of_text(text: &str) -> Result<Vec<Case>, String> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            Case::parse(line).ok_or_else(|| {
                format!("line {number}: {line:?} is no product; one is `512 x 4096 x 4096, NT, bf16`")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_product_is_named() {
        let cases =
            of_text("# m x n x k\n\n 16 x 4096 x 4096, NT, f16 \n8 x 64 x 64 x 64, NN, tf32\n").unwrap();
        let names = cases.iter().map(Case::name).collect::<Vec<_>>();
        assert_eq!(names, ["16 x 4096 x 4096, NT, f16", "8 x 64 x 64 x 64, NN, tf32"]);
        let error = of_text("16 x 4096 x 4096, NT, f16\n16 4096 4096\n").unwrap_err();
        assert!(error.contains("line 2: \"16 4096 4096\""), "{error}");
    }
}
