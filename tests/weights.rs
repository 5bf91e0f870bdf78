//! Weights in files: what is saved is what is loaded, to the byte, in the memory that was promised; what is damaged is an
//! error that says where.

mod damage;

use damage::damaged_files;
use proptest::{prelude::*, sample::select};
use std::{collections::BTreeMap, fs, path::Path};
use taut::{DType, Device, ErrorKind, Kind, Result, Spec, Stats, Tensor};
use taut_nn::{Stored, Weights, save};
use taut_tests::{At, Check, Fill, Suite, cases, fail, figures, kind_of, poison, same, same_tensors};
use tempfile::TempDir;

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("weights::round_trip", round_trip);
    suite.real("weights::casts_as_cast_does", casts_as_cast_does);
    suite.real("weights::pieces_of_any_size", pieces_of_any_size);
    suite.real("weights::golden_files", golden_files);
    suite.everywhere("weights::peak_is_weights_and_one_buffer", peak_is_weights_and_one_buffer);
    suite.everywhere("weights::what_does_not_fit_leaves_nothing", what_does_not_fit_leaves_nothing);
    suite.real("weights::plan_equals_measured", plan_equals_measured);
    suite.cpu("weights::damaged_files", damaged_files);
    suite.everywhere("weights::types_that_no_tensor_has", types_that_no_tensor_has);
    suite.everywhere("weights::chunks_must_fit", chunks_must_fit);
    suite.everywhere("weights::saves_that_fail_leave_the_old_file", saves_that_fail_leave_the_old_file);
    suite.cpu("weights::saves_sweep_what_killed_ones_left", saves_sweep_what_killed_ones_left);
    suite.planned("weights::plans_write_nothing", plans_write_nothing);
}

pub(crate) fn home() -> Result<TempDir, TestCaseError> {
    tempfile::tempdir().map_err(fail)
}

/// A header and data as a file.
pub(crate) fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

/// Any views of any dtypes, saved and loaded.
fn round_trip(at: &At) -> Check {
    let (home, operand) = (home()?, select(at.dtypes()).prop_flat_map(|dtype| cases(dtype, Fill::Any, true)));
    let path = home.path().join("x.safetensors");
    at.for_some(4, prop::collection::vec(operand, 0..5), |cases| {
        let tensors = cases.iter().map(|case| case.upload(&at.device)).collect::<Result<Vec<_>>>()?;
        let name = |i: usize| format!("{i} \"é\u{1}/\\");
        let metadata = BTreeMap::from([(name(7), name(8)), (String::new(), String::new())]);
        save(&path, tensors.iter().enumerate().map(|(i, x)| (name(i), x)), &metadata)?;
        let weights = Weights::open(&path)?;
        prop_assert_eq!(weights.names().len(), tensors.len());
        prop_assert_eq!(weights.metadata(), &metadata);
        for (i, (case, x)) in cases.iter().zip(&tensors).enumerate() {
            let entry = weights.get(&name(i))?;
            prop_assert_eq!((entry.shape(), entry.stored()), (x.shape(), Stored::from(case.dtype)));
            prop_assert!(entry.range().start.is_multiple_of(case.dtype.size()));
            poison(&at.device, &[x.numel() * case.dtype.size()])?;
            let back = entry.load(case.dtype, &at.device)?;
            prop_assert_eq!((back.kind(), back.is_contiguous()), (Kind::Weights, true));
            same(&back, &case.values())?;
            prop_assert_eq!(taut_tests::bytes(&back)?, taut_tests::bytes(x)?);
        }
        Ok(())
    })
}

/// From every dtype to every other, at any alignment: the bits that a cast of the loaded tensor gives.
fn casts_as_cast_does(at: &At) -> Check {
    let home = home()?;
    let path = home.path().join("x");
    let stored = || select(at.dtypes());
    at.for_some(2, (stored(), stored(), 0..8usize, 0..3000usize, 0..1000u64), |(from, to, shift, n, seed)| {
        let x = taut_tests::upload(&Fill::Any.values(n, from, seed), &[n], from, &at.device)?;
        let data = taut_tests::bytes(&x)?;
        let (before, end) = (shift, shift + data.len());
        let header = format!(
            r#"{{"a":{{"dtype":"U8","shape":[{before}],"data_offsets":[0,{before}]}},"x":{{"dtype":"{}","shape":[{n}],"data_offsets":[{before},{end}]}}}}"#,
            Stored::from(from)
        );
        fs::write(&path, file(&header, &[&vec![7; before][..], &data].concat())).map_err(fail)?;
        poison(&at.device, &[n * to.size(), data.len()])?;
        same_tensors(&Weights::open(&path)?.get("x")?.load(to, &at.device)?, &x.clone().cast(to)?)?;
        let bytes = [&vec![7; before][..], &data].concat();
        same_tensors(&Tensor::from_bytes(&bytes[before..], from, [n], to, &at.device)?, &x.cast(to)?)
    })
}

