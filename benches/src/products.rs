//! The group `products`: matrix products of every kind of shape, on random data that no cache holds.

use crate::{Bench, figures::Figure, page::Section, timer::Timer};
use taut::{DType, Device, Graphed, Result, Tensor, tf32};

/// The name of the group.
pub const GROUP: &str = "products";

/// How the factors lie, as BLAS says it: whether each is transposed, seen from column-major order. `NT` is a linear layer.
#[derive(Clone, Copy, Debug)]
enum Lie {
    NT,
    NN,
    TN,
}

/// `[count, m, k] x [count, k, n]`.
struct Case {
    count: usize,
    m: usize,
    n: usize,
    k: usize,
    lie: Lie,
    /// f16; or f32, in tf32.
    dtype: DType,
}

impl Case {
    fn name(&self) -> String {
        let Case { count, m, n, k, lie, dtype } = self;
        let dtype = if *dtype == DType::F32 { "tf32" } else { dtype.name() };
        let batch = if *count > 1 { format!("{count} x ") } else { String::new() };
        format!("{batch}{m} x {n} x {k}, {lie:?}, {dtype}")
    }

    fn bytes(&self) -> usize {
        self.dtype.size() * self.count * (self.m * self.k + self.k * self.n + self.m * self.n)
    }

    /// The factors, where the case says that they lie.
    fn factors(&self, seed: u64, device: &Device) -> Result<[Tensor; 2]> {
        let &Case { count, m, n, k, lie, dtype } = self;
        let make = |seed, rows, cols| {
            let shape: &[usize] = if count > 1 { &[count, rows, cols] } else { &[rows, cols] };
            Tensor::normal(shape, 0.0, 1.0, seed, dtype, device)
        };
        let turned = |x: Tensor| {
            let rank = x.shape().rank();
            x.transpose(rank - 2, rank - 1)
        };
        let (one, two) = (2 * seed, 2 * seed + 1);
        Ok(match lie {
            Lie::NN => [make(one, m, k)?, make(two, k, n)?],
            Lie::NT => [make(one, m, k)?, turned(make(two, n, k)?)?],
            Lie::TN => [turned(make(one, k, m)?)?, make(two, k, n)?],
        })
    }
}

/// Cubes, few and many rows over the weights of known networks, odd extents, batches.
fn cases(bench: &Bench) -> Vec<Case> {
    let one = |m, n, k, lie| Case { count: 1, m, n, k, lie, dtype: DType::F16 };
    if !bench.device.is_cuda() {
        return vec![one(256, 256, 256, Lie::NT), one(512, 512, 512, Lie::NT)];
    }
    let mut cases: Vec<Case> = [256, 512, 1024, 2048, 4096, 8192].map(|n| one(n, n, n, Lie::NT)).into();
    for lie in [Lie::NN, Lie::TN] {
        cases.extend([1024, 4096, 8192].map(|n| one(n, n, n, lie)));
    }
    let weights = [(4096, 4096), (14_336, 4096), (4096, 14_336), (50_304, 768), (768, 50_304), (2112, 7168)];
    let weights = weights.into_iter().chain([(11_008, 4096), (1024, 1024)]);
    let rows: &[usize] = if bench.quick { &[16, 512] } else { &[1, 8, 16, 64, 128, 512, 2048, 8192] };
    cases.extend(weights.flat_map(|(n, k)| rows.iter().map(move |&m| one(m, n, k, Lie::NT))));
    for m in [16, 512, 2048, 8192, 32_768] {
        let encoder = [(1152, 384), (384, 384), (1536, 384), (384, 1536)];
        cases.extend(encoder.map(|(n, k)| one(m, n, k, Lie::NT)));
    }
    cases.extend([
        one(1000, 777, 1234, Lie::NT),
        one(4097, 4095, 4099, Lie::NT),
        one(127, 127, 16_384, Lie::NT),
    ]);
    cases.push(Case { count: 384, ..one(128, 128, 64, Lie::NT) });
    cases.push(Case { count: 64, ..one(1024, 1024, 1024, Lie::NT) });
    let tf32 = [(1024, Lie::NT), (4096, Lie::NT), (8192, Lie::NT), (8192, Lie::NN), (8192, Lie::TN)];
    cases.extend(tf32.map(|(n, lie)| Case { dtype: DType::F32, ..one(n, n, n, lie) }));
    cases
}

/// Operands of so many bytes no cache holds.
const ROTATED: usize = 256 << 20;

/// How much longer than it works a card rests before the next repetition: neither its power nor its heat is the limit then.
const REST: u32 = 10;

/// Measures every case: some milliseconds of products in one graph, each on other operands.
///
/// # Errors
///
/// As [`Tensor::matmul`].
pub fn measure(bench: &mut Bench) -> Result<()> {
    let device = bench.device.fresh()?;
    let mut cases = cases(bench);
    if !bench.ops.is_empty() {
        cases.retain(|case| bench.ops.iter().any(|part| case.name().contains(part)));
    }
    let repetitions = if bench.quick { 3 } else { 7 };
    bench.group(GROUP, cases.len(), |bench, progress| {
        let timer = Timer::new(&device)?;
        for case in &cases {
            let name = case.name();
            progress.step(&name);
            let sets = if device.is_cuda() { (ROTATED / case.bytes()).clamp(1, 64) } else { 1 };
            let sets = (0..sets as u64)
                .map(|seed| case.factors(seed, &device))
                .collect::<Result<Vec<[Tensor; 2]>>>()?;
            let flops = 2.0 * (case.count * case.m * case.n * case.k) as f64;
            let calls = if device.is_cuda() { (4e11 / flops).clamp(4.0, 200.0) as usize } else { 1 };
            // What the host does for each of them is measured elsewhere.
            let mut graph = Graphed::new(vec![Tensor::zeros([1], DType::F32, &device)?], |_| {
                let products = sets.iter().cycle().take(calls).map(|[a, b]| tf32(|| a.clone().matmul(b)));
                products.reduce(|before, next| before.and(next)).into_iter().collect()
            })?;
            let mut seconds = Vec::new();
            for _ in 0..=repetitions {
                let elapsed = timer.time(|| graph.again().map(drop))?;
                seconds.push(elapsed.as_secs_f64() / calls as f64);
                if device.is_cuda() {
                    std::thread::sleep(elapsed * REST);
                }
            }
            let seconds = seconds.split_off(1);
            let rates = seconds.iter().map(|time| 1e-12 * flops / time).collect();
            let names = |metric| [GROUP, name.as_str(), bench.device_name(), metric];
            let figures =
                [Figure::new(names("rate"), "TFLOP/s", rates), Figure::new(names("time"), "s", seconds)];
            bench.add(figures);
            progress.advance(1);
        }
        Ok(())
    })
}

/// This group's part of the page.
pub fn section(bench: &Bench) -> Section {
    let intro = "Matrix products of f16, and of f32 in tf32, with sums in f32, on random data, each on operands that no cache \
        holds. NT is the product of a linear layer.";
    Section::new(GROUP, "Products", intro).with_figures(&bench.report)
}
