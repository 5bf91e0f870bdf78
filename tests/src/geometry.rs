//! Generated shapes and views, and what a view means, by arithmetic on coordinates.

use proptest::{collection::vec, prelude::*, sample::select};
use std::{fmt, ops::Range};
use taut::{Result, Tensor};

/// Extents, the plainest first: cases shrink toward it. 0 and 1, then the borders of packs of 16 bytes, warps and
/// blocks of threads.
const EXTENTS: [usize; 26] = [
    1, 2, 3, 4, 0, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 255, 256, 257, 1023, 1024, 1025,
];

/// Elements of a generated tensor at most.
const MOST: usize = 4200;

/// One view of a view.
#[derive(Clone, Debug)]
pub enum Step {
    /// `range` of `axis`.
    Slice(usize, Range<usize>),
    /// Two axes exchanged.
    Transpose(usize, usize),
    /// Repeated to a shape.
    Broadcast(Vec<usize>),
    /// The same elements under another shape.
    Reshape(Vec<usize>),
}

/// A shape, and how a tensor of that shape is cut out of a contiguous one.
#[derive(Clone)]
pub struct Geometry {
    /// The extents of the view.
    pub shape: Vec<usize>,
    /// The extents of the contiguous tensor under it.
    pub base: Vec<usize>,
    /// From the base to the view.
    pub steps: Vec<Step>,
}

impl Geometry {
    /// The shape, contiguous.
    pub fn plain(shape: &[usize]) -> Geometry {
        Geometry { shape: shape.to_vec(), base: shape.to_vec(), steps: Vec::new() }
    }

    /// What these steps make of a contiguous tensor.
    pub fn of(base: &[usize], steps: Vec<Step>) -> Geometry {
        let mut shape = base.to_vec();
        for step in &steps {
            match step {
                Step::Slice(axis, range) => shape[*axis] = range.len(),
                Step::Transpose(a, b) => shape.swap(*a, *b),
                Step::Broadcast(to) | Step::Reshape(to) => shape.clone_from(to),
            }
        }
        Geometry { shape, base: base.to_vec(), steps }
    }

    /// The shape as a view, of up to four steps that are read from `choices`.
    pub fn viewed(shape: &[usize], choices: &[[usize; 4]], broadcasts: bool) -> Geometry {
        let mut out = Geometry::plain(shape);
        for &[kind, a, b, c] in choices {
            out.back(if broadcasts { kind % 6 } else { kind % 4 }, a, b, c);
        }
        out.steps.reverse();
        out
    }

    /// Puts one more step before those that there are: the last is chosen first, because the result is given.
    fn back(&mut self, kind: usize, a: usize, b: usize, c: usize) {
        let rank = self.base.len();
        let now = self.base.clone();
        let numel: usize = now.iter().product();
        match kind {
            // Any start: the view is aligned to nothing.
            0 if numel + b % 19 + c % 19 <= 2 * MOST => {
                let (before, after) = (b % 19, c % 19);
                self.steps.push(Step::Reshape(now));
                self.steps.push(Step::Slice(0, before..before + numel));
                self.base = vec![before + numel + after];
            }
            1 | 2 if rank > 0 => {
                let (axis, before, after) = (a % rank, b % 3, c % 3);
                self.steps.push(Step::Slice(axis, before..before + now[axis]));
                self.base[axis] += before + after;
                if self.base.iter().product::<usize>() > 2 * MOST {
                    self.base = now;
                    self.steps.pop();
                }
            }
            3 if rank > 1 => {
                let (first, second) = (a % rank, b % rank);
                self.steps.push(Step::Transpose(first, second));
                self.base.swap(first, second);
            }
            4 if rank > 0 => {
                self.base[a % rank] = 1;
                self.steps.push(Step::Broadcast(now));
            }
            5 if rank > 0 => {
                self.base.remove(0);
                self.steps.push(Step::Broadcast(now));
            }
            _ => {}
        }
    }

    /// Elements of the base.
    pub fn base_numel(&self) -> usize {
        self.base.iter().product()
    }

