//! BERT's encoder, and sentence vectors made by it.

use crate::{Builder, Embedding, FusedLinear, Layer, LayerNorm, Linear, Module, Parameter};
use std::ops::{Range, RangeInclusive};
use taut::{Activation, Attention, DType, Device, Error, ErrorKind, Result, Sequences, Tensor, scope};

/// The sizes of a [`Bert`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BertConfig {
    /// The width of a token's vector.
    pub hidden: usize,
    /// How many layers there are.
    pub layers: usize,
    /// Heads of attention in each.
    pub heads: usize,
    /// The width between the two products of a layer.
    pub intermediate: usize,
    /// Words of the vocabulary.
    pub words: usize,
    /// The longest sequence.
    pub positions: usize,
    /// Kinds of tokens, of which the first is used.
    pub types: usize,
    /// Of the layer norms.
    pub eps: f32,
}

impl BertConfig {
    /// Reads the `config.json` that comes with the weights of a `BertModel`.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt) if it is not JSON, or a size is missing;
    /// [`Value`](ErrorKind::Value) if the activation is not GELU, or positions are not absolute.
    pub fn from_json(text: &str) -> Result<BertConfig> {
        let json: serde_json::Value = serde_json::from_str(text)
            .map_err(|error| Error::new(ErrorKind::Corrupt, format!("config.json: {error}")))?;
        let missing = |key: &str, what: &str| {
            Error::new(ErrorKind::Corrupt, format!("config.json: {key:?} is {}, not {what}", json[key]))
        };
        let size = |key: &str| {
            let size = json[key].as_u64().and_then(|size| usize::try_from(size).ok());
            size.ok_or_else(|| missing(key, "a size"))
        };
        for (key, want) in [("hidden_act", "gelu"), ("position_embedding_type", "absolute")] {
            if json[key].as_str().unwrap_or(want) != want {
                return Err(Error::new(
                    ErrorKind::Value,
                    format!("config.json: {key:?} is {}, only {want:?} is there", json[key]),
                ));
            }
        }
        Ok(BertConfig {
            hidden: size("hidden_size")?,
            layers: size("num_hidden_layers")?,
            heads: size("num_attention_heads")?,
            intermediate: size("intermediate_size")?,
            words: size("vocab_size")?,
            positions: size("max_position_embeddings")?,
            types: size("type_vocab_size")?,
            eps: json["layer_norm_eps"].as_f64().ok_or_else(|| missing("layer_norm_eps", "a number"))? as f32,
        })
    }
}

/// Sequences of tokens, one after the other without padding, on a device.
///
/// A long batch goes through an encoder in parts, one after the other, since sequences do not see each other: what an
/// encoder holds beside its weights is what its largest part takes, and between two ops that stays in the caches.
#[derive(Clone, Debug)]
pub struct Tokens {
    numbers: Tensor,
    /// At least one.
    parts: Vec<Part>,
}

/// Sequences that go together.
#[derive(Clone, Debug)]
struct Part {
    /// Which of the tokens.
    tokens: Range<usize>,
    sequences: Sequences,
}

/// Tokens of a part: enough to keep a large card busy, and no more than its caches hold of what they become.
const PART: RangeInclusive<usize> = 2048..=16_384;
/// Parts of a batch that could be of either size.
const PARTS: usize = 4;

impl Tokens {
    /// The sequences `batch` of numbers of words.
    ///
    /// # Errors
    ///
    /// As [`Sequences::new`] and [`Tensor::from_slice`].
    pub fn new<S: AsRef<[u32]>>(batch: &[S], device: &Device) -> Result<Tokens> {
        let _scope = scope("tokens");
        let lengths: Vec<usize> = batch.iter().map(|ids| ids.as_ref().len()).collect();
        let ids = batch.iter().flat_map(|ids| ids.as_ref()).map(|&id| i64::from(id));
        let positions = lengths.iter().flat_map(|&length| (0i64..).take(length));
        let numbers: Vec<i64> = ids.chain(positions).collect();
        let numbers = Tensor::from_slice(&numbers, [2, numbers.len() / 2], device)?;
        let mut first = 0;
        let parts = parts(&lengths).map(|lengths| {
            let sequences = Sequences::new(lengths, device)?;
            let tokens = first..first + sequences.tokens();
            first = tokens.end;
            Ok(Part { tokens, sequences })
        });
        let parts = parts.collect::<Result<_>>()?;
        Ok(Tokens { numbers, parts })
    }

