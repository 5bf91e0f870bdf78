//! all-MiniLM-L6-v2 with its real weights over real text, against vectors that other code computed.

use taut::DType;
use taut_nn::text::SentenceEncoder;
use taut_tests::{At, Check, Suite, checksum, embeddings, fail, inputs};

pub(crate) fn trials(suite: &mut Suite) {
    suite.with_inputs(&[inputs::MINILM, inputs::SHAKESPEARE], |suite| {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            suite.real(&format!("minilm::{dtype}"), move |at| vectors(at, dtype));
        }
    });
}

/// Without optimization only some texts are embedded.
const STEP: usize = if cfg!(debug_assertions) { 12 } else { 1 };

fn vectors(at: &At, dtype: DType) -> Check {
    let data = inputs::folder();
    let works = inputs::works(&data.join(inputs::SHAKESPEARE)).map_err(fail)?;
    let golden: Vec<_> = embeddings()?.into_iter().step_by(STEP).collect();
    let texts = golden.iter().map(|golden| golden.text(&works).ok_or_else(|| fail("no such lines")));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();

    let encoder = SentenceEncoder::open(data.join(inputs::MINILM), 256, dtype, &at.device)?;
    let tokens = encoder.tokenize(&texts)?;
    let vectors = encoder.embed_tokens(&tokens)?.to_vec::<f32>()?;
    // bf16 has 8 bits, which a layer rounds to several times.
    let least = if dtype == DType::BF16 { 0.999 } else { 0.99999 };
    let rows = vectors.chunks_exact(vectors.len() / golden.len());
    for ((golden, text), (ids, vector)) in golden.iter().zip(texts).zip(tokens.iter().zip(rows)) {
        if (ids.len(), checksum(ids)) != (golden.n_tokens, golden.checksum) {
            return Err(fail(format!("{text:?} has other tokens: {ids:?}")));
        }
        let cosine = golden.cosine(vector);
        // NaN fails too.
        if !matches!(cosine.partial_cmp(&least), Some(std::cmp::Ordering::Greater)) {
            return Err(fail(format!("{dtype}: a cosine of {cosine} for {text:?}")));
        }
    }
    Ok(())
}
