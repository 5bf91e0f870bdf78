//! Finds the lines of a text that mean the same as a query.
//!
//!     cargo run --release -p taut-nn --features text --example search -- MODEL "a query" .. < lines.txt
//!
//! MODEL is the folder of a sentence transformer, such as `target/data/minilm-0.1.0` after `cargo xtask setup minilm`.

use std::{error::Error, io};
use taut::{DType, Device};
use taut_nn::{Module, text::SentenceEncoder};

/// How many lines are shown for a query.
const SHOWN: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, queries @ ..] = &*arguments else { return Err("search MODEL QUERY.. < LINES".into()) };
    let device = Device::best();
    let dtype = if device.is_cuda() { DType::F16 } else { DType::F32 };
    let encoder = SentenceEncoder::open(model, 256, dtype, &device)?;
    eprintln!("{model} on {device}: {} bytes of {dtype} weights", encoder.parameter_bytes());

    let lines = io::stdin().lines().collect::<Result<Vec<_>, _>>()?;
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    if lines.is_empty() || queries.is_empty() {
        return Err("there must be a line and a query".into());
    }
    let vectors = encoder.embed(&lines)?;
    let peak = device.stats().peak_tensor_bytes;
    eprintln!("{} lines; {} bytes at most beside the weights", lines.len(), peak - encoder.parameter_bytes());

    // Vectors of length 1: their products are cosines.
    let likeness = encoder.embed(&queries)?.linear(&vectors)?;
    let (values, places) = likeness.topk(SHOWN.min(lines.len()), 1, true)?;
    let (values, places) = (values.to_vec::<f32>()?, places.to_vec::<i64>()?);
    let shown = values.len() / queries.len();
    for (i, query) in queries.iter().enumerate() {
        println!("{query}");
        for j in i * shown..(i + 1) * shown {
            println!("  {:.3}  {}", values[j], lines[usize::try_from(places[j])?]);
        }
    }
    Ok(())
}
