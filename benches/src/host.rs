//! The group `host`: what an op costs before the device does anything.

use crate::{Bench, figures::criterion, page::Section};
use std::path::Path;
use taut::{Error, Result};

/// The name of the group.
pub const GROUP: &str = "host";

/// Takes up what criterion measured in `folder`.
pub fn measure(bench: &mut Bench, folder: &Path) -> Result<()> {
    let found = criterion(folder, GROUP).map_err(|e| Error::driver(format!("host: reading {e}")))?;
    bench.group(GROUP, 0, |bench, _| {
        bench.add(found);
        Ok(())
    })
}

/// This group's part of the page.
pub fn section(bench: &Bench) -> Section {
    let intro =
        "Time on the host before the device does anything: the pool, the dispatch of an op, a whole plan.";
    Section::new(GROUP, "Host", intro).with_figures(&bench.report)
}
