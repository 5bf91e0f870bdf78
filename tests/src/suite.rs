//! The list of trials, and where and how often each runs.

use crate::inputs;
use libtest_mimic::{Failed, Trial};
use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use std::{
    env,
    fmt::{Debug, Display},
    mem,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use taut::{DType, Device, Error, ErrorKind, Result, Spec, Stats, memory};

/// What a property returns: an error is a failure that says what was found.
pub type Check = Result<(), TestCaseError>;

/// A failure that says `message`.
pub fn fail(message: impl Display) -> TestCaseError {
    TestCaseError::fail(message.to_string())
}

/// Generated cases of a property, unless `TAUT_CASES` says otherwise.
const CASES: u32 = 256;

/// Where a trial runs, and with which cases.
pub struct At {
    /// A device of this trial alone: nothing else is in its pool.
    pub device: Device,
    cases: u32,
    seed: u64,
    few: bool,
    name: String,
}

impl At {
    /// The dtypes that exist here.
    pub fn dtypes(&self) -> Vec<DType> {
        let cuda = matches!(self.device.spec(), Spec::Cuda(_));
        if cuda { DType::CUDA.to_vec() } else { DType::ALL.to_vec() }
    }

    /// The float dtypes that exist here.
    pub fn floats(&self) -> Vec<DType> {
        self.dtypes().into_iter().filter(|dtype| dtype.is_float()).collect()
    }

    /// Generated cases of a property: `TAUT_CASES`.
    pub fn cases(&self) -> u32 {
        self.cases
    }

    /// What generated cases are drawn from: `TAUT_SEED`.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The fixed shapes of a property: all of them, or these few and small ones where `TAUT_SHAPES=few` asks for them, since
    /// there each takes some hundred times as long. They reach the same kernels, or other properties do.
    pub fn shapes<'a, T>(&self, all: &'a [T], few: &'a [T]) -> &'a [T] {
        if self.few { few } else { all }
    }

    /// Another device of the same kind, with nothing in its pool.
    pub fn fresh(&self) -> Result<Device> {
        self.device.fresh()
    }

    /// Checks generated cases, the same on every run with the same `TAUT_SEED`, and shrinks the first that fails.
    pub fn for_all<S: Strategy>(&self, strategy: S, check: impl Fn(S::Value) -> Check) -> Check
    where
        S::Value: Debug,
    {
        self.for_some(1, strategy, check)
    }

    /// [`for_all`](Self::for_all) with one case for every `share` of them: for properties that are slow.
    pub fn for_some<S: Strategy>(&self, share: u32, strategy: S, check: impl Fn(S::Value) -> Check) -> Check
    where
        S::Value: Debug,
    {
        let cases = self.cases.div_ceil(share);
        let config = Config { cases, failure_persistence: None, max_shrink_iters: 512, ..Config::default() };
        // The family and property are mixed in so that no two properties see the same cases; the device is not, so
        // that every device sees the same.
        let mut bytes = [0; 32];
        let property = self.name.split_once("::").map_or(&*self.name, |(_, property)| property);
        property
            .bytes()
            .enumerate()
            .for_each(|(i, byte)| bytes[8 + i % 24] ^= byte.rotate_left(i as u32 / 24));
        bytes[..8].copy_from_slice(&self.seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        TestRunner::new_with_rng(config, rng).run(&strategy, check).map_err(|error| match error {
            TestError::Abort(reason) => fail(format!("aborted: {reason}")),
            TestError::Fail(reason, case) => {
                fail(format!("{reason}\n  case: {case:?}\n  TAUT_SEED={}", self.seed))
            }
        })
    }
}

/// All trials.
pub struct Suite {
    trials: Vec<Trial>,
    cases: u32,
    seed: u64,
    few: bool,
    cuda: Result<Device>,
    /// How the next trials share the GPU.
    turn: fn() -> Turn,
}

/// What a trial holds while it is on the GPU.
enum Turn {
    Beside(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'static, ()>),
}

impl Turn {
    fn beside() -> Turn {
        Turn::Beside(GPU.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn alone() -> Turn {
        Turn::Alone(GPU.write().unwrap_or_else(PoisonError::into_inner))
    }
}

static GPU: RwLock<()> = RwLock::new(());

impl Suite {
    /// An empty suite for the devices of this machine.
    ///
    /// `TAUT_CASES` is the number of generated cases of a property, `TAUT_SEED` what they are generated from, `TAUT_SHAPES`
    /// how many fixed shapes there are beside them: `all`, the default, or `few`.
    ///
    /// # Errors
    ///
    /// If one of the variables is set to something else.
    pub fn new() -> Result<Suite, String> {
        let number = |name: &str, usual: u64| match env::var(name) {
            Err(_) => Ok(usual),
            Ok(text) => text.parse().map_err(|_| format!("{name}={text}: must be a number")),
        };
        let cases =
            u32::try_from(number("TAUT_CASES", CASES.into())?).map_err(|_| "TAUT_CASES: too large")?;
        let seed = number("TAUT_SEED", 2)?;
        let few = match env::var("TAUT_SHAPES").as_deref() {
            Err(_) | Ok("all") => false,
            Ok("few") => true,
            Ok(text) => return Err(format!("TAUT_SHAPES={text}: must be all or few")),
        };
        Ok(Suite { trials: Vec::new(), cases, seed, few, cuda: Device::cuda(0), turn: Turn::beside })
    }

    /// Why there is no GPU to test on, if there is none.
    pub fn no_gpu(&self) -> Option<&Error> {
        self.cuda.as_ref().err()
    }

    /// The trials, for `libtest_mimic::run`.
    pub fn into_trials(self) -> Vec<Trial> {
        self.trials
    }

    /// A property of the CPU.
    pub fn cpu(&mut self, name: &str, check: impl Fn(&At) -> Check + Send + 'static) {
        self.trial(format!("cpu::{name}"), || Device::cpu().fresh(), check);
    }

    /// A property of values: on the CPU, and on the GPU, where it is ignored if there is none.
    pub fn real(&mut self, name: &str, check: impl Fn(&At) -> Check + Send + Sync + 'static) {
        let check = Arc::new(check);
        let on_cpu = check.clone();
        self.cpu(name, move |at| on_cpu(at));
        self.cuda(name, move |at| check(at));
    }

    /// A property of shapes, memory and errors: on plans of both too.
    pub fn everywhere(&mut self, name: &str, check: fn(&At) -> Check) {
        self.real(name, check);
        self.planned(name, check);
    }

    /// Trials that fill a card, read what all of it holds or raise what any of its devices reports: on the GPU each of these
    /// runs with no other beside it, and `--list` marks it.
    pub fn alone(&mut self, add: impl FnOnce(&mut Suite)) {
        let (turn, before) = (mem::replace(&mut self.turn, Turn::alone), self.trials.len());
        add(self);
        self.turn = turn;
        let added = self.trials.split_off(before);
        self.trials.extend(added.into_iter().map(|trial| trial.with_kind("alone")));
    }

    /// Whether devices here can show their pages at several places.
    pub fn maps_memory(&self) -> bool {
        let spec = self.cuda.as_ref().ok().map(Device::spec);
        !memory::wants_segments() && !matches!(spec, Some(Spec::Cuda(card)) if !card.maps_memory)
    }

    /// A property of plans of both.
    pub fn planned(&mut self, name: &str, check: fn(&At) -> Check) {
        self.trial(format!("plan::cpu::{name}"), || Ok(Device::plan(Spec::cpu())), check);
        self.planned_card(name, check);
    }

    /// A property of the plan of a card.
    pub fn planned_card(&mut self, name: &str, check: fn(&At) -> Check) {
        self.trial(format!("plan::h200::{name}"), || Ok(Device::plan(Spec::h200())), check);
    }

    /// A property of the GPU, ignored if there is none.
    pub fn cuda(&mut self, name: &str, check: impl Fn(&At) -> Check + Send + 'static) {
        let name = format!("cuda::{name}");
        match &self.cuda {
            Err(_) => self.trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true)),
            Ok(device) => {
                let device = device.clone();
                self.trial_in_turn(
                    Some(self.turn),
                    name,
                    move || device.fresh(),
                    move |at| {
                        check(at)?;
                        // A fault that only the device sees must fail the trial that caused it. With one thread, it fails
                        // no other.
                        Ok(at.device.synchronize()?)
                    },
                );
            }
        }
    }

    /// Trials that read the real [`inputs`]: ignored where one of these files or folders has not been fetched.
    pub fn with_inputs(&mut self, needs: &[&str], add: impl FnOnce(&mut Suite)) {
        let before = self.trials.len();
        add(self);
        let folder = inputs::folder();
        if needs.iter().any(|need| !folder.join(need).exists()) {
            let added = self.trials.split_off(before);
            self.trials.extend(added.into_iter().map(|trial| trial.with_ignored_flag(true)));
        }
    }

    fn trial(
        &mut self,
        name: String,
        device: impl FnOnce() -> Result<Device> + Send + 'static,
        check: impl FnOnce(&At) -> Check + Send + 'static,
    ) {
        self.trial_in_turn(None, name, device, check);
    }

    fn trial_in_turn(
        &mut self,
        turn: Option<fn() -> Turn>,
        name: String,
        device: impl FnOnce() -> Result<Device> + Send + 'static,
        check: impl FnOnce(&At) -> Check + Send + 'static,
    ) {
        let (cases, seed, few) = (self.cases, self.seed, self.few);
        let run = {
            let name = name.clone();
            move || {
                // From before the device is made until it is gone.
                let _turn = turn.map(|turn| turn());
                check(&At { device: device()?, cases, seed, few, name }).map_err(Failed::from)
            }
        };
        self.trials.push(Trial::test(name, run));
    }
}

/// What a device counts of its own, and a plan promises: live, tensor, workspace and reserved bytes, their peaks, kinds and the
/// number of blocks. The driver's bytes are of all that share a card.
pub fn figures(device: &Device) -> Stats {
    Stats { driver_bytes: None, ..device.stats() }
}

/// The kind of the error that a call must give.
///
/// # Errors
///
/// If the call succeeded.
pub fn kind_of<T: Debug>(result: Result<T>) -> Result<ErrorKind, TestCaseError> {
    result.map_or_else(|error| Ok(error.kind()), |value| Err(fail(format!("no error but {value:?}"))))
}

/// The message of the error that a call must give.
///
/// # Errors
///
/// If the call succeeded.
pub fn message_of<T: Debug>(result: Result<T>) -> Result<String, TestCaseError> {
    result.map_or_else(|error| Ok(error.to_string()), |value| Err(fail(format!("no error but {value:?}"))))
}
