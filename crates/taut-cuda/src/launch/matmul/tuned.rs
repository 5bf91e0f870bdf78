//! Choices by what was measured, within the memory of the model's.

use super::{
    Choice, Lie, Pick, Problem, Seen, Signature, Tuning, choice, choose, lately,
    matrix::{self, major},
    seen,
};
use crate::Card;
use taut_core::{DType, Layout};
use taut_kernels::{Major, pack_len};

/// Ways that are worth timing: those that should take up to so many times what the best one should.
const WORTH: u64 = 2;

/// The most ways of one kernel that are timed: a part of `k` more or less changes little.
const MOST_OF_KERNEL: usize = 4;

/// The most ways of a problem that are timed.
const MOST: usize = 24;

/// [`choose`], but where `tuning` has a [`Pick`] for the products, that. The workspace is the model's: no table changes what
/// a program needs, and a pick that needs more, or that is none of the ways on this card, is passed over.
pub fn choose_tuned(problem: &Problem<'_>, card: &Card, tuning: &Tuning) -> Choice {
    if tuning.is_empty() {
        return choose(problem, card);
    }
    let seen = seen(problem, card);
    let model = choice(problem, card, &seen, &seen.way);
    let Some(pick) = signature_of(&seen, problem).and_then(|signature| tuning.get(&signature)) else {
        return model;
    };
    let way = lately::chosen(&seen.products, problem.dtype, seen.precision, card, Some(*pick), || {
        matrix::picked(pick, &seen.products, problem.dtype, seen.precision, card).unwrap_or(seen.way)
    });
    within(&model, choice(problem, card, &seen, &way)).unwrap_or(model)
}

/// What a table knows a problem by, or `None` where there is nothing to tune: nothing to compute, or a vector by a matrix,
/// whose time is that of memory.
pub fn signature(problem: &Problem<'_>, card: &Card) -> Option<Signature> {
    signature_of(&seen(problem, card), problem)
}

/// The ways of a problem that are worth timing, each different on the card: the model's, and then others by the time that
/// the model expects of them, among these some that it does not trust itself to rank. All have the workspace of the model's.
/// Empty where [`signature`] is `None`.
pub fn candidates(problem: &Problem<'_>, card: &Card) -> Vec<(Pick, Choice)> {
    let seen = seen(problem, card);
    if signature_of(&seen, problem).is_none() {
        return Vec::new();
    }
    let model = choice(problem, card, &seen, &seen.way);
    let mut found = vec![(Pick::from(seen.way), model)];
    let ways = matrix::all(&seen.products, problem.dtype, seen.precision, card);
    let most_cycles = WORTH * ways.iter().map(|way| way.cycles).min().unwrap_or(0);
    for way in ways.iter().filter(|way| way.cycles <= most_cycles) {
        let Some(other) = within(&model, choice(problem, card, &seen, way)) else { continue };
        let of_kernel = found.iter().filter(|(pick, _)| pick.kernel == way.kernel).count();
        // Other numbers of parts may come to the same launch.
        let is_new = found.iter().all(|(_, choice)| !choice.runs_as(&other));
        if is_new && of_kernel < MOST_OF_KERNEL && found.len() < MOST {
            found.push((Pick::from(*way), other));
        }
    }
    found
}

/// `other` with the workspace of the model's choice, if that is enough.
fn within(model: &Choice, other: Choice) -> Option<Choice> {
    let workspace_bytes = model.workspace_bytes;
    (other.workspace_bytes <= workspace_bytes).then_some(Choice { workspace_bytes, ..other })
}

impl Choice {
    /// Whether both are the same launches.
    fn runs_as(&self, other: &Choice) -> bool {
        *self == Choice { moved_bytes: self.moved_bytes, ..*other }
    }
}

fn signature_of(seen: &Seen, problem: &Problem<'_>) -> Option<Signature> {
    let Problem { dtype, out, .. } = *problem;
    let Seen { ref products, precision, .. } = *seen;
    let (m, k, n, count) = (products.m, products.k, products.n, products.count());
    if m <= 1 || [k, n, count].contains(&0) {
        return None;
    }
    let lie = |batch: &Layout, outer: (usize, usize), k: (usize, usize)| lie(batch, outer, k, dtype);
    let lies = [
        lie(&products.batch[0], (m, products.a[0]), (k, products.a[1])),
        lie(&products.batch[1], (n, products.b[1]), (k, products.b[0])),
    ];
    let [m, n, k, count] = [m, n, k, count].map(|n| n as u64);
    Some(Signature { dtype, precision, out, count, m, n, k, lies })
}

fn lie(batch: &Layout, outer: (usize, usize), k: (usize, usize), dtype: DType) -> Lie {
    match major(batch, outer, k, pack_len(&[dtype])) {
        Some(Major::K) => Lie::K,
        Some(Major::Outer) => Lie::Outer,
        None if k.1 == 1 || k.0 <= 1 => Lie::Rows,
        None => Lie::Any,
    }
}