    /// The view of a tensor that has the shape of the base.
    ///
    /// # Errors
    ///
    /// None that is right: the steps are sound.
    pub fn view(&self, base: Tensor) -> Result<Tensor> {
        self.steps.iter().try_fold(base, |x, step| match step {
            Step::Slice(axis, range) => x.slice(*axis, range.clone()),
            Step::Transpose(a, b) => x.transpose(*a, *b),
            Step::Broadcast(shape) => x.broadcast_to(shape),
            Step::Reshape(shape) => x.reshape(shape),
        })
    }

    /// Which element of the base each element of the view is.
    pub fn grid(&self) -> Grid {
        self.steps.iter().fold(Grid::new(&self.base), |grid, step| match step {
            Step::Slice(axis, range) => grid.slice(*axis, range.clone()),
            Step::Transpose(a, b) => grid.transpose(*a, *b),
            Step::Broadcast(shape) => grid.broadcast(shape),
            Step::Reshape(shape) => Grid { shape: shape.clone(), index: grid.index },
        })
    }
}

impl fmt::Debug for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shape)?;
        if !self.steps.is_empty() {
            write!(f, " by {:?} of {:?}", self.steps, self.base)?;
        }
        Ok(())
    }
}

/// A view as a list: the number of its base element for each of its elements, row-major.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The extents.
    pub shape: Vec<usize>,
    /// For each element, which element of the base it is.
    pub index: Vec<usize>,
}

impl Grid {
    /// All elements of a contiguous tensor.
    pub fn new(shape: &[usize]) -> Grid {
        Grid { shape: shape.to_vec(), index: (0..shape.iter().product()).collect() }
    }

    /// The coordinates of element number `i`.
    pub fn coordinates(&self, mut i: usize) -> Vec<usize> {
        let mut out: Vec<usize> = self.shape.iter().rev().map(|&d| (i % d, i /= d).0).collect();
        out.reverse();
        out
    }

    /// The element at some coordinates.
    pub fn at(&self, coordinates: &[usize]) -> usize {
        self.index[self.shape.iter().zip(coordinates).fold(0, |i, (&d, &c)| i * d + c)]
    }

    /// A grid of `shape` whose element at each coordinate is the one of `self` at `from(coordinate)`.
    fn map(&self, shape: &[usize], from: impl Fn(&mut Vec<usize>)) -> Grid {
        let mut out = Grid::new(shape);
        for i in 0..out.index.len() {
            let mut coordinates = out.coordinates(i);
            from(&mut coordinates);
            out.index[i] = self.at(&coordinates);
        }
        out
    }

    /// `range` of `axis`.
    pub fn slice(&self, axis: usize, range: Range<usize>) -> Grid {
        let mut shape = self.shape.clone();
        shape[axis] = range.len();
        self.map(&shape, |c| c[axis] += range.start)
    }

    /// Two axes exchanged.
    pub fn transpose(&self, a: usize, b: usize) -> Grid {
        let mut shape = self.shape.clone();
        shape.swap(a, b);
        self.map(&shape, |c| c.swap(a, b))
    }

    /// Repeated to a shape.
    pub fn broadcast(&self, shape: &[usize]) -> Grid {
        let lead = shape.len() - self.shape.len();
        self.map(shape, |c| {
            c.drain(..lead);
            c.iter_mut().zip(&self.shape).for_each(|(c, &d)| *c = (*c).min(d - 1));
        })
    }
}

/// Shapes of rank 0 to 5 with at most a few thousand elements.
pub fn shapes() -> impl Strategy<Value = Vec<usize>> {
    vec(select(&EXTENTS[..]), 0..=5).prop_map(|mut shape| {
        let mut room = MOST;
        for extent in &mut shape {
            *extent = (*extent).min(room);
            room /= (*extent).max(1);
        }
        shape
    })
}

/// Shapes as views: contiguous, sliced, transposed, with any offset, and if `broadcasts` repeated.
pub fn geometry(broadcasts: bool) -> impl Strategy<Value = Geometry> {
    geometries(shapes(), broadcasts)
}

/// Given shapes as views, as [`geometry`] makes them.
pub fn geometries(
    shapes: impl Strategy<Value = Vec<usize>>,
    broadcasts: bool,
) -> impl Strategy<Value = Geometry> {
    let choices = vec([0..60usize, 0..60usize, 0..60usize, 0..60usize], 0..=3);
    (shapes, choices).prop_map(move |(shape, choices)| Geometry::viewed(&shape, &choices, broadcasts))
}