/// More than one buffer, at sizes about the buffers, in chunks that end anywhere; and f64, which a card does not have.
fn pieces_of_any_size(at: &At) -> Check {
    for (n, chunk) in [((2 << 20) - 1, 1 << 20), ((4 << 20) + 3, 999), ((5 << 20) + 1, usize::MAX)] {
        for (from, to) in [(DType::F32, DType::F16), (DType::F64, DType::F32), (DType::U32, DType::U32)] {
            let values: Vec<f64> = (0..n).map(|i: usize| (i % 2039) as f64).collect();
            let bytes: Vec<u8> = match from {
                DType::F64 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                DType::F32 => values.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect(),
                _ => values.iter().flat_map(|&x| (x as u32).to_le_bytes()).collect(),
            };
            let chunks = bytes.chunks(chunk.saturating_mul(from.size())).map(Ok);
            let x = Tensor::from_chunks(chunks, from, [n], to, Kind::Input, &at.device)?;
            let got = x.cast(DType::I64)?.to_vec::<i64>()?;
            prop_assert!(got.iter().zip(&values).all(|(&a, &b)| a == b as i64), "{} {} {}", n, from, chunk);
        }
    }
    // A transposed tensor of more than one buffer leaves in parts.
    let x = Tensor::arange(0.0, (3 << 20) as f64, 1.0, DType::I64, &at.device)?.reshape([3, 1 << 20])?.t()?;
    let before = at.device.stats().live_bytes;
    at.device.pool().reset_peaks();
    prop_assert!(taut_tests::bytes(&x)? == little_endian(&x.to_vec::<i64>()?));
    prop_assert_eq!(at.device.stats().live_bytes, before);
    Ok(())
}

