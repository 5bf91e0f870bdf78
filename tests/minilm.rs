//! all-MiniLM-L6-v2 with its real weights over real text, against vectors that other code computed.

use std::path::{Path, PathBuf};
use taut::DType;
use taut_nn::text::SentenceEncoder;
use taut_tests::{
    At, Check, Suite, fail,
    shakespeare::{checksum, input, passages},
};

pub(crate) fn trials(suite: &mut Suite) {
    let data = data();
    let missing = input(&data, "minilm").and_then(|_| input(&data, "shakespeare")).err();
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let data = data.clone();
        suite.real_if(missing.is_none(), &format!("minilm::{dtype}"), move |at| vectors(at, dtype, &data));
    }
}

/// Where `cargo xtask setup` puts the inputs, or `$TAUT_DATA`.
fn data() -> PathBuf {
    let given = std::env::var_os("TAUT_DATA").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/data"))
}

/// Without optimization only some passages are embedded.
const STEP: usize = if cfg!(debug_assertions) { 12 } else { 1 };

fn vectors(at: &At, dtype: DType, data: &Path) -> Check {
    let encoder = SentenceEncoder::open(input(data, "minilm")?, 256, dtype, &at.device)?;
    let passages = passages(data)?;
    let passages: Vec<_> = passages.iter().step_by(STEP).collect();
    let texts: Vec<&str> = passages.iter().map(|passage| &*passage.text).collect();
    let tokens = encoder.tokenize(&texts)?;
    let vectors = encoder.embed_tokens(&tokens)?.to_vec::<f32>()?;

    let mut worst = (1.0, 0);
    for (i, passage) in passages.iter().enumerate() {
        let ids = &tokens[i];
        if (ids.len(), checksum(ids)) != (passage.n_tokens, passage.checksum) {
            return Err(fail(format!("{:?} has other tokens: {ids:?}", passage.text)));
        }
        let width = passage.embedding.len();
        let cosine = cosine(&vectors[i * width..][..width], &passage.embedding);
        // Not NaN either.
        if !(cosine >= worst.0) {
            worst = (cosine, i);
        }
    }
    // bf16 has 8 bits, and 3 roundings a layer come together at random.
    let least = if dtype == DType::BF16 { 0.999 } else { 0.99999 };
    let (cosine, i) = worst;
    if cosine >= least {
        return Ok(());
    }
    Err(fail(format!("{dtype}: a cosine of {cosine} for {:?}", passages[i].text)))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
