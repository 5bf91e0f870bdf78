//! Storage: a block, who holds it, and which streams touched it.

use crate::{Device, grad::Away};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
};
use taut_core::{Error, Result};
use taut_memory::{Block, Kind, StreamId};

/// The memory of one or more tensors.
pub(crate) struct Storage {
    device: Device,
    block: Block,
    /// The stream of the last write.
    writer: AtomicU8,
    /// How many holders are views; the others are plain handles, or rules of the tape.
    views: AtomicU32,
    saves: Mutex<Saves>,
    /// What has these bytes in host memory for a backward, as long as they stay what they are.
    away: Mutex<Weak<Away>>,
}

/// How many rules hold a storage for a backward.
#[derive(Default)]
struct Saves {
    count: u32,
    /// The op of the last of them.
    op: &'static str,
}

impl Storage {
    pub(crate) fn new(device: Device, block: Block, writer: StreamId) -> Storage {
        let (writer, views) = (AtomicU8::new(writer.0), AtomicU32::new(0));
        Storage { device, block, writer, views, saves: Mutex::default(), away: Mutex::default() }
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

    fn saves(&self) -> MutexGuard<'_, Saves> {
        self.saves.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// [`read_on`](Self::read_on) after which later reads wait for `stream` in place of the writer, which may be given more
    /// until then.
    pub(crate) fn settle_on(&self, stream: StreamId) -> Result<()> {
        let writer = self.writer();
        self.read_on(stream)?;
        self.block.ordered(stream, writer);
        self.writer.store(stream.0, Ordering::Relaxed);
        Ok(())
    }

    /// Orders `stream` after every use, and remembers that it writes.
    pub(crate) fn write_on(&mut self, stream: StreamId) -> Result<()> {
        *self.away.get_mut().unwrap_or_else(PoisonError::into_inner) = Weak::new();
        self.written_on(stream)
    }

    /// [`write_on`](Self::write_on) for a graph, which writes what others may hold.
    pub(crate) fn write_again_on(&self, stream: StreamId) -> Result<()> {
        self.set_away(Weak::new());
        self.written_on(stream)
    }

    /// What has these bytes in host memory for a backward, if they went there.
    pub(crate) fn away(&self) -> Option<Arc<Away>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    pub(crate) fn set_away(&self, away: Weak<Away>) {
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = away;
    }

    fn written_on(&self, stream: StreamId) -> Result<()> {
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
    /// What the backward of an op needs.
    Saved(&'static str),
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
        let (saves, op) = {
            let saves = self.storage.saves();
            (saves.count, saves.op)
        };
        let all = Arc::strong_count(&self.storage) as u32;
        let views = self.storage.views.load(Ordering::Relaxed);
        let handles = all.saturating_sub(views + saves);
        let others = |n: u32, is_this: bool| n.saturating_sub(u32::from(is_this));
        let count = |n: u32, what: &str| match n {
            0 => None,
            1 => Some(format!("a {what}")),
            n => Some(format!("{n} {what}s")),
        };
        let parts = [
            count(others(handles, self.role == Role::Handle), "handle"),
            count(others(views, self.role == Role::View), "view"),
            (saves > 0).then(|| format!("the backward of `{op}`")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }

    /// The same hold, from now on in another role.
    pub(crate) fn into_role(mut self, role: Role) -> Holder {
        if self.role != role {
            self.leave();
            self.role = role;
            self.enter();
        }
        self
    }

    /// Counts the hold.
    fn enter(&self) {
        match self.role {
            Role::Handle => {}
            Role::View => {
                self.storage.views.fetch_add(1, Ordering::Relaxed);
            }
            Role::Saved(op) => {
                let mut saves = self.storage.saves();
                *saves = Saves { count: saves.count + 1, op };
                if self.storage.block.kind() == Kind::Activations {
                    self.storage.block.set_kind(Kind::Saved);
                }
            }
        }
    }

    /// Takes it out of the count.
    fn leave(&self) {
        match self.role {
            Role::Handle => {}
            Role::View => {
                self.storage.views.fetch_sub(1, Ordering::Relaxed);
            }
            Role::Saved(_) => {
                let mut saves = self.storage.saves();
                saves.count -= 1;
                // What goes with its last holder needs no other name.
                let stays = Arc::strong_count(&self.storage) > 1;
                if saves.count == 0 && stays && self.storage.block.kind() == Kind::Saved {
                    self.storage.block.set_kind(Kind::Activations);
                }
            }
        }
    }
}

impl Clone for Holder {
    fn clone(&self) -> Holder {
        let holder = Holder { storage: self.storage.clone(), role: self.role };
        holder.enter();
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes on {}", self.role, self.storage.block.bytes(), self.storage.device)
    }
}
