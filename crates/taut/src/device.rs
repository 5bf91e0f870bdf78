//! Devices: where tensors live and ops run.

use crate::{
    grad::Absent,
    shelf::{HostStats, Shelf},
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};
use taut_core::{DType, Error, Result};
use taut_cuda::{Card, CudaBacking, Gpu, Tuning};
use taut_memory::{
    Backing, Block, Budget, HostBacking, Kind, PhantomBacking, Pool, Site, Stats, StreamId, wants_segments,
};

/// What a plan is made for.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// The CPU device, with this much memory.
    Cpu {
        /// The memory of the machine.
        memory_bytes: u64,
    },
    /// A CUDA card.
    Cuda(Card),
}

impl Spec {
    /// The CPU device of a machine with any amount of memory.
    pub fn cpu() -> Spec {
        Spec::Cpu { memory_bytes: 1 << 46 }
    }

    /// An NVIDIA H200.
    pub fn h200() -> Spec {
        Spec::Cuda(Card::h200())
    }
}

/// A place where tensors live and ops run, with its pool of memory. A cheap handle: a clone is the same device.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    kind: DeviceKind,
    /// What it is while a graph is planned.
    planned: OnceLock<DeviceKind>,
    pool: Pool,
    /// What reading a value gives on a plan device, as the bits of an `f64`.
    read_value: AtomicU64,
    /// Bit `n`: stream `n` is in use.
    streams: AtomicU64,
    /// The host beside the plan of a card, once someone asked for it.
    host: OnceLock<Device>,
    /// Host memory for what leaves the device for a while.
    shelf: Shelf,
    /// What of the tape is there.
    absent: Absent,
    /// What was measured of its products.
    tuning: RwLock<Arc<Tuning>>,
}

/// The spec by which a device, or a plan for it, takes its decisions.
pub(crate) enum SpecRef<'a> {
    Cpu,
    Cuda(&'a Card),
}

pub(crate) enum DeviceKind {
    Cpu,
    Cuda { gpu: Arc<Gpu>, index: u32 },
    Plan(Spec),
}

impl Device {
    /// The CPU of this machine: real and parallel. The same device on every call.
    ///
    /// # Panics
    ///
    /// If the system refuses the process even 1 GiB of addresses.
    ///
    /// ```
    /// assert_eq!(taut::Device::cpu(), taut::Device::cpu());
    /// ```
    pub fn cpu() -> Device {
        static CPU: OnceLock<Device> = OnceLock::new();
        CPU.get_or_init(|| match Device::new_cpu() {
            Ok(device) => device,
            Err(error) => panic!("the CPU device can not exist: {error}"),
        })
        .clone()
    }

    /// CUDA card `index`, with a pool of its own. Every call makes a new pool over the same card; clone the device to
    /// share one.
    ///
    /// # Errors
    ///
    /// [`Device`](crate::ErrorKind::Device) if there is no driver or no such card, if the driver is older than
    /// CUDA 12.0 or the card than compute capability 8.0, or if this build has no kernels; the message says which.
    pub fn cuda(index: u32) -> Result<Device> {
        let gpu = Gpu::open(index)?;
        let backing = Arc::new(CudaBacking::new(&gpu)?);
        let device = Device::new(DeviceKind::Cuda { gpu, index }, backing);
        let mut on_cards = on_cards();
        on_cards.retain(|inner| inner.strong_count() > 0);
        on_cards.push(Arc::downgrade(&device.0));
        Ok(device)
    }

    /// The first CUDA card where there is one, otherwise the CPU.
    pub fn best() -> Device {
        Device::cuda(0).unwrap_or_else(|_| Device::cpu())
    }

    /// A device that runs nothing and needs nothing: a program run on it takes the same decisions about memory as on
    /// a device of that spec, so its [`stats`](Self::stats) are that device's, to the byte.
    pub fn plan(spec: Spec) -> Device {
        let (capacity, overhead, is_segmented) = match &spec {
            Spec::Cpu { memory_bytes } => (*memory_bytes, 0, wants_segments()),
            Spec::Cuda(card) => (card.memory_bytes, card.context_bytes, !card.maps_memory),
        };
        let backing = PhantomBacking::new(capacity, overhead).segmented(is_segmented);
        Device::new(DeviceKind::Plan(spec), Arc::new(backing))
    }

    fn new_cpu() -> Result<Device> {
        let backing = HostBacking::new()?.segmented(wants_segments());
        Ok(Device::new(DeviceKind::Cpu, Arc::new(backing)))
    }

