//! Every op of the registry has the properties of an op: see `prove`.

use taut_tests::{Suite, ops, prove};

pub(crate) fn trials(suite: &mut Suite) {
    for op in ops::all() {
        let name = format!("op::{}", op.name.replace(", ", "::").replace(' ', "_"));
        suite.real(&name, move |at| prove(at, &op));
    }
}
