//! The saved-sets: what the backward of every op will need. They decide what an op may overwrite.

use Saved::{Input, Output};

/// Something that an op keeps for its backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The first operand.
    Input,
    /// The operands after the first that are of a float dtype.
    Others,
    /// The result.
    Output,
    /// One bit for each element of the result.
    Bits,
    /// The bools that the op was given: one byte for each.
    Mask,
    /// The seed of the random numbers: 8 bytes.
    Seed,
    /// So many f32 for each row.
    Statistics(u8),
    /// Positions: an i64 for each element of the result, or the indices that the op was given.
    Positions,
}

/// Every op that has a backward, by the name of its method, in order of the name. What is not here has none: its result
/// is no float, or does not change with its operands.
pub const SAVED: &[(&str, &[Saved])] = &[
    ("abs", &[Input]),
    ("add", &[]),
    ("add_scalar", &[]),
    ("addmm_", &[Input, Saved::Others]),
    ("cast", &[]),
    ("cat", &[]),
    ("clamp", &[Saved::Bits]),
    ("cos", &[Input]),
    ("div", &[Saved::Others, Output]),
    ("dot", &[Input, Saved::Others]),
    ("einsum", &[Input, Saved::Others]),
    // Its output for factors that keep the sign; its input otherwise.
    ("elu", &[Output]),
    ("exp", &[Output]),
    ("gather", &[Saved::Positions]),
    ("dropout", &[Saved::Seed]),
    // Its output for factors that keep the sign; its input otherwise.
    ("elu", &[Output]),
    ("exp", &[Output]),
    ("flip", &[]),
    // What its parts ask for: the input where the activation does, beside a bias that is there anyway, or a bit for each
    // sign; and the seed.
    ("fused", &[Input, Saved::Bits, Saved::Seed]),
    ("gelu", &[Input]),
    ("gelu_tanh", &[Input]),
    ("index_add", &[Saved::Positions]),
    ("index_select", &[Saved::Positions]),
    // Its output for slopes that keep the sign; bits otherwise.
    ("leaky_relu", &[Output]),
    ("linear", &[Input, Saved::Others]),
    // The input and the weight; with an activation that keeps its output, that too.
    ("linear_with", &[Input, Saved::Others, Output]),
    ("log", &[Input]),
    ("masked_fill", &[Saved::Mask]),
    ("matmul", &[Input, Saved::Others]),
    ("maximum", &[Saved::Bits]),
    ("mean", &[]),
    ("minimum", &[Saved::Bits]),
    ("mul", &[Input, Saved::Others]),
    ("mul_scalar", &[]),
    ("neg", &[]),
    ("outer", &[Input, Saved::Others]),
    ("pad", &[]),
    ("pow", &[Input, Saved::Others]),
    ("pow_scalar", &[Input]),
    ("reciprocal", &[Output]),
    ("relu", &[Output]),
    ("repeat", &[]),
    ("roll", &[]),
    ("rsqrt", &[Output]),
    ("scatter_add", &[Saved::Positions]),
    ("sigmoid", &[Output]),
    ("silu", &[Input]),
    ("sin", &[Input]),
    // Its derivative, the sigmoid of the input, is 1 - e^-y.
    ("softplus", &[Output]),
    ("sort", &[Saved::Positions]),
    ("sort_by_key", &[Saved::Positions]),
    ("sqrt", &[Output]),
    ("square", &[Input]),
    ("stack", &[]),
    ("sub", &[]),
    ("sum", &[]),
    ("tanh", &[Output]),
    ("topk", &[Saved::Positions]),
    ("tril", &[]),
    ("triu", &[]),
    ("where_mask", &[Saved::Mask]),
];

/// The saved-set of an op by the name of its method; `None` if it has no backward.
pub fn saved(op: &str) -> Option<&'static [Saved]> {
    SAVED.binary_search_by_key(&op, |(name, _)| name).ok().map(|at| SAVED[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(SAVED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!((saved("relu"), saved("argmax")), (Some(&[Output][..]), None));
    }
}
