//! Reading a view in row-major order, whatever its strides.

use taut_core::Layout;

/// The elements of a view.
pub(crate) struct Source<'a, T> {
    data: &'a [T],
    /// With as few axes as possible.
    layout: Layout,
}

impl<'a, T: Copy> Source<'a, T> {
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
        let (mut row, mut column) = (start / len, start % len);
        let mut rest = out;
        while !rest.is_empty() {
            let (now, later) = rest.split_at_mut((len - column).min(rest.len()));
            let position = self.layout.row_position(row) + shift + column * step;
            match step {
                0 => now.fill(self.data[position]),
                1 => now.copy_from_slice(&self.data[position..][..now.len()]),
                _ => {
                    now.iter_mut().zip(self.data[position..].iter().step_by(step)).for_each(|(o, &x)| *o = x)
                }
            }
            (row, column, rest) = (row + 1, 0, later);
        }
    }
}
