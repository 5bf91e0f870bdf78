//! Host memory for what leaves a device for a while: pinned beside a card, plain beside the CPU, none beside a plan.
//!
//! What is given back is kept for reuse by what takes as much, so that a step that repeats asks the system for nothing.

use crate::{Device, Tensor, device::DeviceKind};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};
use taut_core::{Error, ErrorKind, Result};
use taut_cuda::Pinned;
use taut_memory::StreamId;

/// What a device has of the host's memory for tensors that are away from it: [`save_on_host`](crate::save_on_host),
/// [`Tensor::offload`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostStats {
    /// Bytes that are away from the device.
    pub live_bytes: u64,
    /// The peak of `live_bytes`.
    pub peak_live_bytes: u64,
    /// Bytes that were asked of the system, those kept for reuse among them: lengths are rounded up by at most an eighth.
    pub reserved_bytes: u64,
    /// How often the system was asked for memory. From the second repetition of a step on it is not.
    pub allocations: u64,
}

/// The pieces that a device has of the host's memory.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<State>);

#[derive(Default)]
struct State {
    stats: HostStats,
    /// Those that are not lent, by length. Only requests of the same rounded length get one: with best fit, what one step
    /// takes could leave another request of the next without.
    free: BTreeMap<u64, Vec<Memory>>,
}

enum Memory {
    Plain(Vec<u8>),
    Pinned(Pinned),
    Planned,
}

impl Memory {
    fn new(device: &Device, bytes: u64) -> Result<Memory> {
        let length = usize::try_from(bytes);
        let length = length.map_err(|_| Error::out_of_memory(format!("{bytes} bytes are no memory")))?;
        match device.kind() {
            DeviceKind::Cpu => {
                let mut memory = Vec::new();
                let none = |error| Error::out_of_memory(format!("{error}"));
                memory.try_reserve_exact(length).map_err(none)?;
                memory.resize(length, 0);
                Ok(Memory::Plain(memory))
            }
            DeviceKind::Cuda { gpu, .. } => Ok(Memory::Pinned(gpu.pin(length)?)),
            DeviceKind::Plan(_) => Ok(Memory::Planned),
        }
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> HostStats {
        self.lock().stats
    }

    /// Gives what is not lent back to the system.
    pub(crate) fn release(&self) {
        self.lock().release();
    }

    /// [`release`](Self::release), and begins to count anew. Nothing is lent.
    pub(crate) fn reset(&self) {
        *self.lock() = State::default();
    }
}

impl State {
    fn release(&mut self) {
        for (length, free) in std::mem::take(&mut self.free) {
            self.stats.reserved_bytes -= length * free.len() as u64;
        }
    }

    fn take(&mut self, device: &Device, bytes: u64) -> Result<Memory> {
        let length = rounded(bytes);
        if let Some(memory) = self.free.get_mut(&length).and_then(Vec::pop) {
            return Ok(memory);
        }
        let mut memory = Memory::new(device, length);
        if memory.as_ref().is_err_and(|error| error.kind() == ErrorKind::OutOfMemory) {
            self.release();
            memory = Memory::new(device, length);
        }
        let memory = memory?;
        self.stats.allocations += 1;
        self.stats.reserved_bytes += length;
        Ok(memory)
    }
}

/// The length of what is taken for `bytes`: one of eight between a power of two and the next.
fn rounded(bytes: u64) -> u64 {
    let step = (bytes.checked_next_power_of_two().unwrap_or(1 << 63) / 16).max(4096);
    bytes.checked_next_multiple_of(step).unwrap_or(bytes)
}

/// A piece of the host's memory beside a device. Dropping it gives it back.
pub(crate) struct HostBlock {
    device: Device,
    bytes: u64,
    /// Empty if it has no byte.
    memory: Option<Memory>,
}

impl HostBlock {
    /// # Errors
    ///
    /// [`OutOfMemory`](ErrorKind::OutOfMemory) if the host has not as much.
    pub(crate) fn new(op: &str, device: &Device, bytes: u64) -> Result<HostBlock> {
        let mut memory = None;
        if bytes > 0 {
            let mut shelf = device.shelf().lock();
            memory = Some(shelf.take(device, bytes).map_err(|error| {
                let (live, reserved) = (shelf.stats.live_bytes, shelf.stats.reserved_bytes);
                let held =
                    format!("{live} of {reserved} bytes there are in use by what is away from {device}");
                Error::new(error.kind(), format!("{op}: {bytes} bytes of host memory: {error}; {held}"))
            })?);
            let stats = &mut shelf.stats;
            stats.live_bytes += bytes;
            stats.peak_live_bytes = stats.peak_live_bytes.max(stats.live_bytes);
        }
        Ok(HostBlock { device: device.clone(), bytes, memory })
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Copies a flat tensor of its length here, on the download stream: does not block.
    pub(crate) fn take(&mut self, x: &Tensor) -> Result<()> {
        // On every device, so that the pool takes the same decisions.
        let view = x.view_on(StreamId::DOWNLOAD)?;
        match (&mut self.memory, self.device.kind()) {
            (Some(Memory::Plain(memory)), _) => {
                let bytes = view.host_bytes()?;
                memory[..bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            (Some(Memory::Pinned(pinned)), DeviceKind::Cuda { gpu, .. }) => {
                pinned.take(&*gpu.stream(StreamId::DOWNLOAD)?, view.operand()?)
            }
            _ => Ok(()),
        }
    }

    /// Copies what was [taken](Self::take) over a flat tensor of its length, allocated on the upload stream: does not block.
    pub(crate) fn give(&self, x: &mut Tensor) -> Result<()> {
        match (&self.memory, self.device.kind()) {
            (Some(Memory::Plain(memory)), _) => {
                let mut view = x.view_mut_on(StreamId::UPLOAD, "fetch")?;
                let bytes = view.host_bytes()?;
                bytes.copy_from_slice(&memory[..bytes.len()]);
                Ok(())
            }
            (Some(Memory::Pinned(pinned)), DeviceKind::Cuda { gpu, .. }) => {
                let view = x.view_mut_on(StreamId::UPLOAD, "fetch")?;
                pinned.give(&*gpu.stream(StreamId::UPLOAD)?, view.operand()?)
            }
            _ => Ok(()),
        }
    }
}

impl Drop for HostBlock {
    fn drop(&mut self) {
        let Some(memory) = self.memory.take() else { return };
        let mut shelf = self.device.shelf().lock();
        shelf.stats.live_bytes -= self.bytes;
        shelf.free.entry(rounded(self.bytes)).or_default().push(memory);
    }
}

impl fmt::Debug for HostBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes beside {}", self.bytes, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_rounded_up_by_an_eighth_at_most() {
        for bytes in [1, 4095, 4096, 4097, 65_537, (1 << 20) + 1, 3 << 20, (5 << 20) - 1, 1 << 40] {
            let length = rounded(bytes);
            assert!(length >= bytes && length - bytes <= (bytes / 8).max(4096), "{bytes} as {length}");
            assert_eq!(rounded(length), length, "{bytes}");
        }
        assert_eq!(rounded(256 << 20), 256 << 20);
    }
}