fn little_endian(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

const SAVED: &[u8] = include_bytes!("golden/files/saved.safetensors");
const FOREIGN: &[u8] = include_bytes!("golden/files/foreign.safetensors");
const EMPTY: &[u8] = include_bytes!("golden/files/none.safetensors");

/// Files that `golden/files.py` wrote: what they say is loaded, and saved again it is the same file.
fn golden_files(at: &At) -> Check {
    let home = home()?;
    let path = home.path().join("saved");
    fs::write(&path, SAVED).map_err(fail)?;
    let weights = Weights::open(&path)?;
    let load = |name: &str, dtype| weights.get(name)?.load(dtype, &at.device);
    prop_assert_eq!(
        load("layer.weight", DType::F32)?.to_vec::<f32>()?,
        [1.0, -2.0, 3.5, 0.0, 1e-40, f32::INFINITY]
    );
    prop_assert_eq!(load("exact", DType::F32)?.to_vec::<f32>()?, [0.1, f32::NEG_INFINITY]);
    prop_assert_eq!(load("brain", DType::F32)?.to_vec::<f32>()?, [1.0, -0.5, 2f32.powi(100)]);
    prop_assert_eq!(load("half", DType::F32)?.to_vec::<f32>()?, [1.5, -65504.0]);
    prop_assert_eq!(load("ids", DType::I64)?.to_vec::<i64>()?, [7, u32::MAX.into()]);
    prop_assert_eq!(load("mask \"é\"\n", DType::Bool)?.to_vec::<bool>()?, [true, false, true]);
    prop_assert_eq!(load("scalar", DType::F32)?.item::<f32>()?, 0.25);
    prop_assert_eq!(load("empty", DType::F32)?.shape().to_vec(), [0, 3]);

    // A card has no f64, so there the file is saved without it.
    if at.dtypes().contains(&DType::F64) {
        let tensors = weights.entries().map(|entry| {
            let dtype = entry.stored().dtype().unwrap_or(DType::U8);
            Ok((entry.name(), entry.load(dtype, &at.device)?))
        });
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let again = home.path().join("again");
        save(&again, tensors.iter().rev().map(|(name, x)| (*name, x)), weights.metadata())?;
        prop_assert_eq!(fs::read(&again).map_err(fail)?, SAVED);
        save(&again, [("", &tensors[0].1); 0], &none())?;
        prop_assert_eq!(fs::read(&again).map_err(fail)?, EMPTY);
    }
    fs::write(&path, FOREIGN).map_err(fail)?;
    let foreign = Weights::open(&path)?;
    prop_assert_eq!(foreign.names().collect::<Vec<_>>(), ["b", "f8", "f4", "i32", "w"]);
    prop_assert_eq!(foreign.get("f4")?.stored(), Stored::F4);
    prop_assert_eq!(&foreign.metadata()["a"], "1");
    prop_assert_eq!(
        foreign.get("w")?.load(DType::BF16, &at.device)?.cast(DType::F32)?.to_vec::<f32>()?,
        [1.0, 2.0, -3.0]
    );
    Ok(())
}

const MIB: usize = 1 << 20;

/// Weights of 20, 1 and 3 MiB in f32 and 2 MiB of f64, all to be f16: in a file, and their bytes there.
fn weights_file(home: &Path) -> Result<std::path::PathBuf> {
    let (path, host) = (home.join("weights"), Device::cpu().fresh()?);
    let zeros = |mib: usize| Tensor::zeros([mib * MIB / 4], DType::F32, &host);
    let double = Tensor::zeros([2 * MIB / 8], DType::F64, &host)?;
    save(&path, [("a", &zeros(20)?), ("b", &zeros(1)?), ("c", &zeros(3)?), ("d", &double)], &none())?;
    Ok(path)
}

fn load_all(path: &Path, device: &Device) -> Result<Vec<Tensor>> {
    Weights::open(path)?.entries().map(|entry| entry.load(DType::F16, device)).collect()
}

fn peak_is_weights_and_one_buffer(at: &At) -> Check {
    let home = home()?;
    let path = weights_file(home.path())?;
    let weights = load_all(&path, &at.device)?;
    let (stats, bytes) = (at.device.stats(), (10 * MIB + MIB / 2 + 3 * MIB / 2 + MIB / 2) as u64);
    // f64 is cast by the host, the rest by the card, and by the CPU from where it lies.
    let buffer = if matches!(at.device.spec(), Spec::Cuda(_)) { 8 * MIB as u64 } else { 0 };
    prop_assert_eq!(stats.live_by_kind[Kind::Weights as usize], bytes);
    prop_assert_eq!((stats.live_bytes, stats.peak_tensor_bytes), (bytes, bytes));
    prop_assert_eq!(stats.peak_workspace_bytes, buffer);
    // Everything but the last, of 3 MiB, was there with the buffer of one before; the buffer is no larger than what is
    // stored.
    let peak = [(10 * MIB + MIB / 2, 8 * MIB), (11 * MIB, MIB), (12 * MIB + MIB / 2, 3 * MIB)];
    let peak = peak.map(|(weights, stage)| (weights + if buffer > 0 { stage } else { 0 }) as u64);
    prop_assert_eq!(stats.peak_live_bytes, peak.into_iter().max().unwrap_or(0));
    drop(weights);
    // In the dtype of the file there is no buffer, and the order of loading does not matter.
    at.device.pool().reset_peaks();
    let a = Weights::open(&path)?.get("a")?.load(DType::F32, &at.device)?;
    let stats = at.device.stats();
    prop_assert_eq!((stats.peak_live_bytes, stats.live_bytes), (20 * MIB as u64, 20 * MIB as u64));
    drop(a);
    let b = Weights::open(&path)?.get("b")?.load(DType::BF16, &at.device)?;
    prop_assert_eq!(at.device.stats().peak_workspace_bytes, if buffer > 0 { MIB as u64 } else { 0 });
    drop(b);
    Ok(())
}

fn plan_equals_measured(at: &At) -> Check {
    let home = home()?;
    let path = weights_file(home.path())?;
    let (real, plan) = (at.fresh()?, Device::plan(at.device.spec()));
    let run = |device: &Device| -> Result<Stats> {
        let weights = load_all(&path, device)?;
        let mut out = weights.iter().map(|w| w.clone().sum(&[])).collect::<Result<Vec<_>>>()?;
        drop(weights);
        out.extend(load_all(&path, device)?);
        let turned = Tensor::zeros([3000, 2000], DType::F32, device)?.t()?;
        save(home.path().join("out"), [("turned", &turned), ("a", &out[0])], &none())?;
        Ok(figures(device))
    };
    prop_assert_eq!(run(&real)?, run(&plan)?);
    prop_assert_eq!(run(&real)?, run(&plan)?);
    Ok(())
}

fn what_does_not_fit_leaves_nothing(at: &At) -> Check {
    let home = home()?;
    let path = weights_file(home.path())?;
    let used = match at.device.spec() {
        Spec::Cpu { .. } => 0,
        Spec::Cuda(card) => card.context_bytes,
    };
    at.device.set_budget(taut::Budget::Bytes(used + 9 * MIB as u64))?;
    let error = Weights::open(&path)?.get("a")?.load(DType::F16, &at.device);
    prop_assert_eq!(kind_of(error)?, ErrorKind::OutOfMemory);
    prop_assert_eq!(at.device.stats().live_bytes, 0);
    prop_assert_eq!(Weights::open(&path)?.get("b")?.load(DType::F32, &at.device)?.numel(), MIB / 4);
    Ok(())
}

/// They are listed, and refused only when they are loaded; so are bools that are none, and a file that was cut meanwhile.
fn types_that_no_tensor_has(at: &At) -> Check {
    let home = home()?;
    let path = home.path().join("x");
    fs::write(&path, FOREIGN).map_err(fail)?;
    let foreign = Weights::open(&path)?;
    let refused = foreign.get("i32")?.load(DType::I64, &at.device);
    let at_byte = foreign.get("i32")?.range().start;
    let text = format!(
        "weights: {}: tensor \"i32\" at byte {at_byte} is I32, which no tensor can be",
        path.display()
    );
    prop_assert_eq!(taut_tests::message_of(refused)?, text);
    prop_assert_eq!(kind_of(foreign.get("f8")?.load(DType::F32, &at.device))?, ErrorKind::DType);
    let text =
        format!("weights: {} has no tensor \"W\", it has 5: \"b\", \"f8\", \"f4\", ..", path.display());
    prop_assert_eq!(taut_tests::message_of(foreign.get("W"))?, text);
    if matches!(at.device.spec(), Spec::Cuda(_)) {
        prop_assert_eq!(kind_of(foreign.get("w")?.load(DType::F64, &at.device))?, ErrorKind::DType);
    }
    let header = r#"{"x":{"dtype":"BOOL","shape":[4],"data_offsets":[0,4]}}"#;
    fs::write(home.path().join("bools"), file(header, &[0, 1, 2, 1])).map_err(fail)?;
    fs::write(home.path().join("cut"), file(header, &[0, 1, 0, 1])).map_err(fail)?;
    let [bools, cut] = ["bools", "cut"].map(|name| Weights::open(home.path().join(name)));
    let (bools, cut) = (bools?, cut?);
    let file = fs::OpenOptions::new().write(true).open(home.path().join("cut")).map_err(fail)?;
    file.set_len(10).map_err(fail)?;
    for (weights, why) in [(bools, "byte 65 is 2, which is no bool"), (cut, "was cut from 67 to 10 bytes")] {
        match weights.get("x")?.load(DType::F32, &at.device) {
            // A plan reads no data.
            Ok(_) => prop_assert!(at.device.is_plan(), "{}", why),
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
                prop_assert!(error.to_string().contains(why), "{}", error);
            }
        }
    }
    prop_assert_eq!(at.device.stats().live_bytes, 0);
    Ok(())
}

