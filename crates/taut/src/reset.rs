//! Giving a device back, whole.

use crate::Device;
use taut_core::{Error, Result};

impl Device {
    /// Gives back everything that this device holds: unused pages and their addresses, and of a card the pinned buffers,
    /// streams, kernels and the context too, so that another process finds the card as if this one had never used it.
    /// Blocks until the device is idle.
    ///
    /// The handle and its clones go on: what is needed next makes what it needs anew, a card in the time that its first
    /// use took. The device is then as a [`fresh`](Self::fresh) one, with statistics that begin at 0; only its budget
    /// stays, and streams that are held stay usable. A service that swaps models need not call it: dropping the tensors
    /// makes room for others, and [`release`](Self::release) gives their pages back. This is for one that has nothing to
    /// do for a while.
    ///
    /// Devices over one card share its context, so that this empties the others over it too.
    ///
    /// ```
    /// use taut::{DType, Device, ErrorKind, Stats, Tensor};
    ///
    /// let device = Device::cpu().fresh()?;
    /// let x = Tensor::zeros([1000], DType::F32, &device)?;
    /// let error = device.reset().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Shared);
    /// assert!(error.to_string().contains("zeros activations 3.91 KiB (4000 bytes) in 1 block"));
    ///
    /// drop(x);
    /// device.reset()?;
    /// assert_eq!(device.stats(), Stats::default());
    /// assert_eq!(Tensor::zeros([1000], DType::F32, &device)?.numel(), 1000);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared), saying who holds what, while a tensor lives here, an empty one too, in host memory
    /// beside the device ([`Offloaded`](crate::Offloaded), [`save_on_host`](crate::save_on_host)), or on another device over the same card: nothing has changed then. `Shared` too while a stream or an event of the card
    /// is held or another thread uses it: the context then stays. Whatever failed in the work that is waited for;
    /// [`Driver`](crate::ErrorKind::Driver) for a fault of the device. A device that is lost stays lost.
    pub fn reset(&self) -> Result<()> {
        self.synchronize()?;
        let devices = self.over_same_card();
        for device in &devices {
            let away = device.host_stats().live_bytes;
            if away > 0 {
                return Err(Error::shared(format!(
                    "reset: {away} bytes of host memory are still held by what is away from {device}; drop it first"
                )));
            }
            if let Some(holders) = device.pool().holders() {
                let other = if device == self { "" } else { "another device over " };
                return Err(Error::shared(format!(
                    "reset: {other}{device} still holds {holders}; drop these tensors first"
                )));
            }
        }
        devices.iter().try_for_each(|device| device.pool().reset())?;
        devices.iter().for_each(|device| device.shelf().reset());
        self.gpu().map_or(Ok(()), |gpu| gpu.close())
    }
}
