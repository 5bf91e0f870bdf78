//! Products of matrices over batch axes, in as few and as large products as the layouts allow.

use crate::Layout;

/// With how many bits of its factors a product of f32 is computed. Sums are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// All.
    #[default]
    Exact,
    /// 11, the leading one among them, where a device has units for that: the factors are rounded, to nearest.
    Tf32,
}

/// A batch of products `[m, k] x [k, n] -> [m, n]`, whose results lie one after the other, row-major.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Products {
    /// Rows of a result.
    pub m: usize,
    /// Terms of each sum.
    pub k: usize,
    /// Columns of a result.
    pub n: usize,
    /// The strides of the first factor along `m` and `k`.
    pub a: [usize; 2],
    /// The strides of the second factor along `k` and `n`.
    pub b: [usize; 2],
    /// Where the factors of each product begin: of one shape, with as few axes as possible.
    pub batch: [Layout; 2],
}

impl Products {
    /// The products of `[.., m, k]` by `[.., k, n]` with the same leading axes.
    ///
    /// Where all products of an axis have one factor in common and the other goes on from product to product, they are
    /// a single larger one.
    pub fn new(a: &Layout, b: &Layout) -> Products {
        debug_assert!(a.rank() == b.rank() && a.rank() >= 2);
        let rank = a.rank();
        let [(a_batch, a), (b_batch, b)] = [a, b].map(|layout| layout.split(&[rank - 2, rank - 1]));
        let pair = |layout: &Layout| [layout.strides()[0], layout.strides()[1]];
        let mut out = Products {
            m: a.shape()[0],
            k: a.shape()[1],
            n: b.shape()[1],
            a: pair(&a),
            b: pair(&b),
            batch: Layout::collapse([a_batch, b_batch]),
        };
        while out.merge() {}
        out
    }

    /// The number of products.
    pub fn count(&self) -> usize {
        self.batch[0].numel()
    }

    /// Where the first and the second factor of product number `i` begin.
    pub fn at(&self, i: usize) -> [usize; 2] {
        self.batch.map(|layout| {
            let Some(last) = layout.rank().checked_sub(1) else { return layout.offset() };
            let len = layout.shape()[last].max(1);
            layout.row_position(i / len) + i % len * layout.strides()[last]
        })
    }

    /// The transposed products, `b^T a^T`. A row is a column as it lies, so where `m` or `n` is 1 these have the same
    /// results.
    pub fn transposed(&self) -> Products {
        let Products { m, k, n, a: [a_m, a_k], b: [b_k, b_n], batch: [a, b] } = *self;
        Products { m: n, k, n: m, a: [b_n, b_k], b: [a_k, a_m], batch: [b, a] }
    }

    /// Makes the products along the last batch axis one product, if they are that.
    fn merge(&mut self) -> bool {
        let Some(last) = self.batch[0].rank().checked_sub(1) else { return false };
        let dim = self.batch[0].shape()[last];
        let [a, b] = self.batch.map(|layout| layout.strides()[last]);
        let goes_on =
            |extent: usize, stride: usize, step| extent == 1 || extent.checked_mul(stride) == Some(step);
        if b == 0 && goes_on(self.m, self.a[0], a) {
            self.a[0] = if self.m == 1 { a } else { self.a[0] };
            self.m *= dim;
        } else if a == 0 && self.m == 1 && goes_on(self.n, self.b[1], b) {
            self.b[1] = if self.n == 1 { b } else { self.b[1] };
            self.n *= dim;
        } else {
            return false;
        }
        self.batch = self.batch.map(|layout| layout.split(&[last]).0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    fn layout(dims: &[usize]) -> Layout {
        Layout::contiguous(Shape::new(dims).unwrap())
    }

    fn broadcast(layout: Layout, dims: &[usize]) -> Layout {
        layout.broadcast_to(Shape::new(dims).unwrap()).unwrap()
    }

    #[test]
    fn a_shared_factor_makes_one_product() {
        let w = broadcast(layout(&[4, 6]), &[2, 3, 4, 6]);
        let one = Products::new(&layout(&[2, 3, 5, 4]), &w);
        assert_eq!((one.m, one.k, one.n, one.count()), (30, 4, 6, 1));
        assert_eq!((one.a, one.b), ([4, 1], [6, 1]));
        // Rows with gaps after each batch do not go on, single rows do.
        let gaps = layout(&[2, 3, 7, 4]).sliced(2, 1..6).unwrap();
        let many = Products::new(&gaps, &w);
        assert_eq!((many.m, many.count(), many.batch[0].offset()), (5, 6, 4));
        assert_eq!((many.batch[0].strides(), many.batch[1].strides()), (&[28][..], &[0][..]));
        let single = Products::new(&gaps.sliced(2, 2..3).unwrap(), &w);
        assert_eq!((single.m, single.a, single.count()), (6, [28, 1], 1));
    }

    #[test]
    fn a_shared_row_makes_one_product() {
        let row = broadcast(layout(&[1, 4]), &[3, 1, 4]);
        let turned = layout(&[3, 5, 4]).transposed(1, 2).unwrap();
        let one = Products::new(&row, &turned);
        assert_eq!((one.m, one.n, one.b, one.count()), (1, 15, [1, 4], 1));
        let other = Products::new(&row, &layout(&[3, 4, 5]));
        assert_eq!((other.m, other.n, other.count()), (1, 5, 3));
    }

    #[test]
    fn only_the_inner_axes_merge() {
        // Shared over the outer axis only, so that the results of the inner one stand between.
        let b = broadcast(layout(&[3, 4, 6]), &[2, 3, 4, 6]);
        let out = Products::new(&layout(&[2, 3, 5, 4]), &b);
        assert_eq!((out.m, out.count(), out.batch[0].rank()), (5, 6, 2));
        assert_eq!(out.batch[1].strides(), [0, 24]);
        assert_eq!((out.at(0), out.at(2), out.at(4)), ([0, 0], [40, 48], [80, 24]));
        let inner = broadcast(layout(&[2, 1, 4, 6]), &[2, 3, 4, 6]);
        let out = Products::new(&layout(&[2, 3, 5, 4]), &inner);
        assert_eq!((out.m, out.count(), out.batch[1].strides()), (15, 2, &[24][..]));
    }

    #[test]
    fn both_transposed_is_the_transposed_product() {
        let out = Products::new(&layout(&[7, 3, 5, 4]), &layout(&[7, 3, 4, 6]));
        assert_eq!(out.transposed().transposed(), out);
        assert_eq!((out.count(), out.batch[0].rank()), (21, 1));
        let turned = out.transposed();
        assert_eq!((turned.m, turned.n, turned.a, turned.b), (6, 5, [1, 6], [1, 4]));
    }

    #[test]
    fn empty_batches_and_sums_are_kept() {
        let out = Products::new(&layout(&[0, 5, 4]), &layout(&[0, 4, 6]));
        assert_eq!((out.count(), out.m, out.n), (0, 5, 6));
        let out = Products::new(&layout(&[2, 5, 0]), &broadcast(layout(&[0, 6]), &[2, 0, 6]));
        assert_eq!((out.count() * out.m, out.k), (10, 0));
    }
}
