//! The group `products`: matrix products of every kind of shape, on random data that no cache holds.

use crate::{Bench, figures::Figure, page::Section, timer::Timer};
use std::time::Duration;
use taut::{DType, Device, Graphed, Result, Tensor, tf32};

/// The name of the group.
pub const GROUP: &str = "products";

/// How the factors lie, as BLAS says it: whether each is transposed, seen from column-major order. `NT` is a linear layer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    NT,
    NN,
    TN,
}

/// `[count, m, k] x [count, k, n]`; or a list of products of parts of `m` rows, each by a `[k, n]` of its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    count: usize,
    m: usize,
    n: usize,
    k: usize,
    lie: Lie,
    dtype: DType,
    /// That f32 is not multiplied as tf32.
    is_exact: bool,
    /// Rows of the parts, if it is a list.
    parts: Vec<usize>,
    /// Whether all products are of the same operands, which caches hold.
    is_cached: bool,
}

impl Case {
    /// `4 x 128 x 256 x 512, NT, f16`: the count if it is not 1, `m`, `n`, `k`; before those of a list, `64 parts, `; at the end,
    /// `, cached`.
    pub(crate) fn name(&self) -> String {
        let Case { count, m, n, k, lie, parts, is_cached, .. } = self;
        let batch = match (count, parts.len()) {
            (1, 0) => String::new(),
            (1, parts) => format!("{parts} parts, "),
            (count, _) => format!("{count} x "),
        };
        let cached = if *is_cached { CACHED } else { "" };
        format!("{batch}{m} x {n} x {k}, {lie:?}, {}{cached}", self.kind())
    }

    /// The case of that name.
    pub(crate) fn parse(name: &str) -> Option<Case> {
        let (name, is_cached) = name.strip_suffix(CACHED).map_or((name, false), |name| (name, true));
        let (list, product) = match name.split_once(" parts, ") {
            Some((count, product)) => (parts(count.parse().ok()?), product),
            None => (Vec::new(), name),
        };
        let [extents, lie, dtype] = product.split(", ").collect::<Vec<_>>().try_into().ok()?;
        let extents: Option<Vec<usize>> = extents.split(" x ").map(|n| n.parse().ok()).collect();
        let (count, m, n, k) = match extents?[..] {
            [m, n, k] => (1, m, n, k),
            [count, m, n, k] => (count, m, n, k),
            _ => return None,
        };
        let lie = [Lie::NT, Lie::NN, Lie::TN].into_iter().find(|known| format!("{known:?}") == lie)?;
        let (_, dtype, is_exact) = KINDS.into_iter().find(|(name, ..)| *name == dtype)?;
        let fits = list.is_empty() || (count, m, lie) == (1, list.iter().sum(), Lie::NT);
        fits.then_some(Case { count, m, n, k, lie, dtype, is_exact, parts: list, is_cached })
    }

    /// Whether it is one call for products of many shapes.
    pub(crate) fn is_list(&self) -> bool {
        !self.parts.is_empty()
    }

    fn bytes(&self) -> usize {
        let weights = self.parts.len().max(1);
        self.dtype.size() * self.count * (self.m * self.k + weights * self.k * self.n + self.m * self.n)
    }

    /// Factors as often as it takes for no cache to hold them.
    pub(crate) fn sets(&self, device: &Device) -> Result<Vec<[Vec<Tensor>; 2]>> {
        let rotates = device.is_cuda() && !self.is_cached;
        let sets = if rotates { (ROTATED / self.bytes().max(1)).clamp(1, 64) } else { 1 };
        (0..sets as u64).map(|seed| self.factors(seed, device)).collect()
    }

