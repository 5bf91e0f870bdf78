//! Ops of which backward keeps bits: the gradients that these choose are those of the definition, over views, dtypes and all
//! values, and nothing else is kept.

use proptest::{collection::vec, prelude::*, sample::select};
use taut::{Binary, DType, Result, Tensor, Unary, no_grad};
use taut_tests::{
    At, Case, Check, Fill, Geometry, Suite, Value, derivative_elements, fail, meets, round, same, shapes,
    upload,
};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("bits::of_one_operand", of_one_operand);
    suite.real("bits::of_two_operands", of_two_operands);
    suite.real("bits::large", large);
    suite.everywhere("bits::are_all_that_is_kept", are_all_that_is_kept);
    suite.real("bits::in_place", in_place);
}

const UNARY: [Unary; 5] = [
    Unary::LeakyRelu { slope: -1.5 },
    Unary::Clamp { low: -1.0, high: 1.0 },
    Unary::Clamp { low: 0.5, high: f64::INFINITY },
    Unary::Clamp { low: 1.0, high: -1.0 },
    Unary::Clamp { low: f64::NAN, high: 1.0 },
];

/// `N` tensors of one shape, as views of their own, of any values.
fn views<const N: usize>(dtypes: Vec<DType>) -> impl Strategy<Value = [Case; N]> {
    let choices = vec(vec(any::<[u8; 4]>(), 0..4), N);
    (shapes(), choices, select(dtypes), 0..1000u64).prop_map(|(shape, choices, dtype, seed)| {
        std::array::from_fn(|i| {
            let choices: Vec<_> = choices[i].iter().map(|choice| choice.map(usize::from)).collect();
            let geometry = Geometry::viewed(&shape, &choices, true);
            Case { dtype, geometry, fill: Fill::Any, seed: seed + i as u64 }
        })
    })
}

fn gradient(x: &Tensor) -> Result<Tensor, TestCaseError> {
    x.take_grad().ok_or_else(|| fail("there is no gradient"))
}

fn of_one_operand(at: &At) -> Check {
    at.for_all((views(at.floats()), select(&UNARY[..])), |([case, grads], op)| {
        let x = case.upload(&at.device)?.require_grad()?;
        x.clone().unary(op)?.backward_with(grads.upload(&at.device)?)?;
        let pairs: Vec<_> = grads.values().into_iter().zip(case.values()).collect();
        meets(&gradient(&x)?, &derivative_elements(op, &pairs, case.dtype))
    })
}

/// The first operand gets the gradient where the result is in order with it, and the second elsewhere: where either is NaN.
fn chosen(op: Binary, a: &Value, b: &Value) -> bool {
    if op == Binary::Minimum { a.float() <= b.float() } else { a.float() >= b.float() }
}

fn of_two_operands(at: &At) -> Check {
    let ops = select(&[Binary::Minimum, Binary::Maximum][..]);
    let wants = select(&[[true, true], [true, false], [false, true]][..]);
    at.for_all((views(at.floats()), ops, wants), |([first, second, grads], op, wants)| {
        let [a, b] = [(&first, wants[0]), (&second, wants[1])].map(|(case, wanted)| {
            let x = case.upload(&at.device)?;
            if wanted { x.require_grad() } else { Ok(x) }
        });
        let (a, b) = (a?, b?);
        a.clone().binary(op, &b)?.backward_with(grads.upload(&at.device)?)?;
        let is_first = first.values().iter().zip(&second.values()).map(|(a, b)| chosen(op, a, b)).collect();
        let is_first: Vec<bool> = is_first;
        for (x, wanted, own) in [(a, wants[0], true), (b, wants[1], false)] {
            if wanted {
                let pick = |(grad, &first): (Value, &bool)| {
                    if first == own { grad } else { Value::Float(0.0) }
                };
                let want: Vec<Value> = grads.values().into_iter().zip(&is_first).map(pick).collect();
                same(&gradient(&x)?, &want)?;
            }
        }
        Ok(())
    })
}

