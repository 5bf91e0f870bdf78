//! Tables of measured products: what they say is what runs, in the memory of the model, and nothing else is believed.

mod files;

use crate::matmul::whole::{large_product, result_from_any_element};
use proptest::{prelude::*, sample::select};
use taut::{
    Card, DType, Device, ErrorKind, Layout, Origin, Pick, Precision, Result, Shape, Signature, Spec, Tensor,
    Tuning, tf32,
};
use taut_cuda::launch::matmul::{Choice, Problem, candidates, choose, choose_tuned, signature};
use taut_tests::{At, Check, Suite, fail, figures, same_tensors};

pub(crate) fn trials(suite: &mut Suite) {
    suite.cpu("tuning::candidates_have_the_memory_of_the_model", candidates_have_the_memory_of_the_model);
    suite.cpu("tuning::what_is_picked_is_chosen", what_is_picked_is_chosen);
    suite.cpu("tuning::files_hold_tables", files::files_hold_tables);
    suite.cpu("tuning::damage_is_refused", files::damage_is_refused);
    suite.everywhere("tuning::foreign_tables_are_refused", files::foreign_tables_are_refused);
    suite.planned_card("tuning::plans_stay_as_they_are", plans_stay_as_they_are);
    suite.cuda("tuning::plans_stay_as_they_are", plans_stay_as_they_are);
    suite.cpu("tuning::nothing_is_timed_without_a_card", nothing_is_timed_without_a_card);
    suite.planned("tuning::nothing_is_timed_without_a_card", nothing_is_timed_without_a_card);
    suite.cuda("tuning::every_way_is_right", every_way_is_right);
    suite.cuda("tuning::a_program_is_tuned", a_program_is_tuned);
}

/// Two factors that can be multiplied, and the dtypes of both ends.
#[derive(Clone, Copy, Debug)]
struct Asked {
    a: Layout,
    b: Layout,
    dtype: DType,
    out: DType,
    precision: Precision,
}

impl Asked {
    /// `count` exact products, the factors as they lie or turned, in rows that begin so many elements apart beyond their length.
    fn new(
        count: usize,
        [m, n, k]: [usize; 3],
        turned: [bool; 2],
        apart: usize,
        dtypes: [DType; 2],
    ) -> Result<Asked> {
        let factor = |rows: usize, columns: usize, is_turned| {
            let [rows, columns] = if is_turned { [columns, rows] } else { [rows, columns] };
            let whole = Layout::contiguous(Shape::new(&[count, rows, columns + apart])?);
            let factor = whole.sliced(2, 0..columns)?;
            if is_turned { factor.transposed(1, 2) } else { Ok(factor) }
        };
        let (a, b) = (factor(m, k, turned[0])?, factor(k, n, turned[1])?);
        let [dtype, out] = dtypes;
        Ok(Asked { a, b, dtype, out, precision: Precision::Exact })
    }

    fn problem(&self) -> Problem<'_> {
        let Asked { ref a, ref b, dtype, out, precision } = *self;
        Problem { a, b, dtype, out, precision }
    }

    fn candidates(&self, card: &Card) -> Vec<(Pick, Choice)> {
        candidates(&self.problem(), card)
    }

    fn signature(&self, card: &Card) -> Option<Signature> {
        signature(&self.problem(), card)
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let extent = || select(vec![1, 2, 8, 16, 60, 64, 128, 130, 384, 520, 1000, 2048, 2112, 4096, 7168]);
    let dtypes =
        [DType::F16, DType::BF16, DType::F32].map(|dtype| [[dtype; 2], [dtype, DType::F32]]).concat();
    let count = select(vec![1, 1, 1, 3, 40]);
    let lies = (any::<[bool; 2]>(), select(vec![0, 0, 0, 8, 1]), select(dtypes));
    let sizes = (count, [extent(), extent(), extent()]);
    let precision = select(vec![Precision::Exact, Precision::Tf32]);
    (sizes, lies, precision).prop_map(|((count, size), (turned, apart, dtypes), precision)| {
        let asked = Asked::new(count, size, turned, apart, dtypes).expect("the shapes are small");
        Asked { precision, ..asked }
    })
}

