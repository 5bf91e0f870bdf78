//! Reading a view in row-major order, whatever its strides.

use super::transpose::transpose;
use bytemuck::Pod;
use taut_core::Layout;

/// The elements of a view.
pub(crate) struct Source<'a, T> {
    data: &'a [T],
    /// With as few axes as possible.
    layout: Layout,
}

impl<'a, T: Pod> Source<'a, T> {
    /// The elements of `data` that `layout` names.
    pub(crate) fn new(data: &'a [T], layout: &Layout) -> Source<'a, T> {
        Source { data, layout: layout.collapsed() }
    }

    /// The elements from number `start` on, as many as `scratch` holds: where they lie if they are neighbours there,
    /// otherwise in `scratch`.
    pub(crate) fn get<'s>(&self, start: usize, scratch: &'s mut [T]) -> &'s [T]
    where
        'a: 's,
    {
        if let Some(range) = self.layout.flat() {
            return &self.data[range.start + start..][..scratch.len()];
        }
        self.read(start, scratch);
        scratch
    }

    /// Whether neighbours in memory are of different rows, as in a transposed matrix: then many rows should be read at a
    /// time, by [`read`](Self::read) or [`part`](Self::part), since what is next to an element comes along with it.
    pub(crate) fn is_crosswise(&self) -> bool {
        match *self.layout.strides() {
            [.., pitch, step] => pitch < step && pitch != 0,
            _ => false,
        }
    }

    /// The elements from number `start` on, `len` of them, to be read in blocks.
    pub(crate) fn part(&self, start: usize, len: usize) -> Part<'_, 'a, T> {
        let mut gathered = Vec::new();
        if self.is_crosswise() {
            gathered.resize(len, T::zeroed());
            self.read(start, &mut gathered);
        }
        Part { source: self, start, gathered }
    }

    /// The elements from number `start` on, as many as `out` holds.
    pub(crate) fn read(&self, start: usize, out: &mut [T]) {
        self.read_shifted(0, start, out);
    }

    /// As [`read`](Self::read), all positions `shift` elements on: where they lie if that is in one run, or else in
    /// `buffer`, which has the length.
    #[inline]
    pub(crate) fn block<'b>(&'b self, shift: usize, start: usize, buffer: &'b mut [T]) -> &'b [T] {
        let (dims, strides) = (self.layout.shape(), self.layout.strides());
        let origin = self.layout.offset() + shift;
        match (dims.last(), strides.last()) {
            (None, _) => &self.data[origin..][..buffer.len()],
            (Some(&len), Some(1)) if strides.len() == 1 || start % len + buffer.len() <= len => {
                let position = if strides.len() == 1 {
                    origin + start
                } else {
                    self.layout.row_position(start / len) + shift + start % len
                };
                &self.data[position..][..buffer.len()]
            }
            _ => {
                self.read_shifted(shift, start, buffer);
                buffer
            }
        }
    }

    fn read_shifted(&self, shift: usize, start: usize, out: &mut [T]) {
        if let Some(range) = self.layout.flat() {
            out.copy_from_slice(&self.data[range.start + shift + start..][..out.len()]);
            return;
        }
        // Not flat, so there is an axis, and no extent is 0.
        let last = self.layout.rank() - 1;
        let (len, step) = (self.layout.shape()[last], self.layout.strides()[last]);
        // How many rows lie evenly, and how far apart.
        let (rows, pitch) = match last.checked_sub(1) {
            Some(axis) => (self.layout.shape()[axis], self.layout.strides()[axis]),
            None => (1, 0),
        };
        let (mut row, column) = (start / len, start % len);
        let mut rest = out;
        if column > 0 {
            let (begun, later) = rest.split_at_mut((len - column).min(rest.len()));
            read_row(&self.data[self.layout.row_position(row) + shift + column * step..], step, begun);
            (row, rest) = (row + 1, later);
        }
        while rest.len() >= len {
            let whole = (rows - row % rows).min(rest.len() / len);
            let (now, later) = rest.split_at_mut(whole * len);
            let data = &self.data[self.layout.row_position(row) + shift..];
            if self.is_crosswise() && whole > 1 {
                transpose(data, pitch, step, &mut now.chunks_exact_mut(len).collect::<Vec<_>>());
            } else {
                now.chunks_exact_mut(len)
                    .enumerate()
                    .for_each(|(i, now)| read_row(&data[i * pitch..], step, now));
            }
            (row, rest) = (row + whole, later);
        }
        if !rest.is_empty() {
            read_row(&self.data[self.layout.row_position(row) + shift..], step, rest);
        }
    }
}

/// Some elements of a [`Source`], in order.
pub(crate) struct Part<'s, 'a, T> {
    source: &'s Source<'a, T>,
    start: usize,
    /// All of them, if they were better read at once.
    gathered: Vec<T>,
}

impl<'a, T: Pod> Part<'_, 'a, T> {
    /// The elements from number `at` of the part on, as many as `scratch` holds: somewhere in memory, or in `scratch`.
    pub(crate) fn get<'s>(&'s self, at: usize, scratch: &'s mut [T]) -> &'s [T] {
        if self.gathered.is_empty() {
            self.source.get(self.start + at, scratch)
        } else {
            &self.gathered[at..][..scratch.len()]
        }
    }
}

/// Elements `step` apart.
fn read_row<T: Pod>(data: &[T], step: usize, out: &mut [T]) {
    match step {
        0 => out.fill(data[0]),
        1 => out.copy_from_slice(&data[..out.len()]),
        _ => out.iter_mut().zip(data.chunks(step)).for_each(|(o, x)| *o = x[0]),
    }
}
