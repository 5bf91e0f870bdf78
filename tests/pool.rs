//! Random programs of tensors that come and go, on every device: nobody's values change, every byte is counted, and the
//! plan knows all of it before.

use proptest::{collection::vec, prelude::*, sample::Index};
use taut::{Budget, DType, Device, ErrorKind, Kind, Spec, Stats, Tensor, assert_no_leak, scope};
use taut_tests::{At, Check, Suite, fail, figures};

pub(crate) fn trials(suite: &mut Suite) {
    suite.everywhere("pool::programs_keep_their_values", programs_keep_their_values);
    suite.everywhere("pool::a_caught_shortage_leaves_nothing", a_caught_shortage_leaves_nothing);
    suite.everywhere("pool::what_is_free_makes_a_longer_block", what_is_free_makes_a_longer_block);
    // Elsewhere there are no views.
    if suite.maps_memory() {
        suite.everywhere("pool::more_views_than_are_kept", more_views_than_are_kept);
    }
}

const PAGE: u64 = 2 << 20;

#[derive(Clone, Debug)]
enum Step {
    Make { bytes: usize, aside: bool, scoped: bool },
    Drop(Index),
    Budget(u64),
    Release,
}

fn any_step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![1 => 1..5000usize, 3 => 5000..(1usize << 20), 4 => (1usize << 20)..(9 << 20)];
    prop_oneof![
        9 => (bytes, any::<bool>(), any::<bool>()).prop_map(|(bytes, aside, scoped)| Step::Make { bytes, aside, scoped }),
        8 => any::<Index>().prop_map(Step::Drop),
        1 => (12..40u64).prop_map(Step::Budget),
        1 => Just(Step::Release),
    ]
}

/// What a program holds on one device.
struct Side {
    device: Device,
    aside: taut::Stream,
    live: Vec<(Tensor, u8)>,
}

impl Side {
    fn new(device: Device) -> taut::Result<Side> {
        Ok(Side { aside: device.stream()?, device, live: Vec::new() })
    }

    /// Takes a step with number `tag`, and returns what the figures are then, or the error.
    fn step(&mut self, step: &Step, tag: u8) -> Result<Stats, ErrorKind> {
        let done = match step {
            Step::Make { bytes, aside, scoped } => {
                let _scope = scoped.then(|| scope("layer"));
                let make = || Tensor::full([*bytes], f64::from(tag), DType::U8, &self.device);
                let made = if *aside { self.aside.scope(make) } else { make() };
                made.map(|x| self.live.push((x, tag)))
            }
            Step::Drop(index) if !self.live.is_empty() => {
                drop(self.live.swap_remove(index.index(self.live.len())));
                Ok(())
            }
            Step::Drop(_) => Ok(()),
            Step::Budget(pages) => limit(&self.device, pages * PAGE),
            Step::Release => self.device.release().map(drop),
        };
        done.map(|()| figures(&self.device)).map_err(|error| error.kind())
    }
}

/// A budget beyond what the device takes for itself.
fn limit(device: &Device, bytes: u64) -> taut::Result<()> {
    let overhead = if let Spec::Cuda(card) = device.spec() { card.context_bytes } else { 0 };
    device.set_budget(Budget::Bytes(overhead + bytes))
}

fn programs_keep_their_values(at: &At) -> Check {
    at.for_some(16, vec(any_step(), 1..80), |steps| {
        let device = at.fresh()?;
        let mut sides = [Side::new(device.clone())?, Side::new(Device::plan(device.spec()))?];
        limit(&device, 40 * PAGE)?;
        limit(&sides[1].device, 40 * PAGE)?;
        assert_no_leak(|| {
            for (step, tag) in steps.iter().zip(1..) {
                let [real, plan] = sides.each_mut().map(|side| side.step(step, tag));
                prop_assert_eq!(real, plan);
                let live = sides[0].live.iter().map(|(x, _)| x.numel() as u64).sum::<u64>();
                let stats = device.stats();
                prop_assert_eq!(
                    (stats.live_bytes, stats.live_by_kind[Kind::Activations as usize]),
                    (live, live)
                );
            }
            for (x, tag) in sides[0].live.iter().filter(|_| !device.is_plan()) {
                if let Some(other) = x.to_vec::<u8>()?.into_iter().find(|value| value != tag) {
                    return Err(fail(format!("{tag} has become {other}")));
                }
            }
            sides.iter_mut().for_each(|side| side.live.clear());
            Ok(())
        })?;
        device.release()?;
        prop_assert_eq!((device.stats().live_bytes, device.stats().reserved_bytes), (0, 0));
        device.set_budget(Budget::Unlimited)?;
        Ok(())
    })
}