    /// The numbers of the words, and below them those of the positions: i64, `[2, tokens]`.
    pub fn numbers(&self) -> &Tensor {
        &self.numbers
    }

    /// Sequences as long as these, of other words.
    ///
    /// So a [graph](taut::Graphed) embeds one batch after the other whose sequences are as long:
    ///
    /// ```
    /// use taut::{DType, Device, Graphed};
    /// use taut_nn::{Bert, BertConfig, Builder, Tokens};
    ///
    /// let config = BertConfig {
    ///     hidden: 64, layers: 2, heads: 4, intermediate: 128, words: 100, positions: 16, types: 1, eps: 1e-12,
    /// };
    /// let device = Device::best();
    /// let bert = Bert::new(&Builder::random(1, DType::F32, &device), &config)?;
    /// let tokens = Tokens::new(&[[3, 14, 15], [92, 65, 35]], &device)?;
    /// let mut graph = Graphed::new(vec![tokens.numbers().clone()], |numbers| {
    ///     Ok(vec![bert.embed(&tokens.with_numbers(numbers[0].clone())?)?])
    /// })?;
    ///
    /// let others = Tokens::new(&[[2, 71, 82], [81, 82, 84]], &device)?;
    /// let vectors = graph.replay(&[others.numbers()])?[0].to_vec::<f32>()?;
    /// assert_eq!(vectors, bert.embed(&others)?.to_vec::<f32>()?);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](ErrorKind::Shape) and [`DType`](ErrorKind::DType) if they are not as these [numbers](Self::numbers).
    pub fn with_numbers(&self, numbers: Tensor) -> Result<Tokens> {
        let (has, wants) = (numbers.shape(), self.numbers.shape());
        if has != wants {
            return Err(Error::shape(format!("tokens: numbers of {has}, these are {wants}")));
        }
        if numbers.dtype() != DType::I64 {
            return Err(Error::dtype(format!("tokens: numbers of {}, not i64", numbers.dtype())));
        }
        Ok(Tokens { numbers, parts: self.parts.clone() })
    }

    /// The numbers of a part's words (row 0) or positions (row 1).
    fn row(&self, part: &Part, row: usize) -> Result<Tensor> {
        let row = self.numbers.clone().slice(0, row..row + 1)?.slice(1, part.tokens.clone())?;
        row.reshape([part.sequences.tokens()])
    }
}

/// Cuts sequences into parts of about as many tokens each. No sequence at all is one part too.
fn parts(lengths: &[usize]) -> impl Iterator<Item = &[usize]> {
    let tokens: usize = lengths.iter().sum();
    let count = tokens.div_ceil(tokens.div_ceil(PARTS).clamp(*PART.start(), *PART.end())).max(1);
    let enough = tokens.div_ceil(count).max(1);
    let mut rest = Some(lengths);
    std::iter::from_fn(move || {
        let lengths = rest.take()?;
        let mut tokens = 0;
        let more = |length: &&usize| {
            let more = tokens < enough;
            tokens += **length;
            more
        };
        let (part, left) = lengths.split_at(lengths.iter().take_while(more).count());
        rest = (!left.is_empty()).then_some(left);
        Some(part)
    })
}

/// The encoder of BERT, without pooler.
///
/// Source: Devlin et al., "BERT: pre-training of deep bidirectional transformers for language understanding", 2019.
#[derive(Clone, Debug)]
pub struct Bert {
    embeddings: Embeddings,
    layers: Vec<EncoderLayer>,
    positions: usize,
}

