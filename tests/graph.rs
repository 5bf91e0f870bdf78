//! Graphs: what is recorded once gives with every replay what the ops give, in memory that was planned.

use proptest::prelude::*;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use taut::{Activation, Budget, DType, Device, ErrorKind, Graphed, Result, Stats, Tensor};
use taut_nn::{Bert, BertConfig, Builder, Tokens};
use taut_tests::{At, Check, fail, figures, kind_of, message_of, ops, same_tensors, shapes, upload};

pub(crate) fn trials(suite: &mut taut_tests::Suite) {
    suite.everywhere("graph::every_op_is_replayed", every_op_is_replayed);
    suite.everywhere("graph::its_memory_is_planned", its_memory_is_planned);
    suite.everywhere("graph::an_encoder_is_replayed", an_encoder_is_replayed);
    suite.everywhere("graph::outputs_and_inputs_are_its_own", outputs_and_inputs_are_its_own);
    suite.everywhere("graph::refuses_what_it_can_not_hold", refuses_what_it_can_not_hold);
    suite.everywhere("graph::a_shortage_leaves_nothing", a_shortage_leaves_nothing);
    suite.real("graph::holds_what_it_reads", holds_what_it_reads);
    suite.real("graph::streams_are_ordered", streams_are_ordered);
    suite.real("graph::other_threads_go_on", other_threads_go_on);
}

/// Every op of the registry on small operands: recorded with some values and replayed with others, it gives the bits that
/// it gives without a graph, each time, and leaves no byte.
fn every_op_is_replayed(at: &At) -> Check {
    let (device, all) = (&at.device, ops::all());
    let cases = (0..all.len(), 0..64usize, shapes(), any::<u16>());
    at.for_all(cases, |(op, dtype, shape, seed)| {
        let op = &all[op];
        let dtypes: Vec<DType> = at.dtypes().into_iter().filter(|&dtype| op.takes(dtype)).collect();
        let dtype = dtypes[dtype % dtypes.len()];
        let Some(subject) = op.draw(&shape, dtype, seed.into()) else { return Ok(()) };
        if subject.operands.is_empty() {
            return Ok(());
        }
        let before = figures(device);
        let operands = |seed: u64| {
            let make = |(i, operand): (usize, &taut_tests::Operand)| {
                let numel = operand.shape.iter().product();
                let values = operand.fill.values(numel, operand.dtype, seed + i as u64);
                upload(&values, &operand.shape, operand.dtype, device)
            };
            subject.operands.iter().enumerate().map(make).collect::<Result<Vec<_>>>()
        };
        let call = &subject.call;
        // A result can be a view of an operand.
        let function = |x: &[Tensor]| call(x.to_vec())?.iter().map(Tensor::copy).collect();
        {
            let context = |error| fail(format!("{}, {dtype} {shape:?}: {error}", op.name));
            let mut graph = match Graphed::new(operands(1)?, function) {
                // The bounds of sequences come from the host with the call.
                Err(error) if error.kind() == ErrorKind::Graph && op.method().ends_with("_packed") => {
                    return Ok(());
                }
                made => made.map_err(|error| context(error.into()))?,
            };
            for seed in [1000, 2000, 1000] {
                let operands = operands(seed)?;
                let want = (subject.call)(operands.clone())?;
                let got =
                    graph.replay(&operands.iter().collect::<Vec<_>>()).map_err(|e| context(e.into()))?;
                prop_assert_eq!(got.len(), want.len());
                if !device.is_plan() {
                    got.iter().zip(&want).try_for_each(|(a, b)| same_tensors(a, b)).map_err(context)?;
                }
            }
        }
        prop_assert_eq!(figures(device).live_bytes, before.live_bytes);
        Ok(())
    })
}

/// Two layers, with tensors of several sizes that come and go.
fn network(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let h = x.clone().linear_with(w, None, Activation::Relu)?;
    let scores = h.clone().matmul(&h.clone().t()?)?.softmax(1)?;
    let mixed = scores.matmul(&h)?;
    mixed.add(x)?.layer_norm(None, None, 1e-5)
}