/// Chunks that are not the tensor: an error, and no memory held.
fn chunks_must_fit(at: &At) -> Check {
    let device = &at.device;
    let bytes = Tensor::from_bytes(&[0; 7], DType::F32, [2], DType::F16, device);
    prop_assert_eq!(taut_tests::message_of(bytes)?, "from_bytes: [2] of f32 takes 8 bytes, not 7");
    if device.is_plan() {
        return Ok(());
    }
    for dtype in [DType::F32, DType::F16] {
        let load = |chunks: &[&'static [u8]]| {
            let chunks = chunks.iter().map(|chunk| Ok(*chunk));
            Tensor::from_chunks(chunks, DType::F32, [2], dtype, Kind::Input, device)
        };
        for (chunks, why) in [
            (&[&[0u8; 4][..]][..], "end before the tensor does"),
            (&[&[0; 4], &[0; 3]], "are not whole elements"),
            (&[&[0; 8], &[], &[0; 4]], "go on after the tensor's end"),
            (&[&[0; 12]], "go on after the tensor's end"),
        ] {
            let error = taut_tests::message_of(load(chunks))?;
            prop_assert_eq!(error, format!("from_chunks: the chunks {why}"));
        }
        prop_assert_eq!(load(&[&[0; 4], &[], &[0; 4], &[]])?.numel(), 2);
    }
    let bools = Tensor::from_bytes(&[1, 3], DType::Bool, [2], DType::Bool, device);
    prop_assert_eq!(kind_of(bools)?, ErrorKind::Corrupt);
    let failed = [Ok(&[0u8; 4][..]), Err(taut::Error::shape("no more"))];
    let error = Tensor::from_chunks(failed, DType::U8, [8], DType::F32, Kind::Input, device);
    prop_assert_eq!(taut_tests::message_of(error)?, "no more");
    prop_assert_eq!(device.stats().live_bytes, 0);
    Ok(())
}

