//! What an optimizer keeps of a parameter, and where.

use taut::{
    DType, ErrorKind, Kind, Offloaded, Result, Tensor,
    memory::{Block, Site, StreamId},
    optim::{CODE_BLOCK, Moment, Rule},
};

/// What an optimizer keeps of each moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum States {
    /// 4 bytes for each element.
    #[default]
    Full,
    /// A code of 8 bits for each element, and 4 bytes for each 256 of them. Parameters of fewer than 4,096 elements, whose
    /// states weigh nothing, keep theirs in full.
    ///
    /// Source: Dettmers et al., "8-bit optimizers via block-wise quantization", 2021.
    Codes,
}

/// Parameters of fewer elements keep their states in full.
const LEAST_CODED: usize = 4096;

/// States of a parameter that are smaller stay on the device: they weigh less than the copies cost.
const LEAST_AWAY_BYTES: usize = 128 << 10;

/// What is kept of a parameter: as tensors of the device, or in host memory.
#[derive(Debug)]
pub(crate) struct Held<T> {
    master: Option<T>,
    moments: Vec<State<T>>,
}

#[derive(Debug)]
enum State<T> {
    Full(T),
    Codes { codes: T, largest: T },
}

impl Held<Tensor> {
    /// Of a parameter at the start.
    pub(crate) fn new(x: &Tensor, rule: Rule, states: States) -> Result<Held<Tensor>> {
        let zeros = |n: usize, dtype| Tensor::zeros([n], dtype, x.device())?.with_kind(Kind::Optimizer);
        let n = x.numel();
        let is_short = matches!(x.dtype(), DType::F16 | DType::BF16);
        let master = is_short.then(|| zeros(2 * n, DType::U8)).transpose()?;
        let moment = |_| {
            if states == States::Codes && n >= LEAST_CODED && x.dtype() != DType::F64 {
                let largest = zeros(n.div_ceil(CODE_BLOCK), DType::F32)?;
                return Ok(State::Codes { codes: zeros(n, DType::U8)?, largest });
            }
            let dtype = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
            Ok(State::Full(zeros(n, dtype)?))
        };
        let moments = (0..rule.moments()).map(moment).collect::<Result<_>>()?;
        Ok(Held { master, moments })
    }

    /// The master and the moments, for a step.
    pub(crate) fn parts(&mut self) -> (Option<&mut Tensor>, [Option<Moment<'_>>; 2]) {
        let mut moments = self.moments.iter_mut().map(|state| match state {
            State::Full(tensor) => Moment::Full(tensor),
            State::Codes { codes, largest } => Moment::Codes { codes, largest },
        });
        (self.master.as_mut(), [moments.next(), moments.next()])
    }
}

impl<T> Held<T> {
    /// The same of what `f` makes of each part.
    fn map<U>(&self, f: impl Fn(&T) -> Result<U>) -> Result<Held<U>> {
        let moment = |state: &State<T>| {
            Ok(match state {
                State::Full(x) => State::Full(f(x)?),
                State::Codes { codes, largest } => State::Codes { codes: f(codes)?, largest: f(largest)? },
            })
        };
        let master = self.master.as_ref().map(&f).transpose()?;
        Ok(Held { master, moments: self.moments.iter().map(moment).collect::<Result<_>>()? })
    }

    /// Its parts, and what follows the name of the parameter in theirs.
    fn all(&self) -> Vec<(&'static str, &T)> {
        let mut all: Vec<_> = self.master.iter().map(|x| (".master", x)).collect();
        for (state, [full, in_codes, of_codes]) in self.moments.iter().zip(NAMES) {
            match state {
                State::Full(x) => all.push((full, x)),
                State::Codes { codes, largest } => all.extend([(in_codes, codes), (of_codes, largest)]),
            }
        }
        all
    }