fn its_memory_is_planned(at: &At) -> Check {
    let program = |device: &Device| -> Result<(Stats, u64)> {
        let w = Tensor::normal([192, 192], 0.0, 0.1, 1, DType::F32, device)?;
        let x = Tensor::normal([300, 192], 0.0, 1.0, 2, DType::F32, device)?;
        let before = device.stats().live_bytes;
        let mut graph = Graphed::new(vec![x], |x| Ok(vec![network(&x[0], &w)?]))?;
        assert_eq!(device.stats().live_bytes, before + graph.memory_bytes());
        for seed in 0..3 {
            let x = Tensor::normal([300, 192], 0.0, 1.0, seed, DType::F32, device)?;
            graph.replay(&[&x])?;
        }
        graph.again()?;
        let during = figures(device);
        let bytes = graph.memory_bytes();
        drop(graph);
        drop(w);
        assert_eq!(device.stats().live_bytes, 0);
        Ok((during, bytes))
    };
    let (plan, real) = (Device::plan(at.device.spec()), at.fresh()?);
    let (planned, measured) = (program(&plan)?, program(&real)?);
    prop_assert_eq!(planned, measured);
    // Out of a graph the same tensors take as much at most.
    let peak = |device: &Device| -> Result<u64> {
        let w = Tensor::normal([192, 192], 0.0, 0.1, 1, DType::F32, device)?;
        let x = Tensor::normal([300, 192], 0.0, 1.0, 2, DType::F32, device)?;
        let before = device.stats().live_bytes;
        device.pool().reset_peaks();
        network(&x, &w)?;
        Ok(device.stats().peak_live_bytes - before)
    };
    let (eager, graphed) = (peak(&at.fresh()?)?, measured.1);
    prop_assert!(graphed >= eager && graphed <= eager + eager / 50, "{} for {}", graphed, eager);
    Ok(())
}

/// Sequences of several lengths, in several parts, without a value of theirs on the way.
fn an_encoder_is_replayed(at: &At) -> Check {
    let device = &at.device;
    let dtype = if device.is_cuda() { DType::F16 } else { DType::F32 };
    let config = BertConfig {
        hidden: 64,
        layers: 2,
        heads: 4,
        intermediate: 128,
        words: 500,
        positions: 64,
        types: 2,
        eps: 1e-12,
    };
    let bert = Bert::new(&Builder::random(3, dtype, device), &config)?;
    for lengths in [vec![1], vec![16], vec![5, 64, 1, 33], vec![60; 70]] {
        let batch = |seed: usize| -> Result<Tokens> {
            let word = |i: usize, j: usize| ((seed + i * 31 + j * 7) % 500) as u32;
            let sequence = |(i, &length): (usize, &usize)| (0..length).map(|j| word(i, j)).collect();
            let batch: Vec<Vec<u32>> = lengths.iter().enumerate().map(sequence).collect();
            Tokens::new(&batch, device)
        };
        let tokens = batch(0)?;
        let mut graph = Graphed::new(vec![tokens.numbers().clone()], |numbers| {
            Ok(vec![bert.embed(&tokens.with_numbers(numbers[0].clone())?)?])
        })?;
        for seed in [1, 2] {
            let others = batch(seed)?;
            let want = bert.embed(&others)?;
            let got = graph.replay(&[others.numbers()])?;
            if !device.is_plan() {
                same_tensors(&got[0], &want)?;
            }
        }
    }
    Ok(())
}

fn double(x: &[Tensor]) -> Result<Vec<Tensor>> {
    Ok(vec![x[0].clone().mul_scalar(2.0)?])
}

