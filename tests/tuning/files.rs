//! Tables in files.

use super::{Asked, origin, table, tables};
use proptest::prelude::*;
use std::fs;
use taut::{Card, DType, ErrorKind, Origin, Spec, Tuning};
use taut_tests::{At, Check, fail, message_of};

pub(super) fn files_hold_tables(at: &At) -> Check {
    let folder = tempfile::tempdir().map_err(fail)?;
    let path = folder.path().join("tuning.txt");
    at.for_some(4, tables(), |tuning| {
        prop_assert_eq!(&Tuning::parse(&tuning.to_string())?, &tuning);
        tuning.write(&path)?;
        prop_assert_eq!(&Tuning::read(&path)?, &tuning);
        prop_assert_eq!(fs::read_dir(folder.path()).map_err(fail)?.count(), 1);
        Ok(())
    })?;
    let none = Tuning::default();
    prop_assert_eq!(Tuning::parse(&none.to_string())?, none);
    Ok(())
}

/// Files that end early, that were changed by hand, and that are none.
pub(super) fn damage_is_refused(at: &At) -> Check {
    let corrupt = |text: &str| match Tuning::parse(text) {
        Err(error) if error.kind() == ErrorKind::Corrupt && error.to_string().contains("line ") => Ok(()),
        other => Err(fail(format!("{other:?} of {text:?}"))),
    };
    at.for_some(4, (tables(), any::<prop::sample::Index>()), |(tuning, end)| {
        let text = tuning.to_string();
        corrupt(&text[..end.index(text.len())])
    })?;
    // Any change is refused, or says something else; it never runs into a panic.
    at.for_all((tables(), any::<prop::sample::Index>(), any::<char>()), |(tuning, at, char)| {
        let text = tuning.to_string();
        let at = at.index(text.len());
        let changed = format!("{}{char}{}", &text[..at], &text[at + 1..]);
        match Tuning::parse(&changed) {
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Corrupt),
            Ok(other) => prop_assert_eq!(&Tuning::parse(&other.to_string())?, &other),
        }
        Ok(())
    })?;

    let card = Card::h200();
    let asked = Asked::new(1, [8192, 2112, 7168], [false, true], 0, [DType::F16; 2])?;
    let text = table(&[(asked, 0)], &card).to_string();
    let entry = "f16 f16, 1, 8192 x 2112 x 7168, k k: MatmulWgmma(F16, [K, K], Broad), 1 1, 7680 3\n";
    prop_assert!(text.ends_with(entry), "{}", text);
    for (from, to, line) in [
        ("tuning 2", "tuning 3", 1),
        ("card:", "cart:", 2),
        ("9.0", "9", 3),
        ("132", "-132", 4),
        ("driver: 580.159.04\n", "", 5),
        ("ways: 1", "ways: one", 7),
        ("ways: 1", "ways: 2", 10),
        (entry, &format!("{entry}{entry}"), 11),
        ("k k", "k j", 10),
        ("f16 f16", "f16 f17", 10),
        ("8192 x 2112 x 7168", "8192 x 2112", 10),
        ("8192", "18446744073709551616", 10),
        ("Broad", "Broader", 10),
        ("MatmulWgmma(F16, [K, K], Broad)", "Arange(F16)", 10),
        ("7680 3", "7680", 10),
        ("7680 3", "7680 3, 1", 10),
        ("1 1, 7680", "1, 7680", 10),
        (": Matmul", " Matmul", 10),
    ] {
        let message = message_of(Tuning::parse(&text.replacen(from, to, 1)))?;
        prop_assert!(message.starts_with(&format!("line {line}: ")), "{} for {}: {}", to, from, message);
    }

    let folder = tempfile::tempdir().map_err(fail)?;
    let path = folder.path().join("tuning.txt");
    let kind = |path: &std::path::Path| Tuning::read(path).map_err(|error| (error.kind(), error.to_string()));
    let (missing, message) = kind(&path).expect_err("there is no file");
    prop_assert!(missing == ErrorKind::Driver && message.contains("tuning.txt"), "{}", message);
    fs::write(&path, [text.as_bytes(), b"\xff"].concat()).map_err(fail)?;
    let (binary, message) = kind(&path).expect_err("it is no text");
    prop_assert!(binary == ErrorKind::Corrupt && message.contains("tuning.txt: line 11: "), "{}", message);
    fs::write(&path, "").map_err(fail)?;
    let (empty, message) = kind(&path).expect_err("it is empty");
    prop_assert!(empty == ErrorKind::Corrupt && message.contains("tuning.txt: line 1: "), "{}", message);
    Ok(())
}

/// Of another card, other kernels, or another driver where that is known; what was set before stays.
pub(super) fn foreign_tables_are_refused(at: &At) -> Check {
    let device = &at.device;
    let Spec::Cuda(card) = device.spec() else {
        let message = message_of(device.set_tuning(Tuning::new(origin(&Card::h200()))))?;
        prop_assert!(message.contains("NVIDIA H200") && message.contains("cpu"), "{}", message);
        return Ok(device.set_tuning(Tuning::default())?);
    };
    // The driver of a card is known to its own tables.
    let own = match device.tune(|| Ok(()))?.tuning.origin() {
        Some(origin) => origin.clone(),
        None => origin(&card),
    };
    let asked = Asked::new(1, [2048, 2112, 7168], [false, true], 0, [DType::F16; 2])?;
    let mut good = Tuning::new(own.clone());
    good.insert(asked.signature(&card).expect("a product"), asked.candidates(&card)[0].0);
    device.set_tuning(good.clone())?;
    let mut others = vec![
        Origin { card: "NVIDIA H100".into(), ..own.clone() },
        Origin { capability: (card.capability.0, card.capability.1 + 1), ..own.clone() },
        Origin { multiprocessors: card.multiprocessors - 1, ..own.clone() },
        Origin { kernels: "0123456789abcdef".into(), ..own.clone() },
    ];
    if device.is_cuda() {
        others.push(Origin { driver: "1.2.3".into(), ..own.clone() });
    }
    for other in others {
        let message = message_of(device.set_tuning(Tuning::new(other.clone())))?;
        let names = [own.to_string(), other.to_string()];
        prop_assert!(names.iter().all(|name| message.contains(name)), "{}", message);
        prop_assert_eq!(&*device.tuning(), &good);
    }
    prop_assert_eq!(&*device.fresh()?.tuning(), &good);
    device.set_tuning(Tuning::default())?;
    prop_assert!(device.tuning().is_empty());
    Ok(())
}
