//! What a pool did over time, as a trace for Perfetto and as charts for the page.

mod bands;
mod columns;
mod owners;
mod perfetto;

pub use bands::{Band, COLUMNS, Chart, Group, Owner, Run, Split};
pub use perfetto::trace;

use crate::{Bench, atomic, page::Section};
use std::{fs, io, path::Path};
use taut::memory::Timeline;

/// Events that are kept of a work: as many as the largest one has many times over.
pub const EVENTS: usize = 1 << 18;

/// The folder of the traces, beside the other results.
pub const FOLDER: &str = "timeline";

/// The timeline of a work.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What was done: a row of the tables.
    pub work: String,
    /// `cpu`, `cuda` or `plan`.
    pub device: String,
    /// What the pool did.
    pub timeline: Timeline,
}

impl Recorded {
    /// The name of its trace: `mlp-32-x-512-batch-2048-in-place-cpu.json`.
    pub fn file(&self) -> String {
        let name = format!("{} {}", self.work, self.device).to_lowercase();
        let words: Vec<&str> =
            name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        format!("{}.json", words.join("-"))
    }
}

/// Writes a trace for each timeline into [`FOLDER`] of this folder, in place of those of an earlier run.
///
/// # Errors
///
/// Those of the file system, naming the path.
pub fn write(folder: &Path, timelines: &[Recorded]) -> io::Result<()> {
    let folder = folder.join(FOLDER);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .map_err(|e| io::Error::new(e.kind(), format!("clearing {}: {e}", folder.display())))?;
    }
    timelines.iter().try_for_each(|recorded| {
        let title = format!("{}, {}", recorded.work, recorded.device);
        atomic::write(&folder.join(recorded.file()), trace(&title, &recorded.timeline).as_bytes())
    })
}

/// The timelines' part of the page, if there are any.
pub fn section(bench: &Bench) -> Option<Section> {
    let intro = "What lived when, from the making of the weights to the end of the first repetition. Each band is one owner: an op, \
        in a scope, for one kind of memory. Point at it for its bytes at that moment. The bands add up to the live bytes; the \
        line above them is what the pool had reserved.\n\n\
        The time is the host's, which on a card runs ahead of the work. A column shows the moment at which most was live in its \
        time, so that no peak is lost. Every event is in the trace, which ui.perfetto.dev and chrome://tracing open.";
    let mut section = Section::new("timeline", "Timeline", intro);
    section.timelines = bench.timelines.clone();
    (!section.timelines.is_empty()).then_some(section)
}

#[cfg(test)]
mod tests;
