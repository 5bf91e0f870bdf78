//! Graphs: a function of tensors whose kernels are given to the card by one call.

use crate::{
    Device, Tensor,
    device::DeviceKind,
    storage::{Holder, Storage},
};
use std::fmt;
use taut_core::{Error, Result};
use taut_memory::{Block, Kind, Pool, Site, StreamId};

/// A function of tensors that can be replayed: on a card its kernels are recorded once, and a replay gives all of them to
/// the card by one call, without the host's work for each op.
///
/// The function runs twice when the graph is made: as a plan, which says how much memory its own tensors need, and then
/// to be recorded, in a block of that size, which the graph holds as long as it lives (op `graph`, kind
/// [`Workspace`](Kind::Workspace)). So it must do the same each time, and with every replay it does what it did then: random
/// numbers, too, are those of the recorded seeds. It may read tensors from outside, which the graph then holds; it may write
/// its own only.
///
/// On the CPU a replay calls the function again, and on a plan device it does nothing; the memory is the same everywhere.
///
/// ```
/// use taut::{DType, Device, Graphed, Tensor};
///
/// let device = Device::best();
/// let w = Tensor::full([3, 2], 0.5, DType::F32, &device)?;
/// let x = Tensor::full([4, 3], 1.0, DType::F32, &device)?;
/// let mut layer = Graphed::new(vec![x], |x| Ok(vec![x[0].clone().matmul(&w)?.relu()?]))?;
///
/// let x = Tensor::full([4, 3], 2.0, DType::F32, &device)?;
/// let y = layer.replay(&[&x])?;
/// assert_eq!(y[0].to_vec::<f32>()?, [3.0; 8]);
/// # Ok::<(), taut::Error>(())
/// ```
pub struct Graphed<'f> {
    function: Box<Function<'f>>,
    device: Device,
    /// Where its own tensors lie.
    memory: Pool,
    bytes: u64,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    /// How many holders the storage of each output has in `outputs`.
    holders: Vec<usize>,
    /// What it reads beside its inputs.
    held: Vec<Holder>,
    /// What the card does, where there is one.
    graph: Option<taut_cuda::Graph>,
    /// Where it was replayed last.
    stream: StreamId,
}

type Function<'f> = dyn Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + 'f;

impl<'f> Graphed<'f> {
    /// Records `function` of `inputs`, and computes it once. The inputs become the graph's own, to be overwritten by those
    /// of each [replay](Self::replay): one that is held elsewhere, or not contiguous, is copied for it.
    ///
    /// # Errors
    ///
    /// Those of `function`. [`Graph`](crate::ErrorKind::Graph) if it takes values from the host or waits for some
    /// (`from_slice`, `to_vec`, `item`, `to`, `synchronize`), writes a tensor from outside, returns one that is not its own,
    /// or none, or makes a graph. [`Value`](crate::ErrorKind::Value) without an input,
    /// [`Device`](crate::ErrorKind::Device) if the inputs are on several devices,
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if its tensors do not fit.
    pub fn new(
        inputs: Vec<Tensor>,
        function: impl Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + 'f,
    ) -> Result<Graphed<'f>> {
        let device = match inputs.first() {
            Some(first) => first.device().clone(),
            None => return Err(Error::new(taut_core::ErrorKind::Value, "graph: there is no input")),
        };
        device.not_in_graph("graph")?;
        inputs.iter().try_for_each(|input| input.same_device(&inputs[0], "graph"))?;
        let inputs = inputs.into_iter().map(own).collect::<Result<Vec<_>>>()?;

        let stream = device.current();
        let sketch = Pool::sketch();
        drop(Pass::run(&device, Pass::new(&sketch, stream, true), &inputs, &function)?);
        let script = sketch.script();
        let bytes = script.bytes();
        let block = device.pool().allocate(bytes, stream, Site::new(OP, Kind::Workspace))?;
        let memory = Pool::within(block, &script);

