//! The one error type.

use std::fmt;

/// What a taut call returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for a caller to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Shapes, axes or ranges that do not fit together.
    Shape,
    /// A dtype that the op does not take.
    DType,
    /// A number or a name that the op does not take: a probability above 1, a tensor that the file does not have.
    Value,
    /// A device that is missing, too old, or not the one expected.
    Device,
    /// The storage has another holder, so it can not be overwritten.
    Shared,
    /// A use of gradients that can not be right.
    Grad,
    /// Something that a graph can not hold: its kernels run again and again, what the host does only once.
    Graph,
    /// The budget or the memory is exhausted.
    OutOfMemory,
    /// An input file that is damaged.
    Corrupt,
    /// A fault that the driver or the operating system reports.
    Driver,
}

/// A failed call: its [kind](ErrorKind), and a message that starts with the op.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: message.into() }))
    }

    /// What went wrong, for a caller to match on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// An [`ErrorKind::Shape`].
    pub fn shape(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Shape, message)
    }

    /// An [`ErrorKind::DType`].
    pub fn dtype(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::DType, message)
    }

    /// An [`ErrorKind::Device`].
    pub fn device(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Device, message)
    }

    /// An [`ErrorKind::Shared`].
    pub fn shared(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Shared, message)
    }

    /// An [`ErrorKind::Grad`].
    pub fn grad(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Grad, message)
    }

    /// An [`ErrorKind::Graph`].
    pub fn graph(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Graph, message)
    }

    /// An [`ErrorKind::OutOfMemory`].
    pub fn out_of_memory(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::OutOfMemory, message)
    }

    /// An [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupt, message)
    }

    /// An [`ErrorKind::Driver`].
    pub fn driver(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Driver, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)
    }
}

impl std::error::Error for Error {}
