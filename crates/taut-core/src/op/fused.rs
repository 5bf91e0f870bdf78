use crate::{Error, ErrorKind, Result};

/// Dropout: each element is 0 with a probability, and otherwise scaled so that its mean stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability that an element is dropped, in `[0, 1]`; rounded to a multiple of 2^-16.
    pub drop_prob: f32,
    /// What is drawn from: the same seed drops the same elements, on every device.
    pub seed: u64,
}

/// Half-words that [`Mask::threshold`] is out of.
const HALF_WORDS: u32 = 1 << 16;

impl Dropout {
    /// What kernels need to know.
    ///
    /// # Errors
    ///
    /// [`Value`](crate::ErrorKind::Value) if the probability is not in `[0, 1]`.
    pub fn mask(self, op: &str) -> Result<Mask> {
        let prob = self.drop_prob;
        if !(0.0..=1.0).contains(&prob) {
            return Err(Error::new(ErrorKind::Value, format!("{op}: {prob} is no probability")));
        }
        let threshold = (prob * HALF_WORDS as f32).round() as u32;
        // Of what is dropped always, nothing is scaled.
        let scale = HALF_WORDS as f32 / HALF_WORDS.saturating_sub(threshold).max(1) as f32;
        Ok(Mask { seed: self.seed, threshold, scale })
    }
}

/// Which elements are kept: number `e` if half-word `e % 8` of block `e / 8` of Philox 4x32-10 under the seed is not below
/// the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mask {
    /// The key of the generator.
    pub seed: u64,
    /// So many of 2^16 half-words drop their element.
    pub threshold: u32,
    /// The factor of what is kept: `2^16 / (2^16 - threshold)`.
    pub scale: f32,
}

impl Default for Mask {
    /// Everything is kept.
    fn default() -> Mask {
        Mask { seed: 0, threshold: 0, scale: 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_counted_in_half_words() {
        let mask = |drop_prob| Dropout { drop_prob, seed: 7 }.mask("dropout");
        let of = |drop_prob| mask(drop_prob).map(|mask| (mask.threshold, mask.scale)).unwrap();
        assert_eq!((of(0.0), of(0.5), of(0.75)), ((0, 1.0), (1 << 15, 2.0), (3 << 14, 4.0)));
        assert_eq!((of(0.1).0, of(1.0).0, of(1e-9)), (6554, 1 << 16, (0, 1.0)));
        for bad in [-0.1, 1.001, f32::NAN, f32::INFINITY] {
            assert_eq!(mask(bad).unwrap_err().kind(), ErrorKind::Value);
        }
        assert_eq!(mask(1.5).unwrap_err().to_string(), "dropout: 1.5 is no probability");
    }
}
