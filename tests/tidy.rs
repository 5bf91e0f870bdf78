//! What must be true of the sources: every public op is proved, says what its backward keeps, and has an example or
//! names the op that has one.

use proptest::prelude::*;
use std::{collections::BTreeSet, fs, path::Path};
use taut::saved;
use taut_tests::{At, Check, Suite, fail, ops};

pub(crate) fn trials(suite: &mut Suite) {
    // The sources are not part of a bundle.
    if Path::new(OPS).is_dir() {
        suite.cpu("tidy::every_op_is_in_the_registry", every_op_is_in_the_registry);
        suite.cpu("tidy::every_op_says_what_backward_keeps", every_op_says_what_backward_keeps);
    }
}

const OPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/taut/src/ops");

/// Methods that name another op and are tested beside it: `sub_scalar` is `add_scalar` of the negative, `unary` what
/// all unary ops are.
const NO_ENTRY: &[&str] = &[
    "unary",
    "unary_",
    "binary",
    "binary_",
    "reduce",
    "scan",
    "sub_scalar",
    "copy",
    "copy_",
    "linear_cross_entropy",
];

/// A public method of the folder of ops, with its documentation.
struct Method {
    name: String,
    docs: String,
    /// Whether it is a function of a module: of lists of tensors, which have tests of their own.
    is_free: bool,
}

fn methods() -> Result<Vec<Method>, TestCaseError> {
    let io = |error: std::io::Error| fail(format!("{OPS}: {error}"));
    let mut methods = Vec::new();
    let mut folders = vec![Path::new(OPS).to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut docs = String::new();
            for whole in fs::read_to_string(path).map_err(io)?.lines() {
                let line = whole.trim();
                if let Some(doc) = line.strip_prefix("///") {
                    docs += doc.trim();
                    docs.push(' ');
                } else if let Some(rest) = line.strip_prefix("pub fn ") {
                    let name = rest.split(['(', '<']).next().unwrap_or_default().to_owned();
                    let is_free = whole.starts_with("pub fn ");
                    methods.push(Method { name, docs: std::mem::take(&mut docs), is_free });
                } else if !line.starts_with('#') {
                    docs.clear();
                }
            }
        }
    }
    Ok(methods)
}

/// The registry proves every method; those in place by the twin of the one without the `_`.
fn every_op_is_in_the_registry(_: &At) -> Check {
    let entries = ops::all();
    let entries: BTreeSet<&str> = entries.iter().map(|op| op.method()).collect();
    let methods = methods()?;
    prop_assert!(methods.len() > 20, "found only {}", methods.len());
    let known = |name: &str| entries.contains(name) || NO_ENTRY.contains(&name);
    let missing = methods.iter().filter(|m| !m.is_free);
    let missing = missing.filter(|m| !known(&m.name) && !known(m.name.trim_end_matches('_')));
    let missing: Vec<&str> = missing.map(|method| &*method.name).collect();
    prop_assert!(missing.is_empty(), "without an entry in tests/src/ops: {:?}", missing);
    Ok(())
}

/// Ops of the table of saved-sets say it in their documentation, and no other op speaks of a backward.
fn every_op_says_what_backward_keeps(_: &At) -> Check {
    for Method { name, docs, is_free } in methods()? {
        prop_assert!(
            !docs.is_empty() && docs.contains("# Errors"),
            "{}: the documentation names no errors",
            name
        );
        if is_free {
            continue;
        }
        let says = docs.contains("Backward keeps ");
        match saved(&name) {
            Some(set) => {
                prop_assert!(says, "{}: the documentation does not say that backward keeps {:?}", name, set)
            }
            None if name.ends_with('_') => {}
            None => prop_assert!(
                !docs.contains("Backward keeps"),
                "{}: has no row in the table of saved-sets",
                name
            ),
        }
    }
    Ok(())
}
