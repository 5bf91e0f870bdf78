//! Traces that are made up: what programs like those that people write in PyTorch ask for, with sizes by a seed.

mod infer;
mod tape;
mod train;

use tape::Tape;

/// A kind of program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Training of a transformer: batches and lengths vary from step to step; the optimizer's state is born in the first.
    Transformer,
    /// The same with checkpoints: what a layer kept is made again before its backward.
    Checkpointed,
    /// Training of a CNN with batches and images of varying size, and large workspaces.
    Cnn,
    /// Training over graphs: each step has sizes of its own, in every tensor.
    Graphs,
    /// Gradients of a few matrices beside frozen ones, which are loaded at full precision and then cast.
    Adapters,
    /// Generation of text: each token makes every cache anew, longer by one, and sequences begin and end.
    Generation,
    /// Encoding of batches of varying length.
    Encoding,
    /// Serving: caches in pieces that grow by need, for many requests that come and go at any time.
    Serving,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 8] = [
        Family::Transformer,
        Family::Checkpointed,
        Family::Cnn,
        Family::Graphs,
        Family::Adapters,
        Family::Generation,
        Family::Encoding,
        Family::Serving,
    ];

    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Family::Transformer => "transformer",
            Family::Checkpointed => "checkpointed",
            Family::Cnn => "cnn",
            Family::Graphs => "graphs",
            Family::Adapters => "adapters",
            Family::Generation => "generation",
            Family::Encoding => "encoding",
            Family::Serving => "serving",
        }
    }
}

/// A trace of this family, in the format of recorded ones: the same text for the same seed.
///
/// ```
/// use taut_replay::{Family, made};
///
/// let trace = made(Family::Encoding, 7);
/// assert_eq!(trace, made(Family::Encoding, 7));
/// assert!(trace.starts_with("+,0,"));
/// ```
pub fn made(family: Family, seed: u64) -> String {
    let mut tape = Tape::new(seed);
    match family {
        Family::Transformer => train::transformer(&mut tape, false),
        Family::Checkpointed => train::transformer(&mut tape, true),
        Family::Cnn => train::cnn(&mut tape),
        Family::Graphs => train::graphs(&mut tape),
        Family::Adapters => train::adapters(&mut tape),
        Family::Generation => infer::generation(&mut tape),
        Family::Encoding => infer::encoding(&mut tape),
        Family::Serving => infer::serving(&mut tape),
    }
    tape.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass;
    use std::sync::Arc;
    use taut_memory::{Backing, Calls, HostBacking, PhantomBacking, Pool};

    fn pool(backing: impl Backing + 'static) -> Pool {
        Pool::new(Arc::new(backing))
    }

    /// Pages are whole: beside 1 %, some are partly used, a few in every working set.
    #[test]
    fn little_is_reserved_beyond_what_is_asked_for() {
        for (family, seed) in Family::ALL.into_iter().flat_map(|family| [0, 1, 2].map(|seed| (family, seed)))
        {
            let (trace, pool) = (made(family, seed), pool(PhantomBacking::new(1 << 46, 0)));
            let first = pass(&pool, trace.as_bytes()).unwrap();
            let most = first.peak_requested_bytes / 100 * 101 + (8 << 20);
            let reserved_bytes = first.peak_reserved_bytes;
            assert!(reserved_bytes <= most, "{}:{seed}: {reserved_bytes} of {most}", family.name());
            let again = pass(&pool, trace.as_bytes()).unwrap();
            assert_eq!(again.peak_reserved_bytes, first.peak_reserved_bytes, "{}:{seed}", family.name());
            assert_eq!(again.calls, Calls::default(), "{}:{seed}", family.name());
        }
    }

    #[test]
    fn host_pages_are_no_other() {
        let trace = made(Family::Encoding, 3);
        let [host, phantom] = [pool(HostBacking::new().unwrap()), pool(PhantomBacking::new(1 << 46, 0))]
            .map(|pool| pass(&pool, trace.as_bytes()).unwrap());
        assert_eq!(host.peak_reserved_bytes, phantom.peak_reserved_bytes);
        assert_eq!((host.peak_live_bytes, host.calls), (phantom.peak_live_bytes, phantom.calls));
    }
}