        let run = || Pass::run(&device, Pass::new(&memory, stream, false), &inputs, &function);
        let ((outputs, held), graph) = match device.kind() {
            DeviceKind::Cuda { gpu, .. } => {
                let (made, graph) = gpu.capture(stream, run)?;
                (made, Some(graph))
            }
            DeviceKind::Cpu | DeviceKind::Plan(_) => (run()?, None),
        };
        let function = Box::new(function);
        let holders = outputs.iter().map(|output| output.holder().count()).collect();
        let graphed =
            Graphed { function, device, memory, bytes, inputs, outputs, holders, held, graph, stream };
        graphed.launch()?;
        Ok(graphed)
    }

    /// Computes the function of new inputs, which are copied over the graph's own. What it returns is overwritten by the
    /// next replay.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape), [`DType`](crate::ErrorKind::DType) or [`Device`](crate::ErrorKind::Device) if the
    /// inputs are not as those that the graph was made with; [`Shared`](crate::ErrorKind::Shared) if something else still
    /// holds an output of the last replay. Nothing is computed then.
    pub fn replay(&mut self, inputs: &[&Tensor]) -> Result<&[Tensor]> {
        if inputs.len() != self.inputs.len() {
            let (has, takes) = (inputs.len(), self.inputs.len());
            return Err(Error::shape(format!("replay: {has} inputs, the graph takes {takes}")));
        }
        for (i, (new, own)) in inputs.iter().zip(&self.inputs).enumerate() {
            if new.shape() != own.shape() {
                let (has, takes) = (new.shape(), own.shape());
                return Err(Error::shape(format!("replay: input {i} is {has}, the graph takes {takes}")));
            }
            own.same_dtype(new, "replay")?;
            own.same_device(new, "replay")?;
        }
        self.outputs_are_free()?;
        self.inputs.iter_mut().zip(inputs).try_for_each(|(own, new)| own.copy_(new))?;
        self.again()
    }

    /// Computes the function of the present inputs once more.
    ///
    /// # Errors
    ///
    /// As [`replay`](Self::replay).
    pub fn again(&mut self) -> Result<&[Tensor]> {
        self.device.not_in_graph("replay")?;
        self.outputs_are_free()?;
        let stream = self.device.current();
        if stream != self.stream {
            self.device.order(stream, self.stream)?;
            // Their memory goes to nobody before the work on this stream is done.
            self.held.iter().for_each(|holder| holder.storage().block().used_by(stream));
            self.stream = stream;
        }
        self.inputs.iter().try_for_each(|input| input.storage().read_on(stream))?;
        self.outputs.iter().try_for_each(|output| output.storage().write_again_on(stream))?;
        if let DeviceKind::Cpu = self.device.kind() {
            self.outputs.clear();
            self.memory.rewind()?;
            let pass = Pass::new(&self.memory, stream, false);
            (self.outputs, self.held) = Pass::run(&self.device, pass, &self.inputs, &*self.function)?;
        }
        self.launch()?;
        Ok(&self.outputs)
    }

    /// What was computed last.
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// The memory of the function's own tensors, outputs among them, which the graph holds: what they take at once at most,
    /// or little more.
    pub fn memory_bytes(&self) -> u64 {
        self.bytes
    }

    /// How many kernels and copies a replay is; `None` but on a card.
    pub fn nodes(&self) -> Option<usize> {
        self.graph.as_ref().map(taut_cuda::Graph::nodes)
    }

    fn launch(&self) -> Result<()> {
        match (self.device.kind(), &self.graph) {
            (DeviceKind::Cuda { gpu, .. }, Some(graph)) => graph.launch(&*gpu.stream(self.stream)?),
            _ => Ok(()),
        }
    }

    fn outputs_are_free(&self) -> Result<()> {
        for (i, (output, &own)) in self.outputs.iter().zip(&self.holders).enumerate() {
            let others = output.holder().count().saturating_sub(own);
            if others > 0 {
                return Err(Error::shared(format!(
                    "replay: output {i} of the last one is held {others} times more, and would be overwritten; drop \
                     that, or `copy` it"
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Graphed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Graphed");
        out.field("inputs", &self.inputs).field("outputs", &self.outputs).field("bytes", &self.bytes);
        out.finish_non_exhaustive()
    }
}

const OP: &str = "graph";

/// `x` in memory that nobody else holds.
fn own(x: Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    if x.holder().count() == 1 { Ok(x) } else { x.copy() }
}

/// One run of a graph's function, with its tensors in a memory of their own.
pub(crate) struct Pass {
    memory: Pool,
    stream: StreamId,
    is_plan: bool,
    /// What it reads from outside.
    held: Vec<Holder>,
}

impl Pass {
    fn new(memory: &Pool, stream: StreamId, is_plan: bool) -> Pass {
        Pass { memory: memory.clone(), stream, is_plan, held: Vec::new() }
    }

    /// Runs `function`, and returns what it made, and what it holds of others.
    fn run(
        device: &Device,
        pass: Pass,
        inputs: &[Tensor],
        function: &dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    ) -> Result<(Vec<Tensor>, Vec<Holder>)> {
        let memory = pass.memory.clone();
        let (outputs, pass) = device.on(pass.stream, Some(pass), || function(inputs));
        let outputs = outputs?;
        if outputs.is_empty() {
            return Err(Error::graph("graph: the function returns no tensor"));
        }
        if let Some(i) = outputs.iter().position(|output| output.storage().block().pool() != &memory) {
            return Err(Error::graph(format!(
                "graph: output {i} is no tensor that the function made; return a `copy`"
            )));
        }
        let held = pass.map_or_else(Vec::new, |pass| pass.held);
        let is_input = |held: &Holder| inputs.iter().any(|input| input.holder().is(held));
        Ok((outputs, held.into_iter().filter(|held| !is_input(held)).collect()))
    }

    /// Whether nothing is to be run.
    pub(crate) fn is_plan(&self) -> bool {
        self.is_plan
    }

    /// Memory of the graph.
    pub(crate) fn allocate(&self, bytes: u64, stream: StreamId, site: Site) -> Result<Block> {
        if stream != self.stream {
            let op = site.op;
            return Err(Error::graph(format!(
                "{op}: a graph can not take values from the host; make the tensor before it"
            )));
        }
        self.memory.allocate(bytes, stream, site)
    }

    /// Keeps what an op reads, if it is not the graph's.
    pub(crate) fn hold(&mut self, holder: &Holder) {
        if holder.storage().block().pool() != &self.memory && !self.held.iter().any(|held| held.is(holder)) {
            self.held.push(holder.clone());
        }
    }

    /// Refuses to write what is not the graph's.
    pub(crate) fn owns(&self, storage: &Storage, op: &str) -> Result<()> {
        match storage.block().pool() == &self.memory {
            true => Ok(()),
            false => Err(Error::graph(format!("{op}: a graph can not write a tensor from outside of it"))),
        }
    }
}
