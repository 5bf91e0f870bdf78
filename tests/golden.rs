//! A second oracle: what PyTorch gives in f64, from `golden/golden.jsonl`, which `golden/make.py` writes.

use proptest::prelude::*;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use taut::{Activation, Attention, DType, Device, Error, Fused, Result, Sequences, Tensor};
use taut_tests::{At, Check, Suite, Value, download, fail, upload};

pub(crate) fn trials(suite: &mut Suite) {
    suite.cpu("golden::f64_is_what_pytorch_says", |at| all(at, DType::F64, 1e-13));
    // A few roundings of f32 more than the longest of these sums and chains has.
    suite.real("golden::f32_is_what_pytorch_says", |at| all(at, DType::F32, 64.0 * f64::from(f32::EPSILON)));
    suite.cpu("golden::there_are_60_ops", there_are_60_ops);
}

const GOLDEN: &str = include_str!("golden/golden.jsonl");

fn lines() -> impl Iterator<Item = Result<Json, TestCaseError>> {
    GOLDEN
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| fail(format!("golden.jsonl: {error}"))))
}

fn there_are_60_ops(_: &At) -> Check {
    let ops = lines().map(|line| Ok(line?["op"].as_str().unwrap_or_default().to_owned()));
    let ops = ops.collect::<Result<BTreeSet<String>, TestCaseError>>()?;
    prop_assert!(ops.len() >= 60, "{} ops", ops.len());
    Ok(())
}

/// Every case, its floats as `dtype`; results differ by at most `error` of the largest that is finite.
fn all(at: &At, dtype: DType, error: f64) -> Check {
    lines().try_for_each(|line| {
        let line = line?;
        case(at, &line, dtype, error).map_err(|why| fail(format!("{} {}: {why}", line["op"], line["params"])))
    })
}

fn case(at: &At, line: &Json, dtype: DType, error: f64) -> Check {
    let inputs =
        array(&line["inputs"]).iter().map(|x| tensor(x, dtype, &at.device)).collect::<Result<Vec<_>, _>>()?;
    let outputs = call(line["op"].as_str().unwrap_or_default(), &line["params"], inputs)?;
    let wants = array(&line["outputs"]);
    prop_assert_eq!(outputs.len(), wants.len(), "results");
    for (output, want) in outputs.iter().zip(wants) {
        let (shape, values) = (shape(want), values(want)?);
        prop_assert_eq!(&output.shape()[..], &shape[..]);
        let finite = values.iter().map(|x| x.float().abs()).filter(|x| x.is_finite());
        let error = error * finite.fold(0.0, f64::max);
        for (i, (got, want)) in download(output)?.into_iter().zip(values).enumerate() {
            let near = match (got, want) {
                (Value::Float(got), Value::Float(want)) if got.is_finite() && want.is_finite() => {
                    (got - want).abs() <= error
                }
                // The range of f32 ends before that of f64.
                (Value::Float(got), Value::Float(want)) => {
                    got == want || (got.is_nan() && want.is_nan()) || got == f64::from(want as f32)
                }
                (got, want) => got == want,
            };
            prop_assert!(near, "element {} is {:?}, PyTorch says {:?}", i, got, want);
        }
    }
    Ok(())
}

fn array(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn shape(json: &Json) -> Vec<usize> {
    array(&json["shape"]).iter().filter_map(Json::as_u64).map(|extent| extent as usize).collect()
}

/// The elements of a tensor from their bytes in hex.
fn values(json: &Json) -> Result<Vec<Value>, TestCaseError> {
    let hex = json["data"].as_str().unwrap_or_default();
    let byte =
        |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|error| fail(format!("hex: {error}")));
    let bytes = (0..hex.len() / 2).map(|i| byte(2 * i)).collect::<Result<Vec<u8>, _>>()?;
    let eight = |bytes: &[u8]| bytes.try_into().unwrap_or_default();
    Ok(match json["dtype"].as_str() {
        Some("f64") => bytes.chunks(8).map(|b| Value::Float(f64::from_le_bytes(eight(b)))).collect(),
        Some("i64") => bytes.chunks(8).map(|b| Value::Int(i64::from_le_bytes(eight(b)))).collect(),
        Some("f32") => {
            let four = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap_or_default());
            bytes.chunks(4).map(|b| Value::Float(four(b).into())).collect()
        }
        _ => bytes.iter().map(|&b| Value::Int(b.into())).collect(),
    })
}

fn tensor(json: &Json, float: DType, device: &Device) -> Result<Tensor, TestCaseError> {
    let dtype = match json["dtype"].as_str() {
        Some("i64") => DType::I64,
        Some("bool") => DType::Bool,
        _ => float,
    };
    Ok(upload(&values(json)?, &shape(json), dtype, device)?)
}

