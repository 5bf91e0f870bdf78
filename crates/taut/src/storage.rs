//! Storage: a block, who holds it, and which streams touched it.

use crate::Device;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
};
use taut_core::{Error, Result};
use taut_memory::{Block, StreamId};

/// The memory of one or more tensors.
pub(crate) struct Storage {
    device: Device,
    block: Block,
    /// The stream of the last write.
    writer: AtomicU8,
    /// How many holders are views; the others are plain handles.
    views: AtomicU32,
}

impl Storage {
    pub(crate) fn new(device: Device, block: Block, writer: StreamId) -> Storage {
        Storage { device, block, writer: AtomicU8::new(writer.0), views: AtomicU32::new(0) }
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn block(&self) -> &Block {
        &self.block
    }

    pub(crate) fn block_mut(&mut self) -> &mut Block {
        &mut self.block
    }

    /// The stream of the last write.
    pub(crate) fn writer(&self) -> StreamId {
        StreamId(self.writer.load(Ordering::Relaxed))
    }

    /// Orders `stream` after the last write, and remembers that it reads.
    pub(crate) fn read_on(&self, stream: StreamId) -> Result<()> {
        if self.writer() != stream {
            self.device.order(stream, self.writer())?;
        }
        self.block.used_by(stream);
        Ok(())
    }

    /// Orders `stream` after every use, and remembers that it writes.
    pub(crate) fn write_on(&mut self, stream: StreamId) -> Result<()> {
        self.write_again_on(stream)
    }

    /// [`write_on`](Self::write_on) for a graph, which writes what others may hold.
    pub(crate) fn write_again_on(&self, stream: StreamId) -> Result<()> {
        for other in self.block.users().filter(|&other| other != stream) {
            self.device.order(stream, other)?;
        }
        self.block.used_by(stream);
        self.writer.store(stream.0, Ordering::Relaxed);
        Ok(())
    }
}

/// What a holder of a storage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A tensor as it was made.
    Handle,
    /// A slice, transpose, reshape or broadcast of one.
    View,
}

/// A counted hold of a storage.
pub(crate) struct Holder {
    storage: Arc<Storage>,
    role: Role,
}

impl Holder {
    pub(crate) fn new(storage: Storage) -> Holder {
        Holder { storage: Arc::new(storage), role: Role::Handle }
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Whether it is a hold of the same storage.
    pub(crate) fn is(&self, other: &Holder) -> bool {
        Arc::ptr_eq(&self.storage, &other.storage)
    }

    /// How many hold the storage.
    pub(crate) fn count(&self) -> usize {
        Arc::strong_count(&self.storage)
    }

    /// The storage to write to, if there is no other holder.
    pub(crate) fn sole(&mut self) -> Option<&mut Storage> {
        Arc::get_mut(&mut self.storage)
    }

    /// The storage to write to.
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared), naming the other holders.
    pub(crate) fn sole_or_refuse(&mut self, op: &str) -> Result<&mut Storage> {
        let others = self.others();
        Arc::get_mut(&mut self.storage).ok_or_else(|| {
            Error::shared(format!(
                "{op}: the storage is also held by {others}; drop it, or use `{}`",
                op.trim_end_matches('_')
            ))
        })
    }

    /// Who else holds the storage, in words, if anyone does.
    pub(crate) fn shared_with(&self) -> Option<String> {
        (self.count() > 1).then(|| self.others())
    }

    /// Who else holds the storage, in words.
    fn others(&self) -> String {
        let views = self.storage.views.load(Ordering::Relaxed);
        let views = views.saturating_sub(u32::from(self.role == Role::View));
        let all = Arc::strong_count(&self.storage) as u32 - 1;
        let count = |n: u32, what: &str| match n {
            0 => None,
            1 => Some(format!("a {what}")),
            n => Some(format!("{n} {what}s")),
        };
        let parts = [count(all.saturating_sub(views), "handle"), count(views, "view")];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }

    /// The same hold, from now on as a view.
    pub(crate) fn into_view(mut self) -> Holder {
        if self.role == Role::Handle {
            self.role = Role::View;
            self.storage.views.fetch_add(1, Ordering::Relaxed);
        }
        self
    }
}

impl Clone for Holder {
    fn clone(&self) -> Holder {
        if self.role == Role::View {
            self.storage.views.fetch_add(1, Ordering::Relaxed);
        }
        Holder { storage: self.storage.clone(), role: self.role }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if self.role == Role::View {
            self.storage.views.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes on {}", self.role, self.storage.block.bytes(), self.storage.device)
    }
}
