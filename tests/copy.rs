//! Casts between all dtypes, and copies of all views.

use proptest::{prelude::*, sample::select};
use taut_tests::{At, Check, Fill, Suite, cases, cast, poison, same, same_tensors};

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("copy::casts_match_reference", casts_match_reference);
    suite.real("copy::contiguous_keeps_values", contiguous_keeps_values);
}

/// Every pair of dtypes, over any view.
fn casts_match_reference(at: &At) -> Check {
    let operands = (select(at.dtypes()), select(at.dtypes()))
        .prop_flat_map(|(from, to)| (Just(to), cases(from, Fill::Any, true)));
    at.for_all(operands, |(to, case)| {
        let want: Vec<_> = case.values().into_iter().map(|x| cast(x, to)).collect();
        let x = case.upload(&at.device)?;
        poison(&at.device, &[want.len() * to.size()])?;
        let got = x.clone().cast(to)?;
        prop_assert_eq!(got.dtype(), to);
        prop_assert_eq!(got.shape(), x.shape());
        same(&got, &want)?;
        same(&x, &case.values())
    })
}

/// `contiguous` copies only what is not, and `copy` always.
fn contiguous_keeps_values(at: &At) -> Check {
    let operands = select(at.dtypes()).prop_flat_map(|dtype| cases(dtype, Fill::Any, true));
    at.for_all(operands, |case| {
        let x = case.upload(&at.device)?;
        poison(&at.device, &[x.numel() * case.dtype.size()])?;
        let before = at.device.stats().allocations;
        let flat = x.clone().contiguous()?;
        prop_assert_eq!(at.device.stats().allocations - before, u64::from(!x.is_contiguous()));
        prop_assert!(flat.is_contiguous());
        same(&flat, &case.values())?;

        let copy = x.copy()?;
        prop_assert!(copy.is_contiguous());
        drop((x, flat));
        same_tensors(&copy, &case.upload(&at.device)?)
    })
}