    fn new(kind: DeviceKind, backing: Arc<dyn Backing>) -> Device {
        let read_value = AtomicU64::new(f64::NAN.to_bits());
        // The compute stream and one copy stream each way.
        let (pool, streams) = (Pool::new(backing), AtomicU64::new(0b111));
        let (planned, host) = (OnceLock::new(), OnceLock::new());
        let (shelf, absent, tuning) = (Shelf::default(), Absent::default(), RwLock::default());
        Device(Arc::new(Inner { kind, planned, pool, read_value, streams, host, shelf, absent, tuning }))
    }

    /// The same hardware, or the same plan, with the same [tuning](Self::set_tuning) and a new pool: nothing in it, no budget.
    pub fn fresh(&self) -> Result<Device> {
        let fresh = match &self.0.kind {
            DeviceKind::Cpu => Device::new_cpu()?,
            DeviceKind::Cuda { index, .. } => Device::cuda(*index)?,
            DeviceKind::Plan(spec) => Device::plan(spec.clone()),
        };
        *fresh.tuning_cell().write().unwrap_or_else(PoisonError::into_inner) = self.tuning();
        Ok(fresh)
    }

    /// The host beside this device, where its outputs can go: the CPU, or for the plan of a card a plan of the CPU. The CPU
    /// is its own host. The same device on every call.
    pub fn host(&self) -> Device {
        match &self.0.kind {
            DeviceKind::Cpu | DeviceKind::Plan(Spec::Cpu { .. }) => self.clone(),
            DeviceKind::Cuda { .. } => Device::cpu(),
            DeviceKind::Plan(Spec::Cuda(_)) => self.0.host.get_or_init(|| Device::plan(Spec::cpu())).clone(),
        }
    }

    /// What a plan for this device is made from.
    pub fn spec(&self) -> Spec {
        match &self.0.kind {
            DeviceKind::Cpu => Spec::Cpu { memory_bytes: self.0.pool.capacity_bytes() },
            DeviceKind::Cuda { gpu, .. } => Spec::Cuda(gpu.card().clone()),
            DeviceKind::Plan(spec) => spec.clone(),
        }
    }

    /// Whether this is a CUDA card.
    pub fn is_cuda(&self) -> bool {
        matches!(self.0.kind, DeviceKind::Cuda { .. })
    }

    /// Whether nothing is run here, only planned; so it is in the first pass of a [graph](crate::Graphed) too.
    pub fn is_plan(&self) -> bool {
        matches!(self.kind(), DeviceKind::Plan(_))
    }

    /// The opened card, where this is one: for its streams, events and yardsticks.
    pub fn gpu(&self) -> Option<&Arc<Gpu>> {
        match &self.0.kind {
            DeviceKind::Cuda { gpu, .. } => Some(gpu),
            _ => None,
        }
    }

    /// The pool: to allocate blocks directly, set budgets, record a timeline.
    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Live, reserved and driver bytes, with their peaks.
    pub fn stats(&self) -> Stats {
        self.0.pool.stats()
    }

    /// Limits what this device may hold, context and modules included.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if more than that is in use.
    pub fn set_budget(&self, budget: Budget) -> Result<()> {
        self.0.pool.set_budget(budget)
    }

    /// Host memory for what is away from this device: in use, and kept for reuse.
    pub fn host_stats(&self) -> HostStats {
        self.0.shelf.stats()
    }

    /// Gives every unused page back to the driver, and returns how many bytes that were; host memory that
    /// [was used](Self::host_stats) for what was away from the device goes back to the system too. Blocks until the device is
    /// idle.
    pub fn release(&self) -> Result<u64> {
        self.not_in_graph("release")?;
        self.0.shelf.release();
        self.0.pool.release()
    }

    /// Blocks until all work given so far is done, and reports what failed in it.
    pub fn synchronize(&self) -> Result<()> {
        self.not_in_graph("synchronize")?;
        match &self.0.kind {
            DeviceKind::Cuda { gpu, .. } => gpu.synchronize(),
            DeviceKind::Cpu | DeviceKind::Plan(_) => Ok(()),
        }
    }

