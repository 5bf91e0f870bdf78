//! The property that every op has: what its definition says, on every view, in every way to call it.

use crate::{
    Array, At, Check, Geometry, Op, Twin, Use, Value, Want, download, fail, meets, poison, same,
    same_tensors, shapes, upload,
};
use proptest::{collection::vec, prelude::*, sample::select};
use std::{cell::Cell, fmt};
use taut::{
    DType, Device, Error, ErrorKind, Kind, Result, Stats, Tensor,
    memory::{Site, StreamId},
};

/// Operands that an op has at most.
const OPERANDS: usize = 5;

/// Checks generated uses of an op:
/// - out of place, over poisoned memory, the result is what the definition says, and the operands stay as they were;
/// - given its operands for good, it gives the same bits;
/// - always in place, on a view, it gives the same bits, and outside of the view nothing changes;
/// - a plan of the same call says its peaks to the byte.
///
/// # Errors
///
/// A failure that prints the use whole.
pub fn prove(at: &At, op: &Op) -> Check {
    let dtypes: Vec<DType> = at.dtypes().into_iter().filter(|&dtype| op.takes(dtype)).collect();
    let choices = || vec([0..60usize, 0..60usize, 0..60usize, 0..60usize], 0..=3);
    let cases = (select(dtypes), shapes(), vec(choices(), OPERANDS), any::<u32>());
    let cases =
        cases.prop_map(|(dtype, shape, views, seed)| Case { op, dtype, shape, views, seed: seed.into() });
    let pools = Pools { plan: Device::plan(at.device.spec()), guarded: at.fresh()? };
    let (used, all) = (Cell::new(0u32), Cell::new(0u32));
    at.for_all(cases, |case| {
        all.set(all.get() + 1);
        let Some(subject) = op.draw(&case.shape, case.dtype, case.seed) else { return Ok(()) };
        used.set(used.get() + 1);
        case.check(at, &pools, &subject)
    })?;
    // Or shapes are drawn that say nothing about the op. A few cases say nothing about that.
    prop_assert!(
        all.get() < 32 || used.get() * 4 >= all.get(),
        "{}: only {} of {} shapes were used",
        op.name,
        used.get(),
        all.get()
    );
    Ok(())
}

/// Checks one small use of an op on a device: what is about to be measured is right.
///
/// # Errors
///
/// Those of the call, and [`Driver`](taut::ErrorKind::Driver) with what differs if the result is not as defined.
pub fn check_once(device: &Device, op: &Op, dtype: DType) -> Result<()> {
    let shape = [[3, 1000].as_slice(), &[10, 300], &[2, 30, 50]];
    let case = |shape: &&[usize]| Case { op, dtype, shape: shape.to_vec(), views: vec![Vec::new()], seed: 1 };
    let drawn = shape.iter().map(case).find_map(|case| Some((op.draw(&case.shape, dtype, 1)?, case)));
    let Some((subject, case)) = drawn else { return Ok(()) };
    let sources = case.sources(&subject);
    let wants = (subject.define)(&sources.iter().map(array).collect::<Vec<_>>());
    let outputs = (subject.call)(sources.iter().map(|source| source.upload(device)).collect::<Result<_>>()?)?;
    let differs = |error| Error::new(ErrorKind::Driver, format!("{}: a wrong result: {error}", op.name));
    outputs.iter().zip(&wants).try_for_each(|(output, want)| matches(output, want)).map_err(differs)
}

/// Pools beside that of the trial.
struct Pools {
    plan: Device,
    /// With nothing in it between calls.
    guarded: Device,
}

struct Case<'a> {
    op: &'a Op,
    dtype: DType,
    shape: Vec<usize>,
    /// How each operand is cut out of another tensor.
    views: Vec<Vec<[usize; 4]>>,
    seed: u64,
}

/// An operand: its base tensor's values, and the view.
struct Source {
    dtype: DType,
    base: Vec<Value>,
    geometry: Geometry,
}

impl Source {
    fn values(&self) -> Vec<Value> {
        self.geometry.grid().index.into_iter().map(|i| self.base[i]).collect()
    }

    fn upload(&self, device: &Device) -> Result<Tensor> {
        self.geometry.view(upload(&self.base, &self.geometry.base, self.dtype, device)?)
    }
}

