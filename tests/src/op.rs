//! Ops as all that proves or measures them sees them: what they take, how they are called, what must come out.
//!
//! One entry of [`ops::all`](crate::ops::all) is a property test on every device ([`prove`](crate::prove)), and its rows
//! of the throughput benches.

use crate::{Fill, Interval, Rng, Value};
use taut::{DType, Result, Tensor};

type Make = Box<dyn Fn(&mut Draw) -> Option<Use> + Send + Sync>;

/// An op, or one way to use it.
pub struct Op {
    /// The method, and after a comma which use of it where there are several: `sum, columns`.
    pub name: String,
    /// Whether the result stands over the first operand where no one else holds that.
    pub in_place: bool,
    takes: Box<dyn Fn(DType) -> bool + Send + Sync>,
    draw: Make,
    scale: fn(usize) -> Vec<usize>,
}

impl Op {
    /// An op on the dtypes that `takes` names. `draw` makes a use of it, of a given shape and dtype; `None` if it has
    /// none for the shape.
    pub fn new(
        name: impl Into<String>,
        takes: impl Fn(DType) -> bool + Send + Sync + 'static,
        draw: impl Fn(&mut Draw) -> Option<Use> + Send + Sync + 'static,
    ) -> Op {
        let (takes, draw) = (Box::new(takes), Box::new(draw));
        Op { name: name.into(), in_place: false, takes, draw, scale: |numel| vec![numel / 4096, 4096] }
    }

    /// The same under another name, for a bench of another shape.
    pub fn named(self, name: &str) -> Op {
        Op { name: name.into(), ..self }
    }

    /// An op that writes over its first operand where it can.
    pub fn in_place(self) -> Op {
        Op { in_place: true, ..self }
    }

    /// The shape that benches give it when about `numel` elements fill the device; `[numel / 4096, 4096]` unless told.
    pub fn scale(self, scale: fn(usize) -> Vec<usize>) -> Op {
        Op { scale, ..self }
    }

    /// The method's name.
    pub fn method(&self) -> &str {
        self.name.split(',').next().unwrap_or_default()
    }

    /// Whether the op is defined on elements of `dtype`.
    pub fn takes(&self, dtype: DType) -> bool {
        (self.takes)(dtype)
    }

    /// A use with generated parameters.
    pub fn draw(&self, shape: &[usize], dtype: DType, seed: u64) -> Option<Use> {
        (self.draw)(&mut Draw { shape: shape.to_vec(), dtype, rng: Some(Rng(seed)) })
    }

    /// The usual use, at the scale of a bench.
    pub fn usual(&self, numel: usize, dtype: DType) -> Option<Use> {
        (self.draw)(&mut Draw { shape: (self.scale)(numel), dtype, rng: None })
    }
}

/// What a use is made for, and where its parameters come from.
pub struct Draw {
    /// The shape of the first operand.
    pub shape: Vec<usize>,
    /// The dtype of the first operand.
    pub dtype: DType,
    rng: Option<Rng>,
}

impl Draw {
    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Below `n`, which is not 0; in benches 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.rng.as_mut().map_or(0, |rng| rng.below(n))
    }

    /// One of several; in benches the first.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// An axis; in benches the last. None for a scalar.
    pub fn axis(&mut self) -> Option<usize> {
        let rank = self.rank();
        (rank > 0).then(|| rank - 1 - self.below(rank))
    }

    /// Whether this is for a bench: sizes may be large, and parameters are the usual ones.
    pub fn is_bench(&self) -> bool {
        self.rng.is_none()
    }

    /// The first operand.
    pub fn operand(&self, fill: Fill) -> Operand {
        Operand { shape: self.shape.clone(), dtype: self.dtype, fill }
    }
}

/// An operand to be made.
#[derive(Clone, Debug)]
pub struct Operand {
    /// The extents, as the op sees them: it may be a view of something else.
    pub shape: Vec<usize>,
    /// The dtype.
    pub dtype: DType,
    /// Which values it has.
    pub fill: Fill,
}

impl Operand {
    /// An operand of this shape.
    pub fn new(shape: &[usize], dtype: DType, fill: Fill) -> Operand {
        Operand { shape: shape.to_vec(), dtype, fill }
    }