    /// Sets what reading a value gives on a plan device; NaN unless set.
    pub fn set_read_value(&self, value: f64) {
        self.0.read_value.store(value.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn read_value(&self) -> f64 {
        f64::from_bits(self.0.read_value.load(Ordering::Relaxed))
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    pub(crate) fn tuning_cell(&self) -> &RwLock<Arc<Tuning>> {
        &self.0.tuning
    }

    pub(crate) fn absent(&self) -> &Absent {
        &self.0.absent
    }

    pub(crate) fn kind(&self) -> &DeviceKind {
        match self.with_pass(|pass| pass.is_plan()) {
            Some(true) => self.0.planned.get_or_init(|| DeviceKind::Plan(self.spec())),
            _ => &self.0.kind,
        }
    }

    pub(crate) fn spec_ref(&self) -> SpecRef<'_> {
        match &self.0.kind {
            DeviceKind::Cpu | DeviceKind::Plan(Spec::Cpu { .. }) => SpecRef::Cpu,
            DeviceKind::Cuda { gpu, .. } => SpecRef::Cuda(gpu.card()),
            DeviceKind::Plan(Spec::Cuda(card)) => SpecRef::Cuda(card),
        }
    }

    /// Memory for a first use on `stream`: of the pool, or in a graph of its part.
    ///
    /// # Errors
    ///
    /// [`Graph`](crate::ErrorKind::Graph) in a graph for another stream than its own: for values of the host.
    pub(crate) fn allocate(&self, bytes: u64, stream: StreamId, site: Site) -> Result<Block> {
        let in_graph = self.with_pass(|pass| pass.allocate(bytes, stream, site));
        in_graph.unwrap_or_else(|| self.0.pool.allocate(bytes, stream, site))
    }

    /// Scratch memory of one op, on the current stream.
    pub(crate) fn workspace(&self, bytes: u64, op: &'static str) -> Result<Block> {
        self.allocate(bytes, self.current(), Site::new(op, Kind::Workspace))
    }

    /// Refuses in a graph what the host does: it would be done once, not with each replay.
    pub(crate) fn not_in_graph(&self, op: &str) -> Result<()> {
        match self.with_pass(|_| ()) {
            Some(()) => Err(Error::graph(format!(
                "{op}: a graph on {self} can not wait for its values or the device"
            ))),
            None => Ok(()),
        }
    }

    /// Takes the lowest stream that is not in use.
    pub(crate) fn take_stream(&self) -> Result<StreamId> {
        let lowest = |used: u64| (used != u64::MAX).then(|| used | (used + 1));
        let used = self.0.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lowest);
        let used = used.map_err(|_| Error::device(format!("stream: {self} has 64 in use, and no more")))?;
        let id = StreamId(used.trailing_ones() as u8);
        if let DeviceKind::Cuda { gpu, .. } = &self.0.kind {
            gpu.make_stream(id)?;
        }
        Ok(id)
    }

    /// Gives a stream back. Blocks that it used stay ordered after its work.
    pub(crate) fn return_stream(&self, id: StreamId) {
        self.0.streams.fetch_and(!(1 << id.0), Ordering::Relaxed);
    }

    /// Makes later work of `waiter` wait for all that `after` has been given so far.
    pub(crate) fn order(&self, waiter: StreamId, after: StreamId) -> Result<()> {
        match self.kind() {
            DeviceKind::Cuda { gpu, .. } => gpu.order(waiter, after),
            DeviceKind::Cpu | DeviceKind::Plan(_) => Ok(()),
        }
    }

    /// The devices over the same card, this one among them; only this one where there is no card.
    pub(crate) fn over_same_card(&self) -> Vec<Device> {
        let Some(gpu) = self.gpu() else { return vec![self.clone()] };
        let devices = on_cards().iter().filter_map(Weak::upgrade).map(Device).collect::<Vec<_>>();
        devices.into_iter().filter(|other| other.gpu().is_some_and(|other| Arc::ptr_eq(other, gpu))).collect()
    }

    /// Refuses dtypes that do not exist here.
    pub(crate) fn takes(&self, dtype: DType, op: &str) -> Result<()> {
        if dtype == DType::F64 && matches!(self.spec_ref(), SpecRef::Cuda(_)) {
            return Err(Error::dtype(format!("{op}: f64 exists on the CPU only, not on {self}")));
        }
        Ok(())
    }
}

/// The devices over cards: each has a pool of its own, and those over one card its context together.
fn on_cards() -> MutexGuard<'static, Vec<Weak<Inner>>> {
    static ON_CARDS: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());
    ON_CARDS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PartialEq for Device {
    /// Whether both are handles of one device: the same hardware and the same pool.
    fn eq(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Device {}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            DeviceKind::Cpu => f.write_str("cpu"),
            DeviceKind::Cuda { gpu, .. } => gpu.fmt(f),
            DeviceKind::Plan(Spec::Cpu { .. }) => f.write_str("plan of cpu"),
            DeviceKind::Plan(Spec::Cuda(card)) => write!(f, "plan of {}", card.name),
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({self})")
    }
}