impl Case<'_> {
    fn sources(&self, subject: &Use) -> Vec<Source> {
        let operands = subject.operands.iter().zip(self.views.iter().cycle()).enumerate();
        let sources = operands.map(|(i, (operand, views))| {
            let geometry = Geometry::viewed(&operand.shape, views, true);
            let base = operand.fill.values(geometry.base_numel(), operand.dtype, self.seed + i as u64);
            Source { dtype: operand.dtype, base, geometry }
        });
        sources.collect()
    }

    fn check(&self, at: &At, pools: &Pools, subject: &Use) -> Check {
        let sources = self.sources(subject);
        let arrays: Vec<Array> = sources.iter().map(array).collect();
        let wants = (subject.define)(&arrays);
        let upload =
            |device: &Device| sources.iter().map(|source| source.upload(device)).collect::<Result<Vec<_>>>();

        let operands = upload(&at.device)?;
        poison(&at.device, &wants.iter().map(|want| want.bytes()).collect::<Vec<_>>())?;
        let (outputs, real) = peaks(&at.device, || (subject.call)(operands.clone()))?;
        prop_assert_eq!(outputs.len(), wants.len(), "results");
        for (output, want) in outputs.iter().zip(&wants) {
            matches(output, want)?;
        }
        for (i, (operand, array)) in operands.iter().zip(&arrays).enumerate() {
            same(operand, &array.values)
                .map_err(|error| fail(format!("operand {i} was changed: {error}")))?;
        }

        let planned = upload(&pools.plan)?;
        let (_, expected) = peaks(&pools.plan, || (subject.call)(planned.clone()))?;
        prop_assert_eq!(real, expected, "bytes: live, tensor, workspace, live at most: measured, planned");
        drop((operands, planned));

        let again = (subject.call)(upload(&at.device)?)?;
        let alike = outputs.iter().zip(&again).try_for_each(|(output, again)| same_tensors(again, output));
        alike.map_err(|error| fail(format!("given for good: {error}")))?;
        let Some(twin) = &subject.twin else { return Ok(()) };
        in_place(&pools.guarded, &sources, twin, &outputs[0])
            .map_err(|error| fail(format!("in place: {error}")))
    }
}

fn matches(output: &Tensor, want: &Want) -> Check {
    let (got, wanted) = ((&output.shape()[..], output.dtype()), (&want.shape[..], want.dtype));
    prop_assert_eq!(got, wanted, "shape and dtype");
    meets(output, &want.elements)
}

fn array(source: &Source) -> Array {
    Array { shape: source.geometry.shape.clone(), dtype: source.dtype, values: source.values() }
}

/// The bytes that a call leaves and takes at most, over what was there before.
fn peaks<T>(device: &Device, call: impl FnOnce() -> Result<T>) -> Result<(T, [u64; 4])> {
    device.pool().reset_peaks();
    let before = device.stats();
    let out = call()?;
    let Stats { live_bytes, peak_tensor_bytes, peak_workspace_bytes, peak_live_bytes, .. } = device.stats();
    let base = before.live_bytes;
    Ok((out, [live_bytes - base, peak_tensor_bytes - base, peak_workspace_bytes, peak_live_bytes - base]))
}

/// Over a view, in a pool that holds nothing else: the elements outside of the view must stay.
fn in_place(pool: &Device, sources: &[Source], twin: &Twin, output: &Tensor) -> Check {
    let source = &sources[0];
    let mut x = source.upload(pool)?;
    if x.layout().overlaps() {
        return Ok(());
    }
    let others = sources[1..].iter().map(|source| source.upload(pool)).collect::<Result<Vec<_>>>()?;
    twin(&mut x, &others)?;
    same_tensors(&x, output)?;
    let mut want = source.base.clone();
    source.geometry.grid().index.into_iter().zip(download(&x)?).for_each(|(i, value)| want[i] = value);

    // The next block of that size has the place of the first.
    drop((x, others));
    let (bytes, site) = (want.len() * source.dtype.size(), Site::new("test", Kind::Input));
    let block = pool.pool().allocate(bytes as u64, StreamId::COMPUTE, site)?;
    let dtype = if source.dtype == DType::Bool { DType::U8 } else { source.dtype };
    same(&Tensor::from_block(block, &source.geometry.base, dtype, pool)?, &want)
        .map_err(|error| fail(format!("outside of the view: {error}")))
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { op, dtype, shape, seed, .. } = self;
        write!(f, "{} of {dtype} {shape:?}, seed {seed}", op.name)?;
        let Some(subject) = op.draw(shape, *dtype, *seed) else {
            return f.write_str(", which it does not take");
        };
        if !subject.note.is_empty() {
            write!(f, ", {}", subject.note)?;
        }
        for (i, (operand, source)) in subject.operands.iter().zip(self.sources(&subject)).enumerate() {
            write!(
                f,
                "\n    operand {i}: {} {:?}, {:?} values",
                source.dtype, source.geometry, operand.fill
            )?;
            if let Ok(x) = source.upload(&Device::plan(taut::Spec::cpu())) {
                write!(f, ", strides {:?}, offset {}", x.strides(), x.layout().offset())?;
            }
        }
        Ok(())
    }
}
