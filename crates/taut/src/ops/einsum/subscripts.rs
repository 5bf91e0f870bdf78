//! What the subscripts of an einsum say of its operands.

use taut_core::{Error, Result, Shape};

/// An axis by its letter, or an axis of an ellipsis: [`ELLIPSIS`] plus its distance from the last of them.
pub(super) type Label = u8;

/// Above all letters.
const ELLIPSIS: Label = 128;

/// Whether an axis of this label may be 1 in one operand, which then is repeated along it.
pub(super) fn repeats(label: Label) -> bool {
    label >= ELLIPSIS
}

/// The labels of every axis.
#[derive(Debug, PartialEq)]
pub(super) struct Subscripts {
    /// Of each operand.
    pub(super) inputs: Vec<Vec<Label>>,
    /// Of the result.
    pub(super) output: Vec<Label>,
}

/// A label, for messages.
pub(super) fn name(label: Label) -> String {
    if label < ELLIPSIS { format!("'{}'", char::from(label)) } else { "an axis of '...'".to_owned() }
}

impl Subscripts {
    /// Reads `text` for operands of these shapes.
    pub(super) fn parse(text: &str, shapes: &[&Shape]) -> Result<Subscripts> {
        let refuse = |why: String| Error::shape(format!("einsum: {text:?}: {why}"));
        let spaceless: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match spaceless.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (&*spaceless, None),
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != shapes.len() {
            let (terms, operands) = (terms.len(), shapes.len());
            return Err(refuse(format!("has {terms} terms for {operands} operands")));
        }

        let mut inputs = Vec::new();
        for (term, shape) in terms.iter().zip(shapes) {
            let (before, behind) = letters(term).map_err(&refuse)?;
            let named = before.len() + behind.as_ref().map_or(0, Vec::len);
            let ellipsis = match &behind {
                Some(_) if named <= shape.rank() => shape.rank() - named,
                None if named == shape.rank() => 0,
                _ => return Err(refuse(format!("{term:?} has {named} letters, the operand is {shape}"))),
            };
            let axes = (0..ellipsis).rev().map(|axis| ELLIPSIS + axis as Label);
            let labels: Vec<Label> =
                before.into_iter().chain(axes).chain(behind.unwrap_or_default()).collect();
            if let Some(label) = twice(&labels) {
                let label = name(label);
                return Err(refuse(format!("{label} stands twice in {term:?}; diagonals are not taken")));
            }
            inputs.push(labels);
        }
        // The axes of the longest ellipsis.
        let mut all: Vec<Label> =
            inputs.iter().flatten().copied().filter(|&label| label >= ELLIPSIS).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.dedup();

        let output = match right {
            Some(term) => {
                let (before, behind) = letters(term).map_err(&refuse)?;
                let dots = if behind.is_some() { all } else { Vec::new() };
                before.into_iter().chain(dots).chain(behind.unwrap_or_default()).collect()
            }
            None => {
                // What stands once, in order of the alphabet.
                let mut once: Vec<Label> = inputs.iter().flatten().copied().collect();
                once.sort_unstable();
                let count = |label: Label| inputs.iter().flatten().filter(|&&other| other == label).count();
                let once: Vec<Label> =
                    once.into_iter().filter(|&label| label < ELLIPSIS && count(label) == 1).collect();
                [all, once].concat()
            }
        };
        if let Some(label) = twice(&output) {
            return Err(refuse(format!("{} stands twice in the result", name(label))));
        }
        if let Some(&label) =
            output.iter().find(|label| !inputs.iter().flatten().any(|other| other == *label))
        {
            return Err(refuse(format!("{} of the result stands in no operand", name(label))));
        }
        Ok(Subscripts { inputs, output })
    }
}

/// The letters of a term: all of them, or those before and those behind an ellipsis.
fn letters(term: &str) -> Result<(Vec<Label>, Option<Vec<Label>>), String> {
    let (before, behind) = match term.split_once("...") {
        Some((before, behind)) => (before, Some(behind)),
        None => (term, None),
    };
    let read = |part: &str| {
        let bad = part.chars().find(|c| !c.is_ascii_alphabetic());
        bad.map_or_else(|| Ok(part.as_bytes().to_vec()), |c| Err(format!("{c:?} in {term:?} is no letter")))
    };
    Ok((read(before)?, behind.map(read).transpose()?))
}

/// A label that stands twice.
fn twice(labels: &[Label]) -> Option<Label> {
    labels.iter().enumerate().find(|(i, label)| labels[..*i].contains(label)).map(|(_, &label)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, ranks: &[usize]) -> Result<(Vec<String>, String), String> {
        let shapes: Vec<Shape> = ranks.iter().map(|&rank| Shape::new(&vec![2; rank]).unwrap()).collect();
        let read = Subscripts::parse(text, &shapes.iter().collect::<Vec<_>>()).map_err(|e| e.to_string())?;
        // The axes of an ellipsis as digits.
        let text = |labels: &[Label]| {
            let digit = |label: Label| label.wrapping_sub(ELLIPSIS).wrapping_add(b'0');
            let char = |&label: &Label| char::from(if label < ELLIPSIS { label } else { digit(label) });
            labels.iter().map(char).collect::<String>()
        };
        Ok((read.inputs.iter().map(|labels| text(labels)).collect(), text(&read.output)))
    }

    #[test]
    fn results_are_named_or_what_stands_once() {
        let read = |text, ranks: &[usize]| parse(text, ranks).unwrap().1;
        assert_eq!(read("bij, bjk -> bik", &[3, 3]), "bik");
        assert_eq!(read("ij,jk", &[2, 2]), "ik");
        assert_eq!(read("ba", &[2]), "ab");
        assert_eq!(read("i,i", &[1, 1]), "");
        assert_eq!(read("ij->", &[2]), "");
        assert_eq!(read(",->", &[0, 0]), "");
        assert_eq!(read("aB", &[2]), "Ba");
    }

    #[test]
    fn ellipses_align_at_their_ends() {
        let (inputs, output) = parse("...ij,...jk->...ik", &[4, 3]).unwrap();
        assert_eq!((&inputs[0][..], &inputs[1][..], &output[..]), ("10ij", "0jk", "10ik"));
        assert_eq!(parse("i...,i...", &[3, 1]).unwrap().1, "10");
        assert_eq!(parse("...,...->...", &[0, 0]).unwrap().1, "");
        assert_eq!(parse("i...->i", &[3]).unwrap().1, "i");
    }

    #[test]
    fn errors_name_the_subscripts() {
        let message = |text, ranks: &[usize]| parse(text, ranks).unwrap_err();
        assert_eq!(
            message("ii->i", &[2]),
            r#"einsum: "ii->i": 'i' stands twice in "ii"; diagonals are not taken"#
        );
        assert_eq!(message("ij->ii", &[2]), r#"einsum: "ij->ii": 'i' stands twice in the result"#);
        assert_eq!(message("ij->k", &[2]), r#"einsum: "ij->k": 'k' of the result stands in no operand"#);
        assert_eq!(
            message("ij->...", &[3]),
            r#"einsum: "ij->...": "ij" has 2 letters, the operand is [2, 2, 2]"#
        );
        assert_eq!(message("i1", &[2]), r#"einsum: "i1": '1' in "i1" is no letter"#);
        assert_eq!(message("i,j", &[1]), r#"einsum: "i,j": has 2 terms for 1 operands"#);
        assert_eq!(message("i->i->i", &[1]), r#"einsum: "i->i->i": '-' in "i->i" is no letter"#);
        assert_eq!(message("......", &[1]), r#"einsum: "......": '.' in "......" is no letter"#);
    }
}
