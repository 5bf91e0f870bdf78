//! The real inputs: that programs look where `cargo xtask setup` puts them, and that the golden embeddings are whole.

use proptest::prelude::*;
use std::{collections::BTreeSet, fs, path::Path};
use taut_tests::{At, Check, Suite, embeddings, fail, inputs};

pub(crate) fn trials(suite: &mut Suite) {
    // The sources are not part of a bundle.
    if Path::new(REQUIREMENTS).is_dir() {
        suite.cpu("inputs::folders_have_the_pinned_versions", folders_have_the_pinned_versions);
    }
    suite.cpu("inputs::embeddings_are_of_every_length", embeddings_are_of_every_length);
    suite.cpu("inputs::embeddings_are_unit_vectors", embeddings_are_unit_vectors);
    suite.with_inputs(&[inputs::SHAKESPEARE], |suite| {
        suite.cpu("inputs::the_real_texts_are_where_the_golden_file_says", texts_are_there);
    });
}

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/requirements");

fn folders_have_the_pinned_versions(_: &At) -> Check {
    for folder in [inputs::MINILM, inputs::SHAKESPEARE] {
        let (name, version) = folder.split_once('-').ok_or_else(|| fail(folder))?;
        let path = format!("{REQUIREMENTS}/{name}.txt");
        let pins = fs::read_to_string(&path).map_err(|e| fail(format!("{path}: {e}")))?;
        let pinned = pins.split_whitespace().find_map(|word| Some(word.split_once("==")?.1));
        prop_assert_eq!(pinned, Some(version), "{}", path);
    }
    Ok(())
}

fn embeddings_are_of_every_length(_: &At) -> Check {
    let golden = embeddings()?;
    prop_assert_eq!(golden.len(), 1200);
    let place = |i: usize| (golden[i].work, golden[i].first_line, golden[i].n_lines);
    prop_assert!((1..golden.len()).all(|i| place(i - 1) < place(i)), "sorted, none twice");
    let lengths: BTreeSet<usize> = golden.iter().map(|e| e.n_tokens).collect();
    prop_assert_eq!(lengths, (2..=256).collect());
    let works: BTreeSet<usize> = golden.iter().map(|e| e.work).collect();
    prop_assert_eq!(works, (0..42).collect());
    Ok(())
}

fn embeddings_are_unit_vectors(_: &At) -> Check {
    for golden in embeddings()? {
        let values: Vec<f32> = golden.values.iter().map(|x| x.to_f32()).collect();
        prop_assert_eq!(values.len(), 384);
        let norm = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        prop_assert!((norm - 1.0).abs() < 6e-5, "norm {}", norm);
        let negated: Vec<f32> = values.iter().map(|x| -x).collect();
        let (same, opposite) = (golden.cosine(&values), golden.cosine(&negated));
        prop_assert!((same - 1.0).abs() < 1e-12 && (opposite + 1.0).abs() < 1e-12, "{} {}", same, opposite);
    }
    Ok(())
}

/// No token reaches over a space, so a text has at least as many as words.
fn texts_are_there(_: &At) -> Check {
    let folder = inputs::folder().join(inputs::SHAKESPEARE);
    let works = inputs::works(&folder).map_err(|e| fail(e.to_string()))?;
    for golden in embeddings()? {
        let text = golden.text(&works).ok_or_else(|| fail(format!("no such lines: {golden:?}")))?;
        let words = text.split_whitespace().count();
        prop_assert!(words.min(254) + 2 <= golden.n_tokens, "{} words, {:?}", words, golden);
        prop_assert_eq!(words == 0, golden.n_tokens == 2, "{:?}", text);
    }
    Ok(())
}