    /// Bytes of the elements.
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

/// A call of an op.
pub type Call = Box<dyn Fn(Vec<Tensor>) -> Result<Vec<Tensor>> + Send + Sync>;
/// A method that is always in place, and its operands after the first.
pub type Twin = Box<dyn Fn(&mut Tensor, &[Tensor]) -> Result<()>>;
/// What a call must give.
pub type Define = Box<dyn Fn(&[Array]) -> Vec<Want>>;

/// One use of an op.
pub struct Use {
    /// What it takes.
    pub operands: Vec<Operand>,
    /// Its parameters, for messages.
    pub note: String,
    /// Floating-point operations, of an op that is not bound by memory.
    pub flops: Option<f64>,
    /// Bytes that it must read and write, where that is not all of its operands and results.
    pub bytes: Option<usize>,
    /// The op.
    pub call: Call,
    /// The op that is always in place, with the same result.
    pub twin: Option<Twin>,
    /// The definition.
    pub define: Define,
}

impl Use {
    /// A use of an op with one result.
    pub fn new(
        operands: impl Into<Vec<Operand>>,
        call: impl Fn(Vec<Tensor>) -> Result<Tensor> + Send + Sync + 'static,
        define: impl Fn(&[Array]) -> Want + 'static,
    ) -> Use {
        Use::several(operands, move |x| Ok(vec![call(x)?]), move |x| vec![define(x)])
    }

    /// A use of an op with several results.
    pub fn several(
        operands: impl Into<Vec<Operand>>,
        call: impl Fn(Vec<Tensor>) -> Result<Vec<Tensor>> + Send + Sync + 'static,
        define: impl Fn(&[Array]) -> Vec<Want> + 'static,
    ) -> Use {
        let (call, define) = (Box::new(call), Box::new(define));
        Use {
            operands: operands.into(),
            note: String::new(),
            flops: None,
            bytes: None,
            call,
            twin: None,
            define,
        }
    }

    /// With its parameters told in messages.
    pub fn note(self, note: impl std::fmt::Display) -> Use {
        Use { note: note.to_string(), ..self }
    }

    /// With the number of its floating-point operations.
    pub fn flops(self, flops: f64) -> Use {
        Use { flops: Some(flops), ..self }
    }

    /// With the number of bytes that it must read and write: an op that reads a part of its operands, or makes
    /// something of none.
    pub fn bytes(self, bytes: usize) -> Use {
        Use { bytes: Some(bytes), ..self }
    }

    /// With its twin that is always in place.
    pub fn twin(self, twin: impl Fn(&mut Tensor, &[Tensor]) -> Result<()> + 'static) -> Use {
        Use { twin: Some(Box::new(twin)), ..self }
    }
}

/// An operand as a definition sees it: its elements, row-major.
#[derive(Clone, Debug)]
pub struct Array {
    /// The extents.
    pub shape: Vec<usize>,
    /// The dtype.
    pub dtype: DType,
    /// The elements.
    pub values: Vec<Value>,
}

impl Array {
    /// The elements as f64.
    pub fn floats(&self) -> Vec<f64> {
        self.values.iter().map(|x| x.float()).collect()
    }
}

/// What must come out.
#[derive(Clone, Debug)]
pub struct Want {
    /// The extents.
    pub shape: Vec<usize>,
    /// The dtype.
    pub dtype: DType,
    /// The elements, row-major.
    pub elements: Elements,
}

/// What the elements of a result must be.
#[derive(Clone, Debug)]
pub enum Elements {
    /// These, to the bit.
    Exact(Vec<Value>),
    /// In these intervals once their ends are rounded to the dtype.
    Within(Vec<Interval>),
}

impl Want {
    /// These elements to the bit.
    pub fn exact(shape: &[usize], dtype: DType, values: Vec<Value>) -> Want {
        Want { shape: shape.to_vec(), dtype, elements: Elements::Exact(values) }
    }

    /// Elements in these intervals.
    pub fn within(shape: &[usize], dtype: DType, intervals: Vec<Interval>) -> Want {
        Want { shape: shape.to_vec(), dtype, elements: Elements::Within(intervals) }
    }

    /// Bytes of the result.
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

/// The only operand of a call.
///
/// # Errors
///
/// Never, if the use has an operand.
pub fn first(operands: Vec<Tensor>) -> Result<Tensor> {
    operands.into_iter().next().ok_or_else(|| taut::Error::shape("tests: an operand is missing"))
}

/// The first operand of a call, and the others.
///
/// # Errors
///
/// Never, if the use has an operand.
pub fn split(mut operands: Vec<Tensor>) -> Result<(Tensor, Vec<Tensor>)> {
    let rest = operands.split_off(1.min(operands.len()));
    Ok((first(operands)?, rest))
}
