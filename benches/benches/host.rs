//! Costs on the host: the pool, the dispatch of an op, a plan.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use taut::{
    Activation, DType, Device, Spec, Tensor,
    memory::{Kind, Site, StreamId},
};
use taut_benches::work::mlp;

fn pool(c: &mut Criterion) {
    let device = Device::plan(Spec::h200());
    let site = Site::new("bench", Kind::Activations);
    let _live: Vec<_> = (1..200u64)
        .filter_map(|i| device.pool().allocate(i * 70_001, StreamId::COMPUTE, site).ok())
        .collect();
    c.bench_function("pool: allocate + free, 1 MiB beside 200 blocks", |b| {
        b.iter(|| black_box(device.pool().allocate(1 << 20, StreamId::COMPUTE, site)));
    });
}

fn dispatch(c: &mut Criterion) {
    let plan = Device::plan(Spec::h200());
    let cpu = Device::cpu();
    for (name, device) in [("plan", &plan), ("cpu", &cpu)] {
        let x = || Tensor::zeros([1024], DType::F16, device).expect("1,024 elements fit");
        c.bench_function(&format!("dispatch: relu in place, 1,024 elements, {name}"), |b| {
            b.iter_batched(x, Tensor::relu, BatchSize::NumIterations(1000));
        });
        let (a, b_) = (x(), x());
        c.bench_function(&format!("dispatch: add, 1,024 elements, {name}"), |b| {
            b.iter(|| black_box(a.clone().add(&b_)));
        });
    }
}

fn plan(c: &mut Criterion) {
    let config = mlp::Config::CARD;
    c.bench_function("plan: 32-layer MLP on an H200, weights and one batch", |b| {
        b.iter(|| {
            let device = Device::plan(Spec::h200());
            let work = mlp::Work::new(config, mlp::Technique::Half, &device).expect("it fits");
            work.run(&device).expect("it fits");
            black_box(device.stats().peak_reserved_bytes)
        });
    });
    let device = Device::plan(Spec::h200());
    let w = Tensor::zeros([4096, 4096], DType::F16, &device).expect("it fits");
    let x = Tensor::zeros([4096, 4096], DType::F16, &device).expect("it fits");
    c.bench_function("plan: linear + ReLU, 4096", |b| {
        b.iter(|| black_box(x.clone().linear_with(&w, None, Activation::Relu)));
    });
}

criterion_group!(benches, pool, dispatch, plan);
criterion_main!(benches);
