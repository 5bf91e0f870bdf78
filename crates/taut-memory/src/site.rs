//! Why a block exists.

use std::fmt;

/// What a block is for. Statistics and errors are split by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Parameters of a model.
    Weights,
    /// Gradients of parameters.
    Gradients,
    /// The state of an optimizer.
    Optimizer,
    /// Kept by the forward pass for the backward pass.
    Saved,
    /// Results of ops that nothing else names.
    Activations,
    /// Scratch of a single kernel. The only kind that is not a tensor: it may differ between devices.
    Workspace,
    /// Data that came from the host.
    Input,
    /// Data that is going to the host.
    Output,
}

impl Kind {
    /// Every kind, in the order of `kind as usize`.
    pub const ALL: [Kind; 8] = [
        Kind::Weights,
        Kind::Gradients,
        Kind::Optimizer,
        Kind::Saved,
        Kind::Activations,
        Kind::Workspace,
        Kind::Input,
        Kind::Output,
    ];

    /// The name in reports, in lower case: `"weights"`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Weights => "weights",
            Kind::Gradients => "gradients",
            Kind::Optimizer => "optimizer",
            Kind::Saved => "saved",
            Kind::Activations => "activations",
            Kind::Workspace => "workspace",
            Kind::Input => "input",
            Kind::Output => "output",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a block exists: the op that asked for it, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// The op, as the user calls it: `"matmul"`. Errors start with it.
    pub op: &'static str,
    /// What the block is for.
    pub kind: Kind,
}

impl Site {
    /// A block of `kind`, wanted by `op`.
    pub const fn new(op: &'static str, kind: Kind) -> Site {
        Site { op, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_order() {
        for (i, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, i);
            assert_eq!(kind.name(), format!("{kind:?}").to_lowercase());
        }
    }
}