/// The same three free pages are shown side by side in more ways than a pool keeps, while work on them is under way: old ones
/// go, and what is written through the new ones is what is there.
fn more_views_than_are_kept(at: &At) -> Check {
    const VIEWS: usize = 7000;
    let device = at.device.fresh()?;
    let page = |_| Tensor::full([PAGE as usize], 1.0, DType::U8, &device);
    let mut pages = (0..6).map(page).collect::<taut::Result<Vec<_>>>()?;
    let mut number = 0..;
    pages.retain(|_| number.next().is_some_and(|i| i % 2 == 1));
    let reserved_bytes = device.stats().reserved_bytes;
    let before = device.pool().calls();
    for i in 0..VIEWS {
        let bytes = 3 * PAGE as usize - 256 * i;
        let x = Tensor::full([bytes], (i % 251) as f64, DType::U8, &device)?;
        // Seldom, for it waits for the work before.
        if i % 1000 == 999 && !device.is_plan() {
            prop_assert!(x.to_vec::<u8>()?.iter().all(|&byte| byte == (i % 251) as u8), "view {}", i);
        }
    }
    let calls = device.pool().calls() - before;
    prop_assert_eq!(device.stats().reserved_bytes, reserved_bytes);
    prop_assert!(calls.commits >= VIEWS as u64 && calls.decommits > 0, "{:?}", calls);
    for page in pages.iter().filter(|_| !device.is_plan()) {
        prop_assert!(page.to_vec::<u8>()?.iter().all(|&byte| byte == 1));
    }
    drop(pages);
    prop_assert_eq!(device.release()?, reserved_bytes);
    Ok(())
}

/// Blocks that are gone make room for one as long as all of them, where the budget has no more: of their pages, or of others
/// for which theirs went back. The driver charges what is reserved, and the plan knows all of it.
fn what_is_free_makes_a_longer_block(at: &At) -> Check {
    let device = &at.device;
    let plan = Device::plan(device.spec());
    let charged = |device: &Device| {
        let stats = device.stats();
        stats.driver_bytes.map(|bytes| bytes as i64 - stats.reserved_bytes as i64)
    };
    let make = |device: &Device, pages: u64, tag: u8| {
        Tensor::full([(pages * PAGE) as usize], f64::from(tag), DType::U8, device)
    };
    // The first op loads its kernel, which is no memory of the pool.
    drop(make(device, 1, 1)?);
    device.release()?;
    let before = charged(device);
    let mut sides = Vec::new();
    for device in [device, &plan] {
        limit(device, 12 * PAGE)?;
        let short = (1..4).map(|tag| make(device, 3, tag)).collect::<taut::Result<Vec<_>>>()?;
        let kept = make(device, 1, 4)?;
        drop(short);
        let long = make(device, 11, 5)?;
        sides.push((figures(device), kept, long));
    }
    // Of the allocations the device has made one more.
    let figures = |i: usize| (sides[i].0.live_bytes, sides[i].0.reserved_bytes);
    prop_assert_eq!(figures(0), figures(1));
    prop_assert_eq!(figures(0), (12 * PAGE, 12 * PAGE));
    prop_assert_eq!(charged(device), before);
    if !device.is_plan() {
        let (_, kept, long) = &sides[0];
        prop_assert!(kept.to_vec::<u8>()?.iter().all(|&byte| byte == 4));
        prop_assert!(long.to_vec::<u8>()?.iter().all(|&byte| byte == 5));
    }
    drop(sides);
    prop_assert_eq!(device.release()?, 12 * PAGE);
    prop_assert_eq!(charged(device), before);
    Ok(())
}

/// Ops run until there is no room, the error is caught, and what they had made is gone with it.
fn a_caught_shortage_leaves_nothing(at: &At) -> Check {
    let device = &at.device;
    let w = Tensor::full([512, 512], 0.5, DType::F32, device)?;
    limit(device, 16 * PAGE)?;
    let before = device.stats();
    let layers = || -> taut::Result<Tensor> {
        let mut kept = vec![Tensor::full([1000, 512], 0.5, DType::F32, device)?];
        loop {
            let last = kept[kept.len() - 1].clone();
            kept.push(last.linear(&w)?.relu()?);
        }
    };
    let kind = assert_no_leak(|| layers().map_err(|error| error.kind()).err());
    prop_assert_eq!(kind, Some(ErrorKind::OutOfMemory));
    prop_assert_eq!(device.stats().live_by_kind, before.live_by_kind);
    Ok(())
}