/// The op of a line.
fn call(op: &str, params: &Json, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let number = |name: &str| params[name].as_f64().unwrap_or(f64::NAN);
    let count = |name: &str| params[name].as_u64().unwrap_or(0) as usize;
    let flag = |name: &str| params[name].as_bool().unwrap_or(false);
    let integers = |json: &Json| -> Vec<i64> { array(json).iter().filter_map(Json::as_i64).collect() };
    let list =
        |name: &str| -> Vec<usize> { integers(&params[name]).into_iter().map(|i| i as usize).collect() };
    let activation = match params["activation"].as_str() {
        Some("relu") => Activation::Relu,
        Some("gelu") => Activation::Gelu,
        Some("silu") => Activation::Silu,
        _ => Activation::Identity,
    };
    let scale = params["scale"].as_f64().map(|scale| scale as f32);
    let attention = Attention { scale, causal: flag("causal") };
    let a = x.first().cloned().ok_or_else(|| Error::shape("golden: no input"))?;
    let two = |(a, b)| vec![a, b];
    let one = match op {
        "relu" => a.relu(),
        "leaky_relu" => a.leaky_relu(number("slope") as f32),
        "neg" => a.neg(),
        "add_scalar" => a.add_scalar(number("value")),
        "mul_scalar" => a.mul_scalar(number("value")),
        "exp" => a.exp(),
        "log" => a.log(),
        "sqrt" => a.sqrt(),
        "rsqrt" => a.rsqrt(),
        "abs" => a.abs(),
        "sin" => a.sin(),
        "cos" => a.cos(),
        "tanh" => a.tanh(),
        "sigmoid" => a.sigmoid(),
        "silu" => a.silu(),
        "gelu" => a.gelu(),
        "gelu_tanh" => a.gelu_tanh(),
        "elu" => a.elu(number("alpha") as f32),
        "softplus" => a.softplus(),
        "reciprocal" => a.reciprocal(),
        "clamp" => a.clamp(number("low"), number("high")),
        "pow_scalar" => a.pow_scalar(number("exponent")),
        "square" => a.square(),
        "sign" => a.sign(),
        "floor" => a.floor(),
        "ceil" => a.ceil(),
        "round" => a.round(),
        "not" => a.not(),
        "add" => a.add(&x[1]),
        "sub" => a.sub(&x[1]),
        "mul" => a.mul(&x[1]),
        "div" => a.div(&x[1]),
        "minimum" => a.minimum(&x[1]),
        "maximum" => a.maximum(&x[1]),
        "pow" => a.pow(&x[1]),
        "eq" => a.eq(&x[1]),
        "ne" => a.ne(&x[1]),
        "lt" => a.lt(&x[1]),
        "le" => a.le(&x[1]),
        "gt" => a.gt(&x[1]),
        "ge" => a.ge(&x[1]),
        "and" => a.and(&x[1]),
        "or" => a.or(&x[1]),
        "xor" => a.xor(&x[1]),
        "where_mask" => a.where_mask(&x[1], &x[2]),
        "masked_fill" => a.masked_fill(&x[1], number("value")),
        "sum" => a.sum(&list("axes")),
        "mean" => a.mean(&list("axes")),
        "max" => a.max(&list("axes")),
        "min" => a.min(&list("axes")),
        "prod" => a.prod(&list("axes")),
        "any" => a.any(&list("axes")),
        "all" => a.all(&list("axes")),
        "norm" => a.norm(&list("axes")),
        "var" => a.var(&list("axes"), count("correction")),
        "std" => a.std(&list("axes"), count("correction")),
        "logsumexp" => a.logsumexp(&list("axes")),
        "argmax" => a.argmax(count("axis")),
        "argmin" => a.argmin(count("axis")),
        "cumsum" => a.cumsum(count("axis")),
        "softmax" => a.softmax(count("axis")),
        "log_softmax" => a.log_softmax(count("axis")),
        "l2_normalize" => a.l2_normalize(count("axis"), number("eps") as f32),
        "softmax_with" => a.softmax_with(count("axis"), number("scale") as f32, Some(&x[1])),
        "layer_norm" => a.layer_norm(Some(&x[1]), Some(&x[2]), number("eps") as f32),
        "rms_norm" => a.rms_norm(Some(&x[1]), number("eps") as f32),
        "add_layer_norm" => {
            return a.add_layer_norm(&x[1], Some(&x[2]), Some(&x[3]), number("eps") as f32).map(two);
        }
        "add_rms_norm" => return a.add_rms_norm(&x[1], Some(&x[2]), number("eps") as f32).map(two),
        "sort" => return a.sort(count("axis"), flag("descending")).map(two),
        "argsort" => a.argsort(count("axis"), flag("descending")),
        "topk" => return a.topk(count("k"), count("axis"), flag("largest")).map(two),
        "gather" => a.gather(count("axis"), &x[1]),
        "index_select" => a.index_select(count("axis"), &x[1]),
        "scatter_add" => a.scatter_add(count("axis"), &x[1], &x[2]),
        "index_add" => a.index_add(count("axis"), &x[1], &x[2]),
        "cat" => Tensor::cat(&x.iter().collect::<Vec<_>>(), count("axis")),
        "stack" => Tensor::stack(&x.iter().collect::<Vec<_>>(), count("axis")),
        "pad" => {
            let pairs = array(&params["padding"]).iter().map(&integers);
            let pairs: Vec<_> = pairs.map(|pair| (pair[0] as usize, pair[1] as usize)).collect();
            a.pad(&pairs, number("value"))
        }
        "roll" => a.roll(&integers(&params["shifts"]), &list("axes")),
        "flip" => a.flip(&list("axes")),
        "tril" => a.tril(params["diagonal"].as_i64().unwrap_or(0)),
        "triu" => a.triu(params["diagonal"].as_i64().unwrap_or(0)),
        "matmul" => a.matmul(&x[1]),
        "dot" => a.dot(&x[1]),
        "outer" => a.outer(&x[1]),
        "linear" => a.linear(&x[1]),
        "linear_with" => a.linear_with(&x[1], Some(&x[2]), activation),
        "fused" => {
            a.fused(Fused { bias: Some(&x[1]), activation, residual: Some(&x[2]), ..Fused::default() })
        }
        "attention" => a.attention(&x[1], &x[2], attention),
        "attention_packed" => {
            let sequences = Sequences::new(&list("lengths"), a.device())?;
            a.attention_packed(&x[1], &x[2], &sequences, attention)
        }
        "einsum" => {
            Tensor::einsum(params["subscripts"].as_str().unwrap_or_default(), &x.iter().collect::<Vec<_>>())
        }
        other => Err(Error::shape(format!("golden: {other} is no op"))),
    };
    Ok(vec![one?])
}
