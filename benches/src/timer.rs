//! Time on the device: events on a card, the clock on the CPU.

use std::sync::Arc;
use std::time::{Duration, Instant};
use taut::{Device, Result};
use taut_cuda::{Event, Stream};

/// Times regions of one device's compute stream.
pub struct Timer {
    card: Option<(Arc<Stream>, Event, Event)>,
}

impl Timer {
    /// A timer for `device`.
    pub fn new(device: &Device) -> Result<Timer> {
        let card = device.gpu().map(|gpu| {
            let stream = gpu.stream(taut::memory::StreamId::COMPUTE)?;
            let (start, end) = (Event::timed(&stream)?, Event::timed(&stream)?);
            Ok((stream, start, end))
        });
        Ok(Timer { card: card.transpose()? })
    }

    /// The time that the device took for what `f` gave it. Blocks until that is done.
    pub fn time(&self, f: impl FnOnce() -> Result<()>) -> Result<Duration> {
        let Some((stream, start, end)) = &self.card else {
            let start = Instant::now();
            f()?;
            return Ok(start.elapsed());
        };
        start.record(stream)?;
        f()?;
        end.record(stream)?;
        end.since(start)
    }
}