/// An H200, one whose build lacks the kernels of 9.0, and smaller cards.
fn cards() -> impl Strategy<Value = Card> {
    let h200 = Card::h200();
    let plain = Card { own_kernels: false, ..Card::h200() };
    let small = Card { multiprocessors: 20, ..Card::h200() };
    let older = Card { capability: (8, 6), multiprocessors: 46, shared_bytes: 101_376, ..plain.clone() };
    select(vec![h200.clone(), h200, plain, small, older])
}

fn origin(card: &Card) -> Origin {
    Origin::new(card, "580.159.04")
}

/// A table with one candidate of each of these problems.
fn table(asked: &[(Asked, usize)], card: &Card) -> Tuning {
    let mut tuning = Tuning::new(origin(card));
    for (asked, i) in asked {
        let candidates = asked.candidates(card);
        if let Some(signature) = asked.signature(card) {
            tuning.insert(signature, candidates[i % candidates.len()].0);
        }
    }
    tuning
}

fn tables() -> impl Strategy<Value = Tuning> {
    let asked = proptest::collection::vec((asked(), 0..16usize), 0..8);
    (asked, cards()).prop_map(|(asked, card)| table(&asked, &card))
}

/// The first is the model's choice, no two are the same launch, and the workspace of each is the model's.
fn candidates_have_the_memory_of_the_model(at: &At) -> Check {
    at.for_all((asked(), cards()), |(asked, card)| {
        let model = choose(&asked.problem(), &card);
        let candidates = asked.candidates(&card);
        prop_assert_eq!(candidates.is_empty(), asked.signature(&card).is_none());
        prop_assert!(candidates.len() <= 24);
        for (i, (pick, choice)) in candidates.iter().enumerate() {
            prop_assert_eq!(choice.workspace_bytes, model.workspace_bytes, "{}", pick);
            prop_assert!(choice.kernel.shared_bytes() <= card.shared_bytes, "{}", pick);
            prop_assert_eq!((pick.kernel, choice.flops), (choice.kernel, model.flops));
            prop_assert!(candidates[..i].iter().all(|(other, _)| other != pick), "{} twice", pick);
        }
        prop_assert!(candidates.first().is_none_or(|(_, first)| *first == model));
        Ok(())
    })
}

/// Of every candidate; other products, and ways that are none here, are as the model says.
fn what_is_picked_is_chosen(at: &At) -> Check {
    at.for_all((asked(), asked(), cards()), |(asked, other, card)| {
        let (problem, signature) = (asked.problem(), asked.signature(&card));
        let model = choose(&problem, &card);
        prop_assert_eq!(choose_tuned(&problem, &card, &Tuning::default()), model);
        let Some(signature) = signature else { return Ok(()) };
        for (pick, choice) in asked.candidates(&card) {
            let mut tuning = Tuning::new(origin(&card));
            tuning.insert(signature, pick);
            for _ in 0..2 {
                prop_assert_eq!(choose_tuned(&problem, &card, &tuning), choice, "{}", pick);
                prop_assert_eq!(choose(&problem, &card), model);
            }
            if other.signature(&card) != Some(signature) {
                let problem = other.problem();
                prop_assert_eq!(choose_tuned(&problem, &card, &tuning), choose(&problem, &card));
            }
            tuning.insert(signature, Pick { parts: 1000, ..pick });
            prop_assert_eq!(choose_tuned(&problem, &card, &tuning), model);
            prop_assert_eq!(tuning.remove(&signature).map(|pick| pick.parts), Some(1000));
            prop_assert!(tuning.is_empty());
        }
        // A way of other products, which may need more memory, or not exist.
        for (pick, _) in other.candidates(&card) {
            let mut tuning = Tuning::new(origin(&card));
            tuning.insert(signature, pick);
            let choice = choose_tuned(&problem, &card, &tuning);
            prop_assert_eq!(choice.workspace_bytes, model.workspace_bytes);
            prop_assert!(choice == model || choice.kernel == pick.kernel, "{}", pick);
        }
        Ok(())
    })
}