    /// The first factors and the second ones, where the case says that they lie.
    fn factors(&self, seed: u64, device: &Device) -> Result<[Vec<Tensor>; 2]> {
        let &Case { count, m, n, k, lie, dtype, ref parts, .. } = self;
        let make = |seed, rows, cols| {
            let shape: &[usize] = if count > 1 { &[count, rows, cols] } else { &[rows, cols] };
            Tensor::normal(shape, 0.0, 1.0, seed, dtype, device)
        };
        let turned = |x: Tensor| {
            let rank = x.shape().rank();
            x.transpose(rank - 2, rank - 1)
        };
        let (one, two) = (2 * seed, 2 * seed + 1);
        if !parts.is_empty() {
            let weights = (0..parts.len() as u64).map(|i| turned(make(two << 32 | i, n, k)?));
            return Ok([make(one, m, k)?.split(0, parts)?, weights.collect::<Result<_>>()?]);
        }
        let [a, b] = match lie {
            Lie::NN => [make(one, m, k)?, make(two, k, n)?],
            Lie::NT => [make(one, m, k)?, turned(make(two, n, k)?)?],
            Lie::TN => [turned(make(one, k, m)?)?, make(two, k, n)?],
        };
        Ok([vec![a], vec![b]])
    }

    /// The last of the results.
    pub(crate) fn multiply(&self, [a, b]: &[Vec<Tensor>; 2]) -> Result<Option<Tensor>> {
        let multiply = || match self.is_list() {
            false => a[0].clone().matmul(&b[0]).map(Some),
            true => Ok(Tensor::matmul_grouped(a, b)?.pop()),
        };
        if self.is_exact { multiply() } else { tf32(multiply) }
    }

    fn kind(&self) -> &'static str {
        let kind =
            KINDS.iter().find(|(_, dtype, is_exact)| (*dtype, *is_exact) == (self.dtype, self.is_exact));
        kind.map_or("", |(name, ..)| name)
    }
}

const CACHED: &str = ", cached";

/// Names of what is multiplied, and whether f32 is as it is.
const KINDS: [(&str, DType, bool); 4] = [
    ("f16", DType::F16, false),
    ("bf16", DType::BF16, false),
    ("tf32", DType::F32, false),
    ("f32", DType::F32, true),
];

/// So many parts of 64 to 2,048 rows, in no order: `parts` in `benches/products.py`.
fn parts(count: usize) -> Vec<usize> {
    (0..count).map(|i| 64 + i * 1227 % 1985).collect()
}

/// Cubes, few and many rows in each lie over the weights of known networks, odd extents, batches, and a list beside one product of as many
/// operations; of these what was asked for.
pub(crate) fn cases(bench: &Bench) -> Vec<Case> {
    let mut cases = all(bench);
    if !bench.ops.is_empty() {
        cases.retain(|case| bench.ops.iter().any(|part| case.name().contains(part)));
    }
    cases
}

