//! The golden embeddings of all-MiniLM-L6-v2, from `golden/minilm.bin`, which `golden/minilm.py` writes.

use crate::fail;
use proptest::test_runner::TestCaseError;
use taut::f16;

/// What the encoder gives for one text of Shakespeare.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// Index of the work, as [`inputs::works`](crate::inputs::works) returns them.
    pub work: usize,
    /// Index of its first line.
    pub first_line: usize,
    /// How many lines, joined by one space each.
    pub n_lines: usize,
    /// How many tokens, with `[CLS]` and `[SEP]`, 256 at most: what exceeds them is cut off before `[SEP]`.
    pub n_tokens: usize,
    /// The [`checksum`] of the ids of the tokens.
    pub checksum: u32,
    /// The mean over the tokens, of norm 1 but for its rounding to f16: up to 5.8e-5 beside it.
    pub values: Vec<f16>,
}

impl Embedding {
    /// The text, or none if these works do not have these lines.
    pub fn text(&self, works: &[Vec<String>]) -> Option<String> {
        let lines = works.get(self.work)?.get(self.first_line..self.first_line + self.n_lines)?;
        Some(lines.join(" "))
    }

    /// The cosine of the angle to `other`, in f64. Rounding to f16 costs 3.0e-8 at most.
    pub fn cosine(&self, other: &[f32]) -> f64 {
        let pairs = || self.values.iter().zip(other).map(|(a, &b)| (a.to_f64(), f64::from(b)));
        let dot: f64 = pairs().map(|(a, b)| a * b).sum();
        let (a, b) = pairs().fold((0.0, 0.0), |(sum_a, sum_b), (a, b)| (sum_a + a * a, sum_b + b * b));
        dot / (a * b).sqrt()
    }
}

/// 32-bit FNV-1a of token ids, each as four bytes, little-endian.
///
/// ```
/// # use taut_tests::checksum;
/// assert_eq!(checksum(&[]), 0x811c_9dc5);
/// assert_eq!(checksum(&[101, 102]), 0x0360_0e26);
/// ```
pub fn checksum(ids: &[u32]) -> u32 {
    let bytes = ids.iter().flat_map(|id| id.to_le_bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

const GOLDEN: &[u8] = include_bytes!("../golden/minilm.bin");
const MAGIC: &[u8] = b"tautmini";

/// All golden embeddings, in the order of works and lines.
///
/// # Errors
///
/// If the file is not as `golden/minilm.py` describes it.
pub fn embeddings() -> Result<Vec<Embedding>, TestCaseError> {
    let bad = || fail("minilm.bin: its header or its length is wrong");
    let (magic, rest) = GOLDEN.split_at_checked(MAGIC.len()).ok_or_else(bad)?;
    let (header, records) = rest.split_at_checked(8).ok_or_else(bad)?;
    let counts: Vec<usize> = words(header).map(|word| word as usize).collect();
    let record_bytes = 5 * 4 + 2 * counts[1];
    if magic != MAGIC || records.len() != counts[0] * record_bytes {
        return Err(bad());
    }
    Ok(records.chunks(record_bytes).map(embedding).collect())
}

/// One record: five words and the halves of the vector.
fn embedding(record: &[u8]) -> Embedding {
    let (head, values) = record.split_at(5 * 4);
    let head: Vec<u32> = words(head).collect();
    let place = |i: usize| head[i] as usize;
    Embedding {
        work: place(0),
        first_line: place(1),
        n_lines: place(2),
        n_tokens: place(3),
        checksum: head[4],
        values: values.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect(),
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}
