//! Sentence vectors of text.

use crate::{Bert, BertConfig, Module, Parameter, Tokens, Weights};
use std::{cmp::Reverse, fs, path::Path};
use taut::{DType, Device, Error, ErrorKind, Kind, Result, Tensor, scope};
use tokenizers::{Tokenizer, TruncationParams};

/// A sentence transformer: its tokenizer and its encoder.
#[derive(Debug)]
pub struct SentenceEncoder {
    tokenizer: Tokenizer,
    bert: Bert,
    device: Device,
}

impl SentenceEncoder {
    /// Opens a folder with `config.json`, `tokenizer.json` and `model.safetensors`, as it is published, and puts the weights
    /// on `device` as `dtype`. Of a text the first `longest` tokens count.
    ///
    /// # Errors
    ///
    /// [`Driver`](ErrorKind::Driver) if a file can not be read, [`Corrupt`](ErrorKind::Corrupt) if it is damaged;
    /// as [`Weights::build`].
    pub fn open(
        folder: impl AsRef<Path>,
        longest: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<SentenceEncoder> {
        let folder = folder.as_ref();
        let config = folder.join("config.json");
        let text = fs::read_to_string(&config)
            .map_err(|error| Error::new(ErrorKind::Driver, format!("{}: {error}", config.display())))?;
        let config = BertConfig::from_json(&text)?;
        let weights = Weights::open(folder.join("model.safetensors"))?;
        let ignored = ["pooler", "embeddings.position_ids"];
        let bert = weights.build(dtype, device, &ignored, |builder| Bert::new(builder, &config))?;

        let path = folder.join("tokenizer.json");
        let damaged = |error| Error::new(ErrorKind::Corrupt, format!("{}: {error}", path.display()));
        let mut tokenizer = Tokenizer::from_file(&path).map_err(damaged)?;
        let truncation = TruncationParams { max_length: longest, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(damaged)?.with_padding(None);
        Ok(SentenceEncoder { tokenizer, bert, device: device.clone() })
    }

    /// The network.
    pub fn bert(&self) -> &Bert {
        &self.bert
    }

    /// The numbers of the words of each text, the marks of its start and end among them.
    ///
    /// # Errors
    ///
    /// [`Value`](ErrorKind::Value) if the tokenizer refuses a text.
    pub fn tokenize(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        let all = self.tokenizer.encode_batch_fast(texts.to_vec(), true);
        let all = all.map_err(|error| Error::new(ErrorKind::Value, format!("tokenize: {error}")))?;
        Ok(all.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// A vector of length 1 for each text, in f32 on the device: `[texts, hidden]`. Texts of like length go together,
    /// without padding, the longest first.
    ///
    /// # Errors
    ///
    /// As [`tokenize`](Self::tokenize) and [`Bert::embed`].
    pub fn embed(&self, texts: &[&str]) -> Result<Tensor> {
        self.embed_tokens(&self.tokenize(texts)?)
    }

    /// [`embed`](Self::embed), of texts that are numbers already.
    ///
    /// # Errors
    ///
    /// As [`Bert::embed`].
    pub fn embed_tokens(&self, texts: &[Vec<u32>]) -> Result<Tensor> {
        let _scope = scope("sentences");
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| Reverse(texts[i].len()));
        let sorted: Vec<&[u32]> = order.iter().map(|&i| &*texts[i]).collect();
        let sorted = self.bert.embed(&Tokens::new(&sorted, &self.device)?)?;
        // Where each text went.
        let mut places = vec![0i64; order.len()];
        (0i64..).zip(&order).for_each(|(place, &i)| places[i] = place);
        let places = Tensor::from_slice(&places, [places.len()], &self.device)?;
        sorted.index_select(0, &places)?.with_kind(Kind::Output)
    }
}

impl Module for SentenceEncoder {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.bert.visit(f);
    }
}