type Row = (usize, [usize; 3], DType, Precision);

/// Products of the sorts that have many ways: few tiles, a round of them, few rows, rows on no packs, a batch, f32, as tf32 along
/// `k` and brought there; and one by a vector.
const PRODUCTS: [Row; 9] = [
    (1, [128, 2112, 7168], DType::F16, Precision::Exact),
    (1, [2048, 2112, 4096], DType::BF16, Precision::Exact),
    (1, [16, 1536, 384], DType::F16, Precision::Exact),
    (1, [1001, 1111, 1237], DType::F16, Precision::Exact),
    (3, [257, 264, 3080], DType::BF16, Precision::Exact),
    (1, [256, 256, 8192], DType::F32, Precision::Exact),
    (1, [256, 264, 8192], DType::F32, Precision::Tf32),
    (1, [1000, 1104, 1237], DType::F32, Precision::Tf32),
    (1, [1, 4096, 4096], DType::F16, Precision::Exact),
];

fn products(device: &Device, rows: &[Row]) -> Result<Vec<Tensor>> {
    let product = |&(count, [m, n, k], dtype, precision): &Row| {
        let whole = |shape: [usize; 3], seed| {
            Tensor::uniform(shape, -3.5, 3.5, seed, DType::F32, device)?.round()?.cast(dtype)
        };
        let (a, b) = (whole([count, m, k], 1)?, whole([count, n, k], 2)?);
        let product = || a.matmul(&b.t()?);
        if precision == Precision::Tf32 { tf32(product) } else { product() }
    };
    rows.iter().map(product).collect()
}

/// One of the ways of each of [`PRODUCTS`].
fn some_ways(device: &Device, i: usize) -> Result<Tuning> {
    let Spec::Cuda(card) = device.spec() else { return Ok(Tuning::default()) };
    let own = device.tune(|| Ok(()))?.tuning.origin().cloned();
    let mut tuning = Tuning::new(own.unwrap_or_else(|| origin(&card)));
    for (count, size, dtype, precision) in PRODUCTS {
        let asked = Asked { precision, ..Asked::new(count, size, [false, true], 0, [dtype; 2])? };
        let candidates = asked.candidates(&card);
        if let Some(signature) = asked.signature(&card) {
            tuning.insert(signature, candidates[i % candidates.len()].0);
        }
    }
    Ok(tuning)
}

/// The memory of a program is the same under any table, and the values are.
fn plans_stay_as_they_are(at: &At) -> Check {
    let run = |device: &Device| Ok::<_, taut::Error>((products(device, &PRODUCTS)?, figures(device)));
    let plan = Device::plan(at.device.spec());
    let (want, _) = run(&at.fresh()?)?;
    let (_, planned) = run(&plan)?;
    for i in 0..4 {
        let device = at.fresh()?;
        device.set_tuning(some_ways(&device, i)?)?;
        prop_assert_eq!(device.tuning().len(), PRODUCTS.len() - 1);
        let (got, stats) = run(&device)?;
        prop_assert_eq!(stats, planned, "ways {}", i);
        if !device.is_plan() {
            for (got, want) in got.iter().zip(&want) {
                same_tensors(got, want)?;
            }
        }
    }
    Ok(())
}

fn nothing_is_timed_without_a_card(at: &At) -> Check {
    let mut runs = 0;
    let tuned = at.device.tune(|| {
        runs += 1;
        let x = Tensor::zeros([64, 64], DType::F32, &at.device)?;
        x.clone().matmul(&x).map(drop)
    })?;
    prop_assert_eq!((runs, tuned.trials.len(), tuned.tuning), (1, 0, Tuning::default()));
    let failed = at.device.tune(|| Tensor::zeros([2], DType::F32, &at.device)?.item::<f32>().map(drop));
    prop_assert_eq!(failed.map_err(|error| error.kind()).err(), Some(ErrorKind::Shape));
    Ok(())
}