/// More than a task or a block of threads takes, with a part of a byte at the end; also where elements lie apart.
fn large(at: &At) -> Check {
    let n = 100_003;
    for dtype in at.floats() {
        let values: Vec<Value> =
            (0..2 * n).map(|i| Value::Float(round(f64::from(i as u32 % 97) / 32.0 - 1.5, dtype))).collect();
        for crosswise in [false, true] {
            let x = upload(&values, &[2, n], dtype, &at.device)?;
            let x = if crosswise { x.t()? } else { x }.require_grad()?;
            let ones = Tensor::full(x.shape(), 1.0, dtype, &at.device)?;
            x.clone().clamp(-1.0, 1.0)?.backward_with(ones)?;
            let order = |i: usize| if crosswise { i % 2 * n + i / 2 } else { i };
            let is_in = |i| values[order(i)].float().abs() <= 1.0;
            let want: Vec<Value> = (0..2 * n).map(|i| Value::Float(f64::from(u8::from(is_in(i))))).collect();
            same(&gradient(&x)?, &want)?;
        }
    }
    Ok(())
}

fn are_all_that_is_kept(at: &At) -> Check {
    type Op = fn(Tensor, &Tensor) -> Result<Tensor>;
    let ops: [Op; 4] = [
        |x, _| x.clamp(-1.0, 1.0),
        |x, _| x.leaky_relu(-0.5),
        |x, other| x.minimum(other),
        |x, other| x.maximum(other),
    ];
    let device = at.fresh()?;
    for dtype in at.floats() {
        for (n, op) in [0, 1, 7, 8, 9, 1000, 4097].into_iter().flat_map(|n| ops.map(|op| (n, op))) {
            let x = Tensor::zeros([n], dtype, &device)?.require_grad()?;
            let other = Tensor::zeros([1], dtype, &device)?;
            let live = || device.stats().live_bytes;
            let (before, bits) = (live(), n.div_ceil(8) as u64);
            let bytes = (n * dtype.size()) as u64;
            // Over what is given, of which nothing else is kept.
            let given = x.clone().mul_scalar(2.0)?;
            device.pool().reset_peaks();
            let y = op(given, &other)?;
            prop_assert_eq!(live() - before, bytes + bits, "{} of {}", n, dtype);
            prop_assert_eq!(device.stats().peak_live_bytes - before, bytes + bits);
            drop(y);
            prop_assert_eq!(live(), before);
            let y = no_grad(|| op(x.clone(), &other))?;
            prop_assert_eq!(live() - before, bytes);
            drop(y);
            // The gradient is made where that of the result stood.
            let y = op(x.clone(), &other)?;
            let grad = Tensor::zeros([n], dtype, &device)?;
            device.pool().reset_peaks();
            let now = live();
            y.backward_with(grad)?;
            prop_assert_eq!(device.stats().peak_live_bytes, now);
            prop_assert_eq!(live() - before, bytes);
        }
    }
    Ok(())
}

/// What they need is known before it is written over.
fn in_place(at: &At) -> Check {
    let values = [-2.0f32, -1.0, 0.0, 0.5, 3.0, f32::NAN];
    type Op = fn(&mut Tensor) -> Result<()>;
    let apply: [(Op, [f32; 6]); 3] = [
        (|x| x.clamp_(-1.0, 1.0), [0.0, 3.0, 3.0, 3.0, 0.0, 0.0]),
        (|x| x.leaky_relu_(-2.0), [-6.0, -6.0, -6.0, 3.0, 3.0, -6.0]),
        (|x| x.minimum_(&Tensor::zeros([1], DType::F32, x.device())?), [3.0, 3.0, 3.0, 0.0, 0.0, 0.0]),
    ];
    for (apply, want) in apply {
        let x = Tensor::from_slice(&values, [6], &at.device)?.require_grad()?;
        let mut y = x.clone().add_scalar(0.0)?;
        apply(&mut y)?;
        y.mul_scalar(3.0)?.sum(&[])?.backward()?;
        prop_assert_eq!(gradient(&x)?.to_vec::<f32>()?, want);
    }
    Ok(())
}