fn all(bench: &Bench) -> Vec<Case> {
    let batch = |count, m, n, k| {
        let (lie, dtype) = (Lie::NT, DType::F16);
        Case { count, m, n, k, lie, dtype, is_exact: false, parts: Vec::new(), is_cached: false }
    };
    let one = |m, n, k, lie| Case { lie, ..batch(1, m, n, k) };
    let list = |parts: Vec<usize>, n, k| Case { parts: parts.clone(), ..batch(1, parts.iter().sum(), n, k) };
    if !bench.device.is_cuda() {
        return vec![one(256, 256, 256, Lie::NT), one(512, 512, 512, Lie::NT), list(parts(4), 64, 64)];
    }
    let mut cases: Vec<Case> =
        [256, 512, 1024, 2048, 4096, 8192, 16_384].map(|n| one(n, n, n, Lie::NT)).into();
    for lie in [Lie::NN, Lie::TN] {
        cases.extend([1024, 4096, 8192].map(|n| one(n, n, n, lie)));
    }
    let weights = [(4096, 4096), (14_336, 4096), (4096, 14_336), (50_304, 768), (768, 50_304), (2112, 7168)];
    let weights: Vec<_> = weights.into_iter().chain([(11_008, 4096), (1024, 1024)]).collect();
    let rows: &[usize] = if bench.quick { &[16, 512] } else { &[1, 8, 16, 64, 128, 512, 2048, 8192] };
    let lies: &[Lie] = if bench.quick { &[Lie::NT] } else { &[Lie::NT, Lie::NN, Lie::TN] };
    for &lie in lies {
        cases.extend(weights.iter().flat_map(|&(n, k)| rows.iter().map(move |&m| one(m, n, k, lie))));
    }
    for m in [16, 512, 2048, 8192, 32_768] {
        let encoder = [(1152, 384), (384, 384), (1536, 384), (384, 1536)];
        cases.extend(encoder.map(|(n, k)| one(m, n, k, Lie::NT)));
    }
    let small =
        [256, 512, 1024, 2048].map(|n| (n, n, n)).into_iter().chain([16, 128, 512].map(|m| (m, 1024, 1024)));
    cases.extend(small.map(|(m, n, k)| Case { is_cached: true, ..one(m, n, k, Lie::NT) }));
    cases.extend([
        one(1000, 777, 1234, Lie::NT),
        one(4097, 4095, 4099, Lie::NT),
        one(127, 127, 16_384, Lie::NT),
    ]);
    cases.extend([batch(384, 128, 128, 64), batch(64, 1024, 1024, 1024)]);
    let uneven = list(parts(64), 4096, 1024);
    cases.extend([one(uneven.m, uneven.n, uneven.k, Lie::NT), uneven]);
    let tf32 = [(1024, Lie::NT), (4096, Lie::NT), (8192, Lie::NT), (8192, Lie::NN), (8192, Lie::TN)];
    cases.extend(tf32.map(|(n, lie)| Case { dtype: DType::F32, ..one(n, n, n, lie) }));
    cases.push(Case { dtype: DType::F32, is_exact: true, ..one(4096, 4096, 4096, Lie::NT) });
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
    let cases = cases(bench);
    let repetitions = if bench.quick { 3 } else { 7 };
    bench.group(GROUP, cases.len(), |bench, progress| {
        let timer = Timer::new(&device)?;
        for case in &cases {
            let name = case.name();
            progress.step(&name);
            let sets = case.sets(&device)?;
            let flops = 2.0 * (case.count * case.m * case.n * case.k) as f64;
            let calls = if device.is_cuda() { (4e11 / flops).clamp(4.0, 200.0) as usize } else { 1 };
            // What the host does for each of them is measured elsewhere.
            let mut graph = Graphed::new(vec![Tensor::zeros([1], DType::F32, &device)?], |_| {
                let products = sets.iter().cycle().take(calls).map(|factors| case.multiply(factors));
                let last = products.reduce(|before, next| before.and(next)).transpose()?;
                Ok(last.flatten().into_iter().collect())
            })?;
            let mut seconds = Vec::new();
            for _ in 0..=repetitions {
                let elapsed = timer.time(|| graph.again().map(drop))?;
                seconds.push(elapsed.as_secs_f64() / calls as f64);
                rest(&device, elapsed);
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

/// Lets a card rest from so much work.
pub(crate) fn rest(device: &Device, worked: Duration) {
    if device.is_cuda() {
        std::thread::sleep(worked * REST);
    }
}

/// This group's part of the page.
pub fn section(bench: &Bench) -> Section {
    let intro = "Matrix products of f16, and of f32 in tf32, with sums in f32, on random data, each on operands that no cache \
        holds. NT is the product of a linear layer; parts are rows by a weight for each part, in one call.";
    Section::new(GROUP, "Products", intro).with_figures(&bench.report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_the_whole_case() {
        let bench = Bench::new(Device::plan(taut::Spec::h200()), false, "".into());
        let mut cases = cases(&bench);
        let dtype = DType::BF16;
        cases.push(Case {
            count: 4,
            m: 1,
            n: 2,
            k: 3,
            lie: Lie::TN,
            dtype,
            is_exact: false,
            parts: Vec::new(),
            is_cached: true,
        });
        for case in cases {
            assert_eq!(Case::parse(&case.name()).as_ref(), Some(&case), "{}", case.name());
        }
        for name in [
            "",
            "1 x 2 x 3",
            "1 x 2, NT, f16",
            "1 x 2 x x, NT, f16",
            "1 x 2 x 3, TT, f16",
            "1 x 2 x 3, NT, i64",
            "1 x 2 x 3, NT, f64",
            "4 parts, 1 x 2 x 3, NT, f16",
            "x parts, 1 x 2 x 3, NT, f16",
            "1 x 2 x 3, NT, f16, hot",
        ] {
            assert_eq!(Case::parse(name), None, "{name}");
        }
    }
}