/// Every candidate, in 16 bits with every lie of the factors and every epilogue, alone and in batches, onto results that begin
/// on any element; the products of f32 that these are compared with run in all of their ways, too, exact and as tf32.
fn every_way_is_right(at: &At) -> Check {
    let Spec::Cuda(card) = at.device.spec() else { return Err(fail("no card")) };
    let own = at.device.tune(|| Ok(()))?.tuning.origin().cloned().unwrap_or_else(|| origin(&card));
    let all = [
        [64, 2112, 4104],
        [257, 264, 3080],
        [640, 2112, 2056],
        [16, 1536, 384],
        [1001, 1111, 1237],
        // Strips of 80 columns, and of few tiles that are cut for a second pass.
        [16, 10_008, 4104],
        [60, 768, 24_584],
        // Three blocks to a multiprocessor.
        [1144, 2808, 392],
    ];
    for &size in at.shapes(&all, &[[72, 136, 328]]) {
        let mut problems = Vec::new();
        for (count, turned) in [1, 3].into_iter().flat_map(|count| {
            [[false; 2], [true, false], [false, true], [true; 2]].map(|turned| (count, turned))
        }) {
            for dtypes in [
                [DType::F16; 2],
                [DType::BF16; 2],
                [DType::F16, DType::F32],
                [DType::BF16, DType::F32],
                [DType::F32; 2],
            ] {
                problems.push(Asked::new(count, size, turned, 0, dtypes)?);
            }
            let rounded = Asked::new(count, size, turned, 0, [DType::F32; 2])?;
            problems.push(Asked { precision: Precision::Tf32, ..rounded });
        }
        let ways = problems.iter().map(|asked| asked.candidates(&card).len()).max().unwrap_or(0);
        prop_assert!(ways > 1, "{:?}: there is one way only", size);
        for i in 0..ways {
            let mut tuning = Tuning::new(own.clone());
            for asked in &problems {
                let candidates = asked.candidates(&card);
                if let Some(signature) = asked.signature(&card) {
                    tuning.insert(signature, candidates[i % candidates.len()].0);
                }
            }
            at.device.set_tuning(tuning.clone())?;
            let check = || large_product(at, size).and_then(|()| result_from_any_element(at, size));
            let all = || check().and_then(|()| tf32(check));
            let checks: &[&dyn Fn() -> Check] = &[&all, &|| large_product(at, size)];
            let right = at.shapes(&checks[..1], &checks[1..]).iter().try_for_each(|check| check());
            right.map_err(|error| fail(format!("{error}\nunder {tuning}")))?;
        }
    }
    Ok(())
}

/// The table of a program is one of its products, timing takes no more memory than the program, and afterwards none; the
/// program is as right as before.
fn a_program_is_tuned(at: &At) -> Check {
    // One that has many ways, and the vector.
    let rows = at.shapes(&PRODUCTS, &[PRODUCTS[2], PRODUCTS[8]]);
    let device = at.fresh()?;
    let want = products(&device, rows)?;
    let held = device.stats().live_bytes;
    device.pool().reset_peaks();
    products(&device, rows)?;
    let alone = device.stats();
    device.pool().reset_peaks();
    let tuned = device.tune(|| products(&device, rows).map(drop))?;
    let stats = device.stats();
    prop_assert_eq!((stats.live_bytes, stats.peak_live_bytes), (held, alone.peak_live_bytes));

    prop_assert_eq!(tuned.trials.len(), rows.len() - 1);
    for (trial, &(count, [m, n, _], dtype, _)) in tuned.trials.iter().zip(rows) {
        let product = trial.product;
        prop_assert_eq!((product.count, product.m, product.n), (count as u64, m as u64, n as u64));
        prop_assert_eq!((product.dtype, product.out), (dtype, dtype));
        prop_assert!(
            trial.ways > 1 && trial.best.1 <= trial.model.1 && !trial.model.1.is_zero(),
            "{}",
            trial
        );
        let won = tuned.tuning.get(&product);
        prop_assert_eq!(won.copied(), (trial.best.0 != trial.model.0).then_some(trial.best.0));
    }
    let text = tuned.tuning.to_string();
    device.set_tuning(Tuning::parse(&text)?)?;
    for (got, want) in products(&device, rows)?.iter().zip(&want) {
        same_tensors(got, want)?;
    }
    Ok(())
}
