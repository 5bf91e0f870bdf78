//! Starting Cargo and what it built.

use crate::{
    failure::{Failure, Result},
    place::Place,
    setup::Kernels,
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

/// A Cargo command in this workspace that compiles these kernels.
pub(crate) fn cargo(place: &Place, kernels: &Kernels) -> Command {
    // Cargo names itself to what it starts, so a chosen toolchain stays chosen.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&place.root);
    match kernels {
        Kernels::None => cargo.env("TAUT_ARCHS", "none"),
        Kernels::Given => &mut cargo,
        Kernels::Fetched(library) => cargo.env("TAUT_NVRTC", library),
    };
    cargo
}

/// Is this run of an automatic check?
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| matches!(ci.as_str(), "true" | "1"))
}

/// Runs a command to its end, on our terminal.
pub(crate) fn status(command: &mut Command, doing: &str) -> Result<()> {
    let status = command.status().map_err(|e| not_started(command, doing, &e))?;
    match status.success() {
        true => Ok(()),
        false => {
            Err(Failure::new(doing, format!("{} ended with {status}", name(command)))
                .with_status(status.code()))
        }
    }
}

/// Runs a Cargo command that builds, and returns the program of the target `name`.
pub(crate) fn executable(cargo: &mut Command, name: &str) -> Result<PathBuf> {
    let doing = format!("building {name}");
    cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child = cargo.spawn().map_err(|e| not_started(cargo, &doing, &e))?;
    let mut program = None;
    for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        let line = line.map_err(|e| Failure::io(&doing, &e))?;
        program = artifact(&line, name).or(program);
    }
    let status = child.wait().map_err(|e| Failure::io(&doing, &e))?;
    if !status.success() {
        return Err(Failure::new(doing, format!("cargo ended with {status}")).with_status(status.code()));
    }
    program.ok_or_else(|| Failure::new(doing, format!("no package has a program of the name {name}")))
}

/// The program that one line of Cargo's messages tells of, if it is that of the target `name`.
fn artifact(line: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_program = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
    is_program.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
}

fn not_started(command: &Command, doing: &str, error: &std::io::Error) -> Failure {
    Failure::new(doing, format!("{} did not start: {error}", name(command)))
}

fn name(command: &Command) -> String {
    PathBuf::from(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_the_messages() {
        let artifact_of = |line| artifact(line, "taut");
        let test = r#"{"reason":"compiler-artifact","target":{"name":"taut"},"executable":"/t/taut-1"}"#;
        assert_eq!(artifact_of(test), Some("/t/taut-1".into()));
        let library = r#"{"reason":"compiler-artifact","target":{"name":"taut"},"executable":null}"#;
        assert_eq!(artifact_of(library), None);
        assert_eq!(artifact_of(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(artifact_of("not json"), None);
    }
}