    /// [`all`](Self::all), to be changed.
    fn all_mut(&mut self) -> Vec<(&'static str, &mut T)> {
        let mut all: Vec<_> = self.master.iter_mut().map(|x| (".master", x)).collect();
        for (state, [full, in_codes, of_codes]) in self.moments.iter_mut().zip(NAMES) {
            match state {
                State::Full(x) => all.push((full, x)),
                State::Codes { codes, largest } => all.extend([(in_codes, codes), (of_codes, largest)]),
            }
        }
        all
    }
}

const NAMES: [[&str; 3]; 2] =
    [[".first", ".first.codes", ".first.largest"], [".second", ".second.codes", ".second.largest"]];

/// Where the states of a parameter are.
#[derive(Debug)]
pub(crate) enum Place {
    Device(Held<Tensor>),
    Host {
        there: Held<Offloaded>,
        /// While they are on the device, or on their way.
        here: Option<Held<Tensor>>,
    },
}

impl Place {
    /// On the host if they are large enough.
    pub(crate) fn host(held: Held<Tensor>) -> Result<Place> {
        let bytes: usize = held.all().iter().map(|(_, x)| x.numel() * x.dtype().size()).sum();
        if bytes < LEAST_AWAY_BYTES {
            return Ok(Place::Device(held));
        }
        Ok(Place::Host { there: held.map(|x| x.clone().offload())?, here: None })
    }

    pub(crate) fn is_host(&self) -> bool {
        matches!(self, Place::Host { .. })
    }

    /// Lets them come, if they are not there or on their way.
    pub(crate) fn fetch(&mut self) -> Result<()> {
        if let Place::Host { there, here: here @ None } = self {
            *here = Some(there.map(Offloaded::fetch)?);
        }
        Ok(())
    }

    /// [`fetch`](Self::fetch) before they are needed: not if there is no room now.
    pub(crate) fn fetch_ahead(&mut self) -> Result<()> {
        match self.fetch() {
            Err(error) if error.kind() == ErrorKind::OutOfMemory => Ok(()),
            fetched => fetched,
        }
    }

    /// As tensors, if they have come.
    pub(crate) fn here(&mut self) -> Option<&mut Held<Tensor>> {
        match self {
            Place::Device(held) => Some(held),
            Place::Host { here, .. } => here.as_mut(),
        }
    }

    /// Lets them go where they came from, changed.
    pub(crate) fn store(&mut self) -> Result<()> {
        let Place::Host { there, here } = self else { return Ok(()) };
        let Some(here) = here.take() else { return Ok(()) };
        let changed = here.all().into_iter().map(|(_, x)| x.clone()).collect::<Vec<_>>();
        drop(here);
        there.all_mut().into_iter().zip(changed).try_for_each(|((_, there), x)| there.store(x))
    }

    /// Drops what has come, unchanged.
    pub(crate) fn forget(&mut self) {
        if let Place::Host { here, .. } = self {
            *here = None;
        }
    }

    /// Memory for them on the device, if they are on the host.
    pub(crate) fn room(&self) -> Result<Vec<Block>> {
        let Place::Host { there, .. } = self else { return Ok(Vec::new()) };
        let site = Site::new("optimizer", Kind::Optimizer);
        let blocks = there.all().into_iter().map(|(_, x)| {
            let bytes = (x.shape().numel() * x.dtype().size()) as u64;
            x.device().pool().allocate(bytes, StreamId::UPLOAD, site)
        });
        blocks.collect()
    }

    /// Shapes and dtypes, by what follows the name of the parameter.
    pub(crate) fn facts(&self) -> Vec<(&'static str, taut::Shape, DType)> {
        match self {
            Place::Device(held) => {
                held.all().into_iter().map(|(name, x)| (name, *x.shape(), x.dtype())).collect()
            }
            Place::Host { there, .. } => {
                there.all().into_iter().map(|(name, x)| (name, *x.shape(), x.dtype())).collect()
            }
        }
    }

    /// The values: those of the host as tensors of the host, one after the other by way of the device.
    pub(crate) fn values(&self) -> Result<Vec<(&'static str, Tensor)>> {
        match self {
            Place::Device(held) => Ok(held.all().into_iter().map(|(name, x)| (name, x.clone())).collect()),
            Place::Host { there, .. } => {
                let values = there.all().into_iter();
                values.map(|(name, x)| Ok((name, x.fetch()?.to(&x.device().host())?))).collect()
            }
        }
    }

    /// Takes up the values that `find` gives, tensors of the device.
    pub(crate) fn restore(
        &mut self,
        find: &mut dyn FnMut(&'static str) -> Result<Option<Tensor>>,
    ) -> Result<()> {
        match self {
            Place::Device(held) => {
                for (name, own) in held.all_mut() {
                    find(name)?.map_or(Ok(()), |new| own.copy_(&new))?;
                }
            }
            Place::Host { there, .. } => {
                for (name, own) in there.all_mut() {
                    find(name)?.map_or(Ok(()), |new| own.store(new.detach()))?;
                }
            }
        }
        Ok(())
    }
}