fn outputs_and_inputs_are_its_own(at: &At) -> Check {
    let device = &at.device;
    let full = |value: f64| Tensor::full([3], value, DType::F32, device);
    let x = full(1.0)?;
    let mut graph = Graphed::new(vec![x.clone()], double)?;
    // What was given is as it was, and what came out is there at once.
    if !device.is_plan() {
        prop_assert_eq!(graph.outputs()[0].to_vec::<f32>()?, [2.0; 3]);
    }
    let y = graph.replay(&[&full(5.0)?])?[0].clone();
    prop_assert_eq!(kind_of(graph.replay(&[&x]).map(drop))?, ErrorKind::Shared);
    let message = message_of(graph.again().map(drop))?;
    prop_assert!(message.starts_with("replay: output 0 of the last one is held 1 times more"), "{}", message);
    if !device.is_plan() {
        prop_assert_eq!(y.to_vec::<f32>()?, [10.0; 3]);
        prop_assert_eq!(x.to_vec::<f32>()?, [1.0; 3]);
    }
    let view = y.slice(0, 1..2)?;
    prop_assert_eq!(kind_of(graph.again().map(drop))?, ErrorKind::Shared);
    drop(view);
    let kept = graph.replay(&[&x])?[0].copy()?;
    graph.replay(&[&full(7.0)?])?;
    if !device.is_plan() {
        prop_assert_eq!(kept.to_vec::<f32>()?, [2.0; 3]);
    }

    let wrong = Tensor::full([4], 1.0, DType::F32, device)?;
    let message = message_of(graph.replay(&[&wrong]).map(drop))?;
    prop_assert_eq!(message, "replay: input 0 is [4], the graph takes [3]");
    prop_assert_eq!(kind_of(graph.replay(&[&x.clone().cast(DType::F16)?]).map(drop))?, ErrorKind::DType);
    prop_assert_eq!(kind_of(graph.replay(&[]).map(drop))?, ErrorKind::Shape);
    let elsewhere = Tensor::full([3], 1.0, DType::F32, &at.fresh()?)?;
    prop_assert_eq!(kind_of(graph.replay(&[&elsewhere]).map(drop))?, ErrorKind::Device);
    // Of all that, nothing was computed; and an output outlives its graph.
    let last = graph.outputs()[0].clone();
    drop(graph);
    if !device.is_plan() {
        prop_assert_eq!(last.to_vec::<f32>()?, [14.0; 3]);
    }
    Ok(())
}