/// Names of the files in a folder.
fn names(folder: &Path) -> Result<Vec<String>, TestCaseError> {
    let entries = fs::read_dir(folder).map_err(fail)?;
    entries.map(|entry| Ok(entry.map_err(fail)?.file_name().to_string_lossy().into_owned())).collect()
}

fn saves_that_fail_leave_the_old_file(at: &At) -> Check {
    let home = home()?;
    let path = home.path().join("x");
    fs::write(&path, SAVED).map_err(fail)?;
    let x = Tensor::zeros([3], DType::F32, &at.device)?;
    let twice = save(&path, [("x", &x), ("y", &x), ("x", &x)], &none());
    let text = format!("save: {}: the name \"x\" stands twice", path.display());
    prop_assert_eq!(taut_tests::message_of(twice)?, text);
    prop_assert_eq!(kind_of(save(&path, [("__metadata__", &x)], &none()))?, ErrorKind::Value);
    let long = BTreeMap::from([("x".to_string(), "x".repeat(100_000_000))]);
    prop_assert_eq!(kind_of(save(&path, [("x", &x)], &long))?, ErrorKind::Value);
    if !at.device.is_plan() {
        let folder = home.path().join("folder");
        fs::create_dir(&folder).map_err(fail)?;
        prop_assert_eq!(kind_of(save(&folder, [("x", &x)], &none()))?, ErrorKind::Driver);
        prop_assert_eq!(kind_of(save(folder.join("no/such"), [("x", &x)], &none()))?, ErrorKind::Driver);
        prop_assert_eq!(kind_of(save("/", [("x", &x)], &none()))?, ErrorKind::Driver);
        fs::remove_dir(&folder).map_err(fail)?;
    }
    prop_assert_eq!(fs::read(&path).map_err(fail)?, SAVED);
    prop_assert_eq!(names(home.path())?, ["x"]);
    Ok(())
}

/// Of files that a save was to fill, those go that nobody writes to any more.
fn saves_sweep_what_killed_ones_left(at: &At) -> Check {
    let home = home()?;
    let x = Tensor::zeros([3], DType::F32, &at.device)?;
    let others = [".x.7-0.part", ".xx.7-0.partial", ".x.partial", "x.7-0.partial", ".x.7-a.partial"];
    let ours = [".x.7-0.partial", ".x.7-1.partial"];
    for name in others.iter().chain(&ours) {
        fs::write(home.path().join(name), "half").map_err(fail)?;
    }
    let written = fs::File::open(home.path().join(ours[1])).map_err(fail)?;
    written.lock().map_err(fail)?;
    let check = |left: &[&str]| {
        save(home.path().join("x"), [("x", &x)], &none())?;
        let mut want: Vec<_> = others.iter().chain(left).chain(&["x"]).copied().collect();
        let mut found = names(home.path())?;
        want.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(found, want);
        Ok(())
    };
    check(&ours[1..])?;
    drop(written);
    check(&[])
}

fn plans_write_nothing(at: &At) -> Check {
    let home = home()?;
    let x = Tensor::zeros([3], DType::F32, &at.device)?;
    save(home.path().join("x"), [("x", &x)], &none())?;
    prop_assert!(names(home.path())?.is_empty());
    Ok(())
}
