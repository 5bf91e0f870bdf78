//! What the forward pass keeps, in host memory until the backward comes to it.
//!
//! A tensor goes out once, whoever keeps it: its storage knows what has its bytes. It is [`Away`] then, and comes back once:
//! when the first rule asks for it, or already while the rule before that runs. All of it follows program order: which event a
//! stream waits for is known when the work is given, and so is the peak.

use crate::{Device, Offloaded, Tensor, storage::Role};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};
use taut_core::{DType, Error, ErrorKind, Layout, Result, Shape};
use taut_memory::{Kind, StreamId};

/// The least that goes out in [`save_on_host`], 128 KiB: the copies of what is smaller take longer to begin than to be made.
pub const SAVED_ON_HOST_BYTES: u64 = 128 << 10;

thread_local! {
    /// While [`save_on_host`] runs on this thread, and no backward in it.
    static REGION: RefCell<Option<Region>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Region {
    /// The last that went out, of each device.
    leaving: Vec<Weak<Away>>,
    /// The first that could not go out, and stayed.
    error: Option<Error>,
}

/// Calls `forward`, and keeps what its backward needs in host memory: pinned beside a card, plain beside the CPU. Each tensor
/// is copied out while the next ops run, on the stream of downloads, and its memory is back in the pool as soon as nobody else
/// holds it; [`backward`](Tensor::backward), called later, copies it back, each one while the rule before it runs. Values are
/// the same to the bit, nothing blocks the host, and host memory is kept for the next step ([`Device::host_stats`]).
///
/// On the device stay: what requires a gradient and other [weights](Kind::Weights), tensors below
/// [`SAVED_ON_HOST_BYTES`], and views of a part of something. At most one tensor is on its way out at a time, and one on its
/// way in beside those that the present rule has asked for: so the peak is that of two layers, and planned like any other.
///
/// With [`checkpoint`](crate::checkpoint) inside, its inputs are all that goes out: little traffic, and nothing stays. Calls
/// nest, the outer one counts. In [`no_grad`](crate::no_grad) nothing is kept, here or there; a
/// [graph](crate::Graphed) keeps what it keeps on the device. An op in place that would be refused because a backward needs
/// what it writes over may be done, once that is out.
///
/// Source: Rhu et al., "vDNN: virtualized deep neural networks for scalable, memory-efficient neural network design", 2016.
///
/// ```
/// use taut::{Activation, DType, Device, Tensor, save_on_host};
/// let device = Device::cpu().fresh()?;
/// let w = Tensor::normal([512, 512], 0.0, 0.06, 1, DType::F32, &device)?.require_grad()?;
/// let x = Tensor::normal([1024, 512], 0.0, 1.0, 2, DType::F32, &device)?;
/// let loss = save_on_host(|| {
///     let mut h = x;
///     for _ in 0..4 {
///         h = h.linear_with(&w, None, Activation::Relu)?;
///     }
///     h.square()?.mean(&[])
/// })?;
/// // The weight and the loss are all that is on the device; the input and the outputs of four layers are not.
/// assert_eq!(device.stats().live_bytes, 512 * 512 * 4 + 4);
/// assert_eq!(device.host_stats().live_bytes, 5 * 1024 * 512 * 4);
/// loss.backward()?;
/// assert!(w.grad().is_some());
/// assert_eq!(device.host_stats().live_bytes, 0);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// Those of `forward`; [`OutOfMemory`](ErrorKind::OutOfMemory) if the host has no room for what it kept. The backward's errors
/// are its own, out of memory on the device among them.
pub fn save_on_host<R>(forward: impl FnOnce() -> Result<R>) -> Result<R> {
    if is_active() {
        return forward();
    }
    let (result, region) = with_region(Some(Region::default()), forward);
    let Region { leaving, mut error } = region.unwrap_or_default();
    for away in leaving.iter().filter_map(Weak::upgrade) {
        // No stream waits: whoever gets the memory does.
        let left = away.left(None);
        error = error.or(left.err());
    }
    result.and_then(|result| error.map_or(Ok(result), Err))
}

/// Calls `f`, in which nothing goes out.
pub(super) fn kept_here<R>(f: impl FnOnce() -> R) -> R {
    with_region(None, f).0
}

/// Calls `f` with another region, which is given back; as before when it returns, or panics.
fn with_region<R>(region: Option<Region>, f: impl FnOnce() -> R) -> (R, Option<Region>) {
    struct Restore(Option<Region>);
    impl Drop for Restore {
        fn drop(&mut self) {
            REGION.replace(self.0.take());
        }
    }
    let _restore = Restore(REGION.replace(region));
    let result = f();
    (result, REGION.take())
}

fn is_active() -> bool {
    REGION.with_borrow(Option::is_some)
}

/// Sends a tensor out that `op` keeps, if that is wanted here, and it is not there already.
pub(super) fn send(x: &Tensor, op: &'static str) -> Option<Arc<Away>> {
    if !is_active() || stays(x) {
        return None;
    }
    if let Some(away) = x.storage().away() {
        return Some(away);
    }
    REGION.with_borrow_mut(|region| {
        let region = region.as_mut()?;
        let sent = region.send(x, op);
        sent.map_err(|error| region.error.get_or_insert(error).kind()).ok()
    })
}

/// Whether a tensor stays on the device whatever is wanted.
fn stays(x: &Tensor) -> bool {
    let (block, bytes) = (x.storage().block(), (x.numel() * x.dtype().size()) as u64);
    let is_weight = x.kind() == Kind::Weights || x.grad_number().is_some();
    // A part would keep the whole alive, or be all that is left of it.
    let is_whole = x.layout().dense().is_some() && bytes == block.bytes();
    let in_graph = x.device().with_pass(|_| ()).is_some() || block.pool() != x.device().pool();
    is_weight || bytes < SAVED_ON_HOST_BYTES || !is_whole || in_graph
}

impl Region {
    fn send(&mut self, x: &Tensor, op: &'static str) -> Result<Arc<Away>> {
        // The one before has had the time of the ops between them. Before this one is given to the stream of downloads: the
        // wait is for that one alone.
        let mut left = Ok(());
        self.leaving.retain(|away| match away.upgrade() {
            Some(away) if away.device == *x.device() => {
                left = away.left(Some(away.device.current()));
                false
            }
            other => other.is_some(),
        });
        left?;
        let away = Away::new(x, op)?;
        self.leaving.push(Arc::downgrade(&away));
        Ok(away)
    }
}

/// A tensor whose bytes are in host memory, on the way there or on the way back: one for all rules that need it.
pub(crate) struct Away {
    device: Device,
    /// Larger than of what went out before.
    number: u64,
    op: &'static str,
    state: Mutex<State>,
}

enum State {
    /// The copy is under way: until the next goes out, the memory is held.
    Leaving {
        here: Tensor,
        there: Offloaded,
    },
    Out(Offloaded),
    /// Given to the stream of uploads, and nobody waits yet.
    Coming(Tensor),
    Back(Tensor),
    /// The last rule has it.
    Taken,
}

impl Away {
    fn new(x: &Tensor, op: &'static str) -> Result<Arc<Away>> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let here = x.clone().with_role(Role::Saved(op)).detach();
        // Its bytes in the order in which they lie, whatever they mean.
        let bytes = Layout::contiguous(Shape::new(&[x.numel() * x.dtype().size()])?);
        let there = Offloaded::of(op, &here.clone().seen_as(bytes, DType::U8), Kind::Saved)?;
        let state = Mutex::new(State::Leaving { here, there });
        let away = Arc::new(Away { device: x.device().clone(), number, op, state });
        x.storage().set_away(Arc::downgrade(&away));
        away.device.absent().lock().insert(number, Arc::downgrade(&away));
        Ok(away)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the memory on the device. If a stream is to wait until the copy is made, nobody else need.
    fn left(&self, waiter: Option<StreamId>) -> Result<()> {
        let mut state = self.state();
        if let (State::Leaving { here, .. }, Some(waiter)) = (&*state, waiter) {
            self.device.order(waiter, StreamId::DOWNLOAD)?;
            here.storage().block().ordered(waiter, StreamId::DOWNLOAD);
        }
        *state = match std::mem::replace(&mut *state, State::Taken) {
            State::Leaving { there, .. } => State::Out(there),
            other => other,
        };
        Ok(())
    }

    /// Gives the way back to the stream of uploads, if it is out.
    fn fetch(&self) -> Result<()> {
        let mut state = self.state();
        if let State::Out(there) = &*state {
            *state = State::Coming(there.fetch_for(self.op)?.with_role(Role::Saved(self.op)));
        }
        Ok(())
    }

    /// Orders the current stream after the way back. To be called before the next is given to the stream of uploads: the wait
    /// is for this one alone.
    fn settle(&self) -> Result<()> {
        let mut state = self.state();
        if let State::Coming(x) = &*state {
            x.storage().settle_on(self.device.current())?;
        }
        *state = match std::mem::replace(&mut *state, State::Taken) {
            State::Coming(x) => State::Back(x),
            other => other,
        };
        Ok(())
    }

    /// The bytes on the device, for the rule that has come to it; and gives what went out before it the way back.
    pub(super) fn take(self: Arc<Away>) -> Result<Tensor> {
        self.fetch()?;
        self.settle()?;
        match self.device.absent().before(self.number).map_or(Ok(()), |next| next.fetch()) {
            // It may come when it is needed, if there is room then.
            Err(error) if error.kind() != ErrorKind::OutOfMemory => return Err(error),
            _ => {}
        }
        let (state, is_last) = match Arc::try_unwrap(self) {
            Ok(away) => (std::mem::replace(&mut *away.state(), State::Taken), true),
            Err(away) => (away.state().again(), false),
        };
        match state {
            State::Back(x) => Ok(x),
            State::Leaving { here, .. } if is_last => Ok(here),
            _ => Err(Error::grad("backward: what an op kept is gone")),
        }
    }
}

impl State {
    /// What is on the device, for one of several rules.
    fn again(&mut self) -> State {
        if let State::Leaving { here, .. } = self {
            *self = State::Back(here.clone());
        }
        match self {
            State::Back(x) => State::Back(x.clone()),
            _ => State::Taken,
        }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.device.absent().lock().remove(&self.number);
    }
}

/// What is away from a device, by number.
#[derive(Default)]
pub(crate) struct Absent(Mutex<BTreeMap<u64, Weak<Away>>>);

impl Absent {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Weak<Away>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last that went out before another, which a backward needs next.
    fn before(&self, number: u64) -> Option<Arc<Away>> {
        self.lock().range(..number).next_back().and_then(|(_, away)| away.upgrade())
    }
}
