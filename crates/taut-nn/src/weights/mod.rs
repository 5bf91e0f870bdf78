//! Weights in files: safetensors, mapped and streamed.

mod build;
mod header;
mod json;
mod save;
mod stored;

pub use build::Difference;
pub use save::save;
pub use stored::Stored;

use crate::pieces::Pieces;
use header::{Header, Info};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::Path,
};
use taut::{
    DType, Device, Error, ErrorKind, Kind, Result, Shape, Tensor,
    memory::{Advice, FileMap},
};

/// The tensors of a safetensors file. The file is mapped, and its header checked whole; the data of a tensor is read when
/// it is loaded, straight from the map to the device.
///
/// Source of the format: <https://huggingface.co/docs/safetensors>.
///
/// ```
/// use std::collections::BTreeMap;
/// use taut::{DType, Device, Kind, Tensor};
/// use taut_nn::{Weights, save};
///
/// let device = Device::cpu();
/// let path = std::env::temp_dir().join(format!("taut-doc-{}.safetensors", std::process::id()));
/// let bias = Tensor::from_slice(&[0.5f32, -1.0], [2], &device)?;
/// save(&path, [("bias", &bias)], &BTreeMap::new())?;
///
/// let weights = Weights::open(&path)?;
/// assert_eq!(weights.names().collect::<Vec<_>>(), ["bias"]);
/// let bias = weights.get("bias")?.load(DType::F16, &device)?; // converted on the way
/// assert_eq!((bias.dtype(), bias.kind()), (DType::F16, Kind::Weights));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), taut::Error>(())
/// ```
pub struct Weights {
    map: FileMap,
    header: Header,
    index: HashMap<String, usize>,
}

impl Weights {
    /// Maps a file and checks its header: every tensor has the bytes that its dtype and shape take, no byte belongs to two
    /// and none to nobody. Reads no data, and stores no more than a small multiple of the header.
    ///
    /// No one may write to the file while it is open here: see [`FileMap::open`].
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt), naming the file, the tensor and the byte, if the file is not what the format asks
    /// for, or a tensor has a rank above [`MAX_RANK`](taut::MAX_RANK); [`Driver`](ErrorKind::Driver) if the file can not
    /// be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Weights> {
        let map = FileMap::open(path)?;
        let header = header::read(map.path(), map.bytes())?;
        map.advise(0..map.len(), Advice::DontNeed);
        map.advise(0..map.len(), Advice::Sequential);
        let index = header.tensors.iter().enumerate().map(|(i, info)| (info.name.clone(), i)).collect();
        Ok(Weights { map, header, index })
    }

    /// The names, in the order in which the data lies in the file: loading in this order reads the file once, from its
    /// start to its end.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.header.tensors.iter().map(|info| &*info.name)
    }

    /// The tensor of that name.
    ///
    /// # Errors
    ///
    /// [`Value`](ErrorKind::Value) if there is none.
    pub fn get(&self, name: &str) -> Result<Entry<'_>> {
        let info = self.index.get(name).and_then(|&i| self.header.tensors.get(i));
        let info = info.ok_or_else(|| {
            let (path, n) = (self.map.path().display(), self.names().len());
            let mut has = self.names().take(3).map(|name| format!("{name:?}")).collect::<Vec<_>>();
            has.extend((n > 3).then(|| "..".into()));
            let has = has.join(", ");
            Error::new(ErrorKind::Value, format!("weights: {path} has no tensor {name:?}, it has {n}: {has}"))
        })?;
        Ok(Entry { weights: self, info })
    }

    /// Every tensor, in the order of [`names`](Self::names).
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.header.tensors.iter().map(|info| Entry { weights: self, info })
    }

    /// The texts that the file carries beside its tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weights({}, {} tensors)", self.map.path().display(), self.names().len())
    }
}

/// One tensor of a [`Weights`].
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    weights: &'a Weights,
    info: &'a Info,
}

impl<'a> Entry<'a> {
    /// The name.
    pub fn name(&self) -> &'a str {
        &self.info.name
    }

    /// The extents.
    pub fn shape(&self) -> &'a Shape {
        &self.info.shape
    }

    /// The type of the elements, in the file.
    pub fn stored(&self) -> Stored {
        self.info.stored
    }

    /// Where the data is in the file, which need not be aligned.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.info.range.clone()
    }

    /// Loads the tensor as `dtype`, with what [`Tensor::cast`] does where that is not what is stored. [`Kind::Weights`].
    ///
    /// The data goes from the map to the device in pieces, which leave the memory of this process again: the host holds
    /// no copy, and the device no more than [`Tensor::from_chunks`] says. A plan reads no data.
    ///
    /// # Errors
    ///
    /// [`DType`](ErrorKind::DType) if no tensor can have the stored type, or for a `dtype` of f64 on CUDA;
    /// [`Corrupt`](ErrorKind::Corrupt) if a stored bool is neither 0 nor 1, or the file was cut since it was opened;
    /// [`OutOfMemory`](ErrorKind::OutOfMemory) if the tensor does not fit.
    pub fn load(&self, dtype: DType, device: &Device) -> Result<Tensor> {
        let Info { name, stored, shape, range } = self.info;
        let path = self.weights.map.path().display();
        let stored = stored.dtype().ok_or_else(|| {
            Error::dtype(format!(
                "weights: {path}: tensor {name:?} at byte {} is {stored}, which no tensor can be",
                range.start
            ))
        })?;
        let pieces = Pieces::new(&self.weights.map, range.clone(), stored);
        Tensor::from_chunks(pieces, stored, shape, dtype, Kind::Weights, device)
            .map_err(|error| Error::new(error.kind(), format!("weights: {path}: tensor {name:?}: {error}")))
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({:?}, {} {})", self.info.name, self.info.stored, self.info.shape)
    }
}
