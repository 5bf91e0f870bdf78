/// What attention is told beside its operands. By default every query sees every key, and scores are divided by the
/// root of the length of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Attention {
    /// The factor of scores; `1 / sqrt(dim)` unless told. Positive.
    pub scale: Option<f32>,
    /// Whether query `i` sees the keys up to `i + kv_len - len` only: the last query sees all of them.
    pub causal: bool,
}

impl Attention {
    /// The factor of scores between rows of `dim` elements.
    pub fn factor(&self, dim: usize) -> f64 {
        self.scale.map_or_else(|| 1.0 / (dim.max(1) as f64).sqrt(), f64::from)
    }

    /// How many of `kv_len` keys query `i` of `len` sees; those are the first.
    pub fn seen(&self, i: usize, len: usize, kv_len: usize) -> usize {
        if self.causal { (i + 1 + kv_len).saturating_sub(len) } else { kv_len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_query_sees_every_key() {
        let causal = Attention { causal: true, ..Attention::default() };
        let seen = |len, kv_len| (0..len).map(|i| causal.seen(i, len, kv_len)).collect::<Vec<_>>();
        assert_eq!(seen(3, 3), [1, 2, 3]);
        assert_eq!(seen(2, 5), [4, 5]);
        assert_eq!(seen(4, 2), [0, 0, 1, 2]);
        assert_eq!(Attention::default().seen(0, 4, 2), 2);
    }

    #[test]
    fn the_factor_is_one_over_the_root_unless_told() {
        assert_eq!(Attention::default().factor(64), 0.125);
        assert_eq!(Attention { scale: Some(2.0), causal: true }.factor(64), 2.0);
    }
}
