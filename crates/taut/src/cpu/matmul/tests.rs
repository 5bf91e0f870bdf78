use super::*;
use crate::{Device, Tensor};
use rayon::ThreadPoolBuilder;
use taut_core::Shape;

fn normal(shape: &[usize], seed: u64, dtype: DType) -> Tensor {
    Tensor::normal(shape, 0.0, 1.0, seed, dtype, &Device::cpu()).unwrap()
}

/// The bits of a product, with so many threads.
fn bits(a: &Tensor, b: &Tensor, threads: usize) -> Vec<u64> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let out = pool.install(|| a.clone().matmul(b).unwrap().cast(DType::F64).unwrap());
    out.to_vec::<f64>().unwrap().into_iter().map(f64::to_bits).collect()
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let shapes: [(&[usize], &[usize]); 9] = [
        (&[300, 500], &[500, 280]),
        (&[1100, 90], &[90, 1000]),
        (&[7, 4000], &[4000, 9]),
        (&[5, 60, 70], &[5, 70, 65]),
        (&[2, 300, 260], &[2, 260, 300]),
        (&[200_000], &[200_000]),
        (&[3000], &[3000, 700]),
        (&[700, 3000], &[3000]),
        (&[900, 1, 64], &[900, 64, 3]),
    ];
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        for (a, b) in shapes {
            let (a, b) = (normal(a, 1, dtype), normal(b, 2, dtype));
            let one = bits(&a, &b, 1);
            for threads in [2, 3, 7] {
                assert!(bits(&a, &b, threads) == one, "{a:?} by {b:?} with {threads} threads");
            }
        }
    }
}

#[test]
fn each_layout_has_its_way() {
    let way = |a: &Layout, b: &Layout, dtype| {
        let choice = choose(a, b, dtype);
        (choice.way, choice.workspace_bytes)
    };
    let layout = |dims: &[usize]| Layout::contiguous(Shape::new(dims).unwrap());
    let (a, b) = (layout(&[4, 64, 64]), layout(&[4, 64, 64]));
    let turned = b.transposed(1, 2).unwrap();
    for b in [&b, &turned] {
        assert!(matches!(way(&a, b, DType::F32), (Way::Direct, 0)));
        assert!(matches!(way(&a, b, DType::BF16), (Way::Widened, 1..)));
    }
    // One large product, and rows that are not contiguous.
    let (a, b) = (layout(&[64, 500]), layout(&[500, 100]));
    assert!(matches!(way(&a, &b, DType::F32), (Way::Panels, 288_000)));
    let turned = layout(&[500, 64]).transposed(0, 1).unwrap();
    assert!(matches!(way(&turned, &b, DType::F32), (Way::Direct, 0)));
    // What is in panels at a time is bounded.
    let (a, b) = (layout(&[100, 9000]), layout(&[9000, 3000]));
    assert!(matches!(way(&a, &b, DType::F32), (Way::Panels, 1_032_192)));
    // Contiguous along the batch only.
    let b = layout(&[4, 64, 64]);
    let far = layout(&[64, 64, 4]).transposed(0, 2).unwrap();
    assert!(matches!(way(&far, &b, DType::F32), (Way::Widened, 1..)));
    // Long sums of few are cut into parts, whose sums are kept.
    let (row, column) = (layout(&[1, 1 << 24]), layout(&[1 << 24, 1]));
    assert!(matches!(way(&row, &column, DType::F32), (Way::Vector { parts: 64 }, 256)));
    assert!(matches!(
        way(&layout(&[4096, 4096]), &layout(&[4096, 1]), DType::F32),
        (Way::Vector { parts: 1 }, 0)
    ));
    assert!(matches!(way(&layout(&[1, 0]), &layout(&[0, 5]), DType::F32), (Way::Vector { parts: 1 }, 0)));
}
