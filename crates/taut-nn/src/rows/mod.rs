//! Data in files: arrays of rows, mapped, of which a part is streamed to the device when it is needed.

mod npy;

use crate::pieces::{Pieces, piece};
use std::{fmt, ops::Range, path::Path};
use taut::{
    DType, Device, Error, Kind, MAX_RANK, Result, Shape, Tensor,
    memory::{Advice, FileMap},
};

/// An array in a file, `[rows, ..]`, row-major and little-endian. The file is mapped; rows are read when they are loaded,
/// straight from the map to the device.
///
/// ```
/// use taut::{DType, Device, Kind};
/// use taut_nn::Rows;
///
/// let path = std::env::temp_dir().join(format!("taut-rows-{}.u8", std::process::id()));
/// std::fs::write(&path, [1u8, 2, 3, 4, 5, 6]).unwrap();
/// let rows = Rows::raw(&path, DType::U8, [2])?.with_dtype(DType::F32);
/// assert_eq!(rows.len(), 3);
/// assert_eq!(rows.load(1..3, &Device::cpu())?.to_vec::<f32>()?, [3.0, 4.0, 5.0, 6.0]);
/// let batch = rows.gather(&[2, 0, 2], &Device::cpu())?;
/// assert_eq!(batch.shape()[..], [3, 2]);
/// assert_eq!(batch.to_vec::<f32>()?, [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), taut::Error>(())
/// ```
pub struct Rows {
    map: FileMap,
    /// Where the first row begins.
    start: usize,
    stored: DType,
    /// What it is loaded as.
    dtype: DType,
    row_shape: Shape,
    row_bytes: usize,
    len: usize,
}

impl Rows {
    /// A file of nothing but rows of this dtype and shape, one after the other.
    ///
    /// No one may write to the file while it is open here: see [`FileMap::open`].
    ///
    /// # Errors
    ///
    /// [`Corrupt`](taut::ErrorKind::Corrupt), naming the file, if it ends within a row;
    /// [`Shape`](taut::ErrorKind::Shape) if a row has no bytes, or rank [`MAX_RANK`], so that an array of them has none;
    /// [`Driver`](taut::ErrorKind::Driver) if the file can not be opened.
    pub fn raw(path: impl AsRef<Path>, dtype: DType, row_shape: impl AsRef<[usize]>) -> Result<Rows> {
        let (map, row_shape) = (FileMap::open(path)?, Shape::new(row_shape.as_ref())?);
        let (path, row_bytes) = (map.path().display(), row_shape.numel() * dtype.size());
        if row_bytes == 0 || row_shape.rank() == MAX_RANK {
            return Err(Error::shape(format!("rows: {path}: {row_shape} is no shape of rows in a file")));
        }
        let (len, rest) = (map.len() / row_bytes, map.len() % row_bytes);
        if rest != 0 {
            return Err(Error::corrupt(format!(
                "rows: {path}: a row of {row_shape} of {dtype} takes {row_bytes} bytes; the last one, at byte {}, has {rest}",
                len * row_bytes
            )));
        }
        Rows::new(map, 0, dtype, row_shape, len)
    }

    /// The array of a `.npy` file: version 1, 2 or 3 of the format, row-major ("C order"), little-endian. Its first axis
    /// counts the rows.
    ///
    /// No one may write to the file while it is open here: see [`FileMap::open`].
    ///
    /// Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](taut::ErrorKind::Corrupt), naming the file and the byte, if the file is not what the format asks for or
    /// has other bytes than the array takes; [`DType`](taut::ErrorKind::DType) if no tensor can have its elements: objects,
    /// records, big-endian numbers, types that [`DType`] lacks; [`Shape`](taut::ErrorKind::Shape) if it is in Fortran order,
    /// a single value, or of a rank above [`MAX_RANK`]; [`Driver`](taut::ErrorKind::Driver) if the file can not be opened.
    pub fn npy(path: impl AsRef<Path>) -> Result<Rows> {
        let map = FileMap::open(path)?;
        let npy::Array { start, dtype, len, row_shape } = npy::read(map.path(), map.bytes())?;
        Rows::new(map, start, dtype, row_shape, len)
    }

