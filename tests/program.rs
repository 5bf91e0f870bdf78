//! Generated programs: a few tensors, and moves that make, use and drop them.

use proptest::{collection::vec, prelude::*, sample::select};
use taut::{Activation, Binary, DType, Device, ErrorKind, Reduce, Result, Stream, Tensor, Unary};

/// One step of a program. Numbers name tensors, taken modulo how many there are.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    New(Vec<usize>, DType),
    Upload(usize),
    Clone(usize),
    Drop(usize),
    Unary(usize),
    UnaryInPlace(usize),
    Binary(usize, usize),
    Cast(usize, DType),
    Contiguous(usize),
    Slice(usize, usize),
    Transpose(usize),
    Flatten(usize),
    Broadcast(usize),
    Reduce(usize, Reduce, Option<usize>),
    Matmul(usize, usize),
    Linear(usize, usize),
    AddProduct(usize, usize, usize),
    Read(usize),
    ToHost(usize),
    ToDevice(usize),
    Switch(usize),
    Release,
}

const SHAPES: [&[usize]; 8] =
    [&[300, 500], &[500, 300], &[300], &[1024, 513], &[3, 1, 5], &[], &[0, 4], &[2000, 600]];

fn moves() -> impl Strategy<Value = Move> {
    let i = || 0..12usize;
    let dtypes = || select(vec![DType::F16, DType::F32, DType::BF16, DType::I64, DType::U8]);
    let shapes = select(&SHAPES[..]).prop_map(<[usize]>::to_vec);
    prop_oneof![
        5 => (shapes, dtypes()).prop_map(|(shape, dtype)| Move::New(shape, dtype)),
        1 => (1..2_000_000usize).prop_map(Move::Upload),
        2 => i().prop_map(Move::Clone),
        4 => i().prop_map(Move::Drop),
        2 => i().prop_map(Move::Unary),
        1 => i().prop_map(Move::UnaryInPlace),
        3 => (i(), i()).prop_map(|(a, b)| Move::Binary(a, b)),
        2 => (i(), dtypes()).prop_map(|(a, dtype)| Move::Cast(a, dtype)),
        1 => i().prop_map(Move::Contiguous),
        2 => (i(), i()).prop_map(|(a, b)| Move::Slice(a, b)),
        2 => i().prop_map(Move::Transpose),
        1 => i().prop_map(Move::Flatten),
        1 => i().prop_map(Move::Broadcast),
        3 => (i(), select(&Reduce::ALL[..]), prop::option::of(0..2usize))
            .prop_map(|(a, op, axis)| Move::Reduce(a, op, axis)),
        4 => (i(), i()).prop_map(|(a, b)| Move::Matmul(a, b)),
        3 => (i(), i()).prop_map(|(a, b)| Move::Linear(a, b)),
        2 => (i(), i(), i()).prop_map(|(a, b, c)| Move::AddProduct(a, b, c)),
        1 => i().prop_map(Move::Read),
        1 => i().prop_map(Move::ToHost),
        1 => i().prop_map(Move::ToDevice),
        1 => (0..3usize).prop_map(Move::Switch),
        1 => Just(Move::Release),
    ]
}

/// Programs of up to 40 moves.
pub(crate) fn programs() -> impl Strategy<Value = Vec<Move>> {
    vec(moves(), 1..40)
}

/// A running program.
struct Run<'a> {
    device: &'a Device,
    tensors: Vec<Tensor>,
    stream: usize,
}

impl Run<'_> {
    fn get(&self, i: usize) -> Option<Tensor> {
        let n = self.tensors.len();
        (n > 0).then(|| self.tensors[i % n].clone())
    }

    fn take(&mut self, i: usize) -> Option<Tensor> {
        let n = self.tensors.len();
        (n > 0).then(|| self.tensors.swap_remove(i % n))
    }

    /// What a move makes, if it makes anything.
    fn step(&mut self, step: &Move) -> Option<Result<Tensor>> {
        match step {
            Move::New(shape, dtype) => Some(Tensor::full(shape, 1.0, *dtype, self.device)),
            Move::Upload(n) => Some(Tensor::from_slice(&vec![1u8; *n], [*n], self.device)),
            Move::Clone(i) => self.get(*i).map(Ok),
            Move::Drop(i) => self.take(*i).and(None),
            Move::Unary(i) => Some(self.take(*i)?.unary(Unary::AddScalar { value: 1.0 })),
            Move::UnaryInPlace(i) => {
                let mut x = self.take(*i)?;
                Some(x.unary_(Unary::Relu).map(|()| x))
            }
            Move::Binary(i, j) => {
                let other = self.get(*j)?;
                Some(self.take(*i)?.binary(Binary::Add, &other))
            }
            Move::Cast(i, dtype) => Some(self.take(*i)?.cast(*dtype)),
            Move::Contiguous(i) => Some(self.take(*i)?.contiguous()),
            Move::Slice(i, at) => {
                let x = self.take(*i)?;
                let extent = x.shape().first().copied().unwrap_or(0);
                Some(x.slice(0, (at % 3).min(extent)..extent))
            }
            Move::Transpose(i) => Some(self.take(*i)?.t()),
            Move::Flatten(i) => {
                let x = self.take(*i)?;
                let numel = x.numel();
                Some(x.reshape([numel]))
            }
            Move::Broadcast(i) => {
                let x = self.take(*i)?;
                let shape = [&[2], &x.shape()[..]].concat();
                // Twice at most, or the sizes explode.
                Some(if x.rank() < 4 { x.broadcast_to(shape) } else { Ok(x) })
            }
            Move::Reduce(i, op, axis) => Some(self.take(*i)?.reduce(*op, axis.as_slice())),
            Move::Matmul(i, j) => {
                let other = self.get(*j)?;
                Some(self.take(*i)?.matmul(&other))
            }
            Move::Linear(i, j) => {
                let weight = self.get(*j)?;
                Some(self.take(*i)?.linear_with(&weight, None, Activation::Relu))
            }
            Move::AddProduct(i, j, k) => {
                let (a, b) = (self.get(*j)?, self.get(*k)?);
                let mut sum = self.take(*i)?;
                Some(sum.addmm_(&a, &b).map(|()| sum))
            }
            Move::Read(i) => {
                let x = self.get(*i)?;
                Some(taut_tests::download(&x).map(|_| x))
            }
            Move::ToHost(i) => Some(self.take(*i)?.to(&self.device.host())),
            Move::ToDevice(i) => Some(self.take(*i)?.to(self.device)),
            Move::Switch(stream) => {
                self.stream = *stream;
                None
            }
            Move::Release => self.device.release().map(|_| None).unwrap_or_else(|error| Some(Err(error))),
        }
    }
}

/// Two streams for programs. They are made once for a device: those of a card are not given back.
pub(crate) fn streams(device: &Device) -> Result<[Stream; 2]> {
    Ok([device.stream()?, device.stream()?])
}

/// Runs a program, and says how each move ended.
pub(crate) fn run(moves: &[Move], device: &Device, streams: &[Stream; 2]) -> Vec<Option<ErrorKind>> {
    let mut run = Run { device, tensors: Vec::new(), stream: 0 };
    let mut ends = Vec::new();
    for step in moves {
        let made = match run.stream {
            0 => run.step(step),
            i => streams[i - 1].scope(|| run.step(step)),
        };
        ends.push(
            made.and_then(|result| result.map(|x| run.tensors.push(x)).err()).map(|error| error.kind()),
        );
    }
    ends
}
