//! Elementwise unary ops against their definitions.

use proptest::{prelude::*, sample::select};
use taut::{DType, Tensor, Unary};
use taut_tests::{At, Check, Fill, Suite, cases, poison, same, same_tensors, unary};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("unary::matches_reference", matches_reference);
    suite.real("unary::methods_name_their_ops", methods_name_their_ops);
}

/// Every op, some with a second parameter: one that is no whole number, and one that some integers can not hold.
const OPS: [Unary; 10] = [
    Unary::Relu,
    Unary::LeakyRelu { slope: 0.01 },
    Unary::Neg,
    Unary::AddScalar { value: 3.0 },
    Unary::MulScalar { value: 3.0 },
    Unary::LeakyRelu { slope: -1.5 },
    Unary::AddScalar { value: -2.7 },
    Unary::MulScalar { value: 0.1 },
    Unary::AddScalar { value: 1e10 },
    Unary::MulScalar { value: f64::NAN },
];

/// The same bits as the definition, whatever the view; in place too, and out of place the operand stays as it was.
fn matches_reference(at: &At) -> Check {
    prop_assert!(Unary::ALL.iter().zip(&OPS).all(|(a, b)| a.index() == b.index()), "an op is missing here");
    let all = OPS.iter().flat_map(|&op| at.dtypes().into_iter().map(move |dtype| (op, dtype)));
    let pairs: Vec<(Unary, DType)> = all.filter(|(op, dtype)| op.takes(*dtype)).collect();
    let operands = select(pairs).prop_flat_map(|(op, dtype)| (Just(op), cases(dtype, Fill::Any, true)));
    at.for_all(operands, |(op, case)| {
        let values = case.values();
        let want: Vec<_> = values.iter().map(|&x| unary(op, x, case.dtype)).collect();

        let mut x = case.upload(&at.device)?;
        poison(&at.device, &[want.len() * case.dtype.size()])?;
        let got = x.clone().unary(op)?;
        prop_assert_eq!(got.shape(), x.shape());
        prop_assert_eq!(got.dtype(), x.dtype());
        same(&got, &want)?;
        same(&x, &values)?;

        if !x.layout().overlaps() {
            x.unary_(op)?;
            same_tensors(&x, &got)?;
        }
        same_tensors(&case.upload(&at.device)?.unary(op)?, &got)
    })
}

/// A named method does what the op of its name does.
fn methods_name_their_ops(at: &At) -> Check {
    let x = Tensor::from_slice(&[-2.5f32, -0.0, 0.0, 1.5, f32::NAN], [5], &at.device)?;
    let slope = 0.25;
    let pairs = [
        (x.clone().relu()?, Unary::Relu),
        (x.clone().leaky_relu(slope)?, Unary::LeakyRelu { slope }),
        (x.clone().neg()?, Unary::Neg),
        (x.clone().add_scalar(1.5)?, Unary::AddScalar { value: 1.5 }),
        (x.clone().sub_scalar(1.5)?, Unary::AddScalar { value: -1.5 }),
        (x.clone().mul_scalar(1.5)?, Unary::MulScalar { value: 1.5 }),
    ];
    for (got, op) in pairs {
        same_tensors(&got, &x.clone().unary(op)?)?;
    }
    let (mut relu, mut leaky) = (x.copy()?, x.copy()?);
    relu.relu_()?;
    leaky.leaky_relu_(slope)?;
    same_tensors(&relu, &x.clone().relu()?)?;
    same_tensors(&leaky, &x.leaky_relu(slope)?)
}