impl Bert {
    /// An encoder whose parameters have the names of `BertModel`'s.
    ///
    /// # Errors
    ///
    /// [`Shape`](ErrorKind::Shape) if the heads do not divide the width; as [`Builder::parameter`].
    pub fn new(builder: &Builder<'_>, config: &BertConfig) -> Result<Bert> {
        if config.heads == 0 || !config.hidden.is_multiple_of(config.heads) {
            let BertConfig { hidden, heads, .. } = config;
            return Err(Error::shape(format!("bert: {heads} heads do not divide a width of {hidden}")));
        }
        let layers = builder.at("encoder.layer");
        let layers = (0..config.layers).map(|i| EncoderLayer::new(&layers.at(i), config));
        Ok(Bert {
            embeddings: Embeddings::new(&builder.at("embeddings"), config)?,
            layers: layers.collect::<Result<_>>()?,
            positions: config.positions,
        })
    }

    /// A vector for each token, `[tokens, hidden]`.
    ///
    /// # Errors
    ///
    /// [`Shape`](ErrorKind::Shape) if a sequence is longer than the positions go; a token that is no word is one at the next
    /// call that waits for the device. As the ops that it is made of.
    pub fn forward(&self, tokens: &Tokens) -> Result<Tensor> {
        let parts = tokens.parts.iter().map(|part| self.forward_part(tokens, part));
        together(parts.collect::<Result<Vec<_>>>()?)
    }

    /// A vector of length 1 for each sequence, `[sequences, hidden]`: the mean of those of its tokens, which sentence
    /// transformers are trained for. In f32, whatever the dtype of the parameters.
    ///
    /// Source: Reimers and Gurevych, "Sentence-BERT", 2019.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn embed(&self, tokens: &Tokens) -> Result<Tensor> {
        let parts = tokens.parts.iter().map(|part| {
            let x = self.forward_part(tokens, part)?;
            let _scope = scope("pooling");
            x.mean_packed(&part.sequences)?.cast(DType::F32)?.l2_normalize(1, 1e-12)
        });
        together(parts.collect::<Result<Vec<_>>>()?)
    }

    fn forward_part(&self, tokens: &Tokens, part: &Part) -> Result<Tensor> {
        let (longest, positions) = (part.sequences.longest(), self.positions);
        if longest > positions {
            return Err(Error::shape(format!("bert: a sequence of {longest} tokens, at most {positions}")));
        }
        let x = self.embeddings.forward(tokens, part)?;
        self.layers.iter().try_fold(x, |x, layer| layer.forward(x, &part.sequences))
    }
}

/// The rows of the parts, one after the other.
fn together(mut parts: Vec<Tensor>) -> Result<Tensor> {
    match parts.len() {
        1 => Ok(parts.swap_remove(0)),
        _ => Tensor::cat(&parts, 0),
    }
}

impl Module for Bert {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.embeddings.visit(f);
        self.layers.iter().for_each(|layer| layer.visit(f));
    }
}

#[derive(Clone, Debug)]
struct Embeddings {
    words: Embedding,
    positions: Embedding,
    types: Embedding,
    norm: LayerNorm,
}

impl Embeddings {
    fn new(builder: &Builder<'_>, config: &BertConfig) -> Result<Embeddings> {
        let table = |name, count| Embedding::new(&builder.at(name), count, config.hidden);
        Ok(Embeddings {
            words: table("word_embeddings", config.words)?,
            positions: table("position_embeddings", config.positions)?,
            types: table("token_type_embeddings", config.types)?,
            norm: LayerNorm::new(&builder.at("LayerNorm"), config.hidden)?.with_eps(config.eps),
        })
    }

    fn forward(&self, tokens: &Tokens, part: &Part) -> Result<Tensor> {
        let _scope = scope("embeddings");
        let words = self.words.forward(tokens.row(part, 0)?)?;
        let positions = self.positions.forward(tokens.row(part, 1)?)?;
        let kind = self.types.weight().tensor().slice(0, 0..1)?;
        self.norm.forward_sum(words.add(&kind)?, &positions)
    }
}

