//! One run of the bench program: the device, the options, and what was measured so far.

use crate::{
    figures::{Figure, Machine, Report, commit},
    progress::Progress,
    table::tables,
    timeline::Recorded,
};
use std::path::PathBuf;
use taut::{Device, Result};

/// One run.
#[derive(Debug)]
pub struct Bench {
    /// Where the work runs.
    pub device: Device,
    /// Whether to end within two minutes on two cores.
    pub quick: bool,
    /// The ops whose throughput is measured, by their methods' names; all if there are none.
    pub ops: Vec<String>,
    /// The folder of the real inputs.
    pub data: PathBuf,
    /// Whether timelines are kept.
    pub timeline: bool,
    /// Those of the works so far, if they are.
    pub timelines: Vec<Recorded>,
    /// All figures so far.
    pub report: Report,
}

impl Bench {
    /// A run on `device` that has measured nothing yet.
    pub fn new(device: Device, quick: bool, data: PathBuf) -> Bench {
        let mut machine = Machine::here();
        if let Some(gpu) = device.gpu() {
            machine.gpu = Some(gpu.card().name.clone());
            machine.driver = gpu.driver_version();
            machine.cuda = gpu.cuda_version();
        }
        let report = Report::new(machine, commit());
        Bench { device, quick, ops: Vec::new(), data, timeline: false, timelines: Vec::new(), report }
    }

    /// The device's name in figures.
    pub fn device_name(&self) -> &'static str {
        if self.device.is_cuda() { "cuda" } else { "cpu" }
    }

    /// Takes up figures.
    pub fn add(&mut self, figures: impl IntoIterator<Item = Figure>) {
        self.report.figures.extend(figures);
    }

    /// Measures one group of `steps` steps with a progress bar, and prints its tables.
    pub fn group(
        &mut self,
        name: &str,
        steps: usize,
        measure: impl FnOnce(&mut Bench, &mut Progress) -> Result<()>,
    ) -> Result<()> {
        let before = self.report.figures.len();
        let mut progress = Progress::new(name, steps as u64);
        measure(self, &mut progress)?;
        drop(progress);
        let new: Vec<&Figure> = self.report.figures[before..].iter().collect();
        for mut table in tables(&new) {
            table.title = format!("\n{name}, {}", self.device);
            println!("{table}");
        }
        Ok(())
    }
}
