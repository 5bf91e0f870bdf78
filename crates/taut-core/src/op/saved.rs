//! The saved-sets: what the backward of every op needs, and so what an op may not overwrite. A test holds every op to them.

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
    /// Bools that the op was given: one byte for each.
    Mask,
    /// A bit for each element of its result: which way a [choice](crate::Unary::choice) went.
    Bits,
    /// The seed of the random numbers: 8 bytes.
    Seed,
    /// So many f32 for each row.
    Statistics(u8),
    /// Positions: an i64 for each element of the result, or the indices that the op was given.
    Positions,
    /// The bounds of the sequences that the op was given: a u32 for each, and one more.
    Bounds,
}

/// Every op that has a backward, by the name of its method, in order of the name. What is not here has none: its result
/// is no float, or does not change with its operands.
pub const SAVED: &[(&str, &[Saved])] = &[
    ("abs", &[Input]),
    ("add", &[]),
    // The sum, which is the second output.
    ("add_layer_norm", &[Saved::Others, Output]),
    ("add_linear_", &[Input, Saved::Others]),
    ("add_rms_norm", &[Saved::Others, Output]),
    ("add_scalar", &[]),
    ("addmm_", &[Input, Saved::Others]),
    ("attention", &[Input, Saved::Others, Output, Saved::Statistics(1)]),
    ("attention_packed", &[Input, Saved::Others, Output, Saved::Statistics(1)]),
    ("cast", &[]),
    ("cat", &[]),
    ("clamp", &[Saved::Bits]),
    ("cos", &[Input]),
    ("cross_entropy", &[Input, Saved::Positions]),
    ("cumsum", &[]),
    ("div", &[Saved::Others, Output]),
    ("dot", &[Input, Saved::Others]),
    ("dropout", &[Saved::Seed]),
    ("einsum", &[Input, Saved::Others]),
    // Its output for factors that keep the sign; its input otherwise.
    ("elu", &[Output]),
    ("exp", &[Output]),
    ("flip", &[]),
    // The input and the bias where there is an activation; and the seed.
    ("fused", &[Input, Saved::Others, Saved::Seed]),
    ("gather", &[Saved::Positions]),
    ("gelu", &[Input]),
    ("gelu_tanh", &[Input]),
    ("index_add", &[Saved::Positions]),
    ("index_select", &[Saved::Positions]),
    ("l2_normalize", &[Input]),
    ("layer_norm", &[Input, Saved::Others]),
    // Its output for slopes that keep the sign; bits otherwise.
    ("leaky_relu", &[Output]),
    ("linear", &[Input, Saved::Others]),
    // The gradients of both, made in the forward pass: that of the input in its place.
    ("linear_cross_entropy", &[Input, Saved::Others]),
    // The input and the weight; with an activation that keeps its output, that too.
    ("linear_with", &[Input, Saved::Others, Output]),
    ("log", &[Input]),
    ("log_softmax", &[Output]),
    ("logsumexp", &[Input, Output]),
    ("masked_fill", &[Saved::Mask]),
    ("matmul", &[Input, Saved::Others]),
    // Both factors of each product.
    ("matmul_grouped", &[Input, Saved::Others]),
    ("matmul_segments", &[Input, Saved::Others]),
    ("max", &[Saved::Positions]),
    ("maximum", &[Saved::Bits]),
    ("mean", &[]),
    ("mean_packed", &[Saved::Bounds]),
    ("mean_square", &[Input]),
    ("min", &[Saved::Positions]),
    ("minimum", &[Saved::Bits]),
    ("mul", &[Input, Saved::Others]),
    ("mul_scalar", &[]),
    ("neg", &[]),
    ("norm", &[Input, Output]),
    ("outer", &[Input, Saved::Others]),
    ("pad", &[]),
    ("pow", &[Input, Saved::Others, Output]),
    ("pow_scalar", &[Input]),
    ("prod", &[Input]),
    ("reciprocal", &[Output]),
    ("relu", &[Output]),
    ("repeat", &[]),
    ("rms_norm", &[Input, Saved::Others]),
    ("roll", &[]),
    ("rsqrt", &[Output]),
    ("scatter_add", &[Saved::Positions]),
    ("sigmoid", &[Output]),
    ("silu", &[Input]),
    ("sin", &[Input]),
    ("softmax", &[Output]),
    ("softmax_with", &[Output]),
    // Its derivative, the sigmoid of the input, is 1 - e^-y.
    ("softplus", &[Output]),
    ("sort", &[Saved::Positions]),
    ("sort_by_key", &[Saved::Positions]),
    ("sqrt", &[Output]),
    ("square", &[Input]),
    ("stack", &[]),
    ("std", &[Input, Output]),
    ("sub", &[]),
    ("sub_scalar", &[]),
    ("sum", &[]),
    ("sum_packed", &[Saved::Bounds]),
    ("tanh", &[Output]),
    ("topk", &[Saved::Positions]),
    ("tril", &[]),
    ("triu", &[]),
    ("var", &[Input]),
    ("where_mask", &[Saved::Mask]),
];

/// The saved-set of an op by the name of its method; `None` if it has no backward.
pub fn saved(op: &str) -> Option<&'static [Saved]> {
    SAVED.binary_search_by_key(&op, |(name, _)| name).ok().map(|at| SAVED[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kept, Unary};

    #[test]
    fn the_table_is_in_order() {
        assert!(SAVED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!((saved("relu"), saved("argmax")), (Some(&[Output][..]), None));
    }
    /// With usual parameters, of which the sign decides.
    #[test]
    fn elementwise_ops_keep_what_their_derivative_takes() {
        for op in Unary::ALL {
            let kept = op.kept().map(|kept| match kept {
                _ if op.choice().is_some() => &[Saved::Bits][..],
                Kept::Nothing => &[],
                Kept::Input => &[Input],
                Kept::Output => &[Output],
            });
            assert_eq!(saved(op.name()), kept, "{op:?}");
        }
        let kept = |op: Unary| op.kept();
        assert_eq!(kept(Unary::LeakyRelu { slope: -0.5 }), Some(Kept::Input));
        assert!(Unary::LeakyRelu { slope: -0.5 }.choice().is_some());
        assert_eq!(kept(Unary::Elu { alpha: -0.5 }), Some(Kept::Input));
        assert_eq!(kept(Unary::LeakyRelu { slope: 0.0 }), Some(Kept::Output));
    }
}