    fn new(map: FileMap, start: usize, stored: DType, row_shape: Shape, len: usize) -> Result<Rows> {
        // That all rows at once are a shape, so that any range of them is.
        Shape::new(&shape_of(len, &row_shape))?;
        let row_bytes = row_shape.numel() * stored.size();
        Ok(Rows { map, start, stored, dtype: stored, row_shape, row_bytes, len })
    }

    /// These rows, from now on loaded as `dtype`: cast on the way, as [`Tensor::cast`] does.
    pub fn with_dtype(self, dtype: DType) -> Rows {
        Rows { dtype, ..self }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The shape of a row.
    pub fn row_shape(&self) -> &Shape {
        &self.row_shape
    }

    /// What rows are loaded as.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// What the file has.
    pub fn stored(&self) -> DType {
        self.stored
    }

    /// The rows of a range: `[rows, ..]`, [`Kind::Input`]. What they take on the way is what [`Tensor::from_chunks`] says;
    /// their pages leave the memory of this process again. A plan reads no data.
    ///
    /// # Errors
    ///
    /// [`Shape`](taut::ErrorKind::Shape) if the range is not within the rows; [`Corrupt`](taut::ErrorKind::Corrupt) if a
    /// stored bool is neither 0 nor 1, or the file was cut since it was opened;
    /// [`OutOfMemory`](taut::ErrorKind::OutOfMemory) if they do not fit; [`DType`](taut::ErrorKind::DType) for f64 on CUDA.
    pub fn load(&self, rows: Range<usize>, device: &Device) -> Result<Tensor> {
        if rows.start > rows.end || rows.end > self.len {
            return Err(self.refused(format!("{rows:?} is not within {} rows", self.len)));
        }
        let pieces = Pieces::new(&self.map, self.at(rows.start)..self.at(rows.end), self.stored);
        self.tensor(pieces, rows.len(), device)
    }

    /// The rows of these numbers, in this order, any of them more than once: `[indices, ..]`, [`Kind::Input`]. Their pages
    /// stay in memory until the system wants them for something else: rows may come again.
    ///
    /// # Errors
    ///
    /// [`Shape`](taut::ErrorKind::Shape) if there is no such row, or the indices are so many that their rows can not be
    /// counted; otherwise as [`load`](Self::load).
    pub fn gather(&self, indices: &[usize], device: &Device) -> Result<Tensor> {
        if let Some(at) = indices.iter().position(|&row| row >= self.len) {
            let row = indices[at];
            return Err(self.refused(format!("index {at} is {row}, which is not within {} rows", self.len)));
        }
        let range = |row: usize| self.at(row)..self.at(row + 1);
        let mut ahead = indices.iter();
        let mut ready = 0usize;
        let rows = indices.iter().map(|&row| {
            if ready == 0 {
                self.map.check()?;
                // The system reads many at a time, where it would otherwise wait for one after the other.
                ahead.by_ref().take(AHEAD).for_each(|&row| self.map.advise(range(row), Advice::WillNeed));
                ready = AHEAD;
            }
            ready -= 1;
            piece(&self.map, range(row), self.stored)
        });
        self.tensor(rows, indices.len(), device)
    }

    fn tensor<'a>(
        &'a self,
        chunks: impl Iterator<Item = Result<&'a [u8]>>,
        len: usize,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = shape_of(len, &self.row_shape);
        let out = Tensor::from_chunks(chunks, self.stored, shape, self.dtype, Kind::Input, device);
        out.map_err(|error| Error::new(error.kind(), format!("rows: {}: {error}", self.map.path().display())))
    }

    /// Where a row begins.
    fn at(&self, row: usize) -> usize {
        self.start + row * self.row_bytes
    }

    fn refused(&self, why: String) -> Error {
        Error::shape(format!("rows: {}: {why}", self.map.path().display()))
    }
}

/// Rows that are asked of the system at a time.
const AHEAD: usize = 64;

fn shape_of(len: usize, row_shape: &[usize]) -> Vec<usize> {
    [&[len], row_shape].concat()
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rows { map, stored, len, row_shape, .. } = self;
        write!(f, "Rows({}, {len} of {stored} {row_shape})", map.path().display())
    }
}