impl Module for Embeddings {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.words.visit(f);
        self.positions.visit(f);
        self.types.visit(f);
        self.norm.visit(f);
    }
}

#[derive(Clone, Debug)]
struct EncoderLayer {
    projections: FusedLinear,
    attended: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    heads: usize,
}

impl EncoderLayer {
    fn new(builder: &Builder<'_>, config: &BertConfig) -> Result<EncoderLayer> {
        let BertConfig { hidden, intermediate, heads, eps, .. } = *config;
        let [attention, attended] = ["attention.self", "attention.output"].map(|name| builder.at(name));
        let norm =
            |builder: &Builder<'_>| Ok(LayerNorm::new(&builder.at("LayerNorm"), hidden)?.with_eps(eps));
        let [between, output] = ["intermediate", "output"].map(|name| builder.at(name));
        Ok(EncoderLayer {
            projections: FusedLinear::new(&attention, &["query", "key", "value"], hidden, hidden)?,
            attended: Linear::new(&attended.at("dense"), hidden, hidden)?,
            attention_norm: norm(&attended)?,
            intermediate: Linear::new(&between.at("dense"), hidden, intermediate)?
                .with_activation(Activation::Gelu),
            output: Linear::new(&output.at("dense"), intermediate, hidden)?,
            output_norm: norm(&output)?,
            heads,
        })
    }

    /// Everything goes over `x`: beside it there is only what is between two products.
    fn forward(&self, mut x: Tensor, sequences: &Sequences) -> Result<Tensor> {
        let attended = self.attend(x.clone(), sequences)?;
        self.attended.add_to(&mut x, attended)?;
        let mut x = self.attention_norm.forward(x)?;
        let _scope = scope("feed_forward");
        let between = self.intermediate.forward(x.clone())?;
        self.output.add_to(&mut x, between)?;
        self.output_norm.forward(x)
    }

    /// `[tokens, hidden] -> [tokens, hidden]`.
    fn attend(&self, x: Tensor, sequences: &Sequences) -> Result<Tensor> {
        let _scope = scope("attention");
        let (tokens, hidden) = (x.shape()[0], x.shape()[1]);
        let projected =
            self.projections.forward(x)?.reshape([tokens, 3 * self.heads, hidden / self.heads])?;
        let part = |i| projected.clone().slice(1, i * self.heads..(i + 1) * self.heads);
        let [q, k, v] = [part(0)?, part(1)?, part(2)?];
        drop(projected);
        q.attention_packed(&k, &v, sequences, Attention::default())?.reshape([tokens, hidden])
    }
}

impl Module for EncoderLayer {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.projections.visit(f);
        self.attended.visit(f);
        self.attention_norm.visit(f);
        self.intermediate.visit(f);
        self.output.visit(f);
        self.output_norm.visit(f);
    }
}

#[cfg(test)]
mod tests {
    use super::{PART, PARTS, parts};

    #[test]
    fn parts_are_all_of_the_batch_and_bounded() {
        for (count, length) in
            [(0, 0), (3, 0), (1, 16), (256, 16), (255, 17), (4, 512), (7, 3000), (9000, 40)]
        {
            // From 0 to twice the length.
            let lengths: Vec<usize> = (0..count).map(|i| i * 7919 % (2 * length + 1)).collect();
            let cut: Vec<&[usize]> = parts(&lengths).collect();
            assert_eq!(cut.concat(), lengths);
            assert!(!cut.is_empty());
            let tokens: usize = lengths.iter().sum();
            let most = tokens.div_ceil(PARTS).clamp(*PART.start(), *PART.end()) + 2 * length;
            assert!(cut.iter().all(|part| part.iter().sum::<usize>() <= most), "{count} x {length}");
        }
        assert_eq!(parts(&[16; 256]).map(<[usize]>::len).collect::<Vec<_>>(), [128, 128]);
    }
}