fn refuses_what_it_can_not_hold(at: &At) -> Check {
    let device = &at.device;
    let x = Tensor::full([3], 1.0, DType::F32, device)?;
    let other = Mutex::new(Some(Tensor::full([3], 1.0, DType::F32, device)?));
    let before = figures(device);
    type Function<'a> = Box<dyn Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + 'a>;
    let functions: [(&str, Function<'_>); 9] = [
        ("to_vec", Box::new(|x| x[0].to_vec::<f32>().map(|_| x.to_vec()))),
        ("to_vec", Box::new(|x| x[0].clone().sum(&[])?.item::<f32>().map(|_| x.to_vec()))),
        ("from_slice", Box::new(|x| Ok(vec![x[0].clone().add(&Tensor::from_slice(&[1f32], [1], device)?)?]))),
        ("to", Box::new(|x| Ok(vec![x[0].clone().to(&device.fresh()?)?]))),
        ("synchronize", Box::new(|x| device.synchronize().map(|()| x.to_vec()))),
        (
            "relu_",
            Box::new(|_| {
                let mut taken = other.lock().map_or(None, |mut other| other.take());
                let done = taken.as_mut().map_or(Ok(()), Tensor::relu_);
                if let Ok(mut other) = other.lock() {
                    *other = taken;
                }
                done.map(|()| Vec::new())
            }),
        ),
        ("graph", Box::new(|x| Ok(x.to_vec()))),
        ("graph", Box::new(|_| Ok(Vec::new()))),
        ("graph", Box::new(|x| Ok(Graphed::new(x.to_vec(), double)?.outputs().to_vec()))),
    ];
    for (i, (op, function)) in functions.into_iter().enumerate() {
        let error = Graphed::new(vec![x.clone()], function);
        let Err(error) = error else { return Err(fail(format!("function {i} was recorded"))) };
        prop_assert_eq!(error.kind(), ErrorKind::Graph, "function {}: {}", i, error);
        prop_assert!(error.to_string().starts_with(&format!("{op}: ")), "function {}: {}", i, error);
        let after = figures(device);
        prop_assert_eq!((after.live_bytes, after.reserved_bytes), (before.live_bytes, before.reserved_bytes));
    }
    prop_assert_eq!(kind_of(Graphed::new(Vec::new(), double).map(drop))?, ErrorKind::Value);
    // An error of its own is passed on, and the device goes on.
    let wrong = Graphed::new(vec![x.clone()], |x| Ok(vec![x[0].clone().sum(&[3])?]));
    prop_assert_eq!(kind_of(wrong.map(drop))?, ErrorKind::Shape);
    let graph = Graphed::new(vec![x], double)?;
    prop_assert!(device.is_plan() || graph.outputs()[0].to_vec::<f32>()? == [2.0; 3]);
    Ok(())
}

fn a_shortage_leaves_nothing(at: &At) -> Check {
    let device = at.fresh()?;
    let x = Tensor::zeros([1 << 20], DType::F32, &device)?;
    let w = Tensor::zeros([1 << 20], DType::F32, &device)?;
    let overhead = device.spec();
    let overhead = match &overhead {
        taut::Spec::Cuda(card) => card.context_bytes,
        taut::Spec::Cpu { .. } => 0,
    };
    device.set_budget(Budget::Bytes(overhead + (14 << 20)))?;
    let before = figures(&device);
    let large = |x: &[Tensor]| {
        let parts: Vec<Tensor> = (0..3).map(|_| x[0].clone().add(&w)).collect::<Result<_>>()?;
        Ok(vec![parts[0].clone().add(&parts[1])?.add(&parts[2])?])
    };
    let message = message_of(Graphed::new(vec![x], large).map(drop))?;
    prop_assert!(message.contains("graph"), "{}", message);
    let after = figures(&device);
    prop_assert_eq!(after.live_bytes, before.live_bytes - (4 << 20));
    Ok(())
}

/// A tensor that only the graph still knows stays what it was.
fn holds_what_it_reads(at: &At) -> Check {
    let device = &at.device;
    let full = |value: f64| Tensor::full([100_000], value, DType::F32, device);
    let other = Mutex::new(full(1.0)?);
    let add = |x: &[Tensor]| match other.lock() {
        Ok(other) => Ok(vec![x[0].clone().add(&other)?]),
        Err(_) => Err(taut::Error::device("poisoned")),
    };
    let mut graph = Graphed::new(vec![full(0.0)?], add)?;
    if let Ok(mut other) = other.lock() {
        *other = full(50.0)?;
    }
    let _more: Vec<Tensor> = (0..4).map(|_| full(70.0)).collect::<Result<_>>()?;
    let got = graph.replay(&[&full(2.0)?])?[0].to_vec::<f32>()?;
    // On the CPU the function is called again; on a card the kernels read what was there when they were recorded.
    let want = if device.is_cuda() { 3.0 } else { 52.0 };
    prop_assert!(got.iter().all(|&x| x == want), "{} is not {}", got[0], want);
    Ok(())
}

/// Replays on several streams, with inputs and readers on others.
fn streams_are_ordered(at: &At) -> Check {
    let device = &at.device;
    let sides = (0..3).map(|_| device.stream()).collect::<Result<Vec<_>>>()?;
    let full = |value: f64| Tensor::full([1 << 20], value, DType::F32, device);
    let long = |x: &[Tensor]| (0..20).try_fold(x[0].clone(), |x, _| x.add_scalar(1.0)).map(|x| vec![x]);
    let mut graph = sides[0].scope(|| Graphed::new(vec![full(0.0)?], long))?;
    let mut sums = Vec::new();
    for round in 0..30 {
        let (input, run, read) = (&sides[round % 3], &sides[round / 3 % 3], &sides[round / 9 % 3]);
        let x = input.scope(|| full(round as f64))?;
        let y = run.scope(|| graph.replay(&[&x]))?;
        // Read long after, on another stream, while the next replay is already given.
        sums.push(read.scope(|| y[0].clone().mul_scalar(0.5)?.mean(&[]))?);
    }
    for (round, sum) in sums.iter().enumerate() {
        prop_assert_eq!(sum.item::<f32>()?, (round as f32 + 20.0) / 2.0, "round {}", round);
    }
    Ok(())
}

/// Others use the device while graphs are made, and their work is not recorded.
fn other_threads_go_on(at: &At) -> Check {
    let device = &at.device;
    let done = AtomicBool::new(false);
    thread::scope(|threads| {
        let worker = threads.spawn(|| -> Result<bool> {
            let mut right = true;
            while !done.load(Ordering::Relaxed) {
                let x = Tensor::full([5000], 3.0, DType::F32, device)?;
                right &= x.add_scalar(1.0)?.sum(&[])?.item::<f32>()? == 20_000.0;
            }
            Ok(right)
        });
        let graphs = (0..20).try_for_each(|i| {
            let x = Tensor::full([100, 64], f64::from(i), DType::F32, device)?;
            let w = Tensor::full([64, 64], 1.0, DType::F32, device)?;
            let mut graph = Graphed::new(vec![x.clone()], |x| Ok(vec![x[0].clone().matmul(&w)?]))?;
            let y = graph.replay(&[&x])?;
            prop_assert_eq!(y[0].to_vec::<f32>()?, [64.0 * i as f32; 6400]);
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        let right = worker.join().map_err(|_| fail("the other thread panicked"))?;
        prop_assert!(right?, "the other thread got wrong sums");
        graphs
    })
}
